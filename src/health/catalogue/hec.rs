//! What Splunk's HTTP Event Collector answers.
//!
//! 0 and 17 are no failures; nor are 24 and 25, which accept the events and ask for fewer at a time. A code counts whatever the
//! status; the statuses are for what stands before Splunk.

use std::time::Duration;

use super::Class::{CredentialRejected, RecordRejected, RequestInvalid, Throttled, Transient};
use super::Impact::{High, Low};
use super::Scope::{Lane, Output};
use super::Status::{Any, Family, Is};
use super::{Class, Level, Row, Scope, Status};
use crate::health::Origin;

const SPLUNK: &str =
    "Splunk, \"Troubleshoot HTTP Event Collector\", table of error codes, read 2026-11";
const HTTP: &str = "general HTTP, as what stands before Splunk answers; not in Splunk's table";

const OWN: &str = "this collector's own word for what indexers do not answer";

const MIN_15: Duration = Duration::from_mins(15);

const fn row(code: &'static str, title: &'static str, class: Class, scope: Scope) -> Row {
    Row::new(Origin::Hec, Any, code, title, class, scope).source(SPLUNK)
}

const fn refused(code: &'static str, title: &'static str) -> Row {
    row(code, title, CredentialRejected, Output)
        .impact(High)
        .recheck(MIN_15)
}

const fn wrong(code: &'static str, title: &'static str) -> Row {
    row(code, title, RequestInvalid, Output)
        .impact(High)
        .recheck(MIN_15)
}

const fn busy(code: &'static str, title: &'static str, class: Class) -> Row {
    row(code, title, class, Output).advice(BUSY)
}

const fn record(code: &'static str, title: &'static str) -> Row {
    row(code, title, RecordRejected, Lane)
        .impact(Low)
        .advice(RECORD)
}

const fn http(status: Status, title: &'static str, class: Class) -> Row {
    Row::new(Origin::Hec, status, "", title, class, Output).source(HTTP)
}

const TOKEN: &str = "Compare the output's token with Settings | Data inputs | HTTP Event Collector in Splunk, and store the right \
     one here.";
const RECORD: &str = "Look at the record and the reason in quarantine; nothing else waits for it.";
const BUSY: &str =
    "Nothing, if it passes. If it stays, look at the indexers' queues and disks in Splunk.";
const BETWEEN: &str = "Nothing, if it passes. If it stays, check the output's url and what stands between here and Splunk.";
const ACKNOWLEDGEMENT: &str =
    "Turn indexer acknowledgement off for this token in Splunk, or give the output another token.";

pub(super) static ROWS: &[Row] = &[
    refused("1", "Token disabled")
        .advice("Enable the token under Settings | Data inputs | HTTP Event Collector in Splunk."),
    refused("2", "Token is required").advice("Check that no proxy removes the Authorization header."),
    refused("3", "Invalid authorization").advice("Check that no proxy changes the Authorization header."),
    refused("4", "Invalid token").advice(TOKEN),
    wrong("5", "No data").advice("Check that no proxy removes the body; else please report it."),
    record("6", "Invalid data format"),
    row("7", "Incorrect index", RequestInvalid, Lane)
        .impact(High)
        .recheck(MIN_15)
        .advice("Make the index in Splunk, allow it for this token, or set another index for the output."),
    busy("8", "Internal server error", Transient),
    busy("9", "Server is busy", Transient),
    wrong("10", "Data channel is missing").advice(ACKNOWLEDGEMENT),
    wrong("11", "Invalid data channel").advice(ACKNOWLEDGEMENT),
    record("12", "Event field is required"),
    record("13", "Event field cannot be blank"),
    wrong("14", "Acknowledgement is disabled")
        .advice("Turn indexer acknowledgement on for this token in Splunk, or off for this output."),
    record("15", "Error in handling indexed fields"),
    wrong("16", "Query string authorization is not enabled")
        .advice("Check the output's url: the token belongs into its own setting."),
    busy("18", "Unhealthy, queues are full", Transient),
    busy("19", "Unhealthy, acknowledgement service unavailable", Transient),
    busy("20", "Unhealthy, queues are full, acknowledgement service unavailable", Transient),
    refused("21", "Invalid token").advice(TOKEN),
    refused("22", "Token disabled")
        .advice("Enable the token under Settings | Data inputs | HTTP Event Collector in Splunk."),
    busy("23", "Server is shutting down", Transient),
    busy("26", "Queue at capacity", Throttled),
    busy("27", "Acknowledgement channel at capacity", Throttled),
    Row::new(Origin::Hec, Any, "ack_timeout", "No indexer confirms a batch", Transient, Output)
        .source(OWN)
        .impact(High)
        .advice(
            "The batch is sent again. If it stays, look at the indexers' queues, and whether what stands before them keeps to one \
             indexer (stickiness) for requests with the same cookie.",
        ),
    Row::new(Origin::Hec, Any, "ack_off", "Indexer acknowledgement was turned off", Transient, Output)
        .source(OWN)
        .level(Level::Error)
        .alert_at_once()
        .advice(
            "What was not confirmed is sent again, and from now on what HEC takes counts as delivered. If that is not meant, turn \
             indexer acknowledgement on for this token in Splunk; ack = \"on\" refuses to go on without it.",
        ),
    Row::new(Origin::Hec, Any, "ack_collision", "Two batches have one acknowledgement", Transient, Output)
        .source(OWN)
        .impact(High)
        .advice(
            "Several indexers answer as one: turn stickiness on in what stands before them, name the indexers themselves as url, or set \
             ack = \"off\".",
        ),
    http(Is(200), "Success that is not Splunk's", Transient)
        .impact(High)
        .advice("Check the output's url: what answers there is not Splunk, and nothing counts as delivered."),
    http(Is(401), "Unauthorized without a code", CredentialRejected)
        .impact(High)
        .recheck(MIN_15)
        .advice("Check the output's token, and whether something before Splunk wants a log-on of its own."),
    http(Is(403), "Forbidden without a code", CredentialRejected)
        .impact(High)
        .recheck(MIN_15)
        .advice("Check the output's token, and whether something before Splunk refuses this machine."),
    http(Is(404), "Not found, as while Splunk Cloud is being changed", Transient).advice(BETWEEN),
    http(Is(408), "Request time-out", Transient).advice(BETWEEN),
    http(Is(413), "Batch too large", Transient)
        .impact(Low)
        .advice("Nothing: smaller batches are sent. If it stays with single events, raise the limit of what stands before Splunk."),
    http(Is(429), "Too many requests", Throttled).advice(BUSY),
    http(Family(3), "Redirect, which is not followed", RequestInvalid)
        .impact(High)
        .recheck(MIN_15)
        .advice("Check the output's url, https in place of http perhaps."),
    http(Family(4), "Another refusal of the request", RequestInvalid)
        .impact(High)
        .recheck(MIN_15)
        .advice("Check the output's url and what stands between here and Splunk."),
    http(Family(5), "Error of the server", Transient).advice(BETWEEN),
    http(Any, "Any other answer", Transient).advice(BETWEEN),
];
