//! What every request of an integration passes: it is shut the moment a failure of the credential is read, and opened again when the
//! poller has judged that failure, and the state that followed is durable and allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::health::{Failure, Scope, lookup};
use crate::mimecast::{FetchError, Gate};

/// The gate of one integration.
#[derive(Clone, Debug)]
pub(super) struct PollGate {
    /// Whether the credential's state allows requests.
    allowed: Arc<AtomicBool>,
    /// Failures of the credential that were read and not yet judged.
    unjudged: Arc<AtomicUsize>,
    requests: Arc<Semaphore>,
}

/// The gate as one fetch passes it; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct FetchGate {
    gate: PollGate,
    /// Whether this fetch has read a failure of the credential.
    shut: Arc<AtomicBool>,
}

impl PollGate {
    /// An open gate. `requests` bounds the requests that are out, over all integrations.
    pub(super) fn new(requests: Arc<Semaphore>) -> Self {
        Self {
            allowed: Arc::new(AtomicBool::new(true)),
            unjudged: Arc::default(),
            requests,
        }
    }

    /// Says whether the credential's state allows requests.
    pub(super) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::SeqCst);
    }

    /// The gate for one more fetch.
    pub(super) fn for_fetch(&self) -> FetchGate {
        FetchGate {
            gate: self.clone(),
            shut: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), FetchError> {
        let open = self.allowed.load(Ordering::SeqCst) && self.unjudged.load(Ordering::SeqCst) == 0;
        if open {
            Ok(())
        } else {
            Err(FetchError::GateClosed)
        }
    }
}

impl FetchGate {
    /// Says that the fetch has ended and what it met has been judged.
    pub(super) fn judged(&self) {
        if self.shut.swap(false, Ordering::SeqCst) {
            self.gate.unjudged.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Gate for FetchGate {
    type Permit = OwnedSemaphorePermit;

    async fn pass(&self) -> Result<OwnedSemaphorePermit, FetchError> {
        self.gate.check()?;
        let permit = Arc::clone(&self.gate.requests).acquire_owned().await;
        let permit = permit.map_err(|_| FetchError::GateClosed)?;
        // It may have been shut while we waited.
        self.gate.check()?;
        Ok(permit)
    }

    fn failed(&self, failure: &Failure) {
        let concerns_all = lookup(failure).scope == Scope::Credential;
        if concerns_all && !self.shut.swap(true, Ordering::SeqCst) {
            self.gate.unjudged.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Origin;

    #[tokio::test]
    async fn a_failure_of_the_credential_shuts_the_gate_for_all_until_it_is_judged() {
        let gate = PollGate::new(Arc::new(Semaphore::new(1)));
        let fetch = gate.for_fetch();
        let first = fetch.pass().await.unwrap();
        let waiter = gate.for_fetch();
        let mut second = Box::pin(async move { waiter.pass().await });
        assert!(futures_util::poll!(&mut second).is_pending());
        let locked = Failure::new(Origin::Mimecast, 401, "0010", "POST /x");
        fetch.failed(&locked);
        fetch.failed(&locked);
        drop(first);
        assert!(matches!(second.await, Err(FetchError::GateClosed)));
        gate.allow(true);
        let closed = gate.for_fetch().pass().await;
        assert!(closed.is_err(), "opened before the failure was judged");
        fetch.judged();
        assert!(gate.for_fetch().pass().await.is_ok());
        gate.allow(false);
        assert!(gate.for_fetch().pass().await.is_err());
    }

    #[tokio::test]
    async fn a_failure_of_one_stream_leaves_the_gate_open() {
        let gate = PollGate::new(Arc::new(Semaphore::new(1)));
        let fetch = gate.for_fetch();
        fetch.failed(&Failure::new(Origin::Mimecast, 500, "", "POST /x"));
        assert!(fetch.pass().await.is_ok());
    }
}
