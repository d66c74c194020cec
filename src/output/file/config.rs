//! What the configuration says of a file.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::Timestamp;
use crate::output::batching::Oversized;
use crate::output::format::Format;
use crate::settings::{Size, Table};

/// 100 MiB: some ten MiB packed.
const ROTATE_BYTES: u64 = 100 << 20;
const ROTATE_EVERY: Duration = Duration::from_hours(24);

/// A file of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Where it is; its folder must be there.
    pub path: PathBuf,
    /// How an event is written; as JSON, with its id and labels.
    pub format: Format,
    /// Bytes at which the next file is begun.
    pub rotate_bytes: u64,
    /// From the beginning of one file to that of the next, counted from midnight of 1970.
    pub rotate_every: Duration,
    /// Earlier files that are kept; `None` for all.
    pub keep: Option<u32>,
    /// What becomes of events that are too long.
    pub oversized: Oversized,
}

impl FileConfig {
    /// Reads the keys of the type `file`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let path = table.required("path");
        let rotate_bytes = table.optional("rotate_bytes");
        let Size(rotate_bytes) = rotate_bytes.unwrap_or(Size(ROTATE_BYTES));
        let rotate_every = table.optional("rotate_every").unwrap_or(ROTATE_EVERY);
        if rotate_bytes == 0 {
            table.reject("rotate_bytes", "must be more than nothing".to_owned());
        }
        if rotate_every < Duration::from_mins(1) {
            table.reject("rotate_every", "must be 1m at least".to_owned());
        }
        let keep = table.optional("keep");
        let oversized = Oversized::read(table);
        let format = Format::read(table);
        Some(Self {
            path: path?,
            format: format?,
            rotate_bytes,
            rotate_every,
            keep,
            oversized,
        })
    }

    /// Whether a file of `len` bytes that was written last at `written` is left before `more` bytes are written at `now`.
    pub(super) fn is_due(&self, len: u64, more: u64, written: Timestamp, now: Timestamp) -> bool {
        let every = i64::try_from(self.rotate_every.as_millis()).unwrap_or(i64::MAX);
        let span = |at: Timestamp| at.as_millis().div_euclid(every.max(1));
        len > 0 && (len.saturating_add(more) > self.rotate_bytes || span(written) < span(now))
    }
}
