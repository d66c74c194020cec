//! Files of the state directory that stand for themselves: written whole, synced, then named by a record.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::{Aside, AsideRecord, StoreError, durable};
use crate::model::Timestamp;

/// The name of a new file of the quarantine, below the state directory, without its end.
pub(super) fn aside_stem(owner: &str, at: Timestamp) -> String {
    let folder = owner.replace([' ', '/'], "-");
    let stamp = at.to_string().replace([':', '.'], "-");
    // Two parts may be put aside in one millisecond.
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("quarantine/{folder}/{stamp}-{unique}")
}

/// Writes records that are put aside to a file of their own, beside the copy `kept` if there is one, and makes it durable.
pub(super) fn write_aside(
    root: &Path,
    owner: &str,
    at: Timestamp,
    records: &[Aside],
    kept: Option<&str>,
) -> Result<AsideRecord, StoreError> {
    let stem = match kept.and_then(|kept| kept.rsplit_once('.')) {
        Some((stem, _)) => stem.to_owned(),
        None => aside_stem(owner, at),
    };
    let name = format!("{stem}.ndjson");
    let mut bytes = Vec::new();
    for record in records {
        serde_json::to_writer(&mut bytes, record).map_err(|e| StoreError::Value(e.to_string()))?;
        bytes.push(b'\n');
    }
    write_synced(&root.join(&name), &bytes)?;
    Ok(AsideRecord {
        at,
        owner: owner.to_owned(),
        file: name,
        records: records.len() as u64,
        reason: reason_of(records),
        kept: kept.map(str::to_owned),
        withheld: records.iter().all(|record| record.withheld),
        sent_again: None,
    })
}

/// Why the first of some records is put aside, as far as it has room in a small record; the file has it whole.
pub(super) fn reason_of(records: &[Aside]) -> String {
    const ROOM: usize = 1 << 10;
    let reason = records.first().map_or("", |first| &first.reason);
    match reason.get(..reason.floor_char_boundary(ROOM)) {
        Some(head) if head.len() < reason.len() => format!("{head}…"),
        Some(_) | None => reason.to_owned(),
    }
}

/// Bytes of the quarantine.
pub(super) fn aside_bytes(root: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![root.join("quarantine")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                // It is gone, and takes no room.
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Writes a file that is checked when it is read: CRC32C, then the content.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut bytes = crc32c::crc32c(content).to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    write_synced(path, &bytes)
}

/// Reads what [`write_whole`] wrote; `None`, with a warning, if it is not that any more.
pub(super) fn read_whole(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path);
    let whole = bytes.as_deref().ok().and_then(|bytes| {
        let (crc, content) = bytes.split_first_chunk::<4>()?;
        (crc32c::crc32c(content) == u32::from_le_bytes(*crc)).then(|| content.to_vec())
    });
    if whole.is_none() {
        tracing::warn!(
            path = %path.display(),
            "a record of what was already stored is missing or damaged: the overlap of the last slice may be delivered twice"
        );
    }
    whole
}

/// Writes a new file and makes it and its entry durable.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    durable::create_folder(folder).map_err(StoreError::io("create", folder))?;
    let mut file = File::create(path).map_err(StoreError::io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| durable::sync(&file, path))
        .map_err(StoreError::io("write", path))?;
    durable::sync_folder(folder).map_err(StoreError::io("sync", folder))
}

/// Whether a file or folder is just not there.
pub(super) fn not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
