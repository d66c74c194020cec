//! The sign of life of an integration: an event of the collector's own, by which a receiver notices that none comes any more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::config::IntegrationConfig;
use crate::model::{IntegrationId, StreamId, Timestamp};
use crate::status::{Condition, Phase};
use crate::store::{Notice, Store, StoreError, StreamRecord};

/// From one to the next: the pace of the polls.
const EVERY: Duration = Duration::from_mins(5);

/// What heartbeats of an integration have in common, and when the next is due.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) at: Timestamp,
    integration: IntegrationId,
    tags: BTreeMap<String, String>,
}

/// How an integration is doing, summed up.
#[derive(Debug, Default, Serialize)]
struct Pulse {
    /// The worst of all states.
    state: Phase,
    /// Its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    streams: u64,
    streams_healthy: u64,
    events: u64,
    bytes: u64,
    quarantined: u64,
    /// Up to when everything is fetched; `None` if that is not known of some stream.
    #[serde(skip)]
    fetched_until: Option<Option<Timestamp>>,
}

#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    integration: &'a IntegrationId,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    pulse: &'a Pulse,
    /// How far behind the furthest stream is; `null` before its first poll has found the end.
    behind_seconds: Option<u64>,
    time: String,
    version: &'static str,
}

impl Heartbeat {
    pub(super) fn new(config: &IntegrationConfig, now: Timestamp) -> Self {
        Self {
            at: now + EVERY,
            integration: config.id.clone(),
            tags: config.tags.clone(),
        }
    }

    /// Tells every output that the integration is alive, and how it is doing: what its streams share, and each stream with when it
    /// last found the end.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn beat(
        &mut self,
        store: &Store,
        shared: Vec<Condition>,
        streams: Vec<(StreamId, Condition, Option<Timestamp>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut pulse = Pulse::default();
        for condition in shared {
            pulse.note(condition);
        }
        for (id, condition, last_success) in streams {
            let known = store.stream(&id).await?;
            let healthy = condition.state == Phase::Healthy;
            pulse.note(condition);
            pulse.stream(healthy, last_success.max(known.newest), &known);
        }
        self.at = now + EVERY;
        let notice = self.notice(&pulse, now);
        match store.heartbeat(self.integration.to_string(), notice).await {
            Err(error) if error.is_full() => {
                tracing::warn!(integration = %self.integration, %error, "no room for a heartbeat");
                Ok(())
            }
            told => told,
        }
    }

    fn notice(&self, pulse: &Pulse, now: Timestamp) -> Notice {
        let until = pulse.fetched_until.flatten();
        let event = Event {
            event: "heartbeat",
            integration: &self.integration,
            tags: &self.tags,
            pulse,
            behind_seconds: until.map(|until| now.since(until).as_secs()),
            time: now.to_string(),
            version: env!("CARGO_PKG_VERSION"),
        };
        Notice::new("heartbeat", &event, now)
    }
}

impl Pulse {
    fn note(&mut self, condition: Condition) {
        if condition.state > self.state {
            self.state = condition.state;
            self.code = condition.key;
        }
    }

    fn stream(&mut self, healthy: bool, until: Option<Timestamp>, known: &StreamRecord) {
        self.streams += 1;
        self.streams_healthy += u64::from(healthy);
        self.events += known.events;
        self.bytes += known.bytes;
        self.quarantined += known.quarantined;
        self.fetched_until = Some(match self.fetched_until {
            Some(furthest) => furthest.min(until),
            None => until,
        });
    }
}
