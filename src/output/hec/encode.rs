//! Events as the body of a HEC request: JSON objects one after another.
//!
//! ```json
//! {"time":1767690487.000,"host":"…","source":"mimecast:<integration>:<log>","sourcetype":"…","index":"…",
//!  "event":{…},"fields":{"event_id":"<32 hex>","integration":"…"}}
//! ```
//! `host`, `source`, `sourcetype` and `index` are as `label` and `preset` say. What a JSON event holds is sent byte by byte as it came; a line of text goes as a string. `time` is always set, so that the
//! indexer has nothing to guess, and `event_id` is an indexed field, by which a repeat can be told. Events of a replay have the field
//! `"replayed":"true"` besides. With the vendor's preset an object begins with the members that the vendor's app looks for.

use std::io::{self, Write as _};
use std::sync::Arc;

use super::config::Labels;
use super::label::{Label, Origin};
use super::preset;
use crate::model::{Form, Record, Timestamp};
use crate::output::batching::Oversized;
use crate::output::directory::Directory;
use crate::output::format::json::{quoted, write_event};
use crate::output::{Batch, packer};

/// What surrounds every event of an output.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) labels: Labels,
    /// The host where the labels have none.
    pub(super) machine: Option<String>,
    pub(super) directory: Directory,
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
    pub(super) fn encode(
        &self,
        batch: &Batch,
        max_len: usize,
        oversized: Oversized,
    ) -> io::Result<Body> {
        let mut shared = Shared::new(self, batch);
        let estimate = batch
            .bytes()
            .saturating_add(batch.len().saturating_mul(384));
        let whole = estimate.min(max_len);
        let mut gzip = self.gzip.map(|level| packer(whole, level));
        let mut out = Vec::with_capacity(if gzip.is_some() { 2 * PIECE } else { whole });
        let (mut events, mut packed) = (0, 0);
        for record in batch.records() {
            let before = out.len();
            match oversized.shortened(batch, record) {
                Some(short) => shared.write(&mut out, &short)?,
                None => shared.write(&mut out, record)?,
            }
            if packed + out.len() > max_len && events > 0 {
                out.truncate(before);
                break;
            }
            events += 1;
            if let Some(gzip) = gzip.as_mut().filter(|_| out.len() >= PIECE) {
                gzip.write_all(&out)?;
                packed += out.len();
                out.clear();
            }
        }
        let raw_len = packed + out.len();
        let bytes = match gzip {
            Some(mut gzip) => {
                gzip.write_all(&out)?;
                gzip.finish()?
            }
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
        let mut shared = Shared::new(self, batch);
        let around = AROUND + shared.len(batch);
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

/// 64 KiB: what is packed at a time. It stays in the processor's cache, and a whole body would be fresh memory each time.
const PIECE: usize = 64 << 10;

/// Bytes of an event besides its body and what [`Shared`] holds: its time and its id.
const AROUND: usize = 96;

/// The parts that events of a batch share, escaped once.
struct Shared<'a> {
    encoder: &'a Encoder,
    /// What the events come from, whoever that is.
    name: &'a str,
    /// Of an event without its type.
    origin: Origin<'a>,
    /// For the type of the last event: events of a type come in runs.
    shown: Option<(Arc<str>, Shown)>,
    /// From behind the event id to the end; `None` for no fields.
    end: Option<String>,
}

/// What all events of one type share.
struct Shown {
    /// From behind the time to the event.
    labels: String,
    /// Members that the event has besides its own, each with a comma behind it.
    members: String,
    /// The same in a line of text.
    pairs: String,
}

impl<'a> Shared<'a> {
    fn new(encoder: &'a Encoder, batch: &'a Batch) -> Self {
        let name = batch.integration();
        let tenant = encoder.directory.get(name);
        let account = tenant.and_then(|tenant| tenant.account.as_ref());
        let account = account.map_or_else(String::new, |a| format!(r#","account":{}"#, quoted(a)));
        let replayed = if batch.is_replay() {
            r#","replayed":"true""#
        } else {
            ""
        };
        let end = || format!(r#"","integration":{}{account}{replayed}}}}}"#, quoted(name));
        Self {
            encoder,
            name,
            origin: Origin {
                integration: batch.is_fetched().then_some(name),
                tenant,
                log: batch.log(),
                kind: "",
            },
            shown: None,
            end: encoder.labels.fields.then(end),
        }
    }

    /// Bytes around an event, about.
    fn len(&mut self, batch: &Batch) -> usize {
        let end = self.end.as_ref().map_or(0, String::len);
        let first = batch.records().first();
        let shown = first.map(|first| self.shown(&first.kind));
        end + shown.map_or(0, |shown| shown.labels.len() + shown.members.len())
    }

    fn shown(&mut self, kind: &Arc<str>) -> &Shown {
        let known = self.shown.take().filter(|(known, _)| known == kind);
        let shown = known.unwrap_or_else(|| {
            let origin = Origin {
                kind,
                ..self.origin
            };
            (Arc::clone(kind), self.encoder.show(self.name, &origin))
        });
        &self.shown.insert(shown).1
    }

    fn write(&mut self, out: &mut Vec<u8>, record: &Record) -> io::Result<()> {
        out.write_all(br#"{"time":"#)?;
        write_seconds(out, record.time);
        let shown = self.shown(&record.kind);
        out.write_all(shown.labels.as_bytes())?;
        write_with(out, record, shown)?;
        match &self.end {
            Some(end) => {
                out.write_all(br#","fields":{"event_id":""#)?;
                out.write_all(&record.id.digits())?;
                out.write_all(end.as_bytes())?;
            }
            None => out.write_all(b"}")?,
        }
        out.write_all(b"\n")
    }
}

impl Encoder {
    fn show(&self, name: &str, origin: &Origin<'_>) -> Shown {
        let labels = &self.labels;
        let of = |label: &Option<Label>, fit: fn(char) -> char| label.as_ref()?.show(origin, fit);
        let as_it_is = |c| c;
        let host = of(&labels.host, as_it_is).or_else(|| self.machine.clone());
        let source = of(&labels.source, as_it_is)
            .unwrap_or_else(|| format!("mimecast:{name}:{}", origin.log));
        let sourcetype = of(&labels.sourcetype, preset::plain)
            .unwrap_or_else(|| labels.preset.sourcetype(origin.log, origin.kind));
        let index = of(&labels.index, preset::index);
        let mut text = String::new();
        for (name, value) in [
            ("host", host),
            ("source", Some(source)),
            ("sourcetype", Some(sourcetype)),
            ("index", index),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(r#","{name}":{}"#, quoted(&value)));
            }
        }
        text.push_str(r#","event":"#);
        let (mut members, mut pairs) = (String::new(), String::new());
        for (name, value) in labels.preset.members(origin) {
            members.push_str(&format!(r#""{name}":{},"#, quoted(value)));
            pairs.push_str(&format!("|{name}={value}"));
        }
        Shown {
            labels: text,
            members,
            pairs,
        }
    }
}

/// Writes the event with the members that are added to it; to a body that is no object nothing is.
fn write_with(out: &mut Vec<u8>, record: &Record, shown: &Shown) -> io::Result<()> {
    if shown.members.is_empty() {
        return write_event(out, record);
    }
    let body = record.body_str();
    match (record.form, body.trim_start().strip_prefix('{')) {
        (Form::Json, Some(rest)) => {
            let is_last = rest.trim_start().starts_with('}');
            let members = match shown.members.strip_suffix(',') {
                Some(members) if is_last => members,
                Some(_) | None => &shown.members,
            };
            write!(out, "{{{members}{rest}")
        }
        (Form::Json, None) => out.write_all(body.as_bytes()),
        (Form::Text, _) => Ok(serde_json::to_writer(
            out,
            &format!("{body}{}", shown.pairs),
        )?),
    }
}

/// Seconds of Unix time with three decimals.
fn write_seconds(out: &mut Vec<u8>, time: Timestamp) {
    let ms = time.as_millis();
    // The sign, 17 digits of seconds, a point, three more.
    let mut text = [b'0'; 22];
    let (mut left, mut from) = (ms.unsigned_abs(), text.len());
    for (place, byte) in text.iter_mut().enumerate().rev() {
        if place == 18 {
            *byte = b'.';
        } else {
            *byte = b'0' + (left % 10) as u8;
            left /= 10;
        }
        if left == 0 && place < 18 {
            from = place;
            break;
        }
    }
    if ms < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::label::tests::label;
    use super::super::preset::Preset;
    use super::*;
    use crate::model::IntegrationId;
    use crate::output::directory::Tenant;
    use crate::output::fixture::{batch, numbered, record};

    fn encoder() -> Encoder {
        Encoder {
            labels: Labels {
                index: Some(label("mimecast")),
                ..Labels::default()
            },
            machine: Some("collector-1".to_owned()),
            directory: Directory::default(),
            gzip: None,
        }
    }

    fn with_account(encoder: Encoder) -> Encoder {
        let tenant = Tenant {
            account: Some("C1A1".to_owned()),
            tags: BTreeMap::from([("customer".to_owned(), "Acme UK".to_owned())]),
        };
        Encoder {
            directory: Directory::from_iter([(IntegrationId::new("acme-uk").unwrap(), tenant)]),
            ..encoder
        }
    }

    fn text(encoder: &Encoder, batch: &Batch) -> String {
        let body = encoder
            .encode(batch, usize::MAX, Oversized::default())
            .unwrap();
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
            labels: Labels::default(),
            machine: None,
            ..encoder()
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
    fn labels_stand_where_they_have_all_values_and_the_defaults_elsewhere() {
        let labelled = with_account(Encoder {
            labels: Labels {
                index: Some(label("m_{tag.customer}")),
                host: Some(label("{integration}.example")),
                source: Some(label("{log}/{account}")),
                sourcetype: Some(label("mail:{type}")),
                ..Labels::default()
            },
            ..encoder()
        });
        let mail = |lane: &str, kind: &str| {
            let event = record(kind, Form::Json, "{}");
            text(&labelled, &batch(lane, vec![event]))
        };
        insta::assert_snapshot!(
            [
                mail("acme-uk/siem-cg/url protect", "url protect"),
                mail("globex/siem-cg/url protect", "url protect"),
                mail("@collector", "alert"),
            ]
            .concat(),
            @r#"
        {"time":1767690487.000,"host":"acme-uk.example","source":"siem-cg/C1A1","sourcetype":"mail:url_protect","index":"m_acme_uk","event":{},"fields":{"event_id":"abababababababababababababababab","integration":"acme-uk","account":"C1A1"}}
        {"time":1767690487.000,"host":"globex.example","source":"mimecast:globex:siem-cg","sourcetype":"mail:url_protect","event":{},"fields":{"event_id":"abababababababababababababababab","integration":"globex"}}
        {"time":1767690487.000,"host":"collector-1","source":"mimecast:@collector:collector","sourcetype":"mail:alert","event":{},"fields":{"event_id":"abababababababababababababababab","integration":"@collector"}}
        "#
        );
    }

    #[test]
    fn every_event_goes_under_its_own_type_though_types_change_within_a_batch() {
        let kinds = ["receipt", "av", "receipt", "spam"];
        let events = kinds.map(|kind| record(kind, Form::Json, "{}"));
        let body = text(&encoder(), &batch("acme-uk/siem", events.to_vec()));
        let shown: Vec<_> = body
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["sourcetype"].clone())
            .collect();
        assert_eq!(shown, kinds.map(|kind| format!("mimecast:siem:{kind}")));
    }

    #[test]
    fn with_the_vendors_preset_an_event_has_the_members_that_its_app_looks_for() {
        let vendor = with_account(Encoder {
            labels: Labels {
                preset: Preset::Vendor,
                fields: false,
                ..Labels::default()
            },
            machine: None,
            ..encoder()
        });
        let mail = |form, body: &str| record("av", form, body);
        let events = vec![
            mail(Form::Json, r#" {"a": 1.0 , "mcType":"x"} "#),
            mail(Form::Json, "{ }"),
            mail(Form::Json, "[1]"),
            mail(Form::Text, "acc=C1|Virus=x"),
        ];
        let unknown = vec![record("rejections", Form::Json, r#"{"a":1}"#)];
        insta::assert_snapshot!(
            [
                text(&vendor, &batch("acme-uk/siem", events)),
                text(&vendor, &batch("globex/rejections", unknown)),
            ]
            .concat(),
            @r#"
        {"time":1767690487.000,"source":"mimecast:acme-uk:siem","sourcetype":"mimecast:siem:av","event":{"mcType":"email_antivirus","splunkAccountCode":"C1A1","a": 1.0 , "mcType":"x"} }
        {"time":1767690487.000,"source":"mimecast:acme-uk:siem","sourcetype":"mimecast:siem:av","event":{"mcType":"email_antivirus","splunkAccountCode":"C1A1" }}
        {"time":1767690487.000,"source":"mimecast:acme-uk:siem","sourcetype":"mimecast:siem:av","event":[1]}
        {"time":1767690487.000,"source":"mimecast:acme-uk:siem","sourcetype":"mimecast:siem:av","event":"acc=C1|Virus=x|mcType=email_antivirus|splunkAccountCode=C1A1"}
        {"time":1767690487.000,"source":"mimecast:globex:rejections","sourcetype":"mimecast:rejections","event":{"a":1}}
        "#
        );
    }

    #[test]
    fn times_have_three_decimals_before_and_after_1970() {
        let seconds = |ms| {
            let mut out = Vec::new();
            write_seconds(&mut out, Timestamp::from_millis(ms));
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
        let one = encoder().encode(&whole, 1, Oversized::default()).unwrap();
        assert_eq!(one.events, 1);
        let three = encoder()
            .encode(&whole, one.raw_len * 3, Oversized::default())
            .unwrap();
        assert_eq!((three.events, three.raw_len), (3, one.raw_len * 3));
        let nearly = encoder()
            .encode(&whole, one.raw_len * 3 - 1, Oversized::default())
            .unwrap();
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
        let body = packed
            .encode(&numbered(100), usize::MAX, Oversized::default())
            .unwrap();
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
            let encoder = Encoder { machine: Some(host.clone()), ..encoder() };
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
