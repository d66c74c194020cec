//! What the configuration says of requests that hold many events, and of events that are too long for a receiver.

use std::time::Duration;

use super::batch::Batch;
use super::format::{Event, Format};
use super::{Judge, Rejection};
use crate::model::{Form, Record};
use crate::settings::{Size, Table};
use crate::units::show_size;

/// 2 MiB: the default of other senders too, such as OpenTelemetry's exporter, so receivers are set up for it.
pub(super) const MAX_BATCH_BYTES: u64 = 2 << 20;

/// Bounds memory, and what a lost answer repeats, when events are tiny.
pub(super) const MAX_BATCH_EVENTS: u32 = 10_000;

/// Fills batches under load, and is not noticed otherwise.
pub(super) const BATCH_WAIT: Duration = Duration::from_millis(200);

/// Longer than a person would wait for an event that could be sent.
const MAX_BATCH_WAIT: Duration = Duration::from_secs(1);

/// 1 MiB: the longest that an event is taken from Mimecast.
const MAX_EVENT_BYTES: u64 = 1 << 20;

/// 1 KiB: what labels an event fits in it, and something of the event.
const MIN_EVENT_BYTES: u64 = 1 << 10;

/// How many events go into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Uncompressed bytes of a body at most; up to 2 MiB.
    pub bytes: u64,
    /// Events of a body at most; up to 10 000.
    pub events: usize,
    /// How long events wait for more to fill a body; up to 1 s.
    pub wait: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            bytes: MAX_BATCH_BYTES,
            events: MAX_BATCH_EVENTS as usize,
            wait: BATCH_WAIT,
        }
    }
}

impl Batching {
    /// Reads `batch_bytes`, `batch_events` and `batch_wait`.
    pub fn read(table: &mut Table<'_>) -> Self {
        let Size(bytes) = table
            .optional("batch_bytes")
            .unwrap_or(Size(MAX_BATCH_BYTES));
        if !(1..=MAX_BATCH_BYTES).contains(&bytes) {
            let text = format!("must be from 1 B to {}", show_size(MAX_BATCH_BYTES));
            table.reject("batch_bytes", text);
        }
        let events = table.optional("batch_events").unwrap_or(MAX_BATCH_EVENTS);
        if !(1..=MAX_BATCH_EVENTS).contains(&events) {
            let text = format!("must be from 1 to {MAX_BATCH_EVENTS}");
            table.reject("batch_events", text);
        }
        let wait = table.optional("batch_wait").unwrap_or(BATCH_WAIT);
        if wait > MAX_BATCH_WAIT {
            table.reject("batch_wait", "must be 1s at most".to_owned());
        }
        Self {
            bytes,
            events: events as usize,
            wait,
        }
    }
}

/// What becomes of an event that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is shortened and says so.
    Truncate,
    /// It is put aside as it is, and not offered.
    Quarantine,
}

const THEN: &[(&str, Then)] = &[
    ("truncate", Then::Truncate),
    ("quarantine", Then::Quarantine),
];

impl Then {
    /// Reads `oversized`.
    pub fn read(table: &mut Table<'_>) -> Self {
        table.one_of("oversized", THEN).unwrap_or(Self::Truncate)
    }
}

/// How long an event may be, and what becomes of one that is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Bytes of an event without its labels.
    pub max_bytes: usize,
    /// What becomes of longer ones.
    pub then: Then,
}

impl Default for Oversized {
    fn default() -> Self {
        Self {
            max_bytes: usize::try_from(MAX_EVENT_BYTES).unwrap_or(usize::MAX),
            then: Then::Truncate,
        }
    }
}

impl Oversized {
    /// Reads `max_event_bytes` and `oversized`.
    pub fn read(table: &mut Table<'_>) -> Self {
        let bytes = table.optional("max_event_bytes");
        let Size(bytes) = bytes.unwrap_or(Size(MAX_EVENT_BYTES));
        if !(MIN_EVENT_BYTES..=MAX_EVENT_BYTES).contains(&bytes) {
            let (least, most) = (show_size(MIN_EVENT_BYTES), show_size(MAX_EVENT_BYTES));
            table.reject("max_event_bytes", format!("must be from {least} to {most}"));
        }
        Self {
            max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            then: Then::read(table),
        }
    }

    /// The events that are not offered because they are too long.
    pub(super) fn withheld(&self, batch: &Batch) -> Vec<Rejection> {
        if self.then == Then::Truncate {
            return Vec::new();
        }
        let records = batch.records().iter().enumerate();
        let long = records.filter(|(_, record)| record.body.len() > self.max_bytes);
        let rejection = |(index, record): (usize, &Record)| Rejection {
            index,
            reason: format!(
                "its {} bytes are more than max_event_bytes",
                record.body.len()
            ),
            judge: Judge::Collector,
        };
        long.map(rejection).collect()
    }

    /// An event that is too long, shortened to an object of its fields that says so; `None` for any other.
    pub(super) fn shortened(&self, batch: &Batch, record: &Record) -> Option<Record> {
        if record.body.len() <= self.max_bytes {
            return None;
        }
        let body = record.body_str();
        let event = Event::new(batch.integration(), batch.log(), record, &body);
        let mut short = Vec::with_capacity(self.max_bytes);
        // One that fits as soon as it is on one line is whole, and so of its own form.
        let is_cut = Format::Json.write(&mut short, &event, self.max_bytes);
        tracing::debug!(lane = %batch.lane(), event_id = %record.id, from = body.len(), to = short.len(), "an event was shortened");
        is_cut.then(|| Record {
            form: Form::Json,
            body: short.into(),
            ..record.clone()
        })
    }

    /// A limit at which an event that a receiver found too long may do; `None` if it is to be put aside.
    pub(super) fn after_refusal(&self, record: &Record) -> Option<Self> {
        let least = usize::try_from(MIN_EVENT_BYTES).unwrap_or(usize::MAX);
        let half = self.max_bytes.min(record.body.len()) / 2;
        (self.then == Then::Truncate && half >= least).then_some(Self {
            max_bytes: half,
            ..*self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{batch, record};
    use super::*;

    const LIMIT: Oversized = Oversized {
        max_bytes: 2048,
        then: Then::Truncate,
    };

    fn short(form: Form, body: &str) -> Option<String> {
        let events = batch("acme-uk/siem", vec![record("receipt", form, body)]);
        let short = LIMIT.shortened(&events, &events.records()[0])?;
        assert_eq!((short.form, short.id), (Form::Json, events.records()[0].id));
        Some(short.body_str().into_owned())
    }

    #[test]
    fn a_line_of_50_mib_is_cut_to_valid_json_that_says_so_wherever_a_character_ends() {
        for pad in 0..4 {
            let long = format!("{}{}", "x".repeat(pad), "é日🦀".repeat(50 << 17));
            let told = short(Form::Text, &format!("acc=C1|Subject={long}|Act=Acc")).unwrap();
            assert!(told.len() <= LIMIT.max_bytes, "{}", told.len());
            let value: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(
                (&value["acc"], &value["Act"]),
                (&"C1".into(), &"Acc".into())
            );
            assert_eq!(value["truncated"], true);
            let kept = value["Subject"].as_str().unwrap();
            assert!(!kept.is_empty() && long.starts_with(kept), "{kept}");
        }
    }

    #[test]
    fn an_object_keeps_its_short_members_and_stays_an_object_whatever_its_escapes() {
        let long = "\\u00e9\\n\\\"\\ud83e\\udd80".repeat(10_000);
        let told = short(
            Form::Json,
            &format!(r#"{{"subject":"{long}","n":7,"to":["a","b"]}}"#),
        );
        let value: serde_json::Value = serde_json::from_str(&told.unwrap()).unwrap();
        assert_eq!((&value["n"], &value["to"]), (&7.into(), &"a, b".into()));
        assert_eq!(value["truncated"], true);
        let many: Vec<_> = (0..20_000).map(|n| format!(r#""k{n}":{n}"#)).collect();
        let told = short(Form::Json, &format!("{{{}}}", many.join(","))).unwrap();
        let value: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&value["k0"], &value["truncated"]),
            (&0.into(), &true.into())
        );
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(short(Form::Json, r#"{"a": 1}"#), None);
        assert_eq!(short(Form::Text, &"x".repeat(LIMIT.max_bytes)), None);
    }

    #[test]
    fn what_is_to_be_put_aside_is_named_and_is_the_collectors_own_decision() {
        let events = batch(
            "acme-uk/siem",
            [10, 2049, 2048, 9999]
                .map(|n| record("receipt", Form::Text, &"x".repeat(n)))
                .to_vec(),
        );
        assert_eq!(LIMIT.withheld(&events), []);
        let aside = Oversized {
            then: Then::Quarantine,
            ..LIMIT
        };
        let found = aside.withheld(&events);
        let indexes: Vec<_> = found.iter().map(|one| (one.index, one.judge)).collect();
        assert_eq!(indexes, [(1, Judge::Collector), (3, Judge::Collector)]);
        assert_eq!(aside.after_refusal(&events.records()[3]), None);
    }

    #[test]
    fn what_a_receiver_refuses_is_halved_until_nothing_is_left_to_shorten() {
        let event = record("receipt", Form::Text, &"x".repeat(50 << 20));
        let mut limit = Oversized::default();
        let mut tries = 0;
        while let Some(next) = limit.after_refusal(&event) {
            assert!(next.max_bytes < limit.max_bytes);
            (limit, tries) = (next, tries + 1);
        }
        assert_eq!((limit.max_bytes, tries), (1024, 10));
    }
}
