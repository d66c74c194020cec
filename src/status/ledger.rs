//! What came in and what became of it, and whether the two agree.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Differences and notes that are told; `mimecast-collector ledger` has all.
const TOLD: usize = 20;

/// What came in on a stream and what became of it, since its books were opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read.
    pub read: u64,
    /// Records that were events, and stored.
    pub stored: u64,
    /// Records that were stored already.
    pub known: u64,
    /// Records put aside.
    pub quarantined: u64,
    /// Distinct files listed; 0 where there are no files.
    pub files_listed: u64,
    /// Files read to their end.
    pub files_fetched: u64,
    /// Files put aside.
    pub files_quarantined: u64,
    /// Files that were listed no more before they were fetched.
    pub files_withdrawn: u64,
    /// Files that are still to be fetched.
    pub files_waiting: u64,
}

impl Counts {
    /// Adds those of another stream.
    pub fn add(&mut self, other: &Self) {
        let all = [
            (&mut self.read, other.read),
            (&mut self.stored, other.stored),
            (&mut self.known, other.known),
            (&mut self.quarantined, other.quarantined),
            (&mut self.files_listed, other.files_listed),
            (&mut self.files_fetched, other.files_fetched),
            (&mut self.files_quarantined, other.files_quarantined),
            (&mut self.files_withdrawn, other.files_withdrawn),
            (&mut self.files_waiting, other.files_waiting),
        ];
        for (sum, more) in all {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Whether the books balance, as they were last drawn up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// When that was; `None` in the first moments of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_up: Option<Timestamp>,
    /// Whether all sums agreed; `None` in the first moments of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balances: Option<bool>,
    /// That in words.
    #[serde(default)]
    pub sentence: String,
    /// How many sums did not agree.
    #[serde(default)]
    pub differing: u64,
    /// Some of these, and by how much.
    #[serde(default)]
    pub differences: Vec<String>,
    /// What looks odd and is accounted for, or some of it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The counts of all streams together, as they are now.
    #[serde(default)]
    pub totals: Counts,
}

impl LedgerReport {
    /// What was found at `drawn_up`.
    #[must_use]
    pub fn of(
        drawn_up: Timestamp,
        sentence: String,
        mut differences: Vec<String>,
        mut notes: Vec<String>,
    ) -> Self {
        let differing = differences.len() as u64;
        differences.truncate(TOLD);
        notes.truncate(TOLD);
        Self {
            drawn_up: Some(drawn_up),
            balances: Some(differing == 0),
            sentence,
            differing,
            differences,
            notes,
            totals: Counts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_differences_some_are_told_and_all_are_counted() {
        let differences: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
        let now = Timestamp::from_millis(0);
        let report = LedgerReport::of(now, "x".to_owned(), differences.clone(), differences);
        assert_eq!(
            (report.balances, report.differing, report.differences.len()),
            (Some(false), 1_000, TOLD)
        );
        assert_eq!(report.notes.len(), TOLD);
        let well = LedgerReport::of(now, "x".to_owned(), Vec::new(), Vec::new());
        assert_eq!(well.balances, Some(true));
    }

    #[test]
    fn no_count_is_left_out_of_a_sum() {
        let one = Counts {
            read: 1,
            stored: 2,
            known: 3,
            quarantined: 4,
            files_listed: 5,
            files_fetched: 6,
            files_quarantined: 7,
            files_withdrawn: 8,
            files_waiting: 9,
        };
        let mut sum = one;
        sum.add(&one);
        let doubled = serde_json::to_value(one).unwrap();
        let doubled = doubled.as_object().unwrap().iter();
        let doubled = doubled.map(|(name, n)| (name.clone(), (n.as_u64().unwrap() * 2).into()));
        assert_eq!(
            serde_json::to_value(sum).unwrap(),
            serde_json::Value::Object(doubled.collect())
        );
    }
}
