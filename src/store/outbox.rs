//! What waits for outputs: the committed part of each lane, read straight from its segments.
//!
//! Readers hold no lock while they read: what is committed does not change, and a segment goes only after every
//! output's position behind it is durable.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::buffers::Buffers;
use super::chunk::Chunk;
use super::segment::{self, Found};
use super::{StoreError, ballast, blocking};
use crate::model::{IntegrationId, LaneId, Position, Timestamp};

/// The committed part of all lanes; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The folder of lanes.
    root: PathBuf,
    lanes: Mutex<BTreeMap<LaneId, View>>,
    commits: watch::Sender<u64>,
    /// For what is read.
    buffers: Buffers,
    /// Bytes of the quarantine.
    aside: AtomicU64,
    /// Nothing more may be fetched: what is left of the disk is for the outputs' positions.
    disk_full: AtomicBool,
    /// Not even those can be written.
    stalled: AtomicBool,
}

#[derive(Clone, Debug)]
pub(super) struct View {
    end: Position,
    /// Segments before this one are gone on purpose: nobody wants them any more.
    first: u64,
    /// Bytes of each segment that is there.
    pub(super) segments: BTreeMap<u64, u64>,
}

/// The next event of a lane behind a position, as the frame on disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Events of the lane before it.
    pub before: u64,
    /// When it happened.
    pub time: Timestamp,
}

/// Why a lane cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk said no.
    #[error("cannot read a segment of lane {lane}: {source}")]
    Io {
        /// The lane.
        lane: LaneId,
        /// What the system said.
        source: io::Error,
    },
    /// What stands there is not what was written.
    #[error("lane {lane} is damaged at {at}: {reason}")]
    Damaged {
        /// The lane.
        lane: LaneId,
        /// Where.
        at: Position,
        /// What is wrong.
        reason: String,
    },
}

impl Outbox {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(Arc::new(Inner {
            root,
            lanes: Mutex::default(),
            commits: watch::Sender::new(0),
            buffers: Buffers::default(),
            aside: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        }))
    }

    /// Hears of each commit; the value only grows.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Gives memory that reading may use again back to the system: nothing will be read for a while.
    pub fn rest(&self) {
        self.0.buffers.let_go();
    }

    /// Each lane with the place behind its last committed event.
    #[must_use]
    pub fn lanes(&self) -> Vec<(LaneId, Position)> {
        let lanes = self.lock();
        lanes.iter().map(|(id, v)| (id.clone(), v.end)).collect()
    }

    /// The oldest place of a lane that is on disk, and how many events lie before it; `None` if none can be read there.
    pub(super) fn oldest(&self, lane: &LaneId) -> Option<(Position, u64)> {
        let (number, len) = {
            let lanes = self.lock();
            let view = lanes.get(lane)?;
            let (&number, _) = view.segments.first_key_value()?;
            (number, view.len_of(number)?)
        };
        // One that cannot be read is reported to whoever reads it; until then nothing is known to lie before it.
        let file = self.open(lane, number).ok();
        let header = file.and_then(|file| segment::read_header(&file, 0, len).ok()?);
        let first = header.and_then(Result::ok).map_or(0, |header| header.first);
        Some((Position::start_of(number), first))
    }

    /// Bytes of all segments and of the quarantine: all that grows while outputs or people do not keep up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let lanes: u64 = self.lock().values().map(View::bytes).sum();
        lanes + self.0.aside.load(Ordering::Relaxed)
    }

    /// Whether the disk of the state directory is full, so that nothing may be fetched.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.0.disk_full.load(Ordering::Relaxed)
    }

    /// Whether the store waits for the disk to have any room at all, and everybody for the store.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        if !self.0.stalled.swap(stalled, Ordering::Relaxed) && stalled {
            tracing::error!(
                "the disk of the state directory has no room even for the outputs' positions: everything waits until space is freed"
            );
        }
    }

    /// Says that a write found no room, and gives whether the disk has none for anybody; the store sees when it has some again.
    pub fn found_no_room(&self, why: &dyn Display) -> bool {
        if ballast::is_short(self.0.root.parent().unwrap_or(&self.0.root)) {
            self.disk_full(why);
        }
        self.is_disk_full()
    }

    /// The disk has no room for sled.
    pub(super) fn disk_full(&self, why: &dyn Display) {
        if !self.0.disk_full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %why, state_dir = %self.0.root.parent().unwrap_or(&self.0.root).display(),
                "the disk of the state directory is full: polling pauses, and Mimecast keeps the logs; outputs go on, and all resumes by \
                 itself within a minute after space is freed"
            );
        }
    }

    /// The disk has room again.
    pub(super) fn disk_has_room(&self) {
        if self.0.disk_full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk of the state directory has room again: polling goes on");
        }
    }

    /// More is put aside.
    pub(super) fn put_aside(&self, bytes: u64) {
        self.0.aside.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something that was put aside is gone, and its bytes are free for others.
    pub(super) fn take_from_aside(&self, bytes: u64) {
        let less = |aside: u64| Some(aside.saturating_sub(bytes));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        // It gives a number always.
        self.0.aside.fetch_update(set, fetch, less).ok();
        self.0.commits.send_modify(|commits| *commits += 1);
    }

    /// Bytes of an integration's segments.
    #[must_use]
    pub fn bytes_of(&self, integration: &IntegrationId) -> u64 {
        let of = |(lane, view): (&LaneId, &View)| {
            let source = lane.source()?;
            (source.integration == *integration).then(|| view.bytes())
        };
        self.lock().iter().filter_map(of).sum()
    }

    /// Bytes of a lane's segments.
    pub(super) fn bytes_of_lane(&self, lane: &LaneId) -> u64 {
        self.lock().get(lane).map_or(0, View::bytes)
    }

    /// Reads on from `from`: whole records until they exceed `max_bytes` or are `max_records`, at least one if there is one.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if the very next frame is; one further on ends the chunk before it.
    pub async fn read(
        &self,
        lane: &LaneId,
        from: Position,
        max_bytes: u64,
        max_records: usize,
    ) -> Result<Chunk, ReadError> {
        let (outbox, id) = (self.clone(), lane.clone());
        let read = move || Ok(outbox.read_blocking(&id, from, max_bytes, max_records));
        blocking(read).await.map_err(|_| stopping(lane))?
    }

    /// Reads whole frames on behind what a chunk has of the lane, until it fills the limits or the lane ends.
    ///
    /// # Errors
    /// See [`Outbox::read`]; what the chunk had is read again.
    pub async fn read_on(
        &self,
        lane: &LaneId,
        chunk: Chunk,
        max_bytes: u64,
        max_records: usize,
    ) -> Result<Chunk, ReadError> {
        let (outbox, id) = (self.clone(), lane.clone());
        let read = move || Ok(outbox.read_frames(&id, chunk, max_bytes, max_records));
        blocking(read).await.map_err(|_| stopping(lane))?
    }

    pub(super) fn read_blocking(
        &self,
        lane: &LaneId,
        from: Position,
        max_bytes: u64,
        max_records: usize,
    ) -> Result<Chunk, ReadError> {
        let mut chunk = self.read_frames(lane, Chunk::at(from), max_bytes, max_records)?;
        chunk.limit(max_bytes, max_records);
        Ok(chunk)
    }

    fn read_frames(
        &self,
        lane: &LaneId,
        mut chunk: Chunk,
        max_bytes: u64,
        max_records: usize,
    ) -> Result<Chunk, ReadError> {
        let Some(view) = self.lock().get(lane).cloned() else {
            return Ok(chunk);
        };
        // A reader may not have heard yet that the lane went on in a new segment.
        let mut at = chunk.end().max(Position::start_of(view.first));
        if chunk.records.is_empty() {
            chunk.start = at;
        }
        let mut bytes = chunk.bytes();
        let mut open: Option<(u64, File)> = None;
        while at < view.end && bytes < max_bytes && chunk.records.len() < max_records {
            let Some(len) = view.len_of(at.segment) else {
                return damaged(chunk, lane, at, "its segment is missing");
            };
            let behind = at.offset >= len && at.segment < view.end.segment;
            let file = match open.take() {
                Some((segment, file)) if segment == at.segment => file,
                Some(_) | None => match self.open(lane, at.segment) {
                    Ok(file) => file,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        return damaged(chunk, lane, at, "its segment is missing");
                    }
                    Err(source) => {
                        let lane = lane.clone();
                        return Err(ReadError::Io { lane, source });
                    }
                },
            };
            if behind {
                let gap = self.gap_behind(lane, at.segment, &file, len, &view);
                if gap.map_err(|source| ReadError::Io {
                    lane: lane.clone(),
                    source,
                })? {
                    return damaged(chunk, lane, at, "its segment has lost its end");
                }
                at = Position::start_of(at.segment + 1);
                if chunk.records.is_empty() {
                    chunk.start = at;
                }
                continue;
            }
            let found = segment::read_frame(&file, at.offset, len, &self.0.buffers);
            open = Some((at.segment, file));
            match found {
                Ok(Found::Frame(header, records)) => {
                    let end = Position {
                        segment: at.segment,
                        offset: at.offset + header.frame_len(),
                        event: 0,
                    };
                    let before = chunk.records.len();
                    chunk.take(at, end, records);
                    let new = chunk.records.iter().skip(before);
                    bytes += new.map(|record| record.body.len() as u64).sum::<u64>();
                    at = end;
                }
                Ok(Found::Damaged(damage)) => {
                    return damaged(chunk, lane, at, &damage.to_string());
                }
                Err(source) => {
                    let lane = lane.clone();
                    return Err(ReadError::Io { lane, source });
                }
            }
        }
        Ok(chunk)
    }

    /// What the frame at `at` of a lane says of the event there; `None` at the lane's end, and where no frame can be read.
    #[must_use]
    pub async fn ahead(&self, lane: &LaneId, at: Position) -> Option<Ahead> {
        let (outbox, id) = (self.clone(), lane.clone());
        let look = move || Ok(outbox.ahead_blocking(&id, at));
        blocking(look).await.ok().flatten()
    }

    fn ahead_blocking(&self, lane: &LaneId, at: Position) -> Option<Ahead> {
        // Where it really begins: a position may stand behind a segment's last frame.
        let chunk = self.read_blocking(lane, at, 1, 1).ok()?;
        let (at, time) = (chunk.start, chunk.records.first()?.time);
        let len = self.lock().get(lane)?.len_of(at.segment)?;
        let file = self.open(lane, at.segment).ok()?;
        let header = segment::read_header(&file, at.offset, len).ok()??.ok()?;
        Some(Ahead {
            before: header.first + u64::from(at.event),
            time,
        })
    }

    /// Whether the next segment begins with another event than the one that must follow this segment's last.
    fn gap_behind(
        &self,
        lane: &LaneId,
        number: u64,
        file: &File,
        len: u64,
        view: &View,
    ) -> io::Result<bool> {
        let mut following = None;
        let mut offset = 0;
        while offset < len {
            let Some(Ok(header)) = segment::read_header(file, offset, len)? else {
                break;
            };
            following = Some(header.following());
            offset += header.frame_len();
        }
        let next = match self.open(lane, number + 1) {
            Ok(next) => next,
            // A missing segment is reported where it would begin; an empty end has no file yet.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let len = view.len_of(number + 1).unwrap_or(0);
        Ok(match segment::read_header(&next, 0, len)? {
            Some(Ok(header)) => following != Some(header.first),
            Some(Err(_)) | None => false,
        })
    }

    /// Shows where a lane ends, and deletes its segments before `first`.
    pub(super) fn show(&self, lane: &LaneId, end: Position, first: u64) -> Result<(), StoreError> {
        let folder = self.folder(lane);
        let (old_end, gone) = {
            let mut lanes = self.lock();
            let view = lanes.entry(lane.clone()).or_insert_with(|| View {
                end: Position::start_of(1),
                first,
                segments: BTreeMap::new(),
            });
            view.first = first;
            let keep = view.segments.split_off(&first);
            let gone = std::mem::replace(&mut view.segments, keep);
            (view.end, gone)
        };
        // Segments that were left behind by this move have their final length only now.
        let mut lens = Vec::new();
        for segment in old_end.segment.max(first)..end.segment {
            if let Ok(meta) = std::fs::metadata(segment::path(&folder, segment)) {
                lens.push((segment, meta.len()));
            }
        }
        {
            let mut lanes = self.lock();
            if let Some(view) = lanes.get_mut(lane) {
                view.segments.extend(lens);
                view.end = end;
                if end.offset > 0 {
                    view.segments.insert(end.segment, end.offset);
                }
            }
        }
        if old_end < end {
            self.0.commits.send_modify(|commits| *commits += 1);
        }
        for segment in gone.into_keys() {
            let path = segment::path(&folder, segment);
            segment::remove(&path).map_err(StoreError::io("delete", path))?;
        }
        Ok(())
    }

    /// Deletes a lane that is no more.
    pub(super) fn forget(&self, lane: &LaneId) -> Result<(), StoreError> {
        let gone = self.lock().remove(lane);
        let folder = self.folder(lane);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("delete", folder)(error))
            }
            Ok(()) | Err(_) => {
                self.remove_empty_parent(lane, &folder);
                if gone.is_some() {
                    // Its bytes are free for others.
                    self.0.commits.send_modify(|commits| *commits += 1);
                }
                Ok(())
            }
        }
    }

    /// The lanes of a replay's event types share a folder, which goes with the last of them.
    fn remove_empty_parent(&self, lane: &LaneId, folder: &Path) {
        let is_shared = lane
            .source()
            .is_some_and(|stream| !stream.event_type.is_empty());
        if let Some(parent) = folder
            .parent()
            .filter(|parent| is_shared && *parent != self.0.root)
        {
            // It is not empty as long as others are there.
            drop(std::fs::remove_dir(parent));
        }
    }

    pub(super) fn folder(&self, lane: &LaneId) -> PathBuf {
        self.0.root.join(lane.folder())
    }

    pub(super) fn open(&self, lane: &LaneId, number: u64) -> io::Result<File> {
        File::open(segment::path(&self.folder(lane), number))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<LaneId, View>> {
        // The map is whole after each statement, so a panic elsewhere leaves nothing half done.
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Bytes of a segment that count; `None` if it is missing.
    pub(super) fn len_of(&self, segment: u64) -> Option<u64> {
        if segment == self.end.segment {
            return Some(self.end.offset);
        }
        self.segments.get(&segment).copied()
    }
}

fn stopping(lane: &LaneId) -> ReadError {
    ReadError::Io {
        lane: lane.clone(),
        source: io::Error::other("the program is stopping"),
    }
}

fn damaged(chunk: Chunk, lane: &LaneId, at: Position, reason: &str) -> Result<Chunk, ReadError> {
    if !chunk.records.is_empty() {
        return Ok(chunk);
    }
    Err(ReadError::Damaged {
        lane: lane.clone(),
        at,
        reason: reason.to_owned(),
    })
}
