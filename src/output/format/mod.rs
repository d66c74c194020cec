//! Events as bytes: pure functions from an event to one line of text.
//!
//! `json` is the event as stored. The others take the event apart into named fields (see `fields`) and lose nothing that has a
//! value, unless a limit of size makes them: then long fields are shortened first, and the event says so by `truncated=true`. What is
//! written has no control character but LEEF's tabs, is valid UTF-8, and no value can end the field that it stands in. Nothing here knows where
//! the bytes go.

mod cef;
mod config;
mod document;
pub(super) mod escape;
mod fields;
pub(super) mod json;

mod key_value;
mod leef;
mod map;
mod signature;
mod template;

pub use document::formats_md;
pub use template::Template;

use std::cell::OnceCell;

use crate::model::Record;
use fields::Field;
use signature::Signature;

/// How an event is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The JSON object as stored; a line of text as a JSON string.
    Json,
    /// `key=value|key=value`, as the files of API 1.0.
    KeyValue,
    /// ArcSight's Common Event Format.
    Cef,
    /// QRadar's Log Event Extended Format 1.0.
    Leef,
    /// QRadar's Log Event Extended Format 2.0.
    Leef2,
    /// A text of the configuration with places for fields.
    Template(Template),
}

/// An event taken apart: what all formats need of it.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub(super) integration: &'a str,
    pub(super) log: &'a str,
    pub(super) record: &'a Record,
    /// The body as text.
    body: &'a str,
    /// Taken apart when they are asked for: what is sent as it came needs none of them.
    fields: OnceCell<Vec<Field<'a>>>,
    pub(super) signature: &'static Signature,
}

impl<'a> Event<'a> {
    /// An event of a record; `body` is its text.
    pub(super) fn new(
        integration: &'a str,
        log: &'a str,
        record: &'a Record,
        body: &'a str,
    ) -> Self {
        Self {
            signature: Signature::of(log, &record.kind),
            integration,
            log,
            record,
            body,
            fields: OnceCell::new(),
        }
    }

    fn fields(&self) -> &[Field<'a>] {
        self.fields
            .get_or_init(|| fields::of(self.record.form, self.body))
    }

    /// How bad it is, 0 to 10.
    pub(super) fn severity(&self) -> u8 {
        match self
            .signature
            .severity_at_a_glance(self.record.form, self.body)
        {
            Some(severity) => severity,
            None => self.signature.severity_with(self.fields()),
        }
    }
}

/// What of an event is left out so that the rest fits.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Bytes of a value that is known to be long.
    long: usize,
    /// Bytes of any value.
    any: usize,
    /// Fields.
    fields: usize,
}

impl Cut {
    const NONE: Self = Self::values(usize::MAX, usize::MAX);
    /// The gentlest first. Values are measured before they are escaped.
    const LEVELS: [Self; 5] = [
        Self::values(512, usize::MAX),
        Self::values(128, usize::MAX),
        Self::values(128, 512),
        Self::values(64, 128),
        Self::values(16, 16),
    ];

    const fn values(long: usize, any: usize) -> Self {
        Self {
            long,
            any,
            fields: usize::MAX,
        }
    }

    fn is_none(self) -> bool {
        self.any == usize::MAX && self.long == usize::MAX && self.fields == usize::MAX
    }

    /// A value as far as it is left in.
    fn value<'v>(self, field: &'v Field<'_>) -> &'v str {
        let limit = if map::is_long(&field.name) {
            self.long.min(self.any)
        } else {
            self.any
        };
        escape::head(&field.value, limit)
    }

    fn fields<'e, 'a>(self, event: &'e Event<'a>) -> impl Iterator<Item = &'e Field<'a>> {
        event.fields().iter().take(self.fields)
    }
}

impl Format {
    /// Writes the event as one line without its line break, in at most `limit` bytes; returns whether it was shortened for that.
    pub(super) fn write(&self, out: &mut Vec<u8>, event: &Event<'_>, limit: usize) -> bool {
        let start = out.len();
        let mut fits = |cut: Cut| {
            out.truncate(start);
            self.write_cut(out, event, cut);
            out.len() - start <= limit
        };
        if fits(Cut::NONE) {
            return false;
        }
        if Cut::LEVELS.into_iter().any(&mut fits) {
            return true;
        }
        // Every value is short now, so there are too many of them: the last ones go.
        let mut count = event.fields().len();
        while count > 0 {
            count /= 2;
            let fewer = Cut {
                fields: count,
                ..Cut::values(16, 16)
            };
            if fits(fewer) {
                return true;
            }
        }
        // What is left is the format's own text: of a template, at most.
        let end = escape::boundary(out, start + limit);
        out.truncate(end);
        true
    }

    fn write_cut(&self, out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
        match self {
            Self::Json => json::write_line(out, event, cut),
            Self::KeyValue => key_value::write(out, event, cut),
            Self::Cef => cef::write(out, event, cut),
            Self::Leef => leef::write(out, event, cut, leef::Version::One),
            Self::Leef2 => leef::write(out, event, cut, leef::Version::Two),
            Self::Template(template) => template.write(out, event, cut),
        }
    }
}

/// What a field says of an event that was shortened.
const TRUNCATED: &str = "truncated";

#[cfg(test)]
mod tests;
