//! How long to wait: an exponential curve, with jitter that follows from a seed.
//!
//! The only file that names the `backoff` crate, which computes the curve and nothing else: it neither sleeps nor retries here,
//! and its random numbers and its clock do not reach the result. So a delay is a function of its arguments.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// Delays that double from `first` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// After the first failure.
    pub first: Duration,
    /// Never passed.
    pub cap: Duration,
}

impl Curve {
    /// The delay after the `attempts`-th failure in a row, exactly; 0 counts as 1.
    #[must_use]
    pub fn at(&self, attempts: u32) -> Duration {
        let mut curve = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.first)
            .with_multiplier(2.0)
            .with_max_interval(self.cap)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        // 64 doublings take a nanosecond past any cap, so no count of attempts makes this long.
        for _ in 1..attempts.min(64) {
            // The interval is read below instead of here, where rounding may add a nanosecond.
            curve.next_backoff();
        }
        curve.current_interval.min(self.cap)
    }

    /// The same with up to a fifth more, so that those who failed together come back apart: never sooner than the
    /// curve says, never later than its cap.
    #[must_use]
    pub fn jittered(&self, attempts: u32, seed: Seed) -> Duration {
        let exact = self.at(attempts);
        let extra = (exact / 5_000).saturating_mul(seed.draw(attempts));
        exact.saturating_add(extra).min(self.cap)
    }
}

/// What makes the jitter of one subject differ from another's, and the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed of a subject, such as `acme-uk/audit`, in the installation `install`.
    #[must_use]
    pub fn of(install: &[u8], subject: &str) -> Self {
        // FNV-1a: std's hashes may change with the compiler, and delays are tested by number.
        let bytes = install.iter().chain(subject.as_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// A number from 0 to 1000, another for each attempt.
    fn draw(self, attempts: u32) -> u32 {
        // The finish of splitmix64, which spreads neighbouring inputs over all bits.
        let mut z = self.0 ^ u64::from(attempts).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % 1_001).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CURVE: Curve = Curve {
        first: Duration::from_mins(1),
        cap: Duration::from_mins(15),
    };

    #[test]
    fn the_curve_doubles_up_to_its_cap() {
        let minutes = [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|n| CURVE.at(n).as_secs() / 60);
        assert_eq!(minutes, [1, 1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn jitter_is_the_same_for_the_same_seed_and_differs_between_subjects() {
        let of = |subject| {
            let seed = Seed::of(b"install", subject);
            [1, 2, 3, 4, 5].map(|n| CURVE.jittered(n, seed).as_millis())
        };
        assert_eq!(of("acme-uk"), [65_340, 129_600, 272_256, 527_328, 900_000]);
        assert_ne!(of("acme-uk"), of("acme-us"));
    }

    proptest! {
        #[test]
        fn a_delay_keeps_between_the_curve_and_its_cap(
            first in 0..u64::MAX, cap in 0..u64::MAX, attempts: u32, subject: String,
        ) {
            let curve = Curve { first: Duration::from_nanos(first), cap: Duration::from_nanos(cap) };
            let seed = Seed::of(b"install", &subject);
            let delay = curve.jittered(attempts, seed);
            prop_assert!(curve.at(attempts) <= delay && delay <= curve.cap);
            prop_assert!(curve.at(attempts) <= curve.at(attempts.saturating_add(1)));
            prop_assert_eq!(delay, curve.jittered(attempts, seed));
            let wider = Curve { cap: curve.cap * 2, ..curve };
            prop_assert!(delay <= wider.jittered(attempts, seed));
        }
    }
}
