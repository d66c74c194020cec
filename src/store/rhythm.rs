//! How long a stream is usually without events, so that an unusual silence can be told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// The longest silence is that of this span and the one before, so holidays are forgotten in time and week-ends are not.
const SPAN: Duration = Duration::from_hours(14 * 24);
/// Before so much is known of a stream, no silence is unusual: it takes a week to have seen a week-end.
const KNOWN_AFTER: Duration = Duration::from_hours(8 * 24);
/// A silence that is shorter is never unusual.
const SHORTEST: Duration = Duration::from_hours(6);

/// When a stream has had events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Since when it is known.
    pub since: Timestamp,
    /// When events came last.
    pub last: Timestamp,
    /// When the present span began.
    span: Timestamp,
    /// The longest silence in it, in seconds.
    longest: u64,
    /// That of the span before.
    before: u64,
}

impl Rhythm {
    /// A stream that has its first events.
    pub(super) const fn starting(now: Timestamp) -> Self {
        Self {
            since: now,
            last: now,
            span: now,
            longest: 0,
            before: 0,
        }
    }

    /// Events have come.
    pub(super) fn beat(&mut self, now: Timestamp) {
        let gap = now.since(self.last).as_secs();
        if now.since(self.span) >= SPAN {
            self.before = std::mem::take(&mut self.longest);
            self.span = now;
        }
        self.longest = self.longest.max(gap);
        // Also back, if the clock was ahead.
        self.last = now;
    }

    /// For how long there have been no events, if that is twice as long as ever in the last weeks.
    #[must_use]
    pub fn unusual_silence(&self, now: Timestamp) -> Option<Duration> {
        let silence = now.since(self.last);
        let usual = Duration::from_secs(self.longest.max(self.before));
        let known = self.last.since(self.since) >= KNOWN_AFTER;
        (known && silence > SHORTEST.max(usual * 2)).then_some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);
    const HOUR: Duration = Duration::from_hours(1);

    /// Events each hour of the working days of three weeks, none on week-ends.
    fn weeks(weeks: u32) -> (Rhythm, Timestamp) {
        let mut rhythm = Rhythm::starting(NOW);
        let mut last = NOW;
        for hour in (1..weeks * 168).filter(|hour| hour % 168 < 120) {
            last = NOW + HOUR * hour;
            assert_eq!(rhythm.unusual_silence(last), None, "in hour {hour}");
            rhythm.beat(last);
        }
        (rhythm, last)
    }

    #[test]
    fn a_silence_is_unusual_when_it_is_twice_as_long_as_a_week_end() {
        let (rhythm, last) = weeks(5);
        assert_eq!(rhythm.unusual_silence(last + HOUR * 97), None);
        assert_eq!(rhythm.unusual_silence(last + HOUR * 99), Some(HOUR * 99));
    }

    #[test]
    fn of_a_stream_that_is_hardly_known_no_silence_is_unusual() {
        let (rhythm, last) = weeks(1);
        assert_eq!(rhythm.unusual_silence(last + HOUR * 1000), None);
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_silence() {
        let (mut rhythm, last) = weeks(3);
        rhythm.beat(last + HOUR * 24 * 365);
        rhythm.beat(last);
        assert_eq!(rhythm.unusual_silence(last + HOUR), None);
    }
}
