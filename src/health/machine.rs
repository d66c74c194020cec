//! The machine of every subject: [`step`], the one place that decides about trying again.
//!
//! A pure function, total over its arguments, also when time runs backwards. It must not know what the subject is.

use std::time::Duration;

use super::alarm::{self, Alert};
use super::catalogue::{Class, Row};
use super::failure::Failure;
use super::policy::Policy;
use super::state::{Cause, Correction, Standing, State};
use crate::model::Timestamp;
use crate::secret::Fingerprint;

/// How far an answer's date must be from our clock before a refused signature is blamed on the clock: dates have whole
/// seconds, answers travel, and Mimecast does not document its tolerance.
const SKEW: Duration = Duration::from_mins(1);

/// From one correction of the clock to the next with the same credential: a clock that jumps about must not make a signature fail each
/// minute.
const CORRECT_AGAIN: Duration = Duration::from_hours(1);

/// What happened to a subject.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// A whole attempt succeeded.
    Success,
    /// An attempt failed, in the subject's scope.
    Failed(Attempt<'a>),
    /// A person wants the next try now.
    Resumed,
    /// Nothing; but [`Standing::tick`] has come.
    Tick,
    /// Nothing; but an answer has told how far the server's clock is ahead of ours, in milliseconds.
    Dated(i64),
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// What went wrong.
    pub failure: &'a Failure,
    /// The credential that it was made with, if the subject has one.
    pub credential: Option<&'a Fingerprint>,
    /// The wall clock when the answer came, to compare with the answer's date.
    pub wall: Timestamp,
}

/// What is to be done before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing.
    Proceed,
    /// Wait until the state allows.
    Wait,
    /// Get a new token, then try again at once.
    RenewCredential,
    /// Correct the clock of signatures by the answer's date, then try again at once.
    CorrectClock,
    /// Go back to reading by time, log the span that may be missing or repeated, and wait.
    ResetCursor,
    /// Put the record aside with the reason, and go on.
    Quarantine,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// What is to be stored from now on.
    pub standing: Standing,
    /// What is to be done.
    pub action: Action,
    /// Whether it is another state, or the same for another reason: to be logged once, with the row's level and advice.
    pub changed: bool,
    /// What people are to be told, in the transaction that stores the state.
    pub alert: Option<Alert>,
}

/// Judges an outcome: the table of [`super`], first line that fits.
#[must_use]
pub fn step(policy: &Policy, standing: Standing, outcome: &Outcome<'_>, now: Timestamp) -> Stepped {
    let Standing {
        state,
        raised,
        mut clock,
    } = standing;
    // A clock that went back must not leave a time that nothing would ever reach.
    let state = state.clamp(now, policy);
    let before = (state.as_str(), state.cause().map(Cause::row));
    let (state, action) = match outcome {
        Outcome::Success => (State::Healthy, Action::Proceed),
        Outcome::Tick => (state, Action::Proceed),
        Outcome::Dated(ahead_ms) => {
            if let Some(known) = clock.as_mut().filter(|_| !is_off(*ahead_ms)) {
                known.ahead_ms = 0;
            }
            (state, Action::Proceed)
        }
        Outcome::Resumed => resumed(state, now),
        Outcome::Failed(attempt) => {
            let state = if state.is_lifted_by(attempt.credential) {
                resumed(state, now).0
            } else {
                state
            };
            let corrected = correction(attempt, clock.as_deref(), now);
            let (state, action) = failed(policy, state, attempt, corrected.is_some(), now);
            if action == Action::CorrectClock {
                clock = corrected.map(Box::new);
            }
            (state, action)
        }
    };
    let changed = before != (state.as_str(), state.cause().map(Cause::row));
    let (raised, alert) = if policy.expects(&state) && raised.is_none() {
        (None, None)
    } else {
        alarm::watch(raised, &state, now)
    };
    Stepped {
        standing: Standing {
            state,
            raised,
            clock,
        },
        action,
        changed,
        alert,
    }
}

/// The correction of the clock that a refused signature calls for; `None` if its date was right, or was corrected a moment ago.
fn correction(
    attempt: &Attempt<'_>,
    known: Option<&Correction>,
    now: Timestamp,
) -> Option<Correction> {
    let (theirs, ours) = (
        attempt.failure.server_time?.as_millis(),
        attempt.wall.as_millis(),
    );
    let ahead_ms = theirs.saturating_sub(ours);
    let signed = known.map_or(0, |known| known.ahead_ms);
    if !is_off(ahead_ms.saturating_sub(signed)) {
        return None;
    }
    let fingerprint = attempt.credential.cloned();
    if let Some(known) = known {
        if !is_off(ahead_ms) {
            // Our clock is right again, and it is the correction that spoils the signature.
            return Some(Correction {
                ahead_ms: 0,
                ..known.clone()
            });
        }
        if known.fingerprint == fingerprint && now.since(known.at) < CORRECT_AGAIN {
            return None;
        }
    }
    Some(Correction {
        ahead_ms,
        at: now,
        fingerprint,
    })
}

/// Whether clocks that are so many milliseconds apart are too far apart for a signature.
fn is_off(ms: i64) -> bool {
    Duration::from_millis(ms.unsigned_abs()) > SKEW
}

/// A block ends without having been answered, so its cause stays for people to see.
fn resumed(state: State, now: Timestamp) -> (State, Action) {
    match state {
        State::Blocked { since, cause, .. } => {
            let lifted = State::Retrying {
                attempts: 0,
                since,
                until: now,
                cause,
            };
            (lifted, Action::Proceed)
        }
        State::Retrying {
            attempts,
            since,
            cause,
            ..
        } => {
            let retrying = State::Retrying {
                attempts,
                since,
                until: now,
                cause,
            };
            (retrying, Action::Proceed)
        }
        State::Healthy | State::Renewing { .. } => (state, Action::Proceed),
        State::Throttled { .. } => (state, Action::Wait),
    }
}

fn failed(
    policy: &Policy,
    state: State,
    attempt: &Attempt<'_>,
    correctable: bool,
    now: Timestamp,
) -> (State, Action) {
    let failure = attempt.failure;
    let cause = Box::new(Cause::of(failure).after(state.cause()));
    let row = cause.row();
    // A signature is only refused because of the clock if its date was wrong.
    let class = if row.class == Class::ClockSkewed && !correctable {
        Class::CredentialRejected
    } else {
        row.class
    };
    let since = state.since().unwrap_or(now);
    let in_a_row = in_a_row(&state).saturating_add(1);
    let retry_in = |wait: Duration, attempts: u32, cause: Box<Cause>| State::Retrying {
        attempts,
        since,
        until: now + wait,
        cause,
    };
    let renewing = |cause: Box<Cause>| State::Renewing {
        attempts: state.attempts(),
        since,
        cause,
    };
    let block = |wait: Option<Duration>, cause: Box<Cause>| State::Blocked {
        attempts: blocks(&state, row).saturating_add(1),
        since,
        until: wait.map(|wait| now + wait),
        fingerprint: attempt.credential.cloned(),
        cause,
    };
    if class == Class::Watched {
        // The figures change while it lasts.
        return (block(None, cause), Action::Wait);
    }
    if is_told_again(&state, row, now) {
        return (state, Action::Wait);
    }
    match (class, &state) {
        (Class::RecordRejected, _) => (State::Healthy, Action::Quarantine),
        (Class::Transient | Class::Throttled | Class::CredentialStale, State::Blocked { .. }) => {
            (unanswered(state, now), Action::Wait)
        }
        (Class::Transient, State::Throttled { until, .. }) if *until > now => (state, Action::Wait),
        (Class::Throttled, State::Throttled { until: told, .. }) if *told > now => {
            // To a request that was out when the wait began: it makes the limit no worse, and the wait never shorter.
            let attempts = state.attempts();
            let until = now + policy.wait(&policy.throttle, failure, attempts);
            let throttled = State::Throttled {
                attempts,
                since,
                until: until.max(*told),
                cause,
            };
            (throttled, Action::Wait)
        }
        (Class::CredentialStale, State::Renewing { .. }) => {
            (retry_in(policy.stale_wait, 1, cause), Action::Wait)
        }
        (
            Class::CredentialStale,
            State::Retrying {
                attempts: tries @ 1..,
                cause: earlier,
                ..
            },
        ) if earlier.row().class == Class::CredentialStale => {
            let next = if *tries < policy.stale_tries {
                retry_in(policy.stale_wait, tries.saturating_add(1), cause)
            } else {
                block(row.recheck, cause)
            };
            (next, Action::Wait)
        }
        (Class::CredentialStale, _) => (renewing(cause), Action::RenewCredential),
        (Class::ClockSkewed, _) => (renewing(cause), Action::CorrectClock),
        (Class::LockedOut, _) => {
            let wait = policy.lockout.at(blocks(&state, row).saturating_add(1));
            (block(Some(wait), cause), Action::Wait)
        }
        (
            Class::CredentialRejected | Class::Forbidden | Class::RequestInvalid | Class::Watched,
            _,
        ) => (block(row.recheck, cause), Action::Wait),
        (Class::Transient, _) => {
            let wait = policy.wait(&policy.retry, failure, in_a_row);
            (retry_in(wait, in_a_row, cause), Action::Wait)
        }
        (Class::Throttled, _) => {
            let throttled = State::Throttled {
                attempts: in_a_row,
                since,
                until: now + policy.wait(&policy.throttle, failure, in_a_row),
                cause,
            };
            (throttled, Action::Wait)
        }
        (Class::CursorInvalid, _) => {
            let wait = policy.wait(&policy.retry, failure, in_a_row);
            (retry_in(wait, in_a_row, cause), Action::ResetCursor)
        }
    }
}

/// Failures in a row, for the curves: a block ended with an answer, which begins another row.
const fn in_a_row(state: &State) -> u32 {
    match state {
        State::Healthy | State::Blocked { .. } => 0,
        State::Renewing { attempts, .. }
        | State::Retrying { attempts, .. }
        | State::Throttled { attempts, .. } => *attempts,
    }
}

/// Blocks in a row for the same reason.
fn blocks(state: &State, row: &Row) -> u32 {
    match state {
        State::Blocked {
            attempts, cause, ..
        }
        | State::Renewing {
            attempts, cause, ..
        } if cause.row() == row => *attempts,
        State::Healthy
        | State::Renewing { .. }
        | State::Retrying { .. }
        | State::Throttled { .. }
        | State::Blocked { .. } => 0,
    }
}

/// Whether the state is a block for this very reason whose time has not come: then the answer is to a request that was out
/// when the block began, and four of those must not make a lock-out of 30 min one of 4 h.
fn is_told_again(state: &State, row: &Row, now: Timestamp) -> bool {
    let is_due = state.next_allowed(now).is_some_and(|at| at <= now);
    match state {
        State::Blocked { cause, .. } => !is_due && cause.row() == row,
        State::Healthy
        | State::Renewing { .. }
        | State::Retrying { .. }
        | State::Throttled { .. } => false,
    }
}

/// A try that said nothing about the block leaves it as it is; the next is one recheck away, and never sooner than it was.
fn unanswered(mut state: State, now: Timestamp) -> State {
    if let State::Blocked { until, cause, .. } = &mut state {
        let next = cause.row().recheck.map(|wait| now + wait);
        *until = next.max(*until);
    }
    state
}

#[cfg(test)]
mod tests;
