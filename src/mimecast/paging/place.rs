//! Where a stream of files stands: a page, the files of it that are finished, the records of the next one.
//!
//! The cursor is JSON:
//! `{"v":1,"token":"…","since":"2026-01-06","object":"…","lines":120,"tries":1,"struck":1767690487,"done":"…"}`. Files are named by 64 bits
//! of a hash over name and size, so that a cursor stays small whatever the vendor calls them, and a file
//! that has another size is another file.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::model::{Cursor, SinkError, Timestamp};

const VERSION: u32 = 1;
/// Finished files of a page that are remembered; a page of more costs duplicates after a crash, no loss.
const REMEMBERED: usize = 200;

/// A file of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKey([u8; 8]);

impl FileKey {
    pub(super) fn new(name: &str, size: Option<u64>) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(name);
        hash.update([0]);
        hash.update(size.unwrap_or(u64::MAX).to_be_bytes());
        let mut key = [0; 8];
        for (to, from) in key.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(key)
    }
}

/// A place in a stream of files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Place {
    token: Option<String>,
    /// The first day asked for, while there is no token.
    since: Option<String>,
    current: Option<Current>,
    /// Finished files of the page, oldest first.
    done: Vec<FileKey>,
}

/// The file that is being read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Current {
    file: FileKey,
    /// Records of it that are committed.
    records: u64,
    /// How often it was found damaged or missing.
    tries: u32,
    /// When it was so first, in whole seconds of the epoch; 0 if it never was, or an older version counted.
    struck: u64,
}

/// Vain tries at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strikes {
    /// How many.
    pub(super) tries: u32,
    /// From the first to the latest.
    pub(super) over: Duration,
}

/// The cursor's text.
#[derive(Deserialize, Serialize)]
struct Wire {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    lines: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    tries: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    struck: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    done: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether a page turned out to be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The token names another page.
    On,
    /// The token is the same, or there is none: the page may still grow.
    Nowhere,
}

impl Place {
    /// The beginning of a stream, from this day on.
    pub(super) fn starting(since: Option<String>) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// Why it is not one of ours.
    pub(super) fn read(cursor: &Cursor) -> Result<Self, String> {
        let wire: Wire = serde_json::from_str(cursor.as_str()).map_err(|e| e.to_string())?;
        if wire.v != VERSION {
            return Err(format!("its version is {}", wire.v));
        }
        let keys = |text: &str| -> Result<Vec<FileKey>, String> {
            let bytes = STANDARD_NO_PAD.decode(text).map_err(|e| e.to_string())?;
            let (keys, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err("it names no whole number of files".to_owned());
            }
            Ok(keys.iter().copied().map(FileKey).collect())
        };
        let object = keys(wire.object.as_deref().unwrap_or_default())?;
        Ok(Self {
            token: wire.token,
            since: wire.since,
            current: object.first().map(|file| Current {
                file: *file,
                records: wire.lines,
                tries: u32::try_from(wire.tries).unwrap_or(u32::MAX),
                struck: wire.struck,
            }),
            done: keys(&wire.done)?,
        })
    }

    /// Writes the cursor. If the vendor's token leaves little room, fewer finished files are remembered.
    ///
    /// # Errors
    /// A token too long for any cursor.
    pub(super) fn cursor(&self) -> Result<Cursor, SinkError> {
        let mut done = self.done.as_slice();
        loop {
            match Cursor::new(self.text(done)) {
                Ok(cursor) => return Ok(cursor),
                Err(error) => match done.split_first() {
                    Some((_, younger)) => done = younger,
                    None => return Err(SinkError::Unfit(error.to_string())),
                },
            }
        }
    }

    fn text(&self, done: &[FileKey]) -> String {
        let encode = |keys: &[FileKey]| {
            let bytes: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
            STANDARD_NO_PAD.encode(bytes)
        };
        let wire = Wire {
            v: VERSION,
            token: self.token.clone(),
            since: self.since.clone(),
            object: self.current.map(|current| encode(&[current.file])),
            lines: self.current.map_or(0, |current| current.records),
            tries: self.current.map_or(0, |current| u64::from(current.tries)),
            struck: self.current.map_or(0, |current| current.struck),
            done: encode(done),
        };
        // Texts and numbers always serialise.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn since(&self) -> Option<&str> {
        self.since.as_deref()
    }

    pub(super) fn is_done(&self, file: FileKey) -> bool {
        self.done.contains(&file)
    }

    /// Turns to a file; what is known of another one is forgotten.
    pub(super) fn begin(&mut self, file: FileKey) {
        if !self.is_at(file) {
            self.current = Some(Current {
                file,
                records: 0,
                tries: 0,
                struck: 0,
            });
        }
    }

    /// Whether this is the current file.
    pub(super) fn is_at(&self, file: FileKey) -> bool {
        self.current.is_some_and(|current| current.file == file)
    }

    /// Records of the current file that were committed before.
    pub(super) fn records(&self) -> u64 {
        self.current.map_or(0, |current| current.records)
    }

    /// So many records of the current file are behind this place.
    pub(super) fn reach(&mut self, records: u64) {
        if let Some(current) = &mut self.current {
            current.records = records;
        }
    }

    /// Counts one more vain try at the current file, and says how many there were in what time.
    pub(super) fn strike(&mut self, now: Timestamp) -> Strikes {
        let now = u64::try_from(now.as_millis() / 1_000).unwrap_or(0);
        let Some(current) = &mut self.current else {
            return Strikes {
                tries: 0,
                over: Duration::ZERO,
            };
        };
        current.tries = current.tries.saturating_add(1);
        // A clock that went back begins the span anew.
        if current.struck == 0 || current.struck > now {
            current.struck = now;
        }
        Strikes {
            tries: current.tries,
            over: Duration::from_secs(now - current.struck),
        }
    }

    /// How often the current file could not be read so far.
    pub(super) fn tries(&self) -> u32 {
        self.current.map_or(0, |current| current.tries)
    }

    /// The current file is behind this place.
    pub(super) fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            if self.done.len() >= REMEMBERED {
                self.done.remove(0);
            }
            self.done.push(current.file);
        }
    }

    /// All files of the page are behind this place; `token` names the next page.
    ///
    /// While the token stays, finished files stay remembered, for they will be listed again.
    pub(super) fn turn(&mut self, token: Option<String>) -> Moved {
        self.current = None;
        if token.is_none() || token == self.token {
            return Moved::Nowhere;
        }
        *self = Self {
            token,
            ..Self::default()
        };
        Moved::On
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u64) -> FileKey {
        FileKey::new("a", Some(n))
    }

    fn again(place: &Place) -> Place {
        Place::read(&place.cursor().unwrap()).unwrap()
    }

    #[test]
    fn a_place_survives_being_written() {
        let mut place = Place::starting(Some("2026-01-06".to_owned()));
        assert_eq!(
            place.cursor().unwrap().as_str(),
            r#"{"v":1,"since":"2026-01-06"}"#
        );
        place.begin(key(1));
        place.finish();
        place.begin(key(2));
        place.reach(7);
        let first = Timestamp::from_millis(1_767_690_487_000);
        assert_eq!(place.strike(first).tries, 1);
        assert_eq!(again(&place), place);
        let over = Duration::from_mins(61);
        let strikes = again(&place).strike(first + over);
        assert_eq!(strikes, Strikes { tries: 2, over });
        assert_eq!(place.turn(Some("t".to_owned())), Moved::On);
        assert_eq!(place.cursor().unwrap().as_str(), r#"{"v":1,"token":"t"}"#);
    }

    #[test]
    fn a_file_is_taken_up_where_it_was_left_unless_it_is_another_one() {
        let mut place = Place::default();
        place.begin(key(1));
        place.reach(7);
        let mut place = again(&place);
        place.begin(key(1));
        assert_eq!(place.records(), 7);
        place.begin(key(2));
        assert_eq!(place.records(), 0);
    }

    #[test]
    fn finished_files_are_forgotten_with_their_page_only() {
        let mut place = Place::default();
        place.begin(key(1));
        place.finish();
        assert_eq!(place.turn(None), Moved::Nowhere);
        assert!(place.is_done(key(1)));
        assert_eq!(place.turn(Some("t".to_owned())), Moved::On);
        assert!(!place.is_done(key(1)));
        place.begin(key(2));
        place.finish();
        assert_eq!(place.turn(Some("t".to_owned())), Moved::Nowhere);
        assert!(place.is_done(key(2)));
    }

    #[test]
    fn a_cursor_of_another_version_is_refused() {
        for text in ["", "{}", r#"{"v":2}"#, r#"{"v":1,"done":"AAAA"}"#] {
            assert!(
                Place::read(&Cursor::new(text.to_owned()).unwrap()).is_err(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_cursor_stays_small_and_forgets_the_oldest_first(
            files in 0_u64..300,
            token in "[a-z\"]{0,3000}",
        ) {
            let mut place = Place::default();
            place.turn(Some(token.clone()));
            for n in 0..files {
                place.begin(key(n));
                place.finish();
            }
            // A token of quotation marks alone may be written twice as long.
            if let Ok(cursor) = place.cursor() {
                let read = Place::read(&cursor).unwrap();
                prop_assert_eq!(read.token(), Some(token.as_str()));
                if let Some(newest) = files.checked_sub(1).filter(|_| token.len() < 1000) {
                    prop_assert!(read.is_done(key(newest)));
                }
            } else {
                prop_assert!(token.len() > 1900);
            }
        }
    }
}
