//! What nodes tell each other, as the values of keys: who they are, and how far an integration is.
//!
//! ```text
//! PREFIX/cluster              32 hexadecimal digits: the key of fingerprints that all nodes understand
//! PREFIX/nodes/NODE           a Member, under the node's lease
//! PREFIX/owners/INTEGRATION   the node's name, under its lease; the change that created it is the fence
//! PREFIX/shared/INTEGRATION   a Shared, written only together with a look at the fence
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Cursor, IntegrationId, StreamId, Timestamp};
use crate::store::{Left, Portrait, StreamPortrait, StreamState, Undelivered};

/// Bytes of what sources remember, in one value: etcd takes 1.5 MiB in a request. What does not fit is left out, and the next owner
/// delivers the records of one overlap again.
const MEMOS: usize = 512 << 10;

/// The keys of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys below `prefix`.
    #[must_use]
    pub fn below(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
        }
    }

    /// The key of the cluster's own key.
    #[must_use]
    pub fn cluster(&self) -> String {
        format!("{}/cluster", self.prefix)
    }

    /// What the keys of all nodes begin with.
    #[must_use]
    pub fn nodes(&self) -> String {
        format!("{}/nodes/", self.prefix)
    }

    /// What the keys of all owners begin with.
    #[must_use]
    pub fn owners(&self) -> String {
        format!("{}/owners/", self.prefix)
    }

    /// A node's key.
    #[must_use]
    pub fn node(&self, node: &str) -> String {
        format!("{}{node}", self.nodes())
    }

    /// The key of whose an integration is.
    #[must_use]
    pub fn owner(&self, integration: &IntegrationId) -> String {
        format!("{}{integration}", self.owners())
    }

    /// The key of how far an integration is.
    #[must_use]
    pub fn shared(&self, integration: &IntegrationId) -> String {
        format!("{}/shared/{integration}", self.prefix)
    }
}

/// A node, as it tells the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which state directory it uses, so that two nodes of one name are told from one that was restarted.
    pub install: String,
    /// The version of its program.
    pub version: String,
    /// A hash of its integrations and outputs.
    pub config: String,
    /// When it joined.
    pub since: Timestamp,
    /// It hands over all that it owns, and takes nothing.
    pub draining: bool,
}

/// How far an integration is: what has been delivered of it, and what is known of its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Of this form.
    pub version: u32,
    /// The node that wrote it.
    pub node: String,
    /// The fence of the node that wrote it.
    pub fence: u64,
    /// When it was written, by the clock of that node.
    pub at: Timestamp,
    /// The node has given up the integration in order, and has asked nothing since.
    pub released: bool,
    /// Each stream, by log and event type.
    pub streams: BTreeMap<String, SharedStream>,
    /// The states of its health, by subject.
    pub health: BTreeMap<String, Value>,
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedStream {
    /// Before the oldest event that is not delivered.
    #[serde(flatten)]
    pub state: StreamState,
    /// What its source remembers besides the cursor, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    /// Under this fence it was caught up once, and all that it had then is delivered. So whatever a former owner still has of it on disk is
    /// delivered too.
    #[serde(default)]
    pub covered: bool,
}

/// What is found on disk besides a [`Portrait`], for streams that need it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The cursor that the oldest frame with undelivered events was fetched from; missing where no frame can be read.
    pub fetched_from: BTreeMap<StreamId, Option<Cursor>>,
    /// What the source remembers, as [`memo_text`] writes it, of a stream of which nothing is undelivered; missing if it has changed meanwhile.
    pub memos: BTreeMap<StreamId, String>,
}

impl Found {
    /// Where another node would have to begin to miss nothing of what waits; the outer `None` if that cannot be said.
    fn goes_on_from<'a>(
        &'a self,
        id: &StreamId,
        waiting: &'a Undelivered,
    ) -> Option<&'a Option<Cursor>> {
        let repair = waiting.repair.as_ref();
        let set_back = repair.map(|repair| &repair.cursor);
        set_back.or_else(|| self.fetched_from.get(id))
    }
}

/// Who writes a [`Shared`].
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its fence.
    pub fence: u64,
    /// When it took the integration up.
    pub taken: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// What a source remembers, as text.
#[must_use]
pub fn memo_text(memo: &[u8]) -> String {
    STANDARD.encode(memo)
}

impl Shared {
    /// Of the form.
    pub const VERSION: u32 = 1;

    /// How far an integration is, of which `portrait` is where it stands on this node, and `before` what was last shared of it.
    #[must_use]
    pub fn of(
        portrait: &Portrait,
        found: &Found,
        before: Option<&Self>,
        writer: Writer<'_>,
    ) -> Self {
        let mut room = MEMOS;
        let mut streams = BTreeMap::new();
        for (id, stream) in &portrait.streams {
            let name = id.log_and_type();
            let last = before.and_then(|before| before.streams.get(&name));
            let mut shared = SharedStream::of(id, stream, found, last);
            let is_ours = before.is_some_and(|before| before.fence == writer.fence);
            shared.covered = is_ours && last.is_some_and(|last| last.covered)
                || stream.is_delivered_after(writer.taken);
            let bytes = shared.memo.as_ref().map_or(0, String::len);
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => shared.memo = None,
            }
            streams.insert(name, shared);
        }
        Self {
            version: Self::VERSION,
            node: writer.node.to_owned(),
            fence: writer.fence,
            at: writer.now,
            released: false,
            streams,
            health: portrait.health.clone(),
        }
    }

    /// Whether it says the same as another one that was written at another time.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        Self {
            at: other.at,
            ..self.clone()
        } == *other
    }

    /// What a node takes up.
    #[must_use]
    pub fn left(&self, integration: &IntegrationId) -> Left {
        let stream = |(name, shared): (&String, &SharedStream)| {
            let id = StreamId::parse(&format!("{integration}/{name}"))?;
            let memo = shared.memo.as_ref();
            let memo = memo.and_then(|memo| STANDARD.decode(memo).ok());
            Some((id, (shared.state.clone(), memo)))
        };
        Left {
            streams: self.streams.iter().filter_map(stream).collect(),
            health: self.health.clone(),
        }
    }

    /// Whether what a node still has of a stream, which it took up under `fence`, is delivered by others.
    #[must_use]
    pub fn covers(&self, stream: &StreamId, fence: Option<u64>) -> bool {
        if self.fence <= fence.unwrap_or(0) {
            return false;
        }
        match self.streams.get(&stream.log_and_type()) {
            Some(shared) => shared.covered,
            // A replay is forgotten when it is delivered, or not wanted any more.
            None => stream.replay.is_some(),
        }
    }
}

impl SharedStream {
    fn of(id: &StreamId, stream: &StreamPortrait, found: &Found, last: Option<&Self>) -> Self {
        let state = stream.state.clone();
        let memo = found.memos.get(id);
        match (&stream.undelivered, stream.memo, memo) {
            (None, None, _) => Self::new(state, None),
            (None, Some(_), Some(memo)) => Self::new(state, Some(memo.clone())),
            // The cursor has moved on while we looked: the next look will tell.
            (None, Some(_), None) => Self::back_to(last, state),
            (Some(waiting), _, _) => match found.goes_on_from(id, waiting) {
                Some(cursor) => {
                    let last = last.cloned().unwrap_or_default();
                    let memo = last.memo.filter(|_| last.state.cursor == *cursor);
                    Self::new(set_back(state, &last.state, cursor.clone()), memo)
                }
                None => Self::back_to(last, state),
            },
        }
    }

    const fn new(state: StreamState, memo: Option<String>) -> Self {
        Self {
            state,
            memo,
            covered: false,
        }
    }

    /// The place that was shared last, or the beginning.
    fn back_to(last: Option<&Self>, state: StreamState) -> Self {
        let last = last.cloned().unwrap_or_default();
        let cursor = last.state.cursor.clone();
        Self::new(set_back(state, &last.state, cursor), last.memo)
    }
}

impl Default for SharedStream {
    fn default() -> Self {
        Self::new(StreamState::default(), None)
    }
}

/// A stream at an earlier cursor: what says how far it is must not say more than was delivered.
fn set_back(state: StreamState, last: &StreamState, cursor: Option<Cursor>) -> StreamState {
    let is_replay = state.replay.is_some();
    StreamState {
        cursor,
        newest: last.newest,
        fetched_until: last.fetched_until,
        // A replay that is caught up is asked no more.
        poll: state.poll.filter(|_| !is_replay),
        ..state
    }
}

impl StreamPortrait {
    /// Whether the stream was caught up by a poll that began after `taken`, and nothing of it waits for an output.
    fn is_delivered_after(&self, taken: Timestamp) -> bool {
        let poll = self.state.poll.filter(|poll| poll.done);
        // A poll that is only assumed, because a former owner may have asked, begins with the takeover and not after it.
        self.undelivered.is_none() && poll.is_some_and(|poll| poll.started > taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{OutputId, Position};
    use crate::store::{PollRecord, Repair, Replay};

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);
    const MINUTE: Duration = Duration::from_mins(1);

    fn acme() -> IntegrationId {
        IntegrationId::new("acme").unwrap()
    }

    fn id() -> StreamId {
        StreamId::new(&acme(), "siem-cg", "receipt")
    }

    fn cursor(text: &str) -> Option<Cursor> {
        Some(Cursor::new(text.to_owned()).unwrap())
    }

    fn waiting() -> Option<Undelivered> {
        Some(Undelivered {
            output: OutputId::new("splunk").unwrap(),
            at: Position::start_of(3),
            events: 7,
            repair: None,
        })
    }

    fn portrait(at: &str, memo: Option<u64>, undelivered: Option<Undelivered>) -> Portrait {
        let state = StreamState {
            cursor: cursor(at),
            newest: Some(NOW),
            fetched_until: Some(NOW),
            poll: Some(PollRecord {
                started: NOW,
                attempted: NOW,
                attempts: 0,
                done: true,
                calls: None,
            }),
            ..StreamState::default()
        };
        let stream = StreamPortrait {
            state,
            memo,
            undelivered,
        };
        Portrait {
            fence: Some(5),
            streams: BTreeMap::from([(id(), stream)]),
            health: BTreeMap::new(),
        }
    }

    fn shared(
        portrait: &Portrait,
        found: &Found,
        before: Option<&Shared>,
        taken: Timestamp,
    ) -> Shared {
        let writer = Writer {
            node: "a",
            fence: 5,
            taken,
            now: NOW,
        };
        Shared::of(portrait, found, before, writer)
    }

    fn remembered(memo: &[u8]) -> Found {
        Found {
            memos: BTreeMap::from([(id(), memo_text(memo))]),
            ..Found::default()
        }
    }

    #[test]
    fn what_was_set_back_is_shared_from_there_and_not_from_what_waits() {
        let repair = Repair {
            from: Position::start_of(2),
            to: Position::start_of(4),
            cursor: cursor("c1"),
        };
        let waiting = waiting().map(|waiting| Undelivered {
            repair: Some(repair),
            ..waiting
        });
        let found = Found {
            fetched_from: BTreeMap::from([(id(), cursor("c2"))]),
            ..Found::default()
        };
        let shared = shared(&portrait("c1", None, waiting), &found, None, NOW);
        let stream = &shared.streams["siem-cg/receipt"];
        assert_eq!(stream.state.cursor, cursor("c1"));
    }

    #[test]
    fn what_is_shared_trails_what_is_delivered() {
        let delivered = shared(
            &portrait("c1", Some(1), None),
            &remembered(b"m1"),
            None,
            NOW - MINUTE,
        );
        let first = &delivered.streams["siem-cg/receipt"];
        assert_eq!(
            (first.state.cursor.clone(), first.covered),
            (cursor("c1"), true)
        );
        // More was fetched, from c1 on, and waits.
        let found = Found {
            fetched_from: BTreeMap::from([(id(), cursor("c1"))]),
            ..Found::default()
        };
        let mut ahead = portrait("c3", Some(3), waiting());
        let later = NOW + MINUTE;
        let stream = ahead.streams.get_mut(&id()).unwrap();
        (stream.state.newest, stream.state.fetched_until) = (Some(later), Some(later));
        let behind = shared(&ahead, &found, Some(&delivered), NOW - MINUTE);
        let second = &behind.streams["siem-cg/receipt"];
        assert_eq!(
            second.state, first.state,
            "no word of what is not delivered"
        );
        assert_eq!(second.memo, first.memo, "which belongs to c1");
        assert!(second.covered, "what is true once stays true");
        // What waits is from c2 on: the memo of c1 does not belong to it.
        let found = Found {
            fetched_from: BTreeMap::from([(id(), cursor("c2"))]),
            ..Found::default()
        };
        let between = shared(&ahead, &found, Some(&delivered), NOW);
        let third = &between.streams["siem-cg/receipt"];
        assert_eq!(
            (third.state.cursor.clone(), &third.memo),
            (cursor("c2"), &None)
        );
        // No frame can be read there: what was shared holds.
        let lost = shared(&ahead, &Found::default(), Some(&delivered), NOW);
        assert_eq!(lost.streams["siem-cg/receipt"].state.cursor, cursor("c1"));
    }

    #[test]
    fn a_cursor_is_not_shared_without_the_memo_that_belongs_to_it() {
        let first = shared(
            &portrait("c1", Some(1), None),
            &remembered(b"m1"),
            None,
            NOW,
        );
        let moved = shared(
            &portrait("c2", Some(2), None),
            &Found::default(),
            Some(&first),
            NOW,
        );
        let stream = &moved.streams["siem-cg/receipt"];
        assert_eq!(stream.state.cursor, cursor("c1"));
        assert_eq!(stream.memo.as_deref(), Some("bTE="));
        let left = moved.left(&acme());
        assert_eq!(left.streams[&id()].1.as_deref(), Some(&b"m1"[..]));
        // One that is too large for the registry is left out; the records of an overlap come twice then.
        let large = shared(
            &portrait("c2", Some(2), None),
            &remembered(&[0; MEMOS]),
            None,
            NOW,
        );
        let stream = &large.streams["siem-cg/receipt"];
        assert_eq!(
            (stream.state.cursor.clone(), &stream.memo),
            (cursor("c2"), &None)
        );
    }

    #[test]
    fn a_former_owners_spool_is_covered_once_a_poll_after_the_takeover_is_delivered() {
        let taken = NOW + MINUTE;
        let before = shared(&portrait("c1", None, None), &Found::default(), None, taken);
        assert!(
            !before.covers(&id(), Some(4)),
            "its last poll was before the takeover"
        );
        let assumed = shared(
            &portrait("c1", None, None),
            &Found::default(),
            Some(&before),
            NOW,
        );
        assert!(
            !assumed.covers(&id(), Some(4)),
            "it began with the takeover, so it may never have been"
        );
        let after = shared(
            &portrait("c1", None, None),
            &Found::default(),
            Some(&before),
            NOW - MINUTE,
        );
        assert!(after.covers(&id(), Some(4)) && after.covers(&id(), None));
        assert!(!after.covers(&id(), Some(5)), "it is the same owner's");
        let waits = shared(
            &portrait("c1", None, waiting()),
            &Found::default(),
            None,
            NOW - MINUTE,
        );
        assert!(
            !waits.covers(&id(), Some(4)),
            "some of it waits for an output"
        );
        // What another owner was sure of says nothing of this one.
        let other = Shared { fence: 4, ..after };
        let next = shared(
            &portrait("c1", None, waiting()),
            &Found::default(),
            Some(&other),
            NOW - MINUTE,
        );
        assert!(!next.covers(&id(), Some(3)));
    }

    #[test]
    fn a_replay_that_is_caught_up_and_not_delivered_is_asked_again_by_the_next_owner() {
        let replay = id().replayed(7);
        let mut portrait = portrait("end", None, waiting());
        let mut stream = portrait.streams.remove(&id()).unwrap();
        stream.state.replay = Some(Replay {
            from: NOW,
            to: NOW,
            output: None,
            cancelled: false,
        });
        portrait.streams.insert(replay.clone(), stream);
        let found = Found {
            fetched_from: BTreeMap::from([(replay.clone(), None)]),
            ..Found::default()
        };
        let left = shared(&portrait, &found, None, NOW).left(&acme());
        let (state, _) = &left.streams[&replay];
        assert_eq!((state.poll, &state.cursor), (None, &None));
        let gone = shared(&Portrait::default(), &found, None, NOW);
        assert!(
            gone.covers(&replay, Some(4)),
            "it is forgotten when it is delivered"
        );
        assert!(!gone.covers(&id(), Some(4)));
    }

    #[test]
    fn what_is_shared_is_read_back() {
        let written = shared(
            &portrait("c1", Some(1), None),
            &remembered(b"m1"),
            None,
            NOW,
        );
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Shared>(&text).unwrap(), written);
        let later = Shared {
            at: NOW + MINUTE,
            ..written.clone()
        };
        assert!(later.says_the_same_as(&written));
        assert!(
            !Shared {
                released: true,
                ..later
            }
            .says_the_same_as(&written)
        );
    }
}
