//! How long each kind of subject waits for what.

use std::time::Duration;

use super::catalogue::{self, Class};
use super::delay::{Curve, Seed};
use super::failure::Failure;
use super::state::State;

/// The delays of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of what passes by itself.
    pub retry: Curve,
    /// Of too many requests when the server does not say how long.
    pub throttle: Curve,
    /// Of a locked account; without jitter.
    pub lockout: Curve,
    /// Tries after a new token was refused too.
    pub stale_tries: u32,
    /// Between them.
    pub stale_wait: Duration,
    /// Whether it is no surprise that the log is refused: it never was anything else, so the account does not have it.
    pub may_lack: bool,
    /// The jitter's.
    pub seed: Seed,
}

impl Policy {
    /// For what asks Mimecast: from one minute, because no poll that made no progress is continued sooner.
    #[must_use]
    pub const fn source(seed: Seed) -> Self {
        Self {
            retry: Curve {
                first: Duration::from_mins(1),
                cap: Duration::from_mins(15),
            },
            throttle: Curve {
                first: Duration::from_mins(1),
                cap: Duration::from_mins(15),
            },
            // Mimecast's article says that a lock lasts "typically 30 mins".
            lockout: Curve {
                first: Duration::from_mins(30),
                cap: Duration::from_hours(4),
            },
            stale_tries: 3,
            stale_wait: Duration::from_mins(5),
            may_lack: false,
            seed,
        }
    }

    /// For outputs: a receiver is our own, and events wait for it, so from one second.
    #[must_use]
    pub const fn output(seed: Seed) -> Self {
        let source = Self::source(seed);
        Self {
            retry: Curve {
                first: Duration::from_secs(1),
                cap: Duration::from_mins(5),
            },
            throttle: Curve {
                first: Duration::from_secs(1),
                ..source.throttle
            },
            ..source
        }
    }

    /// No state's time of the next try is further ahead than this.
    #[must_use]
    pub fn longest(&self) -> Duration {
        catalogue::longest_recheck()
            .max(self.retry.cap)
            .max(self.throttle.cap)
            .max(self.lockout.cap)
            .max(self.stale_wait)
            .max(LONGEST_WISH)
    }

    /// Whether a state is no surprise, and so no alert: an account lacks products that it never had.
    #[must_use]
    pub fn expects(&self, state: &State) -> bool {
        let class = state.cause().map(|cause| cause.row().class);
        self.may_lack && class == Some(Class::Forbidden)
    }

    /// The server's wish, else the curve's.
    pub(super) fn wait(&self, curve: &Curve, failure: &Failure, attempts: u32) -> Duration {
        match failure.retry_after {
            Some(wish) => wish.clamp(SHORTEST_WISH, LONGEST_WISH),
            None => curve.jittered(attempts, self.seed),
        }
    }
}

/// A server that says "come back at once" each time must not make us spin.
const SHORTEST_WISH: Duration = Duration::from_secs(1);

/// No server may silence a subject for longer.
const LONGEST_WISH: Duration = Duration::from_mins(15);
