//! The lanes of an output, and which of them is served next.

use crate::alert::About;
use crate::health::{Policy, Seed};
use crate::model::{LaneId, Timestamp};
use crate::output::Output;
use crate::store::{Chunk, PositionRecord, Snapshot, StoreError};
use crate::subject::Subject;

use super::Worker;
use super::window::{Ticket, Window};

/// What the worker knows of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) window: Window,
    /// What was read and did not fit into the last batch.
    pub(super) ahead: Option<Chunk>,
    /// Of this lane alone: what another lane delivers says nothing about these.
    pub(super) refused_in_a_row: u32,
    /// Attempts up to this one say nothing new about the lane.
    pub(super) judged: Ticket,
    /// The disk had no room for what is put aside: the commit waits until the output may try again.
    pub(super) is_stuck: bool,
    /// Since when events wait for more to fill a batch.
    pub(super) waiting: Option<Timestamp>,
    pub(super) subject: Subject,
}

/// What a worker does next.
pub(super) enum Next {
    /// Serves this lane.
    Lane(LaneId),
    /// Waits: until then, or until something happens.
    Wait(Option<Timestamp>),
}

impl<O: Output> Worker<O> {
    /// Learns of lanes that began since the last look.
    pub(super) async fn find_lanes(&mut self) -> Result<(), StoreError> {
        let lanes = self.context.store.outbox().lanes();
        let end = |id: &LaneId| {
            let found = lanes.binary_search_by(|(other, _)| other.cmp(id)).ok();
            found.and_then(|at| lanes.get(at)).map(|(_, end)| *end)
        };
        // A lane that was forgotten and began anew ends before the place that it is known by.
        self.lanes
            .retain(|id, lane| end(id).is_some_and(|end| lane.window.position() <= end));
        self.others.retain(|id| end(id).is_some());
        let is_known = |id| self.lanes.contains_key(id) || self.others.contains(id);
        if lanes.iter().all(|(lane, _)| is_known(lane)) {
            return Ok(());
        }
        let stored = self.context.store.snapshot().await?;
        self.take_up_lanes(&stored);
        Ok(())
    }

    pub(super) fn take_up_lanes(&mut self, stored: &Snapshot) {
        for lane in stored.lanes.keys() {
            if self.lanes.contains_key(lane) {
                continue;
            }
            let key = (self.id.clone(), lane.clone());
            let position = stored.positions.get(&key);
            let ours = position.filter(|_| !stored.left_behind.contains(&key));
            let Some(PositionRecord { position, .. }) = ours else {
                self.others.insert(lane.clone());
                continue;
            };
            let name = format!("lane {} {lane}", self.id);
            let policy =
                Policy::output(Seed::of(self.context.store.install_id().as_bytes(), &name));
            let source = lane.source();
            let about = About {
                output: Some(self.id.clone()),
                integration: source.as_ref().map(|stream| stream.integration.clone()),
                log: source.map(|stream| stream.log_and_type()),
                ..About::default()
            };
            let taken = Lane {
                window: Window::at(*position),
                ahead: None,
                refused_in_a_row: 0,
                judged: 0,
                is_stuck: false,
                waiting: None,
                subject: Subject::load(name, about, policy, stored, self.context.clock.now()),
            };
            self.lanes.insert(lane.clone(), taken);
        }
    }

    /// Lets go of what was read ahead, and of its memory: nothing is under way, so it may be long until it is of use.
    pub(super) fn rest(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.ahead = None;
        }
        self.context.store.outbox().rest();
    }

    /// The next lane in turn that has something and may be served.
    ///
    /// What is not well is probed by one batch, not by a window of them.
    pub(super) fn next_lane(&mut self, now: Timestamp) -> Next {
        if self.pause.is_some() {
            return Next::Wait(None);
        }
        let credential = self.fingerprint.as_ref();
        if !self.subject.state().allows(now, credential) {
            return Next::Wait(self.subject.state().next_allowed(now));
        }
        let limit = self.output.window();
        let all = if self.subject.is_healthy() {
            limit.all.max(1)
        } else {
            1
        };
        if self.under_way.len() >= all || self.unconfirmed() >= limit.unconfirmed {
            return Next::Wait(None);
        }
        let bytes = self.output.limits().bytes as u64;
        let mut waiting: Option<Timestamp> = None;
        let mut first = None;
        for (id, end) in self.context.store.outbox().lanes() {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let (next, is_due) = (lane.window.next(), lane.window.due().is_some());
            if !is_due && next >= end {
                lane.waiting = None;
                continue;
            }
            if !self.context.tenure.may_deliver(&id) {
                continue;
            }
            if !lane.subject.state().allows(now, credential) {
                let until = lane.subject.state().next_allowed(now);
                waiting = [waiting, until].into_iter().flatten().min();
                continue;
            }
            let at_once = if lane.subject.is_healthy() {
                limit.lane.max(1)
            } else {
                1
            };
            if lane.window.busy() >= at_once {
                continue;
            }
            // Stored bytes are compressed, so this is rather more than a batch.
            let is_full =
                next.segment < end.segment || end.offset.saturating_sub(next.offset) >= bytes;
            let ripe = *lane.waiting.get_or_insert(now) + limit.wait;
            if !is_due && !is_full && ripe > now {
                waiting = [waiting, Some(ripe)].into_iter().flatten().min();
                continue;
            }
            if self.served.as_ref().is_some_and(|served| *served < id) {
                return Next::Lane(id);
            }
            first.get_or_insert(id);
        }
        first.map_or(Next::Wait(waiting), Next::Lane)
    }
}
