//! The status endpoint, as browsers, scripts and monitoring see it.

use std::path::PathBuf;

use mimecast_collector::http::{Connection, Purpose, client};
use mimecast_collector::simulator::Options;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::harness::{Bench, Program};

const CONFIG: Option<i32> = Some(78);

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A bench with this table `[status]`.
async fn bench(status: &str) -> Bench {
    let bench = Bench::new().await;
    configure(&bench, status);
    bench
}

fn configure(bench: &Bench, status: &str) {
    let integrations: Vec<_> = Options::default()
        .accounts
        .iter()
        .map(|account| bench.integration(account, "[\"audit\"]"))
        .collect();
    bench.configure(&integrations, status);
}

/// Where it is served, by the log's latest word.
pub(super) async fn url(collector: &Program) -> String {
    let words = ["the status page is served"];
    collector.logged(&words).await;
    let lines = collector.lines(&words);
    let (_, url) = lines.last().unwrap().split_once("url=").unwrap();
    url.trim()
        .trim_matches('"')
        .trim_end_matches('/')
        .to_owned()
}

pub(super) async fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    let connection = Connection {
        ca_file: Some(data("status.crt")),
        ..Connection::default()
    };
    let client = client(&connection, Purpose::Objects).unwrap();
    let request = headers
        .iter()
        .fold(client.get(url), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.send().await.unwrap()
}

const OPEN: &str = "[status]\nlisten = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn the_page_its_json_and_the_metrics_tell_what_status_tells() {
    let bench = bench(OPEN).await;
    bench.handle.publish("one", "audit", "", 10).unwrap();
    let collector = bench.run(600);
    let url = url(&collector).await;
    bench.until_all_arrived().await;
    collector.logged(&["INFO", "running"]).await;

    let health = get(&format!("{url}/healthz"), &[]).await;
    assert_eq!(health.text().await.unwrap(), "ok\n");
    let ready = get(&format!("{url}/readyz"), &[]).await;
    assert_eq!(ready.status(), StatusCode::OK);

    let page = get(&format!("{url}/"), &[]).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text().await.unwrap().contains("Am I losing data?"));

    let told = get(&format!("{url}/api/v1/status"), &[])
        .await
        .text()
        .await
        .unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let asked: Value = serde_json::from_str(&bench.ended(&["status", "--json"]).await.out).unwrap();
    assert_eq!(told["version"], asked["version"]);
    let members = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut with_counts = members(&asked);
    with_counts.push("integrations_of".to_owned());
    with_counts.sort();
    let mut members = members(&told);
    members.sort();
    assert_eq!(members, with_counts);
    assert_eq!(told["integrations"][0]["streams"][0]["events"], 10);

    let part = get(&format!("{url}/api/v1/status?filter=TW&count=5"), &[]).await;
    let part: Value = serde_json::from_str(&part.text().await.unwrap()).unwrap();
    assert_eq!(part["integrations"][0]["name"], "two");
    assert_eq!(part["integrations_of"]["total"], 2);
    assert_eq!(part["integrations_of"]["matching"], 1);

    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let metrics = get(&format!("{url}/metrics"), &accept).await;
    assert!(
        metrics.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let metrics = metrics.text().await.unwrap();
    let events =
        "mimecast_collector_events_total{integration=\"one\",log=\"audit\",event_type=\"\"} 10\n";
    assert!(metrics.contains(events), "{metrics}");
    assert!(
        metrics.contains("mimecast_collector_output_delivery_seconds_count{output=\"splunk\"} ")
    );

    assert_eq!(
        get(&format!("{url}/nothing"), &[]).await.status(),
        StatusCode::NOT_FOUND
    );
    let elsewhere = get(&format!("{url}/"), &[("host", "evil.example")]).await;
    assert_eq!(elsewhere.status(), StatusCode::MISDIRECTED_REQUEST);
    let client = client(&Connection::default(), Purpose::Objects).unwrap();
    let posted = client
        .post(format!("{url}/api/v1/status"))
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    collector.stop().await;
}

#[tokio::test]
async fn news_is_pushed_for_as_long_as_somebody_listens() {
    let bench = bench(OPEN).await;
    let collector = bench.run(60);
    let url = url(&collector).await;
    let mut events = get(&format!("{url}/api/v1/events"), &[]).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut told = String::new();
    while told.matches("event: news\n").count() < 2 {
        let piece = events.chunk().await.unwrap().unwrap();
        told.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(told.starts_with("retry: "), "{told}");
    // One who listens does not keep the program from ending.
    collector.stop().await;
}

#[tokio::test]
async fn nothing_is_told_without_a_credential_that_is_right_and_a_reload_takes_up_another() {
    let guarded = |token: &str| {
        format!(
            "{OPEN}username = \"anna\"\npassword = {{ file = \"secrets/hec\" }}\ntoken = {{ literal = \"{token}\" }}\n"
        )
    };
    let bench = bench(&guarded("t0ken")).await;
    let collector = bench.run(60);
    let url = url(&collector).await;
    collector.logged(&["INFO", "running"]).await;
    for path in [
        "/",
        "/page.js",
        "/metrics",
        "/api/v1/status",
        "/api/v1/history",
        "/api/v1/events",
    ] {
        let url = format!("{url}{path}");
        let refused = get(&url, &[]).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic "), "{challenge}");
        let wrong = get(&url, &[("authorization", "Bearer t0kem")]).await;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        get(&format!("{url}/readyz"), &[]).await.status(),
        StatusCode::OK
    );
    let metrics = format!("{url}/metrics");
    let admitted = get(&metrics, &[("authorization", "Bearer t0ken")]).await;
    assert_eq!(admitted.status(), StatusCode::OK);

    configure(&bench, &guarded("another"));
    collector.signal("HUP");
    collector
        .logged(&["the configuration was read again"])
        .await;
    let former = get(&metrics, &[("authorization", "Bearer t0ken")]).await;
    assert_eq!(former.status(), StatusCode::UNAUTHORIZED);
    let new = get(&metrics, &[("authorization", "Bearer another")]).await;
    assert_eq!(new.status(), StatusCode::OK);
    assert_eq!(collector.lines(&["the status page is served"]).len(), 1);
    collector.stop().await;
}

#[tokio::test]
async fn it_is_served_over_tls() {
    let (certificate, key) = (data("status.crt"), data("status.key"));
    let bench = bench(&format!(
        "{OPEN}cert_file = {certificate:?}\nkey_file = {key:?}\n"
    ))
    .await;
    let collector = bench.run(60);
    let url = url(&collector).await;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let health = get(&format!("{url}/healthz"), &[]).await;
    assert_eq!(health.text().await.unwrap(), "ok\n");
    collector.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_served_keeps_the_program_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (status, why) in [
        (
            "listen = \"0.0.0.0:9464\"".to_owned(),
            "is not on loopback, so others could read the status: set username and password, or token",
        ),
        ("listen = \"[::]:9464\"".to_owned(), "is not on loopback"),
        (
            "listen = \"127.0.0.1:0\"\nusername = \"anna\"".to_owned(),
            "status.username: needs password beside it",
        ),
        (
            "listen = \"127.0.0.1:0\"\ncert_file = \"x\"".to_owned(),
            "status.cert_file: needs key_file beside it",
        ),
        (
            "listen = \"127.0.0.1:0\"\ncert_file = \"x\"\nkey_file = \"y\"".to_owned(),
            "cannot use",
        ),
        (
            "listen = \"here\"".to_owned(),
            "expected an address and a port",
        ),
        (
            format!("listen = \"{taken}\""),
            "cannot listen on 127.0.0.1:",
        ),
    ] {
        let bench = bench(&format!("[status]\n{status}\n")).await;
        let ended = bench.ended(&["run"]).await;
        assert_eq!(ended.code, CONFIG, "{status}: {}", ended.err);
        assert!(ended.err.contains(why), "{status}: {}", ended.err);
    }
}
