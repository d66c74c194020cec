//! Which lanes go to which outputs, and where an output begins in one.

use std::collections::{BTreeMap, BTreeSet};

use super::segment::FIRST;
use super::transaction::{Changed, Engine, Lane};
use super::{LaneRecord, PositionRecord};
use crate::model::{From, LaneId, OutputId, Position, Route};

impl Engine {
    /// Whether a lane goes to the output of a route: what is replayed for one output goes to no other.
    pub(super) fn goes(&self, lane: &LaneId, route: &Route) -> bool {
        let only = || self.only_output(lane);
        route.takes(lane) && only().is_none_or(|only| only == route.output)
    }

    /// A lane to be changed; one that is new begins for all outputs that it goes to.
    pub(super) fn lane(&mut self, id: &LaneId, changed: &mut BTreeSet<Changed>) -> &mut LaneRecord {
        changed.insert(Changed::Lane(id.clone()));
        let positions = match self.records.lanes.contains_key(id) {
            true => BTreeMap::new(),
            false => self.begin(id, changed),
        };
        let lane = self.records.lanes.entry(id.clone());
        let lane = lane.or_insert_with(|| Lane {
            record: LaneRecord {
                end: FIRST,
                events: 0,
                from: None,
            },
            positions,
        });
        &mut lane.record
    }

    /// The positions of a lane that begins.
    fn begin(
        &self,
        id: &LaneId,
        changed: &mut BTreeSet<Changed>,
    ) -> BTreeMap<OutputId, PositionRecord> {
        let routes = self.routes.iter().flatten();
        let start = |route: &Route| {
            changed.insert(Changed::Position(id.clone(), route.output.clone()));
            (route.output.clone(), beginning(FIRST, 0))
        };
        routes
            .filter(|route| self.goes(id, route))
            .map(start)
            .collect()
    }

    pub(super) fn route(&mut self, routes: Vec<Route>, changed: &mut BTreeSet<Changed>) {
        let mut heads = Vec::new();
        for (id, lane) in &self.records.lanes {
            for route in routes.iter().filter(|route| self.goes(id, route)) {
                if lane.positions.contains_key(&route.output) {
                    continue;
                }
                let (position, passed) = self.first_for(route, id, &lane.record);
                heads.push((
                    id.clone(),
                    route.output.clone(),
                    beginning(position, passed),
                ));
            }
        }
        for (id, output, head) in heads {
            changed.insert(Changed::Position(id.clone(), output.clone()));
            if let Some(lane) = self.records.lanes.get_mut(&id) {
                lane.positions.insert(output, head);
            }
        }
        self.routes = Some(routes);
    }

    /// Where an output begins in a lane that was there before it, and how many events lie before that.
    fn first_for(&self, route: &Route, id: &LaneId, lane: &LaneRecord) -> (Position, u64) {
        let end = (lane.end, lane.events);
        // What is sent again waits for this output alone, however it came to have no position.
        let first = match route.from == From::Oldest || id.again_for().is_some() {
            true => self.outbox.oldest(id).unwrap_or(end),
            false => end,
        };
        lane.from.unwrap_or(first)
    }

    /// The positions of outputs in lanes that do not go to them any more.
    pub(super) fn left_behind(&self) -> BTreeSet<(OutputId, LaneId)> {
        let mut left = BTreeSet::new();
        if self.routes.is_none() {
            return left;
        }
        for (id, lane) in &self.records.lanes {
            for output in lane.positions.keys() {
                if !self.still_goes(id, output) {
                    left.insert((output.clone(), id.clone()));
                }
            }
        }
        left
    }

    /// Whether a lane goes to an output by the routes there are.
    pub(super) fn still_goes(&self, id: &LaneId, output: &OutputId) -> bool {
        let mut routes = self.routes.iter().flatten();
        routes.any(|route| route.output == *output && self.goes(id, route))
    }
}

fn beginning(position: Position, passed: u64) -> PositionRecord {
    PositionRecord {
        position,
        passed,
        began: Some(passed),
        ..PositionRecord::default()
    }
}
