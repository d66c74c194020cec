//! Records of API 1.0's files: numbers are numbers, and times have the data centre's zone.

use serde_json::Value::Null;
use serde_json::json;

use super::{Mail, Record, members};
use crate::model::Timestamp;

/// Hours of the data centre's zone ahead of UTC.
const ZONE: i8 = 1;

pub(super) fn record(kind: &str, mail: &Mail, at: Timestamp) -> Record {
    let mut record = Record::new();
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(ZONE));
    let time = at.calendar().to_zoned(zone);
    members!(record;
        "datetime": time.strftime("%Y-%m-%dT%H:%M:%S%z").to_string(),
        "acc": "C0A0",
        "aCode": mail.id.as_str(),
    );
    if kind == "ttp_url" {
        // The one type with small initials.
        members!(record;
            "reason": "malicious",
            "subject": mail.subject.as_str(),
            "msgid": mail.message_id.as_str(),
            "url": mail.url.as_str(),
            "route": "Inbound",
            "sourceIp": mail.ip.as_str(),
            "sender": mail.sender.as_str(),
            "recipient": mail.recipient.as_str(),
            "action": "Block",
            "urlCategory": "Phishing & Fraud",
            "credentialTheft": Null,
            "senderDomain": mail.sender_domain,
        );
        return record;
    }
    members!(record;
        "MsgId": mail.message_id.as_str(),
        "Sender": mail.sender.as_str(),
        "Subject": mail.subject.as_str(),
    );
    match kind {
        "receipt" => members!(record;
            "Act": "Acc",
            "Dir": "Inbound",
            "IP": mail.ip.as_str(),
            "Rcpt": mail.recipient.as_str(),
            "headerFrom": mail.sender.as_str(),
            "SpamInfo": "[]", "SpamLimit": 28, "SpamScore": mail.spam_score,
            "SpamProcessingDetail": json!({"spf": {"info": "ALLOW", "allow": true}, "dkim": {"info": "UNKNOWN", "allow": true}}),
            "TlsVer": "TLSv1.3", "Cphr": "TLS_AES_256_GCM_SHA384",
            "Virus": Null, "Error": Null, "RejType": Null, "RejCode": Null, "RejInfo": Null,
        ),
        "process" => members!(record;
            "Act": "Acc",
            "Hld": Null,
            "AttCnt": 1, "AttNames": json!([mail.attachment]), "AttSize": mail.attachment_size,
            "MsgSize": mail.size,
            "IPInternalName": false, "IPNewDomain": true, "IPReplyMismatch": false,
            "IPSimilarDomain": false, "IPThreadDict": false,
        ),
        "delivery" => members!(record;
            "Delivered": true,
            "Attempt": 1, "AttCnt": 1, "AttSize": mail.attachment_size,
            "Cphr": "TLS_AES_256_GCM_SHA384", "TlsVer": "TLSv1.3", "UseTls": "Yes",
            "Dir": "Inbound",
            "IP": "198.51.100.25",
            "Latency": 2210,
            "Rcpt": mail.recipient.as_str(),
            "ReceiptAck": "250 2.6.0 queued",
            "RejType": Null, "RejCode": Null, "RejInfo": Null, "Err": Null,
            "Route": "Default Inbound",
            "Snt": mail.size,
        ),
        "jrnl" => members!(record;
            "Rcpt": mail.recipient.as_str(),
            "RcptActType": "Jnl", "RcptHdrType": "Unknown",
            "Dir": "Internal",
        ),
        "av" => {
            file(&mut record, mail);
            members!(record;
                "MimecastIP": "No", "CustomerIP": "No",
                "SenderDomainInternal": "No",
                "Virus": "Test.Eicar",
            );
        }
        "ttp_ap" => file(&mut record, mail),
        "spameventthread" => members!(record;
            "Recipient": mail.recipient.as_str(),
            "Route": "Inbound",
            "SenderDomain": mail.sender_domain,
            "SourceIP": mail.ip.as_str(),
            "headerFrom": mail.sender.as_str(),
        ),
        "iep" => members!(record;
            "Recipient": mail.recipient.as_str(),
            "Route": "Internal",
            "ScanResultInfo": "Blocked URL Category",
            "URL": mail.url.as_str(),
            "UrlCategory": "Phishing & Fraud",
        ),
        "impersonation" => members!(record;
            "Recipient": mail.recipient.as_str(),
            "Action": "Hold",
            "Definition": "Impersonation default",
            "Hits": 2,
            "IP": mail.ip.as_str(),
            "InternalName": true, "NewDomain": true, "ReplyMismatch": false,
            "CustomName": false, "CustomThreatDictionary": false, "ThreatDictionary": false,
            "SimilarInternalDomain": false, "SimilarMimecastExternalDomain": false,
            "SimilarCustomExternalDomain": false,
            "TaggedExternal": false, "TaggedMalicious": true,
            "Route": "Inbound",
        ),
        _ => {}
    }
    record
}

fn file(record: &mut Record, mail: &Mail) {
    let extension = mail.attachment.rsplit('.').next().unwrap_or_default();
    members!(record;
        "IP": mail.ip.as_str(),
        "Recipient": mail.recipient.as_str(),
        "Route": "Inbound",
        "SenderDomain": mail.sender_domain,
        "Size": mail.attachment_size,
        "fileExt": extension,
        "fileMime": "application/octet-stream",
        "fileName": mail.attachment,
        "md5": mail.digest.as_str(),
        "sha1": format!("{}01234567", mail.digest),
        "sha256": format!("{0}{0}", mail.digest),
    );
}
