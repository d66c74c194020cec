//! What saves the day when sled is lost: a shadow copy of the small records, and segments that describe themselves.
//!
//! The shadow is written aside, synced and renamed: at once when a state of health has changed, else a minute after any change. A store whose
//! sled cannot be opened or read takes cursors, states and counts from there, and the lanes with all that their segments hold; what is no
//! frame is met as damage by the first output. All that is on disk is delivered again, so there are duplicates and no loss; and each
//! stream is asked one interval after the start at the earliest, because nobody knows when it was asked last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::not_found;
use super::segment::FIRST;
use super::transaction::{Changed, Engine, Lane, Records};
use super::{AsideRecord, LaneRecord, PollRecord, StoreError, StreamRecord, durable, segment};
use crate::model::{Cursor, LaneId, Position, Timestamp};

const SHADOW: &str = "shadow.json";
/// What the names of folders begin with to which lost databases are moved.
pub const LOST: &str = "sled-lost-";
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Shadow<'a> {
    version: u32,
    streams: &'a BTreeMap<String, StreamRecord>,
    health: &'a BTreeMap<String, serde_json::Value>,
    asides: &'a BTreeMap<u64, AsideRecord>,
}

#[derive(Default, Deserialize)]
struct Kept {
    version: u32,
    streams: BTreeMap<String, StreamRecord>,
    health: BTreeMap<String, serde_json::Value>,
    asides: BTreeMap<u64, AsideRecord>,
}

/// A database that is lost.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    /// The folder that has it now, below the state directory.
    pub(super) moved_to: String,
}

impl Engine {
    /// Makes the records of a lost sled durable in a new one, and notes from when on events are delivered again.
    pub(super) fn rescue(&mut self, lost: Lost) -> Result<(), StoreError> {
        let starts = self.records.lanes.iter().map(|(id, lane)| {
            let (from, before) = lane
                .record
                .from
                .unwrap_or((lane.record.end, lane.record.events));
            let events = lane.record.events.saturating_sub(before);
            (events, self.outbox.time_at(id, from))
        });
        let (events, since) = starts.fold((0, None), |(all, since), (events, time)| {
            (all + events, since.into_iter().chain(time).min())
        });
        let since = since.map_or_else(String::new, |since| format!(" from {since} on"));
        let Lost { why, moved_to } = lost;
        let reason = format!(
            "{why}; it is kept in {moved_to}, and {events} events{since} are delivered again"
        );
        tracing::warn!(reason, "the database of the state directory is made anew");
        let mut changed = BTreeSet::new();
        let aside = AsideRecord {
            at: self.clock.now(),
            owner: "sled".to_owned(),
            file: moved_to,
            records: 0,
            reason,
            kept: None,
            withheld: false,
            sent_again: None,
        };
        self.put_aside(aside, &mut changed);
        let records = &self.records;
        changed.extend(records.streams.keys().cloned().map(Changed::Stream));
        changed.extend(records.lanes.keys().cloned().map(Changed::Lane));
        changed.extend(records.health.keys().cloned().map(Changed::Health));
        changed.extend(records.asides.keys().copied().map(Changed::Aside));
        self.write(&changed)
    }
}

/// Writes the shadow copy.
pub(super) fn write_shadow(root: &Path, records: &Records) -> Result<(), StoreError> {
    let shadow = Shadow {
        version: VERSION,
        streams: &records.streams,
        health: &records.health,
        asides: &records.asides,
    };
    let bytes = serde_json::to_vec(&shadow).map_err(|e| StoreError::Value(e.to_string()))?;
    let (path, aside) = (root.join(SHADOW), root.join("shadow.json.new"));
    let mut file = File::create(&aside).map_err(StoreError::io("create", &aside))?;
    file.write_all(&bytes)
        .and_then(|()| durable::sync(&file, &aside))
        .and_then(|()| std::fs::rename(&aside, &path))
        .and_then(|()| durable::sync_folder(root))
        .map_err(StoreError::io("write", path))
}

/// Whether an empty sled is a lost one: something else in the state directory says that there was more.
pub(super) fn is_missed(root: &Path) -> bool {
    root.join(SHADOW).exists() || !lane_folders(root).is_empty()
}

/// The records as they can be made out without sled.
pub(super) fn records(root: &Path, now: Timestamp) -> Result<Records, StoreError> {
    let kept = match std::fs::read(root.join(SHADOW)) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "the shadow copy of the lost database is damaged too");
            Kept::default()
        }),
        Err(error) if not_found(&error) => Kept::default(),
        Err(error) => return Err(StoreError::io("read", root.join(SHADOW))(error)),
    };
    if kept.version > VERSION {
        return Err(StoreError::Newer {
            dir: root.to_path_buf(),
            found: kept.version,
            known: VERSION,
        });
    }
    let mut records = Records {
        streams: kept.streams,
        health: kept.health,
        asides: kept.asides,
        ..Records::default()
    };
    for folder in lane_folders(root) {
        let found = walk(&folder)?;
        let name = found.stream.or_else(|| name_of(root, &folder, &records));
        let Some(name) = name else {
            tracing::error!(folder = %folder.display(), "no frame of this lane can be read, and nothing says whose it is");
            continue;
        };
        let stream = records.streams.entry(name.clone());
        let stream = stream.or_insert_with(|| StreamRecord {
            cursor: found.before.clone(),
            ..StreamRecord::default()
        });
        if stream.events > found.record.events {
            // The lane has lost what the shadow copy is past.
            stream.cursor = found.before;
            stream.memo = None;
        }
        let lane = Lane {
            record: found.record,
            positions: BTreeMap::new(),
        };
        records.lanes.insert(LaneId::from_text(&name), lane);
    }
    for (name, stream) in &mut records.streams {
        let lane = records.lanes.get(&LaneId::from_text(name));
        if let Some(books) = &mut stream.books {
            books.rescue(now, lane.map_or(0, |lane| lane.record.events));
        }
        stream.poll = Some(PollRecord {
            started: now,
            attempted: now,
            attempts: 0,
            done: true,
            calls: None,
        });
    }
    Ok(records)
}

struct Found {
    /// `None` if no frame says.
    stream: Option<String>,
    /// Where the stream stood before the last whole frame.
    before: Option<Cursor>,
    record: LaneRecord,
}

/// Reads a lane's headers. All that is in its segments counts: what is no frame is found again by the first output, as damage.
fn walk(folder: &Path) -> Result<Found, StoreError> {
    let mut found = Found {
        stream: None,
        before: None,
        record: LaneRecord {
            end: FIRST,
            events: 0,
            from: None,
        },
    };
    for number in segment::list(folder).map_err(StoreError::io("list", folder))? {
        let path = segment::path(folder, number);
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        let len = file
            .metadata()
            .map_err(StoreError::io("open", &path))?
            .len();
        let record = &mut found.record;
        let start = Position::start_of(number);
        record.end = Position {
            offset: len,
            ..start
        };
        record.from.get_or_insert((start, 0));
        let mut offset = 0;
        while let Some(Ok(header)) =
            segment::read_header(&file, offset, len).map_err(StoreError::io("read", &path))?
        {
            offset += header.frame_len();
            record.events = header.following();
            if found.stream.is_none() {
                record.from = record.from.map(|(first, _)| (first, header.first));
            }
            found.stream = Some(header.stream);
            found.before = header.before;
        }
    }
    Ok(found)
}

/// Whose lane a folder is of which no frame can be read, by the streams that are known.
fn name_of(root: &Path, folder: &Path, records: &Records) -> Option<String> {
    let lanes = root.join("lanes");
    let is_its = |name: &&String| lanes.join(LaneId::from_text(name).folder()) == folder;
    records.streams.keys().find(is_its).cloned()
}

/// The folders that hold segments.
fn lane_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut left = vec![root.join("lanes")];
    while let Some(folder) = left.pop() {
        if segment::list(&folder).is_ok_and(|segments| !segments.is_empty()) {
            folders.push(folder.clone());
        }
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let below = entries.flatten().map(|entry| entry.path());
        left.extend(below.filter(|path| path.is_dir()));
    }
    folders.sort();
    folders
}
