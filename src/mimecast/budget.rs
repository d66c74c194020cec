//! How many calls of a function Mimecast still takes, and whose turn the next one is. Pure: the time is an argument.
//!
//! Mimecast counts calls in windows, and does not say when one begins. So calls are counted back from now: what never exceeds the quota in
//! any window of its length does not exceed it in Mimecast's either. What the headers of an answer say makes the budget smaller, never
//! larger: the quota may be set to leave some of it to others.
//!
//! Each stream has a share of the window, one call for each of its intervals, which no other stream can take from it. What is left
//! over is for those that have more to ask.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{StreamId, Timestamp};

/// Added to a window: the call that is counted first may have been on its way for longer than the one that follows its window.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How long the server's word is believed, whatever it says.
const BELIEVED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);
/// How long it is believed if it does not say.
const UNSAID: Duration = Duration::from_secs(60);

/// So many calls in each window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many; at least one.
    pub calls: u32,
    /// In how long.
    pub window: Duration,
}

impl Quota {
    fn is_tighter(self, than: Self) -> bool {
        let in_other_window = |calls: u32, window: Duration| u128::from(calls) * window.as_nanos();
        in_other_window(self.calls, than.window) < in_other_window(than.calls, self.window)
    }
}

/// What the headers of an answer say of the calls that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Calls in a window.
    pub limit: Option<u32>,
    /// Calls left in it.
    pub remaining: Option<u32>,
    /// From the answer until there are more.
    pub reset: Option<Duration>,
}

/// The calls of one function with one credential.
#[derive(Debug, Default)]
pub struct Budget {
    /// The tightest quota of those who ask; `None` if nobody has one.
    quota: Option<Quota>,
    /// Calls in a window, as the server says.
    limit: Option<u32>,
    /// Calls left, as the server says, and until when that counts.
    left: Option<(u32, Timestamp)>,
    /// The calls of the last window in order, and whose they were; those of an earlier process are nobody's.
    calls: VecDeque<(Timestamp, Option<StreamId>)>,
    /// The streams that ask this function.
    streams: BTreeMap<StreamId, Share>,
}

/// What may still be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Calls that may be made now.
    pub calls: u32,
    /// Of how many in a window; `None` if only the server counts, and does not say.
    pub limit: Option<u32>,
    /// The length of a window by our own count.
    pub window: Option<Duration>,
    /// When there are more; `None` if all are left.
    pub more_at: Option<Timestamp>,
}

/// What a stream is entitled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What the function may be called, as far as this stream knows; `None` if it knows no bound.
    pub quota: Option<Quota>,
    /// From one call that it must be able to make to the next; `None` for one a window.
    pub interval: Option<Duration>,
}

impl Budget {
    /// Gives a stream its share, in place of the one that it has.
    pub fn share(&mut self, stream: &StreamId, share: Share) {
        self.streams.insert(stream.clone(), share);
        self.tighten();
    }

    /// Takes away the shares of the streams that are to leave.
    pub fn leave(&mut self, leaves: impl Fn(&StreamId) -> bool) {
        self.streams.retain(|stream, _| !leaves(stream));
        self.tighten();
    }

    fn tighten(&mut self) {
        let quotas = self.streams.values().filter_map(|share| share.quota);
        self.quota = quotas.reduce(|one, other| if other.is_tighter(one) { other } else { one });
    }

    /// Counts calls of an earlier process, as if all had been made at `at`; at most what the quota has.
    pub fn restore(&mut self, calls: u32, at: Timestamp) {
        let Some(quota) = self.quota else { return };
        let before = self.calls.partition_point(|(called, _)| *called <= at);
        for _ in 0..calls.min(quota.calls) {
            self.calls.insert(before, (at, None));
        }
    }

    /// When a stream may call at the earliest; now, or later.
    pub fn next(&mut self, stream: &StreamId, now: Timestamp) -> Timestamp {
        self.settle(now);
        let theirs = match self.left {
            Some((0, until)) => until,
            Some(_) | None => now,
        };
        self.own(stream, now).max(theirs)
    }

    /// Takes a call for a stream.
    ///
    /// # Errors
    /// When to ask again, if there is none now.
    pub fn take(&mut self, stream: &StreamId, now: Timestamp) -> Result<(), Timestamp> {
        let next = self.next(stream, now);
        if next > now {
            return Err(next);
        }
        if self.quota.is_some() {
            self.calls.push_back((now, Some(stream.clone())));
        }
        if let Some((left, _)) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        Ok(())
    }

    /// Hears what an answer says.
    pub fn tell(&mut self, said: Allowance, now: Timestamp) {
        if let Some(limit) = said.limit {
            // No server serves nobody.
            self.limit = (limit > 0).then_some(limit);
        }
        if let Some(remaining) = said.remaining {
            let reset = said.reset.unwrap_or(UNSAID);
            let until = now + reset.clamp(*BELIEVED.start(), *BELIEVED.end());
            self.left = Some((remaining, until));
        }
    }

    /// The calls of the last window: when the first and the last were made, and how many they are; `None` if there are none.
    pub fn used(&mut self, now: Timestamp) -> Option<(Timestamp, Timestamp, u32)> {
        self.settle(now);
        let (first, _) = self.calls.front()?;
        let (last, _) = self.calls.back()?;
        let used = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        Some((*first, *last, used))
    }

    /// What is left at `now`, by our count and the server's word; `None` where neither knows a bound.
    pub fn remaining(&mut self, now: Timestamp) -> Option<Left> {
        self.settle(now);
        let own = self.quota.map(|quota| {
            let limit = self.limit_of(quota);
            let used = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
            let first = self.calls.front();
            Left {
                calls: limit.saturating_sub(used),
                limit: Some(limit),
                window: Some(quota.window),
                more_at: first.map(|(called, _)| *called + self.window()),
            }
        });
        match (own, self.left) {
            (Some(own), Some((calls, until))) if calls < own.calls => Some(Left {
                calls,
                more_at: Some(until),
                ..own
            }),
            (None, Some((calls, until))) => Some(Left {
                calls,
                limit: self.limit,
                window: None,
                more_at: Some(until),
            }),
            (own, _) => own,
        }
    }

    /// The streams that ask this function.
    pub fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.streams.keys()
    }

    /// Forgets what lies behind. What lies ahead was counted by a clock that has gone back since: it is taken for now.
    fn settle(&mut self, now: Timestamp) {
        let window = self.window();
        for (called, _) in self.calls.iter_mut().rev() {
            if *called <= now {
                break;
            }
            *called = now;
        }
        while let Some((called, _)) = self.calls.front()
            && *called + window <= now
        {
            self.calls.pop_front();
        }
        self.left = self
            .left
            .filter(|(_, until)| *until > now)
            .map(|(left, until)| (left, until.min(now + *BELIEVED.end())));
    }

    fn window(&self) -> Duration {
        self.quota
            .map_or(Duration::ZERO, |quota| quota.window + ON_ITS_WAY)
    }

    /// Calls in a window: the server's word, if that is less than ours.
    fn limit_of(&self, quota: Quota) -> u32 {
        let limit = self.limit.unwrap_or(quota.calls);
        limit.min(quota.calls).max(1)
    }

    /// When a stream may call by our own count.
    fn own(&self, stream: &StreamId, now: Timestamp) -> Timestamp {
        let Some(quota) = self.quota else { return now };
        let limit = usize::try_from(self.limit_of(quota)).unwrap_or(usize::MAX);
        let mut used = self.calls.len();
        let mut shares = self.unused_shares(limit, quota.window);
        let mut at = now;
        for (called, whose) in &self.calls {
            if allows(limit, used, &shares, stream) {
                return at;
            }
            used -= 1;
            if let Some((share, unused)) = whose.as_ref().and_then(|whose| shares.get_mut(whose)) {
                *unused = (*unused + 1).min(*share);
            }
            at = *called + self.window();
        }
        at
    }

    /// What each stream has of a window, and how much of that it has not used. All shares together are no more than the limit, unless
    /// there are more streams than calls.
    fn unused_shares(&self, limit: usize, window: Duration) -> BTreeMap<&StreamId, (usize, usize)> {
        let most = (limit / self.streams.len().max(1)).max(1);
        let share = |interval: Option<Duration>| {
            let interval = interval?.as_millis().max(1);
            usize::try_from(window.as_millis().div_ceil(interval)).ok()
        };
        let streams = self.streams.iter();
        let mut shares: BTreeMap<_, _> = streams
            .map(|(stream, entitled)| {
                let share = share(entitled.interval).unwrap_or(1).clamp(1, most);
                (stream, (share, share))
            })
            .collect();
        for (_, whose) in &self.calls {
            if let Some((_, unused)) = whose.as_ref().and_then(|whose| shares.get_mut(whose)) {
                *unused = unused.saturating_sub(1);
            }
        }
        shares
    }
}

/// Whether a stream may call: from its share, or from what nobody has a share of.
fn allows(
    limit: usize,
    used: usize,
    shares: &BTreeMap<&StreamId, (usize, usize)>,
    stream: &StreamId,
) -> bool {
    let own = shares.get(stream).is_some_and(|(_, unused)| *unused > 0);
    if own {
        return used < limit;
    }
    let reserved: usize = shares.values().map(|(_, unused)| unused).sum();
    used + reserved < limit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::IntegrationId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn stream(name: &str) -> StreamId {
        StreamId::new(&IntegrationId::new("acme").unwrap(), "siem-cg", name)
    }

    const QUARTER: Duration = Duration::from_secs(900);

    fn budget(calls: u32, streams: &[&str]) -> Budget {
        let mut budget = Budget::default();
        let share = Share {
            quota: Some(Quota {
                calls,
                window: QUARTER,
            }),
            interval: Some(Duration::from_secs(300)),
        };
        for name in streams {
            budget.share(&stream(name), share);
        }
        budget
    }

    #[test]
    fn a_backlog_takes_what_is_left_over_and_no_share_of_another_stream() {
        let mut budget = budget(50, &["a", "b", "c"]);
        let mut taken = 0;
        while budget.take(&stream("a"), at(0)).is_ok() {
            taken += 1;
        }
        // Three calls in a quarter of an hour each for the two others.
        assert_eq!(taken, 44);
        for _ in 0..3 {
            budget.take(&stream("b"), at(1)).unwrap();
        }
        assert!(budget.take(&stream("b"), at(1)).is_err());
        for _ in 0..3 {
            budget.take(&stream("c"), at(2)).unwrap();
        }
        assert_eq!(budget.take(&stream("a"), at(3)), Err(at(901)));
        assert_eq!(budget.used(at(3)), Some((at(0), at(2), 50)));
        budget.take(&stream("a"), at(901)).unwrap();
    }

    #[test]
    fn what_the_server_says_makes_the_budget_smaller_and_never_larger() {
        let mut budget = budget(3, &["a"]);
        let said = |limit, remaining, reset_ms| Allowance {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Duration::from_millis(reset_ms)),
        };
        budget.tell(said(1_000_000, 1_000_000, 60_000), at(0));
        for _ in 0..3 {
            budget.take(&stream("a"), at(0)).unwrap();
        }
        assert!(budget.take(&stream("a"), at(0)).is_err());
        budget.tell(said(2, 0, 30_000), at(901));
        assert_eq!(budget.take(&stream("a"), at(901)), Err(at(931)));
        for _ in 0..2 {
            budget.take(&stream("a"), at(931)).unwrap();
        }
        assert!(budget.take(&stream("a"), at(931)).is_err());
    }

    #[test]
    fn others_who_use_the_same_credential_are_left_what_they_have_used() {
        let mut budget = Budget::default();
        let said = Allowance {
            remaining: Some(1),
            ..Allowance::default()
        };
        budget.tell(said, at(0));
        budget.take(&stream("a"), at(0)).unwrap();
        assert_eq!(budget.take(&stream("a"), at(0)), Err(at(60)));
    }

    #[test]
    fn what_is_left_is_the_lesser_of_our_count_and_the_servers_word() {
        let left = |calls, limit, window, more_at: Option<i64>| {
            Some(Left {
                calls,
                limit,
                window,
                more_at: more_at.map(at),
            })
        };
        let mut budget = budget(50, &["a"]);
        let quarter = Some(QUARTER);
        assert_eq!(
            budget.remaining(at(0)),
            left(50, Some(50), quarter, None),
            "nothing was called"
        );
        budget.take(&stream("a"), at(0)).unwrap();
        assert_eq!(
            budget.remaining(at(9)),
            left(49, Some(50), quarter, Some(901))
        );
        let said = |remaining| Allowance {
            remaining: Some(remaining),
            ..Allowance::default()
        };
        budget.tell(said(7), at(10));
        assert_eq!(
            budget.remaining(at(10)),
            left(7, Some(50), quarter, Some(70))
        );
        budget.tell(said(1_000), at(10));
        assert_eq!(
            budget.remaining(at(10)),
            left(49, Some(50), quarter, Some(901))
        );
        assert_eq!(budget.remaining(at(901)), left(50, Some(50), quarter, None));
        let mut unbound = Budget::default();
        assert_eq!(unbound.remaining(at(0)), None);
        unbound.tell(said(3), at(0));
        assert_eq!(unbound.remaining(at(0)), left(3, None, None, Some(60)));
    }

    #[test]
    fn a_restart_does_not_burst() {
        let mut budget = budget(50, &["a"]);
        budget.restore(50, at(100));
        assert_eq!(budget.take(&stream("a"), at(110)), Err(at(1001)));
        budget.restore(u32::MAX, at(100));
        assert_eq!(budget.calls.len(), 100, "no more than the quota at a time");
    }

    #[test]
    fn without_a_quota_nothing_is_held_back() {
        let mut budget = Budget::default();
        assert!((0..10_000).all(|_| budget.take(&stream("a"), at(0)).is_ok()));
        assert_eq!(budget.used(at(0)), None);
    }

    #[test]
    fn the_tighter_of_two_quotas_holds() {
        let mut budget = budget(50, &["a"]);
        let looser = Quota {
            calls: 300,
            window: Duration::from_secs(3600),
        };
        let share = Share {
            quota: Some(looser),
            interval: None,
        };
        budget.share(&stream("b"), share);
        assert_eq!(budget.quota.map(|quota| quota.calls), Some(50));
        budget.leave(|left| *left == stream("a"));
        assert_eq!(budget.quota, Some(looser));
    }

    proptest! {
        #[test]
        fn no_window_has_more_calls_than_its_quota(
            calls in 1_u32..40, streams in 1_usize..12, steps in prop::collection::vec((0_u64..200, 0_usize..12), 1..300),
        ) {
            let names: Vec<_> = (0..streams).map(|n| n.to_string()).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let mut budget = budget(calls, &names);
            let (mut now, mut made) = (at(0), Vec::new());
            for (wait, who) in steps {
                now = now + Duration::from_secs(wait);
                while budget.take(&stream(names[who % streams]), now).is_ok() {
                    made.push(now);
                }
            }
            for from in &made {
                let window = made.iter().filter(|call| *call >= from && **call < *from + QUARTER);
                prop_assert!(window.count() <= calls as usize);
            }
        }

        #[test]
        fn no_stream_waits_for_longer_than_a_window_however_greedy_the_others_are(
            streams in 1_u32..12, spare in 0_u32..40, greedy in prop::collection::vec(0_usize..12, 1..100),
        ) {
            let names: Vec<_> = (0..streams).map(|n| n.to_string()).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let mut budget = budget(streams + spare, &names);
            let modest = stream("0");
            for (turn, who) in greedy.into_iter().enumerate() {
                let now = at(i64::try_from(turn).unwrap() * 950);
                if names[who % names.len()] != "0" {
                    while budget.take(&stream(names[who % names.len()]), now).is_ok() {}
                }
                prop_assert!(budget.take(&modest, now).is_ok(), "starved in turn {}", turn);
            }
        }

        #[test]
        fn a_clock_that_goes_back_and_absurd_headers_hold_nothing_up_for_longer_than_a_window(
            times in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 1..40),
            said in prop::collection::vec((any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u64>>()), 1..40),
        ) {
            let mut budget = budget(5, &["a"]);
            for (seconds, (limit, remaining, reset)) in times.into_iter().zip(said) {
                let now = at(seconds);
                while budget.take(&stream("a"), now).is_ok() {
                    prop_assert!(budget.calls.len() <= 5);
                }
                budget.tell(Allowance { limit, remaining, reset: reset.map(Duration::from_millis) }, now);
                prop_assert!(budget.next(&stream("a"), now) <= now + QUARTER + ON_ITS_WAY);
            }
        }
    }
}
