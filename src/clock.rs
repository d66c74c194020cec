//! What time it is, as an input.
//!
//! [`Clock::now`] is the wall clock at the start of the process plus monotonic time since, so that no
//! step of the wall clock moves a deadline. [`Clock::wall`] is for signing, for request metadata and for asking a
//! vendor for a span of time; nothing is scheduled by it.

#![expect(
    clippy::disallowed_methods,
    reason = "the one file that reads the system's clocks"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::Timestamp;

/// A source of time; clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// `origin` plus `factor` times the monotonic time since `start`.
    Running {
        origin: Timestamp,
        start: Instant,
        factor: u32,
        wall: Wall,
    },
    /// Stands still but for [`Clock::advance`].
    Manual {
        now: watch::Sender<Timestamp>,
        start: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The system's.
    System,
    /// The same as `now`.
    Now,
}

impl Clock {
    /// The clock of a daemon.
    #[must_use]
    pub fn system() -> Self {
        Self::running(system_wall(), 1, Wall::System)
    }

    /// The scheduler's clock of a daemon that talks to a simulator: it reads `origin` now and runs `factor` times as
    /// fast as the system's. The wall clock is the system's.
    #[must_use]
    pub fn scaled(origin: Timestamp, factor: u32) -> Self {
        Self::running(origin, factor.max(1), Wall::System)
    }

    /// A clock that reads `origin` now and follows tokio's time, which tests may pause.
    #[must_use]
    pub fn starting_at(origin: Timestamp) -> Self {
        Self::running(origin, 1, Wall::Now)
    }

    /// A clock that only [`Clock::advance`] moves.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(Kind::Manual {
            now: watch::Sender::new(now),
            start: Instant::now(),
        }))
    }

    fn running(origin: Timestamp, factor: u32, wall: Wall) -> Self {
        Self(Arc::new(Kind::Running {
            origin,
            start: Instant::now(),
            factor,
            wall,
        }))
    }

    /// Moves a manual clock forward; does nothing to a running one.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual { now, .. } = &*self.0 {
            now.send_modify(|now| *now = *now + by);
        }
    }

    /// The time by which everything is scheduled.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::Running {
                origin,
                start,
                factor,
                ..
            } => *origin + start.elapsed().saturating_mul(*factor),
            Kind::Manual { now, .. } => *now.borrow(),
        }
    }

    /// The wall clock, steps and all.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &*self.0 {
            Kind::Running {
                wall: Wall::System, ..
            } => system_wall(),
            Kind::Running {
                wall: Wall::Now, ..
            }
            | Kind::Manual { .. } => self.now(),
        }
    }

    /// Real monotonic time since the clock was made, for measuring how long something took.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &*self.0 {
            Kind::Running { start, .. } | Kind::Manual { start, .. } => start.elapsed(),
        }
    }

    /// Waits until [`Clock::now`] is at `moment` or past it.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match &*self.0 {
            Kind::Running { factor, .. } => loop {
                let left = moment.since(self.now());
                if left.is_zero() {
                    return;
                }
                // Rounded up to a millisecond, the timer's step: else the last one would spin.
                let real = (left / *factor).max(Duration::from_millis(1));
                tokio::time::sleep(real).await;
            },
            Kind::Manual { now, .. } => {
                let mut now = now.subscribe();
                // Fails only when the sender is gone, and `self` holds it.
                if now.wait_for(|now| *now >= moment).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn system_wall() -> Timestamp {
    let now = SystemTime::now();
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match now.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_reaches_a_moment_in_a_fraction_of_the_time() {
        let clock = Clock::scaled(Timestamp::from_millis(0), 60);
        clock
            .sleep_until(Timestamp::from_millis(30 * 60 * 1000))
            .await;
        assert_eq!(clock.monotonic(), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_millis(5));
        let waiter = clock.clone();
        let mut wait =
            Box::pin(async move { waiter.sleep_until(Timestamp::from_millis(10)).await });
        assert!(futures_util::poll!(&mut wait).is_pending());
        clock.advance(Duration::from_millis(5));
        wait.await;
        assert_eq!(clock.now(), clock.wall());
    }
}
