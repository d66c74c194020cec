//! Decoded events on their way from a source to the store, and records on their way from there to the outputs.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;

use super::{Cursor, EventId, Timestamp};

/// One record as the vendor wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The record: one line without its line break, valid UTF-8.
    pub body: &'a str,
    /// When it happened, or when it was fetched if the record does not say.
    pub time: Timestamp,
    /// Its stable name.
    pub id: EventId,
}

/// How the body of an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Json,
    /// A line of text, such as `key=value|…`.
    Text,
}

/// One event as the store hands it out. Clones share the body, which is a part of a whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its stable name.
    pub id: EventId,
    /// When it happened.
    pub time: Timestamp,
    /// How the body is written.
    pub form: Form,
    /// The record type: `receipt`, `audit` …
    pub kind: Arc<str>,
    /// The record as the vendor wrote it.
    pub body: Bytes,
}

impl Record {
    /// The body as text. What a source pushed is valid UTF-8; anything else reads as U+FFFD, so that one odd byte
    /// cannot spoil the request around it.
    #[must_use]
    pub fn body_str(&self) -> Cow<'_, str> {
        text(&self.body)
    }
}

/// Bytes as text, with U+FFFD for what is not UTF-8.
///
/// The standard library's replacement looks at one character after the other; nearly all records are valid, which the plain check
/// finds out ten times as fast.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Where decoded events go. Calls may block on the disk, so they belong on a blocking thread.
///
/// What was pushed becomes durable, and visible to outputs, by [`Sink::commit`] only; a sink that is
/// dropped forgets what was pushed since the last commit.
pub trait Sink: Send + 'static {
    /// Takes one event of the record type `kind` (`receipt`, `audit` …; at most 64 bytes).
    ///
    /// # Errors
    /// See [`SinkError`]; the fetch ends.
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError>;

    /// Puts aside a record that cannot be decoded, or not delivered, with the reason; counted and kept.
    ///
    /// # Errors
    /// See [`SinkError`]; the fetch ends.
    fn quarantine(&mut self, kind: &str, record: &[u8], reason: &str) -> Result<(), SinkError>;

    /// Keeps a whole file with the record that was put aside last, until a person discards both; it counts with the next commit.
    ///
    /// # Errors
    /// See [`SinkError`]; the fetch ends.
    fn keep(&mut self, file: &mut dyn Read) -> Result<(), SinkError>;

    /// Counts what happened to a record or file, besides its push or quarantine; it counts with the next commit.
    fn count(&mut self, what: Counted);

    /// Says how many distinct files of a listing are still to be fetched; counts those that are new.
    fn listed(&mut self, files: u64);

    /// Uncompressed bytes pushed since the last commit.
    fn uncommitted(&self) -> u64;

    /// The stream's small side record, as last committed: what a source must remember besides the cursor.
    /// It goes when the stream goes back, for whatever reason.
    fn memo(&self) -> Option<Vec<u8>>;

    /// Commits what was pushed together with the cursor that stands behind it, and a new memo if one is given,
    /// in one transaction.
    ///
    /// # Errors
    /// See [`SinkError`]; nothing of this part is committed, and the fetch ends.
    fn commit_with(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError>;

    /// [`Sink::commit_with`] that leaves the memo as it is.
    ///
    /// # Errors
    /// See [`SinkError`]; nothing of this part is committed, and the fetch ends.
    fn commit(&mut self, next: &Cursor) -> Result<(), SinkError> {
        self.commit_with(next, None)
    }
}

/// What a source counts of what it does. Each record that is read is then pushed, put aside or known; each file that is listed is
/// then fetched or put aside: so sums show whether one was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// A record was read.
    Read,
    /// It is left out: it was stored already, by an earlier listing, or lies outside what a replay is to fetch.
    Known,
    /// A file was read to its end.
    FileFetched,
    /// A file was put aside, as one record in its place.
    FileQuarantined,
}

/// Why a sink takes no more.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The stream's cursor is not the one that this sink began from: the stream belongs to another now.
    #[error("the stream's cursor has moved under this fetch")]
    Moved,
    /// The disk is full; what was committed is safe.
    #[error("no space left in the state directory")]
    Full,
    /// The store is shutting down or has failed; it tells the process itself.
    #[error("the store is closed")]
    Closed,
    /// A record that the store's format cannot hold; a bug in the source.
    #[error("{0}")]
    Unfit(String),
}
