//! What is watched of a stream: how long Mimecast still keeps what is not fetched, and whether it has become silent.
//!
//! Who is asked first is decided by [`urgency`](super::urgency), which says why its answer is another one.

use std::time::Duration;

use crate::alert::About;
use crate::model::{StreamId, Timestamp};
use crate::store::{Snapshot, Store, StoreError, StreamRecord};
use crate::units::show_duration;
use crate::watch::{Finding, Watch};

/// How much time there is for what is not fetched yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    /// For how long Mimecast keeps the log.
    pub(super) kept: Duration,
    /// Until the oldest event that is not fetched leaves it.
    pub(super) left: Duration,
}

impl Retention {
    /// What is known of a stream whose log is kept for so long; `None` before its first poll.
    pub(super) fn of(kept: Duration, known: &StreamRecord, now: Timestamp) -> Option<Self> {
        let age = now.since(known.unfetched_since(now)?);
        Some(Self {
            kept,
            left: kept.saturating_sub(age),
        })
    }

    /// A warning at half of the time, an error at a tenth.
    fn finding(self) -> Option<Finding> {
        let code = match self.left {
            left if left <= self.kept / 10 => "retention_critical",
            left if left <= self.kept / 2 => "retention_low",
            _ => return None,
        };
        let (left, kept) = (show_duration(self.left), show_duration(self.kept));
        let detail = format!("{left} left of the {kept} that Mimecast keeps this log");
        Some(Finding { code, detail })
    }
}

/// The watches over one stream.
#[derive(Debug)]
pub(super) struct StreamWatch {
    retention: Watch,
    silence: Watch,
}

/// What a look at a stream finds besides its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// For how long Mimecast keeps the log; `None` for lists of what is there now.
    pub(super) kept: Option<Duration>,
    /// Whether Mimecast refuses the log itself: there is nothing to miss.
    pub(super) is_refused: bool,
    /// Whether it is polled to its end without an error.
    pub(super) is_well: bool,
}

impl StreamWatch {
    pub(super) fn load(id: &StreamId, about: &About, stored: &Snapshot, now: Timestamp) -> Self {
        let load = |what: &str| Watch::load(&format!("{what} {id}"), about.clone(), stored, now);
        Self {
            retention: load("retention"),
            silence: load("silence"),
        }
    }

    /// Looks at the stream; answers how much time there is.
    pub(super) async fn look(
        &mut self,
        store: &Store,
        seen: Seen,
        known: &StreamRecord,
        now: Timestamp,
    ) -> Result<Option<Retention>, StoreError> {
        let kept = seen
            .kept
            .filter(|_| !(seen.is_refused && known.cursor.is_none()));
        let retention = kept.and_then(|kept| Retention::of(kept, known, now));
        let low = retention.and_then(Retention::finding);
        self.retention.look(store, low, now).await?;
        let silence = known
            .rhythm
            .and_then(|rhythm| rhythm.unusual_silence(now))
            .filter(|_| seen.is_well);
        let silent = silence.map(|silence| Finding {
            code: "silent",
            detail: format!("no event for {}", show_duration(silence)),
        });
        self.silence.look(store, silent, now).await?;
        Ok(retention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PollRecord;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);
    const DAY: Duration = Duration::from_hours(24);
    const WEEK: Duration = Duration::from_hours(7 * 24);

    fn fetched(until: Timestamp) -> StreamRecord {
        StreamRecord {
            fetched_until: Some(until),
            ..StreamRecord::default()
        }
    }

    fn code(age: Duration) -> Option<&'static str> {
        let retention = Retention::of(WEEK, &fetched(NOW - age), NOW).unwrap();
        retention.finding().map(|finding| finding.code)
    }

    #[test]
    fn half_the_time_is_a_warning_and_a_tenth_an_error() {
        assert_eq!(code(Duration::ZERO), None);
        assert_eq!(code(WEEK / 2 - DAY / 24), None);
        assert_eq!(code(WEEK / 2), Some("retention_low"));
        assert_eq!(code(WEEK * 9 / 10), Some("retention_critical"));
        assert_eq!(code(WEEK * 2), Some("retention_critical"));
        let finding = Retention::of(WEEK, &fetched(NOW - DAY * 4), NOW).unwrap();
        assert_eq!(
            finding.finding().unwrap().detail,
            "3 d left of the 7 d that Mimecast keeps this log"
        );
    }

    #[test]
    fn a_backlog_that_drains_gains_time_and_an_event_from_the_future_does_not() {
        let draining = |newest| StreamRecord {
            newest: Some(newest),
            poll: Some(PollRecord {
                started: NOW,
                attempted: NOW,
                attempts: 0,
                done: false,
                calls: None,
            }),
            ..fetched(NOW - DAY * 6)
        };
        let left = |newest| Retention::of(WEEK, &draining(newest), NOW).unwrap().left;
        assert_eq!(left(NOW - DAY * 6), DAY);
        assert_eq!(left(NOW - DAY * 2), DAY * 5 - Duration::from_hours(1));
        assert_eq!(left(NOW + DAY), DAY);
    }
}
