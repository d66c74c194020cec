//! What was put aside, as far as it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{OutputId, Timestamp};

/// Dead letters that are listed; `mimecast-collector dead-letters list` has all.
const LISTED: usize = 50;
/// Characters of a reason; `mimecast-collector dead-letters show` has it whole.
const REASON: usize = 300;

/// What was put aside: the newest of it, and how much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// All that there are, those included that were sent again.
    pub count: u64,
    /// The newest of them, the newest first.
    pub newest: Vec<DeadLetter>,
    /// How many of each output's wait for a person, by its name.
    #[serde(skip)]
    waiting: BTreeMap<OutputId, u64>,
}

/// Records that were put aside together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// By which it is shown, sent again or thrown away.
    pub number: u64,
    /// When it was put aside.
    pub at: Timestamp,
    /// The output that refused the records; `None` for what could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputId>,
    /// The stream that they are of.
    pub lane: String,
    /// How many they are.
    pub records: u64,
    /// Why the first of them was put aside: what the receiver answered, or what cannot be read.
    pub reason: String,
    /// When a person had them sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_again: Option<Timestamp>,
}

impl DeadLetters {
    /// Takes one in that is newer than all before it.
    pub fn note(&mut self, mut letter: DeadLetter) {
        if let Some((end, _)) = letter.reason.char_indices().nth(REASON) {
            letter.reason.truncate(end);
        }
        self.count += 1;
        if let (Some(output), None) = (&letter.output, letter.sent_again) {
            *self.waiting.entry(output.clone()).or_default() += 1;
        }
        self.newest.insert(0, letter);
        self.newest.truncate(LISTED);
    }

    /// How many of an output's wait for a person.
    #[must_use]
    pub fn waiting(&self, output: &OutputId) -> u64 {
        self.waiting.get(output).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_listed_and_those_that_wait_are_counted() {
        let splunk = OutputId::new("splunk").unwrap();
        let at = Timestamp::from_millis(0);
        let mut letters = DeadLetters::default();
        for number in 1..=1_000 {
            letters.note(DeadLetter {
                number,
                at,
                output: (number % 2 == 0).then(|| splunk.clone()),
                lane: "acme/audit".to_owned(),
                records: 1,
                reason: "é".repeat(10_000),
                sent_again: (number % 4 == 0).then_some(at),
            });
        }
        assert_eq!((letters.count, letters.newest.len()), (1_000, LISTED));
        assert_eq!(letters.newest[0].number, 1_000);
        assert_eq!(letters.newest[0].reason.chars().count(), REASON);
        assert_eq!(letters.waiting(&splunk), 250);
    }
}
