//! One task an integration: its streams, their cursors, all its states of health.
//!
//! Fetches run beside each other in a set and share nothing: each writes to its own lane and commits there with its own cursor. Their
//! results come home to the loop, which alone steps the machines and starts the next fetch. So there are no locks and no half-updated
//! states, and a slow log type does not hold up the others. Dropping the task at any point loses nothing.

mod dates;
mod replays;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::config::{IntegrationConfig, LogConfig};
use super::gate::{FetchGate, PollGate};
use super::heartbeat::{Beating, Heartbeat};
use super::purse::Purse;
use super::room::Room;
use super::stream::{Stream, replays, restore, share};
use super::{Command, Shared, schedule};
use crate::health::machine::Attempt;
use crate::health::{Action, Class, Failure, Origin, Outcome, Policy, Row, Scope, Seed, lookup};
use crate::mimecast::{FetchError, Progress, Source};
use crate::model::{IntegrationId, SinkError, Timestamp};
use crate::pause::{Pause, Paused};
use crate::secret::Fingerprint;
use crate::status::Condition;
use crate::store::{Asked, Snapshot, StoreError};
use crate::subject::{Context, Subject};

/// Fetches of one integration at a time, once its credential has proved good.
const FETCHES: usize = 4;

/// The task of one integration.
#[derive(Debug)]
pub struct Poller<S> {
    id: IntegrationId,
    source: Arc<S>,
    fingerprint: Fingerprint,
    context: Context,
    room: Room,
    gate: PollGate,
    purse: Purse,
    pause: Option<Pause>,
    heartbeat: Heartbeat,
    credential: Subject,
    /// By the function of the API that Mimecast counts calls of; boxed, as a node of a map has eleven places.
    resources: BTreeMap<Arc<str>, Box<Subject>>,
    streams: Vec<Stream>,
    /// What replays can be of.
    logs: Vec<Arc<LogConfig>>,
    fetches: JoinSet<Done>,
    /// Grows with each change of the credential's state, so that late news is recognised.
    epoch: u64,
    /// Whether the credential has succeeded since it was taken up: before that, one request at a time.
    proven: bool,
    commands: mpsc::Receiver<Command>,
}

#[derive(Debug)]
struct Done {
    stream: usize,
    epoch: u64,
    gate: FetchGate,
    result: Result<Progress, FetchError>,
}

impl<S: Source> Poller<S> {
    /// Takes up an integration where `stored` says that it stands.
    #[must_use]
    pub fn new(
        config: &IntegrationConfig,
        source: S,
        fingerprint: Fingerprint,
        shared: Shared,
        room: Room,
        stored: &Snapshot,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let id = config.id.clone();
        let Shared {
            context,
            requests,
            budgets,
            turns,
            beat,
        } = shared;
        let purse = budgets.of(&fingerprint);
        purse.leave(&id);
        let now = context.clock.now();
        let load = |name: String, log: Option<String>| {
            let seed = Seed::of(context.store.install_id().as_bytes(), &name);
            Subject::load(name, config.about(log), Policy::source(seed), stored, now)
        };
        let logs: Vec<_> = config.logs.iter().cloned().map(Arc::new).collect();
        let mut resources = BTreeMap::new();
        let mut streams = Vec::new();
        for log in &logs {
            let path = &log.log.path;
            let name = format!("resource {id} {path}");
            let resource = || Box::new(load(name, Some(path.to_string())));
            resources.entry(Arc::clone(path)).or_insert_with(resource);
            for stream in log.streams(&id) {
                share(&purse, log, &stream);
                let mut subject = load(format!("stream {stream}"), Some(stream.log_and_type()));
                let record = stored.streams.get(&stream.to_string());
                subject.may_lack(record.is_none_or(|record| record.cursor.is_none()));
                streams.push(Stream::load(stream, log, subject, stored, now));
            }
        }
        for (stream, log) in replays(&logs, &id, stored) {
            share(&purse, log, &stream);
            let subject = load(format!("stream {stream}"), Some(stream.log_and_type()));
            streams.push(Stream::load(stream, log, subject, stored, now));
        }
        streams.shrink_to_fit();
        restore(&purse, &streams, now);
        let interval = streams.iter().map(|stream| stream.config.interval).min();
        let turn = turns.take(interval.unwrap_or_default(), now);
        streams.iter_mut().for_each(|s| s.wait_for(turn, now));
        Self {
            credential: load(format!("credential {id}"), None),
            gate: PollGate::new(
                requests,
                purse.clone(),
                &context.clock,
                &context.status,
                &context.tenure,
            ),
            purse,
            pause: Pause::load(stored, Paused::Integration, id.as_str()),
            heartbeat: Heartbeat::new(config, stored, now, turn, beat),
            id,
            source: Arc::new(source),
            fingerprint,
            context,
            room,
            resources,
            streams,
            logs,
            fetches: JoinSet::new(),
            epoch: 0,
            proven: false,
            commands,
        }
    }

    /// Polls until `stop` is cancelled or the store fails. Fetches that are out then are dropped; what they did not commit is
    /// fetched again.
    ///
    /// # Errors
    /// The store's: the process must end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        self.source.correct_clock(self.credential.clock_ahead_ms());
        self.lift_blocks().await?;
        let name = format!("integration {}", self.id);
        let alive = self.context.watchdog.enter(name);
        loop {
            alive.works();
            self.look_at_the_time().await?;
            self.start_what_is_due().await?;
            self.show();
            let wake = self.wake();
            let clock = self.context.clock.clone();
            alive.waits(wake.map(|at| at.since(clock.now())));
            let sleep = async {
                match wake {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(first) = self.fetches.join_next() => self.finish(first).await?,
                Some(command) = self.commands.recv() => self.obey(command).await?,
                () = sleep => {}
            }
        }
    }

    /// A block that was for another credential than the one at hand ends before the first request.
    async fn lift_blocks(&mut self) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let subjects = self.resources.values_mut().map(|resource| &mut **resource);
        let subjects = subjects.chain(self.streams.iter_mut().map(|stream| &mut stream.subject));
        for subject in subjects.chain([&mut self.credential]) {
            subject
                .lift(&self.context.store, Some(&self.fingerprint), now)
                .await?;
        }
        self.set_gate(now);
        Ok(())
    }

    fn set_gate(&self, now: Timestamp) {
        let allowed = self.credential.state().allows(now, Some(&self.fingerprint));
        self.gate.allow(allowed && self.pause.is_none());
    }

    /// Does what the passing of time asks for: ends a pause, tells people.
    async fn look_at_the_time(&mut self) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        if self.pause.is_some_and(|pause| pause.is_over(now)) {
            self.end_pause().await?;
        }
        let store = &self.context.store;
        let streams = self.streams.iter_mut().map(|stream| &mut stream.subject);
        let subjects = streams.chain(self.resources.values_mut().map(|resource| &mut **resource));
        for subject in subjects.chain([&mut self.credential]) {
            subject.tick(store, now).await?;
        }
        self.end_replays(now).await?;
        if self.heartbeat.at > now {
            return Ok(());
        }
        let resources = self.resources.values().map(|resource| resource.condition());
        let shared: Vec<_> = resources.chain([self.condition()]).collect();
        let beating =
            |s: &Stream| Beating::of(&s.id, &s.config.log, &s.subject, s.poll, s.last_success);
        let live = self.streams.iter().filter(|stream| stream.replay.is_none());
        let streams: Vec<_> = live.map(beating).collect();
        self.heartbeat
            .beat(&self.context.store, shared, streams, now)
            .await
    }

    async fn end_pause(&mut self) -> Result<(), StoreError> {
        self.pause = None;
        self.set_gate(self.context.clock.now());
        tracing::info!(integration = %self.id, "the pause is over");
        let (store, id) = (&self.context.store, self.id.as_str());
        Pause::store(None, store, Paused::Integration, id).await
    }

    fn condition(&self) -> Condition {
        match &self.pause {
            Some(pause) => pause.condition(self.id.as_str()),
            None => self.credential.condition(),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Pause(pause) => {
                self.pause = Some(pause);
                self.set_gate(self.context.clock.now());
                Ok(())
            }
            Command::Replays => self.take_up_replays().await,
            // What else is wrong is looked at when its time has come.
            Command::Resume if self.pause.is_some() => self.end_pause().await,
            Command::Resume => {
                let now = self.context.clock.now();
                let subjects = self.resources.values_mut().map(|resource| &mut **resource);
                let streams = self.streams.iter_mut().map(|stream| &mut stream.subject);
                for subject in subjects.chain(streams).chain([&mut self.credential]) {
                    subject
                        .judge(&self.context.store, &Outcome::Resumed, now)
                        .await?;
                }
                self.epoch += 1;
                self.set_gate(now);
                Ok(())
            }
        }
    }

    /// How many fetches may be out: one, the probe, while the credential is not known to be good.
    fn places(&self) -> usize {
        if self.proven && self.credential.is_healthy() {
            FETCHES
        } else {
            1
        }
    }

    /// The earliest time at which all that concerns a stream allows its next step; `None` if only a person can bring it about.
    fn ready(&self, stream: &Stream, now: Timestamp) -> Option<Timestamp> {
        let due = stream.due(now)?;
        let resource = self.resources.get(&stream.config.log.path);
        let resource = resource.map(|resource| &**resource);
        let subjects = [Some(&self.credential), resource, Some(&stream.subject)];
        let mut ready = due;
        for subject in subjects.into_iter().flatten() {
            ready = ready.max(subject.state().next_allowed(now)?);
        }
        let budget = self.purse.next(&stream.config.log.path, &stream.id, now);
        Some(ready.max(budget))
    }

    /// Takes what `first` and others that are over came to: failures at once, then what the others found out of their polls, in one
    /// transaction.
    async fn finish(&mut self, first: Result<Done, JoinError>) -> Result<(), StoreError> {
        let others = std::iter::from_fn(|| self.fetches.try_join_next());
        let (mut asked, mut well) = (Vec::new(), Vec::new());
        for one in std::iter::once(first).chain(others).collect::<Vec<_>>() {
            match one {
                Ok(done) if done.result.is_ok() => well.push(done),
                Ok(failed) => self.judge_one(failed).await?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        for done in &well {
            if let (Ok(progress), Some(stream)) = (&done.result, self.streams.get_mut(done.stream))
                && let Some(poll) = &mut stream.poll
                && schedule::note(poll, *progress)
            {
                poll.calls = self.purse.calls(&stream.config.log.path, now);
                asked.push(Asked::new(&stream.id, *poll, wall - stream.config.start));
            }
        }
        self.context.store.asked(asked).await?;
        for done in well {
            self.judge_one(done).await?;
        }
        Ok(())
    }

    async fn judge_one(&mut self, done: Done) -> Result<(), StoreError> {
        if let Some(stream) = self.streams.get_mut(done.stream) {
            stream.running = false;
        }
        match done.result {
            Ok(progress) => self.succeeded(done.stream, done.epoch, progress).await?,
            Err(FetchError::Failed(failure)) => {
                self.failed(done.stream, done.epoch, &failure).await?;
            }
            // Another fetch met the failure; this one is a cut-short attempt.
            Err(FetchError::GateClosed) => {}
            Err(FetchError::Sink(error)) => self.refused(done.stream, error).await?,
        }
        done.gate.judged();
        Ok(())
    }

    async fn succeeded(
        &mut self,
        index: usize,
        epoch: u64,
        progress: Progress,
    ) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let store = &self.context.store;
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        stream.last_success = Some(now);
        stream.subject.may_lack(false);
        stream.fresh = progress != Progress::CaughtUp;
        tracing::debug!(stream = %stream.id, ?progress, "step done");
        stream.subject.judge(store, &Outcome::Success, now).await?;
        // While it may not be asked, the good news is older than the bad.
        let resource = self.resources.get_mut(&stream.config.log.path);
        if let Some(resource) = resource.filter(|resource| resource.state().allows(now, None)) {
            resource.judge(store, &Outcome::Success, now).await?;
        }
        self.compare_clocks(now).await?;
        self.credential_answered(epoch, now).await
    }

    /// The credential was accepted, if that is news of its present state.
    async fn credential_answered(&mut self, epoch: u64, now: Timestamp) -> Result<(), StoreError> {
        if epoch != self.epoch {
            return Ok(());
        }
        self.proven = true;
        if !self.credential.is_healthy() {
            self.epoch += 1;
            self.credential
                .judge(&self.context.store, &Outcome::Success, now)
                .await?;
        }
        Ok(())
    }

    async fn failed(
        &mut self,
        index: usize,
        epoch: u64,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let wall = self.context.clock.wall();
        let row = lookup(failure);
        let action = self.judge(index, epoch, failure, row, wall).await?;
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        self.context.status.failed(&stream.id, &failure.key());
        match action {
            Action::RenewCredential => {
                self.source.renew();
                stream.fresh = true;
            }
            Action::CorrectClock => {
                stream.fresh = true;
                self.correct_clock();
            }
            Action::ResetCursor => stream.read_by_time(&self.context).await?,
            Action::Proceed | Action::Wait | Action::Quarantine => {}
        }
        if row.scope != Scope::Credential && failure.origin == Origin::Mimecast {
            let now = self.context.clock.now();
            self.credential_answered(epoch, now).await?;
        }
        Ok(())
    }

    /// Steps the machine of the subject that a failure belongs to.
    async fn judge(
        &mut self,
        index: usize,
        epoch: u64,
        failure: &Failure,
        row: &Row,
        wall: Timestamp,
    ) -> Result<Action, StoreError> {
        let now = self.context.clock.now();
        let store = &self.context.store;
        let outcome = Outcome::Failed(Attempt {
            failure,
            credential: Some(&self.fingerprint),
            wall,
        });
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(Action::Wait);
        };
        match row.scope {
            Scope::Credential => {
                let final_word = matches!(row.class, Class::LockedOut | Class::CredentialRejected);
                let mut action = Action::Wait;
                // One outage with several requests out counts once.
                if epoch == self.epoch || final_word {
                    self.epoch += 1;
                    action = self.credential.judge(store, &outcome, now).await?;
                }
                self.set_gate(now);
                Ok(action)
            }
            Scope::Resource => match self.resources.get_mut(&stream.config.log.path) {
                Some(resource) => resource.judge(store, &outcome, now).await,
                None => Ok(Action::Wait),
            },
            Scope::Stream | Scope::Output | Scope::Lane => {
                stream.subject.judge(store, &outcome, now).await
            }
        }
    }

    async fn refused(&mut self, index: usize, error: SinkError) -> Result<(), StoreError> {
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        let code = match error {
            SinkError::Closed => return Err(StoreError::Closed),
            SinkError::Moved => {
                tracing::warn!(stream = %stream.id, "the stream was set back while it was read: its step is repeated");
                return Ok(());
            }
            SinkError::Full => "state_dir_full",
            SinkError::Unfit(_) => "unfit",
        };
        let failure = Failure::new(Origin::Local, 0, code, &stream.id.to_string());
        let failure = failure.with_detail(&error.to_string());
        let failure = Room::lacking(self.context.store.outbox(), &error, failure);
        self.context.status.failed(&stream.id, &failure.key());
        let outcome = Outcome::Failed(Attempt {
            failure: &failure,
            credential: None,
            wall: self.context.clock.wall(),
        });
        let now = self.context.clock.now();
        stream
            .subject
            .judge(&self.context.store, &outcome, now)
            .await?;
        Ok(())
    }

    /// When to look again, if nothing happens before.
    fn wake(&self) -> Option<Timestamp> {
        let streams = self.streams.iter().map(|stream| &stream.subject);
        let subjects = streams.chain(self.resources.values().map(|resource| &**resource));
        let ticks = subjects.chain([&self.credential]).map(Subject::next_tick);
        let pause = self.pause.and_then(|pause| pause.until);
        let now = self.context.clock.now();
        let ending = self.streams.iter().any(|stream| stream.is_ending(now));
        let ending = ending.then(|| now + replays::ENDED_WITHIN);
        let others = [self.next_fetch(), pause, ending, Some(self.heartbeat.at)];
        ticks.chain(others).flatten().min()
    }

    fn next_fetch(&self) -> Option<Timestamp> {
        let now = self.context.clock.now();
        if self.pause.is_some() || self.fetches.len() >= self.places() {
            return None;
        }
        let idle = self.streams.iter().filter(|stream| !stream.running);
        let next = idle.filter_map(|stream| self.ready(stream, now)).min()?;
        if next > now {
            return Some(next);
        }
        // Due and not started: there is no room. Outputs make some without a word to us.
        Some(now + Room::LOOK_AGAIN)
    }

    fn show(&self) {
        let now = self.context.clock.now();
        let resources = self.resources.iter();
        let resources = resources.map(|(path, resource)| (path.to_string(), resource.condition()));
        let resources = resources.collect();
        self.context.status.integration(&self.id, |report| {
            report.condition = self.condition();
            report.resources = resources;
        });
        for stream in self.streams.iter().filter(|stream| stream.replay.is_none()) {
            self.context.status.stream(&stream.id, |report| {
                report.condition = stream.subject.condition();
                report.polling = stream.running;
                report.caught_up = stream.poll.is_some_and(|poll| poll.done);
                report.last_success = stream.last_success;
                report.retention_seconds = stream.config.log.kept().map(|kept| kept.as_secs());
                report.next = self.ready(stream, now);
            });
        }
    }
}
