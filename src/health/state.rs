//! How a subject is doing: what is stored of it, and what may be read from that.
//!
//! The JSON form is kept by the store: a field may be added with a default, none may change its meaning.

use serde::{Deserialize, Serialize};

use super::alarm::{self, Raised};
use super::catalogue::{self, Class, Level, Row};
use super::failure::{self, Failure, Origin, printable};
use super::policy::Policy;
use crate::model::Timestamp;
use crate::secret::Fingerprint;

/// With the newest, five failures in a row can be named to support.
const EARLIER: usize = 4;

/// What was wrong, as far as it must be known after a restart: the key, by which the catalogue finds it again, and
/// what people ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who answered.
    pub origin: Origin,
    /// The failure's status.
    pub status: u16,
    /// The failure's code; at most 64 bytes.
    pub code: String,
    /// Where it happened.
    pub endpoint: String,
    /// The id by which the vendor's support finds the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the answer said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Request ids of the failures before it in the same row of failures, newest first; at most four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

impl Cause {
    /// What is kept of a failure, bounded, because a server chose most of it.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        Self {
            origin: failure.origin,
            status: failure.status,
            code: printable(&failure.code, 64),
            endpoint: printable(&failure.endpoint, 200),
            request_id: failure.request_id.as_ref().map(|id| printable(id, 128)),
            detail: printable(&failure.detail, 500),
            earlier: Vec::new(),
        }
    }

    /// The same with the request ids of the failures before it, which support will ask for.
    #[must_use]
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            let ids = before.request_id.iter().chain(&before.earlier);
            self.earlier = ids.take(EARLIER).cloned().collect();
        }
        self
    }

    /// What the catalogue says of it.
    #[must_use]
    pub fn row(&self) -> &'static Row {
        catalogue::find(self.origin, self.status, &self.code)
    }

    /// Whether the catalogue lists it, and not only its status or family.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        catalogue::lists(self.origin, self.status, &self.code)
    }

    /// Whether an incident at Mimecast may be behind it: an error of its servers, or of the way to them.
    #[must_use]
    pub fn may_be_an_incident(&self) -> bool {
        let servers = self.origin.is_mimecast() && self.status >= 500;
        (servers || self.origin == Origin::Transport) && self.row().class == Class::Transient
    }

    /// The key as people write it: `401/0010`.
    #[must_use]
    pub fn key(&self) -> String {
        failure::key(self.origin, self.status, &self.code)
    }
}

/// All that is stored of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How it is doing.
    #[serde(flatten)]
    pub state: State,
    /// What people were told and not yet that it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Raised>,
    /// How the time of signatures differs from our clock, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Box<Correction>>,
}

impl Standing {
    /// When [`Outcome::Tick`](super::Outcome::Tick) is due, if ever.
    #[must_use]
    pub fn tick(&self) -> Option<Timestamp> {
        alarm::due(self.raised.as_ref(), &self.state)
    }

    /// Milliseconds to add to our clock for signatures.
    #[must_use]
    pub fn clock_ahead_ms(&self) -> i64 {
        self.clock.as_ref().map_or(0, |clock| clock.ahead_ms)
    }
}

impl From<State> for Standing {
    fn from(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }
}

/// A clock that was found wrong by a refused signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Milliseconds by which the server's clock is ahead of ours; 0 once they agreed again.
    pub ahead_ms: i64,
    /// When it was last found wrong.
    pub at: Timestamp,
    /// The credential whose signature was refused.
    pub fingerprint: Option<Fingerprint>,
}

/// How a subject is doing. `attempts` counts failures in a row, `since` is when the subject was healthy last.
///
/// Causes are boxed: of tens of thousands of subjects nearly all are healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing stands in the way.
    #[default]
    Healthy,
    /// A new token or a corrected clock is about to be tried, at once.
    Renewing {
        /// Failures in a row before this one.
        attempts: u32,
        /// When the subject was healthy last.
        since: Timestamp,
        /// What was wrong.
        cause: Box<Cause>,
    },
    /// It will pass; the next try has its time.
    Retrying {
        /// Failures in a row; 0 after a block was lifted.
        attempts: u32,
        /// When the subject was healthy last.
        since: Timestamp,
        /// The time of the next try.
        until: Timestamp,
        /// What was wrong.
        cause: Box<Cause>,
    },
    /// The server asked for fewer requests.
    Throttled {
        /// Failures in a row.
        attempts: u32,
        /// When the subject was healthy last.
        since: Timestamp,
        /// The time of the next try.
        until: Timestamp,
        /// What was wrong.
        cause: Box<Cause>,
    },
    /// It will not pass by itself, or may not be tried.
    Blocked {
        /// Blocks in a row for this cause.
        attempts: u32,
        /// When the subject was healthy last.
        since: Timestamp,
        /// The time of the next try; `None` waits for a person or another credential.
        until: Option<Timestamp>,
        /// The credential that was refused.
        fingerprint: Option<Fingerprint>,
        /// What was wrong.
        cause: Box<Cause>,
    },
}

impl State {
    /// Whether an attempt may be made now, with this credential if the subject has one.
    #[must_use]
    pub fn allows(&self, now: Timestamp, credential: Option<&Fingerprint>) -> bool {
        self.next_allowed(now).is_some_and(|at| at <= now) || self.is_lifted_by(credential)
    }

    /// The earliest time of the next attempt with an unchanged credential; `None` if only a person or another
    /// credential can bring it about.
    #[must_use]
    pub fn next_allowed(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Healthy | Self::Renewing { .. } => Some(now),
            Self::Retrying { until, .. } | Self::Throttled { until, .. } => Some(now.max(*until)),
            Self::Blocked { until, .. } => until.map(|until| now.max(until)),
        }
    }

    /// Whether this is a block of another credential than this one, and of a kind that another credential ends.
    #[must_use]
    pub fn is_lifted_by(&self, credential: Option<&Fingerprint>) -> bool {
        match (self, credential) {
            (
                Self::Blocked {
                    fingerprint: Some(blocked),
                    cause,
                    ..
                },
                Some(credential),
            ) => blocked != credential && ends_with_credential(cause.row().class),
            (
                Self::Healthy
                | Self::Renewing { .. }
                | Self::Retrying { .. }
                | Self::Throttled { .. }
                | Self::Blocked { .. },
                _,
            ) => false,
        }
    }

    /// The state as it may be trusted after it was read: no time further ahead than the policy ever waits, because
    /// a clock that was wrong must not silence a stream for a year.
    #[must_use]
    pub fn clamp(mut self, now: Timestamp, policy: &Policy) -> Self {
        let latest = now + policy.longest();
        match &mut self {
            Self::Healthy => {}
            Self::Renewing { since, .. } => *since = now.min(*since),
            Self::Retrying { since, until, .. } | Self::Throttled { since, until, .. } => {
                *since = now.min(*since);
                *until = latest.min(*until);
            }
            Self::Blocked { since, until, .. } => {
                *since = now.min(*since);
                *until = until.map(|until| latest.min(until));
            }
        }
        self
    }

    /// Whether less may be done than in the state `before`: such a change must be durable before the next request.
    #[must_use]
    pub fn is_worse_than(&self, before: &Self) -> bool {
        self.badness() > before.badness()
    }

    fn badness(&self) -> (u8, Option<Timestamp>) {
        match self {
            Self::Healthy => (0, None),
            Self::Renewing { .. } => (1, None),
            Self::Throttled { until, .. } => (2, Some(*until)),
            Self::Retrying { until, .. } => (3, Some(*until)),
            Self::Blocked { until, .. } => (if until.is_some() { 4 } else { 5 }, *until),
        }
    }

    /// How loud the state is for people who look at it.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Healthy | Self::Renewing { .. } | Self::Throttled { .. } => Level::Info,
            Self::Retrying { .. } => Level::Warn,
            Self::Blocked { .. } => Level::Error,
        }
    }

    /// The word for it in logs, metrics and in the store.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Renewing { .. } => "renewing",
            Self::Retrying { .. } => "retrying",
            Self::Throttled { .. } => "throttled",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// What was wrong, unless healthy.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Healthy => None,
            Self::Renewing { cause, .. }
            | Self::Retrying { cause, .. }
            | Self::Throttled { cause, .. }
            | Self::Blocked { cause, .. } => Some(cause),
        }
    }

    /// When the subject was healthy last, unless it is.
    #[must_use]
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Healthy => None,
            Self::Renewing { since, .. }
            | Self::Retrying { since, .. }
            | Self::Throttled { since, .. }
            | Self::Blocked { since, .. } => Some(*since),
        }
    }

    /// Failures in a row.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        match self {
            Self::Healthy => 0,
            Self::Renewing { attempts, .. }
            | Self::Retrying { attempts, .. }
            | Self::Throttled { attempts, .. }
            | Self::Blocked { attempts, .. } => *attempts,
        }
    }
}

/// Another credential is another user perhaps, but keys made anew for a locked user would only prolong the lock; and a
/// wrong request stays wrong whoever sends it.
const fn ends_with_credential(class: Class) -> bool {
    match class {
        Class::CredentialStale
        | Class::ClockSkewed
        | Class::CredentialRejected
        | Class::Forbidden
        // A block for one of these was stored by a version whose table said otherwise.
        | Class::Transient
        | Class::Throttled
        | Class::CursorInvalid
        | Class::RecordRejected => true,
        Class::LockedOut | Class::RequestInvalid | Class::Watched => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Seed;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    fn blocked(code: &str, until: Option<Timestamp>) -> State {
        State::Blocked {
            attempts: 1,
            since: NOW,
            until,
            fingerprint: Some(Fingerprint::of(b"install", &["old"])),
            cause: Box::new(Cause::of(&Failure::new(
                Origin::Mimecast,
                401,
                code,
                "POST /x",
            ))),
        }
    }

    #[test]
    fn the_stored_form_is_settled() {
        let mut failure = Failure::new(Origin::ObjectStore, 418, "0001", "POST /x");
        failure.request_id = Some("r1".to_owned());
        let state = State::Blocked {
            attempts: 2,
            since: NOW,
            until: None,
            fingerprint: Some(Fingerprint::of(b"k", &["a"])),
            cause: Box::new(Cause::of(&failure)),
        };
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(
            json,
            format!(
                "{{\"state\":\"blocked\",\"attempts\":2,\"since\":1767690487000,\"until\":null,\"fingerprint\":\"{}\",\
                 \"cause\":{{\"origin\":\"object-store\",\"status\":418,\"code\":\"0001\",\"endpoint\":\"POST /x\",\
                 \"request_id\":\"r1\"}}}}",
                Fingerprint::of(b"k", &["a"])
            )
        );
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
        assert_eq!(
            serde_json::to_string(&State::Healthy).unwrap(),
            r#"{"state":"healthy"}"#
        );
        let mut standing = Standing::from(state);
        assert_eq!(serde_json::to_string(&standing).unwrap(), json);
        assert_eq!(serde_json::from_str::<Standing>(&json).unwrap(), standing);
        standing.raised = Some(Raised {
            since: NOW,
            told: NOW,
            code: "418/0001".to_owned(),
            healthy: None,
        });
        standing.clock = Some(Box::new(Correction {
            ahead_ms: -90_000,
            at: NOW,
            fingerprint: None,
        }));
        let json = serde_json::to_string(&standing).unwrap();
        assert!(json.ends_with(
            r#","raised":{"since":1767690487000,"told":1767690487000,"code":"418/0001"},"clock":{"ahead_ms":-90000,"at":1767690487000,"fingerprint":null}}"#
        ), "{json}");
        assert_eq!(serde_json::from_str::<Standing>(&json).unwrap(), standing);
    }

    #[test]
    fn another_credential_lifts_its_block_but_not_a_lock_out() {
        let old = Fingerprint::of(b"install", &["old"]);
        let new = Fingerprint::of(b"install", &["new"]);
        let refused = blocked("0008", None);
        assert!(!refused.allows(NOW + Duration::MAX, Some(&old)));
        assert!(!refused.allows(NOW, None));
        assert!(refused.allows(NOW, Some(&new)));
        let until = NOW + Duration::from_mins(30);
        let locked = blocked("0010", Some(until));
        assert!(!locked.allows(NOW, Some(&new)));
        assert!(locked.allows(until, Some(&old)));
    }

    #[test]
    fn a_wrong_clock_silences_nothing_for_a_year() {
        let policy = Policy::source(Seed::of(b"install", "acme-uk"));
        let year = NOW + Duration::from_hours(8_766);
        let state = blocked("0010", Some(year)).clamp(NOW, &policy);
        assert_eq!(state.next_allowed(NOW), Some(NOW + Duration::from_hours(6)));
    }

    #[test]
    fn a_server_cannot_make_the_stored_cause_large() {
        let long = "\u{1}".repeat(100_000);
        let mut failure = Failure::new(Origin::Mimecast, 500, &long, &long).with_detail(&long);
        failure.request_id = Some(long);
        assert!(serde_json::to_string(&Cause::of(&failure)).unwrap().len() < 2_048);
    }

    #[test]
    fn worse_is_what_allows_less() {
        let later = NOW + Duration::from_secs(1);
        let order = [
            State::Healthy,
            blocked("0010", Some(NOW)),
            blocked("0010", Some(later)),
            blocked("0010", None),
        ];
        for pair in order.windows(2) {
            assert!(pair[1].is_worse_than(&pair[0]), "{pair:?}");
            assert!(!pair[0].is_worse_than(&pair[1]), "{pair:?}");
        }
        assert!(!order[2].is_worse_than(&order[2]));
    }
}
