//! The words in which the registry answers; their JSON form is read by scripts, so members are added, never changed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Change, ClusterReport, Counts, DeadLetters, Latency, LedgerReport, Summary};
use crate::model::{IntegrationId, OutputId, StreamId, Timestamp};

/// Everything that is known at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`Report::VERSION`] of the program that made it.
    pub version: u32,
    /// The version of that program.
    pub program_version: String,
    /// Its state directory.
    pub state_dir: String,
    /// When it started.
    pub started: Timestamp,
    /// When the report was made.
    pub now: Timestamp,
    /// Whether somebody has to do something.
    pub summary: Summary,
    /// Each integration, by name.
    pub integrations: Vec<IntegrationReport>,
    /// Each output, by name.
    pub outputs: Vec<OutputReport>,
    /// How full the spool is.
    pub spool: SpoolReport,
    /// Records in quarantine, of all streams and outputs together.
    pub quarantined: u64,
    /// The recent changes of state, the newest first.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// How many there were since the start of the program.
    #[serde(default)]
    pub changes_count: u64,
    /// Whether all that came in is accounted for.
    #[serde(default)]
    pub ledger: LedgerReport,
    /// What was put aside.
    #[serde(default)]
    pub dead_letters: DeadLetters,
    /// The cluster, if this collector is one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
}

impl Report {
    /// Changes when a member changes its meaning; added members leave it.
    pub const VERSION: u32 = 1;
}

/// How a credential, a resource, a stream or an output is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// In one word.
    pub state: Phase,
    /// When it was healthy last; `None` if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the next attempt is made; `None` if it needs no wait, or waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Failures in a row.
    #[serde(default)]
    pub attempts: u32,
    /// Whether it needs nobody: a log that the account does not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expected: bool,
    /// The key of the failure, such as `401/0010`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What that key means, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What the answer itself said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// The id by which the vendor's support finds the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A condition in one word, from best to worst.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing stands in the way.
    #[default]
    Healthy,
    /// A token is being renewed, or a clock corrected.
    Renewing,
    /// The server asked for fewer requests.
    Throttled,
    /// A failure that should pass; the next attempt has its time.
    Retrying,
    /// Nothing is asked, because the spool is full or a person said so.
    Paused,
    /// A failure that does not pass by itself, or that must not be tried again soon.
    Blocked,
}

impl Phase {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Renewing => "renewing",
            Self::Throttled => "throttled",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Blocked => "blocked",
        }
    }
}

/// What is said of an integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationReport {
    /// Its name.
    pub name: IntegrationId,
    /// The version of the API, as the configuration writes it.
    pub api: String,
    /// How its credential is doing.
    pub condition: Condition,
    /// How what the vendor counts calls of is doing, by name.
    pub resources: BTreeMap<String, Condition>,
    /// What it may still ask of each of these, and of those that have no condition of their own, where a bound is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, RateReport>,
    /// Events of its streams that wait for the output that has the most of them to take.
    #[serde(default)]
    pub backlog_events: u64,
    /// Seconds that the hindmost of its streams is behind; one that waits for its next poll in good health counts as the usual five
    /// minutes at most, because a list that is asked for once a day is not late meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_s: Option<u64>,
    /// Its streams, by log type and event type.
    pub streams: Vec<StreamReport>,
}

/// From one poll of a log to the next, unless the configuration says otherwise.
const USUAL: Duration = Duration::from_mins(5);

impl IntegrationReport {
    pub(super) fn new(id: &IntegrationId) -> Self {
        Self {
            name: id.clone(),
            api: String::new(),
            condition: Condition::default(),
            resources: BTreeMap::new(),
            rates: BTreeMap::new(),
            backlog_events: 0,
            behind_s: None,
            streams: Vec::new(),
        }
    }

    /// How far the hindmost of its streams is behind, as [`IntegrationReport::behind_s`] tells it; `None` while that is not known of
    /// any.
    pub(super) fn behind(&self, now: Timestamp) -> Option<Duration> {
        let mut shared = std::iter::once(&self.condition).chain(self.resources.values());
        let all_well = shared.all(|condition| condition.state == Phase::Healthy);
        let of_stream = |stream: &StreamReport| {
            let behind = stream.behind(now)?;
            let well = all_well && stream.condition.state == Phase::Healthy && stream.caught_up;
            let waits = stream.next.is_some_and(|next| next > now);
            Some(if well && waits {
                behind.min(USUAL)
            } else {
                behind
            })
        };
        self.streams.iter().filter_map(of_stream).max()
    }

    /// Whether it or a part of it is anything but healthy.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        let shared = std::iter::once(&self.condition).chain(self.resources.values());
        let streams = self.streams.iter().map(|stream| &stream.condition);
        let mut all = shared.chain(streams);
        all.any(|condition| condition.state != Phase::Healthy)
    }
}

/// How often a function of the API may still be called with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateReport {
    /// Calls that may be made now.
    pub left: u32,
    /// Of how many in a window, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The window in seconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// When there are more; `None` if all are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_at: Option<Timestamp>,
}

/// A request to Mimecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRequest {
    /// When it was over.
    pub at: Timestamp,
    /// By which id Mimecast's support finds it.
    pub id: String,
}

/// What is said of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its log type.
    pub log: String,
    /// Its event type; empty if the log type has none.
    pub event_type: String,
    /// How it is doing by itself; a trouble of its credential is not repeated here.
    pub condition: Condition,
    /// Whether a request is out.
    pub polling: bool,
    /// Whether the last poll found the end.
    pub caught_up: bool,
    /// When a poll last found the end.
    pub last_success: Option<Timestamp>,
    /// When the next poll begins.
    pub next: Option<Timestamp>,
    /// When the vendor begins to delete what is not fetched yet: its look-back after the last poll that found the end; `None`
    /// before the first one.
    pub kept_until: Option<Timestamp>,
    /// For how many seconds Mimecast keeps the log; `None` for lists of what is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// Seconds until [`StreamReport::kept_until`]; 0 when it has passed, `None` also for a log that the account does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_left_s: Option<u64>,
    /// Its last request that was answered, or that nobody answered, since the start of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request: Option<LastRequest>,
    /// What came in and what became of it.
    #[serde(default)]
    pub counts: Counts,
    /// Events stored so far.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records put into quarantine so far.
    pub quarantined: u64,
    /// The time of the newest event.
    pub newest: Option<Timestamp>,
    /// Requests for a page, a file or a span of time, since the start of the program.
    #[serde(default)]
    pub polls: u64,
    /// How many of them failed, by the key of the failure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
}

/// Keys of failures that are counted of a stream; the rest goes under [`StreamReport::OTHER_FAILURES`]. A server chooses the codes
/// of its answers, and must not fill our memory with them.
const FAILURE_KEYS: usize = 20;

impl StreamReport {
    pub(super) fn new(id: &StreamId) -> Self {
        Self {
            log: id.log.to_string(),
            event_type: id.event_type.to_string(),
            condition: Condition::default(),
            polling: false,
            caught_up: false,
            last_success: None,
            next: None,
            kept_until: None,
            retention_seconds: None,
            retention_left_s: None,
            last_request: None,
            counts: Counts::default(),
            events: 0,
            bytes: 0,
            quarantined: 0,
            newest: None,
            polls: 0,
            failures: BTreeMap::new(),
        }
    }

    /// The key of failures that have no place of their own any more.
    pub const OTHER_FAILURES: &str = "other";

    /// Counts a failure.
    pub fn count_failure(&mut self, key: &str) {
        let full = self.failures.len() >= FAILURE_KEYS && !self.failures.contains_key(key);
        let key = if full { Self::OTHER_FAILURES } else { key };
        *self.failures.entry(key.to_owned()).or_default() += 1;
    }

    /// For how long Mimecast still keeps what is not fetched yet; zero if it has begun to delete it. `None` where nothing can be
    /// missed, or before the first poll.
    #[must_use]
    pub fn retention_left(&self, now: Timestamp) -> Option<Duration> {
        let is_kept = self.retention_seconds.is_some() && !self.condition.expected;
        let end = self.kept_until.filter(|_| is_kept)?;
        Some(end.since(now))
    }

    /// How long ago everything up to then was known to be fetched; `None` before the first poll that found the end.
    #[must_use]
    pub fn behind(&self, now: Timestamp) -> Option<Duration> {
        let fetched = self.last_success.max(self.newest)?;
        Some(now.since(fetched))
    }
}

/// What is said of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Its name.
    pub name: OutputId,
    /// Its type, as the configuration writes it.
    pub kind: String,
    /// How it is doing.
    pub condition: Condition,
    /// Events that it took.
    pub accepted: u64,
    /// Events that it refused and that were put into quarantine.
    pub rejected: u64,
    /// Events that it was not offered and that were put into quarantine: too long, or not to be understood.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: u64,
    /// Events that it was not offered: its filter drops them, or it does not carry their kind.
    #[serde(default)]
    pub filtered: u64,
    /// Events in damaged frames, which were stepped over and fetched again.
    #[serde(default)]
    pub skipped: u64,
    /// Dead letters of it: files of events that it refused and that were not sent again.
    #[serde(default)]
    pub dead_letters: u64,
    /// Events of dead letters that are on their way to it again; they are part of what waits.
    #[serde(default)]
    pub resending: u64,
    /// Events that wait for it.
    pub backlog_events: u64,
    /// Their bytes on disk, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<u64>,
    /// Seconds since the oldest of them was stored, to the minute; of what waited at the start, since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_age_s: Option<u64>,
    /// Events that were offered and are not answered yet.
    #[serde(default)]
    pub in_flight: u64,
    /// How long its deliveries take, since the start of the program.
    #[serde(default)]
    pub deliveries: Latency,
    /// When it last took something.
    pub last_success: Option<Timestamp>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl OutputReport {
    pub(super) fn new(id: &OutputId) -> Self {
        Self {
            name: id.clone(),
            kind: String::new(),
            condition: Condition::default(),
            accepted: 0,
            rejected: 0,
            withheld: 0,
            filtered: 0,
            skipped: 0,
            dead_letters: 0,
            resending: 0,
            backlog_events: 0,
            backlog_bytes: None,
            backlog_age_s: None,
            in_flight: 0,
            deliveries: Latency::default(),
            last_success: None,
        }
    }
}

/// How full the spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolReport {
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes at which polling pauses.
    pub limit: u64,
    /// Whether the disk of the state directory is full, so that nothing is fetched.
    #[serde(default)]
    pub disk_full: bool,
}
