//! The state of a collector that does not run, for a person who looks at it, carries it elsewhere or sends a stream back.
//!
//! Each of these takes the lock of the state directory, so none meets a running collector. What is planned is a pure function of the
//! exported [`Document`]; only then something is done, in the store's own transactions. Lanes are never touched: what waits, waits on.

pub mod import;
pub mod reset;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{Cursor, LaneId, OutputId, StreamId, Timestamp};
use crate::store::{self, PositionRecord, Snapshot, Store, StoreError, StoreTask, StreamRecord};

/// All that is exported of a state directory: no event, and no secret, as none is ever stored. Scripts read it: members are added, never
/// changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The version of this form.
    pub version: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// When it was written.
    pub written: Timestamp,
    /// The installation's id, by which credentials are recognised; a UUID.
    pub installation: String,
    /// Each stream, `integration/log/type`.
    pub streams: BTreeMap<String, Place>,
    /// How far each output is in each lane.
    pub outputs: Vec<OutputPlace>,
    /// Each state of health by its subject: credentials, resources, streams, outputs, watches, pauses.
    pub states: BTreeMap<String, Value>,
    /// Records that are put aside.
    pub put_aside: u64,
    /// Bytes of all segments and of the quarantine.
    pub spool_bytes: u64,
}

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Cursor, polls, counts.
    #[serde(flatten)]
    pub record: StreamRecord,
    /// Before this cursor everything was delivered to all outputs: who has not the lanes goes on from here.
    pub delivered_until: Option<Cursor>,
}

/// How far an output is in a lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputPlace {
    /// The output.
    pub output: OutputId,
    /// The stream that the lane is of, or the collector's own lane.
    pub lane: LaneId,
    /// Its position and counts.
    #[serde(flatten)]
    pub record: PositionRecord,
    /// Events that wait for it.
    pub waiting: u64,
}

impl Document {
    /// The version of the form.
    pub const VERSION: u32 = 1;

    /// Reads a document from the text of `file`.
    ///
    /// # Errors
    /// That it is none, or one of a later version.
    pub fn read(file: &Path, text: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let unfit = |why: String| StateError::Document {
            file: file.to_path_buf(),
            why,
        };
        let found: Version = serde_json::from_slice(text)
            .map_err(|e| unfit(format!("it is no exported state: {e}")))?;
        if found.version > Self::VERSION {
            return Err(unfit(format!(
                "it has version {}, this program reads versions up to {}: use the newer program",
                found.version,
                Self::VERSION
            )));
        }
        let document: Self = serde_json::from_slice(text)
            .map_err(|e| unfit(format!("it is no exported state: {e}")))?;
        if document.installation.parse::<uuid::Uuid>().is_err() {
            return Err(unfit(format!(
                "its installation '{}' is no UUID",
                document.installation
            )));
        }
        for name in document.streams.keys() {
            if StreamId::parse(name).is_none() {
                return Err(unfit(format!("'{name}' is no name of a stream")));
            }
        }
        Ok(document)
    }

    fn of(
        stored: Snapshot,
        mut delivered: BTreeMap<String, Option<Cursor>>,
        installation: String,
        now: Timestamp,
    ) -> Self {
        let waiting = |lane: &LaneId, at: &PositionRecord| {
            let events = stored.lanes.get(lane).map_or(0, |lane| lane.events);
            events.saturating_sub(at.passed)
        };
        let output =
            |((output, lane), record): (&(OutputId, LaneId), &PositionRecord)| OutputPlace {
                waiting: waiting(lane, record),
                output: output.clone(),
                lane: lane.clone(),
                record: record.clone(),
            };
        let outputs = stored.positions.iter().map(output).collect();
        let place = |(name, record): (String, StreamRecord)| {
            let delivered_until = delivered.remove(&name).flatten();
            let place = Place {
                record,
                delivered_until,
            };
            (name, place)
        };
        Self {
            version: Self::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            written: now,
            installation,
            streams: stored.streams.into_iter().map(place).collect(),
            outputs,
            states: stored.health,
            put_aside: stored.asides.values().map(|aside| aside.records).sum(),
            spool_bytes: stored.spool_bytes,
        }
    }
}

/// Why the state cannot be read, carried or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no such folder.
    #[error(
        "there is no state directory {0}: see state_dir of the configuration; the collector's first start makes it"
    )]
    Missing(PathBuf),
    /// Files made here would belong to somebody who is not the collector.
    #[error(
        "the state directory {dir} belongs to the user {owner}, and this runs as the user {us}, whose files the collector could not \
         read: run it as that user, with a package: runuser -u mimecast-collector -- mimecast-collector state …"
    )]
    Owner {
        /// The state directory.
        dir: PathBuf,
        /// Its user.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
    /// A collector uses it.
    #[error(
        "a collector is running with the state directory {0}: stop it first (systemctl stop mimecast-collector), and start it again \
         afterwards; of one that runs, 'status --json' and 'ledger' tell"
    )]
    Running(PathBuf),
    /// The file is not what was exported.
    #[error("cannot import {file}: {why}")]
    Document {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// What is wished for would lose events, or cannot be.
    #[error("{0}")]
    Refused(String),
    /// The store cannot be opened, or failed.
    #[error(transparent)]
    Store(StoreError),
    /// A file cannot be read or written.
    #[error("cannot {attempt} {path}: {source}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nowhere to write the answer.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked(dir) => Self::Running(dir),
            other @ (StoreError::Newer { .. }
            | StoreError::Unused(_)
            | StoreError::Lost(_)
            | StoreError::Io { .. }
            | StoreError::Sled(_)
            | StoreError::Value(_)
            | StoreError::BrokeOff
            | StoreError::Closed
            | StoreError::Moved) => Self::Store(other),
        }
    }
}

/// A state directory, held as long as this lives.
#[derive(Debug)]
pub struct Held {
    store: Store,
    clock: Clock,
    task: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
}

impl Held {
    /// Takes a state directory that is there. Blocks on the disk.
    ///
    /// # Errors
    /// [`StateError`]: it is missing, another user's, in use, or not whole.
    pub fn open(state_dir: &Path, clock: Clock) -> Result<Self, StateError> {
        is_ours(state_dir)?;
        let opened = Store::open_as_it_is(state_dir, clock.clone())?;
        Ok(Self::with(opened, clock))
    }

    /// As [`Held::open`], for a directory that may hold nothing yet; then it becomes one of `installation`.
    fn begin(state_dir: &Path, installation: &str, clock: Clock) -> Result<Self, StateError> {
        store::adopt(state_dir, installation)?;
        let opened = Store::open(state_dir, clock.clone())?;
        Ok(Self::with(opened, clock))
    }

    fn with((store, task): (Store, StoreTask), clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        Self {
            store,
            clock,
            task: tasks,
            stop,
        }
    }

    /// All that can be said of it.
    ///
    /// # Errors
    /// The store's.
    pub async fn document(&self) -> Result<Document, StateError> {
        let stored = self.store.snapshot().await?;
        let delivered = self.store.delivered_until().await?;
        let install = self.store.install_id().to_string();
        Ok(Document::of(stored, delivered, install, self.clock.wall()))
    }

    /// Gives it back; what was done is on the disk.
    ///
    /// # Errors
    /// What the store failed with.
    pub async fn release(mut self) -> Result<(), StateError> {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            match ended {
                Ok(ended) => ended?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(StoreError::Closed.into()),
            }
        }
        Ok(())
    }
}

/// Whether files that are made in the folder will belong to whom it belongs to.
fn is_ours(state_dir: &Path) -> Result<(), StateError> {
    let found = match std::fs::metadata(state_dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StateError::Missing(state_dir.to_path_buf()));
        }
        Err(source) => {
            return Err(StateError::File {
                attempt: "look at",
                path: state_dir.to_path_buf(),
                source,
            });
        }
    };
    same_user(state_dir, found.uid(), rustix::process::geteuid().as_raw())
}

fn same_user(dir: &Path, owner: u32, us: u32) -> Result<(), StateError> {
    if owner == us {
        return Ok(());
    }
    Err(StateError::Owner {
        dir: dir.to_path_buf(),
        owner,
        us,
    })
}

#[cfg(test)]
mod tests;
