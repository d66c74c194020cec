//! Which stream loses something first. Pure: the times are arguments.
//!
//! [`retention`](super::retention) asks the same for people, and answers differently where they would be alarmed for nothing: what lay at
//! Mimecast before the first poll is extra there, and here the first that will be gone, so a new stream is asked before one that is caught
//! up. A warning believes no time that an event claims to be ahead of the clock; an order may, for each stream has a call for each of its
//! intervals whatever the order is.

use std::time::Duration;

use crate::model::Timestamp;
use crate::store::PollRecord;

/// How long until the oldest data not yet fetched leaves Mimecast.
///
/// A stream that was caught up has all from before its last poll. One that was not has what is older than `reached`, by the wall clock:
/// its newest event, or where it begins.
pub(super) fn retention_left(
    poll: Option<&PollRecord>,
    reached: Option<Timestamp>,
    look_back: Duration,
    (now, wall): (Timestamp, Timestamp),
) -> Duration {
    let behind = match (poll, reached) {
        (Some(poll), _) if poll.done => now.since(poll.started),
        (_, Some(reached)) => wall.since(reached),
        (_, None) => look_back,
    };
    look_back.saturating_sub(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_counts_from_its_newest_event_and_a_stream_that_is_caught_up_from_its_poll() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let poll = |done| PollRecord {
            started: at(900),
            attempted: at(900),
            attempts: 0,
            done,
            calls: None,
        };
        let day = Duration::from_secs(1000);
        let times = (at(1000), at(5000));
        let left = |poll: Option<PollRecord>, reached| {
            retention_left(poll.as_ref(), reached, day, times).as_secs()
        };
        assert_eq!(left(Some(poll(true)), Some(at(1))), 900);
        assert_eq!(left(Some(poll(false)), Some(at(4600))), 600);
        assert_eq!(left(Some(poll(false)), Some(at(1))), 0);
        assert_eq!(left(None, None), 0);
    }
}
