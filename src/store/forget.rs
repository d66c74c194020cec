//! What a person gives up: the positions of an output, or all that is known of an integration, that the configuration has no more.
//!
//! The records go in one transaction; then the files that they named. A crash in between leaves files that no record names, which the
//! next start deletes.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::command::Command;
use super::files::not_found;
use super::handover::taken_key;
use super::transaction::{Changed, Engine};
use super::{Store, StoreError};
use crate::model::{IntegrationId, LaneId, OutputId};

/// What is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// The output's positions in lanes that do not go to it any more; all that is known of it if no lane does.
    Output(OutputId),
    /// The integration's streams and lanes, with the events that wait in them.
    Integration(IntegrationId),
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Records that are gone: positions, lanes, streams, states.
    pub records: usize,
    /// Events that still waited, counted for each output.
    pub events: u64,
    /// Lanes that are gone.
    pub(super) lanes: Vec<LaneId>,
}

impl Store {
    /// Gives up what no part of the configuration wants. An integration that is polled must not be named.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn forget(&self, what: Forget) -> Result<Forgotten, StoreError> {
        self.ask(|reply| Command::Forget { what, reply }).await
    }
}

impl Engine {
    pub(super) fn forget(&mut self, what: &Forget, changed: &mut BTreeSet<Changed>) -> Forgotten {
        match what {
            Forget::Output(output) => self.forget_output(output, changed),
            Forget::Integration(integration) => self.forget_integration(integration, changed),
        }
    }

    fn forget_output(&mut self, output: &OutputId, changed: &mut BTreeSet<Changed>) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let routes = self.routes.iter().flatten();
        let configured = routes.clone().any(|route| route.output == *output);
        for (of, lane_id) in self.left_behind() {
            if of != *output {
                continue;
            }
            if let Some(lane) = self.records.lanes.get_mut(&lane_id)
                && let Some(at) = lane.positions.remove(output)
            {
                forgotten.events += lane.record.events.saturating_sub(at.passed);
                forgotten.records += 1;
                self.forget_health(&[format!("lane {output} {lane_id}")], changed);
                changed.insert(Changed::Position(lane_id, output.clone()));
            }
        }
        if !configured {
            let again = |id: &&LaneId| id.again_for() == Some(output.as_str());
            let again: Vec<_> = self.records.lanes.keys().filter(again).cloned().collect();
            for lane in again {
                self.forget_lane(lane, &mut forgotten, changed);
            }
            let names = [format!("output {output}"), format!("pause output {output}")];
            forgotten.records += self.forget_health(&names, changed);
        }
        forgotten
    }

    fn forget_integration(
        &mut self,
        integration: &IntegrationId,
        changed: &mut BTreeSet<Changed>,
    ) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let of = |id: &&LaneId| {
            let source = id.source();
            source.is_some_and(|stream| stream.integration == *integration)
        };
        let lanes: Vec<_> = self.records.lanes.keys().filter(of).cloned().collect();
        for lane in lanes {
            self.forget_lane(lane, &mut forgotten, changed);
        }
        let beginning = format!("{integration}/");
        let streams = self.records.streams.keys();
        let streams: Vec<_> = streams
            .filter(|key| key.starts_with(&beginning))
            .cloned()
            .collect();
        for stream in streams {
            self.records.streams.remove(&stream);
            self.forget_health(&[format!("stream {stream}")], changed);
            changed.insert(Changed::Stream(stream));
            forgotten.records += 1;
        }
        self.heartbeats.remove(integration.as_str());
        let resource = format!("resource {integration} ");
        let health = self.records.health.keys();
        let mut names: Vec<_> = health
            .filter(|key| key.starts_with(&resource))
            .cloned()
            .collect();
        names.push(format!("credential {integration}"));
        names.push(format!("pause integration {integration}"));
        names.push(taken_key(integration));
        forgotten.records += self.forget_health(&names, changed);
        forgotten
    }

    fn forget_lane(
        &mut self,
        id: LaneId,
        forgotten: &mut Forgotten,
        changed: &mut BTreeSet<Changed>,
    ) {
        let Some(lane) = self.records.lanes.remove(&id) else {
            return;
        };
        for (output, at) in lane.positions {
            forgotten.events += lane.record.events.saturating_sub(at.passed);
            forgotten.records += 1;
            self.forget_health(&[format!("lane {output} {id}")], changed);
            changed.insert(Changed::Position(id.clone(), output));
        }
        // Another lane of this name would have other damage at the same place.
        let place = format!("{id}:");
        let damages = self.records.damages.keys();
        let damages: Vec<_> = damages
            .filter(|key| key.starts_with(&place))
            .cloned()
            .collect();
        for key in damages {
            self.records.damages.remove(&key);
            changed.insert(Changed::Damage(key));
        }
        forgotten.records += 1;
        changed.insert(Changed::Lane(id.clone()));
        forgotten.lanes.push(id);
    }

    fn forget_health(&mut self, names: &[String], changed: &mut BTreeSet<Changed>) -> usize {
        let mut gone = 0;
        for name in names {
            if self.records.health.remove(name).is_some() {
                changed.insert(Changed::Health(name.clone()));
                gone += 1;
            }
        }
        gone
    }

    /// Deletes, once the transaction is durable, what the lanes that are gone kept on disk beside their segments.
    pub(super) fn sweep(&self, forgotten: &Forgotten) -> impl FnOnce() + Send + use<> {
        let root = self.root.clone();
        let lanes = forgotten.lanes.clone();
        move || {
            for lane in lanes {
                remove_folder(root.join("memos").join(lane.folder()));
            }
        }
    }

    /// Deletes folders of lanes that no record names: a kill came between a transaction and [`Self::sweep`], or before a lane's first.
    pub(super) fn sweep_strays(&self) {
        let first = |folder: String| folder.split('/').next().map(str::to_owned);
        let lanes = self.records.lanes.keys();
        let known: BTreeSet<_> = lanes.filter_map(|id| first(id.folder())).collect();
        let Ok(folders) = std::fs::read_dir(self.root.join("lanes")) else {
            return;
        };
        for folder in folders.flatten() {
            let name = folder.file_name().to_string_lossy().into_owned();
            if !known.contains(&name) {
                remove_folder(folder.path());
            }
        }
    }
}

fn remove_folder(folder: PathBuf) {
    let removed: io::Result<()> = std::fs::remove_dir_all(&folder);
    if let Err(error) = removed
        && !not_found(&error)
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot delete what was forgotten");
    }
}
