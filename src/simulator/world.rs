//! What the three listeners share: the state of accounts, files, tokens and quotas, and what was seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::sync::watch;

use super::call::Call;
use super::fault::Script;
use super::hec::Received;
use super::limits::Windows;
use super::options::{Key, Options};
use super::seen::Request;
use super::shelf::Shelf;
use super::token::Token;
use crate::model::Timestamp;

pub(super) struct World {
    pub(super) options: Options,
    /// Of the object store, for links.
    pub(super) objects_url: String,
    state: Mutex<State>,
    received: Mutex<Received>,
    /// Counts what happened, for those who wait for it.
    pub(super) happened: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) accounts: BTreeMap<String, Member>,
    pub(super) tokens: HashMap<String, Token>,
    pub(super) tokens_made: u64,
    pub(super) links_void_before: Option<Timestamp>,
    pub(super) windows: Windows,
    pub(super) script: Script,
    pub(super) requests: Vec<Request>,
    pub(super) violations: Vec<String>,
}

/// An account and what there is for it.
pub(super) struct Member {
    pub(super) key: Key,
    /// Wrong credentials since the last right ones.
    pub(super) wrong: u32,
    pub(super) locked_until: Option<Timestamp>,
    pub(super) shelf: Shelf,
}

impl World {
    pub(super) fn new(options: Options, objects_url: String) -> Self {
        let members = options.accounts.iter().map(|account| {
            let member = Member {
                key: account.key.clone(),
                wrong: 0,
                locked_until: None,
                shelf: Shelf::default(),
            };
            (account.name.clone(), member)
        });
        let state = State {
            accounts: members.collect(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            received: Mutex::new(Received::default()),
            happened: watch::Sender::new(0),
            options,
            objects_url,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the event collector got; apart from the rest, so that neither waits for the other.
    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that life spans and windows follow.
    pub(super) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// The time that the simulator says it is.
    pub(super) fn wall(&self) -> Timestamp {
        moved(self.options.clock.wall(), self.options.clock_ahead_ms)
    }

    /// Makes a text that clients cannot read, in the alphabet with `+`, `/` and always `=`, from which
    /// [`World::unseal`] takes the payload again.
    pub(super) fn seal(&self, purpose: &str, payload: &str) -> String {
        let mut sealed = self.check(purpose, payload);
        sealed.extend(payload.as_bytes());
        if sealed.len().is_multiple_of(3) {
            sealed.push(b' ');
        }
        STANDARD.encode(sealed)
    }

    /// The payload of a text made here for that purpose.
    pub(super) fn unseal(&self, purpose: &str, text: &str) -> Option<String> {
        let sealed = STANDARD.decode(text).ok()?;
        let (check, payload) = sealed.split_at_checked(CHECK)?;
        let payload = std::str::from_utf8(payload).ok()?.trim_end();
        (self.check(purpose, payload) == check).then(|| payload.to_owned())
    }

    fn check(&self, purpose: &str, payload: &str) -> Vec<u8> {
        let text = format!("{}\0{purpose}\0{payload}", self.options.seed);
        Sha1::digest(text.as_bytes())
            .into_iter()
            .take(CHECK)
            .collect()
    }
}

/// Bytes of a sealed text that prove where it was made.
const CHECK: usize = 9;

impl State {
    /// Puts down what a right client would not have done.
    pub(super) fn violation(&mut self, call: &Call, what: &str) {
        self.violations
            .push(format!("{} {}: {what}", call.method, call.path));
    }
}

/// A moment, moved by milliseconds in either direction.
pub(super) fn moved(moment: Timestamp, ahead_ms: i64) -> Timestamp {
    let by = Duration::from_millis(ahead_ms.unsigned_abs());
    if ahead_ms < 0 {
        moment - by
    } else {
        moment + by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_for_its_purpose_only_and_needs_escaping() {
        let world = World::new(Options::default(), String::new());
        for payload in ["", "a", "ab", "abc", "one:17"] {
            let sealed = world.seal("page", payload);
            assert!(sealed.contains('='), "{sealed}");
            assert_eq!(world.unseal("page", &sealed).as_deref(), Some(payload));
            assert_eq!(world.unseal("file", &sealed), None);
        }
        assert_eq!(world.unseal("page", "bm8="), None);
    }
}
