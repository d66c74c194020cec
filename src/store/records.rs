//! The small records that sled holds, and what is reported of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Books, Rhythm};
use crate::model::{Cursor, LaneId, OutputId, Position, Timestamp};

/// What is known of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Where the next step begins; `None` before the first commit.
    pub cursor: Option<Cursor>,
    /// Number of the file with the source's side record (`memos/<stream>/<number>`).
    pub memo: Option<u64>,
    /// The latest poll; `None` before the first.
    pub poll: Option<PollRecord>,
    /// By the wall clock, where the first poll begins.
    pub origin: Option<Timestamp>,
    /// Events stored so far.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records put aside so far.
    pub quarantined: u64,
    /// The time of the newest event.
    pub newest: Option<Timestamp>,
    /// What the stream was last set back for, if it was because of damage.
    #[serde(default)]
    pub repair: Option<Repair>,
    /// What must balance; `None` before the first commit that counted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<Books>,
    /// What Mimecast listed before this is fetched, or from before the first poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_until: Option<Timestamp>,
    /// When it has had events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Rhythm>,
    /// What a replay is to fetch again; `None` for a live stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// What is read once more when a stream drains a backlog: files can hold events that are older than those of the files before.
const OUT_OF_ORDER: Duration = Duration::from_secs(3600);

impl StreamRecord {
    /// Since when there may be events at Mimecast that are not fetched; `None` before the first poll. While a backlog drains, the
    /// newest event stored tells how far that is, if it can be believed.
    #[must_use]
    pub fn unfetched_since(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.fetched_until?.min(now);
        let newest = self.newest.filter(|newest| *newest <= now);
        let draining = newest.filter(|_| self.poll.is_some_and(|poll| !poll.done));
        Some(draining.map_or(until, |newest| until.max(newest - OUT_OF_ORDER)))
    }

    /// Notes what the latest poll says of how far everything is fetched. What there was before the first poll is extra.
    pub(super) fn polled(&mut self, poll: &PollRecord) {
        let until = self.fetched_until.get_or_insert(poll.started);
        if poll.done {
            *until = poll.started;
        }
    }
}

/// A span of time to be fetched again, beside the live stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// By the wall clock, the first moment.
    pub from: Timestamp,
    /// The moment behind the last one.
    pub to: Timestamp,
    /// The one output that it is for; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputId>,
    /// A person wants it no more.
    #[serde(default)]
    pub cancelled: bool,
}

/// A part of a lane whose events are all fetched again, because the stream went back to where it stood before the first of them.
///
/// What is fetched again lies behind `to`, though frames before `to` may have been fetched from later places. So as long as something before
/// `to` is not delivered, nobody may go on from what its frame says: only from `cursor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The damage.
    pub from: Position,
    /// Where the lane ended when the stream went back.
    pub to: Position,
    /// Where the stream went back to; `None` is its beginning, which it also is for a version that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// A poll: everything asked from its start until the stream was caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollRecord {
    /// When it began; the interval runs from here.
    pub started: Timestamp,
    /// The latest moment at which a cursor may have been listed: the start of the latest attempt, or the latest commit.
    pub attempted: Timestamp,
    /// Attempts in a row that were cut short.
    pub attempts: u32,
    /// Whether the stream was caught up.
    pub done: bool,
    /// The calls of the stream's resource that were counted then, by all who share it; `None` if none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Calls>,
}

/// The calls of a resource in the window that ended when this was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// When the first of them was made: the window's start.
    pub first: Timestamp,
    /// When the last of them was made.
    pub last: Timestamp,
    /// How many they are.
    pub used: u32,
}

impl PollRecord {
    /// The record as it may be trusted after it was read: a clock that was ahead must not silence a stream until it is reached.
    #[must_use]
    pub fn clamp(self, now: Timestamp) -> Self {
        Self {
            started: self.started.min(now),
            attempted: self.attempted.min(now),
            ..self
        }
    }
}

/// What is known of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Behind the last committed event.
    pub end: Position,
    /// Events appended so far.
    pub events: u64,
    /// In a lane that was found again without its database: where outputs without a position begin, instead of at the end, and
    /// how many events lie before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<(Position, u64)>,
}

/// How far an output is in a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRecord {
    /// Before the next event to be delivered.
    pub position: Position,
    /// Events of the lane that lie before it, counted as [`LaneRecord::events`].
    pub passed: u64,
    /// Events of the lane that lay before it when the output was added; `None` in records of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<u64>,
    /// Events that were stepped over unread, in damaged frames.
    #[serde(default)]
    pub skipped: u64,
    /// Events that the receiver accepted.
    pub accepted: u64,
    /// Events that it refused and that were put aside.
    pub rejected: u64,
    /// Events that it was not offered and that were put aside: too long, or not to be understood where something is to be hidden.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: u64,
    /// Events that it was not offered: its filter drops them, or it does not carry their kind.
    #[serde(default)]
    pub filtered: u64,
    /// Events that it was not offered, because another node of the cluster has delivered them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Records put aside in a file: quarantined by a source, or refused by a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideRecord {
    /// When.
    pub at: Timestamp,
    /// The stream, or the output and the lane.
    pub owner: String,
    /// The file below the state directory.
    pub file: String,
    /// How many records it holds.
    pub records: u64,
    /// Why the first of them is here.
    pub reason: String,
    /// The file that was kept whole with them, below the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// Whether an output was not offered them; else it refused some, or they never were events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    /// When a person had the records sent again; they wait for nobody any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_again: Option<Timestamp>,
}

/// One record to put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The record type or the event's id.
    pub what: String,
    /// Why it is put aside; for a refusal, the receiver's answer.
    pub reason: String,
    /// The record; bytes that are not UTF-8 are replaced.
    pub record: String,
    /// Whether an output was not offered it; else it refused it, or it never was an event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    /// What an event needs besides, to be sent again; `None` for what never was an event.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<AsideEvent>,
}

/// What a refused event needs besides its record, to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideEvent {
    /// When it happened.
    pub time: Timestamp,
    /// The record type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the record is a line of text, not a JSON object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
}

/// The small records as they stand, for status and for the start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Each stream.
    pub streams: BTreeMap<String, StreamRecord>,
    /// Each lane.
    pub lanes: BTreeMap<LaneId, LaneRecord>,
    /// Each output's position in each lane.
    pub positions: BTreeMap<(OutputId, LaneId), PositionRecord>,
    /// Each health state, by subject, as its owner wrote it.
    pub health: BTreeMap<String, serde_json::Value>,
    /// What was put aside, by its number.
    pub asides: BTreeMap<u64, AsideRecord>,
    /// Positions of outputs that the lane does not go to any more: they keep its events on disk until they are forgotten.
    pub left_behind: BTreeSet<(OutputId, LaneId)>,
    /// Bytes of all segments and of the quarantine.
    pub spool_bytes: u64,
}
