//! The engine that applies a group of commands in one transaction under one set of syncs.
//!
//! The engine keeps the small records in memory as they stand in sled: it is their only writer, so a command is plain code on
//! plain maps, and the transaction's closure, which sled may run more than once, only writes what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::command::{Command, Reply};
use super::database::Database;
use super::lane::{Appended, Opened};
use super::outbox::Outbox;
use super::repair::Damage;
use super::segment::FIRST;
use super::{
    AsideRecord, Books, LaneRecord, PositionRecord, Rhythm, SHADOW_AFTER, Snapshot, StoreError,
    StreamRecord, durable, failures, rescue,
};
use crate::model::{LaneId, OutputId, Position, Route, StreamId};

/// A lane with the outputs' positions in it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) record: LaneRecord,
    pub(super) positions: BTreeMap<OutputId, PositionRecord>,
}

/// The small records, as they stand in sled.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) streams: BTreeMap<String, StreamRecord>,
    pub(super) lanes: BTreeMap<LaneId, Lane>,
    pub(super) health: BTreeMap<String, serde_json::Value>,
    pub(super) asides: BTreeMap<u64, AsideRecord>,
    pub(super) damages: BTreeMap<String, Damage>,
}

impl Records {
    /// Whether nothing was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.lanes.is_empty() && self.health.is_empty()
    }
}

/// A record that a command has changed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Changed {
    Stream(String),
    Lane(LaneId),
    Position(LaneId, OutputId),
    Health(String),
    Aside(u64),
    Damage(String),
}

impl Changed {
    /// Whether the shadow copy has such records.
    const fn is_in_shadow(&self) -> bool {
        match self {
            Self::Stream(_) | Self::Health(_) | Self::Aside(_) => true,
            Self::Lane(_) | Self::Position(..) | Self::Damage(_) => false,
        }
    }
}

/// Owns sled and applies commands.
#[derive(Debug)]
pub(super) struct Engine {
    /// `None` while the disk has no room to open it.
    pub(super) database: Option<Database>,
    /// Applied to the records, and not durable yet.
    pub(super) pending: Option<Pending>,
    pub(super) records: Records,
    pub(super) root: Arc<PathBuf>,
    pub(super) outbox: Outbox,
    pub(super) clock: crate::clock::Clock,
    /// Where lanes go; `None` before that was said.
    pub(super) routes: Option<Vec<Route>>,
    /// Behind the last heartbeat of each integration; forgotten at a restart, which costs one heartbeat more.
    pub(super) heartbeats: BTreeMap<String, Position>,
    /// Lanes that a writer has open: their last segment stays.
    pub(super) writers: BTreeMap<LaneId, Weak<()>>,
    /// When the shadow copy was last written, by the monotonic clock; `None` if it has all there is.
    pub(super) ahead_of_shadow: Option<Duration>,
    /// Held for the life of the process.
    pub(super) _lock: File,
}

/// A group of commands on its way to the disk.
pub(super) struct Pending {
    changed: BTreeSet<Changed>,
    lanes: BTreeSet<LaneId>,
    answers: Vec<After>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.changed).finish()
    }
}

/// What is to happen once the records are durable.
pub(super) type After = Box<dyn FnOnce() + Send>;

impl Engine {
    /// Applies a group. A full disk leaves it to [`Engine::settle`]; any other error ends the process, as a second sync that
    /// succeeds proves nothing.
    pub(super) fn apply(&mut self, group: Vec<Command>) -> Result<(), StoreError> {
        let mut changed = BTreeSet::new();
        let mut answers: Vec<After> = Vec::new();
        for command in group {
            answers.push(self.one(command, &mut changed)?);
        }
        let mut lanes = BTreeSet::new();
        for change in &changed {
            if let Changed::Lane(lane) | Changed::Position(lane, _) = change {
                lanes.insert(lane.clone());
            }
        }
        for lane in &lanes {
            self.roll_if_delivered(lane, &mut changed);
        }
        self.pending = Some(Pending {
            changed,
            lanes,
            answers,
        });
        self.settle()
    }

    /// Makes durable what was applied, and answers.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        if !pending.changed.is_empty() {
            if let Err(error) = self.write_or_make_room(&pending.changed) {
                self.pending = Some(pending);
                return Err(error);
            }
            self.follow(&pending.changed);
        }
        for lane in pending.lanes {
            self.trim(&lane)?;
        }
        for answer in pending.answers {
            answer();
        }
        Ok(())
    }

    /// Whether a command touches no disk: memory answers it in a moment.
    pub(super) fn is_question(&self, command: &Command) -> bool {
        match command {
            Command::Stream { .. } | Command::Open { .. } => true,
            Command::Heartbeat { of, .. } => !self.is_wanted(of),
            // A snapshot of thousands of streams takes longer than a moment.
            Command::Snapshot { .. }
            | Command::DeliveredUntil { .. }
            | Command::Restore { .. }
            | Command::Handover(_)
            | Command::Commit { .. }
            | Command::Asked { .. }
            | Command::Reset { .. }
            | Command::Health { .. }
            | Command::Route { .. }
            | Command::Forget { .. }
            | Command::Again { .. }
            | Command::Discard { .. }
            | Command::Ack { .. }
            | Command::Damaged { .. }
            | Command::Replay { .. }
            | Command::ForgetReplay { .. }
            | Command::Failure { .. } => false,
        }
    }

    /// Whether something has changed since the shadow copy was written.
    pub(super) const fn is_ahead_of_shadow(&self) -> bool {
        self.ahead_of_shadow.is_some()
    }

    /// Lets the shadow copy follow what has changed: at once a state of health, which forbids requests; else within a minute. Lanes tell
    /// by themselves where they end, and positions are not kept, so it does not follow each delivery.
    fn follow(&mut self, changed: &BTreeSet<Changed>) {
        if !changed.iter().any(Changed::is_in_shadow) {
            return;
        }
        let now = self.clock.monotonic();
        let since = *self.ahead_of_shadow.get_or_insert(now);
        let health = changed
            .iter()
            .any(|change| matches!(change, Changed::Health(_)));
        if health || now.saturating_sub(since) >= SHADOW_AFTER {
            self.write_shadow();
        }
    }

    /// Writes the shadow copy. A failure costs nothing while sled is whole, so it only warns, and is tried again with the next change.
    pub(super) fn write_shadow(&mut self) {
        self.ahead_of_shadow = None;
        if let Err(error) = rescue::write_shadow(&self.root, &self.records) {
            tracing::warn!(%error, "the shadow copy of the database is not up to date");
        }
    }

    /// Applies one command to the records in memory, notes what it changed, and returns how to answer it.
    fn one(
        &mut self,
        command: Command,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<After, StoreError> {
        Ok(match command {
            Command::Stream { stream, reply } => {
                let record = self.records.streams.get(&stream.to_string()).cloned();
                answer(reply, Ok(record.unwrap_or_default()))
            }
            Command::Open {
                lane,
                stream,
                reply,
            } => answer(reply, Ok(self.open(lane, &stream))),
            Command::Commit { part, reply } => match sync(&part) {
                Ok(()) => answer(reply, self.commit(*part, changed)),
                Err(error) if error.is_full() => {
                    self.outbox.found_no_room(&error);
                    answer(reply, Err(error))
                }
                Err(error) => return Err(error),
            },
            Command::Asked { polls, reply } => {
                for asked in polls {
                    let record = self.stream(&asked.stream, changed);
                    record.poll = Some(asked.poll);
                    record.polled(&asked.poll);
                    record.origin.get_or_insert(asked.origin);
                }
                answer(reply, Ok(()))
            }
            Command::Reset {
                stream,
                cursor,
                origin,
                reply,
            } => {
                self.set_back(&stream, cursor, changed);
                let record = self.stream(&stream, changed);
                record.repair = None;
                record.origin = origin.or(record.origin);
                answer(reply, Ok(()))
            }
            Command::Health {
                subject,
                state,
                notice,
                reply,
            } => match notice.map_or(Ok(()), |notice| self.note(&notice, changed)) {
                Ok(()) => {
                    changed.insert(Changed::Health(subject.clone()));
                    self.records.health.insert(subject, state);
                    answer(reply, Ok(()))
                }
                Err(error) if error.is_full() => answer(reply, Err(error)),
                Err(error) => return Err(error),
            },
            Command::Failure { line } => {
                failures::append(&self.root, &line);
                Box::new(|| ())
            }
            Command::Heartbeat { of, notice, reply } => match self.beat(of, &notice, changed) {
                Err(error) if !error.is_full() => return Err(error),
                told => answer(reply, told),
            },
            Command::Route { routes, reply } => {
                self.route(routes, changed);
                answer(reply, Ok(()))
            }
            Command::Forget { what, reply } => {
                let forgotten = self.forget(&what, changed);
                let sweep = self.sweep(&forgotten);
                Box::new(move || {
                    sweep();
                    drop(reply.send(Ok(forgotten)));
                })
            }
            Command::Again {
                number,
                events,
                reply,
            } => match self.send_again(number, &events, changed) {
                Err(error @ StoreError::Io { .. }) if !error.is_full() => return Err(error),
                done => answer(reply, done),
            },
            Command::Discard { number, reply } => {
                let gone = self.records.asides.remove(&number);
                changed.insert(Changed::Aside(number));
                let remove = self.remove_aside(gone.as_ref());
                Box::new(move || {
                    remove();
                    drop(reply.send(Ok(gone)));
                })
            }
            Command::Ack { ack, aside, reply } => {
                self.ack(&ack, aside, changed);
                answer(reply, Ok(()))
            }
            Command::Damaged {
                lane,
                at,
                reason,
                reply,
            } => answer(reply, self.damaged(&lane, at, &reason, changed)),
            Command::Replay { streams, reply } => {
                self.replay(streams, changed);
                answer(reply, Ok(()))
            }
            Command::ForgetReplay { stream, reply } => {
                let gone = self.forget_replay(&stream, changed);
                answer(reply, Ok(gone))
            }
            Command::Snapshot { reply } => answer(reply, Ok(self.snapshot())),
            Command::DeliveredUntil { reply } => answer(reply, self.delivered_until()),
            Command::Restore { portable, reply } => {
                self.restore(*portable, changed);
                answer(reply, Ok(()))
            }
            Command::Handover(ask) => self.handover(ask, changed),
        })
    }

    pub(super) fn stream(
        &mut self,
        stream: &StreamId,
        changed: &mut BTreeSet<Changed>,
    ) -> &mut StreamRecord {
        let key = stream.to_string();
        changed.insert(Changed::Stream(key.clone()));
        self.records.streams.entry(key).or_default()
    }

    fn open(&mut self, lane: LaneId, stream: &StreamId) -> Opened {
        let record = self.records.streams.get(&stream.to_string());
        let known = self.records.lanes.get(&lane).map(|lane| &lane.record);
        let token = Arc::new(());
        self.writers.insert(lane.clone(), Arc::downgrade(&token));
        Opened {
            end: known.map_or(FIRST, |lane| lane.end),
            events: known.map_or(0, |lane| lane.events),
            cursor: record.and_then(|record| record.cursor.clone()),
            memo: record.and_then(|record| record.memo),
            waiting: record
                .and_then(|record| Some(record.books.as_ref()?.waiting))
                .unwrap_or(0),
            lane,
            token,
        }
    }

    fn commit(
        &mut self,
        part: Appended,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let known = self.records.streams.get(&part.stream.to_string());
        if known.and_then(|record| record.cursor.as_ref()) != part.expected.as_ref() {
            return Err(StoreError::Moved);
        }
        if known.is_none() && part.stream.replay.is_some() {
            // It was given up while it was fetched.
            return Err(StoreError::Moved);
        }
        let lane = self.records.lanes.get(&part.lane);
        let before = lane.map_or(0, |lane| lane.record.events);
        let record = self.stream(&part.stream, changed);
        let books = record.books.get_or_insert_with(|| Books::open(now, before));
        books.add(&part.sheet);
        record.cursor = Some(part.next);
        record.memo = part.memo;
        record.events += part.events;
        record.bytes += part.bytes;
        record.quarantined += part.aside.as_ref().map_or(0, |aside| aside.records);
        record.newest = record.newest.max(part.newest);
        if part.events > 0 {
            let rhythm = record.rhythm.get_or_insert(Rhythm::starting(now));
            rhythm.beat(now);
        }
        if let Some(poll) = &mut record.poll {
            poll.attempted = poll.attempted.max(now);
        }
        if let Some(aside) = part.aside {
            self.put_aside(aside, changed);
        }
        if part.events == 0 {
            return Ok(());
        }
        let lane = self.lane(&part.lane, changed);
        lane.end = part.end;
        lane.events += part.events;
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let records = &self.records;
        let mut positions = BTreeMap::new();
        for (id, lane) in &records.lanes {
            for (output, at) in &lane.positions {
                positions.insert((output.clone(), id.clone()), at.clone());
            }
        }
        let lane = |(id, lane): (&LaneId, &Lane)| (id.clone(), lane.record.clone());
        Snapshot {
            streams: records.streams.clone(),
            lanes: records.lanes.iter().map(lane).collect(),
            positions,
            health: records.health.clone(),
            asides: records.asides.clone(),
            left_behind: self.left_behind(),
            spool_bytes: self.outbox.bytes(),
        }
    }

    /// Moves a lane that is delivered whole, and that nobody writes, to a new segment, so that the last one can go too.
    fn roll_if_delivered(&mut self, id: &LaneId, changed: &mut BTreeSet<Changed>) {
        let open = self.writers.get(id).is_some_and(|w| w.strong_count() > 0);
        let Some(lane) = self.records.lanes.get_mut(id) else {
            return;
        };
        let end = lane.record.end;
        let delivered = lane.positions.values().all(|at| at.position == end);
        if open || !delivered || lane.positions.is_empty() || end.offset == 0 {
            return;
        }
        let next = Position::start_of(end.segment + 1);
        lane.record.end = next;
        lane.record.from = None;
        changed.insert(Changed::Lane(id.clone()));
        for (output, at) in &mut lane.positions {
            at.position = next;
            changed.insert(Changed::Position(id.clone(), output.clone()));
        }
    }

    /// Shows outputs where a lane ends now, and deletes the segments that all of them are past.
    fn trim(&self, id: &LaneId) -> Result<(), StoreError> {
        let Some(lane) = self.records.lanes.get(id) else {
            return self.outbox.forget(id);
        };
        let end = lane.record.end;
        let first = lane.positions.values().map(|at| at.position.segment).min();
        // Nobody wants what no output is routed to; a lane that was found without its database is kept until outputs are known.
        let unwanted = self.routes.is_some() && lane.record.from.is_none();
        let none = if unwanted { end.segment } else { 0 };
        self.outbox.show(id, end, first.unwrap_or(none))
    }
}

pub(super) fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, StoreError>) -> After {
    // An asker that has gone away needs no answer.
    Box::new(move || drop(reply.send(result)))
}

/// Makes what was appended durable, before the transaction that counts it.
fn sync(part: &Appended) -> Result<(), StoreError> {
    for (path, file) in &part.files {
        durable::sync(file, path).map_err(StoreError::io("sync", path.clone()))?;
    }
    for folder in &part.folders {
        durable::sync_folder(folder).map_err(StoreError::io("sync", folder.clone()))?;
    }
    Ok(())
}
