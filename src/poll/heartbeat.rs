//! The sign of life of an integration: an event of the collector's own, by which a receiver notices that none comes any more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::config::IntegrationConfig;
use super::retention::{Retention, Seen, StreamWatch};
use crate::health::{Cause, Class};
use crate::mimecast::log_types::Log;
use crate::model::{IntegrationId, StreamId, Timestamp};
use crate::status::{Condition, Phase};
use crate::store::{Notice, PollRecord, Snapshot, Store, StoreError, StreamRecord};
use crate::subject::Subject;

/// What heartbeats of an integration have in common, and when the next is due.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) at: Timestamp,
    integration: IntegrationId,
    tags: BTreeMap<String, String>,
    every: Duration,
    /// Boxed, as nodes of a map are half empty.
    watches: BTreeMap<StreamId, Box<StreamWatch>>,
}

/// A stream as the poller sees it.
#[derive(Debug)]
pub(super) struct Beating {
    pub(super) id: StreamId,
    pub(super) condition: Condition,
    pub(super) last_success: Option<Timestamp>,
    pub(super) seen: Seen,
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
    /// Records that were read, and of them those that were stored already.
    records_read: u64,
    records_known: u64,
    files_fetched: u64,
    files_waiting: u64,
    /// Until the first event that is not fetched leaves Mimecast, in the stream where that is soonest.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_left_seconds: Option<u64>,
    /// That stream, if more than half of the time is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_low: Option<String>,
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

impl Beating {
    /// A stream by its parts.
    pub(super) fn of(
        id: &StreamId,
        log: &Log,
        subject: &Subject,
        poll: Option<PollRecord>,
        last_success: Option<Timestamp>,
    ) -> Self {
        let cause = subject.state().cause().map(Cause::row);
        Self {
            id: id.clone(),
            condition: subject.condition(),
            last_success,
            seen: Seen {
                kept: log.kept(),
                is_refused: cause.is_some_and(|row| row.class == Class::Forbidden),
                is_well: poll.is_some_and(|poll| poll.done) && subject.is_healthy(),
            },
        }
    }
}

impl Heartbeat {
    /// The heartbeats of an integration that begins at `turn`, so far from one to the next.
    pub(super) fn new(
        config: &IntegrationConfig,
        stored: &Snapshot,
        now: Timestamp,
        turn: Timestamp,
        every: Duration,
    ) -> Self {
        let mut watches = BTreeMap::new();
        for log in &config.logs {
            for id in log.streams(&config.id) {
                let about = config.about(Some(id.log_and_type()));
                let watch = StreamWatch::load(&id, &about, stored, now);
                watches.insert(id, Box::new(watch));
            }
        }
        Self {
            watches,
            at: turn + every,
            every,
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
        streams: Vec<Beating>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut pulse = Pulse::default();
        for condition in shared {
            pulse.note(condition);
        }
        for stream in streams {
            let known = store.stream(&stream.id).await?;
            if let Some(watch) = self.watches.get_mut(&stream.id) {
                let left = watch.look(store, stream.seen, &known, now).await?;
                pulse.retention(&stream.id, left);
            }
            let healthy = stream.condition.state == Phase::Healthy;
            pulse.note(stream.condition);
            pulse.stream(healthy, stream.last_success.max(known.newest), &known);
        }
        self.at = now + self.every;
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

    fn retention(&mut self, id: &StreamId, retention: Option<Retention>) {
        let Some(Retention { kept, left }) = retention else {
            return;
        };
        let seconds = left.as_secs();
        if self
            .retention_left_seconds
            .is_none_or(|least| seconds < least)
        {
            self.retention_left_seconds = Some(seconds);
            self.retention_low = (left <= kept / 2).then(|| id.log_and_type());
        }
    }

    fn stream(&mut self, healthy: bool, until: Option<Timestamp>, known: &StreamRecord) {
        self.streams += 1;
        self.streams_healthy += u64::from(healthy);
        self.events += known.events;
        self.bytes += known.bytes;
        self.quarantined += known.quarantined;
        if let Some(books) = &known.books {
            self.records_read += books.tally.read;
            self.records_known += books.tally.known;
            self.files_fetched += books.tally.files_fetched;
            self.files_waiting += books.waiting;
        }
        self.fetched_until = Some(match self.fetched_until {
            Some(furthest) => furthest.min(until),
            None => until,
        });
    }
}
