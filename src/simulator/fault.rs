//! The script: what goes wrong, where, and how often.

use std::time::Duration;

use super::answer::Answer;
use super::call::{Call, Service, TOKEN_PATH};
use super::hec::{is_ack, is_health};

/// One row of the script: an action, the requests it meets, and how many of them.
#[derive(Clone, Debug)]
pub struct Fault {
    target: Target,
    account: Option<String>,
    skip: u32,
    times: Option<u32>,
    action: Action,
}

impl Fault {
    /// Meets every request to `target` until it is cleared.
    #[must_use]
    pub const fn new(target: Target, action: Action) -> Self {
        Self {
            target,
            account: None,
            skip: 0,
            times: None,
            action,
        }
    }

    /// Answers every request to `target` so.
    #[must_use]
    pub const fn answer(target: Target, answer: Answer) -> Self {
        Self::new(target, Action::Answer(answer))
    }

    /// Only requests of this account.
    #[must_use]
    pub fn of(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// Lets that many matching requests pass first.
    #[must_use]
    pub const fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Is over after that many requests.
    #[must_use]
    pub const fn times(mut self, requests: u32) -> Self {
        self.times = Some(requests);
        self
    }

    /// Is over after one request.
    #[must_use]
    pub const fn once(self) -> Self {
        self.times(1)
    }
}

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every request of Mimecast's API but those for a token.
    Api,
    /// Requests of the API for this path.
    Path(String),
    /// Of these, requests for a page behind the first.
    NextPage(String),
    /// Requests for a token.
    Token,
    /// Downloads.
    Objects,
    /// Events sent to the event collector.
    Hec,
    /// Questions after the event collector's health.
    HecHealth,
}

impl Target {
    /// Requests of the API for this path.
    #[must_use]
    pub fn path(path: &str) -> Self {
        Self::Path(path.to_owned())
    }

    fn meets(&self, call: &Call) -> bool {
        let at = |path: &str| call.service == Service::Api && call.path == path;
        match self {
            Self::Api => call.service == Service::Api && call.path != TOKEN_PATH,
            Self::Path(path) => at(path),
            Self::NextPage(path) => {
                at(path) && String::from_utf8_lossy(&call.body).contains("\"pageToken\"")
            }
            Self::Token => at(TOKEN_PATH),
            Self::Objects => call.service == Service::Objects,
            Self::Hec => {
                call.service == Service::Hec && !is_health(&call.path) && !is_ack(&call.path)
            }
            Self::HecHealth => call.service == Service::Hec && is_health(&call.path),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers so. Nothing else happens, save that an event collector takes what its answer claims to have taken.
    Answer(Answer),
    /// Serves the request only after that time; never for `None`.
    Stall(Option<Duration>),
    /// Resets the connection; the request was not served.
    Reset,
    /// Serves the request and resets the connection instead of answering.
    LoseReply,
    /// Serves the request and resets the connection after so many bytes of the body.
    ResetMidBody {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// Sends the body in pieces.
    Slow {
        /// Bytes of a piece.
        bytes: usize,
        /// Before each piece.
        pause: Duration,
    },
    /// Sends the first half of the body as if it were all: a file that was cut off.
    Truncate,
    /// Says another `Date`.
    WrongDate {
        /// Milliseconds ahead of the simulator's clock.
        ahead_ms: i64,
    },
    /// Lists links that have expired.
    ExpiredLinks,
    /// Lists every link twice.
    RepeatedLinks,
}

impl Action {
    /// The word for it in the log of requests.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Stall(_) => "stall",
            Self::Reset => "reset",
            Self::LoseReply => "lose-reply",
            Self::ResetMidBody { .. } => "reset-mid-body",
            Self::Slow { .. } => "slow",
            Self::Truncate => "truncate",
            Self::WrongDate { .. } => "wrong-date",
            Self::ExpiredLinks => "expired-links",
            Self::RepeatedLinks => "repeated-links",
        }
    }
}

/// Names a row of the script, to clear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(u64);

#[derive(Default)]
pub(super) struct Script {
    rows: Vec<(FaultId, Fault)>,
    added: u64,
}

impl Script {
    pub(super) fn add(&mut self, fault: Fault) -> FaultId {
        self.added += 1;
        let id = FaultId(self.added);
        self.rows.push((id, fault));
        id
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.rows.retain(|(row, _)| *row != id);
    }

    pub(super) fn clear_all(&mut self) {
        self.rows.clear();
    }

    /// The first row that meets the request is played; rows that still let requests pass count it.
    pub(super) fn play(&mut self, call: &Call, account: Option<&str>) -> Option<Action> {
        let meets = |fault: &Fault| {
            let same = |wanted: &String| account == Some(wanted.as_str());
            fault.target.meets(call) && fault.account.as_ref().is_none_or(same)
        };
        let mut played = None;
        for (id, fault) in self.rows.iter_mut().filter(|(_, fault)| meets(fault)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times = fault.times.map(|times| times.saturating_sub(1));
                played = Some((*id, fault.times, fault.action.clone()));
                break;
            }
        }
        let (id, left, action) = played?;
        if left == Some(0) {
            self.clear(id);
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::{HeaderMap, Method};

    fn call(path: &str) -> Call {
        Call {
            service: Service::Api,
            method: Method::GET,
            path: path.to_owned(),
            query: Some(Vec::new()),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn a_row_waits_for_its_turn_and_is_over_after_its_times() {
        let mut script = Script::default();
        script.add(
            Fault::new(Target::path("/a"), Action::Reset)
                .of("one")
                .after(1)
                .times(2),
        );
        let mut plays = |path: &str, account: &str| {
            let action = script.play(&call(path), Some(account));
            action.map(|action| action.name())
        };
        assert_eq!(plays("/b", "one"), None);
        assert_eq!(plays("/a", "two"), None);
        let of_one: Vec<_> = (0..4).map(|_| plays("/a", "one")).collect();
        assert_eq!(of_one, [None, Some("reset"), Some("reset"), None]);
    }

    #[test]
    fn a_row_without_a_number_stays_until_it_is_cleared() {
        let mut script = Script::default();
        let id = script.add(Fault::new(Target::Api, Action::Reset));
        assert!(script.play(&call("/a"), None).is_some());
        assert!(script.play(&call("/a"), None).is_some());
        assert!(script.play(&call(TOKEN_PATH), None).is_none());
        script.clear(id);
        assert!(script.play(&call("/a"), None).is_none());
    }
}
