//! How long deliveries take: counts in buckets, so that a year costs as much memory as a minute.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Deliveries by the time that they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Deliveries that took at most as long as the bound of the same place in [`Latency::BOUNDS_MS`], and longer than the one
    /// before it; what took longer than all bounds is in [`Latency::count`] alone.
    pub buckets: [u64; 10],
    /// All deliveries.
    pub count: u64,
    /// The time that all of them took together, in milliseconds.
    pub sum_ms: u64,
}

impl Latency {
    /// From a receiver in the same rack to the time-out of an output, in milliseconds.
    pub const BOUNDS_MS: [u64; 10] = [10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 30_000];

    /// Counts a delivery.
    pub fn note(&mut self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS_MS.iter().position(|bound| took <= *bound);
        if let Some(bucket) = bucket.and_then(|at| self.buckets.get_mut(at)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_counted_in_the_first_bucket_that_holds_it() {
        let mut latency = Latency::default();
        for ms in [0, 10, 11, 30_000, 30_001] {
            latency.note(Duration::from_millis(ms));
        }
        assert_eq!(latency.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((latency.count, latency.sum_ms), (5, 60_022));
    }
}
