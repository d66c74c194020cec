//! What became of a batch.
//!
//! | `accepted`, `rejected`, `failure` | What the worker does |
//! | --- | --- |
//! | all events, –, – | moves its position past the batch |
//! | the first k, –, – | moves past k and offers the rest at once: the output took as many as fit |
//! | the first k, –, some | moves past k, takes the failure to `health`, offers the rest when that allows |
//! | 0, some indices, – | puts these aside and offers all others again, without them |
//! | 0, –, some with `split` | offers the halves at once: the receiver is well, the batch is not |
//!
//! With `pending` the first k events were only sent: they are passed when [`Output::confirmations`](super::Output::confirmations) has said
//! that they were taken, and offered again when it says that they are lost.

use crate::health::Failure;

/// What became of a batch. Events that are neither accepted nor rejected are still the worker's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// How many events, from the front of the batch, the receiver has taken responsibility for.
    pub accepted: usize,
    /// Events that the receiver will never take, to be put aside. Those before `accepted` count as passed.
    pub rejected: Vec<Rejection>,
    /// Why the rest was not accepted.
    pub failure: Option<Failure>,
    /// Whether the failure is the batch's, not the receiver's: its halves may do. Never set for a single event.
    pub split: bool,
    /// How many of the accepted events the receiver was not offered, because the output's filter drops them.
    pub filtered: usize,
    /// By what the accepted events will be confirmed; `None` if they are accepted for good.
    pub pending: Option<Receipt>,
}

/// The name of a batch that awaits its confirmation; an output gives each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// What the receiver has decided about a batch that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has taken responsibility.
    Accepted,
    /// It has not, or nobody will ever know: the events are sent again.
    Lost(Failure),
}

/// An event that the receiver will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which event of the batch, from 0.
    pub index: usize,
    /// What the receiver said, for people; at most 500 bytes.
    pub reason: String,
    /// Who says that it will not be taken.
    pub judge: Judge,
}

/// Who has decided that an event is put aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judge {
    /// The receiver: it was offered the event, and refused it.
    #[default]
    Receiver,
    /// The collector: by the output's settings the event is not to be offered.
    Collector,
}

impl Delivery {
    /// The first `events` were accepted, and nothing failed.
    #[must_use]
    pub fn accepted(events: usize) -> Self {
        Self {
            accepted: events,
            ..Self::default()
        }
    }

    /// The first `events` were sent, to be confirmed by the receipt.
    #[must_use]
    pub fn pending(events: usize, receipt: Receipt) -> Self {
        Self {
            pending: Some(receipt),
            ..Self::accepted(events)
        }
    }

    /// Nothing was accepted.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::cut_short(0, failure)
    }

    /// The first `events` were accepted, then the receiver failed.
    #[must_use]
    pub fn cut_short(events: usize, failure: Failure) -> Self {
        Self {
            accepted: events,
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// One event is at fault, and because of it none was accepted.
    #[must_use]
    pub fn rejected(index: usize, reason: String) -> Self {
        Self {
            rejected: vec![Rejection {
                index,
                reason,
                judge: Judge::Receiver,
            }],
            ..Self::default()
        }
    }

    /// These events are not offered, and because of them none was.
    #[must_use]
    pub fn withheld(rejected: Vec<Rejection>) -> Self {
        Self {
            rejected,
            ..Self::default()
        }
    }

    /// Nothing was accepted, but halves of the batch may be.
    #[must_use]
    pub fn split(failure: Failure) -> Self {
        Self {
            split: true,
            ..Self::failed(failure)
        }
    }
}
