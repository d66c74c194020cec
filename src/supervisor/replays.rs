//! What becomes of a wish to fetch a span of time again.

use serde_json::{Value, json};

use super::Supervisor;
use crate::model::{IntegrationId, LaneId, OutputId, StreamId, Timestamp};
use crate::poll::replay::{Plan, plan};
use crate::poll::{self};
use crate::store::{Replay, Snapshot, StoreError};

/// A span of a log to be fetched again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWish {
    /// The integration's name.
    pub integration: String,
    /// The log type's name.
    pub log: String,
    /// The first moment.
    pub from: Timestamp,
    /// The moment behind the last one.
    pub to: Timestamp,
    /// The one output that it is for; `None` for all.
    pub output: Option<String>,
    /// Only say what would be asked.
    pub dry_run: bool,
}

impl Supervisor {
    /// Begins a replay, or says what it would be.
    ///
    /// # Errors
    /// The store's. The inner one says why it cannot be.
    pub(super) async fn replay(
        &self,
        wish: ReplayWish,
    ) -> Result<Result<Value, String>, StoreError> {
        let clock = &self.shared.context.clock;
        let plan = match self.plan(&wish, clock.wall()) {
            Ok(plan) => plan,
            Err(why) => return Ok(Err(why)),
        };
        let mut said = said(&wish, &plan);
        if wish.dry_run {
            let answer = json!({"number": null, "requests": plan.requests, "said": said});
            return Ok(Ok(answer));
        }
        let store = &self.shared.context.store;
        let number = next_number(&store.snapshot().await?, clock.wall());
        let replay = |stream: &StreamId| (stream.replayed(number), plan.replay.clone());
        store
            .replay(plan.streams.iter().map(replay).collect())
            .await?;
        self.tell_replays(&wish.integration).await;
        said = format!("replay {number}: {said}");
        tracing::info!(integration = wish.integration, "{said}, as a person asked");
        let answer = json!({"number": number, "requests": plan.requests, "said": said});
        Ok(Ok(answer))
    }

    fn plan(&self, wish: &ReplayWish, wall: Timestamp) -> Result<Plan, String> {
        let pollers = &self.pollers;
        let named = |id: &&IntegrationId| id.as_str() == wish.integration;
        let entry = pollers.keys().find(named).and_then(|id| pollers.get(id));
        let Some(entry) = entry else {
            if let Some(said) = self.elsewhere(&wish.integration) {
                return Err(said);
            }
            let names: Vec<_> = pollers.keys().map(IntegrationId::as_str).collect();
            let names = names.join(", ");
            return Err(format!(
                "no integration is called '{}'; there are: {names}",
                wish.integration
            ));
        };
        let output = wish.output.as_deref().map(|name| self.output(name));
        let output = output.transpose()?;
        let replay = Replay {
            from: wish.from,
            to: wish.to,
            output: output.clone(),
            cancelled: false,
        };
        let plan = plan(&entry.config, &wish.log, replay, wall)?;
        let worker = output.and_then(|output| self.workers.get(&output));
        if let Some(worker) = worker {
            let route = &worker.config.route;
            let mut lanes = plan.streams.iter().map(LaneId::stream);
            if let Some(lane) = lanes.find(|lane| !route.takes(lane)) {
                return Err(format!(
                    "output '{}' does not take {lane}: see its integrations, logs and carry",
                    route.output
                ));
            }
        }
        Ok(plan)
    }

    fn output(&self, name: &str) -> Result<OutputId, String> {
        let known = self.workers.keys().find(|id| id.as_str() == name);
        known.cloned().ok_or_else(|| {
            let names: Vec<_> = self.workers.keys().map(OutputId::as_str).collect();
            format!(
                "no output is called '{name}'; there are: {}",
                names.join(", ")
            )
        })
    }

    /// Gives up a replay.
    ///
    /// # Errors
    /// The store's. The inner one says that there is none of that number.
    pub(super) async fn cancel_replay(
        &self,
        number: u64,
    ) -> Result<Result<Value, String>, StoreError> {
        let store = &self.shared.context.store;
        let stored = store.snapshot().await?;
        let mut given_up = Vec::new();
        for (stream, replay) in replays(&stored).filter(|(stream, _)| stream.replay == Some(number))
        {
            let replay = Replay {
                cancelled: true,
                ..replay.clone()
            };
            given_up.push((stream, replay));
        }
        let Some((stream, _)) = given_up.first() else {
            let why = format!("there is no replay {number}; see: mimecast-collector replay --list");
            return Ok(Err(why));
        };
        let integration = stream.integration.to_string();
        store.replay(given_up).await?;
        self.tell_replays(&integration).await;
        tracing::info!(
            integration,
            number,
            "a replay is cancelled, as a person asked"
        );
        let said = format!("replay {number} is cancelled; what was delivered of it stays there");
        Ok(Ok(said.into()))
    }

    async fn tell_replays(&self, integration: &str) {
        let pollers = self.pollers.iter();
        for (_, poller) in pollers.filter(|(id, _)| id.as_str() == integration) {
            // One that has ended finds them in the store when it starts again.
            poller.commands.send(poll::Command::Replays).await.ok();
        }
    }
}

/// The streams of replays that are not over.
fn replays(stored: &Snapshot) -> impl Iterator<Item = (StreamId, &Replay)> {
    let streams = stored.streams.iter();
    streams.filter_map(|(key, record)| Some((StreamId::parse(key)?, record.replay.as_ref()?)))
}

/// The seconds of the wall clock, or more, so that no number comes twice: a lane is named by it.
fn next_number(stored: &Snapshot, wall: Timestamp) -> u64 {
    let taken = replays(stored)
        .filter_map(|(stream, _)| stream.replay)
        .max();
    let seconds = u64::try_from(wall.as_millis() / 1000).unwrap_or(0);
    seconds.max(taken.map_or(0, |taken| taken + 1))
}

fn said(wish: &ReplayWish, plan: &Plan) -> String {
    let Replay { from, to, .. } = plan.replay;
    let (streams, requests) = (plan.streams.len(), plan.requests);
    let mut said = format!(
        "{} {} from {from} to {to}: {streams} streams, at least {requests} requests beside the live ones",
        wish.integration, wish.log
    );
    if !plan.reservation.is_empty() {
        said.push_str("; ");
        said.push_str(&plan.reservation);
    }
    said
}
