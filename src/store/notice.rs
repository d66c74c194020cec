//! Events of the collector's own: the store's task writes them itself, to a lane of their own, outside the limits of the spool.

use std::collections::BTreeSet;

use super::segment::FIRST;
use super::transaction::{Changed, Engine};
use super::{StoreError, frame, segment};
use crate::model::{Event, EventId, Form, LaneId, Position, Timestamp};

/// 64 MiB of events of the collector's own, a hundred thousand heartbeats: so many may wait for an output that is down.
const PILE: u64 = 64 << 20;

/// An event of the collector's own, for the lane that is [`LaneId::collector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `alert` or `heartbeat`.
    kind: &'static str,
    /// A JSON object.
    body: String,
    time: Timestamp,
}

impl Notice {
    /// An event of `kind` that says what `event` says.
    #[must_use]
    pub fn new(kind: &'static str, event: &impl serde::Serialize, time: Timestamp) -> Self {
        let body = serde_json::to_string(event);
        Self {
            kind,
            // Only a map with keys that are no strings fails, and ours have members.
            body: body.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")),
            time,
        }
    }
}

impl Engine {
    /// Writes a heartbeat, if it is wanted.
    pub(super) fn beat(
        &mut self,
        of: String,
        notice: &Notice,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<(), StoreError> {
        if !self.is_wanted(&of) {
            return Ok(());
        }
        self.note(notice, changed)?;
        let lane = self.records.lanes.get(&LaneId::collector());
        let end = lane.map_or(FIRST, |lane| lane.record.end);
        self.heartbeats.insert(of, end);
        Ok(())
    }

    /// Whether a heartbeat of `of` would be written: an output that carries heartbeats has taken the last one, so that one output that is
    /// down does not silence the others; and what waits for such a one is not much.
    pub(super) fn is_wanted(&self, of: &str) -> bool {
        let Some(routes) = &self.routes else {
            return true;
        };
        let id = LaneId::collector();
        let last = self.heartbeats.get(of);
        let lane = self.records.lanes.get(&id);
        let (mut taken, mut waits) = (false, false);
        for route in routes.iter().filter(|route| route.carry.heartbeats) {
            let at = lane.and_then(|lane| lane.positions.get(&route.output));
            let is_behind = last.zip(at).is_some_and(|(last, at)| at.position < *last);
            taken |= !is_behind;
            waits |= is_behind;
        }
        taken && (!waits || self.outbox.bytes_of_lane(&id) < PILE)
    }

    /// Appends an event of our own to its lane and makes it durable; it counts with the transaction that follows.
    pub(super) fn note(
        &mut self,
        notice: &Notice,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<(), StoreError> {
        let id = LaneId::collector();
        let lane = self.records.lanes.get(&id).map(|lane| &lane.record);
        let (mut end, events) = lane.map_or((FIRST, 0), |lane| (lane.end, lane.events));
        if end.offset >= segment::SEGMENT_BYTES {
            end = Position::start_of(end.segment + 1);
        }
        let frame = frame::of_one(
            notice.kind,
            Form::Json,
            id.as_str(),
            &Event {
                body: &notice.body,
                time: notice.time,
                id: EventId::own(notice.kind, &notice.body),
            },
            events,
        );
        let frame = frame.map_err(|_| StoreError::Value("an event of our own".to_owned()))?;
        segment::append(&self.outbox.folder(&id), end, &frame)?;
        end.offset += frame.len() as u64;
        let lane = self.lane(&id, changed);
        lane.end = end;
        lane.events += 1;
        Ok(())
    }
}
