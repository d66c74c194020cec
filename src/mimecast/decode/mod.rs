//! Bytes to events: streaming, with bounds on everything a stranger chose, and no knowledge of HTTP or cursors.
//!
//! Decoders take a [`std::io::Read`] and run on a blocking thread. A file is cut into raw records by a
//! [`Records`]; a [`recorder::Recorder`] makes events of them or puts them aside.

pub(super) mod copied;
pub(super) mod csv;
pub(super) mod gzip;
pub(super) mod json;
pub(super) mod lines;
pub(super) mod pipe;
pub(super) mod recorder;
mod scan;
pub(super) mod siem_json;
pub(super) mod stix;
pub(super) mod zip;

use std::io;

use crate::model::SinkError;

/// Bytes that are inflated at once: after each time, the last 32 KiB are copied for the next.
pub(super) const BUFFER: usize = 256 << 10;

/// Bytes of a record at most; longer ones are put aside.
pub(super) const MAX_RECORD: usize = 1 << 20;

/// Bytes that are kept of a record that is too long.
pub(super) const KEPT: usize = 64 << 10;

const TOO_LONG: &str = "longer than 1 MiB";

/// A record as it stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its beginning, and why it cannot be an event.
    Unfit(&'a [u8], &'static str),
}

impl<'a> Raw<'a> {
    /// A record that is in memory already.
    pub(super) fn new(record: &'a [u8]) -> Self {
        match record.get(..KEPT) {
            Some(kept) if record.len() > MAX_RECORD => Self::Unfit(kept, TOO_LONG),
            Some(_) | None => Self::Whole(record),
        }
    }
}

/// A file that is being cut into records.
pub(super) trait Records {
    /// The next record, or `None` at the end of the file.
    fn next(&mut self) -> io::Result<Option<Raw<'_>>>;
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// The file is cut short or damaged.
    #[error("{0}")]
    Damaged(String),
    /// A temporary file could not be written.
    #[error("cannot write a temporary file: {0}")]
    Local(io::Error),
    /// The store took no more.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// An error while reading is one of the file: the decompressors speak in [`io::Error`].
impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// A record being gathered, kept short if it grows beyond [`MAX_RECORD`].
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Gathered {
    fn clear(&mut self) {
        self.bytes.clear();
        self.too_long = false;
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn push(&mut self, more: &[u8]) {
        if self.too_long {
            return;
        }
        self.bytes.extend_from_slice(more);
        if self.bytes.len() > MAX_RECORD {
            self.bytes.truncate(KEPT);
            self.too_long = true;
        }
    }

    fn raw(&self) -> Raw<'_> {
        if self.too_long {
            Raw::Unfit(&self.bytes, TOO_LONG)
        } else {
            Raw::Whole(self.bytes.trim_ascii())
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::{self, BufReader, Read};

    use super::{Raw, Records};

    /// Hands out its bytes in pieces of the given sizes, over and over.
    pub(crate) struct Chunked<'a> {
        pub(crate) left: &'a [u8],
        pub(crate) sizes: std::iter::Cycle<std::vec::IntoIter<usize>>,
    }

    impl Chunked<'_> {
        pub(crate) fn new(bytes: &[u8], sizes: Vec<usize>) -> BufReader<Chunked<'_>> {
            let largest = sizes.iter().copied().max().unwrap_or(1);
            let sizes = sizes.into_iter().cycle();
            BufReader::with_capacity(largest, Chunked { left: bytes, sizes })
        }
    }

    impl Read for Chunked<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.next().unwrap_or(1).min(to.len());
            let (now, later) = self.left.split_at(size.min(self.left.len()));
            to[..now.len()].copy_from_slice(now);
            self.left = later;
            Ok(now.len())
        }
    }

    /// All records, the unfit ones by their reasons.
    pub(crate) fn all(mut records: impl Records) -> Vec<Result<Vec<u8>, &'static str>> {
        let mut found = Vec::new();
        while let Some(raw) = records.next().unwrap() {
            found.push(match raw {
                Raw::Whole(bytes) => Ok(bytes.to_vec()),
                Raw::Unfit(_, reason) => Err(reason),
            });
        }
        found
    }
}
