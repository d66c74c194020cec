//! What becomes of damage: a stream goes back to where it stood before the frame that cannot be read, and outputs step over it.

use std::collections::BTreeSet;

use super::transaction::{Changed, Engine};
use super::{AsideRecord, Detour, Repair, StoreError};
use crate::model::{Cursor, LaneId, Position, StreamId};

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

    /// Notes a place that cannot be read, once, and finds the way past it.
    pub(super) fn damaged(
        &mut self,
        lane_id: &LaneId,
        at: Position,
        reason: String,
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
            new: !self.records.damages.contains_key(&key),
            events: seen.events,
            cursor: None,
        };
        if !detour.new {
            return Ok(detour);
        }
        changed.insert(Changed::Damage(key.clone()));
        self.records.damages.insert(key, now);
        let aside = AsideRecord {
            at: now,
            owner: lane_id.to_string(),
            file: format!("lanes/{}/{:016}.seg", lane_id.folder(), at.segment),
            records: seen.events,
            reason,
            kept: None,
            withheld: false,
            sent_again: None,
        };
        self.put_aside(aside, changed);
        // Events that are sent again are in quarantine still, and their stream is long past them.
        let fetched = lane_id.again_for().is_none();
        if let Some(stream) = lane_id.source().filter(|_| fetched) {
            let known = self.records.streams.get(&stream.to_string());
            let repair = known.and_then(|record| record.repair);
            // Going to a later place than the one it was set back to would pass over what is not fetched again yet.
            if repair.is_some_and(|repair| repair.from <= at && at < repair.to) {
                detour.cursor = known.and_then(|record| record.cursor.clone());
            } else {
                self.set_back(&stream, seen.before.clone(), changed);
                let repair = Repair { from: at, to: end };
                self.stream(&stream, changed).repair = Some(repair);
                detour.cursor = seen.before;
            }
        }
        Ok(detour)
    }
}
