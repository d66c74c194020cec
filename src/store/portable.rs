//! What can be carried to another state directory, or put back into this one: where streams stand, and states of health.
//!
//! Lanes are not carried: what waits in them stays in their segments. So a stream is carried with the place before which every output
//! had all its events: whoever goes on from there repeats what waited, and misses nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::command::Command;
use super::files::write_synced;
use super::open::INSTALL_ID;
use super::transaction::{Changed, Engine, Lane};
use super::{Store, StoreError, StreamRecord, rescue};
use crate::model::{Cursor, LaneId, StreamId};

/// What is put back of a state directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Portable {
    /// Streams, each with the cursor that it goes on from and what is known of its polls; counts are those of a lane, and left out.
    pub streams: BTreeMap<StreamId, StreamRecord>,
    /// States of health by their subjects.
    pub health: BTreeMap<String, serde_json::Value>,
}

impl Store {
    /// Where each stream must go on if the lanes are gone: everything before that place has been delivered to all outputs. `None` is
    /// the stream's beginning.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or a segment that cannot be read.
    pub async fn delivered_until(&self) -> Result<BTreeMap<String, Option<Cursor>>, StoreError> {
        self.ask(|reply| Command::DeliveredUntil { reply }).await
    }

    /// Puts streams where `portable` says, in one transaction: their memos are dropped, as the repeat would be taken for known. A poll
    /// that is known here and began later stays, and so does every state of health that is known here, so nothing is asked sooner.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn restore(&self, portable: Portable) -> Result<(), StoreError> {
        let portable = Box::new(portable);
        self.ask(|reply| Command::Restore { portable, reply }).await
    }
}

/// Whether a state directory holds nothing yet.
#[must_use]
pub fn is_unused(root: &Path) -> bool {
    !root.join("sled").exists() && !rescue::is_missed(root)
}

/// Gives a state directory that holds nothing yet the key of another installation, so that fingerprints go on being right.
///
/// # Errors
/// What the disk says.
pub fn adopt(root: &Path, install: &str) -> Result<(), StoreError> {
    write_synced(&root.join(INSTALL_ID), format!("{install}\n").as_bytes())
}

impl Engine {
    pub(super) fn delivered_until(&self) -> Result<BTreeMap<String, Option<Cursor>>, StoreError> {
        let mut places = BTreeMap::new();
        for (name, record) in &self.records.streams {
            let id = LaneId::from_text(name);
            let lane = self.records.lanes.get(&id);
            let cursor = match lane.and_then(oldest_waiting) {
                None => record.cursor.clone(),
                Some((at, end)) => match self.repair_ahead(&id, at) {
                    Some(repair) => repair.cursor,
                    None => self.outbox.inspect(&id, at, end)?.before,
                },
            };
            places.insert(name.clone(), cursor);
        }
        Ok(places)
    }

    pub(super) fn restore(&mut self, portable: Portable, changed: &mut BTreeSet<Changed>) {
        for (stream, place) in portable.streams {
            let repair = self.fetched_again(&stream, place.cursor.clone());
            self.set_back(&stream, place.cursor, changed);
            let record = self.stream(&stream, changed);
            record.repair = repair;
            let polls = record.poll.into_iter().chain(place.poll);
            record.poll = polls.max_by_key(|poll| poll.started);
            record.origin = place.origin.or(record.origin);
            record.fetched_until = record.fetched_until.or(place.fetched_until);
            record.newest = record.newest.or(place.newest);
            record.rhythm = record.rhythm.take().or(place.rhythm);
        }
        for (subject, state) in portable.health {
            if let Entry::Vacant(unknown) = self.records.health.entry(subject) {
                changed.insert(Changed::Health(unknown.key().clone()));
                unknown.insert(state);
            }
        }
    }
}

/// The oldest place at which an output stands with events ahead, and the lane's end; `None` if all have everything.
fn oldest_waiting(lane: &Lane) -> Option<(crate::model::Position, crate::model::Position)> {
    let positions = lane.positions.values().map(|at| at.position);
    let found = lane.record.from.map(|(from, _)| from);
    let oldest = positions.chain(found).min()?;
    let end = lane.record.end;
    (oldest != end).then_some((oldest, end))
}
