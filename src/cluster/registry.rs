//! What the nodes of a cluster share: a few small keys with revisions, leases and transactions, as etcd has them.
//!
//! The seam between the rules of the cluster and the servers that keep its keys. Whatever implements it must be linearizable: each call is done
//! at one moment between its start and its answer, and sees everything that was done before. Keys are texts, values bytes.
//!
//! Revisions are etcd's: one number for the whole registry, one more with each change of keys (all changes of a transaction are one
//! change), never reused. A key's `created` stays the same while the key exists, whoever puts it again, and is another one after it was
//! deleted: it is the fence of whoever created it.

use std::fmt;
use std::time::Duration;

/// How often the keys have changed. The first key of a registry has 2, as in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A lease: keys that are put under it are deleted, all as one change, when it is not renewed in time. Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A key as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// What was put last.
    pub value: Vec<u8>,
    /// The change that created the key.
    pub created: Revision,
    /// The change that put `value`.
    pub modified: Revision,
    /// The lease that the key ends with, if it was put under one.
    pub lease: Option<LeaseId>,
}

/// Keys that begin alike, all as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The registry's last change at that moment.
    pub revision: Revision,
    /// In the order of the keys' bytes.
    pub entries: Vec<Entry>,
}

/// What must hold for a transaction to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// There is no such key.
    Absent(String),
    /// The key is there, and was created by this change: nobody has deleted it since.
    Created(String, Revision),
    /// The key is there, and this change put its value: nobody has touched it since.
    Modified(String, Revision),
    /// The key is there and has this value.
    Value(String, Vec<u8>),
}

/// What a transaction does to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates the key, or gives it another value and lease.
    Put {
        /// The whole key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
        /// The lease that it ends with from now on; `None` for a key that stays.
        lease: Option<LeaseId>,
    },
    /// Deletes the key, if it is there.
    Delete(String),
}

/// Why a call had no success. The text says which server, what it was asked and what it answered; it never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No server could answer: the network, no leader, no majority, too late. It may pass by itself. What was asked may have been done
    /// nevertheless, or be done yet: whoever must know reads the keys again.
    #[error("etcd cannot be reached: {0}")]
    Unavailable(String),
    /// The lease that keys were to be put under is over. Nothing was done.
    #[error("the lease is over: {0}")]
    LeaseOver(String),
    /// A server refuses: who asks, or what. It does not pass by itself; nothing was done.
    #[error("etcd refuses: {0}")]
    Refused(String),
    /// A server's answer makes no sense: something else answers there.
    #[error("not an answer of etcd: {0}")]
    Unreadable(String),
}

/// A registry.
///
/// No call waits for longer than its implementation's time-out. Dropping a call does not undo it.
pub trait Registry: Send + Sync + 'static {
    /// Reads one key.
    ///
    /// # Errors
    /// See [`RegistryError`]; nothing changes.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, RegistryError>> + Send;

    /// Reads all keys that begin with `prefix`.
    ///
    /// # Errors
    /// See [`RegistryError`]; nothing changes.
    fn range(&self, prefix: &str) -> impl Future<Output = Result<Listing, RegistryError>> + Send;

    /// Does all of `then`, as one change, if all of `when` holds at that moment; else nothing, and the answer is `None`. Gives the change's
    /// revision: keys that it created have it as theirs. At most 128 comparisons and 128 changes, and each key is changed once at most.
    ///
    /// # Errors
    /// See [`RegistryError`]. After [`RegistryError::Unavailable`] it may have been done.
    fn txn(
        &self,
        when: &[Compare],
        then: &[Change],
    ) -> impl Future<Output = Result<Option<Revision>, RegistryError>> + Send;

    /// Begins a lease that ends `ttl` after its last renewal, whole seconds. The server counts from when it is asked, or later.
    ///
    /// # Errors
    /// See [`RegistryError`]. A lease whose answer was lost ends by itself.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, RegistryError>> + Send;

    /// Renews a lease. It lasts its whole time from when the server is asked, so from the start of this call at least. Gives whether
    /// there was anything to renew: `false` means that it is over, and its keys are gone.
    ///
    /// # Errors
    /// See [`RegistryError`]; the lease may have been renewed, or not.
    fn keep_alive(
        &self,
        lease: LeaseId,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send;

    /// Ends a lease and deletes its keys; one that is over already is no failure.
    ///
    /// # Errors
    /// See [`RegistryError`]; the lease may have been ended, or ends by itself.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), RegistryError>> + Send;
}
