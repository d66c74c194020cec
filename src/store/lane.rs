//! The writer of a lane: the sink of one step of a stream.
//!
//! Frames are written as they fill, so memory stays at one frame. What was written becomes part of the lane with the store's
//! answer to a commit; the next writer cuts off what did not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::books::Sheet;
use super::command::Command;
use super::frame::{Builder, TooLarge};
use super::kept::KeptFile;
use super::{Aside, AsideRecord, StoreError, durable, files, is_full, segment};
use crate::clock::Clock;
use crate::model::{
    Counted, Cursor, Event, Form, LaneId, Position, Sink, SinkError, StreamId, Timestamp,
};

/// A lane as its writer finds it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) lane: LaneId,
    pub(super) end: Position,
    pub(super) events: u64,
    pub(super) cursor: Option<Cursor>,
    pub(super) memo: Option<u64>,
    /// Files that are listed and not fetched.
    pub(super) waiting: u64,
    /// As long as it lives, the last segment stays.
    pub(super) token: Arc<()>,
}

/// What a writer asks to be committed.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) stream: StreamId,
    pub(super) lane: LaneId,
    pub(super) expected: Option<Cursor>,
    pub(super) next: Cursor,
    pub(super) memo: Option<u64>,
    pub(super) end: Position,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) newest: Option<Timestamp>,
    pub(super) sheet: Sheet,
    pub(super) aside: Option<AsideRecord>,
    /// Files to sync before the transaction.
    pub(super) files: Vec<(PathBuf, Arc<File>)>,
    /// Folders with new entries.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// Writes one stream's events to its lane; see [`Sink`].
#[derive(Debug)]
pub struct LaneWriter {
    commands: mpsc::Sender<Command>,
    root: Arc<PathBuf>,
    clock: Clock,
    stream: StreamId,
    stream_name: String,
    lane: LaneId,
    cursor: Option<Cursor>,
    memo: Option<u64>,
    /// Behind the last frame written.
    at: Position,
    /// Events of the lane before the frame being built.
    ordinal: u64,
    frame: Builder,
    frame_of: (String, Form),
    buffer: Vec<u8>,
    open: Option<Arc<File>>,
    part: Part,
    _token: Arc<()>,
    /// Given back when this writer is gone: the lane has but one at a time.
    _place: OwnedSemaphorePermit,
}

/// What was pushed since the last commit.
#[derive(Debug, Default)]
struct Part {
    events: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    sheet: Sheet,
    asides: Vec<Aside>,
    aside_bytes: u64,
    kept: Option<KeptFile>,
    files: Vec<(PathBuf, Arc<File>)>,
    folders: BTreeSet<PathBuf>,
}

impl LaneWriter {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        root: Arc<PathBuf>,
        clock: Clock,
        stream: &StreamId,
        opened: Opened,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            commands,
            root,
            clock,
            stream: stream.clone(),
            stream_name: stream.to_string(),
            lane: opened.lane,
            cursor: opened.cursor,
            memo: opened.memo,
            at: opened.end,
            ordinal: opened.events,
            frame: Builder::default(),
            frame_of: (String::new(), Form::Json),
            buffer: Vec::new(),
            open: None,
            part: Part {
                sheet: Sheet::after(opened.waiting),
                ..Part::default()
            },
            _token: opened.token,
            _place: place,
        }
    }

    /// The cursor that this writer expects to find when it commits.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    fn folder(&self) -> PathBuf {
        self.root.join("lanes").join(self.lane.folder())
    }

    fn memo_path(&self, number: u64) -> PathBuf {
        let folder = self.root.join("memos").join(self.lane.folder());
        folder.join(format!("{number}.memo"))
    }

    fn close_frame(&mut self) -> Result<(), SinkError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let events = u64::from(self.frame.events());
        let (kind, form) = &self.frame_of;
        self.buffer.clear();
        self.frame
            .finish(
                kind,
                *form,
                &self.stream_name,
                self.cursor.as_ref(),
                self.ordinal,
                &mut self.buffer,
            )
            .map_err(unfit)?;
        self.append().map_err(|error| failed(&error))?;
        self.ordinal += events;
        Ok(())
    }

    /// Writes the finished frame behind the last one.
    fn append(&mut self) -> Result<(), StoreError> {
        if self.at.offset >= segment::SEGMENT_BYTES {
            self.at = Position::start_of(self.at.segment + 1);
            self.open = None;
        }
        let folder = self.folder();
        let path = segment::path(&folder, self.at.segment);
        let file = match &self.open {
            Some(file) => Arc::clone(file),
            None => {
                if self.part.files.is_empty() {
                    self.cut_uncommitted(&folder)?;
                }
                let file = segment::open_at(&folder, self.at.segment, self.at.offset)
                    .map_err(StoreError::io("open", path.clone()))?;
                // It may have been lost with all that it held.
                let held = file
                    .metadata()
                    .map_err(StoreError::io("open", path.clone()))?;
                if held.len() == 0 {
                    self.part.folders.insert(folder);
                }
                let file = Arc::new(file);
                self.open = Some(Arc::clone(&file));
                file
            }
        };
        if self.part.files.last().is_none_or(|(last, _)| *last != path) {
            self.part.files.push((path.clone(), Arc::clone(&file)));
        }
        file.write_all_at(&self.buffer, self.at.offset)
            .map_err(StoreError::io("write", path))?;
        self.at.offset += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes the folder, and removes segments that an earlier writer began but did not commit.
    fn cut_uncommitted(&mut self, folder: &Path) -> Result<(), StoreError> {
        durable::create_folder(folder).map_err(StoreError::io("create", folder))?;
        let numbers = segment::list(folder).map_err(StoreError::io("list", folder))?;
        for number in numbers {
            if number > self.at.segment {
                let path = segment::path(folder, number);
                segment::remove(&path).map_err(StoreError::io("delete", path))?;
            }
        }
        Ok(())
    }

    fn try_commit(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError> {
        self.close_frame()?;
        let mut number = self.memo;
        if let Some(memo) = memo {
            let new = number.map_or(1, |number| number + 1);
            files::write_whole(&self.memo_path(new), memo).map_err(|error| failed(&error))?;
            number = Some(new);
        }
        let mut aside = None;
        if !self.part.asides.is_empty() {
            let now = self.clock.now();
            let owner = &self.stream_name;
            let kept = self.part.kept.as_ref().map(KeptFile::name);
            let written = files::write_aside(&self.root, owner, now, &self.part.asides, kept);
            aside = Some(written.map_err(|error| failed(&error))?);
        }
        let next_part = Part {
            sheet: Sheet::after(self.part.sheet.waiting),
            ..Part::default()
        };
        let mut part = std::mem::replace(&mut self.part, next_part);
        let appended = Appended {
            stream: self.stream.clone(),
            lane: self.lane.clone(),
            expected: self.cursor.clone(),
            next: next.clone(),
            memo: number,
            end: self.at,
            events: part.events,
            bytes: part.bytes,
            newest: part.newest,
            sheet: part.sheet,
            aside,
            files: part.files,
            folders: part.folders,
        };
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit {
            part: Box::new(appended),
            reply,
        };
        self.commands
            .blocking_send(command)
            .map_err(|_| SinkError::Closed)?;
        let answer = answer.blocking_recv();
        if let Some(kept) = part.kept.as_mut().filter(|_| !matches!(answer, Ok(Err(_)))) {
            // Without an answer, nobody knows.
            kept.stay();
        }
        answer
            .map_err(|_| SinkError::Closed)?
            .map_err(|error| failed(&error))?;
        let old = std::mem::replace(&mut self.memo, number);
        if let Some(old) = old.filter(|old| Some(*old) != number) {
            // Only space is lost if it stays: nothing names it any more.
            drop(segment::remove(&self.memo_path(old)));
        }
        self.cursor = Some(next.clone());
        Ok(())
    }
}

impl Sink for LaneWriter {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        if !self.frame.is_empty() && (self.frame_of.0 != kind || self.frame_of.1 != form) {
            self.close_frame()?;
        }
        if self.frame.is_empty() {
            self.frame_of.0.clear();
            self.frame_of.0.push_str(kind);
            self.frame_of.1 = form;
        }
        self.frame.push(&event).map_err(unfit)?;
        self.part.events += 1;
        self.part.sheet.tally.stored += 1;
        self.part.bytes += event.body.len() as u64;
        self.part.newest = self.part.newest.max(Some(event.time));
        if self.frame.is_full() {
            self.close_frame()?;
        }
        Ok(())
    }

    fn quarantine(&mut self, kind: &str, record: &[u8], reason: &str) -> Result<(), SinkError> {
        self.part.aside_bytes += record.len() as u64;
        self.part.sheet.tally.quarantined += 1;
        self.part.asides.push(Aside {
            what: kind.to_owned(),
            withheld: false,
            reason: reason.to_owned(),
            record: String::from_utf8_lossy(record).into_owned(),
            event: None,
        });
        Ok(())
    }

    fn keep(&mut self, file: &mut dyn Read) -> Result<(), SinkError> {
        let now = self.clock.now();
        let copy = KeptFile::of(file, &self.root, &self.stream_name, now);
        self.part.kept = Some(copy.map_err(|error| failed(&error))?);
        Ok(())
    }

    fn count(&mut self, what: Counted) {
        self.part.sheet.count(what);
    }

    fn listed(&mut self, files: u64) {
        self.part.sheet.listed(files);
    }

    fn uncommitted(&self) -> u64 {
        self.part.bytes + self.part.aside_bytes
    }

    fn memo(&self) -> Option<Vec<u8>> {
        files::read_whole(&self.memo_path(self.memo?))
    }

    fn commit_with(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError> {
        self.try_commit(next, memo)
    }
}

fn unfit(_: TooLarge) -> SinkError {
    SinkError::Unfit("an event, its type or its cursor is too large for a frame".to_owned())
}

fn failed(error: &StoreError) -> SinkError {
    match error {
        StoreError::Moved => SinkError::Moved,
        StoreError::Io { source, .. } if is_full(source) => SinkError::Full,
        StoreError::Closed
        | StoreError::Io { .. }
        | StoreError::Locked(_)
        | StoreError::Newer { .. }
        | StoreError::Unused(_)
        | StoreError::Lost(_)
        | StoreError::Sled(_)
        | StoreError::BrokeOff
        | StoreError::Value(_) => {
            tracing::error!(%error, "the state directory cannot be written");
            SinkError::Closed
        }
    }
}
