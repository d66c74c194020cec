//! Events as the body of a HEC request: JSON objects one after another.
//!
//! ```json
//! {"time":1767690487.000,"host":"…","source":"mimecast:<integration>:<log>","sourcetype":"…","index":"…",
//!  "event":{…},"fields":{"event_id":"<32 hex>","integration":"…"}}
//! ```
//! What a JSON event holds is sent byte by byte as it came; a line of text goes as a string. `time` is always set, so that the
//! indexer has nothing to guess, and `event_id` is an indexed field, by which a repeat can be told. Events of a replay have the field
//! `"replayed":"true"` besides.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::model::{Record, Timestamp};
use crate::output::Batch;
use crate::output::format::json::{quoted, write_event};

/// What surrounds every event of an output.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) host: Option<String>,
    pub(super) index: Option<String>,
    /// How hard bodies are compressed; `None` for not at all.
    pub(super) gzip: Option<u32>,
}

/// A request body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// How many events it holds, from the front of the batch.
    pub(super) events: usize,
    /// Its size before compression.
    pub(super) raw_len: usize,
}

impl Encoder {
    /// Encodes as many events from the front of the batch as fit `max_len` bytes before compression, and always one.
    /// Takes milliseconds for a large batch: for a blocking thread.
    pub(super) fn encode(&self, batch: &Batch, max_len: usize) -> io::Result<Body> {
        let fixed = Fixed::new(self, batch);
        let estimate = batch
            .bytes()
            .saturating_add(batch.len().saturating_mul(384));
        let mut out = Vec::with_capacity(estimate.min(max_len));
        let mut events = 0;
        for record in batch.records() {
            let before = out.len();
            fixed.write(&mut out, record)?;
            if out.len() > max_len && events > 0 {
                out.truncate(before);
                break;
            }
            events += 1;
        }
        let raw_len = out.len();
        let bytes = match self.gzip {
            Some(level) => gzip(&out, level)?,
            None => out,
        };
        Ok(Body {
            bytes,
            events,
            raw_len,
        })
    }

    /// How many events from the front fit `max_len` bytes before compression, by estimate: what is to be escaped in a line of text is not
    /// counted.
    pub(super) fn fitting(&self, batch: &Batch, max_len: usize) -> usize {
        let fixed = Fixed::new(self, batch);
        let around = AROUND + fixed.labels.len() + fixed.index.len() + fixed.end.len();
        let mut len = 0_usize;
        let lens = batch
            .records()
            .iter()
            .map(|record| record.body.len() + record.kind.len());
        lens.take_while(|body| {
            len += body + around;
            len <= max_len
        })
        .count()
    }
}

/// Bytes of an event besides its body and what [`Fixed`] holds: braces, its time and its id.
const AROUND: usize = 96;

/// The parts that all events of a batch share, escaped once.
struct Fixed {
    /// From behind the time to within the sourcetype.
    labels: String,
    /// Whether the sourcetype ends with the record's kind.
    by_kind: bool,
    /// From the sourcetype's end to the event.
    index: String,
    /// From behind the event id to the end.
    end: String,
}

impl Fixed {
    fn new(encoder: &Encoder, batch: &Batch) -> Self {
        let (integration, log) = (batch.integration(), batch.log());
        let host = encoder.host.as_ref();
        let host = host.map_or_else(String::new, |h| format!(r#","host":{}"#, quoted(h)));
        let index = encoder.index.as_ref();
        let index = index.map_or_else(String::new, |i| format!(r#","index":{}"#, quoted(i)));
        let source = quoted(&format!("mimecast:{integration}:{log}"));
        let (family, by_kind) = sourcetype(log);
        let replayed = if batch.is_replay() {
            r#","replayed":"true""#
        } else {
            ""
        };
        Self {
            labels: format!(r#"{host},"source":{source},"sourcetype":"mimecast:{family}"#),
            by_kind,
            index: format!(r#""{index},"event":"#),
            end: format!(r#"","integration":{}{replayed}}}}}"#, quoted(integration)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record) -> io::Result<()> {
        out.write_all(br#"{"time":"#)?;
        write_seconds(out, record.time)?;
        out.write_all(self.labels.as_bytes())?;
        if self.by_kind {
            out.write_all(b":")?;
            out.extend(record.kind.chars().map(plain));
        }
        out.write_all(self.index.as_bytes())?;
        write_event(out, record)?;
        write!(out, r#","fields":{{"event_id":"{}{}"#, record.id, self.end)?;
        out.write_all(b"\n")
    }
}

/// A log type's part of the sourcetype, and whether the record's kind follows it: `mimecast:siem:receipt`, `mimecast:audit`,
/// `mimecast:collector:alert`.
///
/// These names are the ones that Splunk's published add-ons for Mimecast use; both APIs' mail logs share one family.
fn sourcetype(log: &str) -> (String, bool) {
    match log {
        "siem" | "siem-cg" => ("siem".to_owned(), true),
        "collector" => ("collector".to_owned(), true),
        other => (other.chars().map(|c| char::from(plain(c))).collect(), false),
    }
}

/// The character as a sourcetype may hold it without quotes: others become `_`.
fn plain(c: char) -> u8 {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') => byte,
        Ok(_) | Err(_) => b'_',
    }
}

/// Seconds of Unix time with three decimals.
fn write_seconds(out: &mut Vec<u8>, time: Timestamp) -> io::Result<()> {
    let ms = time.as_millis();
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    write!(out, "{sign}{}.{:03}", ms / 1000, ms % 1000)
}

fn gzip(raw: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(raw.len() / 2), Compression::new(level));
    gzip.write_all(raw)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::model::Form;
    use crate::output::fixture::{batch, numbered, record};

    fn encoder() -> Encoder {
        Encoder {
            host: Some("collector-1".to_owned()),
            index: Some("mimecast".to_owned()),
            gzip: None,
        }
    }

    fn text(encoder: &Encoder, batch: &Batch) -> String {
        let body = encoder.encode(batch, usize::MAX).unwrap();
        assert_eq!(body.events, batch.len());
        String::from_utf8(body.bytes).unwrap()
    }

    #[test]
    fn json_goes_as_it_came_and_text_as_a_string() {
        let mail = batch(
            "acme-uk/siem-cg/url protect",
            vec![
                record(
                    "url protect",
                    Form::Json,
                    r#"{"b": 1.0, "a":"é\u0000",  "b":2}"#,
                ),
                record("receipt", Form::Text, "acc=C1|Subject=a \"b\" \\ \t\u{1}"),
            ],
        );
        insta::assert_snapshot!(text(&encoder(), &mail), @r#"
        {"time":1767690487.000,"host":"collector-1","source":"mimecast:acme-uk:siem-cg","sourcetype":"mimecast:siem:url_protect","index":"mimecast","event":{"b": 1.0, "a":"é\u0000",  "b":2},"fields":{"event_id":"abababababababababababababababab","integration":"acme-uk"}}
        {"time":1767690487.000,"host":"collector-1","source":"mimecast:acme-uk:siem-cg","sourcetype":"mimecast:siem:receipt","index":"mimecast","event":"acc=C1|Subject=a \"b\" \\ \t\u0001","fields":{"event_id":"abababababababababababababababab","integration":"acme-uk"}}
        "#);
    }

    #[test]
    fn what_is_not_configured_is_left_to_the_receiver() {
        let bare = Encoder {
            host: None,
            index: None,
            gzip: None,
        };
        insta::assert_snapshot!(text(&bare, &numbered(1)), @r#"{"time":1767690487.000,"source":"mimecast:acme-uk:audit","sourcetype":"mimecast:audit","event":{"n":0},"fields":{"event_id":"abababababababababababababababab","integration":"acme-uk"}}"#);
    }

    #[test]
    fn an_event_of_a_replay_has_its_own_id_and_says_that_it_is_replayed() {
        let again = batch("acme-uk/audit@7", vec![record("audit", Form::Json, "{}")]);
        insta::assert_snapshot!(text(&encoder(), &again), @r#"{"time":1767690487.000,"host":"collector-1","source":"mimecast:acme-uk:audit","sourcetype":"mimecast:audit","index":"mimecast","event":{},"fields":{"event_id":"abababababababababababababababab","integration":"acme-uk","replayed":"true"}}"#);
    }

    #[test]
    fn the_collectors_own_events_have_a_source_that_no_integration_can_have() {
        let own = batch("@collector", vec![record("alert", Form::Json, "{}")]);
        insta::assert_snapshot!(text(&encoder(), &own), @r#"{"time":1767690487.000,"host":"collector-1","source":"mimecast:@collector:collector","sourcetype":"mimecast:collector:alert","index":"mimecast","event":{},"fields":{"event_id":"abababababababababababababababab","integration":"@collector"}}"#);
    }

    #[test]
    fn a_sourcetype_is_plain_whatever_the_vendor_calls_its_kinds() {
        let of = |log: &str, kind: &str| {
            let events = vec![record(kind, Form::Json, "{}")];
            let body = text(&encoder(), &batch(&format!("a/{log}"), events));
            let value: Value = serde_json::from_str(&body).unwrap();
            value["sourcetype"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            of("siem", "internal email protect"),
            "mimecast:siem:internal_email_protect"
        );
        assert_eq!(of("siem-cg", "a\"b:é"), "mimecast:siem:a_b__");
        assert_eq!(of("audit", "audit"), "mimecast:audit");
        assert_eq!(of("ttp url", "x"), "mimecast:ttp_url");
    }

    #[test]
    fn times_have_three_decimals_before_and_after_1970() {
        let seconds = |ms| {
            let mut out = Vec::new();
            write_seconds(&mut out, Timestamp::from_millis(ms)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [1_767_690_487_042, 0, -1, -1_500, i64::MIN].map(seconds),
            [
                "1767690487.042",
                "0.000",
                "-0.001",
                "-1.500",
                "-9223372036854775.808"
            ]
        );
    }

    #[test]
    fn a_body_keeps_below_its_limit_but_takes_one_event_however_large() {
        let whole = numbered(10);
        let one = encoder().encode(&whole, 1).unwrap();
        assert_eq!(one.events, 1);
        let three = encoder().encode(&whole, one.raw_len * 3).unwrap();
        assert_eq!((three.events, three.raw_len), (3, one.raw_len * 3));
        let nearly = encoder().encode(&whole, one.raw_len * 3 - 1).unwrap();
        assert_eq!((nearly.events, nearly.bytes.len()), (2, one.raw_len * 2));
    }

    #[test]
    fn compression_changes_nothing_but_the_size() {
        let (plain, packed) = (
            encoder(),
            Encoder {
                gzip: Some(1),
                ..encoder()
            },
        );
        let body = packed.encode(&numbered(100), usize::MAX).unwrap();
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*body.bytes)
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, text(&plain, &numbered(100)));
        assert_eq!(body.raw_len, unpacked.len());
        assert!(body.bytes.len() < body.raw_len / 4);
    }

    proptest! {
        #[test]
        fn every_event_comes_back_as_it_was(
            events in prop::collection::vec((any::<bool>(), any::<String>(), any::<i64>(), any::<[u8; 16]>()), 0..8),
            host in any::<String>(),
            lane in "[a-z]{1,8}/[^/]{1,12}/[a-z ]{0,12}",
        ) {
            let records: Vec<_> = events.iter().map(|(json, text, ms, id)| {
                let mut event = if *json {
                    record(text, Form::Json, &format!(r#"{{ "k" : {} }}"#, quoted(text)))
                } else {
                    record(text, Form::Text, text)
                };
                event.id = crate::model::EventId(*id);
                event.time = Timestamp::from_millis(*ms);
                event
            }).collect();
            let encoder = Encoder { host: Some(host.clone()), ..encoder() };
            let body = text(&encoder, &batch(&lane, records.clone()));
            let values: Vec<Value> = serde_json::Deserializer::from_str(&body)
                .into_iter()
                .collect::<Result<_, _>>()
                .unwrap();
            prop_assert_eq!(values.len(), records.len());
            for (value, record) in values.iter().zip(&records) {
                let sent = record.body_str();
                match record.form {
                    Form::Text => prop_assert_eq!(value["event"].as_str(), Some(&*sent)),
                    Form::Json => prop_assert!(body.contains(&*sent)),
                }
                prop_assert_eq!(value["host"].as_str(), Some(&*host));
                prop_assert_eq!(value["fields"]["event_id"].as_str(), Some(&*record.id.to_string()));
            }
        }
    }
}
