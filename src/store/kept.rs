//! Files that are kept whole, with the record that says why.
//!
//! A copy is written and synced first, then the record's own file, then the transaction names both. Until then a copy goes when its owner
//! does; one that a kill leaves behind is removed at the next start. Where the transactions are lost with sled, it is taken up instead:
//! nothing that was kept is deleted without a command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{AsideRecord, Store, StoreError, dead, durable, files, segment};
use crate::model::Timestamp;

/// What the name of a copy ends with; the file of its record has the same name otherwise.
const SUFFIX: &str = ".file";

/// A copy that no transaction names yet: it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct KeptFile {
    path: PathBuf,
    /// Below the state directory.
    name: String,
    named: bool,
}

impl KeptFile {
    /// Copies a file below the state directory, and makes the copy durable.
    pub(super) fn of(
        from: &mut dyn Read,
        root: &Path,
        owner: &str,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let name = format!("{}{SUFFIX}", files::aside_stem(owner, at));
        let path = root.join(&name);
        let folder = &path.parent().unwrap_or(root).to_owned();
        durable::create_folder(folder).map_err(StoreError::io("create", folder))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let copy = Self {
            path,
            name,
            named: false,
        };
        io::copy(from, &mut file)
            .and_then(|_| file.flush())
            // Its entry becomes durable with the record of it, which is written beside it.
            .and_then(|()| durable::sync(&file, &copy.path))
            .map_err(StoreError::io("write", &copy.path))?;
        Ok(copy)
    }

    /// Below the state directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The copy stays: a transaction names it, or may.
    pub(super) fn stay(&mut self) {
        self.named = true;
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is at the next start.
            drop(segment::remove(&self.path));
        }
    }
}

/// Removes copies that no transaction names.
pub(super) fn sweep(root: &Path, asides: &BTreeMap<u64, AsideRecord>) {
    for (copy, record) in unnamed(root, asides) {
        for name in [Some(copy), record].into_iter().flatten() {
            let path = root.join(name);
            if let Err(error) = segment::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a copy that was not finished");
            }
        }
    }
}

/// Takes up copies whose transactions are lost.
pub(super) fn adopt(root: &Path, asides: &mut BTreeMap<u64, AsideRecord>, now: Timestamp) {
    for (copy, record) in unnamed(root, asides) {
        // Without its record, it was never named.
        let Some(file) = record else { continue };
        let Ok(records) = dead::read(&root.join(&file)) else {
            continue;
        };
        let owner = file.split('/').nth(1).unwrap_or_default().to_owned();
        let number = asides.last_key_value().map_or(1, |(last, _)| last + 1);
        let aside = AsideRecord {
            at: now,
            owner,
            file,
            records: records.len() as u64,
            reason: files::reason_of(&records),
            kept: Some(copy),
            withheld: false,
            sent_again: None,
        };
        asides.insert(number, aside);
    }
}

/// The names of copies that no record names, each with the file of its record if that is there and is not named either.
fn unnamed(root: &Path, asides: &BTreeMap<u64, AsideRecord>) -> Vec<(String, Option<String>)> {
    let named: BTreeSet<&str> = asides
        .values()
        .flat_map(|aside| [Some(aside.file.as_str()), aside.kept.as_deref()])
        .flatten()
        .collect();
    let mut found = Vec::new();
    for folder in below(&root.join("quarantine")) {
        for path in below(&folder) {
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            let Some(stem) = name.and_then(|name| name.strip_suffix(SUFFIX)) else {
                continue;
            };
            let (copy, record) = (format!("{stem}{SUFFIX}"), format!("{stem}.ndjson"));
            if !named.contains(&*copy) {
                let there = !named.contains(&*record) && root.join(&record).exists();
                found.push((copy, there.then_some(record)));
            }
        }
    }
    found.sort();
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

impl Store {
    /// Where the file is that was kept whole with a record; `None` if none was.
    #[must_use]
    pub fn kept(&self, record: &AsideRecord) -> Option<PathBuf> {
        record.kept.as_ref().map(|name| self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::Aside;

    const AT: Timestamp = Timestamp::from_millis(1_767_690_487_000);
    const OWNER: &str = "acme/siem-cg/url protect";

    fn written(root: &Path, bytes: &[u8]) -> (KeptFile, AsideRecord) {
        let copy = KeptFile::of(&mut &*bytes, root, OWNER, AT).unwrap();
        let aside = Aside {
            what: "receipt".to_owned(),
            reason: "it is cut".to_owned(),
            record: "{}".to_owned(),
            withheld: false,
            event: None,
        };
        let record = files::write_aside(root, OWNER, AT, &[aside], Some(copy.name())).unwrap();
        (copy, record)
    }

    #[test]
    fn a_copy_is_for_the_owner_only_and_its_record_stands_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let (mut copy, record) = written(root.path(), b"\x1f\x8b\0");
        copy.stay();
        drop(copy);
        let kept = record.kept.unwrap();
        assert!(kept.starts_with("quarantine/acme-siem-cg-url-protect/2026-01-06T09-08-07-000Z-"));
        assert_eq!(
            kept.strip_suffix(".file"),
            record.file.strip_suffix(".ndjson")
        );
        let path = root.path().join(kept);
        assert_eq!(std::fs::read(&path).unwrap(), b"\x1f\x8b\0");
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_no_transaction_names_is_removed_and_what_one_names_stays() {
        let root = tempfile::tempdir().unwrap();
        let (copy, _) = written(root.path(), b"given up");
        let gone = copy.path.clone();
        drop(copy);
        assert!(!gone.exists());
        let (mut killed, orphan) = written(root.path(), b"killed");
        killed.stay();
        let (mut named, record) = written(root.path(), b"named");
        named.stay();
        let asides = BTreeMap::from([(1, record)]);
        sweep(root.path(), &asides);
        assert!(!killed.path.exists() && !root.path().join(orphan.file).exists());
        assert!(named.path.exists() && root.path().join(&asides[&1].file).exists());
    }

    #[test]
    fn a_copy_whose_transaction_is_lost_is_taken_up_once() {
        let root = tempfile::tempdir().unwrap();
        let (mut copy, record) = written(root.path(), b"whole");
        copy.stay();
        let mut asides = BTreeMap::new();
        for _ in 0..2 {
            adopt(root.path(), &mut asides, AT);
            assert_eq!(asides.len(), 1);
        }
        assert_eq!(asides[&1].kept, record.kept);
        assert_eq!((asides[&1].records, &*asides[&1].reason), (1, "it is cut"));
    }
}
