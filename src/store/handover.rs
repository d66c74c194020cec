//! What another node needs to go on with an integration, and taking up what another node has left.
//!
//! What is shown trails delivery: where something waits for an output, another node would have to begin before it, so the cursor is the one
//! that the oldest such frame was fetched from. What is taken up is one transaction, with the fence under which it was; a crash on the way
//! leaves what was there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::{Command, Reply};
use super::outbox::Outbox;
use super::transaction::{After, Changed, Engine, answer};
use super::{
    PollRecord, Repair, Replay, Rhythm, Store, StoreError, StreamRecord, blocking, files, segment,
};
use crate::model::{Cursor, IntegrationId, LaneId, OutputId, Position, StreamId, Timestamp};

/// A stream as one node can give it to another: no counts, which are each node's own, and no places on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Where the next step begins; `None` before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The latest poll; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollRecord>,
    /// By the wall clock, where the first poll begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Timestamp>,
    /// The time of the newest event before the cursor, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// What Mimecast listed before this is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_until: Option<Timestamp>,
    /// When it has had events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Rhythm>,
    /// What a replay is to fetch again; `None` for a live stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

impl From<&StreamRecord> for StreamState {
    fn from(record: &StreamRecord) -> Self {
        Self {
            cursor: record.cursor.clone(),
            poll: record.poll,
            origin: record.origin,
            newest: record.newest,
            fetched_until: record.fetched_until,
            rhythm: record.rhythm,
            replay: record.replay.clone(),
        }
    }
}

/// The oldest event of a lane that an output of the configuration has not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The output that is farthest behind.
    pub output: OutputId,
    /// Before the event.
    pub at: Position,
    /// Events that wait for that output.
    pub events: u64,
    /// What the stream was set back for, if what is fetched again for it lies behind the event: another node would have to begin there.
    pub repair: Option<Repair>,
}

/// A stream as it stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPortrait {
    /// Where it stands, whatever waits for outputs.
    pub state: StreamState,
    /// The number of its memo file.
    pub memo: Option<u64>,
    /// What waits for outputs, if anything.
    pub undelivered: Option<Undelivered>,
}

/// An integration as it stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portrait {
    /// Under which it was taken up here last; `None` if it never was.
    pub fence: Option<u64>,
    /// Each stream of it, also those of replays.
    pub streams: BTreeMap<StreamId, StreamPortrait>,
    /// The states of its health, by subject.
    pub health: BTreeMap<String, Value>,
}

/// An integration as another node has left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Each stream, with what its source remembers besides the cursor.
    pub streams: BTreeMap<StreamId, (StreamState, Option<Vec<u8>>)>,
    /// The states of its health, by subject.
    pub health: BTreeMap<String, Value>,
}

/// What the store is asked for, each with the way to its answer.
#[derive(Debug)]
pub(super) enum Handover {
    Portraits {
        integrations: Vec<IntegrationId>,
        reply: Reply<BTreeMap<IntegrationId, Portrait>>,
    },
    TakeUp {
        integration: IntegrationId,
        fence: u64,
        left: Option<Left>,
        /// The files that hold what sources remember.
        memos: BTreeMap<StreamId, u64>,
        reply: Reply<()>,
    },
    PassOver {
        lane: LaneId,
        reply: Reply<u64>,
    },
}

/// The record under which a fence is kept.
#[derive(Serialize, Deserialize)]
struct Taken {
    fence: u64,
}

/// The name of that record, among the states of health.
pub(super) fn taken_key(integration: &IntegrationId) -> String {
    format!("taken {integration}")
}

/// Whether the state of this subject goes with the integration: its credential's, its resources', its streams', and the pause of it.
fn goes_with(subject: &str, integration: &IntegrationId) -> bool {
    let Some((kind, rest)) = subject.split_once(' ') else {
        return false;
    };
    let rest = match kind {
        "credential" | "resource" | "stream" => rest,
        "pause" => rest.strip_prefix("integration ").unwrap_or_default(),
        "watch" => rest.split_once(' ').map_or("", |(_, of)| of),
        _ => return false,
    };
    let after = rest.strip_prefix(integration.as_str());
    after.is_some_and(|after| after.is_empty() || after.starts_with(['/', ' ']))
}

impl Portrait {
    /// The streams of which something waits for an output.
    pub fn waiting(&self) -> impl Iterator<Item = (&StreamId, &Undelivered)> {
        let streams = self.streams.iter();
        streams.filter_map(|(id, stream)| Some((id, stream.undelivered.as_ref()?)))
    }

    /// Whether nothing waits for an output.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.waiting().next().is_none()
    }
}

impl Store {
    /// How integrations stand, all at one moment.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn portraits(
        &self,
        integrations: Vec<IntegrationId>,
    ) -> Result<BTreeMap<IntegrationId, Portrait>, StoreError> {
        self.ask(|reply| {
            Command::Handover(Handover::Portraits {
                integrations,
                reply,
            })
        })
        .await
    }

    /// The cursor that the frame at a place of a lane was fetched from; the outer `None` if no frame can be read there.
    pub async fn fetched_from(&self, lane: &LaneId, at: Position) -> Option<Option<Cursor>> {
        let (outbox, lane) = (self.outbox().clone(), lane.clone());
        let look = move || Ok(outbox.fetched_from(&lane, at));
        blocking(look).await.ok().flatten()
    }

    /// What the source of a stream remembers besides its cursor; `None` if that has changed meanwhile.
    pub async fn memo(&self, stream: &StreamId, number: u64) -> Option<Vec<u8>> {
        let path = self.memo_path(stream, number);
        blocking(move || Ok(files::read_whole(&path)))
            .await
            .ok()
            .flatten()
    }

    /// Takes up an integration under a fence: as another node has left it, or as it stands here.
    ///
    /// It must not be polled. A step that was given up and still decodes is waited for.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or the disk's; then nothing has changed.
    pub async fn take_up(
        &self,
        integration: &IntegrationId,
        fence: u64,
        left: Option<Left>,
    ) -> Result<(), StoreError> {
        let mut memos = BTreeMap::new();
        for (stream, (_, memo)) in left.iter().flat_map(|left| &left.streams) {
            // Nobody else writes to the stream's files from here on.
            drop(self.writer(stream).await?);
            if let Some(memo) = memo.clone() {
                let known = self.stream(stream).await?.memo;
                let number = known.map_or(1, |number| number + 1);
                let path = self.memo_path(stream, number);
                blocking(move || files::write_whole(&path, &memo)).await?;
                memos.insert(stream.clone(), number);
            }
        }
        let integration = integration.clone();
        self.ask(|reply| {
            Command::Handover(Handover::TakeUp {
                integration,
                fence,
                left,
                memos,
                reply,
            })
        })
        .await
    }

    /// Passes over all that a lane has, because another node has delivered it; answers how many events that are, counted for each output.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn pass_over(&self, lane: &LaneId) -> Result<u64, StoreError> {
        let lane = lane.clone();
        self.ask(|reply| Command::Handover(Handover::PassOver { lane, reply }))
            .await
    }

    fn memo_path(&self, stream: &StreamId, number: u64) -> std::path::PathBuf {
        let folder = self.root.join("memos");
        let folder = folder.join(LaneId::stream(stream).folder());
        folder.join(format!("{number}.memo"))
    }
}

impl Outbox {
    /// The cursor that the frame at `at` was fetched from; the outer `None` at the lane's end, and where no frame can be read.
    fn fetched_from(&self, lane: &LaneId, at: Position) -> Option<Option<Cursor>> {
        let view = self.lock().get(lane).cloned()?;
        // A position may stand behind a segment's last frame, and before segments that are gone.
        let at = match view.len_of(at.segment) {
            Some(len) if at.offset < len => at,
            Some(_) | None => {
                let (&next, _) = view.segments.range(at.segment + 1..).next()?;
                Position::start_of(next)
            }
        };
        let file = self.open(lane, at.segment).ok()?;
        let len = view.len_of(at.segment)?;
        let header = segment::read_header(&file, at.offset, len).ok()??.ok()?;
        Some(header.before)
    }
}

impl Engine {
    pub(super) fn handover(&mut self, ask: Handover, changed: &mut BTreeSet<Changed>) -> After {
        match ask {
            Handover::Portraits {
                integrations,
                reply,
            } => {
                let portrait = |id: IntegrationId| {
                    let portrait = self.portrait(&id);
                    (id, portrait)
                };
                answer(reply, Ok(integrations.into_iter().map(portrait).collect()))
            }
            Handover::TakeUp {
                integration,
                fence,
                left,
                memos,
                reply,
            } => {
                self.take_up(&integration, fence, left, memos, changed);
                answer(reply, Ok(()))
            }
            Handover::PassOver { lane, reply } => {
                let passed = self.pass_over(&lane, changed);
                answer(reply, Ok(passed))
            }
        }
    }

    fn portrait(&self, integration: &IntegrationId) -> Portrait {
        let taken = self.records.health.get(&taken_key(integration));
        let taken = taken.and_then(|taken| Taken::deserialize(taken).ok());
        let streams = self.records.streams.range(format!("{integration}/")..);
        let streams = streams.map_while(|(key, record)| {
            let stream =
                StreamId::parse(key).filter(|stream| stream.integration == *integration)?;
            let portrait = StreamPortrait {
                state: StreamState::from(record),
                memo: record.memo,
                undelivered: self.undelivered(&LaneId::stream(&stream)),
            };
            Some((stream, portrait))
        });
        let health = self.records.health.iter();
        let health = health.filter(|(subject, _)| goes_with(subject, integration));
        Portrait {
            fence: taken.map(|taken| taken.fence),
            streams: streams.collect(),
            health: health
                .map(|(key, state)| (key.clone(), state.clone()))
                .collect(),
        }
    }

    /// Outputs that the configuration has no more, or that the lane does not go to any more, hold nothing up.
    fn undelivered(&self, id: &LaneId) -> Option<Undelivered> {
        let lane = self.records.lanes.get(id)?;
        let behind = lane.positions.iter();
        let behind = behind
            .filter(|(output, at)| at.position < lane.record.end && self.still_goes(id, output));
        let (output, at) = behind.min_by_key(|(_, at)| at.position)?;
        Some(Undelivered {
            output: output.clone(),
            at: at.position,
            events: lane.record.events.saturating_sub(at.passed),
            repair: self.repair_ahead(id, at.position),
        })
    }

    fn take_up(
        &mut self,
        integration: &IntegrationId,
        fence: u64,
        left: Option<Left>,
        mut memos: BTreeMap<StreamId, u64>,
        changed: &mut BTreeSet<Changed>,
    ) {
        if let Some(left) = left {
            self.give_up_replays(integration, &left, changed);
            for (stream, (state, _)) in left.streams {
                let memo = memos.remove(&stream);
                self.take_up_stream(&stream, state, memo, changed);
            }
            let health = self.records.health.keys();
            let old = health.filter(|subject| goes_with(subject, integration));
            for subject in old.cloned().collect::<Vec<_>>() {
                self.records.health.remove(&subject);
                changed.insert(Changed::Health(subject));
            }
            for (subject, state) in left.health {
                changed.insert(Changed::Health(subject.clone()));
                self.records.health.insert(subject, state);
            }
        }
        let key = taken_key(integration);
        changed.insert(Changed::Health(key.clone()));
        let taken = serde_json::json!(Taken { fence });
        self.records.health.insert(key, taken);
    }

    /// A replay that the other node does not have any more is over.
    fn give_up_replays(
        &mut self,
        integration: &IntegrationId,
        left: &Left,
        changed: &mut BTreeSet<Changed>,
    ) {
        let portrait = self.portrait(integration);
        let replays = portrait.streams.into_keys();
        let gone =
            replays.filter(|stream| stream.replay.is_some() && !left.streams.contains_key(stream));
        for stream in gone {
            if let Some(replay) = self.stream(&stream, changed).replay.as_mut() {
                replay.cancelled = true;
            }
            self.forget_replay(&stream, changed);
        }
    }

    fn take_up_stream(
        &mut self,
        stream: &StreamId,
        state: StreamState,
        memo: Option<u64>,
        changed: &mut BTreeSet<Changed>,
    ) {
        let repair = self.fetched_again(stream, state.cursor.clone());
        let record = self.stream(stream, changed);
        if record.cursor != state.cursor
            && let Some(books) = &mut record.books
        {
            books.go_back();
        }
        let StreamState {
            cursor,
            poll,
            origin,
            newest,
            fetched_until,
            rhythm,
            replay,
        } = state;
        record.cursor = cursor;
        record.memo = memo;
        record.poll = poll;
        record.origin = origin;
        record.newest = newest;
        record.fetched_until = fetched_until;
        record.rhythm = rhythm;
        record.replay = replay;
        record.repair = repair;
    }

    fn pass_over(&mut self, id: &LaneId, changed: &mut BTreeSet<Changed>) -> u64 {
        let Some(lane) = self.records.lanes.get_mut(id) else {
            return 0;
        };
        let mut passed = 0;
        for (output, at) in &mut lane.positions {
            let events = lane.record.events.saturating_sub(at.passed);
            if at.position < lane.record.end {
                changed.insert(Changed::Position(id.clone(), output.clone()));
                at.position = lane.record.end;
                at.passed += events;
                at.elsewhere += events;
                passed += events;
            }
        }
        passed
    }
}
