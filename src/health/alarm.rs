//! When people are told: once when a trouble has lasted, daily while it lasts, and once when it has been over for a while.
//!
//! What is told is kept with the state, so a crash neither repeats nor forgets it. Pure, as the machine is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::model::Timestamp;

/// Health that lasts so long clears an alert, so that a subject which comes and goes does not raise one each time.
const SETTLED: Duration = Duration::from_mins(15);
/// From one reminder to the next.
const REMIND: Duration = Duration::from_hours(24);

/// So many failures in a row, and an incident of the vendor's becomes likely: what may be one is told with the fifth, which can say so,
pub const INCIDENT_AFTER: u32 = 5;
/// but no more than so long after other troubles would be. By the curve, the fifth failure comes after 15 to 18 min.
const UNTIL_LIKELY: Duration = Duration::from_mins(5);

/// What people are to be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alert {
    /// A trouble has lasted for as long as its row allows.
    Raise,
    /// It lasts since yesterday, or something else stands in the way now and needs a person.
    Remind,
    /// It is over.
    Clear,
}

impl Alert {
    /// The word for it in the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raise => "raised",
            Self::Remind => "reminder",
            Self::Clear => "cleared",
        }
    }
}

/// An alert that is not cleared yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// When the subject was healthy last before it.
    pub since: Timestamp,
    /// When people were told last.
    pub told: Timestamp,
    /// The code that they were told of.
    pub code: String,
    /// Since when the subject is healthy again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Timestamp>,
}

/// When a [`Tick`](super::Outcome::Tick) is due; `None` if nothing is to be told by the mere passing of time.
pub(super) fn due(raised: Option<&Raised>, state: &State) -> Option<Timestamp> {
    match (raised, state) {
        (None, State::Healthy | State::Renewing { .. }) => None,
        (
            None,
            State::Retrying {
                attempts,
                since,
                cause,
                ..
            },
        ) => {
            let waits = *attempts < INCIDENT_AFTER && cause.may_be_an_incident();
            let more = if waits { UNTIL_LIKELY } else { Duration::ZERO };
            Some(*since + cause.row().alert_after + more)
        }
        (None, State::Throttled { since, cause, .. })
        | (None, State::Blocked { since, cause, .. }) => Some(*since + cause.row().alert_after),
        (Some(raised), State::Healthy) => Some(raised.healthy.unwrap_or(raised.told) + SETTLED),
        (
            Some(raised),
            State::Renewing { .. }
            | State::Retrying { .. }
            | State::Throttled { .. }
            | State::Blocked { .. },
        ) => Some(raised.told + REMIND),
    }
}

/// Looks at the state that a step came to.
pub(super) fn watch(
    raised: Option<Raised>,
    state: &State,
    now: Timestamp,
) -> (Option<Raised>, Option<Alert>) {
    // A clock that went back must not leave a time that nothing would ever reach.
    let raised = raised.map(|raised| Raised {
        since: raised.since.min(now),
        told: raised.told.min(now),
        healthy: match state {
            State::Healthy => Some(raised.healthy.unwrap_or(now).min(now)),
            State::Renewing { .. }
            | State::Retrying { .. }
            | State::Throttled { .. }
            | State::Blocked { .. } => None,
        },
        ..raised
    });
    let is_due = due(raised.as_ref(), state).is_some_and(|at| at <= now);
    match (raised, state.cause()) {
        (None, Some(cause)) if is_due => {
            let raised = Raised {
                since: state.since().unwrap_or(now),
                told: now,
                code: cause.key(),
                healthy: None,
            };
            (Some(raised), Some(Alert::Raise))
        }
        (Some(_), None) if is_due => (None, Some(Alert::Clear)),
        (Some(raised), Some(cause)) => {
            let code = cause.key();
            let other = matches!(state, State::Blocked { .. }) && code != raised.code;
            if !(is_due || other) {
                return (Some(raised), None);
            }
            let told = Raised {
                told: now,
                code,
                ..raised
            };
            (Some(told), Some(Alert::Remind))
        }
        (raised, _) => (raised, None),
    }
}
