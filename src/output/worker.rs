//! One task an output: reads the lanes in turn, offers batches, and moves the output's position behind what was accepted.
//!
//! A batch holds events of one lane, in the lane's order. What was not accepted is read again from the position, so nothing needs to be
//! remembered between two attempts, and a kill at any point repeats at most the batch that was out.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Batch, BatchLimits, Delivery, Output, Rejection};
use crate::alert::{About, Renewal};
use crate::health::machine::Attempt;
use crate::health::{Failure, Origin, Outcome, Policy, Scope, Seed, lookup};
use crate::model::{LaneId, OutputId, Position, Timestamp};
use crate::pause::{Pause, Paused};
use crate::secret::Fingerprint;
use crate::store::{Ack, Aside, Chunk, PositionRecord, ReadError, Snapshot, StoreError};
use crate::subject::{Context, Subject};

/// So many events refused in a row mean that the requests are wrong, not the events: better to stop than to divert a whole stream.
const REFUSED_IN_A_ROW: u32 = 10;

/// What a worker is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A person says that what was wrong has been mended: try again now.
    Resume,
    /// A person wants no delivery for a while; it is durable already.
    Pause(Pause),
}

/// The task of one output.
#[derive(Debug)]
pub struct Worker<O> {
    id: OutputId,
    output: O,
    fingerprint: Option<Fingerprint>,
    context: Context,
    subject: Subject,
    pause: Option<Pause>,
    lanes: BTreeMap<LaneId, Lane>,
    /// The lane that was served last: the next one in order comes next.
    served: Option<LaneId>,
    last_success: Option<Timestamp>,
    commands: mpsc::Receiver<Command>,
}

#[derive(Debug)]
struct Lane {
    position: Position,
    /// Events of the next batch at most, because of what became of the last.
    cap: Option<usize>,
    /// Of this lane alone: what another lane delivers says nothing about these.
    refused_in_a_row: u32,
    subject: Subject,
}

impl<O: Output> Worker<O> {
    /// Takes up an output where `stored` says that it stands.
    #[must_use]
    pub fn new(
        id: OutputId,
        output: O,
        fingerprint: Option<Fingerprint>,
        context: Context,
        stored: &Snapshot,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let name = format!("output {id}");
        let policy = Policy::output(Seed::of(context.store.install_id().as_bytes(), &name));
        let about = About {
            output: Some(id.clone()),
            ..About::default()
        };
        let mut worker = Self {
            subject: Subject::load(name, about, policy, stored, context.clock.now()),
            pause: Pause::load(stored, Paused::Output, id.as_str()),
            id,
            output,
            fingerprint,
            context,
            lanes: BTreeMap::new(),
            served: None,
            last_success: None,
            commands,
        };
        worker.take_up_lanes(stored);
        worker
    }

    /// Says how a new secret of the output would be taken up.
    #[must_use]
    pub fn renewed_by(mut self, renewal: Renewal) -> Self {
        self.subject.renewed_by(renewal);
        self
    }

    /// Delivers until `stop` is cancelled or the store fails. A batch that is out when `stop` comes is finished first.
    ///
    /// # Errors
    /// The store's: the process must end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut commits = self.context.store.outbox().commits();
        let (now, credential) = (self.context.clock.now(), self.fingerprint.clone());
        self.subject
            .lift(&self.context.store, credential.as_ref(), now)
            .await?;
        loop {
            // Before the lanes are looked at, so that a commit in between is not slept over.
            commits.mark_unchanged();
            // A backlog must not keep a person waiting.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command).await?;
            }
            self.find_lanes().await?;
            self.look_at_the_time().await?;
            self.show();
            let now = self.context.clock.now();
            let wait = match self.next_lane(now) {
                Next::Lane(lane) if !stop.is_cancelled() => {
                    self.serve(&lane).await?;
                    self.served = Some(lane);
                    continue;
                }
                Next::Lane(_) => return Ok(()),
                Next::Wait(until) => [until, self.next_look()].into_iter().flatten().min(),
            };
            let clock = self.context.clock.clone();
            let sleep = async {
                match wait {
                    Some(until) => clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(command) = self.commands.recv() => self.obey(command).await?,
                changed = commits.changed() => if changed.is_err() { return Ok(()) },
                () = sleep => {}
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Pause(pause) => {
                self.pause = Some(pause);
                Ok(())
            }
            // What else is wrong is looked at when its time has come.
            Command::Resume if self.pause.is_some() => self.end_pause().await,
            Command::Resume => {
                let now = self.context.clock.now();
                let lanes = self.lanes.values_mut().map(|lane| {
                    lane.refused_in_a_row = 0;
                    &mut lane.subject
                });
                for subject in lanes.chain([&mut self.subject]) {
                    subject
                        .judge(&self.context.store, &Outcome::Resumed, now)
                        .await?;
                }
                Ok(())
            }
        }
    }

    async fn end_pause(&mut self) -> Result<(), StoreError> {
        self.pause = None;
        tracing::info!(output = %self.id, "the pause is over");
        Pause::store(None, &self.context.store, Paused::Output, self.id.as_str()).await
    }

    /// Does what the passing of time asks for: ends a pause, tells people.
    async fn look_at_the_time(&mut self) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        if self.pause.is_some_and(|pause| pause.is_over(now)) {
            self.end_pause().await?;
        }
        let lanes = self.lanes.values_mut().map(|lane| &mut lane.subject);
        for subject in lanes.chain([&mut self.subject]) {
            subject.tick(&self.context.store, now).await?;
        }
        Ok(())
    }

    /// When [`Self::look_at_the_time`] has something to do.
    fn next_look(&self) -> Option<Timestamp> {
        let subjects = self.lanes.values().map(|lane| &lane.subject);
        let ticks = subjects.chain([&self.subject]).map(Subject::next_tick);
        let pause = self.pause.and_then(|pause| pause.until);
        ticks.chain([pause]).flatten().min()
    }

    /// Learns of lanes that began since the last look.
    async fn find_lanes(&mut self) -> Result<(), StoreError> {
        let lanes = self.context.store.outbox().lanes();
        if lanes.iter().all(|(lane, _)| self.lanes.contains_key(lane)) {
            return Ok(());
        }
        let stored = self.context.store.snapshot().await?;
        self.take_up_lanes(&stored);
        Ok(())
    }

    fn take_up_lanes(&mut self, stored: &Snapshot) {
        for lane in stored.lanes.keys() {
            if self.lanes.contains_key(lane) {
                continue;
            }
            let key = (self.id.clone(), lane.clone());
            let Some(PositionRecord { position, .. }) = stored.positions.get(&key) else {
                continue;
            };
            let name = format!("lane {} {lane}", self.id);
            let policy =
                Policy::output(Seed::of(self.context.store.install_id().as_bytes(), &name));
            let source = lane.source();
            let about = About {
                output: Some(self.id.clone()),
                integration: source.as_ref().map(|stream| stream.integration.clone()),
                log: source.map(|stream| stream.log_and_type()),
                ..About::default()
            };
            let taken = Lane {
                position: *position,
                cap: None,
                refused_in_a_row: 0,
                subject: Subject::load(name, about, policy, stored, self.context.clock.now()),
            };
            self.lanes.insert(lane.clone(), taken);
        }
    }

    /// The next lane in turn that has something and may be served.
    fn next_lane(&self, now: Timestamp) -> Next {
        if self.pause.is_some() {
            return Next::Wait(None);
        }
        let credential = self.fingerprint.as_ref();
        if !self.subject.state().allows(now, credential) {
            return Next::Wait(self.subject.state().next_allowed(now));
        }
        let mut waiting: Option<Timestamp> = None;
        let mut first = None;
        for (id, end) in self.context.store.outbox().lanes() {
            let Some(lane) = self.lanes.get(&id).filter(|lane| lane.position < end) else {
                continue;
            };
            if !lane.subject.state().allows(now, credential) {
                let until = lane.subject.state().next_allowed(now);
                waiting = [waiting, until].into_iter().flatten().min();
                continue;
            }
            if self.served.as_ref().is_some_and(|served| *served < id) {
                return Next::Lane(id);
            }
            first.get_or_insert(id);
        }
        first.map_or(Next::Wait(waiting), Next::Lane)
    }

    /// Reads one batch of a lane, offers it, and makes durable what became of it.
    async fn serve(&mut self, id: &LaneId) -> Result<(), StoreError> {
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(());
        };
        let BatchLimits { bytes, events } = self.output.limits();
        let events = lane.cap.take().map_or(events, |cap| cap.min(events));
        let outbox = self.context.store.outbox().clone();
        let read = outbox.read(id, lane.position, bytes as u64, events).await;
        let chunk = match read {
            Ok(chunk) => chunk,
            Err(ReadError::Damaged { at, reason, .. }) => {
                return self.step_over(id, at, &reason).await;
            }
            Err(error @ ReadError::Io { .. }) => {
                let failure = Failure::new(Origin::Local, 0, "segment", id.as_str())
                    .with_detail(&error.to_string());
                return self.failed(id, &failure).await;
            }
        };
        if chunk.records.is_empty() {
            lane.position = chunk.position_after(0);
            return Ok(());
        }
        let batch = Batch::new(id.clone(), chunk.records.clone());
        let delivery = self.output.deliver(&batch).await;
        self.settle(id, &chunk, &batch, delivery).await
    }

    /// Does what the table of [`super::delivery`] says.
    async fn settle(
        &mut self,
        id: &LaneId,
        chunk: &Chunk,
        batch: &Batch,
        delivery: Delivery,
    ) -> Result<(), StoreError> {
        let Delivery {
            accepted,
            rejected,
            failure,
            split,
        } = delivery;
        if accepted > 0 {
            let accepted = accepted.min(batch.len());
            let passed = rejected.iter().filter(|refusal| refusal.index < accepted);
            let asides: Vec<_> = passed.filter_map(|r| aside(batch, r)).collect();
            let taken = accepted - asides.len();
            let moved = self
                .move_on(id, chunk.position_after(accepted), taken, asides)
                .await?;
            if !moved {
                return Ok(());
            }
            if failure.is_none() {
                self.last_success = Some(self.context.clock.now());
                self.answered(id).await?;
            }
            if let Some(lane) = self.lanes.get_mut(id).filter(|_| taken > 0) {
                lane.refused_in_a_row = 0;
            }
        } else if let Some(rejection) = rejected.first() {
            return self.refused(id, chunk, batch, rejection).await;
        }
        match failure {
            None if accepted > 0 => Ok(()),
            None => {
                // Offered again at once it would be offered for ever.
                let failure = Failure::new(Origin::Local, 0, "", id.as_str());
                let failure = failure.with_detail("the output took nothing, and did not say why");
                self.failed(id, &failure).await
            }
            Some(failure) if split && batch.len() > 1 => {
                tracing::debug!(output = %self.id, lane = %id, events = batch.len(), "offered again in halves: {failure}");
                if let Some(lane) = self.lanes.get_mut(id) {
                    lane.cap = Some(batch.len() / 2);
                }
                Ok(())
            }
            Some(failure) => self.failed(id, &failure).await,
        }
    }

    /// The receiver will never take one event: those before it are offered without it, then it is put aside.
    async fn refused(
        &mut self,
        id: &LaneId,
        chunk: &Chunk,
        batch: &Batch,
        rejection: &Rejection,
    ) -> Result<(), StoreError> {
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(());
        };
        if rejection.index > 0 {
            lane.cap = Some(rejection.index);
            return Ok(());
        }
        lane.refused_in_a_row += 1;
        if lane.refused_in_a_row > REFUSED_IN_A_ROW {
            let failure = Failure::new(Origin::Local, 0, "all_refused", id.as_str())
                .with_detail(&rejection.reason);
            return self.failed(id, &failure).await;
        }
        let Some(aside) = aside(batch, rejection) else {
            return Ok(());
        };
        tracing::warn!(output = %self.id, lane = %id, event_id = aside.what, reason = aside.reason,
            "the receiver refused an event: it is put aside");
        if self
            .move_on(id, chunk.position_after(1), 0, vec![aside])
            .await?
        {
            // The receiver is well, the event is not.
            self.answered(id).await?;
        }
        Ok(())
    }

    async fn answered(&mut self, id: &LaneId) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let store = &self.context.store;
        self.subject.judge(store, &Outcome::Success, now).await?;
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.subject.judge(store, &Outcome::Success, now).await?;
        }
        Ok(())
    }

    async fn failed(&mut self, id: &LaneId, failure: &Failure) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let outcome = Outcome::Failed(Attempt {
            failure,
            credential: self.fingerprint.as_ref(),
            wall: self.context.clock.wall(),
        });
        let subject = match (lookup(failure).scope, self.lanes.get_mut(id)) {
            (Scope::Lane, Some(lane)) => &mut lane.subject,
            (
                Scope::Credential | Scope::Resource | Scope::Stream | Scope::Output | Scope::Lane,
                _,
            ) => &mut self.subject,
        };
        subject.judge(&self.context.store, &outcome, now).await?;
        Ok(())
    }

    /// Makes durable how far the lane is passed; `false` if the disk has no room for what is put aside, and nothing has moved.
    async fn move_on(
        &mut self,
        id: &LaneId,
        position: Position,
        accepted: usize,
        rejected: Vec<Aside>,
    ) -> Result<bool, StoreError> {
        let ack = Ack {
            output: self.id.clone(),
            lane: id.clone(),
            position,
            accepted: accepted as u64,
            rejected,
        };
        match self.context.store.ack(ack).await {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                let failure = Failure::new(Origin::Local, 0, "enospc", id.as_str())
                    .with_detail(&error.to_string());
                self.failed(id, &failure).await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.position = position;
        }
        Ok(true)
    }

    /// Gets past a damaged frame; the first output that finds it sends its stream back to fetch the events again.
    async fn step_over(
        &mut self,
        id: &LaneId,
        at: Position,
        reason: &str,
    ) -> Result<(), StoreError> {
        let detour = self
            .context
            .store
            .damaged(id, at, reason.to_owned())
            .await?;
        let cursor = detour.cursor.as_ref().map_or("its start", |c| c.as_str());
        if detour.new {
            tracing::error!(output = %self.id, lane = %id, %at, reason, events = detour.events, cursor,
                "stored events are damaged: their stream is fetched again from the place before them; events after them may be delivered twice");
        }
        self.move_on(id, detour.next, 0, Vec::new()).await?;
        Ok(())
    }

    fn show(&self) {
        self.context.status.output(&self.id, |report| {
            report.condition = match &self.pause {
                Some(pause) => pause.condition(self.id.as_str()),
                None => self.subject.condition(),
            };
            report.last_success = self.last_success;
        });
    }
}

/// What a worker does next.
enum Next {
    /// Serves this lane.
    Lane(LaneId),
    /// Waits: until then, or until something happens.
    Wait(Option<Timestamp>),
}

/// A refused event as it is put aside.
fn aside(batch: &Batch, rejection: &Rejection) -> Option<Aside> {
    let record = batch.records().get(rejection.index)?;
    Some(Aside {
        what: record.id.to_string(),
        reason: rejection.reason.clone(),
        record: record.body_str().into_owned(),
    })
}

#[cfg(test)]
mod tests;
