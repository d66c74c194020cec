//! Indexer acknowledgement: batches that HEC has taken and no indexer has confirmed yet.
//!
//! HEC gives each request a number on our channel and forgets a number that it has once confirmed. Behind a load balancer each indexer
//! counts for itself, so a number is asked of the server, and with the cookie, that the batch went to. "False" means not yet, lost or unknown
//! alike; only the time tells them apart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::model::Timestamp;
use crate::output::{Receipt, Verdict};

/// Whether indexer acknowledgement is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// If the token has it.
    Auto,
    /// Always: a token without it blocks the output.
    On,
    /// Never.
    Off,
}

/// From one round of questions to the next.
const ROUND: Duration = Duration::from_secs(1);

/// Numbers asked about in one request; HEC takes more, but answers them more slowly.
pub(super) const AT_ONCE: usize = 1_000;

/// Where a batch went, and so where its number means something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// Index of the server.
    pub(super) server: usize,
    /// What a load balancer tells its indexers apart by.
    pub(super) cookie: Option<String>,
}

/// What awaits an acknowledgement.
#[derive(Debug)]
pub(super) struct Acks {
    timeout: Duration,
    /// Method and place, for messages.
    endpoint: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the token has acknowledgement, as far as is known.
    is_on: Option<bool>,
    receipts: u64,
    waiting: BTreeMap<Route, BTreeMap<u64, Waiting>>,
    lost: Vec<(Receipt, Verdict)>,
}

#[derive(Debug)]
struct Waiting {
    receipt: Receipt,
    /// The first round that knew it.
    since: Option<Timestamp>,
}

/// What is to be done about what waits: what is lost by now, and the numbers to be asked about on each route.
pub(super) type Round = (Vec<(Receipt, Verdict)>, Vec<(Route, Vec<u64>)>);

/// HEC's answer to a question about numbers.
#[derive(Debug, Deserialize)]
pub(super) struct AckAnswer {
    pub(super) acks: BTreeMap<String, bool>,
}

impl AckAnswer {
    /// The numbers that are confirmed.
    pub(super) fn confirmed(&self) -> impl Iterator<Item = u64> + '_ {
        let confirmed = self.acks.iter().filter(|(_, confirmed)| **confirmed);
        confirmed.filter_map(|(number, _)| number.parse().ok())
    }
}

impl Acks {
    pub(super) fn new(timeout: Duration, endpoint: String) -> Self {
        Self {
            timeout,
            endpoint,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether the token has acknowledgement; `None` before anything has told.
    pub(super) fn is_on(&self) -> Option<bool> {
        self.lock().is_on
    }

    /// Keeps a batch until it is confirmed.
    pub(super) fn keep(&self, route: Route, number: u64) -> Receipt {
        let mut state = self.lock();
        state.is_on = Some(true);
        state.receipts += 1;
        let receipt = Receipt(state.receipts);
        let batches = state.waiting.entry(route).or_default();
        match batches.remove(&number) {
            None => {
                let since = None;
                batches.insert(number, Waiting { receipt, since });
            }
            // Two indexers behind one cookie: a confirmation would be of one batch, and nobody could tell of which.
            Some(former) => {
                let detail =
                    "two batches have the same number: keep the load balancer's stickiness on";
                let failure = self.failure("ack_collision", detail);
                let both = [former.receipt, receipt];
                let lost = both.map(|receipt| (receipt, Verdict::Lost(failure.clone())));
                state.lost.extend(lost);
            }
        }
        drop(state);
        self.changed.notify_one();
        receipt
    }

    /// The token has acknowledgement, or has it no more: then what is not confirmed never will be. Gives whether that is news: the
    /// requests of a window ask at the same time.
    pub(super) fn learn(&self, is_on: bool) -> bool {
        let mut state = self.lock();
        let was_on = state.is_on.replace(is_on);
        if !is_on && was_on == Some(true) {
            let waiting = std::mem::take(&mut state.waiting);
            let failure = self.failure("ack_off", "the token has no acknowledgement any more");
            let receipts = waiting.values().flat_map(BTreeMap::values);
            let lost = receipts.map(|batch| (batch.receipt, Verdict::Lost(failure.clone())));
            state.lost.extend(lost);
            drop(state);
            self.changed.notify_one();
        }
        was_on != Some(is_on)
    }

    /// Forgets what was known of the token, so that it is asked again.
    pub(super) fn forget(&self) {
        self.lock().is_on = None;
    }

    /// Waits for the next round of questions.
    pub(super) async fn round(&self, clock: &Clock) -> Round {
        loop {
            let is_idle = {
                let state = self.lock();
                state.waiting.is_empty() && state.lost.is_empty()
            };
            if is_idle {
                self.changed.notified().await;
                continue;
            }
            clock.sleep_until(clock.now() + ROUND).await;
            return self.due(clock.now());
        }
    }

    fn due(&self, now: Timestamp) -> Round {
        let mut state = self.lock();
        let mut lost = std::mem::take(&mut state.lost);
        let mut questions = Vec::new();
        for (route, waiting) in &mut state.waiting {
            waiting.retain(|_, waiting| {
                let since = *waiting.since.get_or_insert(now);
                let is_late = now.since(since) >= self.timeout;
                if is_late {
                    let failure = self.failure("ack_timeout", "no acknowledgement in time");
                    lost.push((waiting.receipt, Verdict::Lost(failure)));
                }
                !is_late
            });
            let numbers: Vec<u64> = waiting.keys().copied().collect();
            let parts = numbers.chunks(AT_ONCE);
            questions.extend(parts.map(|part| (route.clone(), part.to_vec())));
        }
        state.waiting.retain(|_, waiting| !waiting.is_empty());
        (lost, questions)
    }

    /// Takes out what is confirmed.
    pub(super) fn confirm(&self, route: &Route, answer: &AckAnswer) -> Vec<(Receipt, Verdict)> {
        let mut state = self.lock();
        let Some(waiting) = state.waiting.get_mut(route) else {
            return Vec::new();
        };
        let confirmed = answer
            .confirmed()
            .filter_map(|number| waiting.remove(&number));
        confirmed
            .map(|waiting| (waiting.receipt, Verdict::Accepted))
            .collect()
    }

    fn failure(&self, code: &str, detail: &str) -> Failure {
        Failure::new(Origin::Hec, 0, code, &self.endpoint).with_detail(detail)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The map is whole after each statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);
    const TIMEOUT: Duration = Duration::from_secs(300);

    fn acks() -> Acks {
        Acks::new(
            TIMEOUT,
            "POST splunk.example:8088/services/collector/ack".to_owned(),
        )
    }

    fn route(cookie: &str) -> Route {
        Route {
            server: 0,
            cookie: Some(cookie.to_owned()),
        }
    }

    fn answer(text: &str) -> AckAnswer {
        serde_json::from_str(text).unwrap()
    }

    fn keys(lost: &[(Receipt, Verdict)]) -> Vec<(u64, String)> {
        let key = |verdict: &Verdict| match verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Lost(failure) => failure.key(),
        };
        lost.iter()
            .map(|(receipt, verdict)| (receipt.0, key(verdict)))
            .collect()
    }

    #[test]
    fn the_same_number_of_two_indexers_is_two_batches() {
        let acks = acks();
        let (a, b) = (acks.keep(route("a"), 0), acks.keep(route("b"), 0));
        assert_ne!(a, b);
        let (lost, questions) = acks.due(NOW);
        assert!(lost.is_empty());
        assert_eq!(questions, [(route("a"), vec![0]), (route("b"), vec![0])]);
        let confirmed = acks.confirm(&route("b"), &answer(r#"{"acks":{"0":true,"7":true}}"#));
        assert_eq!(confirmed, [(b, Verdict::Accepted)]);
        assert_eq!(acks.due(NOW).1, [(route("a"), vec![0])]);
    }

    #[test]
    fn false_is_not_yet_until_the_time_is_over_and_then_lost() {
        let acks = acks();
        acks.keep(route("a"), 3);
        assert!(acks.due(NOW).0.is_empty());
        let no = answer(r#"{"acks":{"3":false}}"#);
        assert!(acks.confirm(&route("a"), &no).is_empty());
        assert!(acks.due(NOW + TIMEOUT - ROUND).0.is_empty());
        let (lost, questions) = acks.due(NOW + TIMEOUT);
        assert_eq!(keys(&lost), [(1, "hec/ack_timeout".to_owned())]);
        assert!(questions.is_empty());
    }

    #[test]
    fn a_token_that_loses_acknowledgement_loses_what_is_unconfirmed() {
        let acks = acks();
        acks.keep(route("a"), 1);
        acks.keep(route("b"), 1);
        assert!(acks.learn(false));
        assert!(!acks.learn(false), "that is no news");
        assert_eq!(acks.is_on(), Some(false));
        let lost = keys(&acks.due(NOW).0);
        assert_eq!(
            lost,
            [(1, "hec/ack_off".to_owned()), (2, "hec/ack_off".to_owned())]
        );
    }

    #[test]
    fn a_number_that_is_given_twice_confirms_neither_batch() {
        let acks = acks();
        acks.keep(route("a"), 1);
        acks.keep(route("a"), 1);
        let yes = answer(r#"{"acks":{"1":true}}"#);
        assert!(acks.confirm(&route("a"), &yes).is_empty());
        let lost = keys(&acks.due(NOW).0);
        assert_eq!(
            lost,
            [
                (1, "hec/ack_collision".to_owned()),
                (2, "hec/ack_collision".to_owned())
            ]
        );
    }
}
