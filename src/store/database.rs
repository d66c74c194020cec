//! sled, and how the store knows that it gives back what was last written to it.
//!
//! sled gets over a damaged log by leaving out what it cannot read: whole transactions at the log's end, or single changes in the middle
//! of it. Neither is an error to it. So each transaction also writes a seal, the number of transactions so far and a sum over all records;
//! and once it is durable, its number goes to the file `commits` beside sled. Records that have another sum, or a seal that is older than
//! that file, are damage like any other. The file is not synced: it is never ahead of sled, whatever of it a power cut takes.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use sled::Transactional as _;
use sled::transaction::{ConflictableTransactionResult, TransactionError, TransactionalTree};

use super::transaction::{Changed, Engine};
use super::{StoreError, durable, keys};

/// The file with the number of the last durable transaction: u64, little-endian, and its CRC32C.
const COMMITS: &str = "commits";

/// sled, open.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) db: sled::Db,
    /// sled's own file, to be synced after its flush.
    pub(super) file: File,
    pub(super) meta: sled::Tree,
    pub(super) trees: [sled::Tree; 5],
    pub(super) seal: Seal,
}

/// The trees in the order of [`Database::trees`].
pub(super) const TREES: [&str; 5] = [
    keys::STREAMS,
    keys::LANES,
    keys::POSITIONS,
    keys::HEALTH,
    keys::ASIDES,
];

/// A record to be written.
struct Write {
    /// Index into [`TREES`].
    tree: usize,
    key: Vec<u8>,
    /// `None` for a record that is gone.
    value: Option<Vec<u8>>,
}

/// What all records must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// Transactions so far.
    commits: u64,
    /// Sum of the checksums of all records.
    sum: u64,
}

impl Seal {
    fn to_bytes(self) -> [u8; 16] {
        let both = u128::from(self.commits) << 64 | u128::from(self.sum);
        both.to_be_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (commits, sum) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            commits: u64::from_be_bytes(*commits),
            sum: u64::from_be_bytes(sum.try_into().ok()?),
        })
    }

    fn replace(&mut self, tree: usize, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let weight = |value: Option<&[u8]>| value.map_or(0, |value| checksum(tree, key, value));
        self.sum = self.sum.wrapping_sub(weight(old));
        self.sum = self.sum.wrapping_add(weight(new));
    }
}

fn checksum(tree: usize, key: &[u8], value: &[u8]) -> u64 {
    let place = [tree.to_le_bytes(), key.len().to_le_bytes()].concat();
    let parts = [&place, key, value].into_iter();
    u64::from(parts.fold(0, crc32c::crc32c_append))
}

impl Database {
    /// Compares the records with their seal, and the seal with the file beside sled. Records of versions that had no seal get one.
    ///
    /// # Errors
    /// [`StoreError::Value`] if they are not what was last written.
    pub(super) fn verify(&mut self, root: &Path) -> Result<(), StoreError> {
        let mut found = Seal::default();
        for (number, tree) in self.trees.iter().enumerate() {
            for pair in tree {
                let (key, value) = pair?;
                found.replace(number, &key, None, Some(&value));
            }
        }
        if let Some(seal) = self.meta.get(keys::SEAL)? {
            let seal = Seal::from_bytes(&seal);
            let seal = seal.ok_or_else(|| StoreError::Value("its seal is cut".to_owned()))?;
            if seal.sum != found.sum {
                let what = "its records do not agree with each other: some are older than others";
                return Err(StoreError::Value(what.to_owned()));
            }
            found.commits = seal.commits;
        }
        let last = read_commits(root).unwrap_or(0);
        if found.commits < last {
            let missing = last - found.commits;
            return Err(StoreError::Value(format!(
                "it has gone back: its last {missing} transactions are missing"
            )));
        }
        self.seal = found;
        Ok(())
    }

    /// Writes records in one transaction with their seal.
    fn transact(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let [streams, lanes, positions, health, asides] = &self.trees;
        let all = (streams, lanes, positions, health, asides, &self.meta);
        let before = self.seal;
        let outcome = all.transaction(
            |(streams, lanes, positions, health, asides, meta)| -> ConflictableTransactionResult<Seal, ()> {
                let trees: [&TransactionalTree; 5] = [streams, lanes, positions, health, asides];
                let mut seal = before;
                seal.commits += 1;
                for write in writes {
                    let Some(tree) = trees.get(write.tree) else {
                        continue;
                    };
                    let old = match &write.value {
                        Some(value) => tree.insert(write.key.as_slice(), value.as_slice())?,
                        None => tree.remove(write.key.as_slice())?,
                    };
                    let new = write.value.as_deref();
                    seal.replace(write.tree, &write.key, old.as_deref(), new);
                }
                meta.insert(keys::SEAL, &seal.to_bytes())?;
                Ok(seal)
            },
        );
        match outcome {
            Ok(seal) => {
                self.seal = seal;
                Ok(())
            }
            Err(TransactionError::Storage(error)) => Err(error.into()),
            Err(TransactionError::Abort(())) => Err(StoreError::Closed),
        }
    }
}

/// The number of the last transaction that was durable, as far as the file is whole.
fn read_commits(root: &Path) -> Option<u64> {
    let bytes = std::fs::read(root.join(COMMITS)).ok()?;
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    let is_whole = crc == crc32c::crc32c(number).to_le_bytes();
    is_whole.then(|| u64::from_le_bytes(*number))
}

fn write_commits(root: &Path, number: u64) -> io::Result<()> {
    let number = number.to_le_bytes();
    let bytes = [&number[..], &crc32c::crc32c(&number).to_le_bytes()].concat();
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let path = root.join(COMMITS);
    options.open(&path)?.write_all_at(&bytes, 0)?;
    durable::unsynced(&path);
    Ok(())
}

/// Forgets the number of transactions, of a sled that is no more.
pub(super) fn forget_commits(root: &Path) -> Result<(), StoreError> {
    let path = root.join(COMMITS);
    super::segment::remove(&path).map_err(StoreError::io("delete", path))
}

impl Engine {
    /// Closes sled. One that the system refused something may panic once more as it goes, when all that counts is said already.
    pub(super) fn close(&mut self) {
        let database = self.database.take();
        let closed = std::panic::catch_unwind(AssertUnwindSafe(|| drop(database)));
        if closed.is_err() {
            tracing::debug!("the database did not close in order");
        }
    }

    /// Writes the changed records in one transaction and makes them durable.
    pub(super) fn write(&mut self, changed: &BTreeSet<Changed>) -> Result<(), StoreError> {
        // Where the system refuses it something in the middle of a write, sled may panic.
        let work = AssertUnwindSafe(|| self.write_through(changed));
        std::panic::catch_unwind(work).unwrap_or(Err(StoreError::BrokeOff))
    }

    fn write_through(&mut self, changed: &BTreeSet<Changed>) -> Result<(), StoreError> {
        let mut writes = Vec::with_capacity(changed.len());
        for change in changed {
            writes.push(self.encode(change)?);
        }
        let Some(database) = &mut self.database else {
            return Err(StoreError::Closed);
        };
        database.transact(&writes)?;
        database.db.flush()?;
        // Measured: sled's flush alone loses everything at a power cut, as it never calls fsync on Linux.
        let path = self.root.join("sled/db");
        durable::sync(&database.file, &path).map_err(StoreError::io("sync", path))?;
        if let Err(error) = write_commits(&self.root, database.seal.commits) {
            tracing::debug!(%error, "the number of transactions is not noted");
        }
        Ok(())
    }

    fn encode(&self, change: &Changed) -> Result<Write, StoreError> {
        let records = &self.records;
        let (tree, key, value) = match change {
            Changed::Stream(key) => {
                let value = records.streams.get(key).map(keys::encode);
                (0, key.clone().into_bytes(), value)
            }
            Changed::Lane(id) => {
                let value = records.lanes.get(id).map(|l| keys::encode(&l.record));
                (1, id.as_str().as_bytes().to_vec(), value)
            }
            Changed::Position(id, output) => {
                let lane = records.lanes.get(id);
                let value = lane.and_then(|lane| lane.positions.get(output));
                (2, keys::position(output, id), value.map(keys::encode))
            }
            Changed::Health(subject) => {
                let value = records.health.get(subject).map(keys::encode);
                (3, subject.clone().into_bytes(), value)
            }
            Changed::Aside(number) => {
                let value = records.asides.get(number).map(keys::encode);
                (4, number.to_be_bytes().to_vec(), value)
            }
            Changed::Damage(key) => {
                let value = records.damages.get(key).map(keys::encode);
                (4, key.clone().into_bytes(), value)
            }
        };
        let value = value.transpose()?;
        Ok(Write { tree, key, value })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}
