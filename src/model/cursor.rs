//! Where a stream stands at its source.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a stream, opaque to all but the source that made it: versioned text without local
/// paths, the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

impl Cursor {
    /// Bytes a cursor may have, so that store records and frame headers stay small.
    pub const MAX_LEN: usize = 4096;

    /// Takes the text of a cursor.
    ///
    /// # Errors
    /// Its length, if that is over [`Cursor::MAX_LEN`].
    pub fn new(text: String) -> Result<Self, CursorTooLong> {
        if text.len() > Self::MAX_LEN {
            return Err(CursorTooLong(text.len()));
        }
        Ok(Self(text))
    }

    /// The text that the source made.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorTooLong;

    fn try_from(text: String) -> Result<Self, CursorTooLong> {
        Self::new(text)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.0
    }
}

/// A cursor that would not fit a record of the store.
#[derive(Debug, thiserror::Error)]
#[error("a cursor of {0} bytes is over the limit of {max}", max = Cursor::MAX_LEN)]
pub struct CursorTooLong(pub usize);
