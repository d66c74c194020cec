//! Opening a state directory, and the files in it that stand for themselves.
//!
//! ```text
//! lock            held while a process uses the directory
//! install-id      32 random bytes, hexadecimal: key of fingerprints, seed of jitter
//! sled/           small records
//! lanes/…/N.seg   events
//! memos/…/N.memo  what a source remembers of a stream, besides its cursor
//! quarantine/     records put aside, a JSON object a line, and files that were kept whole
//! commits         how many transactions sled has
//! shadow.json     a copy of the small records, for the day that sled is lost
//! ballast         room that is given up when the disk is full
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::database::{self, Database, Seal, TREES};
use super::files::{not_found, write_synced};
use super::outbox::Outbox;
use super::portable::is_unused;
use super::rescue::{LOST, Lost};
use super::transaction::{Engine, Lane, Records};
use super::{
    LaneRecord, PositionRecord, Store, StoreError, StoreTask, WAITING, ballast, durable, files,
    kept, keys, rescue, segment,
};
use crate::clock::Clock;
use crate::model::{LaneId, Timestamp};

/// The key of an installation: made once, kept in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallId(Arc<[u8; 16]>);

/// The file of it.
pub(super) const INSTALL_ID: &str = "install-id";

impl InstallId {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// As a UUID, as the file has it.
impl fmt::Display for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(*self.0).fmt(f)
    }
}

impl Store {
    /// Opens a state directory, making it if need be, and takes it for this process. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it; [`StoreError::Newer`]; or what failed.
    pub fn open(root: &Path, clock: Clock) -> Result<(Self, StoreTask), StoreError> {
        // It holds what stands in mails: nobody but the user and group of the collector looks into it, whatever their umask.
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o750).create(root);
        made.map_err(StoreError::io("create", root))?;
        Self::open_as(root, clock, open_or_rescue)
    }

    /// As [`Store::open`], for a person who looks or mends while no collector runs: a directory that is not there is not made, and a
    /// lost database is left to the collector, which tells of it.
    ///
    /// # Errors
    /// As for [`Store::open`]; [`StoreError::Unused`], [`StoreError::Lost`].
    pub fn open_as_it_is(root: &Path, clock: Clock) -> Result<(Self, StoreTask), StoreError> {
        if is_unused(root) {
            return Err(StoreError::Unused(root.to_path_buf()));
        }
        Self::open_as(root, clock, open_or_refuse)
    }

    fn open_as(
        root: &Path,
        clock: Clock,
        open: impl Fn(&Path, Timestamp) -> Result<Opened, StoreError>,
    ) -> Result<(Self, StoreTask), StoreError> {
        let lock = lock(root)?;
        let install = install_id(root)?;
        let mut opened = open(root, clock.now());
        if opened.as_ref().is_err_and(StoreError::is_full) && ballast::release(root)? {
            opened = open(root, clock.now());
        }
        let (database, mut records, lost) = opened?;
        if lost.is_some() {
            kept::adopt(root, &mut records.asides, clock.now());
        } else {
            kept::sweep(root, &records.asides);
        }
        let lanes = root.join("lanes");
        std::fs::create_dir_all(&lanes).map_err(StoreError::io("create", &lanes))?;
        durable::sync_folder(root).map_err(StoreError::io("sync", root))?;
        let outbox = Outbox::new(lanes);
        for (id, lane) in &records.lanes {
            recover(&outbox, id, lane)?;
        }
        outbox.put_aside(files::aside_bytes(root));
        let root = Arc::new(root.to_path_buf());
        let (sender, commands) = mpsc::channel(WAITING);
        let store = Self {
            commands: sender,
            outbox: outbox.clone(),
            root: Arc::clone(&root),
            clock: clock.clone(),
            install,
            places: Arc::default(),
        };
        let mut engine = Engine {
            database: Some(database),
            pending: None,
            records,
            root,
            outbox,
            clock,
            routes: None,
            heartbeats: BTreeMap::new(),
            writers: BTreeMap::new(),
            ahead_of_shadow: None,
            _lock: lock,
        };
        match lost {
            Some(lost) => engine.rescue(lost)?,
            None => engine.sweep_strays(),
        }
        match ballast::restore(&engine.root) {
            Ok(true) => {}
            Ok(false) => engine.outbox.disk_full(&"no room is left"),
            Err(error) => engine.outbox.disk_full(&error),
        }
        Ok((store, StoreTask { engine, commands }))
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options
        .open(&path)
        .map_err(StoreError::io("open", path.clone()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(root.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", path)(source)),
    }
}

fn install_id(root: &Path) -> Result<InstallId, StoreError> {
    let path = root.join(INSTALL_ID);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim().parse::<uuid::Uuid>();
            let id = id.map_err(|_| {
                let text = "it is not a UUID: restore it from a backup, or delete it (states of credentials are then forgotten)";
                StoreError::io("read", path)(io::Error::new(io::ErrorKind::InvalidData, text))
            })?;
            Ok(InstallId(Arc::new(id.into_bytes())))
        }
        Err(e) if not_found(&e) => {
            let id = uuid::Uuid::new_v4();
            write_synced(&path, format!("{id}\n").as_bytes())?;
            Ok(InstallId(Arc::new(id.into_bytes())))
        }
        Err(source) => Err(StoreError::io("read", path)(source)),
    }
}

/// What was read of sled, and what had to be made out without it.
type Opened = (Database, Records, Option<Lost>);

/// Opens sled and reads its records, unless it is lost.
fn open_or_refuse(root: &Path, _: Timestamp) -> Result<Opened, StoreError> {
    let why = match open_whole(root) {
        Some(Ok((database, records))) if records.is_empty() && rescue::is_missed(root) => {
            drop(database);
            "it is empty, and the rest of the state directory is not".to_owned()
        }
        Some(Ok((database, records))) => return Ok((database, records, None)),
        Some(Err(error)) if error.is_damage() => error.to_string(),
        Some(Err(error)) => return Err(error),
        None => "it did not open, or hangs".to_owned(),
    };
    Err(StoreError::Lost(why))
}

/// As [`open_or_refuse`]; if sled is lost, begins a new one with what can be made out without it, and says so.
fn open_or_rescue(root: &Path, now: Timestamp) -> Result<Opened, StoreError> {
    let why = match open_or_refuse(root, now) {
        Err(StoreError::Lost(why)) => why,
        opened => return opened,
    };
    let moved_to = format!("{LOST}{}", now.as_millis());
    let (sled, aside) = (root.join("sled"), root.join(&moved_to));
    std::fs::rename(&sled, &aside).map_err(StoreError::io("move aside", sled))?;
    database::forget_commits(root)?;
    tracing::error!(
        why,
        moved_to = %aside.display(),
        "the database of the state directory is lost: cursors and states are taken from its shadow copy, everything that is on disk \
         is delivered again, and each log is asked one interval from now"
    );
    let records = rescue::records(root, now)?;
    Ok((open_sled(root)?, records, Some(Lost { why, moved_to })))
}

/// Opens sled anew for an engine whose records are in memory.
pub(super) fn open_again(root: &Path) -> Result<Database, StoreError> {
    match open_whole(root) {
        Some(opened) => opened.map(|(database, _)| database),
        None => Err(StoreError::Value(
            "sled did not open again after the disk was full".to_owned(),
        )),
    }
}

/// Opens sled and reads all of it; `None` if sled panics or hangs on it, which is how damage shows.
fn open_whole(root: &Path) -> Option<Result<(Database, Records), StoreError>> {
    let root = root.to_path_buf();
    answer_within(OPEN_WITHIN, move || {
        open_sled(&root).and_then(|mut database| {
            database.verify(&root)?;
            let records = read_records(&database)?;
            Ok((database, records))
        })
    })
}

/// What `work` gives on a thread of its own; `None` if it panics or takes longer. Nobody waits for it any more then.
fn answer_within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("open".to_owned())
        .spawn(move || sender.send(work()).ok())
        .ok()?;
    answer.recv_timeout(limit).ok()
}

/// A database of small records opens in milliseconds.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// How often, 5 ms apart, sled's lock is asked for: its threads may outlive the handle of a store that was closed in this process by a
/// moment. Other processes are kept out by our own lock, which is held by now.
const LOCK_TRIES: u32 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that opens sled, and waits for sled's own threads to end"
)]
fn open_db(config: &sled::Config) -> Result<sled::Db, sled::Error> {
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(error) if is_locked(&error) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
    config.open()
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn open_sled(root: &Path) -> Result<Database, StoreError> {
    let folder = root.join("sled");
    // Flushed with each transaction, so sled's own timer has nothing to do. 16 MiB hold tens of thousands of small records.
    let config = sled::Config::new()
        .path(&folder)
        .cache_capacity(16 << 20)
        .flush_every_ms(None);
    let db = open_db(&config).map_err(|error| match is_locked(&error) {
        true => StoreError::Locked(folder.clone()),
        false => error.into(),
    })?;
    let meta = db.open_tree(keys::META)?;
    match meta.get("schema")? {
        Some(found) => {
            let found: u32 = keys::decode(&found)?;
            if found > keys::SCHEMA {
                return Err(StoreError::Newer {
                    dir: root.to_path_buf(),
                    found,
                    known: keys::SCHEMA,
                });
            }
        }
        None => drop(meta.insert("schema", keys::encode(&keys::SCHEMA)?)?),
    }
    let mut trees = Vec::with_capacity(TREES.len());
    for name in TREES {
        trees.push(db.open_tree(name)?);
    }
    let Ok(trees) = <[sled::Tree; 5]>::try_from(trees) else {
        return Err(StoreError::Value("trees".to_owned()));
    };
    db.flush()?;
    let path = folder.join("db");
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(StoreError::io("open", path.clone()))?;
    durable::sync(&file, &path).map_err(StoreError::io("sync", path))?;
    durable::sync_folder(&folder).map_err(StoreError::io("sync", &folder))?;
    Ok(Database {
        db,
        file,
        meta,
        trees,
        seal: Seal::default(),
    })
}

fn read_records(database: &Database) -> Result<Records, StoreError> {
    let mut records = Records::default();
    let [streams, lanes, positions, health, asides] = &database.trees;
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    for pair in streams {
        let (key, value) = pair?;
        records.streams.insert(text(&key), keys::decode(&value)?);
    }
    for pair in lanes {
        let (key, value) = pair?;
        let record: LaneRecord = keys::decode(&value)?;
        let lane = Lane {
            record,
            positions: BTreeMap::new(),
        };
        records.lanes.insert(LaneId::from_text(&text(&key)), lane);
    }
    for pair in positions {
        let (key, value) = pair?;
        let at: PositionRecord = keys::decode(&value)?;
        let lane = keys::parse_position(&key);
        if let Some((output, lane)) = lane
            && let Some(lane) = records.lanes.get_mut(&lane)
        {
            lane.positions.insert(output, at);
        }
    }
    for pair in health {
        let (key, value) = pair?;
        records.health.insert(text(&key), keys::decode(&value)?);
    }
    for pair in asides {
        let (key, value) = pair?;
        match <[u8; 8]>::try_from(key.as_ref()) {
            Ok(number) => {
                let record = keys::decode(&value)?;
                records.asides.insert(u64::from_be_bytes(number), record);
            }
            Err(_) => drop(records.damages.insert(text(&key), keys::decode(&value)?)),
        }
    }
    Ok(records)
}

/// Cuts off what a lane's writer did not commit, and shows the rest.
fn recover(outbox: &Outbox, id: &LaneId, lane: &Lane) -> Result<(), StoreError> {
    let folder = outbox.folder(id);
    let end = lane.record.end;
    let first = lane.positions.values().map(|at| at.position.segment).min();
    let first = first.unwrap_or(0);
    for number in segment::list(&folder).map_err(StoreError::io("list", &folder))? {
        let path = segment::path(&folder, number);
        if number > end.segment || number < first || (number == end.segment && end.offset == 0) {
            segment::remove(&path).map_err(StoreError::io("delete", path))?;
        } else if number == end.segment {
            drop(
                segment::open_at(&folder, number, end.offset)
                    .map_err(StoreError::io("truncate", path))?,
            );
        }
    }
    outbox.show(id, end, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_hangs_or_panics_when_it_is_opened_counts_as_lost() {
        let (held, hangs) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(20);
        assert_eq!(answer_within(limit, move || hangs.recv().is_ok()), None);
        drop(held);
        assert_eq!(answer_within(OPEN_WITHIN, || panic!("damaged")), None::<()>);
        assert_eq!(answer_within(OPEN_WITHIN, || 7), Some(7));
    }
}
