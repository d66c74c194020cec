//! The simulator as a client sees it, over its sockets.

mod collector;
mod faults;
mod v1;
mod v2;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::model::Timestamp;

/// Tue, 06 Jan 2026 09:08:07 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

const AUDIT: &str = "/api/audit/get-audit-events";
const SIEM: &str = "/api/audit/get-siem-logs";
const BATCH: &str = "/siem/v1/batch/events/cg";

/// A simulator at [`NOW`], whose clock only tests move, and a client.
struct Bench {
    simulator: Simulator,
    handle: Handle,
    clock: Clock,
    http: reqwest::Client,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let clock = Clock::manual(NOW);
        let options = Options {
            clock: clock.clone(),
            ..options
        };
        let simulator = Simulator::start(options).await.unwrap();
        Self {
            handle: simulator.handle(),
            simulator,
            clock,
            http: client(),
        }
    }

    /// A request of API 1.0 for the account "one", signed now.
    fn signed(&self, path: &str, body: &Value) -> RequestBuilder {
        let Key::V1 { secret_key, .. } = Account::v1("one").key else {
            panic!("the account is of API 1.0");
        };
        self.signed_with(&secret_key, self.clock.wall(), path, body)
    }

    fn signed_with(
        &self,
        secret_key: &str,
        date: Timestamp,
        path: &str,
        body: &Value,
    ) -> RequestBuilder {
        let date = reply::http_date(date).replace("GMT", "UTC");
        let id = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0";
        let signature =
            auth::signature(secret_key, &date, id, path, "application-key-of-one").unwrap();
        self.http
            .post(format!("{}{path}", self.simulator.api_url()))
            .header("authorization", format!("MC access-key-of-one:{signature}"))
            .header("x-mc-app-id", "application-id-of-one")
            .header("x-mc-date", date)
            .header("x-mc-req-id", id)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body.to_string())
    }

    fn token_request(&self, secret: &str) -> RequestBuilder {
        let form = [
            ("client_id", "client-id-of-two"),
            ("client_secret", secret),
            ("grant_type", "client_credentials"),
        ];
        let url = format!("{}/oauth/token", self.simulator.api_url());
        self.http.post(url).form(&form)
    }

    /// A bearer token of the account "two".
    async fn token(&self) -> String {
        let reply = self.token_request("client-secret-of-two").send().await;
        let reply = json_of(reply.unwrap()).await;
        assert_eq!(reply["expires_in"], 1799);
        reply["access_token"].as_str().unwrap().to_owned()
    }

    fn bearer(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.simulator.api_url()))
            .bearer_auth(token)
    }

    /// A page of links.
    async fn list(&self, token: &str, query: &[(&str, &str)]) -> Response {
        let request = self.bearer(Method::GET, BATCH, token).query(query);
        request.send().await.unwrap()
    }

    async fn get(&self, url: &str) -> Response {
        self.http.get(url).send().await.unwrap()
    }

    fn assert_no_violations(&self) {
        assert_eq!(self.handle.violations(), Vec::<String>::new());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client that shares nothing with the one under test"
)]
fn client() -> reqwest::Client {
    // Fails when another test was first, which is as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_secs(30)).build().unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

fn gunzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut text)?;
    Ok(text)
}

/// The lines that are not blank, without their ends.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .filter(|line| !line.trim_ascii().is_empty())
        .collect()
}

#[tokio::test]
async fn a_stopped_simulator_answers_no_more_but_remembers() {
    let bench = Bench::new().await;
    let url = bench.simulator.hec_url() + "/services/collector/health";
    assert_eq!(bench.get(&url).await.status(), 200);
    bench.simulator.stop().await;
    assert!(bench.http.get(&url).send().await.is_err());
    let requests = bench.handle.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/services/collector/health");
    assert_eq!(requests[0].status, Some(200));
}

#[tokio::test]
async fn only_what_exists_can_be_published() {
    let bench = Bench::new().await;
    let publish = |account, log, event_type| bench.handle.publish(account, log, event_type, 1);
    assert!(publish("two", "siem-cg", "receipt").is_ok());
    for (account, log, event_type) in [
        ("three", "audit", ""),
        ("one", "siem-cg", "receipt"),
        ("two", "siem", "receipt"),
        ("two", "siem-cg", "receipts"),
    ] {
        assert!(
            publish(account, log, event_type).is_err(),
            "{account} {log}"
        );
    }
    assert_eq!(bench.handle.published_total(), 1);
}

#[tokio::test]
async fn a_request_without_credentials_or_for_nothing_is_a_violation() {
    let bench = Bench::new().await;
    let base = bench.simulator.api_url();
    assert_eq!(bench.get(&format!("{base}{BATCH}")).await.status(), 401);
    assert_eq!(bench.get(&format!("{base}/siem")).await.status(), 404);
    assert_eq!(bench.handle.violations().len(), 2);
    let empty = json!({"data": []});
    let foreign = bench.signed(BATCH, &empty).send().await.unwrap();
    assert_eq!(foreign.status(), 405);
}
