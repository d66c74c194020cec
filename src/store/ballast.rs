//! What keeps the store alive on a full disk: room that is held back for sled, and given up when sled has none.
//!
//! sled writes its log anew for each change, also for one that frees space, and cannot even be opened without room. With the ballast
//! gone the outputs go on, their segments are deleted, and so the disk empties again. Nothing is fetched meanwhile: see
//! [`super::Outbox::is_disk_full`].

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::transaction::{Changed, Engine};
use super::{StoreError, durable, open};

const NAME: &str = "ballast";

/// sled's log of some thousand small records takes 1 to 4 MiB; this is twice that.
const BYTES: u64 = 8 << 20;

impl Engine {
    /// After one refusal for want of room sled refuses for good, until it is opened anew; the records are all in memory.
    pub(super) fn write_or_make_room(
        &mut self,
        changed: &BTreeSet<Changed>,
    ) -> Result<(), StoreError> {
        if self.database.is_some() {
            match self.write(changed) {
                Err(error) if error.is_full() => self.outbox.disk_full(&error),
                done => return done,
            }
        }
        self.close();
        release(&self.root)?;
        self.database = Some(open::open_again(&self.root)?);
        self.write(changed)
    }

    /// Whether the disk has room again.
    pub(super) fn look_at_the_disk(&mut self) {
        match restore(&self.root) {
            Ok(true) => self.outbox.disk_has_room(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the disk of the state directory is still full"),
        }
    }
}

/// Makes the ballast if the disk has room for it and for twice as much beside it; says whether all is well. A filesystem that cannot
/// set space aside has none, and goes by the free space.
pub(super) fn restore(root: &Path) -> Result<bool, StoreError> {
    let path = root.join(NAME);
    // A kill may have left it empty.
    let missing = std::fs::metadata(&path).map_or(true, |found| found.len() < BYTES);
    let needed = if missing { 3 * BYTES } else { 2 * BYTES };
    if free(root)? < needed {
        return Ok(false);
    }
    if !missing {
        return Ok(true);
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    let file = options
        .open(&path)
        .map_err(StoreError::io("create", &path))?;
    match fallocate(&file, FallocateFlags::empty(), 0, BYTES).map_err(io::Error::from) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(error) => {
            release(root)?;
            return Err(StoreError::io("set space aside in", path)(error));
        }
    }
    durable::sync_folder(root).map_err(StoreError::io("sync", root))?;
    Ok(true)
}

/// Whether the disk is as full as a write said: that one may have met a quota, or a file that is none.
pub(super) fn is_short(root: &Path) -> bool {
    free(root).is_ok_and(|free| free < 2 * BYTES)
}

/// Bytes of the disk that this user may take.
fn free(root: &Path) -> Result<u64, StoreError> {
    let found = statvfs(root).map_err(|e| StoreError::io("look at the disk of", root)(e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Gives the ballast up; says whether there was one.
pub(super) fn release(root: &Path) -> Result<bool, StoreError> {
    let path = root.join(NAME);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("delete", path)(error)),
    }
}
