//! THE table of fields: what Mimecast's names are called in CEF and in LEEF. `docs/formats.md` is printed from it.
//!
//! A field that has no row, or whose key the event has already, or whose value the key cannot hold, goes under a name of its own:
//! nothing is dropped.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

/// What a key of CEF can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// An IPv4 address.
    Ip,
    /// `0` for inbound, `1` for outbound.
    Direction,
}

/// Where a field goes.
#[derive(Debug)]
pub(super) struct Row {
    /// The record type that the row is for; empty for all.
    pub(super) kind: &'static str,
    /// Names in API 2.0 and in the listings of both versions, `a.b` for members of members.
    pub(super) names: &'static [&'static str],
    /// Names in the files of API 1.0.
    pub(super) old_names: &'static [&'static str],
    /// The key in CEF.
    pub(super) cef: &'static str,
    /// What a custom key of CEF (`cs1`, `cn1`) is labelled.
    pub(super) label: &'static str,
    /// What the key in CEF can hold.
    pub(super) holds: Holds,
    /// The key in LEEF.
    pub(super) leef: &'static str,
}

const fn row(
    names: &'static [&'static str],
    old_names: &'static [&'static str],
    cef: &'static str,
    leef: &'static str,
) -> Row {
    Row {
        kind: "",
        names,
        old_names,
        cef,
        label: "",
        holds: Holds::Text,
        leef,
    }
}

impl Row {
    const fn label(self, label: &'static str) -> Self {
        Self { label, ..self }
    }

    const fn holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    const fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// The value as the key in CEF holds it; `None` if it cannot.
    pub(super) fn cef_value<'v>(&self, value: &'v str) -> Option<&'v str> {
        match self.holds {
            Holds::Text => Some(value),
            Holds::Number => value.parse::<i64>().is_ok().then_some(value),
            Holds::Ip => value.parse::<Ipv4Addr>().is_ok().then_some(value),
            Holds::Direction if value.eq_ignore_ascii_case("inbound") => Some("0"),
            Holds::Direction if value.eq_ignore_ascii_case("outbound") => Some("1"),
            Holds::Direction => None,
        }
    }
}

/// The rows, in the order of the document.
pub(super) const ROWS: &[Row] = &[
    row(&["destinationIp"], &["IP"], "dst", "dst")
        .holds(Holds::Ip)
        .kind("delivery"),
    row(
        &[
            "senderIp",
            "sourceIp",
            "senderIpAddress",
            "ipAddress",
            "sendingIp",
        ],
        &["IP", "SourceIP"],
        "src",
        "src",
    )
    .holds(Holds::Ip),
    row(&["destinationIp"], &[], "dst", "dst").holds(Holds::Ip),
    row(&["Hostname"], &[], "dhost", "destinationHost"),
    row(&["remoteEhlo"], &[], "shost", "sourceHost"),
    row(
        &[
            "senderEnvelope",
            "senderAddress",
            "fromUserEmailAddress",
            "fromAddress",
            "fromEnv.emailAddress",
            "from.emailAddress",
            "from",
            "sender",
        ],
        &["Sender"],
        "suser",
        "sender",
    ),
    row(
        &[
            "senderHeader",
            "fromHdr.emailAddress",
            "fromHeader.emailAddress",
        ],
        &["headerFrom"],
        "cs1",
        "fromHeader",
    )
    .label("headerFrom"),
    row(
        &[
            "recipients",
            "recipient",
            "recipientAddress",
            "userEmailAddress",
            "toAddress",
            "to.emailAddress",
            "to",
            "emailAddr",
            "emailAddress",
            "email",
        ],
        &["Rcpt", "Recipient"],
        "duser",
        "recipient",
    ),
    row(
        &["user", "viewer", "operator.emailAddress"],
        &[],
        "suser",
        "usrName",
    ),
    row(&["subject"], &["Subject"], "msg", "subject"),
    row(&["eventInfo", "description"], &[], "msg", "details"),
    row(
        &["messageId"],
        &["MsgId", "msgid"],
        "externalId",
        "messageId",
    ),
    row(&["processingId"], &[], "cs2", "processingId").label("processingId"),
    row(&["aggregateId"], &["aCode"], "cs3", "aggregateId").label("aggregateId"),
    row(&["accountId"], &["acc"], "cs4", "account").label("accountId"),
    row(
        &["action", "actionTriggered", "threatState"],
        &["Act", "Action"],
        "act",
        "action",
    ),
    row(
        &["direction", "route"],
        &["Dir", "Route"],
        "deviceDirection",
        "direction",
    )
    .holds(Holds::Direction),
    row(
        &["rejectionInfo", "rejectReason", "info"],
        &["RejInfo"],
        "reason",
        "reason",
    ),
    row(
        &["rejectionType"],
        &["RejType"],
        "mcRejectionType",
        "rejectionType",
    ),
    row(
        &["rejectionCode"],
        &["RejCode"],
        "mcRejectionCode",
        "rejectionCode",
    ),
    row(
        &["holdReason", "heldReason", "reason", "blockReason"],
        &["Hld"],
        "reason",
        "holdReason",
    ),
    row(&["spamScore"], &["SpamScore"], "cn1", "spamScore")
        .label("spamScore")
        .holds(Holds::Number),
    row(&["virusFound"], &["Virus"], "cs5", "virus").label("virusFound"),
    row(&["fileName"], &[], "fname", "fileName"),
    row(&["sha256", "fileHash", "hash"], &[], "fileHash", "fileHash"),
    row(&["fileMime", "fileType"], &[], "fileType", "fileType"),
    row(&["sizeAttachment"], &["Size"], "fsize", "fileSize").holds(Holds::Number),
    row(
        &["emailSize", "size"],
        &["MsgSize", "Snt"],
        "cn2",
        "emailSize",
    )
    .label("emailSize")
    .holds(Holds::Number),
    row(
        &["numberAttachments"],
        &["AttCnt"],
        "cn3",
        "attachmentCount",
    )
    .label("attachmentCount")
    .holds(Holds::Number),
    row(&["url"], &["URL"], "request", "url"),
    row(&["urlCategory"], &["UrlCategory"], "cs6", "urlCategory").label("urlCategory"),
    row(
        &["result", "scanResult", "delivered"],
        &["Delivered"],
        "outcome",
        "outcome",
    ),
    row(
        &[
            "policyDefinition",
            "definition",
            "ttpDefinition",
            "policy",
            "policyInfo",
        ],
        &["Definition"],
        "mcPolicy",
        "policy",
    ),
    row(&["tlsVersion"], &["TlsVer"], "mcTlsVersion", "tlsVersion"),
    row(&["tlsCipher"], &["Cphr"], "mcTlsCipher", "tlsCipher"),
];

/// Names of fields that are shortened before all others.
pub(super) const LONG: &[&str] = &[
    "url",
    "URL",
    "subject",
    "Subject",
    "attachments",
    "AttNames",
    "headers",
    "spamInfo",
    "SpamInfo",
    "receiptErrors",
    "deliveryErrors",
    "rejectionInfo",
    "RejInfo",
    "eventInfo",
    "details",
    "info",
    "recipients",
    "Rcpt",
    "searchText",
];

/// Whether a field is shortened before others.
pub(super) fn is_long(name: &str) -> bool {
    LONG.contains(&name) || name.starts_with("spamProcessingDetail")
}

/// The row of a field of a record type.
pub(super) fn find(kind: &str, name: &str) -> Option<&'static Row> {
    static INDEX: LazyLock<HashMap<(&str, &str), &Row>> = LazyLock::new(|| {
        let mut index = HashMap::new();
        for row in ROWS {
            for name in row.names.iter().chain(row.old_names) {
                index.entry((row.kind, *name)).or_insert(row);
            }
        }
        index
    });
    let of = |kind| INDEX.get(&(kind, name)).copied();
    of(kind).or_else(|| of(""))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_has_one_row_and_a_custom_key_one_label() {
        let (mut names, mut labels) = (HashSet::new(), HashSet::new());
        for row in ROWS {
            for name in row.names.iter().chain(row.old_names) {
                assert!(names.insert((row.kind, name)), "{name} twice");
            }
            let custom =
                row.cef.len() == 3 && (row.cef.starts_with("cs") || row.cef.starts_with("cn"));
            assert_eq!(custom, !row.label.is_empty(), "{}", row.cef);
            assert!(
                !custom || labels.insert(row.cef),
                "{} has two labels",
                row.cef
            );
        }
    }

    #[test]
    fn a_key_takes_only_what_it_can_hold() {
        let value = |kind, name, value| {
            find(kind, name)
                .unwrap()
                .cef_value(value)
                .map(str::to_owned)
        };
        assert_eq!(
            value("receipt", "IP", "192.0.2.1").as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(value("receipt", "IP", "2001:db8::1"), None);
        assert_eq!(value("receipt", "Dir", "Inbound").as_deref(), Some("0"));
        assert_eq!(value("receipt", "route", "Default Inbound"), None);
        assert_eq!(value("receipt", "spamScore", "many"), None);
        assert_eq!(find("delivery", "IP").unwrap().cef, "dst");
        assert_eq!(find("receipt", "IP").unwrap().cef, "src");
    }
}
