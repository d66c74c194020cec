//! What a stream counts so that a person can check that nothing is missing: written in the transaction of the commit that it counts.
//!
//! Each record and file is counted twice, where it comes in and where it goes to, by different code. A fault of that code, or of
//! what lies between, makes the sums differ; what makes them differ lawfully has a count of its own.

use serde::{Deserialize, Serialize};

use crate::model::{Counted, Timestamp};

/// The counts of a stream, from [`Books::opened`] on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Since when this is counted.
    pub opened: Timestamp,
    /// Events of the lane that are not counted here: those from before the books were opened; and when the database was lost,
    /// those found in the lane that its copy did not count, less those that it counted and the lane has delivered and deleted.
    pub before: i64,
    /// What was committed.
    #[serde(flatten)]
    pub tally: Tally,
    /// Files that were listed and not yet fetched, as the last commit left them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting: u64,
    /// How often the stream went back to an earlier place, and so fetched again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_back: u64,
    /// When the database was lost, and these counts were taken from its copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescued: Option<Timestamp>,
}

/// Counts that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Records read.
    pub read: u64,
    /// Records that were events.
    pub stored: u64,
    /// Records that were stored already.
    pub known: u64,
    /// Records put aside.
    pub quarantined: u64,
    /// Distinct files listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_listed: u64,
    /// Files read to their end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_fetched: u64,
    /// Files put aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_quarantined: u64,
    /// Files that were not there any more when their page was listed again, before they were fetched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_withdrawn: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Books {
    /// Books of a stream whose lane has had so many events already.
    pub(super) fn open(now: Timestamp, events: u64) -> Self {
        Self {
            opened: now,
            before: i64::try_from(events).unwrap_or(i64::MAX),
            tally: Tally::default(),
            waiting: 0,
            set_back: 0,
            rescued: None,
        }
    }

    /// Counts what a commit has brought.
    pub(super) fn add(&mut self, part: &Sheet) {
        self.tally.add(&part.tally);
        self.waiting = part.waiting;
    }

    /// The stream goes back: its page is listed again, with what waits of it.
    pub(super) fn go_back(&mut self) {
        self.tally.files_withdrawn += std::mem::take(&mut self.waiting);
        self.set_back += 1;
    }

    /// The database was lost, and the stream's lane was found with so many events.
    pub(super) fn rescue(&mut self, now: Timestamp, events: u64) {
        let found = i64::try_from(events).unwrap_or(i64::MAX);
        let counted = i64::try_from(self.tally.stored).unwrap_or(i64::MAX);
        self.before = found.saturating_sub(counted);
        self.rescued = Some(now);
    }
}

impl Tally {
    fn add(&mut self, part: &Self) {
        self.read += part.read;
        self.stored += part.stored;
        self.known += part.known;
        self.quarantined += part.quarantined;
        self.files_listed += part.files_listed;
        self.files_fetched += part.files_fetched;
        self.files_quarantined += part.files_quarantined;
        self.files_withdrawn += part.files_withdrawn;
    }
}

/// What a writer has counted since its last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) tally: Tally,
    /// Files that are still to be fetched.
    pub(super) waiting: u64,
}

impl Sheet {
    /// Begins to count behind a commit that left so many files to be fetched.
    pub(super) fn after(waiting: u64) -> Self {
        Self {
            waiting,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, what: Counted) {
        match what {
            Counted::Read => self.tally.read += 1,
            Counted::Known => self.tally.known += 1,
            Counted::FileFetched => {
                self.tally.files_fetched += 1;
                self.waiting = self.waiting.saturating_sub(1);
            }
            // The file is put aside as a record of its own, which was not read.
            Counted::FileQuarantined => {
                self.tally.files_quarantined += 1;
                self.tally.quarantined = self.tally.quarantined.saturating_sub(1);
                self.waiting = self.waiting.saturating_sub(1);
            }
        }
    }

    /// A listing says how many files there are still to be fetched.
    pub(super) fn listed(&mut self, files: u64) {
        self.tally.files_listed += files.saturating_sub(self.waiting);
        self.tally.files_withdrawn += self.waiting.saturating_sub(files);
        self.waiting = files;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_listed_once_however_often_its_sheet_is() {
        let mut books = Books::open(Timestamp::from_millis(0), 0);
        let mut sheet = Sheet::after(books.waiting);
        sheet.listed(3);
        sheet.count(Counted::FileFetched);
        books.add(&sheet);
        // A restart, and the sheet again; one of its files is gone now, and then a new one is there.
        let mut sheet = Sheet::after(books.waiting);
        sheet.listed(2);
        sheet.listed(1);
        sheet.listed(2);
        books.add(&sheet);
        let tally = books.tally;
        assert_eq!((tally.files_listed, tally.files_fetched), (4, 1));
        assert_eq!((tally.files_withdrawn, books.waiting), (1, 2));
    }

    proptest! {
        /// Listings, files and kills in any order, as a source that is right does them.
        #[test]
        fn the_files_of_any_history_balance(steps in proptest::collection::vec(0..5_u8, 0..60), sizes in proptest::collection::vec(0..9_u64, 60)) {
            let mut books = Books::open(Timestamp::from_millis(0), 0);
            let mut sheet = Sheet::default();
            for (step, size) in steps.into_iter().zip(sizes) {
                match step {
                    0 => sheet.listed(size),
                    1 if sheet.waiting > 0 => sheet.count(Counted::FileFetched),
                    2 if sheet.waiting > 0 => sheet.count(Counted::FileQuarantined),
                    3 => {
                        books.add(&sheet);
                        sheet = Sheet::after(books.waiting);
                    }
                    // A kill before the commit, or a stream that went back.
                    _ => {
                        books.go_back();
                        sheet = Sheet::after(books.waiting);
                    }
                }
            }
            let Tally { files_listed, files_fetched, files_quarantined, files_withdrawn, .. } = books.tally;
            prop_assert_eq!(files_listed, files_fetched + files_quarantined + files_withdrawn + books.waiting);
        }
    }
}
