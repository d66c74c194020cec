//! Events of the collector's own as people and their tools are told of them: alerts, and heartbeats where they are asked for.
//!
//! An alert is the JSON object that the store has of it, with its event id, which a repeat carries too. What it says besides is worked
//! out here, so that a message and a program hear the same.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{Record, Timestamp};

/// An alert that lasts is said again each day; an hour later nobody says it any more.
const LASTS: Duration = Duration::from_hours(25);

/// Members that an alert or a heartbeat may have, and what is worked out besides: what can be asked for.
pub(super) const NAMES: &[&str] = &[
    "event",
    "alert",
    "severity",
    "subject",
    "integration",
    "tags",
    "log",
    "output",
    "account_code",
    "code",
    "what",
    "state",
    "since",
    "said",
    "attempts",
    "next_attempt",
    "collector",
    "to_do",
    "request_ids",
    "method",
    "endpoint",
    "status_page",
    "time",
    "version",
    "streams",
    "streams_healthy",
    "events",
    "bytes",
    "quarantined",
    "records_read",
    "records_known",
    "files_fetched",
    "files_waiting",
    "retention_left_seconds",
    "retention_low",
    "behind_seconds",
    EVENT_ID,
    "expires",
    "line",
    "object",
];

const EVENT_ID: &str = "event_id";

/// One alert, or heartbeat.
#[derive(Clone, Debug)]
pub(super) struct Told {
    members: Map<String, Value>,
    time: Timestamp,
}

impl Told {
    /// What a record says. One that is no JSON object, which the collector never writes, is told as it is.
    pub(super) fn of(record: &Record) -> Self {
        let mut members = match serde_json::from_slice(&record.body) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => {
                let said = record.body_str().into_owned();
                Map::from_iter([("what".to_owned(), Value::String(said))])
            }
        };
        members.insert(EVENT_ID.to_owned(), Value::String(record.id.to_string()));
        Self {
            members,
            time: record.time,
        }
    }

    /// The object, for those who read JSON.
    pub(super) fn object(&self) -> Value {
        Value::Object(self.members.clone())
    }

    /// What is asked for by a name of [`NAMES`], or `tags.` and a tag's; `None` if this one has nothing of the kind.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        match name {
            "line" => Some(Value::String(self.line())),
            "expires" => Some(Value::String(self.expires().to_string())),
            "object" => Some(self.object()),
            _ => {
                let found = match name.strip_prefix("tags.") {
                    Some(tag) => self.members.get("tags")?.get(tag),
                    None => self.members.get(name),
                };
                found.filter(|value| !value.is_null()).cloned()
            }
        }
    }

    /// When it is over, unless it is said again: for those who must be told beforehand.
    fn expires(&self) -> Timestamp {
        if self.text("alert") == "cleared" {
            self.time
        } else {
            self.time + LASTS
        }
    }

    fn text(&self, name: &str) -> &str {
        self.members
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `alert`'s word; `heartbeat` for one.
    fn word(&self) -> &str {
        match self.text("alert") {
            "" => self.text("event"),
            alert => alert,
        }
    }

    /// All that matters in one line.
    fn line(&self) -> String {
        let [word, severity, subject, what, code, to_do] = [
            self.word(),
            self.text("severity"),
            self.text("subject"),
            self.text("what"),
            self.text("code"),
            self.text("to_do"),
        ];
        match word {
            "heartbeat" => format!(
                "heartbeat: {} is {}",
                self.text("integration"),
                self.text("state")
            ),
            "cleared" => format!("cleared: {subject}: {what}"),
            _ if to_do.is_empty() => format!("{word} ({severity}): {subject}: {what} ({code})"),
            _ => format!("{word} ({severity}): {subject}: {what} ({code}). To do: {to_do}"),
        }
    }
}

/// What a message can say of all that it tells.
pub(super) const OF_ALL: &[&str] = &["count", "title", "text", "worst", "objects"];

/// From the worst.
const SEVERITIES: [&str; 3] = ["high", "medium", "low"];

/// What is asked for of all by a name of [`OF_ALL`].
pub(super) fn of_all(all: &[Told], name: &str) -> Option<Value> {
    match name {
        "count" => Some(all.len().into()),
        "title" => Some(Value::String(title(all))),
        "text" => {
            let lines: Vec<_> = all.iter().map(Told::line).collect();
            Some(Value::String(lines.join("\n")))
        }
        "worst" => {
            let is_there =
                |severity: &&&str| all.iter().any(|one| one.text("severity") == **severity);
            let worst = SEVERITIES.iter().find(is_there).copied().unwrap_or("info");
            Some(worst.into())
        }
        "objects" => Some(all.iter().map(Told::object).collect()),
        _ => None,
    }
}

/// How many of each kind: `Mimecast collector: 2 raised, 1 cleared`.
fn title(all: &[Told]) -> String {
    const KINDS: [(&str, &str); 4] = [
        ("raised", "raised"),
        ("reminder", "lasting"),
        ("cleared", "cleared"),
        ("heartbeat", "heartbeats"),
    ];
    let count = |word: &str| all.iter().filter(|one| one.word() == word).count();
    let counts = KINDS.iter().map(|(word, shown)| (count(word), shown));
    let shown: Vec<_> = counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, shown)| format!("{count} {shown}"))
        .collect();
    format!("Mimecast collector: {}", shown.join(", "))
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;
    use crate::model::{EventId, Form};

    /// An alert as the store has it.
    pub(in crate::output) fn alert(word: &str, subject: &str) -> Record {
        let trouble = r#""said":"a \"quote\" & <b>","attempts":2,"collector":"waits","to_do":"Mend it.","request_ids":["r-1","r-2"],
            "method":"POST","endpoint":"/api/x","tags":{"customer":"acme \"ltd\""},"#;
        let (trouble, severity, what) = match word {
            "cleared" => ("", "info", "recovered from 401/0010"),
            _ => (trouble, "high", "Login locked out"),
        };
        let body = format!(
            r#"{{"event":"alert","alert":"{word}","severity":"{severity}","subject":"{subject}","integration":"acme","code":"401/0010",
            "what":"{what}","state":"blocked","since":"2026-01-06T09:00:00.000Z",{trouble}"time":"2026-01-06T09:08:07.000Z","version":"1"}}"#
        );
        Record {
            id: EventId::own("alert", &body),
            time: Timestamp::from_millis(1_767_690_487_000),
            form: Form::Json,
            kind: "alert".into(),
            body: body.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::alert;
    use super::*;

    #[test]
    fn an_alert_is_one_line_and_all_of_them_have_a_title() {
        let all = [
            Told::of(&alert("raised", "credential acme")),
            Told::of(&alert("cleared", "output splunk")),
        ];
        let say = |name| of_all(&all, name).unwrap();
        assert_eq!(say("title"), "Mimecast collector: 1 raised, 1 cleared");
        assert_eq!((say("count"), say("worst")), (2.into(), "high".into()));
        assert_eq!(
            say("text"),
            "raised (high): credential acme: Login locked out (401/0010). To do: Mend it.\n\
             cleared: output splunk: recovered from 401/0010"
        );
    }

    #[test]
    fn the_page_of_alerts_names_all_that_can_be_asked_for() {
        let page = include_str!("../../docs/alerts.md");
        for name in NAMES.iter().chain(OF_ALL) {
            assert!(page.contains(&format!("`{{{name}}}`")), "{name}");
        }
    }

    #[test]
    fn an_alert_that_lasts_outlives_its_reminder_and_one_that_is_cleared_is_over() {
        let expires = |word| Told::of(&alert(word, "x")).get("expires").unwrap();
        assert_eq!(expires("raised"), "2026-01-07T10:08:07.000Z");
        assert_eq!(expires("reminder"), "2026-01-07T10:08:07.000Z");
        assert_eq!(expires("cleared"), "2026-01-06T09:08:07.000Z");
    }

    #[test]
    fn a_heartbeat_is_told_where_it_is_asked_for() {
        let heartbeat = Record {
            kind: "heartbeat".into(),
            body: r#"{"event":"heartbeat","integration":"acme","state":"healthy","streams":3,"time":"x"}"#.into(),
            ..alert("raised", "x")
        };
        let told = [Told::of(&heartbeat)];
        assert_eq!(told[0].get("streams").unwrap(), 3);
        let say = |name| of_all(&told, name).unwrap();
        assert_eq!(say("text"), "heartbeat: acme is healthy");
        assert_eq!(say("title"), "Mimecast collector: 1 heartbeats");
    }

    #[test]
    fn what_an_alert_has_not_is_told_from_what_is_empty() {
        let told = Told::of(&alert("raised", "x"));
        assert_eq!(told.get("tags.customer").unwrap(), "acme \"ltd\"");
        assert_eq!(told.get("attempts").unwrap(), 2);
        assert_eq!([told.get("tags.other"), told.get("log")], [None, None]);
    }
}
