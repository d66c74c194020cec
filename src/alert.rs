//! What people are told in events of the collector's own: alerts, and heartbeats. They go the way of all events, to every output.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::health::alarm::INCIDENT_AFTER;
use crate::health::catalogue::what_we_do;
use crate::health::{Alert, Answered, Attempt, Cause, Class, Impact, Row, Standing, lookup};
use crate::model::{IntegrationId, OutputId, Timestamp};
use crate::redact::Redactor;
use crate::store::Notice;

/// A tag of this name is the Mimecast account code, which support asks for.
pub const ACCOUNT_CODE: &str = "account_code";
/// Where Mimecast tells of incidents.
const STATUS_PAGE: &str = "https://status.mimecast.com";

/// Whom an alert is about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The integration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationId>,
    /// Its tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The log type, or the function of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputId>,
    /// How a new secret is taken up.
    #[serde(skip)]
    pub renewal: Renewal,
    /// The server that paths are asked of: scheme, host and port.
    #[serde(skip)]
    pub server: Option<String>,
}

/// How the program takes up a new secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    /// There is none.
    #[default]
    None,
    /// It stands in a file, which is looked at.
    Watched,
    /// It is fixed for a run.
    Restart,
}

impl Renewal {
    /// By whether a secret stands in a file.
    #[must_use]
    pub const fn of_file(is_file: bool) -> Self {
        if is_file {
            Self::Watched
        } else {
            Self::Restart
        }
    }
}

/// An alert as it is delivered. Members are added, never changed.
#[derive(Debug, Serialize)]
struct Event<'a> {
    event: &'static str,
    alert: &'static str,
    severity: &'static str,
    subject: &'a str,
    #[serde(flatten)]
    about: &'a About,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_code: Option<&'a String>,
    code: &'a str,
    what: String,
    state: &'static str,
    since: String,
    #[serde(flatten)]
    trouble: Option<Trouble<'a>>,
    time: String,
    version: &'static str,
}

/// What is known while it lasts.
#[derive(Debug, Serialize)]
struct Trouble<'a> {
    /// What the answer itself said.
    said: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
    collector: String,
    to_do: String,
    /// What a support case needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request_ids: Vec<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_page: Option<&'static str>,
}

/// A failure as support wants to see it.
#[derive(Debug, Serialize)]
struct Evidence<'a> {
    /// When the answer came, by our wall clock: UTC, as the "Z" says.
    time: String,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    integration: Option<&'a IntegrationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_code: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a OutputId>,
    code: String,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    /// Scheme, host and path, without a query; host and port of other servers.
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<String>,
    said: String,
    /// Without one, nothing came.
    answer: Option<&'a Answered>,
}

/// Method, and path or host, of where a request went.
fn method_and_place(endpoint: &str) -> (Option<&str>, &str) {
    match endpoint.split_once(' ') {
        Some((method, place)) if method.bytes().all(|b| b.is_ascii_uppercase()) => {
            (Some(method), place)
        }
        Some(_) | None => (None, endpoint),
    }
}

impl About {
    /// One line of JSON about a failed attempt, without secrets and without what is about a mail.
    #[must_use]
    pub fn evidence(&self, subject: &str, attempt: &Attempt<'_>) -> String {
        let failure = attempt.failure;
        let (method, place) = method_and_place(&failure.endpoint);
        let server = self.server.as_deref().filter(|_| place.starts_with('/'));
        let evidence = Evidence {
            time: attempt.wall.to_string(),
            subject,
            integration: self.integration.as_ref(),
            account_code: self.tags.get(ACCOUNT_CODE),
            log: self.log.as_ref(),
            output: self.output.as_ref(),
            code: failure.key(),
            title: lookup(failure).title,
            method,
            url: format!("{}{place}", server.unwrap_or("")),
            request_id: failure.request_id.as_ref(),
            server_time: failure.server_time.map(|at| at.to_string()),
            said: Redactor::default().text(&failure.detail),
            answer: failure.answer.as_deref(),
        };
        // Texts and numbers; none of them can fail.
        serde_json::to_string(&evidence).unwrap_or_default()
    }

    /// What a person can do about a row's trouble, to the last step.
    #[must_use]
    pub fn to_do(&self, row: &Row) -> String {
        let last = match (row.class, self.renewal) {
            (Class::CredentialRejected | Class::ClockSkewed, Renewal::Watched) => {
                " A new secret in its file is noticed within three minutes."
            }
            (Class::CredentialRejected | Class::ClockSkewed, Renewal::Restart) => {
                " A new secret is taken up by: systemctl restart mimecast-collector."
            }
            (
                Class::CredentialStale
                | Class::ClockSkewed
                | Class::LockedOut
                | Class::CredentialRejected
                | Class::Forbidden
                | Class::RequestInvalid
                | Class::Transient
                | Class::Throttled
                | Class::CursorInvalid
                | Class::RecordRejected
                | Class::Watched,
                _,
            ) => "",
        };
        format!("{}{last}", row.guidance())
    }

    /// The event of an alert that the step from `before` to `after` came to.
    #[must_use]
    pub fn notice(
        &self,
        subject: &str,
        alert: Alert,
        (before, after): (&Standing, &Standing),
        now: Timestamp,
    ) -> Notice {
        let raised = after.raised.as_ref().or(before.raised.as_ref());
        let code = raised.map_or("", |raised| raised.code.as_str());
        let cause = after.state.cause();
        let event = Event {
            event: "alert",
            alert: alert.as_str(),
            severity: cause.map_or("info", severity),
            subject,
            about: self,
            account_code: self.tags.get(ACCOUNT_CODE),
            code,
            what: what(cause, code),
            state: state(cause, after),
            since: raised.map_or(now, |raised| raised.since).to_string(),
            trouble: cause.map(|cause| Trouble::of(cause, self, after, now)),
            time: now.to_string(),
            version: env!("CARGO_PKG_VERSION"),
        };
        Notice::new("alert", &event, now)
    }
}

impl<'a> Trouble<'a> {
    fn of(cause: &'a Cause, about: &About, after: &Standing, now: Timestamp) -> Self {
        let row = cause.row();
        let attempts = after.state.attempts();
        let (method, endpoint) = method_and_place(&cause.endpoint);
        // What stands between here and a receiver is not Mimecast's.
        let vendors = cause.may_be_an_incident() && about.output.is_none();
        Self {
            said: &cause.detail,
            attempts,
            next_attempt: after.state.next_allowed(now).map(|at| at.to_string()),
            collector: what_we_do(row),
            to_do: about.to_do(row),
            request_ids: cause.request_id.iter().chain(&cause.earlier).collect(),
            method,
            endpoint,
            status_page: (vendors && attempts >= INCIDENT_AFTER).then_some(STATUS_PAGE),
        }
    }
}

fn state(cause: Option<&Cause>, after: &Standing) -> &'static str {
    match cause {
        // Nothing is stopped by it.
        Some(cause) if cause.row().class == Class::Watched => "watched",
        Some(_) | None => after.state.as_str(),
    }
}

fn severity(cause: &Cause) -> &'static str {
    match cause.row().impact {
        Impact::High => "high",
        Impact::Medium => "medium",
        Impact::Low => "low",
    }
}

fn what(cause: Option<&Cause>, code: &str) -> String {
    match cause {
        None => format!("recovered from {code}"),
        Some(cause) if cause.is_listed() => cause.row().title.to_owned(),
        Some(cause) => format!("{} (an unlisted code: please report it)", cause.row().title),
    }
}
