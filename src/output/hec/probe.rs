//! Whether a collector would take events: its health, and one event of the collector's own.
//!
//! HEC tells whether the token may write to the index, and whether it has acknowledgement, only to those who send an event. So one is
//! sent, under a source type of its own and on a channel of its own.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use uuid::Uuid;

use super::reply::Answer;
use super::send::CHANNEL;
use super::{HecConfig, Labels};
use crate::health::{Failure, Origin};
use crate::http::{read_prefix, transport_failure};
use crate::secret::Secret;

const HEALTH: &str = "/services/collector/health";
const EVENT: &str = "/services/collector/event";
/// A person waits for it.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;
/// The source type of the event that is sent.
const SOURCETYPE: &str = "mimecast:collector:check";

/// How a collector answered.
#[derive(Debug)]
pub struct Probed {
    /// When it was asked after its health.
    pub health: Result<(), Failure>,
    /// When it was sent an event: whether it will acknowledge it.
    pub event: Result<bool, Failure>,
}

/// Asks the collector at `url`, one of the output's, after its health and sends it one event.
pub async fn probe(
    config: &HecConfig,
    url: &str,
    token: &Secret,
    client: &reqwest::Client,
) -> Probed {
    let health = client.get(format!("{url}{HEALTH}"));
    let health = match answer(health, &format!("GET {HEALTH}"), token).await {
        Ok((200, _)) => Ok(()),
        Ok((_, said)) => said.map(drop),
        Err(failure) => Err(failure),
    };
    let event = client
        .post(format!("{url}{EVENT}"))
        .header(AUTHORIZATION, authorization(token))
        .header(CONTENT_TYPE, "application/json")
        .header(CHANNEL, Uuid::new_v4().to_string())
        .body(body(&config.labels));
    let event = answer(event, &format!("POST {EVENT}"), token).await;
    Probed {
        health,
        event: match event {
            Ok((_, said)) => said,
            Err(failure) => Err(failure),
        },
    }
}

pub(super) fn body(labels: &Labels) -> String {
    let mut event = json!({
        "event": {"message": "mimecast-collector checks whether events arrive here"},
        "sourcetype": SOURCETYPE,
    });
    if let (Some(index), Some(members)) = (labels.own_index("check"), event.as_object_mut()) {
        members.insert("index".to_owned(), index.into());
    }
    event.to_string()
}

fn authorization(token: &Secret) -> HeaderValue {
    // A token that fits no header is refused when the output is opened; the receiver refuses the fallback.
    let mut value = HeaderValue::from_str(&format!("Splunk {}", token.expose()))
        .unwrap_or_else(|_| HeaderValue::from_static("Splunk"));
    value.set_sensitive(true);
    value
}

/// The status, and what the answer says of one event: if it was taken, whether it will be acknowledged.
async fn answer(
    request: reqwest::RequestBuilder,
    endpoint: &str,
    token: &Secret,
) -> Result<(u16, Result<bool, Failure>), Failure> {
    let response = request.timeout(TIMEOUT).send().await;
    let mut response = response.map_err(|e| transport_failure(&e, endpoint))?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let body = read_prefix(response, MAX_ANSWER).await;
    let answer = Answer {
        endpoint,
        status,
        headers: &headers,
        body: &body,
        token,
    };
    let said = answer.read(1);
    let refused = || {
        let reason = said.rejected.first().map(|rejection| &rejection.reason);
        Failure::new(Origin::Hec, status, "", endpoint)
            .with_detail(reason.map_or("the event was refused", String::as_str))
    };
    let said = match said.failure {
        Some(failure) => Err(failure),
        None if said.accepted == 1 => Ok(answer.ack_id().is_some()),
        None => Err(refused()),
    };
    Ok((status, said))
}
