//! All syncs of the store: what they have covered survives a power cut, and nothing else is relied on.
//!
//! In tests a recorder takes down what each of them covers, so that the disk can be rebuilt as a power cut would have left it after any
//! of them, with everything lost that was only written, and nothing left that was removed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Makes a file's content durable, and its length; not its entry in the folder.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_data()?;
    note(path);
    Ok(())
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    note(folder);
    Ok(())
}

/// Removes a file. That may reach the disk at any time, so what relies on the file must be over by now.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    note_removed(path);
    Ok(())
}

/// Says that a file was written which nobody syncs: any of it may reach the disk at any time.
pub(super) fn unsynced(path: &Path) {
    note(path);
}

/// Makes a folder with all that lead to it, durably: a folder that is there can be relied on, whichever task has made it.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    // Two tasks may make folders below the same new one; neither goes on before that is durable.
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    std::fs::create_dir_all(folder)?;
    for parent in missing.into_iter().rev().filter_map(Path::parent) {
        sync_folder(parent)?;
    }
    Ok(())
}

static MAKING: Mutex<()> = Mutex::new(());

#[cfg(not(test))]
const fn note(_: &Path) {}
#[cfg(not(test))]
const fn note_removed(_: &Path) {}

#[cfg(test)]
use recorder::{note, note_removed};

#[cfg(test)]
pub(super) mod recorder {
    //! What a power cut leaves behind.

    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// What each sync below a recorded folder covered, in order.
    static RECORDED: Mutex<BTreeMap<PathBuf, Vec<Synced>>> = Mutex::new(BTreeMap::new());

    #[derive(Clone)]
    enum Synced {
        /// The content of a file, by its inode; packed, as databases are mostly zeros.
        File(u64, Vec<u8>),
        /// A removed entry of a folder, which may be gone at once.
        Gone(u64, String),
        /// The entries of a folder: names, inodes, and whether they are folders.
        Folder(u64, Vec<(String, u64, bool)>),
    }

    /// The syncs of one state directory.
    pub(in crate::store) struct Recorder {
        root: PathBuf,
    }

    fn recorded() -> MutexGuard<'static, BTreeMap<PathBuf, Vec<Synced>>> {
        RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<'a>(
        recorded: &'a mut BTreeMap<PathBuf, Vec<Synced>>,
        path: &Path,
    ) -> Option<&'a mut Vec<Synced>> {
        let mut all = recorded.iter_mut();
        all.find_map(|(root, syncs)| path.starts_with(root).then_some(syncs))
    }

    /// Takes down that a file is gone.
    pub(super) fn note_removed(path: &Path) {
        if let Some(syncs) = of(&mut recorded(), path) {
            let folder = fs::metadata(path.parent().unwrap()).unwrap().ino();
            let name = path.file_name().unwrap().to_str().unwrap();
            syncs.push(Synced::Gone(folder, name.to_owned()));
        }
    }

    /// Takes down what a sync of `path` covered, if it lies below a recorded folder.
    pub(super) fn note(path: &Path) {
        let mut recorded = recorded();
        let Some(syncs) = of(&mut recorded, path) else {
            return;
        };
        let inode = fs::metadata(path).unwrap().ino();
        if path.is_file() {
            syncs.push(file(inode, path));
            return;
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            let meta = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            // sled syncs its small files itself, before they are seen; its large one never.
            if path.ends_with("sled") && meta.is_file() && name != "db" {
                syncs.push(file(meta.ino(), &entry.path()));
            }
            entries.push((name, meta.ino(), meta.is_dir()));
        }
        syncs.push(Synced::Folder(inode, entries));
    }

    fn file(inode: u64, path: &Path) -> Synced {
        let content = fs::read(path).unwrap();
        Synced::File(inode, lz4_flex::compress_prepend_size(&content))
    }

    impl Recorder {
        /// Records from now on what is synced below `root`.
        pub(in crate::store) fn start(root: &Path) -> Self {
            recorded().insert(root.to_path_buf(), Vec::new());
            let root = root.to_path_buf();
            Self { root }
        }

        /// How many syncs there have been.
        pub(in crate::store) fn syncs(&self) -> usize {
            recorded().get(&self.root).map_or(0, Vec::len)
        }

        /// Rebuilds in the empty folder `to` what a power cut after the first `syncs` of them leaves.
        pub(in crate::store) fn cut(&self, syncs: usize, to: &Path) {
            let all = recorded().get(&self.root).cloned().unwrap_or_default();
            let mut files = BTreeMap::new();
            let mut folders: BTreeMap<u64, Vec<(String, u64, bool)>> = BTreeMap::new();
            for synced in all.into_iter().take(syncs) {
                match synced {
                    Synced::File(inode, content) => drop(files.insert(inode, content)),
                    Synced::Gone(inode, gone) => {
                        let entries = folders.entry(inode).or_default();
                        entries.retain(|(name, ..)| *name != gone);
                    }
                    Synced::Folder(inode, entries) => drop(folders.insert(inode, entries)),
                }
            }
            let root = fs::metadata(&self.root).unwrap().ino();
            let mut left = vec![(root, to.to_path_buf())];
            while let Some((inode, path)) = left.pop() {
                fs::create_dir_all(&path).unwrap();
                for (name, inode, is_folder) in folders.get(&inode).into_iter().flatten() {
                    let path = path.join(name);
                    if *is_folder {
                        left.push((*inode, path));
                        continue;
                    }
                    // An entry may be there before any of the content is.
                    let content = files.get(inode).map_or_else(Vec::new, |packed| {
                        lz4_flex::decompress_size_prepended(packed).unwrap()
                    });
                    fs::write(path, content).unwrap();
                }
            }
        }
    }

    impl Drop for Recorder {
        fn drop(&mut self) {
            recorded().remove(&self.root);
        }
    }
}
