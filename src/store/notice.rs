//! Events of the collector's own: the store's task writes them itself, to a lane of their own, outside the limits of the spool.

use std::collections::BTreeSet;

use super::segment::FIRST;
use super::transaction::{Changed, Engine};
use super::{StoreError, frame, segment};
use crate::model::{Event, EventId, Form, LaneId, Position, Timestamp};

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
    /// Writes a heartbeat, unless the last one of the same still waits.
    pub(super) fn beat(
        &mut self,
        of: String,
        notice: &Notice,
        changed: &mut BTreeSet<Changed>,
    ) -> Result<(), StoreError> {
        if self.waits(&of) {
            return Ok(());
        }
        self.note(notice, changed)?;
        let lane = self.records.lanes.get(&LaneId::collector());
        let end = lane.map_or(FIRST, |lane| lane.record.end);
        self.heartbeats.insert(of, end);
        Ok(())
    }

    /// Whether an output has not taken the last heartbeat of `of` yet.
    fn waits(&self, of: &str) -> bool {
        let last = self.heartbeats.get(of);
        let lane = self.records.lanes.get(&LaneId::collector());
        last.zip(lane).is_some_and(|(last, lane)| {
            let routes = self.routes.iter().flatten();
            let routes = routes.filter(|route| route.carry.heartbeats);
            let mut routed = routes.filter_map(|route| lane.positions.get(&route.output));
            routed.any(|at| at.position < *last)
        })
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
