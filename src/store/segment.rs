//! Segment files: append, sync, truncate, read, delete. A lane is a folder of them, numbered upwards.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::buffers::Buffers;
use super::frame::{self, Damage, FIXED, Header};
use super::{StoreError, durable};
use crate::model::{Position, Record};

/// Length at which a writer goes on in a new segment.
pub(super) const SEGMENT_BYTES: u64 = 8 << 20;

/// Where a lane without a record begins.
pub(super) const FIRST: Position = Position::start_of(1);

/// The file of segment `number`.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}.seg"))
}

/// The numbers of the segments in a folder, ascending; none if there is no folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens a segment for appending behind `len`, which is all of it that counts.
pub(super) fn open_at(folder: &Path, number: u64, len: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path(folder, number))?;
    if file.metadata()?.len() > len {
        file.set_len(len)?;
    }
    Ok(file)
}

/// Writes `frame` at `at` of a lane's folder, over whatever lies there, and makes it durable.
pub(super) fn append(folder: &Path, at: Position, frame: &[u8]) -> Result<(), StoreError> {
    let path = path(folder, at.segment);
    durable::create_folder(folder).map_err(StoreError::io("create", folder))?;
    let file = open_at(folder, at.segment, at.offset).map_err(StoreError::io("open", &path))?;
    file.write_all_at(frame, at.offset)
        .and_then(|()| durable::sync(&file, &path))
        .map_err(StoreError::io("write", &path))?;
    if at.offset == 0 {
        durable::sync_folder(folder).map_err(StoreError::io("sync", folder))?;
    }
    Ok(())
}

/// Removes a file; that it is gone already is as good.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match durable::remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What stands at an offset of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole frame.
    Frame(Header, Vec<Record>),
    /// Bytes that are no frame, or too few, or not the ones that were written.
    Damaged(Damage),
}

/// Reads the frame at `offset` of an open segment of which `len` bytes count.
pub(super) fn read_frame(
    file: &File,
    offset: u64,
    len: u64,
    buffers: &Buffers,
) -> io::Result<Found> {
    const CUT: Damage = Damage::Header("the segment ends within it");
    let Some(header) = read_header(file, offset, len)? else {
        return Ok(Found::Damaged(CUT));
    };
    let header = match header {
        Ok(header) => header,
        Err(damage) => return Ok(Found::Damaged(damage)),
    };
    let mut stored = buffers.lend(header.payload_len());
    let at = offset + header.frame_len() - header.payload_len() as u64;
    if !read_all(file, stored.as_mut(), at)? {
        let damage = Damage::Payload("the segment ends within it");
        return Ok(Found::Damaged(damage));
    }
    Ok(match frame::parse_payload(&header, stored, buffers) {
        Ok(records) => Found::Frame(header, records),
        Err(damage) => Found::Damaged(damage),
    })
}

/// Reads the header at `offset`; `None` if fewer than `len` bytes hold it.
pub(super) fn read_header(
    file: &File,
    offset: u64,
    len: u64,
) -> io::Result<Option<Result<Header, Damage>>> {
    let mut fixed = [0; FIXED];
    if offset + FIXED as u64 > len || !read_all(file, &mut fixed, offset)? {
        return Ok(None);
    }
    let announced = match frame::announced(&fixed) {
        Ok(announced) => announced,
        Err(damage) => return Ok(Some(Err(damage))),
    };
    let mut names = vec![0; announced.names];
    if !read_all(file, &mut names, offset + FIXED as u64)? {
        return Ok(None);
    }
    let header = frame::parse_header(&fixed, &names);
    Ok(match header {
        Ok(header) if offset + header.frame_len() > len => None,
        header => Some(header),
    })
}

/// Fills `buffer`; false if the file ends before.
fn read_all(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
