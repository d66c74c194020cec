//! When integrations that are taken up together begin, so that a thousand of them do not ask at the same moment for ever after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;

/// So many integrations share an interval evenly; with more, some begin together.
const SHARES: u32 = 1000;

/// The turns of all integrations; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<Option<Timestamp>>>);

impl Turns {
    /// When an integration that polls each `interval` may begin: at once, or a little after the one before it.
    pub(super) fn take(&self, interval: Duration, now: Timestamp) -> Timestamp {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = next.filter(|next| (now..now + interval).contains(next));
        let turn = ahead.unwrap_or(now);
        *next = Some(turn + interval / SHARES);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    #[test]
    fn a_thousand_begin_evenly_within_an_interval_and_one_alone_at_once() {
        let now = Timestamp::from_millis(1_767_690_487_000);
        let turns = Turns::default();
        let begin: Vec<_> = (0..2000).map(|_| turns.take(INTERVAL, now)).collect();
        assert_eq!(begin[0], now);
        for (one, next) in begin.iter().zip(&begin[1..1000]) {
            assert_eq!(*next, *one + Duration::from_millis(300));
        }
        assert!(begin.iter().all(|turn| turn.since(now) < INTERVAL));
        let later = now + INTERVAL * 2;
        assert_eq!(turns.take(INTERVAL, later), later);
    }
}
