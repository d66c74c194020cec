//! What receivers of messages about alerts answer: chats, pagers, Alertmanager, and what stands before them.

use std::time::Duration;

use super::Class::{CredentialRejected, RequestInvalid, Throttled, Transient};
use super::Impact::High;
use super::Scope::Output;
use super::Status::{Any, Family, Is};
use super::{Class, Row, Status};
use crate::health::Origin;

const MIN_15: Duration = Duration::from_mins(15);

const fn http(status: Status, title: &'static str, class: Class) -> Row {
    Row::new(Origin::Webhook, status, "", title, class, Output)
        .source("general HTTP; Slack, PagerDuty and Alertmanager keep to it")
        .impact(High)
}

/// A person must change something, there or here.
const fn wrong(status: Status, title: &'static str, class: Class) -> Row {
    http(status, title, class).recheck(MIN_15)
}

const fn own(code: &'static str, title: &'static str) -> Row {
    Row::new(Origin::Webhook, Any, code, title, Transient, Output)
        .source("this collector's own word for an answer that does not say what it should")
        .impact(High)
}

const BETWEEN: &str = "Nothing, if it passes. If it stays, check the output's url and what stands between here and the receiver.";

pub(super) static ROWS: &[Row] = &[
    own("page", "Success that is a page")
        .advice("Check the output's url and proxy: what answers there is a page for people, and nothing counts as told."),
    own("unexpected", "Success without what was expected")
        .advice("Compare the answer with the output's expect; nothing counts as told."),
    wrong(Is(400), "The message is refused", RequestInvalid)
        .advice("Look at the answer: most likely the template does not fit the receiver, or a key in the message is wrong."),
    wrong(Is(401), "Unauthorized", CredentialRejected)
        .advice("Check the output's headers and secrets."),
    wrong(Is(403), "Forbidden", CredentialRejected)
        .advice("Check the output's url, headers and secrets, and whether the receiver still wants messages from here."),
    wrong(Is(404), "No such webhook", RequestInvalid)
        .advice("Check the output's url: the webhook may have been removed, and another is to be made."),
    http(Is(408), "Request time-out", Transient).advice(BETWEEN),
    wrong(Is(410), "The webhook is gone", RequestInvalid)
        .advice("Make another webhook at the receiver, and put its address in place."),
    http(Is(413), "The message is too large", Transient)
        .advice("Nothing: fewer alerts are told at once. If it stays, shorten the template or lower max_alerts."),
    http(Is(429), "Too many requests", Throttled)
        .advice("Nothing, if it passes. If it stays, raise max_alerts, so that more alerts go as one message."),
    wrong(Family(3), "Redirect, which is not followed", RequestInvalid)
        .advice("Check the output's url, https in place of http perhaps."),
    wrong(Family(4), "Another refusal of the request", RequestInvalid)
        .advice("Look at the answer; check the output's url, headers and template."),
    http(Family(5), "Error of the server", Transient).advice(BETWEEN),
    http(Any, "Any other answer", Transient).advice(BETWEEN),
];
