//! The recent changes of state, so that a page can tell what happened while nobody looked.
//!
//! A change is noted by whoever writes the new state, who says nothing of the time; it is stamped by the next who does. The program
//! stamps as soon as it is woken, so the two are milliseconds apart.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Condition, Phase};
use crate::model::Timestamp;

/// What is remembered: some hours of a bad day, and less than 100 KiB.
const KEPT: usize = 200;

/// Something went from one state to another, or from one trouble to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What: `acme-uk`, `acme-uk/siem-cg/av`, `acme-uk /api/path` or `output splunk`.
    pub subject: String,
    /// Its state before.
    pub from: Phase,
    /// Its state from then on.
    pub to: Phase,
    /// The key of the failure, such as `401/0010`; of a recovery, the one that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What that key means, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
}

/// A ring of changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Not stamped yet; its times mean nothing.
    new: VecDeque<Change>,
    /// Oldest first.
    stamped: VecDeque<Change>,
    count: u64,
}

impl Changes {
    /// Notes a change if there is one, and says whether there was.
    pub(super) fn note(
        &mut self,
        subject: impl FnOnce() -> String,
        before: &Condition,
        after: &Condition,
    ) -> bool {
        if before.state == after.state && before.key == after.key {
            return false;
        }
        let told = if after.state == Phase::Healthy {
            before
        } else {
            after
        };
        self.count += 1;
        push(
            &mut self.new,
            Change {
                at: Timestamp::from_millis(0),
                subject: subject(),
                from: before.state,
                to: after.state,
                key: told.key.clone(),
                title: told.title.clone(),
            },
        );
        true
    }

    /// Dates what was noted since the last call.
    pub(super) fn stamp(&mut self, now: Timestamp) {
        while let Some(change) = self.new.pop_front() {
            push(&mut self.stamped, Change { at: now, ..change });
        }
    }

    /// How many changes there were.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The changes that are remembered, the newest first.
    pub(super) fn newest_first(&self) -> Vec<Change> {
        self.stamped.iter().rev().cloned().collect()
    }
}

fn push(ring: &mut VecDeque<Change>, change: Change) {
    if ring.len() == KEPT {
        ring.pop_front();
    }
    ring.push_back(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(state: Phase, key: &str) -> Condition {
        Condition {
            state,
            key: (state != Phase::Healthy).then(|| key.to_owned()),
            title: key.to_owned(),
            ..Condition::default()
        }
    }

    #[test]
    fn a_recovery_says_what_is_over() {
        let mut changes = Changes::default();
        let (well, sick) = (Condition::default(), condition(Phase::Blocked, "418"));
        assert!(changes.note(|| "acme".to_owned(), &well, &sick));
        assert!(!changes.note(|| "acme".to_owned(), &sick, &sick));
        assert!(changes.note(|| "acme".to_owned(), &sick, &well));
        changes.stamp(Timestamp::from_millis(7));
        let told: Vec<_> = changes
            .newest_first()
            .into_iter()
            .map(|change| (change.at.as_millis(), change.from, change.to, change.key))
            .collect();
        let key = Some("418".to_owned());
        assert_eq!(
            told,
            [
                (7, Phase::Blocked, Phase::Healthy, key.clone()),
                (7, Phase::Healthy, Phase::Blocked, key)
            ]
        );
    }

    #[test]
    fn the_oldest_changes_are_forgotten() {
        let mut changes = Changes::default();
        let well = Condition::default();
        for n in 0..3 * KEPT {
            let sick = condition(Phase::Retrying, &n.to_string());
            changes.note(|| "acme".to_owned(), &well, &sick);
            if n % 7 == 0 {
                changes.stamp(Timestamp::from_millis(0));
            }
        }
        changes.stamp(Timestamp::from_millis(0));
        let kept = changes.newest_first();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(changes.count(), 3 * KEPT as u64);
        assert_eq!(kept[0].key, Some((3 * KEPT - 1).to_string()));
    }
}
