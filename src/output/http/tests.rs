use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Mutex;

use reqwest::Url;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::health::lookup;
use crate::http::Connection;
use crate::model::Form;
use crate::output::batching::Then;
use crate::output::fixture::{batch, numbered, record};
use crate::output::hec::test_client;
use crate::secret::SecretSource;

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub(in crate::output) enum Act {
    /// Answers with this status, further headers and body.
    Say(u16, &'static str, &'static str),
    /// Closes the connection without reading the request.
    CloseFirst,
    /// Reads the request and closes the connection.
    CloseAfter,
    /// Refuses bodies longer than this by 413.
    AtMost(usize),
}

/// The head and the body of a request.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A receiver that does what it is told, the last of it for ever.
pub(in crate::output) struct Receiver {
    pub(in crate::output) address: String,
    seen: Seen,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(in crate::output) async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Seen::default();
        let acts = Arc::new(Mutex::new(VecDeque::from(acts.to_vec())));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&seen);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&acts), Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            _serving: serving,
        }
    }

    pub(in crate::output) fn heads(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(head, _)| head.clone()).collect()
    }

    fn body(&self, n: usize) -> Vec<u8> {
        self.seen.lock().unwrap()[n].1.clone()
    }
}

async fn serve(mut socket: TcpStream, acts: Arc<Mutex<VecDeque<Act>>>, seen: Seen) {
    let mut bytes = Vec::new();
    loop {
        let act = {
            let mut acts = acts.lock().unwrap();
            match acts.len() {
                1 => acts[0].clone(),
                _ => acts.pop_front().unwrap(),
            }
        };
        if matches!(act, Act::CloseFirst) {
            return;
        }
        let Some((head, body)) = request(&mut socket, &mut bytes).await else {
            acts.lock().unwrap().push_front(act);
            return;
        };
        let len = body.len();
        seen.lock().unwrap().push((head, body));
        let (status, headers, said) = match act {
            Act::Say(status, headers, said) => (status, headers, said),
            Act::AtMost(most) if len > most => (413, "", "too large"),
            Act::AtMost(_) => (200, "", ""),
            Act::CloseFirst | Act::CloseAfter => return,
        };
        let length = said.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{said}");
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec())
                .unwrap()
                .to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.map_or(0, |text| text.lines().next().unwrap().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if socket.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn config(addresses: &[&str]) -> HttpConfig {
    let place = |address: &&str| {
        let url = format!("http://{address}/in?key=hunter1");
        Place::new(Url::parse(&url).unwrap())
    };
    HttpConfig {
        urls: addresses.iter().map(place).collect(),
        body: Body::Lines,
        format: Format::Json,
        login: Login::None,
        headers: Vec::new(),
        gzip: false,
        gzip_level: 1,
        timeout: Duration::from_secs(30),
        batching: Batching::default(),
        oversized: Oversized::default(),
        client_cert: None,
        client_key: None,
        connection: Connection::default(),
    }
}

fn open(config: &HttpConfig) -> Http {
    Http::new(config, test_client()).unwrap()
}

fn literal(text: &str) -> SecretSource {
    SecretSource::Literal(Secret::new(text.to_owned()))
}

const OK: Act = Act::Say(204, "", "");

#[tokio::test]
async fn a_batch_is_lines_of_json_with_the_headers_and_secrets_of_the_configuration() {
    let receiver = Receiver::start(&[OK]).await;
    let mut config = config(&[&receiver.address]);
    config.login = Login::Basic {
        username: "collector".to_owned(),
        password: literal("hunter2"),
    };
    config.headers = vec![
        (
            HeaderName::from_static("x-tenant"),
            Header::Text("acme".to_owned()),
        ),
        (
            HeaderName::from_static("x-api-key"),
            Header::Secret(literal("hunter3")),
        ),
    ];
    let http = open(&config);
    assert_eq!(http.deliver(&numbered(2)).await, Delivery::accepted(2));
    let head = receiver.heads().remove(0);
    for part in [
        "post /in?key=hunter1 http/1.1\r\n",
        "\r\ncontent-type: application/x-ndjson\r\n",
        "\r\nauthorization: basic y29sbgvjdg9yomh1bnrlcji=\r\n",
        "\r\nx-tenant: acme\r\n",
        "\r\nx-api-key: hunter3",
    ] {
        assert!(format!("{head}\r\n").contains(part), "{part} in {head}");
    }
    let text = String::from_utf8(receiver.body(0)).unwrap();
    insta::assert_snapshot!(text, @r#"
    {"event_id":"abababababababababababababababab","time":"2026-01-06T09:08:07.000Z","integration":"acme-uk","log":"audit","type":"audit","event":{"n":0}}
    {"event_id":"abababababababababababababababab","time":"2026-01-06T09:08:07.000Z","integration":"acme-uk","log":"audit","type":"audit","event":{"n":1}}
    "#);
    let shown = format!("{http:?} {config:?}");
    for secret in ["hunter", "Y29sbGVjdG9yOmh1bnRlcjI="] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_batch_may_be_one_array_or_lines_of_another_format_and_compressed() {
    let receiver = Receiver::start(&[OK]).await;
    let mut config = config(&[&receiver.address]);
    (config.body, config.gzip) = (Body::Array, true);
    config.login = Login::Bearer(literal("hunter2"));
    assert_eq!(open(&config).deliver(&numbered(3)).await.accepted, 3);
    (config.body, config.gzip) = (Body::Lines, false);
    config.format = Format::Cef;
    assert_eq!(open(&config).deliver(&numbered(3)).await.accepted, 3);
    let heads = receiver.heads();
    assert!(heads[0].contains("authorization: bearer hunter2"));
    assert!(heads[0].contains("content-type: application/json\r\n"));
    assert!(heads[0].contains("content-encoding: gzip"));
    let mut text = String::new();
    let packed = receiver.body(0);
    flate2::read::GzDecoder::new(&*packed)
        .read_to_string(&mut text)
        .unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((events.len(), &events[2]["event"]["n"]), (3, &2.into()));
    assert!(heads[1].contains("content-type: text/plain"));
    let text = String::from_utf8(receiver.body(1)).unwrap();
    assert!(text.lines().all(|line| line.starts_with("CEF:0|")));
    assert_eq!(text.lines().count(), 3);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let table = [
        (200, "ok"),
        (202, "ok"),
        (204, "ok"),
        (301, "http/301 RequestInvalid"),
        (400, "halves http/400 RecordRejected"),
        (401, "http/401 CredentialRejected"),
        (403, "http/403 CredentialRejected"),
        (404, "http/404 Transient"),
        (405, "http/405 RequestInvalid"),
        (407, "http/407 CredentialRejected"),
        (408, "http/408 Transient"),
        (413, "halves http/413 Transient"),
        (415, "http/415 RequestInvalid"),
        (422, "halves http/422 RecordRejected"),
        (425, "http/425 Transient"),
        (429, "http/429 Throttled"),
        (500, "http/500 Transient"),
        (503, "http/503 Transient"),
        (599, "http/599 Transient"),
    ];
    for (status, expected) in table {
        let receiver = Receiver::start(&[Act::Say(status, "retry-after: 7\r\n", "said")]).await;
        let delivery = open(&config(&[&receiver.address]))
            .deliver(&numbered(4))
            .await;
        let found = match &delivery.failure {
            None => "ok".to_owned(),
            Some(failure) => {
                assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
                assert_eq!(failure.detail, "said");
                let halves = if delivery.split { "halves " } else { "" };
                format!("{halves}{} {:?}", failure.key(), lookup(failure).class)
            }
        };
        assert_eq!(found, expected);
        assert_eq!(delivery.accepted, if found == "ok" { 4 } else { 0 });
    }
}

#[tokio::test]
async fn an_event_that_is_refused_alone_is_put_aside_with_the_answer_but_not_its_secrets() {
    let receiver = Receiver::start(&[Act::Say(422, "", "no hunter2 here")]).await;
    let mut config = config(&[&receiver.address]);
    config.login = Login::Bearer(literal("hunter2"));
    let delivery = open(&config).deliver(&numbered(1)).await;
    assert_eq!(
        delivery,
        Delivery::rejected(0, "http/422: no [secret] here".to_owned())
    );
}

#[tokio::test]
async fn a_receiver_that_finds_a_body_too_large_gets_smaller_ones_and_a_shortened_event() {
    let receiver = Receiver::start(&[Act::AtMost(9_000)]).await;
    let http = open(&config(&[&receiver.address]));
    let delivery = http.deliver(&numbered(500)).await;
    assert!(delivery.split);
    assert!(http.limits().bytes < 100 << 10, "{:?}", http.limits());
    // More than once half of what is taken, so that it is halved on until it fits.
    let long = format!(r#"{{"subject":"{}","n":1}}"#, "日".repeat(50 << 18));
    let alone = batch("acme-uk/audit", vec![record("audit", Form::Json, &long)]);
    assert_eq!(http.deliver(&alone).await, Delivery::accepted(1));
    let sent: Value =
        serde_json::from_slice(&receiver.seen.lock().unwrap().pop().unwrap().1).unwrap();
    assert_eq!(sent["event"]["truncated"], true);
    assert_eq!(sent["event"]["n"], 1);
    let subject = sent["event"]["subject"].as_str().unwrap();
    assert!(subject.chars().all(|c| c == '日') && !subject.is_empty());
}

#[tokio::test]
async fn an_event_that_no_shortening_helps_is_put_aside() {
    let receiver = Receiver::start(&[Act::AtMost(10)]).await;
    let mut config = config(&[&receiver.address]);
    let long = record("audit", Form::Text, &"x".repeat(5_000));
    let alone = batch("acme-uk/audit", vec![long]);
    let delivery = open(&config).deliver(&alone).await;
    assert_eq!(
        delivery,
        Delivery::rejected(0, "http/413: too large".to_owned())
    );
    config.oversized = Oversized {
        max_bytes: 4_000,
        then: Then::Quarantine,
    };
    let asked = receiver.heads().len();
    let delivery = open(&config).deliver(&alone).await;
    assert!(delivery.rejected[0].reason.contains("max_event_bytes"));
    assert_eq!(receiver.heads().len(), asked);
}

#[tokio::test]
async fn a_lost_answer_accepts_nothing_whether_the_batch_arrived_or_not() {
    for (act, arrived) in [(Act::CloseFirst, 0), (Act::CloseAfter, 1)] {
        let receiver = Receiver::start(&[act, OK]).await;
        let http = open(&config(&[&receiver.address]));
        let delivery = http.deliver(&numbered(2)).await;
        assert_eq!(delivery.accepted, 0);
        let failure = delivery.failure.unwrap();
        assert_eq!(failure.origin, Origin::Transport, "{failure}");
        assert!(!failure.to_string().contains("hunter1"), "{failure}");
        assert_eq!(receiver.heads().len(), arrived);
        assert_eq!(http.deliver(&numbered(2)).await, Delivery::accepted(2));
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over_at_once_and_one_that_fails_from_then_on() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let ill = Receiver::start(&[Act::Say(503, "", "")]).await;
    let well = Receiver::start(&[OK]).await;
    let http = open(&config(&[&down, &ill.address, &well.address]));
    let delivery = http.deliver(&numbered(1)).await;
    assert_eq!(delivery.failure.unwrap().key(), "http/503");
    for _ in 0..2 {
        assert_eq!(http.deliver(&numbered(1)).await, Delivery::accepted(1));
    }
    assert_eq!((ill.heads().len(), well.heads().len()), (1, 2));
}

#[tokio::test]
async fn a_connection_is_made_anew_now_and_then_so_that_a_change_of_names_is_followed() {
    let receiver = Receiver::start(&[OK]).await;
    let http = open(&config(&[&receiver.address]));
    for _ in 0..2 * RENEW_AFTER {
        assert_eq!(http.deliver(&numbered(1)).await, Delivery::accepted(1));
    }
    let heads = receiver.heads();
    let last = |head: &&String| head.contains("\r\nconnection: close");
    assert_eq!(
        (heads.len(), heads.iter().filter(last).count()),
        (2 * RENEW_AFTER, 2)
    );
}

#[tokio::test]
async fn a_probe_says_whether_a_receiver_lets_us_in_and_sends_no_event() {
    let refuses = Receiver::start(&[Act::Say(401, "", "")]).await;
    let wants_more = Receiver::start(&[Act::Say(400, "", "empty")]).await;
    let probed = open(&config(&[&refuses.address, &wants_more.address]));
    let probed = probed.probe().await;
    assert_eq!(probed[0].as_ref().unwrap_err().key(), "http/401");
    assert_eq!(probed[1], Ok(()));
    assert_eq!(wants_more.body(0), b"");
}

#[test]
fn a_secret_that_changes_is_another_fingerprint() {
    let of = |login| {
        let mut config = config(&["127.0.0.1:1"]);
        config.login = login;
        open(&config).fingerprint(b"id")
    };
    assert_eq!(of(Login::None), None);
    let one = of(Login::Bearer(literal("hunter2")));
    assert_eq!(one, of(Login::Bearer(literal("hunter2"))));
    assert_ne!(one, of(Login::Bearer(literal("hunter3"))));
}

#[test]
fn a_body_keeps_below_its_limit_but_takes_one_event_however_large() {
    let encoder = Encoder {
        body: Body::Array,
        format: Format::Json,
        gzip: None,
    };
    let encode = |limit| {
        let (body, events, len) = encoder
            .encode(&numbered(10), limit, Oversized::default())
            .unwrap();
        let value: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!((value.len(), body.len()), (events, len));
        (events, len)
    };
    let (one, len) = encode(1);
    assert_eq!(one, 1);
    assert_eq!(encode(2 * len).0, 2);
    assert_eq!(encode(usize::MAX).0, 10);
}
