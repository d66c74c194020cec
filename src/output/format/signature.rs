//! THE table of kinds of event: few names, stable and never translated, by which a SIEM tells events apart.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::Field;
use crate::model::Form;

/// What a kind of event is called, and how bad it is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::output) struct Signature {
    /// Log types that consist of it; with `kinds` empty.
    pub(super) logs: &'static [&'static str],
    /// Record types of the mail logs and of the collector's own events; with `logs` empty.
    pub(super) kinds: &'static [&'static str],
    /// Event id in LEEF, signature id in CEF, message id in RFC 5424.
    pub(in crate::output) id: &'static str,
    /// For people.
    pub(super) name: &'static str,
    /// The category.
    pub(super) category: &'static str,
    /// From 0 to 10, unless the event itself says more.
    pub(super) severity: u8,
}

const fn log(
    logs: &'static [&'static str],
    id: &'static str,
    name: &'static str,
    category: &'static str,
    severity: u8,
) -> Signature {
    Signature {
        logs,
        kinds: &[],
        id,
        name,
        category,
        severity,
    }
}

const fn kind(
    kinds: &'static [&'static str],
    id: &'static str,
    name: &'static str,
    category: &'static str,
    severity: u8,
) -> Signature {
    Signature {
        kinds,
        ..log(&[], id, name, category, severity)
    }
}

/// The rows, in the order of the document.
pub(super) static SIGNATURES: &[Signature] = &[
    kind(
        &["receipt"],
        "email-receipt",
        "Mail received or rejected",
        "email",
        3,
    ),
    kind(&["process"], "email-process", "Mail processed", "email", 3),
    kind(
        &["delivery"],
        "email-delivery",
        "Mail delivered",
        "email",
        3,
    ),
    kind(
        &["journal", "jrnl"],
        "email-journal",
        "Mail journaled",
        "email",
        2,
    ),
    kind(&["mailflow"], "email-flow", "Mail seen", "email", 3),
    kind(
        &["spam", "spameventthread"],
        "email-spam",
        "Spam",
        "email",
        5,
    ),
    kind(&["av"], "email-virus", "Virus found", "malware", 8),
    kind(
        &["internal email protect", "iep"],
        "internal-email-protect",
        "Threat in internal mail",
        "threat",
        7,
    ),
    kind(&["entities"], "threat-entity", "Threat found", "threat", 7),
    kind(&["urlclick"], "url-click", "Link clicked", "web", 5),
    kind(
        &["url protect", "ttp_url"],
        "url-protect",
        "Link checked",
        "web",
        7,
    ),
    log(&["ttp-url"], "url-protect", "Link checked", "web", 7),
    kind(
        &["attachment protect", "ttp_ap"],
        "attachment-protect",
        "Attachment checked",
        "malware",
        8,
    ),
    log(
        &["ttp-attachment"],
        "attachment-protect",
        "Attachment checked",
        "malware",
        8,
    ),
    kind(
        &["impersonation protect", "impersonation"],
        "impersonation-protect",
        "Impersonation suspected",
        "threat",
        7,
    ),
    log(
        &["ttp-impersonation"],
        "impersonation-protect",
        "Impersonation suspected",
        "threat",
        7,
    ),
    log(&["dlp"], "dlp", "Content policy applied", "dlp", 7),
    log(&["audit"], "audit", "Console activity", "audit", 4),
    log(
        &["held-release"],
        "held-release",
        "Held mail released or rejected",
        "email",
        4,
    ),
    log(
        &["rejections"],
        "email-rejection",
        "Connection or mail rejected",
        "email",
        5,
    ),
    log(
        &["archive-search"],
        "archive-search",
        "Archive searched",
        "audit",
        4,
    ),
    log(
        &["archive-view"],
        "archive-view",
        "Archived mail viewed",
        "audit",
        4,
    ),
    log(&["held-messages"], "held-message", "Mail held", "email", 4),
    log(
        &["held-summary"],
        "held-summary",
        "Held mails counted",
        "email",
        2,
    ),
    log(
        &[
            "awareness-performance",
            "awareness-watchlist",
            "awareness-safe-score",
            "awareness-campaigns",
            "awareness-campaign-users",
            "awareness-training",
        ],
        "awareness",
        "Awareness training",
        "awareness",
        2,
    ),
    log(
        &["threat-feed-customer", "threat-feed-grid"],
        "threat-feed",
        "Malware listed",
        "threat-intelligence",
        3,
    ),
    kind(
        &["alert"],
        "collector-alert",
        "Alert of the collector",
        "collector",
        6,
    ),
    kind(
        &["heartbeat"],
        "collector-heartbeat",
        "Heartbeat of the collector",
        "collector",
        1,
    ),
];

/// What no row fits.
pub(super) static OTHER: Signature = kind(&[], "other", "Mimecast event", "other", 3);

/// Names of fields that say what was done.
const ACTIONS: &[&str] = &[
    "action",
    "Act",
    "Action",
    "actions",
    "actionTriggered",
    "threatState",
];

/// How the members with these names begin.
static ACTION_MEMBERS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["\"action", "\"Act", "\"threatState"].map(Finder::new));

/// How characters are spelled by which a name can be hidden.
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// The beginnings of what is done to a mail that is not let through, in small letters.
const STOPPED: &[&str] = &[
    "block",
    "hold",
    "held",
    "hld",
    "rej",
    "quarantin",
    "delet",
    "bounc",
    "bnc",
];

impl Signature {
    /// The row of a record type of a log.
    pub(in crate::output) fn of(log: &str, kind: &str) -> &'static Self {
        let mail = matches!(log, "siem" | "siem-cg" | "siem-ci" | "collector");
        let is = |row: &&Self| {
            if mail {
                row.kinds.contains(&kind)
            } else {
                row.logs.contains(&log)
            }
        };
        SIGNATURES.iter().find(is).unwrap_or(&OTHER)
    }

    /// What [`Self::severity_with`] says of the fields of a body, if it shows without taking the body apart that no mail was stopped. It must
    /// not be mistaken, but may be unsure.
    pub(super) fn severity_at_a_glance(&self, form: Form, body: &str) -> Option<u8> {
        let body = body.as_bytes();
        if form != Form::Json || self.id == "collector-alert" || ESCAPE.find(body).is_some() {
            return None;
        }
        let mut members = ACTION_MEMBERS.iter().flat_map(|name| {
            let found = name.find_iter(body);
            found.filter_map(move |at| body.get(at + name.needle().len()..))
        });
        members.all(is_harmless).then_some(self.severity)
    }

    /// How bad an event is, from 0 to 10: two more than the row says if a mail was stopped; an alert says it itself.
    pub(super) fn severity_with(&self, fields: &[Field<'_>]) -> u8 {
        let value = |name: &str| {
            fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| &*field.value)
        };
        if self.id == "collector-alert" {
            return match value("severity") {
                Some("high") => 9,
                Some("medium") => 6,
                Some("low") => 4,
                Some(_) | None => 3,
            };
        }
        let stopped = ACTIONS
            .iter()
            .filter_map(|name| value(name))
            .any(|action| is_stopped(action.as_bytes()));
        if stopped {
            (self.severity + 2).min(10)
        } else {
            self.severity
        }
    }
}

fn is_stopped(action: &[u8]) -> bool {
    STOPPED.iter().any(|beginning| {
        let here = action.get(..beginning.len());
        here.is_some_and(|here| here.eq_ignore_ascii_case(beginning.as_bytes()))
    })
}

/// Whether what follows the beginning of a name in JSON is surely no member that says that a mail was stopped.
fn is_harmless(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
    match rest.get(end.unwrap_or(rest.len())..) {
        Some([b'"', b':', b'"', value @ ..]) => value.first() != Some(&b'\\') && !is_stopped(value),
        // A list, an object or white space.
        Some([b'"', b':', b'a'..=b'z' | b'0'..=b'9' | b'-', ..]) => true,
        // A text of the same beginning.
        Some([b'"', b',' | b'}' | b']', ..]) => true,
        Some([b'"', ..]) => false,
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::format::fields;

    #[test]
    fn a_stopped_mail_is_worse_than_one_that_passed() {
        let severity = |log, kind, body| {
            let fields = fields::of(Form::Json, body);
            Signature::of(log, kind).severity_with(&fields)
        };
        assert_eq!(severity("siem-cg", "receipt", r#"{"action":"Acc"}"#), 3);
        assert_eq!(severity("siem", "receipt", r#"{"Act":"Rej"}"#), 5);
        assert_eq!(
            severity("siem-cg", "url protect", r#"{"action":"Block"}"#),
            9
        );
        assert_eq!(
            severity("ttp-attachment", "x", r#"{"actionTriggered":"block"}"#),
            10
        );
        assert_eq!(severity("collector", "alert", r#"{"severity":"high"}"#), 9);
        assert_eq!(severity("new-log", "x", "{}"), 3);
    }

    proptest! {
        #[test]
        fn a_glance_is_never_mistaken(
            members in prop::collection::vec(
                (
                    "action|Act|Action|actions|actionTriggered|threatState|act|x|action2|\\\\u0061ction",
                    prop_oneof![
                        r#""(block|Hold|held|Acc|none|\\\\u0062lock|\\\\"block)[a-z]{0,3}""#,
                        r#"\[?"(Rej|ok)"\]?|null|true|-1|\{"action":"block"\}|"\{\\\\"action\\\\":\\\\"block\\\\"\}"|"action""#,
                    ],
                    "[ ]?",
                ),
                0..4,
            ),
        ) {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value, space)| format!("\"{name}\"{space}:{space}{value}"))
                .collect();
            let body = format!("{{{}}}", members.join(","));
            let row = Signature::of("siem-cg", "receipt");
            if let Some(severity) = row.severity_at_a_glance(Form::Json, &body) {
                let fields = fields::of(Form::Json, &body);
                prop_assert_eq!(severity, row.severity_with(&fields), "{}", body);
            }
        }

        #[test]
        fn a_plain_record_is_judged_at_a_glance(action in "Acc|none|delivered") {
            let body = format!(r#"{{"subtype":"Acc","action":"{action}","Hostname":"actions"}}"#);
            let row = Signature::of("siem-cg", "receipt");
            prop_assert_eq!(row.severity_at_a_glance(Form::Json, &body), Some(row.severity));
        }
    }
}
