//! A registry in memory, by the rules of etcd: for simulations, which must give the same result each time.
//!
//! Time is the clock's that it is given, which is its own: what the nodes take for the time is nothing to it. A lease ends at its moment and not,
//! as in etcd, up to a second later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::registry::{
    Change, Compare, Entry, LeaseId, Listing, Registry, RegistryError, Revision,
};
use crate::clock::Clock;
use crate::model::Timestamp;

/// Changes or comparisons of one transaction, as etcd has it unless it is told otherwise.
const MAX_OPERATIONS: usize = 128;

/// A registry; clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    clock: Clock,
    kept: Arc<Mutex<Kept>>,
}

/// What is kept, and nothing of time: it is an argument.
#[derive(Debug)]
struct Kept {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: i64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    until: Timestamp,
}

impl Memory {
    /// An empty registry, whose leases end by this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let kept = Kept {
            revision: Revision(1),
            entries: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_lease: 1,
        };
        Self {
            clock,
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// The value of a key as it is now.
    #[cfg(test)]
    pub(super) fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.kept()
            .entries
            .get(key)
            .map(|entry| entry.value.clone())
    }

    /// What is kept now: leases whose time is over are gone. No step of it panics, so a poisoned lock is as good as any.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.end_leases(self.clock.now());
        kept
    }
}

impl Kept {
    /// Ends the leases whose time is over, the earliest first.
    fn end_leases(&mut self, now: Timestamp) {
        let over = self.leases.iter().filter(|(_, lease)| lease.until <= now);
        let mut over: Vec<_> = over.map(|(id, lease)| (lease.until, *id)).collect();
        over.sort();
        for (_, id) in over {
            self.end_lease(id);
        }
    }

    fn end_lease(&mut self, id: LeaseId) {
        self.leases.remove(&id);
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.lease != Some(id));
        if self.entries.len() < before {
            self.revision.0 += 1;
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = |key: &String| self.entries.get(key);
        // A key that is not there has been changed by none, which counts as 0.
        let revision = |found: Option<Revision>| found.unwrap_or(Revision(0));
        match compare {
            Compare::Absent(key) => entry(key).is_none(),
            Compare::Created(key, at) => revision(entry(key).map(|entry| entry.created)) == *at,
            Compare::Modified(key, at) => revision(entry(key).map(|entry| entry.modified)) == *at,
            Compare::Value(key, value) => entry(key).is_some_and(|entry| entry.value == *value),
        }
    }

    fn txn(
        &mut self,
        when: &[Compare],
        then: &[Change],
    ) -> Result<Option<Revision>, RegistryError> {
        if when.len() > MAX_OPERATIONS || then.len() > MAX_OPERATIONS {
            return Err(RegistryError::Refused(
                "too many operations in txn request".to_owned(),
            ));
        }
        let mut put = Vec::new();
        let mut deleted = Vec::new();
        for change in then {
            let (key, others) = match change {
                Change::Put { key, .. } => (key, &mut put),
                Change::Delete(key) => (key, &mut deleted),
            };
            others.push(key);
        }
        put.sort();
        if put.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
            || put.iter().any(|key| deleted.contains(key))
        {
            return Err(RegistryError::Refused(
                "duplicate key given in txn request".to_owned(),
            ));
        }
        if !when.iter().all(|compare| self.holds(compare)) {
            return Ok(None);
        }
        for change in then {
            if let Change::Put {
                lease: Some(lease), ..
            } = change
                && !self.leases.contains_key(lease)
            {
                return Err(RegistryError::LeaseOver(
                    "requested lease not found".to_owned(),
                ));
            }
        }
        let next = Revision(self.revision.0 + 1);
        for change in then {
            match change {
                Change::Put { key, value, lease } => {
                    let created = self.entries.get(key).map_or(next, |entry| entry.created);
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        created,
                        modified: next,
                        lease: *lease,
                    };
                    self.entries.insert(key.clone(), entry);
                    self.revision = next;
                }
                Change::Delete(key) => {
                    if self.entries.remove(key).is_some() {
                        self.revision = next;
                    }
                }
            }
        }
        Ok(Some(self.revision))
    }
}

impl Registry for Memory {
    async fn get(&self, key: &str) -> Result<Option<Entry>, RegistryError> {
        Ok(self.kept().entries.get(key).cloned())
    }

    async fn range(&self, prefix: &str) -> Result<Listing, RegistryError> {
        let kept = self.kept();
        let entries = kept.entries.range(prefix.to_owned()..);
        let entries = entries.take_while(|(key, _)| key.starts_with(prefix));
        Ok(Listing {
            revision: kept.revision,
            entries: entries.map(|(_, entry)| entry.clone()).collect(),
        })
    }

    async fn txn(
        &self,
        when: &[Compare],
        then: &[Change],
    ) -> Result<Option<Revision>, RegistryError> {
        self.kept().txn(when, then)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        let until = self.clock.now() + ttl;
        let mut kept = self.kept();
        let id = LeaseId(kept.next_lease);
        kept.next_lease += 1;
        kept.leases.insert(id, Lease { ttl, until });
        Ok(id)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let lease = kept.leases.get_mut(&lease);
        Ok(lease.map(|lease| lease.until = now + lease.ttl).is_some())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        self.kept().end_lease(lease);
        Ok(())
    }
}
