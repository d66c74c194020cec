//! Records of the endpoints with an envelope, as the vendor's documents show them.

use serde_json::{Value, json};

use super::{Mail, Record, members};
use crate::mimecast::log_types::LogType;
use crate::model::Timestamp;

/// A record of the log type, by its name; of one that is not known here, what all have.
pub(super) fn record(log: &LogType, mail: &Mail, at: Timestamp) -> Record {
    let mut record = Record::new();
    let time = at.calendar().strftime("%Y-%m-%dT%H:%M:%S+0000").to_string();
    let id = format!("eNq{}", mail.id);
    let (sender, recipient) = (mail.sender.as_str(), mail.recipient.as_str());
    let (subject, message_id) = (mail.subject.as_str(), mail.message_id.as_str());
    match log.name {
        "audit" => members!(record;
            "id": id,
            "auditType": "User Logged On",
            "user": recipient,
            "eventTime": time,
            "eventInfo": event_info(mail, at),
            "category": "authentication_logs",
        ),
        "ttp-url" => members!(record;
            "userEmailAddress": recipient,
            "fromUserEmailAddress": sender,
            "url": mail.url.as_str(),
            "ttpDefinition": "Inbound URL Protection",
            "subject": subject,
            "action": "block",
            "adminOverride": "N/A",
            "userOverride": "None",
            "scanResult": "malicious",
            "category": "Phishing & Fraud",
            "sendingIp": "Internal IP",
            "userAwarenessAction": "N/A",
            "date": time,
            "actions": "Block",
            "route": "inbound",
            "creationMethod": "User Click",
            "emailPartsDescription": json!(["Body"]),
            "messageId": message_id,
        ),
        "ttp-attachment" => members!(record;
            "senderAddress": sender,
            "recipientAddress": recipient,
            "fileName": mail.attachment,
            "fileType": "application/octet-stream",
            "result": "safe",
            "actionTriggered": "none, none",
            "date": time,
            "details": "Safe \r\nTime taken: 0 hrs, 0 min, 7 sec",
            "route": "inbound",
            "messageId": message_id,
            "subject": subject,
            "fileHash": mail.digest.as_str(),
            "definition": "Default Attachment Protect",
        ),
        "ttp-impersonation" => members!(record;
            // The vendor does not promise that it is unique.
            "id": "MTOKEN:eNoVzk0LgkAUheH_cre1",
            "senderAddress": sender,
            "recipientAddress": recipient,
            "subject": subject,
            "definition": "Impersonation default",
            "hits": 2,
            "identifiers": json!(["internal_user_name", "newly_observed_domain"]),
            "action": "hold",
            "taggedExternal": false,
            "taggedMalicious": true,
            "senderIpAddress": mail.ip.as_str(),
            "eventTime": time,
            "messageId": message_id,
        ),
        "dlp" => members!(record;
            "senderAddress": "<>",
            "recipientAddress": recipient,
            "subject": subject,
            "eventTime": time,
            "route": "outbound",
            "policy": "Card numbers",
            "action": "hold",
            "messageId": message_id,
        ),
        "held-release" => members!(record;
            "id": id,
            "status": "released",
            "rejectReason": "",
            "heldReason": "Default Spam Scanning Definition",
            "released": time,
            "operator": person("admin@example.com"),
            "fromEnv": person(sender),
            "fromHdr": person(sender),
            "to": json!([person(recipient)]),
            "subject": subject,
            "attachments": false,
            "route": "inbound",
            "size": mail.size,
            "spamScore": mail.spam_score,
            "detectionLevel": "moderate",
        ),
        "rejections" => members!(record;
            "id": id,
            "created": time,
            "description": "Recipient unknown",
            "detectionLevel": "",
            "fromAddress": sender,
            "info": format!("550 Invalid Recipient: {subject}"),
            "ipAddress": mail.ip.as_str(),
            "manageRecipient": false,
            "remoteEhlo": "mx.example.org",
            "spamScore": 0,
            "toAddress": recipient,
            "type": 12,
        ),
        "archive-search" => members!(record;
            "createTime": time,
            "emailAddr": "<>",
            "source": "archive",
            "searchText": subject,
            "searchReason": "legal request",
            "description": "Message tracking search",
        ),
        "archive-view" => members!(record;
            "to": recipient,
            "from": sender,
            "viewed": time,
            "source": "Admin Archive",
            "viewer": "admin@example.com",
            "discoveryCase": false,
            "contentViewed": true,
            "subject": subject,
        ),
        "held-messages" => members!(record;
            "id": id,
            "dateReceived": time,
            "from": person(sender),
            "fromHeader": person(sender),
            "to": person(recipient),
            "reason": "Message Held by spam policy",
            "reasonCode": "default_spam",
            "route": "INBOUND",
            "hasAttachments": false,
            "size": mail.size,
            "subject": subject,
            "policyInfo": "Default Spam Scanning",
        ),
        "held-summary" => members!(record;
            "policyInfo": format!("Policy {}", mail.number),
            "numberOfItems": mail.spam_score,
        ),
        "awareness-campaigns" => members!(record;
            "id": id,
            "name": subject,
            "launchDate": time,
            "numSent": mail.size,
            "numOpened": 3, "numClicked": 2, "numSubmitted": 1,
        ),
        "awareness-campaign-users" => members!(record;
            "name": format!("Ann Example {}", mail.number),
            "email": recipient,
            "status": "CLICKED",
            "timeOpened": time,
            "timeClicked": Value::Null,
            "numClicked": mail.spam_score,
        ),
        "awareness-performance"
        | "awareness-watchlist"
        | "awareness-safe-score"
        | "awareness-training" => {
            members!(record;
                "emailAddress": recipient,
                "name": format!("Ann Example {}", mail.number),
                "department": "Sales",
                "risk": "B",
                "numCorrect": mail.spam_score,
            );
        }
        "threat-feed-customer" | "threat-feed-grid" => members!(record;
            "created": time,
            "fileName": mail.attachment,
            "hash": format!("{0}{0}", mail.digest),
            "sender": sender,
            "subject": subject,
        ),
        _ => {
            members!(record; "id": id, "subject": subject);
            record.set(log.time_field, time);
        }
    }
    record
}

fn event_info(mail: &Mail, at: Timestamp) -> String {
    format!(
        "Successful authentication for {user} <{subject}>, Date: {date}, IP: {ip}, Application: Administration Console",
        user = mail.recipient,
        subject = mail.subject,
        date = at.calendar().strftime("%Y-%m-%d, Time: %H:%M:%S+0000"),
        ip = mail.ip,
    )
}

fn person(address: &str) -> Value {
    json!({"emailAddress": address, "displayableName": ""})
}
