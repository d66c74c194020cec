//! The budgets of all credentials, and the part of them that one integration spends.
//!
//! Mimecast counts the calls of a function by credential, so integrations that have the same credential have the same budgets. They
//! outlive a reload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mimecast::budget::{Allowance, Budget, Share};
use crate::model::{IntegrationId, StreamId, Timestamp};
use crate::secret::Fingerprint;
use crate::status::RateReport;
use crate::store::Calls;

/// The budgets of all credentials; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Budgets(Arc<Mutex<BTreeMap<Key, Budget>>>);

/// A credential's fingerprint, and the path of a function.
type Key = (String, Arc<str>);

/// The budgets of one credential; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Purse {
    budgets: Budgets,
    credential: String,
}

impl Budgets {
    pub(super) fn of(&self, credential: &Fingerprint) -> Purse {
        Purse {
            budgets: self.clone(),
            credential: credential.to_string(),
        }
    }

    /// What each integration may still call, by the path of the function; those with the same credential are told the same.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> BTreeMap<IntegrationId, BTreeMap<String, RateReport>> {
        let mut told: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((_, path), budget) in self.lock().iter_mut() {
            let Some(left) = budget.remaining(now) else {
                continue;
            };
            let rate = RateReport {
                left: left.calls,
                limit: left.limit,
                window_s: left.window.map(|window| window.as_secs()),
                more_at: left.more_at,
            };
            for stream in budget.streams() {
                let of_integration = told.entry(stream.integration.clone()).or_default();
                of_integration.insert(path.to_string(), rate);
            }
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Budget>> {
        // A budget is whole after each of its functions, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Purse {
    /// Forgets the streams of an integration, which may have been configured otherwise.
    pub(super) fn leave(&self, integration: &IntegrationId) {
        for budget in self.budgets.lock().values_mut() {
            budget.leave(|stream| stream.integration == *integration);
        }
    }

    /// Forgets one stream.
    pub(super) fn forget(&self, gone: &StreamId) {
        for budget in self.budgets.lock().values_mut() {
            budget.leave(|stream| stream == gone);
        }
    }

    /// Gives a stream its share of a function's budget.
    pub(super) fn share(&self, path: &Arc<str>, stream: &StreamId, share: Share) {
        self.with(path, |budget| budget.share(stream, share));
    }

    /// Counts what an earlier process has called, where this one has not called yet.
    pub(super) fn restore(&self, path: &Arc<str>, calls: Calls, now: Timestamp) {
        self.with(path, |budget| {
            if budget.used(now).is_none() {
                budget.restore(calls.used, calls.last.min(now));
            }
        });
    }

    /// When a stream may call the function at the earliest.
    pub(super) fn next(&self, path: &Arc<str>, stream: &StreamId, now: Timestamp) -> Timestamp {
        self.with(path, |budget| budget.next(stream, now))
    }

    /// Takes a call.
    ///
    /// # Errors
    /// When to ask again.
    pub(super) fn take(
        &self,
        path: &Arc<str>,
        stream: &StreamId,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        self.with(path, |budget| budget.take(stream, now))
    }

    /// Hears what an answer of the function says.
    pub(super) fn tell(&self, path: &Arc<str>, said: Allowance, now: Timestamp) {
        self.with(path, |budget| budget.tell(said, now));
    }

    /// What to make durable.
    pub(super) fn calls(&self, path: &Arc<str>, now: Timestamp) -> Option<Calls> {
        let (first, last, used) = self.with(path, |budget| budget.used(now))?;
        Some(Calls { first, last, used })
    }

    fn with<T>(&self, path: &Arc<str>, work: impl FnOnce(&mut Budget) -> T) -> T {
        let key = (self.credential.clone(), Arc::clone(path));
        work(self.budgets.lock().entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mimecast::budget::Quota;

    #[test]
    fn integrations_with_one_credential_share_its_budgets() {
        let budgets = Budgets::default();
        let print = |secret| Fingerprint::of(b"key", &[secret]);
        let path: Arc<str> = "/a".into();
        let now = Timestamp::from_millis(0);
        let share = Share {
            quota: Some(Quota {
                calls: 1,
                window: Duration::from_secs(60),
            }),
            interval: None,
        };
        let stream = |name| StreamId::new(&IntegrationId::new(name).unwrap(), "audit", "");
        for (name, secret) in [("one", "x"), ("two", "x"), ("three", "y")] {
            budgets
                .of(&print(secret))
                .share(&path, &stream(name), share);
        }
        let take = |name, secret| budgets.of(&print(secret)).take(&path, &stream(name), now);
        assert!(take("one", "x").is_ok());
        assert!(take("two", "x").is_err());
        assert!(take("three", "y").is_ok());
        // People are told by the names that they know, of the same calls.
        let told = budgets.left(now);
        let left = |name| told[&IntegrationId::new(name).unwrap()]["/a"];
        let rate = RateReport {
            left: 0,
            limit: Some(1),
            window_s: Some(60),
            more_at: Some(now + Duration::from_secs(61)),
        };
        assert_eq!([left("one"), left("two"), left("three")], [rate; 3]);
    }
}
