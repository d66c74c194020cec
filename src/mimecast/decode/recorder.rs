//! Raw records to events, or to quarantine: the rules that hold for every log type.

use std::borrow::Cow;

use super::{KEPT, MAX_RECORD, Raw, TOO_LONG, json};
use crate::health::failure::printable;
use crate::mimecast::log_types::LogType;
use crate::model::{Counted, Event, EventId, Form, Sink, SinkError, StreamId, Timestamp, text};

/// Bytes of a reason; the record stands beside it.
const REASON: usize = 200;

/// What a file's records have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::mimecast) struct Origin<'a> {
    /// The stream, which names events.
    pub(in crate::mimecast) stream: &'a StreamId,
    /// Its row of the table.
    pub(in crate::mimecast) log: &'static LogType,
    /// The record type.
    pub(in crate::mimecast) kind: &'a str,
    /// How records are written.
    pub(in crate::mimecast) form: Form,
    /// The time of a record that has none.
    pub(in crate::mimecast) time: Timestamp,
}

/// Hands events to a sink.
pub(in crate::mimecast) struct Recorder<'a, S> {
    pub(in crate::mimecast) sink: &'a mut S,
    origin: Origin<'a>,
    repaired: u64,
}

impl<'a, S: Sink> Recorder<'a, S> {
    pub(in crate::mimecast) fn new(sink: &'a mut S, origin: Origin<'a>) -> Self {
        Self {
            sink,
            origin,
            repaired: 0,
        }
    }

    /// Takes a record.
    pub(in crate::mimecast) fn take(&mut self, raw: Raw<'_>) -> Result<(), SinkError> {
        self.take_new(raw, |id, _| Some(id))
    }

    /// Takes a record that may be stored already: `deliver_as` tells under which name it is delivered, if it is new.
    pub(in crate::mimecast) fn take_new(
        &mut self,
        raw: Raw<'_>,
        deliver_as: impl FnOnce(EventId, Timestamp) -> Option<EventId>,
    ) -> Result<(), SinkError> {
        self.sink.count(Counted::Read);
        let kind = self.origin.kind;
        let record = match raw {
            Raw::Whole(record) => record,
            Raw::Unfit(record, reason) => return self.sink.quarantine(kind, record, reason),
        };
        let text = text(record);
        if matches!(text, Cow::Owned(_)) {
            self.repaired += 1;
        }
        let (body, time) = match self.origin.form {
            Form::Json => match json::time_of(&text, self.origin.log.time_field) {
                Ok(time) => (json::one_line(&text), time),
                Err(error) => {
                    // What it says may quote the record, however long that is.
                    let said = printable(&error.to_string(), REASON);
                    let reason = format!("not a JSON object: {said}");
                    return self.sink.quarantine(kind, record, &reason);
                }
            },
            Form::Text => (
                Cow::Borrowed(&*text),
                text_time(&text, self.origin.log.time_field),
            ),
        };
        if body.len() > MAX_RECORD {
            let kept = record.get(..KEPT).unwrap_or(record);
            return self.sink.quarantine(kind, kept, TOO_LONG);
        }
        let stream = self.origin.stream;
        let id = EventId::of(&stream.integration, &stream.log, record);
        let time = time.unwrap_or(self.origin.time);
        let Some(id) = deliver_as(id, time) else {
            self.sink.count(Counted::Known);
            return Ok(());
        };
        let event = Event {
            body: &body,
            time,
            id,
        };
        self.sink.push(kind, self.origin.form, event)
    }
}

/// Records that were not UTF-8 are delivered with U+FFFD in place of what was not; that is said once a file.
impl<S> Drop for Recorder<'_, S> {
    fn drop(&mut self) {
        if self.repaired > 0 {
            tracing::warn!(
                stream = %self.origin.stream,
                records = self.repaired,
                "records with invalid UTF-8, replaced by U+FFFD"
            );
        }
    }
}

/// The time of a line `key=value|key=value`.
fn text_time(line: &str, field: &str) -> Option<Timestamp> {
    line.split('|')
        .find_map(|part| part.strip_prefix(field)?.strip_prefix('='))
        .and_then(Timestamp::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::testing::{Memory, job};

    fn record(form: Form, records: &[&[u8]]) -> Memory {
        let mut sink = Memory::default();
        let job = job("siem", "");
        let origin = Origin {
            stream: &job.stream,
            log: job.log.row,
            kind: "receipt",
            form,
            time: Timestamp::from_millis(5),
        };
        let mut recorder = Recorder::new(&mut sink, origin);
        for record in records {
            recorder.take(Raw::Whole(record)).unwrap();
        }
        drop(recorder);
        sink
    }

    #[test]
    fn a_record_is_kept_as_it_came_in_one_line() {
        let sink = record(
            Form::Json,
            &[
                b"{\"datetime\":\"2026-01-06T10:08:07+0100\",\n\"b\":1}",
                b"{\"a\":\"\xff\"}",
            ],
        );
        let first = &sink.pushed[0];
        assert_eq!(
            first.body,
            r#"{"datetime":"2026-01-06T10:08:07+0100", "b":1}"#
        );
        assert_eq!(first.time.to_string(), "2026-01-06T09:08:07.000Z");
        assert_eq!(sink.pushed[1].body, "{\"a\":\"\u{fffd}\"}");
        assert_eq!(sink.pushed[1].time, Timestamp::from_millis(5));
        // By the bytes that came, not by what became of them.
        let same = EventId::of(
            &job("siem", "").stream.integration,
            "siem",
            b"{\"a\":\"\xff\"}",
        );
        assert_eq!(sink.pushed[1].id, same);
    }

    #[test]
    fn a_line_of_keys_and_values_is_text() {
        let sink = record(
            Form::Text,
            &[b"acc=C|datetime=2026-01-06T09:08:07+0000|Subject=a=b"],
        );
        assert_eq!(sink.pushed[0].time.to_string(), "2026-01-06T09:08:07.000Z");
    }

    #[test]
    fn a_reason_is_short_whatever_the_record_holds() {
        let text = format!("\"{}\"", "x\\n".repeat(20_000));
        let sink = record(Form::Json, &[text.as_bytes(), b"{}"]);
        assert!(
            sink.quarantined[0].len() < 300,
            "{}",
            sink.quarantined[0].len()
        );
        assert!(
            sink.quarantined[0].contains("expected a JSON object")
                || sink.quarantined[0].ends_with('…')
        );
        assert_eq!(sink.pushed.len(), 1);
    }

    #[test]
    fn what_is_no_event_is_put_aside_and_the_next_one_taken() {
        // Valid as it came, too long with its replacements.
        let grows = [b"{\"a\":\"", &vec![0xff; MAX_RECORD - 100][..], b"\"}"].concat();
        let sink = record(Form::Json, &[b"[1]", b"{\"a\"", &grows, b"{}"]);
        assert_eq!(sink.quarantined.len(), 3);
        assert!(sink.quarantined[0].contains("not a JSON object"));
        assert_eq!(sink.pushed.len(), 1);
    }
}
