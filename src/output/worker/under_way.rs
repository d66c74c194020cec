//! What a worker has set going and waits for: attempts, commits, and one task that hears of confirmations.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::window::Ticket;
use crate::clock::Clock;
use crate::model::{LaneId, Timestamp};
use crate::output::{Batch, Delivery, Output, Receipt, Verdict};
use crate::store::{Ack, Chunk, Store, StoreError};

/// The tasks of a worker; they end with it.
#[derive(Debug)]
pub(super) struct UnderWay {
    attempts: JoinSet<Attempted>,
    commits: JoinSet<Committed>,
    confirmations: JoinSet<Vec<(Receipt, Verdict)>>,
}

/// An attempt with its end.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) ticket: Ticket,
    /// Where the batch was read, without its records.
    pub(super) chunk: Chunk,
    pub(super) batch: Batch,
    pub(super) delivery: Delivery,
}

/// A commit with its end.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) lane: LaneId,
    /// The latest attempt that is part of it.
    pub(super) ticket: Ticket,
    pub(super) result: Result<(), StoreError>,
}

/// Something has ended.
#[derive(Debug)]
pub(super) enum Ended {
    Attempt(Box<Attempted>),
    Confirmation(Vec<(Receipt, Verdict)>),
    Commit(Committed),
}

impl UnderWay {
    pub(super) fn new() -> Self {
        Self {
            attempts: JoinSet::new(),
            commits: JoinSet::new(),
            confirmations: JoinSet::new(),
        }
    }

    /// Attempts and commits.
    pub(super) fn len(&self) -> usize {
        self.attempts.len() + self.commits.len()
    }

    /// Whether a verdict may still be about a delivery that has not ended.
    pub(super) fn is_offering(&self) -> bool {
        !self.attempts.is_empty()
    }

    pub(super) fn offer<O: Output>(
        &mut self,
        output: &Arc<O>,
        ticket: Ticket,
        chunk: Chunk,
        batch: Batch,
    ) {
        let output = Arc::clone(output);
        self.attempts.spawn(async move {
            let delivery = output.deliver(&batch).await;
            Attempted {
                ticket,
                chunk,
                batch,
                delivery,
            }
        });
    }

    pub(super) fn commit(&mut self, store: &Store, ticket: Ticket, ack: Ack) {
        let (store, lane) = (store.clone(), ack.lane.clone());
        self.commits.spawn(async move {
            let result = store.ack(ack).await;
            Committed {
                lane,
                ticket,
                result,
            }
        });
    }

    /// Listens for confirmations. The task is not dropped before it has some: they might be lost with it.
    pub(super) fn listen<O: Output>(&mut self, output: &Arc<O>, clock: &Clock) {
        if self.confirmations.is_empty() {
            let (output, clock) = (Arc::clone(output), clock.clone());
            self.confirmations
                .spawn(async move { output.confirmations(&clock).await });
        }
    }

    /// Waits for the end of something; `None` when the time has come first. Dropping it loses nothing.
    pub(super) async fn ended(&mut self, clock: &Clock, until: Option<Timestamp>) -> Option<Ended> {
        let sleep = async {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(ended) = self.attempts.join_next() => attempt(ended),
            Some(ended) = self.confirmations.join_next() => confirmation(ended),
            Some(ended) = self.commits.join_next() => commit(ended),
            () = sleep => None,
        }
    }

    /// What has ended by now, if anything.
    pub(super) fn ended_by_now(&mut self) -> Option<Ended> {
        if let Some(ended) = self.attempts.try_join_next() {
            return attempt(ended);
        }
        if let Some(ended) = self.confirmations.try_join_next() {
            return confirmation(ended);
        }
        self.commits.try_join_next().and_then(commit)
    }
}

fn attempt(ended: Result<Attempted, JoinError>) -> Option<Ended> {
    joined(ended).map(|attempted| Ended::Attempt(Box::new(attempted)))
}

fn confirmation(ended: Result<Vec<(Receipt, Verdict)>, JoinError>) -> Option<Ended> {
    joined(ended).map(Ended::Confirmation)
}

fn commit(ended: Result<Committed, JoinError>) -> Option<Ended> {
    joined(ended).map(Ended::Commit)
}

/// What a task came to; a panic in it is one here, and only the end of the runtime cancels one.
fn joined<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
