//! What is answered to a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::guard::{Guard, Refusal};
use super::metrics::{self, Format};
use super::page::{FILES, POLICY};
use super::query::value;
use super::{Reporter, events};
use crate::status::{Report, Whose};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// For a report; the store answers in milliseconds unless the disk hangs.
const PATIENCE: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Answers a request.
pub(super) async fn answer<R: Reporter>(
    request: Request<Incoming>,
    guard: &Guard,
    reporter: &R,
    viewers: &Arc<Semaphore>,
) -> Response<Body> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    // One word, for probes that have no credential.
    match path {
        "/healthz" => return healthz(reporter).await,
        "/readyz" if reporter.is_ready() => return text(StatusCode::OK, "ready\n"),
        "/readyz" => return text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => {}
    }
    if let Err(refusal) = guard.check(request.headers()) {
        return refused(refusal, guard);
    }
    match path {
        "/metrics" => match report(reporter).await {
            Ok(report) => {
                let format = wanted(request.headers());
                let body = metrics::write(&report, &metrics::Process::look(), format);
                with(StatusCode::OK, format.content_type(), body.into())
            }
            Err(answer) => answer,
        },
        "/api/v1/status" => match report(reporter).await {
            Ok(report) => json(&Part::of(report, query)),
            Err(answer) => answer,
        },
        // Nothing yet is no error: a page that is opened in the first minute asks again.
        "/api/v1/history" => json(&reporter.history(&whose(query)).unwrap_or_default()),
        "/api/v1/events" => match events::body(reporter.changes(), viewers) {
            Some(body) => response(StatusCode::OK, "text/event-stream", body),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many pages are told already; ask by yourself\n",
            ),
        },
        _ => match FILES.iter().find(|file| file.path == path) {
            Some(file) => with(
                StatusCode::OK,
                file.kind,
                Bytes::from_static(file.text.as_bytes()),
            ),
            None => text(
                StatusCode::NOT_FOUND,
                "there is nothing here; the page is at /\n",
            ),
        },
    }
}

async fn report(reporter: &impl Reporter) -> Result<Report, Response<Body>> {
    let told = match timeout(PATIENCE, reporter.report()).await {
        Ok(told) => told,
        Err(_) => Err("the store does not answer".to_owned()),
    };
    told.map_err(|why| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")))
}

async fn healthz(reporter: &impl Reporter) -> Response<Body> {
    match report(reporter).await {
        Ok(_) => text(StatusCode::OK, "ok\n"),
        Err(answer) => answer,
    }
}

fn refused(refusal: Refusal, guard: &Guard) -> Response<Body> {
    match refusal {
        Refusal::Unauthorized => {
            let mut answer = text(
                StatusCode::UNAUTHORIZED,
                "a name and password, or a token, is needed\n",
            );
            let challenge = HeaderValue::from_static(guard.challenge());
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            answer
        }
        Refusal::Misdirected => text(
            StatusCode::MISDIRECTED_REQUEST,
            "ask by the address or as localhost; other names need authentication\n",
        ),
    }
}

fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepted.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn whose(query: &str) -> Whose {
    match (value(query, "integration"), value(query, "output")) {
        (Some(name), _) => Whose::Integration(name.into_owned()),
        (None, Some(name)) => Whose::Output(name.into_owned()),
        (None, None) => Whose::All,
    }
}

/// A report, of whose integrations a query may want a part.
#[derive(Debug, Serialize)]
struct Part {
    #[serde(flatten)]
    report: Report,
    /// What the query has to do with the integrations.
    integrations_of: Counts,
}

#[derive(Debug, Serialize)]
struct Counts {
    /// All that there are.
    total: usize,
    /// Those that a person should look at, or that wait for better times.
    troubled: usize,
    /// Those that fit the query; it may have wanted a part of them.
    matching: usize,
}

impl Part {
    fn of(mut report: Report, query: &str) -> Self {
        let total = report.integrations.len();
        let troubled = report
            .integrations
            .iter()
            .filter(|i| i.is_troubled())
            .count();
        let filter = value(query, "filter").unwrap_or_default().to_lowercase();
        let troubled_only = value(query, "only").is_some_and(|only| only == "troubled");
        report.integrations.retain(|integration| {
            let named = integration.name.as_str().to_lowercase().contains(&filter);
            named && (!troubled_only || integration.is_troubled())
        });
        if value(query, "order").is_some_and(|order| order == "troubled") {
            report
                .integrations
                .sort_by_key(|integration| !integration.is_troubled());
        }
        let number = |key| value(query, key).and_then(|number| number.parse::<usize>().ok());
        let matching = report.integrations.len();
        let from = number("from").unwrap_or(0).min(matching);
        report.integrations.drain(..from);
        report
            .integrations
            .truncate(number("count").unwrap_or(usize::MAX));
        Self {
            report,
            integrations_of: Counts {
                total,
                troubled,
                matching,
            },
        }
    }
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => with(StatusCode::OK, JSON, body.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    with(status, TEXT, Bytes::copy_from_slice(text.as_bytes()))
}

fn with(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    response(status, kind, Full::new(body).boxed_unsync())
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
