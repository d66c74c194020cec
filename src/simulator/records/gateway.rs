//! Records of API 2.0's batch files: nearly every value is a string.

use serde_json::Value::Null;

use super::{Mail, Record, members};
use crate::model::Timestamp;

pub(super) fn record(kind: &str, mail: &Mail, at: Timestamp) -> Record {
    let mut record = Record::new();
    let subtype = match kind {
        "receipt" | "process" => "Acc".into(),
        "delivery" => "true".into(),
        "impersonation protect" => "Hold".into(),
        "url protect" => "Block".into(),
        _ => Null,
    };
    members!(record;
        "aggregateId": mail.id.as_str(),
        "processingId": format!("{}_{}", mail.id, mail.seconds),
        "accountId": "CEXA01",
        "timestamp": at.as_millis(),
        "type": kind,
        "subtype": subtype,
        "senderEnvelope": mail.sender.as_str(),
        "subject": mail.subject.as_str(),
    );
    if kind != "journal" {
        record.set("messageId", mail.message_id.as_str());
    }
    if kind != "process" && kind != "attachment protect" {
        record.set("recipients", mail.recipient.as_str());
    }
    let detail = r#"{"spf":{"info":"ALLOW","allow":true},"dkim":{"info":"UNKNOWN","allow":true}}"#;
    match kind {
        "receipt" => members!(record;
            "action": "Acc",
            "senderHeader": mail.sender.as_str(),
            "senderIp": mail.ip.as_str(),
            "rejectionType": Null, "rejectionCode": Null, "rejectionInfo": Null,
            "direction": "Inbound",
            "numberAttachments": "1",
            "tlsVersion": "TLSv1.3", "tlsCipher": "TLS_AES_256_GCM_SHA384",
            "spamInfo": "[]", "spamProcessingDetail": detail,
            "virusFound": Null,
            "spamScore": mail.spam_score.to_string(),
            "spamDetectionLevel": "",
            "receiptErrors": Null,
            "_offset": mail.number, "_partition": 41,
        ),
        "process" => members!(record;
            "action": "Acc",
            "holdReason": Null,
            "totalSizeAttachments": mail.attachment_size.to_string(),
            "numberAttachments": "1",
            "attachments": format!("\"{}\"", mail.attachment),
            "emailSize": mail.size.to_string(),
        ),
        "delivery" => members!(record;
            "delivered": "true",
            "destinationIp": "198.51.100.25",
            "Hostname": "mx1.example.com",
            "numberAttachments": "1",
            "direction": "Inbound",
            "totalSizeAttachments": mail.attachment_size.to_string(),
            "deliveryAttempts": "1", "deliveryTime": "2210", "deliveryErrors": Null,
            "tlsVersion": "TLSv1.3", "tlsCipher": "TLS_AES_256_GCM_SHA384", "tlsUsed": "Yes",
            "emailSize": mail.size.to_string(),
            "route": "Default Inbound",
            "rejectionType": Null, "rejectionCode": Null, "rejectionInfo": Null,
        ),
        "av" => {
            file(&mut record, mail);
            members!(record;
                "senderDomain": mail.sender_domain,
                "senderDomainInternal": "false",
                "virusFound": "Test.Eicar",
                "route": "Inbound",
                "senderIp": mail.ip.as_str(),
                "emailSize": mail.size.to_string(),
            );
        }
        "spam" => members!(record;
            "senderHeader": mail.sender.as_str(),
            "senderIp": mail.ip.as_str(),
            "senderDomain": mail.sender_domain,
            "route": "Inbound",
        ),
        "internal email protect" => members!(record;
            "urlCategory": "Phishing & Fraud",
            "scanResults": "Blocked URL Category",
            "route": "Internal",
            "monitoredDomainSource": Null, "similarDomain": Null,
        ),
        "impersonation protect" => members!(record;
            "senderIp": mail.ip.as_str(),
            "action": "Hold",
            "policyDefinition": "Impersonation default",
            "itemsDetected": "2",
            "route": "Inbound",
            "taggedMalicious": "true", "taggedExternal": "false",
            "internalUserName": "true", "newDomain": "true", "replyMismatch": "false",
            "customNameMatch": "false", "customThreatDictionary": "false",
            "mimecastThreatDictionary": "false", "similarInternalDomain": "false",
            "similarMimecastExternalDomain": "false", "similarCustomExternalDomain": "false",
        ),
        "url protect" => members!(record;
            "senderDomain": mail.sender_domain,
            "url": mail.url.as_str(),
            "urlCategory": "Phishing & Fraud",
            "action": "Block",
            "sourceIp": mail.ip.as_str(),
            "route": "inbound",
            "blockReason": "malicious",
            "analysis": "null",
        ),
        "attachment protect" => {
            file(&mut record, mail);
            members!(record;
                "fileMime": "application/octet-stream",
                "senderDomain": mail.sender_domain,
                "senderIp": mail.ip.as_str(),
                "recipient": mail.recipient.as_str(),
                "sizeAttachment": mail.attachment_size.to_string(),
                "route": "Inbound",
                "customerIp": "true",
            );
        }
        "entities" => members!(record;
            "threatState": "BLOCKED", "threatType": "phishing",
            "source": "OFFICE_365_MAIL", "direction": "INBOUND",
            "tags": Null, "historicalMail": false,
        ),
        "mailflow" => members!(record;
            "authResults": serde_json::json!([{"type": "SPF", "result": "pass", "aligned": true}]),
        ),
        "urlclick" => members!(record; "url": mail.url.as_str(), "action": "Block"),
        "journal" => members!(record; "direction": "Internal"),
        _ => {}
    }
    record
}

fn file(record: &mut Record, mail: &Mail) {
    let extension = mail.attachment.rsplit('.').next().unwrap_or_default();
    members!(record;
        "fileName": mail.attachment,
        "fileExtension": extension,
        "sha256": format!("{0}{0}", mail.digest),
        "sha1": format!("{}01234567", mail.digest),
        "md5": mail.digest.as_str(),
    );
}
