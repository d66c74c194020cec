//! Records made from a seed: the same seed, account and number give the same record again, so files need not be kept
//! to be compared.

mod gateway;
mod listed;
mod mta;

use serde_json::Value;

use super::shelf::Kept;
use crate::mimecast::log_types::LogType;
use crate::model::Timestamp;

/// The record types of API 1.0's files: the beginnings of their names.
pub(super) const MTA_KINDS: &[&str] = &[
    "receipt",
    "process",
    "delivery",
    "jrnl",
    "av",
    "spameventthread",
    "ttp_url",
    "ttp_ap",
    "impersonation",
    "iep",
];

/// What may be wrong with a record, or with the file around it. Of a list of n kinds of dirt, each record in turn
/// gets the next one, and each n+1st is clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirt {
    /// A subject in many scripts.
    Unicode,
    /// A subject with quotes, backslashes and control characters.
    Escapes,
    /// A subject with `|` and `=`, which pipe-separated records do not escape.
    Pipe,
    /// No time.
    NoTime,
    /// The record before it once more.
    Repeated,
    /// Bytes that are not UTF-8; in files only.
    InvalidUtf8,
    /// A blank line after it; in files only.
    BlankLine,
    /// Its line ends with CR LF; in files only.
    CrLf,
}

/// A record before it is written: members in the order of the vendor.
pub(super) struct Record(Vec<(&'static str, Value)>);

/// What a record is made of.
pub(super) struct Recipe<'a> {
    pub(super) log: &'static LogType,
    /// The record type.
    pub(super) kind: &'a str,
    pub(super) seed: u64,
    pub(super) account: &'a str,
    /// Its number among the account's records of that type.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) dirt: Option<Dirt>,
    /// Bytes added to the subject.
    pub(super) padding: usize,
}

impl Recipe<'_> {
    pub(super) fn make(&self) -> Record {
        let mail = Mail::new(self);
        let mut record = match Kept::of(self.log) {
            Kept::Batches => gateway::record(self.kind, &mail, self.at),
            Kept::Chain => mta::record(self.kind, &mail, self.at),
            Kept::Span | Kept::Queue | Kept::Feed => listed::record(self.log, &mail, self.at),
        };
        if self.dirt == Some(Dirt::NoTime) {
            record.0.retain(|(name, _)| *name != self.log.time_field);
        }
        record
    }
}

/// One record of every type of every log, as JSON: log, record type, record. The files of API 1.0 once more as lines of
/// `key=value`, whose record type then ends in `=`.
#[cfg(test)]
pub(crate) fn samples(at: Timestamp) -> Vec<(&'static str, String, String)> {
    let mut samples = Vec::new();
    for log in crate::mimecast::log_types::LOG_TYPES {
        let (kinds, has_lines) = match Kept::of(log) {
            Kept::Batches => (log.event_types, false),
            Kept::Chain => (MTA_KINDS, true),
            Kept::Span | Kept::Queue | Kept::Feed => (std::slice::from_ref(&log.name), false),
        };
        for kind in kinds {
            let recipe = Recipe {
                log,
                kind,
                seed: 7,
                account: "one",
                number: 1,
                at,
                dirt: Some(Dirt::Escapes),
                padding: 0,
            };
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let record = recipe.make();
            samples.push((log.name, (*kind).to_owned(), text(record.json())));
            if has_lines {
                samples.push((log.name, format!("{kind}="), text(record.key_value())));
            }
        }
    }
    samples
}

/// Stands in a subject for bytes that a `String` cannot hold.
const INVALID: &str = "\u{f8ff}";

impl Record {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    /// As a JSON object on one line.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut text = String::from("{");
        for (name, value) in &self.0 {
            let comma = if text.len() > 1 { "," } else { "" };
            text.push_str(&format!("{comma}\"{name}\":{value}"));
        }
        text.push('}');
        dirty(&text)
    }

    /// As the endpoint of events writes it, which spells two members in another way.
    pub(super) fn event(&self) -> Vec<u8> {
        let spelled = self.0.iter().map(|(name, value)| {
            let name = match *name {
                "type" => "eventType",
                "subtype" => "subType",
                name => name,
            };
            (name, value.clone())
        });
        Self(spelled.collect()).json()
    }

    /// As `key=value` joined by `|`, without what is no plain value.
    pub(super) fn key_value(&self) -> Vec<u8> {
        let plain = self.0.iter().filter_map(|(name, value)| match value {
            Value::Null => Some(format!("{name}=")),
            Value::Bool(_) | Value::Number(_) => Some(format!("{name}={value}")),
            Value::String(text) => {
                let line = text.replace(|c: char| c.is_control(), " ");
                Some(format!("{name}={line}"))
            }
            Value::Array(_) | Value::Object(_) => None,
        });
        dirty(&plain.collect::<Vec<_>>().join("|"))
    }
}

fn dirty(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for (i, part) in text.split(INVALID).enumerate() {
        if i > 0 {
            bytes.extend(b"\xff\xc3(");
        }
        bytes.extend(part.as_bytes());
    }
    bytes
}

/// Sets several members.
macro_rules! members {
    ($record:ident; $($name:literal: $value:expr),* $(,)?) => {
        {
            $($record.set($name, $value);)*
        }
    };
}
use members;

/// A mail, of which the records of several types tell.
struct Mail {
    id: String,
    number: u64,
    seconds: i64,
    message_id: String,
    sender: String,
    sender_domain: &'static str,
    recipient: String,
    subject: String,
    ip: String,
    size: u64,
    attachment: &'static str,
    attachment_size: u64,
    digest: String,
    url: String,
    spam_score: u64,
}

impl Mail {
    fn new(recipe: &Recipe<'_>) -> Self {
        let mut dice = Dice::of(recipe.seed, recipe.account, recipe.number);
        let sender_domain = dice.pick("example.net", &["example.org", "mail.example.net"]);
        let sender = dice.pick("bob", &["eve", "news", "accounts", "no-reply"]);
        let recipient = dice.pick("ann", &["carl", "dora", "emil"]);
        let topic = dice.pick(
            "Invoice",
            &["Offer", "Meeting notes", "Your parcel", "Reset"],
        );
        let in_file = matches!(Kept::of(recipe.log), Kept::Batches | Kept::Chain);
        let dirt = match recipe.dirt {
            Some(Dirt::Unicode) => " – Grüße 日本語 مرحبا 🚀",
            Some(Dirt::Escapes) => " \"quoted\" \\ back\\slash\ttab\r\nline \u{0} nul",
            Some(Dirt::Pipe) => " | Act=Rej | a=b=c",
            Some(Dirt::InvalidUtf8) if in_file => INVALID,
            Some(
                Dirt::InvalidUtf8 | Dirt::NoTime | Dirt::Repeated | Dirt::BlankLine | Dirt::CrLf,
            )
            | None => "",
        };
        let (high, low) = (dice.roll(), dice.roll());
        Self {
            id: format!("{high:016x}{low:016x}"),
            number: recipe.number,
            seconds: recipe.at.as_millis().div_euclid(1000),
            message_id: format!("<{high:016x}@mail.example.net>"),
            sender: format!("{sender}@{sender_domain}"),
            sender_domain,
            recipient: format!("{recipient}@example.com"),
            ip: format!("192.0.2.{}", dice.below(254) + 1),
            size: 2_000 + dice.below(60_000),
            attachment: dice.pick("quote.pdf", &["parcel.zip", "notes.docx"]),
            attachment_size: 1_000 + dice.below(30_000),
            digest: format!("{:016x}{:016x}", dice.roll(), dice.roll()),
            url: format!("http://bad.example.org/{low:x}"),
            spam_score: dice.below(20),
            // Last, so that a longer subject leaves the rest of a mail as it is.
            subject: format!(
                "{topic} {}{dirt}{}",
                recipe.number,
                dice.hex(recipe.padding)
            ),
        }
    }
}

/// A seeded source of chance (splitmix64).
struct Dice(u64);

impl Dice {
    fn of(seed: u64, account: &str, number: u64) -> Self {
        // FNV-1a over what tells records apart.
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = account.bytes();
        for byte in bytes.chain(seed.to_le_bytes()).chain(number.to_le_bytes()) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(state)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// So many digits, which do not compress to nothing as equal ones would.
    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.roll()));
        }
        text.truncate(digits);
        text
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn pick(&mut self, first: &'static str, others: &[&'static str]) -> &'static str {
        let choice = usize::try_from(self.below(others.len() as u64 + 1)).unwrap_or_default();
        others.get(choice).copied().unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::log_types::{LOG_TYPES, find};
    use std::collections::BTreeSet;

    fn recipe<'a>(log: &'static LogType, kind: &'a str, number: u64) -> Recipe<'a> {
        Recipe {
            log,
            kind,
            seed: 7,
            account: "one",
            number,
            at: Timestamp::from_millis(1_767_690_487_000),
            dirt: None,
            padding: 0,
        }
    }

    #[test]
    fn records_of_every_type_are_json_with_their_time_and_differ_by_number() {
        for log in LOG_TYPES {
            let kinds = match Kept::of(log) {
                Kept::Batches => log.event_types,
                Kept::Chain => MTA_KINDS,
                Kept::Span | Kept::Queue | Kept::Feed => std::slice::from_ref(&log.name),
            };
            for kind in kinds {
                let made: BTreeSet<_> = (0..50)
                    .map(|n| recipe(log, kind, n).make().json())
                    .collect();
                assert_eq!(made.len(), 50, "{kind}");
                assert_eq!(
                    recipe(log, kind, 3).make().json(),
                    recipe(log, kind, 3).make().json()
                );
                for record in made {
                    let value: Value = serde_json::from_slice(&record).unwrap();
                    let has_time = log.time_field.is_empty() || value.get(log.time_field).is_some();
                    assert!(has_time, "{kind}");
                }
            }
        }
    }

    #[test]
    fn dirt_shows() {
        let dirty = |dirt| {
            let mut recipe = recipe(find("siem").unwrap(), "receipt", 1);
            recipe.dirt = Some(dirt);
            recipe.make()
        };
        assert!(String::from_utf8(dirty(Dirt::InvalidUtf8).json()).is_err());
        let pipe = String::from_utf8(dirty(Dirt::Pipe).key_value()).unwrap();
        assert!(pipe.starts_with("datetime=2026-01-06T10:08:07+0100|"));
        assert!(pipe.contains("| Act=Rej |"), "{pipe}");
        assert!(!dirty(Dirt::Escapes).key_value().contains(&b'\n'));
        let value: Value = serde_json::from_slice(&dirty(Dirt::NoTime).json()).unwrap();
        assert!(value.get("datetime").is_none());
    }
}
