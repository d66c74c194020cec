//! What the store can be asked for: one variant a question, each with the way to its answer.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::dead::Again;
use super::forget::{Forget, Forgotten};
use super::handover::Handover;
use super::lane::{Appended, Opened};
use super::{
    Ack, AsideRecord, Asked, Detour, Notice, Portable, Replay, Snapshot, StoreError, StreamRecord,
};
use crate::model::{Cursor, LaneId, Position, Route, StreamId, Timestamp};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the store is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Stream {
        stream: StreamId,
        reply: Reply<StreamRecord>,
    },
    Open {
        lane: LaneId,
        stream: StreamId,
        reply: Reply<Opened>,
    },
    Commit {
        part: Box<Appended>,
        reply: Reply<()>,
    },
    Asked {
        polls: Vec<Asked>,
        reply: Reply<()>,
    },
    Reset {
        stream: StreamId,
        cursor: Option<Cursor>,
        origin: Option<Timestamp>,
        reply: Reply<()>,
    },
    Health {
        subject: String,
        state: serde_json::Value,
        notice: Option<Notice>,
        reply: Reply<()>,
    },
    /// Nobody waits for it.
    Failure {
        line: String,
    },
    Heartbeat {
        of: String,
        notice: Notice,
        reply: Reply<()>,
    },
    Route {
        routes: Vec<Route>,
        reply: Reply<()>,
    },
    Forget {
        what: Forget,
        reply: Reply<Forgotten>,
    },
    Again {
        number: u64,
        events: Vec<Again>,
        reply: Reply<bool>,
    },
    Discard {
        number: u64,
        reply: Reply<Option<AsideRecord>>,
    },
    Ack {
        ack: Ack,
        aside: Option<AsideRecord>,
        reply: Reply<()>,
    },
    Damaged {
        lane: LaneId,
        at: Position,
        reason: String,
        reply: Reply<Detour>,
    },
    Replay {
        streams: Vec<(StreamId, Replay)>,
        reply: Reply<()>,
    },
    ForgetReplay {
        stream: StreamId,
        reply: Reply<bool>,
    },
    Snapshot {
        reply: Reply<Snapshot>,
    },
    DeliveredUntil {
        reply: Reply<BTreeMap<String, Option<Cursor>>>,
    },
    Restore {
        portable: Box<Portable>,
        reply: Reply<()>,
    },
    Handover(Handover),
}
