//! What a receiver over HTTP answers, of which nothing is known but its status.

use std::time::Duration;

use super::Class::{CredentialRejected, RecordRejected, RequestInvalid, Throttled, Transient};
use super::Impact::{High, Low};
use super::Scope::{Lane, Output};
use super::Status::{Any, Family, Is};
use super::{Class, Row, Scope, Status};
use crate::health::Origin;

const HTTP: &str = "RFC 9110 and RFC 6585; what a receiver means by a status is its own";

const MIN_15: Duration = Duration::from_mins(15);

const fn row(status: Status, title: &'static str, class: Class, scope: Scope) -> Row {
    Row::new(Origin::Http, status, "", title, class, scope).source(HTTP)
}

const fn passes(status: Status, title: &'static str, class: Class) -> Row {
    row(status, title, class, Output).advice(BETWEEN)
}

const fn refused(status: Status, title: &'static str) -> Row {
    row(status, title, CredentialRejected, Output)
        .impact(High)
        .recheck(MIN_15)
}

const fn wrong(status: Status, title: &'static str) -> Row {
    row(status, title, RequestInvalid, Output)
        .impact(High)
        .recheck(MIN_15)
}

const fn record(status: Status, title: &'static str) -> Row {
    row(status, title, RecordRejected, Lane)
        .impact(Low)
        .advice(RECORD)
}

const BETWEEN: &str = "Nothing, if it passes. If it stays, look at the receiver's own log, and at what stands between here and it.";
const RECORD: &str = "Batches are halved until the event that is not taken stands alone; look at it and the reason in quarantine. If \
     all are refused, compare body, format and headers with what the receiver expects.";

pub(super) static ROWS: &[Row] = &[
    record(Is(400), "Something in the batch is not taken"),
    refused(Is(401), "Not authorised")
        .advice("Compare token, or username and password, or the secret among headers, with what the receiver expects."),
    refused(Is(403), "Forbidden")
        .advice("Check what the receiver lets this credential do, and whether something before it refuses this machine."),
    passes(Is(404), "Not found", Transient)
        .impact(High)
        .advice("Check the path of url. Some gateways answer so while what is behind them starts; it is tried again."),
    refused(Is(407), "The proxy wants a log-on").advice("Check user and password in proxy."),
    passes(Is(408), "Request time-out", Transient),
    row(Is(413), "Batch too large", Transient, Output)
        .impact(Low)
        .advice("Nothing: smaller batches are sent, and a single event that is too large is shortened or put aside, as oversized says. \
                 If it stays, lower batch_bytes, or raise the receiver's limit."),
    wrong(Is(415), "The receiver does not read such a body")
        .advice("Compare body and format with what the receiver expects; set Content-Type in headers, or gzip = false."),
    record(Is(422), "Something in the batch is not taken"),
    passes(Is(425), "Too early", Transient),
    passes(Is(429), "Too many requests", Throttled),
    wrong(Family(3), "Redirect, which is not followed")
        .advice("Write the address that it leads to as url: https in place of http perhaps."),
    wrong(Family(4), "Another refusal of the request")
        .advice("Check url and headers, and what the receiver's own log says."),
    passes(Family(5), "Error of the server", Transient),
    passes(Any, "Any other answer", Transient),
];
