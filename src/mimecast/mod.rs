//! Everything Mimecast, and nothing else: asks once, decodes what came, names the failure.
//!
//! It must not know the store, the outputs, the states of health, or retrying: [`Source::fetch`] tries once.

pub mod auth;
#[cfg(feature = "benches")]
#[doc(hidden)]
pub mod bench;
pub mod budget;
pub mod client;
mod decode;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod link;
pub mod log_types;
mod paging;
mod reply;
#[cfg(test)]
mod testing;

pub use paging::Probed;

use std::future::Future;
use std::time::Duration;

use crate::health::Failure;
use crate::model::{Cursor, Sink, SinkError, StreamId, Timestamp};
use budget::Allowance;
use log_types::Log;

/// One step to be taken on a stream.
#[derive(Clone, Debug)]
pub struct Job {
    /// The stream, which names events and requests.
    pub stream: StreamId,
    /// What is fetched, and how.
    pub log: Log,
    /// Where it stands; `None` before the first poll.
    pub cursor: Option<Cursor>,
    /// Where a first poll begins, by the wall clock.
    pub start: Timestamp,
    /// Where it ends, by the wall clock; `None` for a stream that goes on. Types that cannot be asked for less go beyond it.
    pub until: Option<Timestamp>,
    /// When the poll began that this step belongs to; the same for all its steps, also after a restart.
    pub polled: Timestamp,
    /// The longest slice of time to ask for; types without slices do not look at it.
    pub slice: Duration,
}

/// What a step found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more: the next step may follow at once.
    More,
    /// Nothing more for now.
    CaughtUp,
    /// The slice of time holds too much for one step: nothing was stored, and half of it is to be asked for.
    Halve,
}

/// Why a step ended early.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The vendor or the network said no.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// The store took no more.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The gate was closed before a request went out: another fetch met a failure that concerns this one too.
    #[error("the credential's state has changed")]
    GateClosed,
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// What every request to Mimecast passes, and what hears of every answer. Clones are one gate.
pub trait Gate: Clone + Send + Sync + 'static {
    /// Held while a request is out.
    type Permit: Send;

    /// Waits for a place among the requests that may be out.
    ///
    /// # Errors
    /// [`FetchError::GateClosed`] when no request may go out with this credential now.
    fn pass(&self) -> impl Future<Output = Result<Self::Permit, FetchError>> + Send;

    /// Waits likewise, and for its turn among the calls of the function at `path`, which Mimecast counts.
    ///
    /// # Errors
    /// Those of [`Gate::pass`].
    fn call(&self, path: &str) -> impl Future<Output = Result<Self::Permit, FetchError>> + Send {
        let _ = path;
        self.pass()
    }

    /// Hears how many calls of the function at `path` are left, by an answer of it.
    fn left(&self, path: &str, said: Allowance) {
        let _ = (path, said);
    }

    /// Hears by which id Mimecast's support finds a request that was answered, or that nobody answered.
    fn requested(&self, id: &str) {
        let _ = id;
    }

    /// Hears of a failure the moment it is read, before anyone acts on it. One of the credential is the one that the fetch then ends
    /// with.
    fn failed(&self, failure: &Failure);
}

/// Where events come from: the seam at which tests put scripted ones.
pub trait Source: Send + Sync + 'static {
    /// Takes one step on a stream: lists from the cursor, decodes what came into `sink`, commits it there with the cursor
    /// that stands behind it. One page of files with all its files, or one slice of time with all its pages, is one step.
    ///
    /// Dropping the future loses nothing: what was not committed is fetched again.
    ///
    /// # Errors
    /// The first failure; what was committed before it stays.
    fn fetch<S: Sink, G: Gate>(
        &self,
        job: Job,
        sink: S,
        gate: G,
    ) -> impl Future<Output = Result<Progress, FetchError>> + Send;

    /// Forgets the bearer token, so that the next request gets a new one; nothing for API 1.0.
    fn renew(&self);

    /// Signs from now on with the wall clock moved by `ahead_ms` milliseconds; nothing for API 2.0.
    fn correct_clock(&self, ahead_ms: i64);

    /// By how many milliseconds the server's clock was ahead of ours by its last answer; 0 before the first one.
    fn server_ahead_ms(&self) -> i64 {
        0
    }
}
