//! What every request of an integration passes: it is shut the moment a failure of the credential is read, and opened again when the
//! poller has judged that failure, and the state that followed is durable and allows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::purse::Purse;
use crate::clock::Clock;
use crate::health::{Failure, Scope, lookup};
use crate::mimecast::budget::Allowance;
use crate::mimecast::{FetchError, Gate};
use crate::model::StreamId;
use crate::status::{LastRequest, Status};
use crate::tenure::Tenure;

/// The gate of one integration.
#[derive(Clone, Debug)]
pub(super) struct PollGate {
    /// Whether the credential's state allows requests.
    allowed: Arc<AtomicBool>,
    /// Failures of the credential that were read and not yet judged.
    unjudged: Arc<AtomicUsize>,
    requests: Arc<Semaphore>,
    purse: Purse,
    clock: Clock,
    status: Status,
    tenure: Tenure,
}

/// The gate as one fetch passes it; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct FetchGate {
    gate: PollGate,
    /// Whether this fetch has read a failure of the credential.
    shut: Arc<AtomicBool>,
    stream: StreamId,
    /// The function that a call was taken for before the fetch began.
    paid: Arc<Mutex<Option<Arc<str>>>>,
}

impl PollGate {
    /// An open gate. `requests` bounds the requests that are out, over all integrations; `purse` the calls of each function.
    pub(super) fn new(
        requests: Arc<Semaphore>,
        purse: Purse,
        clock: &Clock,
        status: &Status,
        tenure: &Tenure,
    ) -> Self {
        Self {
            allowed: Arc::new(AtomicBool::new(true)),
            unjudged: Arc::default(),
            requests,
            purse,
            clock: clock.clone(),
            status: status.clone(),
            tenure: tenure.clone(),
        }
    }

    /// Says whether the credential's state allows requests.
    pub(super) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::SeqCst);
    }

    /// The gate for one more fetch of a stream; a call of the function at `paid` is taken for it already.
    pub(super) fn for_fetch(&self, stream: &StreamId, paid: Option<&Arc<str>>) -> FetchGate {
        FetchGate {
            gate: self.clone(),
            shut: Arc::default(),
            stream: stream.clone(),
            paid: Arc::new(Mutex::new(paid.cloned())),
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
    /// Whether a request may go out this moment.
    fn check(&self) -> Result<(), FetchError> {
        if self.gate.tenure.may_ask(&self.stream.integration) {
            self.gate.check()
        } else {
            Err(FetchError::GateClosed)
        }
    }

    /// Says that the fetch has ended and what it met has been judged.
    pub(super) fn judged(&self) {
        if self.shut.swap(false, Ordering::SeqCst) {
            self.gate.unjudged.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether the call was taken before the fetch began; true once.
    fn is_paid(&self, path: &str) -> bool {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.take_if(|paid| **paid == *path).is_some()
    }
}

impl Gate for FetchGate {
    type Permit = OwnedSemaphorePermit;

    async fn pass(&self) -> Result<OwnedSemaphorePermit, FetchError> {
        self.check()?;
        let permit = Arc::clone(&self.gate.requests).acquire_owned().await;
        let permit = permit.map_err(|_| FetchError::GateClosed)?;
        // It may have been shut while we waited.
        self.check()?;
        Ok(permit)
    }

    async fn call(&self, path: &str) -> Result<OwnedSemaphorePermit, FetchError> {
        let (gate, path): (_, Arc<str>) = (&self.gate, path.into());
        self.check()?;
        if !self.is_paid(&path) {
            while let Err(next) = gate.purse.take(&path, &self.stream, gate.clock.now()) {
                gate.clock.sleep_until(next).await;
                self.check()?;
            }
        }
        self.pass().await
    }

    fn left(&self, path: &str, said: Allowance) {
        let gate = &self.gate;
        gate.purse.tell(&path.into(), said, gate.clock.now());
    }

    fn requested(&self, id: &str) {
        // Only live streams are shown.
        if self.stream.replay.is_none() {
            let last = LastRequest {
                at: self.gate.clock.now(),
                id: id.to_owned(),
            };
            self.gate
                .status
                .stream(&self.stream, |stream| stream.last_request = Some(last));
        }
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
    use std::path::Path;
    use std::time::Duration;

    use super::super::Budgets;
    use super::*;
    use crate::health::Origin;
    use crate::mimecast::budget::{Quota, Share};
    use crate::model::{IntegrationId, Timestamp};
    use crate::secret::Fingerprint;

    fn stream() -> StreamId {
        StreamId::new(&IntegrationId::new("acme").unwrap(), "audit", "")
    }

    fn gate(clock: Clock) -> PollGate {
        let purse = Budgets::default().of(&Fingerprint::of(b"key", &["secret"]));
        let status = Status::new(Path::new("/x"), clock.now());
        let tenure = Tenure::unlimited();
        PollGate::new(Arc::new(Semaphore::new(1)), purse, &clock, &status, &tenure)
    }

    fn open() -> PollGate {
        gate(Clock::starting_at(Timestamp::from_millis(0)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_without_holding_up_other_requests() {
        let clock = Clock::starting_at(Timestamp::from_millis(0));
        let gate = gate(clock.clone());
        let path: Arc<str> = "/a".into();
        let share = Share {
            quota: Some(Quota {
                calls: 2,
                window: Duration::from_secs(59),
            }),
            interval: None,
        };
        gate.purse.share(&path, &stream(), share);
        gate.purse.take(&path, &stream(), clock.now()).unwrap();
        let fetch = gate.for_fetch(&stream(), Some(&path));
        drop(fetch.call("/a").await.unwrap());
        drop(fetch.call("/a").await.unwrap());
        assert_eq!(clock.now(), Timestamp::from_millis(0), "the first was paid");
        let waiter = fetch.clone();
        let mut third = Box::pin(async move { waiter.call("/a").await });
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(fetch.pass().await.unwrap());
        drop(fetch.call("/b").await.unwrap());
        drop(third.await.unwrap());
        assert_eq!(clock.now(), Timestamp::from_millis(60_000));
    }

    #[tokio::test]
    async fn a_failure_of_the_credential_shuts_the_gate_for_all_until_it_is_judged() {
        let gate = open();
        let fetch = gate.for_fetch(&stream(), None);
        let first = fetch.pass().await.unwrap();
        let waiter = gate.for_fetch(&stream(), None);
        let mut second = Box::pin(async move { waiter.pass().await });
        assert!(futures_util::poll!(&mut second).is_pending());
        let locked = Failure::new(Origin::Mimecast, 401, "0010", "POST /x");
        fetch.failed(&locked);
        fetch.failed(&locked);
        drop(first);
        assert!(matches!(second.await, Err(FetchError::GateClosed)));
        gate.allow(true);
        let closed = gate.for_fetch(&stream(), None).pass().await;
        assert!(closed.is_err(), "opened before the failure was judged");
        fetch.judged();
        assert!(gate.for_fetch(&stream(), None).pass().await.is_ok());
        gate.allow(false);
        assert!(gate.for_fetch(&stream(), None).pass().await.is_err());
    }

    #[test]
    fn the_last_request_of_a_live_stream_is_told_by_its_id_and_a_replays_is_not() {
        let gate = open();
        for id in ["r1", "r2"] {
            gate.for_fetch(&stream(), None).requested(id);
        }
        gate.for_fetch(&stream().replayed(1), None).requested("r3");
        let told = gate.status.report(Timestamp::from_millis(0));
        let streams = &told.integrations[0].streams;
        let last = streams[0].last_request.as_ref();
        assert_eq!(
            (streams.len(), last.map(|r| r.id.as_str())),
            (1, Some("r2"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_goes_out_for_an_integration_that_is_not_ours_or_whose_lease_is_over() {
        let clock = Clock::starting_at(Timestamp::from_millis(0));
        let tenure = Tenure::leased(clock.clone());
        let gate = PollGate {
            tenure: tenure.clone(),
            ..gate(clock)
        };
        let fetch = gate.for_fetch(&stream(), None);
        let passes = async || {
            let request = fetch.pass().await.is_ok();
            [request, fetch.call("/a").await.is_ok()]
        };
        tenure.extend(Duration::from_secs(7));
        assert_eq!(passes().await, [false; 2]);
        tenure.own(&stream().integration, tenure.term());
        assert_eq!(passes().await, [true; 2]);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(passes().await, [false; 2]);
    }

    #[tokio::test]
    async fn a_failure_of_one_stream_leaves_the_gate_open() {
        let gate = open();
        let fetch = gate.for_fetch(&stream(), None);
        fetch.failed(&Failure::new(Origin::Mimecast, 500, "", "POST /x"));
        assert!(fetch.pass().await.is_ok());
    }
}
