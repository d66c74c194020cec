//! Everything that must not be lost: cursors, states and positions in sled, events in segment files beside it.
//!
//! One task owns sled. It takes the commands that wait, applies them in one transaction, syncs, and answers each. The order of a
//! commit is what all promises rest on:
//!
//! 1. the frames are appended to the lane's segment and synced (a new segment's folder, too);
//! 2. one sled transaction compares the stream's cursor and writes the lane's length, the next cursor, the counts and the seal;
//! 3. sled is flushed and its `db` file synced, as its own flush does not reach the disk on Linux;
//! 4. only now the commit is answered and shown to outputs.
//!
//! What was appended without its transaction is cut off by the next writer, or at the next start. Segments are deleted when the
//! position of every output is committed behind them. The store knows neither the network, nor what a cursor means, nor how an output works.

mod ack;
mod ballast;
mod books;
mod buffers;
mod chunk;
mod command;
mod database;
mod dead;
mod durable;
mod failures;
mod files;
mod forget;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod handover;
mod kept;
mod keys;
mod lane;
mod notice;
mod open;
mod outbox;
mod portable;
mod records;
mod repair;
mod replay;
mod rescue;
mod rhythm;
mod route;
mod segment;
mod transaction;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use books::{Books, Tally};
pub use chunk::Chunk;
pub use failures::last_failures;
pub use forget::{Forget, Forgotten};
pub use handover::{Left, Portrait, StreamPortrait, StreamState, Undelivered};
pub use lane::LaneWriter;
pub use notice::Notice;
pub use open::InstallId;
pub use outbox::{Ahead, Outbox, ReadError};
pub use portable::{Portable, adopt, is_unused};
pub use records::{
    Aside, AsideEvent, AsideRecord, Calls, LaneRecord, PollRecord, PositionRecord, Repair, Replay,
    Snapshot, StreamRecord,
};

pub use rescue::LOST;
pub use rhythm::Rhythm;

use crate::clock::Clock;
use crate::model::{Cursor, LaneId, OutputId, Position, Route, StreamId, Timestamp};
use command::Command;
use transaction::Engine;

/// Commands that may wait for the store; more make their senders wait.
const WAITING: usize = 1024;
/// From a change of the small records to the shadow copy that has it; states of health do not wait.
const SHADOW_AFTER: Duration = Duration::from_secs(60);
/// Commands that share a transaction and its syncs.
const GROUP: usize = 256;
/// How often a full disk is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A handle to the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    outbox: Outbox,
    root: Arc<PathBuf>,
    clock: Clock,
    install: InstallId,
    /// One place for a writer in each lane.
    places: Arc<Mutex<BTreeMap<LaneId, Arc<Semaphore>>>>,
}

/// The store's task; nothing is applied before it runs.
#[derive(Debug)]
pub struct StoreTask {
    engine: Engine,
    commands: mpsc::Receiver<Command>,
}

/// Why the store cannot be opened, or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the state directory.
    #[error(
        "the state directory {0} is in use by another process: stop that one first, or give this one its own state_dir"
    )]
    Locked(PathBuf),
    /// The state directory was written by a later version.
    #[error(
        "the state directory {dir} has layout {found}, this version knows layouts up to {known}: run the newer version"
    )]
    Newer {
        /// The state directory.
        dir: PathBuf,
        /// Its layout.
        found: u32,
        /// The latest known layout.
        known: u32,
    },
    /// There is nothing in the state directory.
    #[error(
        "the state directory {0} holds nothing: no collector has run with it; see state_dir of the configuration"
    )]
    Unused(PathBuf),
    /// The database cannot be opened or read.
    #[error(
        "the database in the state directory is lost ({0}): start the collector, which goes on from its shadow copy and says what is repeated"
    )]
    Lost(String),
    /// The disk said no.
    #[error("cannot {attempt} {path}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// sled said no.
    #[error("the database in the state directory failed: {}", plain(.0))]
    Sled(#[from] sled::Error),
    /// sled panicked in the middle of a write, as it does when the system refuses it something.
    #[error(
        "the database in the state directory broke off: look at the disk; a new start goes on from what was committed"
    )]
    BrokeOff,
    /// A record that cannot be written or read.
    #[error("a record of the database is unfit: {0}")]
    Value(String),
    /// The store has stopped.
    #[error("the store has stopped")]
    Closed,
    /// The stream's cursor was not the expected one.
    #[error("the stream's cursor has moved")]
    Moved,
}

impl StoreError {
    fn io(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            attempt,
            path,
            source,
        }
    }

    /// Whether it says that the database is not what was written, rather than that it may not or cannot be reached now.
    fn is_damage(&self) -> bool {
        match self {
            Self::Value(_) => true,
            // An error without a number is not the system's: sled found less than it looked for.
            Self::Sled(sled::Error::Io(error)) => error.raw_os_error().is_none(),
            Self::Sled(_) => true,
            Self::Io { .. }
            | Self::Locked(_)
            | Self::Newer { .. }
            | Self::Unused(_)
            | Self::Lost(_)
            | Self::BrokeOff
            | Self::Closed
            | Self::Moved => false,
        }
    }

    /// Whether it only says that the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Sled(sled::Error::Io(source)) => is_full(source),
            Self::Locked(_)
            | Self::Newer { .. }
            | Self::Unused(_)
            | Self::Lost(_)
            | Self::Sled(_)
            | Self::BrokeOff
            | Self::Value(_)
            | Self::Closed
            | Self::Moved => false,
        }
    }
}

/// What sled says; what the system said to sled, as the system says it.
fn plain(error: &sled::Error) -> String {
    if let sled::Error::Io(error) = error {
        return error.to_string();
    }
    error.to_string()
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl StoreTask {
    /// Applies commands until `stop` is cancelled and none waits, or the store fails.
    ///
    /// # Errors
    /// What failed; the process ends, and what was committed is safe.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let Self {
            mut engine,
            mut commands,
        } = self;
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut group = tokio::select! {
                biased;
                _ = looks.tick(), if engine.outbox.is_disk_full() => {
                    (engine, ()) = with(engine, Engine::look_at_the_disk).await;
                    continue;
                }
                command = commands.recv() => command.into_iter().collect::<Vec<_>>(),
                () = stop.cancelled() => commands.try_recv().into_iter().collect(),
                // An empty group: only the shadow copy may be due.
                () = tokio::time::sleep(SHADOW_AFTER), if engine.is_ahead_of_shadow() => {
                    (engine, ()) = with(engine, Engine::write_shadow).await;
                    continue;
                }
            };
            if group.is_empty() {
                return Ok(());
            }
            while group.len() < GROUP {
                match commands.try_recv() {
                    Ok(command) => group.push(command),
                    Err(_) => break,
                }
            }
            // Where no disk is touched, no thread is needed that may wait for it.
            if group.iter().all(|command| engine.is_question(command)) {
                engine.apply(group)?;
                continue;
            }
            let mut result;
            (engine, result) = with(engine, |engine| engine.apply(group)).await;
            while result.as_ref().is_err_and(StoreError::is_full) {
                engine.outbox.set_stalled(true);
                tokio::select! {
                    () = stop.cancelled() => return result,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                (engine, result) = with(engine, Engine::settle).await;
            }
            engine.outbox.set_stalled(false);
            if let Err(error) = &result {
                // Before anybody hears that the store has stopped, and ends the process by that.
                tracing::error!(%error, "the state directory failed: the process ends, and a new start goes on from what was committed");
            }
            result?;
        }
    }
}

/// Lets the engine work where blocking does no harm.
async fn with<T: Send + 'static>(
    mut engine: Engine,
    work: impl FnOnce(&mut Engine) -> T + Send + 'static,
) -> (Engine, T) {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut engine);
        (engine, result)
    });
    match done.await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// A poll of a stream, or its continuation, to be recorded.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The stream.
    pub stream: StreamId,
    /// What is known of the poll.
    pub poll: PollRecord,
    /// By the wall clock, where the first poll of all begins.
    pub origin: Timestamp,
}

impl Asked {
    /// That `stream` is asked; `origin` counts if it never was before.
    #[must_use]
    pub fn new(stream: &StreamId, poll: PollRecord, origin: Timestamp) -> Self {
        Self {
            stream: stream.clone(),
            poll,
            origin,
        }
    }
}

/// How far a receiver went, to be committed.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The output.
    pub output: OutputId,
    /// The lane.
    pub lane: LaneId,
    /// Before the next event to be delivered.
    pub position: Position,
    /// Events accepted since the last one.
    pub accepted: u64,
    /// Events refused since the last one; they are put aside first.
    pub rejected: Vec<Aside>,
    /// Events passed since the last one that the receiver was not offered.
    pub filtered: u64,
}

impl Store {
    /// The events that wait for outputs.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The key of this installation.
    #[must_use]
    pub fn install_id(&self) -> &InstallId {
        &self.install
    }

    /// What is known of a stream.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn stream(&self, stream: &StreamId) -> Result<StreamRecord, StoreError> {
        let stream = stream.clone();
        self.ask(|reply| Command::Stream { stream, reply }).await
    }

    /// Records that streams are about to be asked, or were: in one transaction, as those of an integration are due together.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn asked(&self, polls: Vec<Asked>) -> Result<(), StoreError> {
        if polls.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Command::Asked { polls, reply }).await
    }

    /// Sets a stream back to `cursor`, and what the source remembers of it to nothing, or the repeat would be taken for known. With
    /// an `origin`, reading by time begins there.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn reset(
        &self,
        stream: &StreamId,
        cursor: Option<Cursor>,
        origin: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let stream = stream.clone();
        self.ask(|reply| Command::Reset {
            stream,
            cursor,
            origin,
            reply,
        })
        .await
    }

    /// Keeps a state of health under the name of its subject, and tells of it in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or, with a notice, that the disk is full: then nothing is kept.
    pub async fn put_health(
        &self,
        subject: String,
        state: serde_json::Value,
        notice: Option<Notice>,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Command::Health {
            subject,
            state,
            notice,
            reply,
        })
        .await
    }

    /// Notes a failure, as one line of JSON, for those who are asked for help. It is no promise of the store's: a power cut, or a full
    /// disk, may take the last lines.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn note_failure(&self, line: String) -> Result<(), StoreError> {
        let told = self.commands.send(Command::Failure { line }).await;
        told.map_err(|_| StoreError::Closed)
    }

    /// Tells that `of` is alive, unless no output has taken the last word of it yet: so heartbeats do not pile up.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or that the disk is full.
    pub async fn heartbeat(&self, of: String, notice: Notice) -> Result<(), StoreError> {
        self.ask(|reply| Command::Heartbeat { of, notice, reply })
            .await
    }

    /// Says where lanes go. An output that is new to a lane begins at its end, or at its oldest event if the route says so; a lane that
    /// begins later begins for all outputs that it goes to. Positions of outputs that a lane does not go to any more stay.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn route<R: Into<Route>>(&self, routes: Vec<R>) -> Result<(), StoreError> {
        let routes = routes.into_iter().map(Into::into).collect();
        self.ask(|reply| Command::Route { routes, reply }).await
    }

    /// Moves an output's position.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or the disk's refusal to take the rejected events; then nothing has moved.
    pub async fn ack(&self, ack: Ack) -> Result<(), StoreError> {
        let mut aside = None;
        if !ack.rejected.is_empty() {
            let (root, at) = (Arc::clone(&self.root), self.clock.now());
            let owner = format!("{} {}", ack.output, ack.lane);
            let rejected = ack.rejected.clone();
            let write = move || files::write_aside(&root, &owner, at, &rejected, None);
            aside = Some(blocking(write).await?);
        }
        self.ask(|reply| Command::Ack { ack, aside, reply }).await
    }

    /// Notes that the frame at `at` of a lane cannot be read: its stream goes back to where it stood before the frame, and every
    /// output steps over it. Answers where the next frame is, and whether the damage was new.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn damaged(
        &self,
        lane: &LaneId,
        at: Position,
        reason: String,
    ) -> Result<Detour, StoreError> {
        let lane = lane.clone();
        self.ask(|reply| Command::Damaged {
            lane,
            at,
            reason,
            reply,
        })
        .await
    }

    /// All small records as they stand.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.ask(|reply| Command::Snapshot { reply }).await
    }

    /// The sink for one step of a stream. A writer that lives on, because a step that was given up still decodes, is waited for: two
    /// writers would write to the same place.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or the disk's.
    pub async fn writer(&self, stream: &StreamId) -> Result<LaneWriter, StoreError> {
        let lane = LaneId::stream(stream);
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let place = places.entry(lane.clone());
            Arc::clone(place.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        let place = place.acquire_owned().await;
        let place = place.map_err(|_| StoreError::Closed)?;
        let opened = {
            let (lane, stream) = (lane.clone(), stream.clone());
            self.ask(|reply| Command::Open {
                lane,
                stream,
                reply,
            })
            .await?
        };
        Ok(LaneWriter::new(
            self.commands.clone(),
            Arc::clone(&self.root),
            self.clock.clone(),
            stream,
            opened,
            place,
        ))
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// How outputs get past a damaged frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detour {
    /// The next frame.
    pub next: Position,
    /// Whether it was reported for the first time; only then the stream was set back.
    pub new: bool,
    /// Events that the damaged frame announced, if its header could be read.
    pub events: u64,
    /// Where the stream goes on, if it was set back.
    pub cursor: Option<Cursor>,
    /// When the first of the events happened that may come twice, if it was set back and there are any.
    pub repeats_from: Option<Timestamp>,
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed),
    }
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;
