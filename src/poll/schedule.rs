//! When each stream may be asked next. Pure: the time is an argument.

use std::time::Duration;

use crate::mimecast::Progress;
use crate::model::Timestamp;
use crate::store::PollRecord;

/// From one attempt that made no progress to the next of the same poll. Mimecast counts calls, and a cut-short poll that is begun
/// anew at once would be asked twice for the same.
pub(super) const CONTINUE_AFTER: Duration = Duration::from_secs(60);
/// A cursor may be listed this much later than the moment that was recorded for it; the next one may not be late by chance, so
/// the wait is that much longer.
pub(super) const RECORDED_WITHIN: Duration = Duration::from_secs(1);
/// Time-slices of window types: the longest, and the shortest they are halved to.
const LONGEST_SLICE: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_SLICE: Duration = Duration::from_secs(60);

/// When the stream's next step is due, whatever the states of health say.
///
/// `fresh` says that the step before succeeded in this process and there is more: then at once. Polls begin at whole seconds, so that those
/// of many integrations share the transactions that make them durable.
#[must_use]
pub(super) fn due(
    poll: Option<&PollRecord>,
    interval: Duration,
    fresh: bool,
    now: Timestamp,
) -> Timestamp {
    match poll {
        None => now,
        // A poll that took longer than its interval is followed no sooner than one that was cut short: its last page was empty
        // a moment ago.
        Some(poll) if poll.done => {
            let next = poll.started.min(now) + interval + RECORDED_WITHIN.min(interval);
            let earliest = poll.attempted.min(now) + interval.min(CONTINUE_AFTER + RECORDED_WITHIN);
            next.max(earliest).next_second()
        }
        Some(_) if fresh => now,
        Some(poll) => poll.attempted.min(now) + CONTINUE_AFTER + RECORDED_WITHIN,
    }
}

/// The record of a stream that another process may have asked until `now` without leaving word of it: if it was due, it was asked.
#[must_use]
pub fn assume_asked(poll: Option<PollRecord>, interval: Duration, now: Timestamp) -> PollRecord {
    let asked = PollRecord {
        started: now,
        attempted: now,
        attempts: 0,
        done: false,
        calls: None,
    };
    match poll {
        None => asked,
        Some(poll) if due(Some(&poll), interval, false, now) > now => poll,
        Some(poll) => PollRecord {
            started: now,
            attempted: now,
            ..poll
        },
    }
}

/// The record to be made durable before the next step; `None` if the one that is there still says the truth.
#[must_use]
pub(super) fn next_record(
    poll: Option<&PollRecord>,
    fresh: bool,
    now: Timestamp,
) -> Option<PollRecord> {
    match poll {
        Some(poll) if !poll.done => {
            let recorded = poll.attempted <= now && now.since(poll.attempted) < RECORDED_WITHIN;
            if fresh && recorded {
                return None;
            }
            let attempts = poll.attempts.saturating_add(u32::from(!fresh));
            // An attempt after a wait asks anew: the server cannot know that it belongs to an earlier one, which it may never have
            // seen, so the interval runs from here.
            let started = if fresh { poll.started } else { now };
            Some(PollRecord {
                started,
                attempted: now,
                attempts,
                ..*poll
            })
        }
        Some(_) | None => Some(PollRecord {
            started: now,
            attempted: now,
            attempts: 0,
            done: false,
            calls: None,
        }),
    }
}

/// Notes in the record what a step found out; true if the record is to be made durable at once.
///
/// Slices grow again with each one that was read, so that neither an outage nor one crowded day makes all that follow short.
pub(super) fn note(poll: &mut PollRecord, progress: Progress) -> bool {
    match progress {
        Progress::More => {
            poll.attempts = poll.attempts.saturating_sub(1);
            false
        }
        Progress::Halve => {
            poll.attempts = poll.attempts.saturating_add(1);
            true
        }
        Progress::CaughtUp => {
            poll.attempts = 0;
            poll.done = true;
            true
        }
    }
}

/// How long a slice of time to ask for: halved for each attempt that was cut short or found too much in it.
#[must_use]
pub(super) fn slice(poll: Option<&PollRecord>) -> Duration {
    let attempts = poll.map_or(0, |poll| poll.attempts.min(16));
    (LONGEST_SLICE / (1 << attempts)).max(SHORTEST_SLICE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn poll(started: i64, attempted: i64, done: bool) -> PollRecord {
        PollRecord {
            started: at(started),
            attempted: at(attempted),
            attempts: 0,
            done,
            calls: None,
        }
    }

    #[test]
    fn a_finished_poll_is_followed_one_interval_after_its_start_even_if_its_first_request_was_late()
    {
        assert_eq!(
            due(Some(&poll(0, 200, true)), INTERVAL, false, at(260)),
            at(301)
        );
    }

    #[test]
    fn a_poll_that_took_longer_than_its_interval_was_followed_at_once_by_the_same_question() {
        let long = poll(0, 900, true);
        assert_eq!(due(Some(&long), INTERVAL, false, at(900)), at(961));
        let second = Duration::from_secs(1);
        assert_eq!(due(Some(&long), second, false, at(900)), at(901));
    }

    #[test]
    fn a_poll_that_was_cut_short_is_continued_a_minute_after_its_last_attempt() {
        let cut = poll(0, 10, false);
        assert!(due(Some(&cut), INTERVAL, false, at(20)) >= at(70));
        let next = next_record(Some(&cut), false, at(71)).unwrap();
        assert_eq!(
            (next.done, next.attempted, next.attempts),
            (false, at(71), 1)
        );
    }

    #[test]
    fn a_poll_whose_first_request_never_went_out_was_followed_by_the_next_too_early() {
        let continued = next_record(Some(&poll(0, 0, false)), false, at(71)).unwrap();
        let done = PollRecord {
            done: true,
            ..continued
        };
        assert!(due(Some(&done), INTERVAL, false, at(72)) >= at(71) + INTERVAL);
    }

    #[test]
    fn a_poll_with_more_goes_on_at_once_and_records_that_it_asks() {
        let going = poll(0, 10, false);
        assert_eq!(due(Some(&going), INTERVAL, true, at(20)), at(20));
        assert_eq!(
            next_record(Some(&going), true, at(20)).unwrap().attempted,
            at(20)
        );
        assert_eq!(next_record(Some(&going), true, at(10)), None);
    }

    #[test]
    fn what_another_process_may_have_asked_a_moment_ago_is_not_asked_again_at_once() {
        let asked = |poll| assume_asked(poll, INTERVAL, at(1_000));
        let next = |poll| due(Some(&asked(poll)), INTERVAL, false, at(1_000));
        // It was due at 901 s.
        assert!(next(Some(poll(600, 600, true))) >= at(1_300));
        assert!(next(Some(poll(600, 900, false))) >= at(1_060));
        assert!(next(None) >= at(1_060));
        // It was not due yet, so nobody has asked since.
        let waits = poll(900, 900, true);
        assert_eq!(asked(Some(waits)), waits);
    }

    #[test]
    fn slices_are_halved_down_to_a_minute() {
        let hours = |attempts| {
            let poll = PollRecord {
                attempts,
                ..poll(0, 0, false)
            };
            slice(Some(&poll)).as_secs()
        };
        assert_eq!([hours(0), hours(1), hours(5)], [86_400, 43_200, 2_700]);
        assert_eq!(hours(40), 60);
    }

    #[test]
    fn a_slice_that_holds_too_much_is_halved_and_grows_again_when_it_was_read() {
        let mut going = poll(0, 10, false);
        assert!(note(&mut going, Progress::Halve) && note(&mut going, Progress::Halve));
        let next = next_record(Some(&going), true, at(20)).unwrap();
        assert_eq!(slice(Some(&next)).as_secs(), 21_600);
        assert!(!note(&mut going, Progress::More));
        assert_eq!(slice(Some(&going)).as_secs(), 43_200);
        assert!(note(&mut going, Progress::CaughtUp));
        assert_eq!((going.attempts, going.done), (0, true));
    }

    proptest! {
        #[test]
        fn a_clock_that_was_ahead_silences_no_stream_for_longer_than_one_interval(
            started in -1_000_000_000_i64..1_000_000_000, ahead in 0_i64..1_000_000_000,
            done: bool, now in -1_000_000_000_i64..1_000_000_000,
        ) {
            let record = poll(started, started + ahead, done);
            prop_assert!(due(Some(&record), INTERVAL, false, at(now)) <= at(now) + INTERVAL + RECORDED_WITHIN);
        }

        #[test]
        fn two_polls_never_start_closer_than_the_interval(started in 0_i64..1_000_000, later in 0_i64..10_000) {
            let record = poll(started, started, true);
            let now = at(started + later);
            let due = due(Some(&record), INTERVAL, false, now);
            prop_assert!(due > now || now.since(at(started)) >= INTERVAL);
        }
    }
}
