//! What becomes of damage: a stream goes back to where it stood before the frame that cannot be read, and outputs step over it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::files::not_found;
use super::outbox::Outbox;
use super::transaction::{Changed, Engine};
use super::{AsideRecord, Detour, Repair, StoreError, segment};
use crate::model::{Cursor, LaneId, Position, StreamId, Timestamp};

impl Engine {
    /// Sets a stream back to a cursor; what its source remembers besides would take the repeat for known.
    pub(super) fn set_back(
        &mut self,
        stream: &StreamId,
        cursor: Option<Cursor>,
        changed: &mut BTreeSet<Changed>,
    ) {
        let record = self.stream(stream, changed);
        record.cursor = cursor;
        record.memo = None;
        if let Some(books) = &mut record.books {
            books.go_back();
        }
        if record.replay.is_some() {
            // It is not caught up any more, and has no interval after which it would ask again.
            record.poll = None;
        }
    }

    /// For a stream that goes on from a place before which everything is delivered: whatever its lane has is fetched again.
    pub(super) fn fetched_again(
        &self,
        stream: &StreamId,
        cursor: Option<Cursor>,
    ) -> Option<Repair> {
        let lane = self.records.lanes.get(&LaneId::stream(stream))?;
        Some(Repair {
            from: Position::default(),
            to: lane.record.end,
            cursor,
        })
    }

    /// Where to go on from instead of where the frame at `at` was fetched from, if that would pass over what is fetched again.
    pub(super) fn repair_ahead(&self, lane: &LaneId, at: Position) -> Option<Repair> {
        let record = self.records.streams.get(lane.as_str())?;
        record.repair.clone().filter(|repair| at < repair.to)
    }

    /// Notes a place that cannot be read, once, and finds the way past it.
    pub(super) fn damaged(
        &mut self,
        lane_id: &LaneId,
        at: Position,
        reason: &str,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<Detour, StoreError> {
        let Some(lane) = self.records.lanes.get(lane_id) else {
            return Err(StoreError::Value(format!("no lane {lane_id}")));
        };
        let end = lane.record.end;
        let seen = self.outbox.inspect(lane_id, at, end)?;
        let key = format!("{lane_id}:{}:{}", at.segment, at.offset);
        let now = self.clock.now();
        let mut detour = Detour {
            next: seen.next,
            new: false,
            events: seen.events,
            cursor: None,
            repeats_from: None,
        };
        if let Some(known) = self.records.damages.get(&key) {
            // What came behind the damage since it was found is not part of it.
            if let Damage::Noted { next, .. } = known {
                detour.next = *next;
            }
            return Ok(detour);
        }
        detour.new = true;
        let (next, noted) = (
            seen.next,
            Damage::Noted {
                at: now,
                next: seen.next,
            },
        );
        changed.insert(Changed::Damage(key.clone()));
        self.records.damages.insert(key, noted);
        // Events that are sent again are in quarantine still, and their stream is long past them.
        let fetched = lane_id.again_for().is_none();
        if let Some(stream) = lane_id.source().filter(|_| fetched) {
            let known = self.records.streams.get(&stream.to_string());
            let repair = known.and_then(|record| record.repair.as_ref());
            // Going to a later place than the one it was set back to would pass over what is not fetched again yet.
            if repair.is_some_and(|repair| repair.from <= at && at < repair.to) {
                detour.cursor = known.and_then(|record| record.cursor.clone());
            } else {
                let is_behind = |to| lane.positions.values().any(|output| output.position < to);
                let cursor = match repair {
                    // Of two places of which neither is known to be the earlier one, the beginning is.
                    Some(repair) if at < repair.from => None,
                    // An output has not come as far as what was fetched again then.
                    Some(repair) if is_behind(repair.to) => repair.cursor.clone(),
                    Some(_) | None => seen.before.clone(),
                };
                let repair = Repair {
                    from: at,
                    to: end,
                    cursor,
                };
                detour.repeats_from = self.outbox.time_at(lane_id, seen.repeats.unwrap_or(next));
                self.set_back(&stream, seen.before.clone(), changed);
                self.stream(&stream, changed).repair = Some(repair);
                detour.cursor = seen.before;
            }
        }
        let repeats = detour.repeats_from.map_or_else(String::new, |from| {
            format!("; fetched again, so events from {from} on may come twice")
        });
        let aside = AsideRecord {
            at: now,
            owner: lane_id.to_string(),
            file: format!("lanes/{}/{:016}.seg", lane_id.folder(), at.segment),
            records: detour.events,
            reason: format!("{reason}{repeats}"),
            kept: None,
            withheld: false,
            sent_again: None,
        };
        self.put_aside(aside, changed);
        Ok(detour)
    }
}

/// A damaged place of a lane, as it is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Damage {
    /// When, and where the lane goes on behind it.
    Noted {
        /// When it was found.
        at: Timestamp,
        /// The next frame.
        next: Position,
    },
    /// When; by a version that did not keep the rest.
    At(Timestamp),
}

/// What can be made out at a damaged place.
#[derive(Debug)]
pub(super) struct Seen {
    next: Position,
    /// Where the stream stood before the last frame that says so.
    pub(super) before: Option<Cursor>,
    /// That frame, if it is a whole one before the damage.
    repeats: Option<Position>,
    events: u64,
}

impl Outbox {
    /// Makes out what a damaged place hides: the next frame, and where the stream must be asked again.
    pub(super) fn inspect(
        &self,
        lane: &LaneId,
        at: Position,
        end: Position,
    ) -> Result<Seen, StoreError> {
        let rest = if at.segment < end.segment {
            Position::start_of(at.segment + 1)
        } else {
            end
        };
        let mut seen = Seen {
            next: rest,
            before: None,
            repeats: None,
            events: 0,
        };
        // Headers are walked from the beginning of the segment before: the damaged one may not say where the stream stood, the one ahead
        // of it does.
        for segment in at.segment.saturating_sub(1)..=at.segment {
            let mut place = Position::start_of(segment);
            let file = match self.open(lane, segment) {
                Ok(file) => file,
                Err(error) if not_found(&error) => continue,
                Err(error) => {
                    return Err(StoreError::io("open a segment of", lane.as_str())(error));
                }
            };
            let failed = || StoreError::io("read a segment of", lane.as_str());
            let len = file.metadata().map_err(failed())?.len();
            let len = if segment == end.segment {
                len.min(end.offset)
            } else {
                len
            };
            while place <= at {
                let header = segment::read_header(&file, place.offset, len).map_err(failed())?;
                let Some(Ok(header)) = header else { break };
                seen.before.clone_from(&header.before);
                seen.repeats = Some(place);
                let offset = place.offset + header.frame_len();
                if (place.segment, place.offset) == (at.segment, at.offset) {
                    seen.repeats = None;
                    seen.events = u64::from(header.events);
                    seen.next = Position { offset, ..place };
                }
                place.offset = offset;
            }
        }
        Ok(seen)
    }

    /// When the event at a place happened; `None` where none can be read.
    pub(super) fn time_at(&self, lane: &LaneId, at: Position) -> Option<Timestamp> {
        let chunk = self.read_blocking(lane, at, 1, 1).ok()?;
        chunk.records.first().map(|record| record.time)
    }
}
