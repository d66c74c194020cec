//! One task an output: reads the lanes in turn, offers batches, and moves the output's position behind what was accepted.
//!
//! A batch holds events of one lane, in the lane's order. How many are out at once is the output's to say ([`Window`](super::Window)); with a
//! window of 1 a lane is delivered in its order. What was not accepted is read again from the lane, so of two attempts only ranges need to be
//! remembered (`window`), and a kill repeats at most what was out or not yet confirmed.

mod lanes;
mod settle;
mod under_way;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::lanes::{Lane, Next};
use self::under_way::{Ended, UnderWay};
use self::window::Ticket;
use super::{Output, Receipt, Verdict};
use crate::alert::{About, Renewal};
use crate::health::{Outcome, Policy, Seed};
use crate::model::{LaneId, OutputId, Timestamp};
use crate::pause::{Pause, Paused};
use crate::secret::Fingerprint;
use crate::store::{Snapshot, StoreError};
use crate::subject::{Context, Subject};

/// How long a stop waits for confirmations once all replies are there: a little longer than the 5 s after which what was written to a
/// connection counts, and well within the time that the program has to end.
const LINGER: Duration = Duration::from_secs(6);

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
    output: Arc<O>,
    fingerprint: Option<Fingerprint>,
    context: Context,
    subject: Subject,
    /// Attempts up to this one say nothing new about the output.
    judged: Ticket,
    pause: Option<Pause>,
    lanes: BTreeMap<LaneId, Lane>,
    /// Lanes that do not go to this output.
    others: BTreeSet<LaneId>,
    /// The lane that was served last: the next one in order comes next.
    served: Option<LaneId>,
    last_success: Option<Timestamp>,
    /// Of the latest attempt.
    ticket: Ticket,
    under_way: UnderWay,
    /// Confirmations of deliveries that are still out.
    early: Vec<(Receipt, Verdict)>,
    commands: mpsc::Receiver<Command>,
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
            output: Arc::new(output),
            fingerprint,
            context,
            judged: 0,
            lanes: BTreeMap::new(),
            others: BTreeSet::new(),
            served: None,
            last_success: None,
            ticket: 0,
            under_way: UnderWay::new(),
            early: Vec::new(),
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

    /// Delivers until `stop` is cancelled or the store fails. What is out when `stop` comes is finished first; what is not confirmed soon
    /// after is offered again at the next start.
    ///
    /// # Errors
    /// The store's: the process must end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut commits = self.context.store.outbox().commits();
        let mut tenure = self.context.tenure.changes();
        let (now, credential) = (self.context.clock.now(), self.fingerprint.clone());
        self.subject
            .lift(&self.context.store, credential.as_ref(), now)
            .await?;
        let alive = self.context.watchdog.enter(format!("output {}", self.id));
        loop {
            alive.works();
            // Before the lanes are looked at, so that a commit in between is not slept over.
            commits.mark_unchanged();
            // A backlog must not keep a person waiting.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command).await?;
            }
            self.take_what_has_ended().await?;
            self.commit();
            self.find_lanes().await?;
            self.look_at_the_time().await?;
            self.show();
            if stop.is_cancelled() {
                return self.finish().await;
            }
            let wait = match self.next_lane(self.context.clock.now()) {
                Next::Lane(lane) => {
                    self.serve(&lane).await?;
                    self.served = Some(lane);
                    continue;
                }
                Next::Wait(until) => [until, self.next_look()].into_iter().flatten().min(),
            };
            if self.under_way.len() == 0 {
                self.rest();
            }
            let clock = self.context.clock.clone();
            self.under_way.listen(&self.output, &clock);
            alive.waits(wait.map(|until| until.since(clock.now())));
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(command) = self.commands.recv() => self.obey(command).await?,
                ended = self.under_way.ended(&clock, wait) => self.take(ended).await?,
                () = tenure.next() => {}
                changed = commits.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// Waits for the replies that are out, and a little for confirmations, and makes durable what they say.
    async fn finish(mut self) -> Result<(), StoreError> {
        let clock = self.context.clock.clone();
        let mut until = None;
        loop {
            self.take_what_has_ended().await?;
            self.commit();
            if self.under_way.len() == 0 {
                let now = clock.now();
                let until = *until.get_or_insert(now + LINGER);
                if until <= now || self.unconfirmed() == 0 {
                    return Ok(());
                }
            }
            self.under_way.listen(&self.output, &clock);
            let until = until.filter(|_| self.under_way.len() == 0);
            let ended = self.under_way.ended(&clock, until).await;
            self.take(ended).await?;
        }
    }

    /// Takes all that has ended at once, so that one commit can cover it.
    async fn take_what_has_ended(&mut self) -> Result<(), StoreError> {
        while let Some(ended) = self.under_way.ended_by_now() {
            self.take(Some(ended)).await?;
        }
        Ok(())
    }

    async fn take(&mut self, ended: Option<Ended>) -> Result<(), StoreError> {
        match ended {
            Some(Ended::Attempt(attempted)) => {
                self.settle(*attempted).await?;
                let early = std::mem::take(&mut self.early);
                self.confirm(early).await?;
                if !self.under_way.is_offering() {
                    self.early.clear();
                }
                Ok(())
            }
            Some(Ended::Confirmation(verdicts)) => self.confirm(verdicts).await,
            Some(Ended::Commit(committed)) => self.committed(committed).await,
            None => Ok(()),
        }
    }

    /// Batches that await a confirmation.
    fn unconfirmed(&self) -> usize {
        let lanes = self.lanes.values();
        lanes.map(|lane| lane.window.unconfirmed()).sum()
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

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
