//! How a replay is doing.

use serde::{Deserialize, Serialize};

use crate::model::{IntegrationId, OutputId, Timestamp};

/// A replay that is not over: it is gone from the list once it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// By which it is cancelled.
    pub number: u64,
    /// Whose log it is.
    pub integration: IntegrationId,
    /// The log type.
    pub log: String,
    /// The first moment.
    pub from: Timestamp,
    /// The moment behind the last one.
    pub to: Timestamp,
    /// The one output that it is for; `None` for all.
    pub output: Option<OutputId>,
    /// How many hundredths of the span are fetched, by the newest events.
    pub fetched_percent: u64,
    /// Events fetched so far.
    pub events: u64,
    /// Events that wait for an output, the furthest behind.
    pub backlog: u64,
}
