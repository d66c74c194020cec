//! Events as lines of text, for receivers that read lines: with their labels as JSON, or in a format of syslog.

use std::io::{self, Write as _};

use super::batch::Batch;
use super::batching::Oversized;
use super::format::json::{quoted, write_event};
use super::format::{Event, Format};
use crate::model::Record;

/// How the events of a batch are written.
pub(super) struct Lines<'a> {
    format: &'a Format,
    batch: &'a Batch,
    oversized: Oversized,
    /// What all lines of JSON have from behind the time up to the type.
    labels: String,
}

impl<'a> Lines<'a> {
    pub(super) fn new(format: &'a Format, batch: &'a Batch, oversized: Oversized) -> Self {
        let replayed = if batch.is_replay() {
            r#","replayed":true"#
        } else {
            ""
        };
        let labels = format!(
            r#"{replayed},"integration":{},"log":{},"type":"#,
            quoted(batch.integration()),
            quoted(batch.log())
        );
        Self {
            format,
            batch,
            oversized,
            labels,
        }
    }

    /// All events, a line each.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        let batch = self.batch;
        let mut out = Vec::with_capacity(batch.bytes() + 256 * batch.len());
        for record in batch.records() {
            self.write(&mut out, record)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    /// Writes an event without its line break.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record) -> io::Result<()> {
        match self.format {
            Format::Json => match self.oversized.shortened(self.batch, record) {
                Some(short) => self.write_json(out, &short),
                None => self.write_json(out, record),
            },
            Format::KeyValue | Format::Cef | Format::Leef | Format::Leef2 | Format::Template(_) => {
                let body = record.body_str();
                let limit = if body.len() > self.oversized.max_bytes {
                    self.oversized.max_bytes
                } else {
                    usize::MAX
                };
                let event = Event::new(self.batch.integration(), self.batch.log(), record, &body);
                self.format.write(out, &event, limit);
                Ok(())
            }
        }
    }

    fn write_json(&self, out: &mut Vec<u8>, record: &Record) -> io::Result<()> {
        out.write_all(br#"{"event_id":""#)?;
        out.write_all(&record.id.digits())?;
        write!(out, r#"","time":"{}""#, record.time)?;
        out.write_all(self.labels.as_bytes())?;
        serde_json::to_writer(&mut *out, &*record.kind)?;
        out.write_all(br#","event":"#)?;
        write_event(out, record)?;
        out.write_all(b"}")
    }
}
