//! When integrations that are taken up together begin, so that a thousand of them do not ask at the same moment for ever after.
//!
//! Nor each at a moment of its own: what is asked together shares transactions and wake-ups, which are most of what a poll without news
//! takes. So a few dozen have a turn together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;

/// Turns in an interval.
const TURNS: u32 = 30;
/// Integrations that have a turn together.
const TOGETHER: u32 = 34;

/// The turns of all integrations; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<Option<Turn>>>);

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Timestamp,
    taken: u32,
}

impl Turns {
    /// When an integration that polls each `interval` may begin: at once, or with one of the next turns. Of more than fit an interval,
    /// more begin together.
    pub(super) fn take(&self, interval: Duration, now: Timestamp) -> Timestamp {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let apart = interval / TURNS;
        let next = last.map(|last| match last.taken {
            ..TOGETHER => last,
            TOGETHER.. => Turn {
                at: last.at + apart,
                taken: 0,
            },
        });
        let next = next.filter(|next| now < next.at + apart && next.at < now + interval);
        let Turn { at, taken } = next.unwrap_or(Turn { at: now, taken: 0 });
        *last = Some(Turn {
            at,
            taken: taken + 1,
        });
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    #[test]
    fn a_thousand_begin_within_an_interval_a_few_dozen_at_a_time_and_one_alone_at_once() {
        let now = Timestamp::from_millis(1_767_690_487_000);
        let turns = Turns::default();
        // To take a thousand up takes a moment.
        let taken = |n: u64| turns.take(INTERVAL, now + Duration::from_millis(n / 10));
        let begin: Vec<_> = (0..2000).map(taken).collect();
        for (place, turn) in begin[..1000].iter().enumerate() {
            let before = u32::try_from(place / 34).unwrap();
            assert_eq!(*turn, now + Duration::from_secs(10) * before);
        }
        assert!(begin.iter().all(|turn| turn.since(now) <= INTERVAL));
        let later = now + INTERVAL * 2;
        assert_eq!(turns.take(INTERVAL, later), later);
    }
}
