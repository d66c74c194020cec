//! What the configuration has no more and the store still keeps: told once a day, and given up when a person says so.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::Supervisor;
use crate::model::{IntegrationId, OutputId, StreamId};
use crate::store::{Forget, Snapshot, StoreError};

/// From one warning to the next.
const DAY: Duration = Duration::from_hours(24);

/// Something that the configuration has no more, by what is given up with it.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    what: Forget,
    /// Events that wait for it; of an integration, for any output.
    events: u64,
    /// Whether the output itself is still configured, and only a route of it is gone.
    routes_only: bool,
}

impl Left {
    fn name(&self) -> &str {
        match &self.what {
            Forget::Output(id) => id.as_str(),
            Forget::Integration(id) => id.as_str(),
        }
    }

    /// What it is, to stand at the beginning of a sentence.
    fn title(&self) -> String {
        let (name, events) = (self.name(), self.events);
        match &self.what {
            Forget::Integration(_) => format!(
                "integration {name} is not in the configuration any more: its place in each log is kept, and {events} events of it wait to be delivered"
            ),
            Forget::Output(_) if self.routes_only => format!(
                "output {name} is not for some logs any more: {events} events of them wait for it on disk"
            ),
            Forget::Output(_) => format!(
                "output {name} is not in the configuration any more: {events} events wait for it on disk"
            ),
        }
    }
}

impl Supervisor {
    /// Warns once a day of what keeps disk space or a cursor and is not configured any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn look_at_left(&mut self) -> Result<(), StoreError> {
        let now = self.shared.context.clock.now();
        if self.left_told.is_some_and(|told| now.since(told) < DAY) {
            return Ok(());
        }
        self.left_told = Some(now);
        let stored = self.shared.context.store.snapshot().await?;
        for left in self.left(&stored) {
            tracing::warn!(
                name = left.name(),
                events = left.events,
                "{}; configure it again, or give that up: mimecast-collector forget {}",
                left.title(),
                left.name()
            );
        }
        Ok(())
    }

    /// Gives up what is kept for a name that is not configured any more; unless the person is sure, only says what that would be.
    pub(super) async fn forget(
        &self,
        name: &str,
        sure: bool,
    ) -> Result<Result<Value, String>, StoreError> {
        let store = &self.shared.context.store;
        let left = self.left(&store.snapshot().await?);
        let left: Vec<_> = left
            .into_iter()
            .filter(|left| left.name() == name)
            .collect();
        if left.is_empty() {
            let configured =
                self.is_configured(name) || self.workers.keys().any(|id| id.as_str() == name);
            return Ok(Err(if configured {
                format!("{name} is in the configuration: take it out and reload first")
            } else {
                format!("nothing is kept for '{name}'")
            }));
        }
        let mut said = Vec::new();
        for left in left {
            if !sure {
                said.push(left.title());
                continue;
            }
            let forgotten = store.forget(left.what.clone()).await?;
            let text = format!(
                "{name} is forgotten: {} records, and {} events that waited",
                forgotten.records, forgotten.events
            );
            tracing::warn!(name, "{text}, as a person asked");
            said.push(text);
        }
        Ok(Ok(said.join("\n").into()))
    }

    fn left(&self, stored: &Snapshot) -> Vec<Left> {
        let mut outputs: BTreeMap<&OutputId, u64> = BTreeMap::new();
        for key @ (output, lane) in &stored.left_behind {
            let end = stored.lanes.get(lane).map_or(0, |lane| lane.events);
            let passed = stored.positions.get(key).map_or(0, |at| at.passed);
            *outputs.entry(output).or_default() += end.saturating_sub(passed);
        }
        let mut integrations: BTreeMap<IntegrationId, u64> = BTreeMap::new();
        for stream in stored.streams.keys().filter_map(|key| StreamId::parse(key)) {
            if !self.is_configured(stream.integration.as_str()) {
                integrations.entry(stream.integration).or_default();
            }
        }
        for ((_, lane), at) in &stored.positions {
            let integration = lane.source().map(|stream| stream.integration);
            let waiting = integration.and_then(|integration| integrations.get_mut(&integration));
            if let Some(waiting) = waiting {
                let end = stored.lanes.get(lane).map_or(0, |lane| lane.events);
                *waiting += end.saturating_sub(at.passed);
            }
        }
        let outputs = outputs.into_iter().map(|(id, events)| Left {
            what: Forget::Output(id.clone()),
            events,
            routes_only: self.workers.contains_key(id),
        });
        let integrations = integrations.into_iter().map(|(id, events)| Left {
            what: Forget::Integration(id),
            events,
            routes_only: false,
        });
        outputs.chain(integrations).collect()
    }
}
