//! What is asked of HEC besides taking events: whether it acknowledges, what it has confirmed, whether it is well.

use std::sync::atomic::Ordering;

use reqwest::header::{AUTHORIZATION, HeaderMap, SET_COOKIE};

use super::super::ack::{AckAnswer, AckMode, Route};
use super::super::probe;
use super::super::reply::Answer;
use super::{ASK_TIMEOUT, CHANNEL, MAX_ACK_ANSWER, MAX_ANSWER, NO_BATCH, SplunkHec};
use crate::health::{Failure, Origin};
use crate::http::transport_failure;
use crate::output::{Receipt, Verdict};

/// A server's answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl SplunkHec {
    /// Asks once whether the token has acknowledgement, where that matters before anything is sent.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        if self.is_in_doubt.load(Ordering::Relaxed) {
            return self.dispel_doubt().await;
        }
        if self.mode == AckMode::Off || self.acks.is_on().is_some() {
            return Ok(());
        }
        let index = self.servers.current();
        let endpoint = self.servers.get(index).ack_endpoint();
        let route = Route {
            server: index,
            cookie: self.cookie(),
        };
        let Ok(reply) = self.ask_about(&route, &[NO_BATCH]).await else {
            // The delivery itself will say what is wrong, or what its answer is worth.
            return Ok(());
        };
        if serde_json::from_slice::<AckAnswer>(&reply.body).is_ok() {
            self.acks.learn(true);
            return Ok(());
        }
        let failure = self.failure(&reply, &endpoint);
        match (failure.code.as_str(), self.mode) {
            ("14", AckMode::On) => Err(failure),
            ("14", AckMode::Auto | AckMode::Off) => {
                if self.acks.learn(false) {
                    tracing::info!(
                        "the token has no indexer acknowledgement: what HEC takes counts as delivered"
                    );
                }
                Ok(())
            }
            (_, AckMode::Auto | AckMode::On | AckMode::Off) => Ok(()),
        }
    }

    /// Sends one event of our own, until its answer has a number: to try with a batch would repeat that each time.
    async fn dispel_doubt(&self) -> Result<(), Failure> {
        let index = self.servers.current();
        let endpoint = self.servers.endpoint(index);
        let request = self.request(&self.servers.get(index).event, None, ASK_TIMEOUT);
        let request = request.body(probe::body(&self.encoder.labels));
        let reply = read(request, MAX_ANSWER).await;
        let reply = reply.map_err(|error| {
            self.servers.give_way(index);
            transport_failure(&error, endpoint)
        })?;
        let answer = Answer {
            endpoint,
            status: reply.status,
            headers: &reply.headers,
            body: &reply.body,
            token: &self.token,
        };
        if answer.read(1).accepted == 0 {
            return Err(answer.failed());
        }
        if answer.ack_id().is_none() {
            return Err(without_number(endpoint));
        }
        self.acks.learn(true);
        self.is_in_doubt.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn ask_about(&self, route: &Route, numbers: &[u64]) -> reqwest::Result<Reply> {
        let server = self.servers.get(route.server);
        let question = serde_json::json!({ "acks": numbers }).to_string();
        let request = self
            .request(&server.ack, route.cookie.as_deref(), ASK_TIMEOUT)
            .header(CHANNEL, self.channel.clone())
            .body(question);
        read(request, MAX_ACK_ANSWER).await
    }

    /// What is confirmed of these numbers; nothing while the server does not say.
    pub(super) async fn confirmed(
        &self,
        route: &Route,
        numbers: &[u64],
    ) -> Vec<(Receipt, Verdict)> {
        let Ok(reply) = self.ask_about(route, numbers).await else {
            return Vec::new();
        };
        // The load balancer has turned to another indexer, whose numbers mean other batches.
        let is_elsewhere = cookie_of(&reply.headers)
            .is_some_and(|cookie| route.cookie.as_ref().is_some_and(|ours| *ours != cookie));
        match serde_json::from_slice::<AckAnswer>(&reply.body) {
            Ok(answer) if reply.status == 200 && !is_elsewhere => self.acks.confirm(route, &answer),
            Ok(_) => Vec::new(),
            Err(_) => {
                let endpoint = self.servers.get(route.server).ack_endpoint();
                if self.failure(&reply, &endpoint).code == "14" {
                    self.acks.learn(false);
                    if self.mode == AckMode::On {
                        self.acks.forget();
                    }
                }
                Vec::new()
            }
        }
    }

    /// Whether a server that has failed may be used again. One that does not know the question is.
    pub(super) async fn ask_after_health(&self, index: usize) -> Result<(), Failure> {
        let server = self.servers.get(index);
        let endpoint = self.servers.endpoint(index);
        let endpoint = endpoint.replace("POST", "GET").replace("/event", "/health");
        let request = self.client.get(server.health.clone()).timeout(ASK_TIMEOUT);
        let reply = read(
            request.header(AUTHORIZATION, self.authorization.clone()),
            MAX_ANSWER,
        );
        let reply = reply.await.map_err(|e| transport_failure(&e, &endpoint))?;
        if reply.status < 500 {
            return Ok(());
        }
        Err(self.failure(&reply, &endpoint))
    }
}

/// The events were taken, and nobody will ever say whether an indexer has them.
pub(super) fn without_number(endpoint: &str) -> Failure {
    let failure = Failure::new(Origin::Hec, 200, "14", endpoint);
    failure.with_detail(
        "events were taken, but the answer has no number to ask about: they are sent again once it has one",
    )
}

/// Sends a request and reads its answer up to `cap` bytes.
pub(super) async fn read(request: reqwest::RequestBuilder, cap: usize) -> reqwest::Result<Reply> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while body.len() < cap
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(cap);
    Ok(Reply {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

/// The names and values of the cookies that an answer sets.
pub(super) fn cookie_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(SET_COOKIE).iter();
    let pairs = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    let pairs: Vec<_> = pairs.map(str::trim).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}
