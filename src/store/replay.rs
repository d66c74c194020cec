//! Replays: streams that begin by a person's wish, and are forgotten whole when they are delivered or given up.

use std::collections::BTreeSet;

use super::command::Command;
use super::transaction::{Changed, Engine};
use super::{Replay, Store, StoreError};
use crate::model::{LaneId, OutputId, StreamId};

impl Store {
    /// Begins these replays, or says anew what they are to fetch.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn replay(&self, streams: Vec<(StreamId, Replay)>) -> Result<(), StoreError> {
        self.ask(|reply| Command::Replay { streams, reply }).await
    }

    /// Forgets a replay with its lane, its positions and its states, if it is cancelled, or caught up and delivered to all that it is
    /// for; says whether it is gone.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn forget_replay(&self, stream: &StreamId) -> Result<bool, StoreError> {
        let stream = stream.clone();
        self.ask(|reply| Command::ForgetReplay { stream, reply })
            .await
    }
}

impl Engine {
    /// The one output that a lane is for, if it is a replay for one.
    pub(super) fn only_output(&self, lane: &LaneId) -> Option<OutputId> {
        let stream = lane.source().filter(|stream| stream.replay.is_some())?;
        let record = self.records.streams.get(&stream.to_string())?;
        record.replay.as_ref()?.output.clone()
    }

    pub(super) fn replay(
        &mut self,
        streams: Vec<(StreamId, Replay)>,
        changed: &mut BTreeSet<Changed>,
    ) {
        for (stream, replay) in streams {
            let record = self.stream(&stream, changed);
            record.origin = Some(replay.from);
            record.replay = Some(replay);
        }
    }

    pub(super) fn forget_replay(
        &mut self,
        stream: &StreamId,
        changed: &mut BTreeSet<Changed>,
    ) -> bool {
        let (key, lane_id) = (stream.to_string(), LaneId::stream(stream));
        let Some(record) = self.records.streams.get(&key) else {
            return true;
        };
        let Some(replay) = &record.replay else {
            return false;
        };
        let done = record.poll.is_some_and(|poll| poll.done);
        let lane = self.records.lanes.get(&lane_id);
        let delivered = lane.is_none_or(|lane| {
            let mut positions = lane.positions.iter();
            // One that it does not go to any more takes nothing more.
            positions.all(|(output, at)| {
                at.position == lane.record.end || !self.still_goes(&lane_id, output)
            })
        });
        if !(replay.cancelled || done && delivered) {
            return false;
        }
        self.records.streams.remove(&key);
        changed.insert(Changed::Stream(key.clone()));
        let mut subjects = vec![format!("stream {key}")];
        if let Some(lane) = self.records.lanes.remove(&lane_id) {
            changed.insert(Changed::Lane(lane_id.clone()));
            for output in lane.positions.into_keys() {
                subjects.push(format!("lane {output} {lane_id}"));
                changed.insert(Changed::Position(lane_id.clone(), output));
            }
        }
        for subject in subjects {
            if self.records.health.remove(&subject).is_some() {
                changed.insert(Changed::Health(subject));
            }
        }
        let memos = self.root.join("memos").join(lane_id.folder());
        // Only space is lost if it stays: nothing names it any more.
        drop(std::fs::remove_dir_all(&memos));
        if let Some(parent) = memos.parent().filter(|_| !stream.event_type.is_empty()) {
            drop(std::fs::remove_dir(parent));
        }
        true
    }
}
