//! Since when the oldest event has waited for an output.
//!
//! The store does not date events, so each minute a mark says how many events there were by then; the oldest that waits came after
//! the last mark that the output has passed.

use std::collections::VecDeque;

use super::OutputReport;
use crate::model::Timestamp;

/// Two days; what waits for longer is said to have waited since the oldest mark.
const KEPT: usize = 2 * 24 * 60;

/// Marks of one output, oldest first: when, and how many events there were.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(Timestamp, u64)>);

impl Marks {
    /// Sets a mark.
    pub(super) fn note(&mut self, now: Timestamp, output: &OutputReport) {
        let (done, all) = counts(output);
        // Of the marks that are passed the last one counts; what a lost database has taken back is no mark.
        while self.0.get(1).is_some_and(|(_, count)| *count <= done) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|(_, count)| *count > all) {
            self.0.pop_back();
        }
        if self.0.len() == KEPT {
            // The second: the first says since when nothing was passed.
            self.0.remove(1);
        }
        self.0.push_back((now, all));
    }

    /// When the oldest event that waits was stored; `None` if that was before the first mark.
    pub(super) fn oldest(&self, output: &OutputReport) -> Option<Timestamp> {
        let (done, _) = counts(output);
        let passed = self.0.iter().rev().find(|(_, count)| *count <= done);
        passed.map(|(at, _)| *at)
    }
}

/// Events that are done with, and all that there are.
fn counts(output: &OutputReport) -> (u64, u64) {
    let of_them = [output.rejected, output.withheld, output.filtered];
    let done = of_them
        .into_iter()
        .fold(output.accepted, u64::saturating_add);
    (done, done.saturating_add(output.backlog_events))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::OutputId;

    fn output(accepted: u64, backlog_events: u64) -> OutputReport {
        OutputReport {
            accepted,
            backlog_events,
            ..OutputReport::new(&OutputId::new("splunk").unwrap())
        }
    }

    #[test]
    fn the_oldest_event_came_after_the_last_mark_that_is_passed() {
        let at = |minute| Timestamp::from_millis(0) + Duration::from_secs(60 * minute);
        let mut marks = Marks::default();
        assert_eq!(marks.oldest(&output(0, 5)), None);
        for (minute, accepted, backlog) in [(1, 10, 0), (2, 10, 5), (3, 10, 9), (4, 12, 9)] {
            marks.note(at(minute), &output(accepted, backlog));
        }
        assert_eq!(marks.oldest(&output(12, 9)), Some(at(1)));
        assert_eq!(marks.oldest(&output(15, 6)), Some(at(2)));
        assert_eq!(marks.oldest(&output(20, 1)), Some(at(3)));
        for minute in 5..5 + 2 * KEPT as u64 {
            marks.note(at(minute), &output(12, minute));
        }
        assert_eq!(marks.0.len(), KEPT);
        assert_eq!(marks.oldest(&output(12, 9)), Some(at(1)));
    }
}
