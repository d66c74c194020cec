//! Carries batches to HEC and its answers back.

mod ask;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue,
    InvalidHeaderValue,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::ask::{Reply, cookie_of, read, without_number};
use super::HecConfig;
use super::ack::{AckMode, Acks, Route};
use super::encode::{Body, Encoder};
use super::reply::{Answer, reason};
use super::servers::Server;
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::transport_failure;
use crate::output::batching::Oversized;
use crate::output::directory::Directory;
use crate::output::servers::Servers;
use crate::output::{Batch, BatchLimits, Delivery, Output, Receipt, Verdict, Window, blocking};
use crate::secret::{Fingerprint, Secret};

/// 2 MiB: what receivers commonly take before compression.
const MAX_BODY: usize = 2 << 20;

/// 64 KiB: smaller bodies cost more in requests than a receiver that refuses larger ones can mean.
const MIN_BODY: usize = 64 << 10;

/// Longer than a busy indexer takes for the largest body; an answer later than this is lost, and the batch repeated.
const TIMEOUT: Duration = Duration::from_secs(60);

/// For questions, which have short answers.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// 64 KiB: HEC's answers have some hundred bytes; what is longer is not one.
const MAX_ANSWER: usize = 64 << 10;

/// 1 MiB: an answer about [`super::ack::AT_ONCE`] numbers has some twenty bytes for each.
const MAX_ACK_ANSWER: usize = 1 << 20;

/// So many deliveries go over a connection, or to one indexer behind a load balancer, before a new one is made, so that a change of names
/// or of the balancer's mind is followed.
const RENEW_AFTER: usize = 100;

/// Bodies that are encoded at once; their answers take longer than that.
const ENCODING: usize = 2;

/// Each batch that is out holds its events in memory, up to 2 MiB.
const WINDOW: Window = Window {
    lane: 2,
    all: 8,
    unconfirmed: 4_096,
    wait: Duration::ZERO,
};

/// No batch ever has this number. A number that one has would be forgotten by its being asked about, and the batch sent again.
const NO_BATCH: u64 = 2_147_483_647;

pub(super) const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// A Splunk HTTP Event Collector.
#[derive(Debug)]
pub struct SplunkHec {
    client: reqwest::Client,
    servers: Servers<Server>,
    /// The addresses as configured, for the fingerprint.
    urls: String,
    token: Secret,
    /// `Splunk <token>`, marked as sensitive.
    authorization: HeaderValue,
    encoder: Arc<Encoder>,
    /// Whose turn it is to encode: bodies of a whole window before compression would be most of the memory.
    encoding: Semaphore,
    /// Bytes of a body before compression; halved each time that the receiver finds one too large.
    max_body: AtomicUsize,
    max_events: usize,
    wait: Duration,
    oversized: Oversized,
    mode: AckMode,
    acks: Acks,
    /// A GUID of this run: numbers of a former run are nothing to it.
    channel: HeaderValue,
    /// Whether the receiver wants the channel though acknowledgement is off here.
    wants_channel: AtomicBool,
    /// The receiver has said that it is nearly full.
    is_slow: AtomicBool,
    /// A batch was taken and cannot be asked about though it must be: nothing more is sent before an event of our own can be.
    is_in_doubt: AtomicBool,
    deliveries: AtomicUsize,
    /// By which a load balancer tells where the last delivery went.
    cookie: Mutex<Option<String>>,
}

/// Why a HEC output cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address is none.
    #[error("'{0}' is not an address such as https://splunk.example:8088")]
    Url(String),
    /// The token does not fit a header.
    #[error(
        "the token has characters that no HEC token has: look for line breaks and quotes where it is kept"
    )]
    Token(#[source] InvalidHeaderValue),
}

/// What came of offering a body to one server.
enum Offered {
    /// It was not reached, so it has taken nothing and another may be offered the same.
    Unreached(Failure),
    Answered(Delivery),
}

impl SplunkHec {
    /// Makes a collector ready to deliver to. Sends nothing.
    ///
    /// # Errors
    /// See [`ConfigError`]; the configuration is to be corrected.
    pub fn new(
        config: &HecConfig,
        token: Secret,
        client: reqwest::Client,
        directory: Directory,
    ) -> Result<Self, ConfigError> {
        let servers = config.urls.iter().map(|url| Server::new(url));
        let servers = servers.collect::<Result<Vec<_>, _>>();
        let servers = Servers::new(servers.map_err(ConfigError::Url)?);
        let servers = servers.ok_or_else(|| ConfigError::Url(String::new()))?;
        let mut authorization = HeaderValue::from_str(&format!("Splunk {}", token.expose()))
            .map_err(ConfigError::Token)?;
        authorization.set_sensitive(true);
        let channel = HeaderValue::from_str(&Uuid::new_v4().to_string());
        let max_body = usize::try_from(config.batching.bytes).unwrap_or(MAX_BODY);
        Ok(Self {
            client,
            urls: config.urls.join(" "),
            token,
            authorization,
            encoder: Arc::new(Encoder {
                labels: config.labels.clone(),
                machine: machine_name(),
                directory,
                gzip: config.gzip.then_some(config.gzip_level),
            }),
            encoding: Semaphore::new(ENCODING),
            max_body: AtomicUsize::new(max_body.min(MAX_BODY)),
            max_events: config.batching.events,
            wait: config.batching.wait,
            oversized: config.oversized,
            mode: config.ack,
            acks: Acks::new(config.ack_timeout, servers.get(0).ack_endpoint()),
            servers,
            channel: channel.map_err(ConfigError::Token)?,
            wants_channel: AtomicBool::new(false),
            is_slow: AtomicBool::new(false),
            is_in_doubt: AtomicBool::new(false),
            deliveries: AtomicUsize::new(0),
            cookie: Mutex::default(),
        })
    }

    /// What the receiver and the token can be told by, under the install id `key`.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        Fingerprint::of(key, &[&self.urls, self.token.expose()])
    }

    async fn encode(&self, batch: &Batch, oversized: Oversized) -> Result<Body, Failure> {
        let _turn = self.encoding.acquire().await;
        let (encoder, batch, limit) = (Arc::clone(&self.encoder), batch.clone(), self.limits());
        blocking(move || encoder.encode(&batch, limit.bytes, oversized))
            .await
            .map_err(|e| {
                Failure::new(Origin::Local, 0, "encode", "the request's body")
                    .with_detail(&e.to_string())
            })
    }

    /// Encodes and offers as many events from the front of the batch as fit into a body.
    async fn offer_once(&self, batch: &Batch, oversized: Oversized) -> Delivery {
        let Body {
            bytes,
            events,
            raw_len,
        } = match self.encode(batch, oversized).await {
            Ok(body) => body,
            Err(failure) => return Delivery::failed(failure),
        };
        let bytes = Bytes::from(bytes);
        let mut delivery = self.offer(bytes.clone(), events).await;
        let code = delivery
            .failure
            .as_ref()
            .map(|failure| failure.code.as_str());
        if matches!(code, Some("10" | "11")) && !self.wants_channel.swap(true, Ordering::Relaxed) {
            // The token wants a channel, which costs nothing.
            delivery = self.offer(bytes, events).await;
        }
        if delivery
            .failure
            .as_ref()
            .is_some_and(|failure| failure.status == 413)
        {
            let half = (raw_len / 2).max(MIN_BODY);
            self.max_body.fetch_min(half, Ordering::Relaxed);
        }
        delivery
    }

    /// Offers the body to the server that is used, and to the others while none is reached.
    async fn offer(&self, body: Bytes, events: usize) -> Delivery {
        let mut failure = None;
        for _ in 0..self.servers.len() {
            let index = self.servers.current();
            if self.servers.is_in_doubt(index)
                && let Err(unwell) = self.ask_after_health(index).await
            {
                self.servers.give_way(index);
                failure = Some(unwell);
                continue;
            }
            match self.offer_to(index, body.clone(), events).await {
                Offered::Unreached(unreached) => failure = Some(unreached),
                Offered::Answered(delivery) => return delivery,
            }
        }
        Delivery::failed(failure.unwrap_or_else(|| {
            Failure::new(Origin::Transport, 0, "connect", self.servers.endpoint(0))
        }))
    }

    async fn offer_to(&self, index: usize, body: Bytes, events: usize) -> Offered {
        let (server, endpoint) = (self.servers.get(index), self.servers.endpoint(index));
        let renews =
            self.deliveries.fetch_add(1, Ordering::Relaxed) % RENEW_AFTER == RENEW_AFTER - 1;
        if renews {
            self.stick_to(None);
        }
        let cookie = self.cookie();
        let mut request = self
            .request(&server.event, cookie.as_deref(), TIMEOUT)
            .body(body);
        if self.encoder.gzip.is_some() {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if renews {
            request = request.header(CONNECTION, "close");
        }
        let reply = match read(request, MAX_ANSWER).await {
            Ok(reply) => reply,
            Err(error) => {
                self.stick_to(None);
                self.servers.give_way(index);
                let failure = transport_failure(&error, endpoint);
                return if error.is_connect() {
                    Offered::Unreached(failure)
                } else {
                    Offered::Answered(Delivery::failed(failure))
                };
            }
        };
        let answer = Answer {
            endpoint,
            status: reply.status,
            headers: &reply.headers,
            body: &reply.body,
            token: &self.token,
        };
        let mut delivery = answer.read(events);
        if delivery.failure.is_some() && self.awaits_acknowledgement() {
            // What was taken before it failed has no number, so that nobody would ever confirm it.
            delivery.accepted = 0;
        }
        match &delivery.failure {
            // What stands in one server's way need not stand in another's.
            Some(failure) if failure.status >= 500 || matches!(failure.status, 404 | 408) => {
                self.stick_to(None);
                self.servers.give_way(index);
            }
            Some(_) => {}
            None => self.servers.is_well(index),
        }
        if delivery.failure.is_some() || !delivery.rejected.is_empty() {
            return Offered::Answered(delivery);
        }
        self.is_slow
            .store(answer.is_nearly_full(), Ordering::Relaxed);
        let cookie = cookie_of(&reply.headers).or(cookie);
        self.stick_to(cookie.clone());
        Offered::Answered(self.acknowledged(
            delivery,
            answer.ack_id(),
            Route {
                server: index,
                cookie,
            },
        ))
    }

    fn awaits_acknowledgement(&self) -> bool {
        match self.mode {
            AckMode::Off => false,
            AckMode::On => true,
            AckMode::Auto => self.acks.is_on() == Some(true),
        }
    }

    /// What an accepted delivery is worth: with acknowledgement, a promise.
    fn acknowledged(&self, delivery: Delivery, number: Option<u64>, route: Route) -> Delivery {
        match (self.mode, number) {
            (AckMode::Off, _) => delivery,
            (AckMode::Auto | AckMode::On, Some(number)) => {
                Delivery::pending(delivery.accepted, self.acks.keep(route, number))
            }
            (AckMode::Auto, None) => {
                self.acks.learn(false);
                delivery
            }
            (AckMode::On, None) => {
                self.acks.learn(false);
                self.acks.forget();
                self.is_in_doubt.store(true, Ordering::Relaxed);
                Delivery::failed(without_number(self.servers.endpoint(route.server)))
            }
        }
    }

    fn failure(&self, reply: &Reply, endpoint: &str) -> Failure {
        let answer = Answer {
            endpoint,
            status: reply.status,
            headers: &reply.headers,
            body: &reply.body,
            token: &self.token,
        };
        answer.failed()
    }

    fn request(
        &self,
        url: &Url,
        cookie: Option<&str>,
        timeout: Duration,
    ) -> reqwest::RequestBuilder {
        let mut request = self
            .client
            .post(url.clone())
            .timeout(timeout)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json");
        if self.mode != AckMode::Off || self.wants_channel.load(Ordering::Relaxed) {
            request = request.header(CHANNEL, self.channel.clone());
        }
        match cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    /// Only with acknowledgement: without it any indexer is as good.
    fn cookie(&self) -> Option<String> {
        if self.mode == AckMode::Off {
            return None;
        }
        self.cookie
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn stick_to(&self, cookie: Option<String>) {
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = cookie;
    }
}

impl Output for SplunkHec {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if batch.is_empty() {
            return Delivery::accepted(0);
        }
        if let Err(failure) = self.probe().await {
            return Delivery::failed(failure);
        }
        let batch = batch.first(self.limits());
        let withheld = self.oversized.withheld(&batch);
        if !withheld.is_empty() {
            return Delivery::withheld(withheld);
        }
        let mut oversized = self.oversized;
        loop {
            let mut delivery = self.offer_once(&batch, oversized).await;
            let refused = delivery
                .failure
                .take_if(|_| delivery.split && batch.len() == 1);
            let (Some(failure), Some(event)) = (refused, batch.records().first()) else {
                return delivery;
            };
            match oversized.after_refusal(event) {
                Some(shorter) => oversized = shorter,
                None => return Delivery::rejected(0, reason(&failure)),
            }
        }
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: self.max_body.load(Ordering::Relaxed),
            events: self.max_events,
        }
    }

    fn fitting(&self, batch: &Batch) -> usize {
        self.encoder.fitting(batch, self.limits().bytes)
    }

    fn window(&self) -> Window {
        let wait = self.wait;
        if self.is_slow.load(Ordering::Relaxed) {
            return Window {
                lane: 1,
                all: 2,
                wait,
                ..WINDOW
            };
        }
        Window { wait, ..WINDOW }
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        loop {
            let (mut verdicts, questions) = self.acks.round(clock).await;
            for (route, numbers) in questions {
                verdicts.extend(self.confirmed(&route, &numbers).await);
            }
            if !verdicts.is_empty() {
                return verdicts;
            }
        }
    }
}

/// This machine's name; where it cannot be read, HEC shows events under the address they came from.
fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
pub(in crate::output) mod tests {
    use std::io::Read as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::health::lookup;
    use crate::model::Form;
    use crate::model::Timestamp;
    use crate::output::batching::Batching;
    use crate::output::fixture::{batch, numbered, record};
    use crate::output::http::tests::{Act, Receiver};
    use crate::secret::SecretSource;

    #[expect(
        clippy::disallowed_methods,
        reason = "a client for loopback needs none of the settings of http.rs"
    )]
    pub(in crate::output) fn client() -> reqwest::Client {
        // Fails when another test was first, which is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        reqwest::Client::builder().no_proxy().build().unwrap()
    }

    fn hec(url: String) -> SplunkHec {
        let token = Secret::new("hunter2".to_owned());
        let config = HecConfig {
            urls: vec![url],
            batching: Batching {
                bytes: u64::MAX,
                ..Batching::default()
            },
            ack: AckMode::Off,
            ..HecConfig::plain(SecretSource::Literal(token.clone()))
        };
        SplunkHec::new(&config, token, client(), Directory::default()).unwrap()
    }

    /// Answers one request with the bytes; what it was asked is the head and the unpacked body.
    async fn serve_once(listener: TcpListener, answer: &str) -> (String, String) {
        serve_from(&listener, answer).await
    }

    async fn serve_from(listener: &TcpListener, answer: &str) -> (String, String) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let (head, body) = loop {
            assert_ne!(
                socket.read_buf(&mut request).await.unwrap(),
                0,
                "request cut short"
            );
            let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(request[..end].to_vec())
                .unwrap()
                .to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if request.len() == end + 4 + length {
                break (head, request[end + 4..].to_vec());
            }
        };
        socket.write_all(answer.as_bytes()).await.unwrap();
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*body)
            .read_to_string(&mut unpacked)
            .unwrap();
        (head, unpacked)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    async fn exchange(hec_answer: &str, events: usize) -> (SplunkHec, Delivery, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hec = hec(format!("http://{}", listener.local_addr().unwrap()));
        let batch = numbered(events);
        let (delivery, (head, body)) =
            tokio::join!(hec.deliver(&batch), serve_once(listener, hec_answer));
        (hec, delivery, head, body)
    }

    #[tokio::test]
    async fn a_batch_goes_as_one_compressed_request_with_its_token() {
        let success = answer("200 OK", r#"{"text":"Success","code":0}"#);
        let (hec, delivery, head, body) = exchange(&success, 3).await;
        assert_eq!(delivery, Delivery::accepted(3));
        assert!(
            head.starts_with("post /services/collector/event http/1.1"),
            "{head}"
        );
        assert!(
            head.contains("\r\nauthorization: splunk hunter2\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{head}");
        assert_eq!(body.lines().count(), 3);
        assert_eq!(hec.limits().bytes, MAX_BODY);
    }

    #[tokio::test]
    async fn a_receiver_that_finds_a_body_too_large_is_sent_smaller_ones() {
        let page = answer("413 Request Entity Too Large", "<html>413</html>");
        let (hec, delivery, _, body) = exchange(&page, 2_000).await;
        assert!(delivery.split);
        assert_eq!(delivery.failure.unwrap().key(), "hec/413");
        assert_eq!(hec.limits().bytes, body.len() / 2);
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_by_itself_is_shortened_until_it_is_taken_or_put_aside() {
        let long = format!(r#"{{"subject":"{}","n":1}}"#, "日".repeat(50 << 18));
        let alone = batch("acme-uk/audit", vec![record("audit", Form::Json, &long)]);
        let page = answer("413 Request Entity Too Large", "<html>413</html>");
        let success = answer("200 OK", r#"{"text":"Success","code":0}"#);
        for (refusals, taken) in [(3, true), (11, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let hec = hec(format!("http://{}", listener.local_addr().unwrap()));
            let server = async {
                let mut body = String::new();
                for n in 0..=refusals {
                    if n == refusals && !taken {
                        break;
                    }
                    let said = if n < refusals { &page } else { &success };
                    (_, body) = serve_from(&listener, said).await;
                }
                body
            };
            let (delivery, body) = tokio::join!(hec.deliver(&alone), server);
            let sent: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(sent["event"]["truncated"], true);
            assert_eq!(sent["event"]["n"], 1);
            if taken {
                assert_eq!(delivery, Delivery::accepted(1));
            } else {
                assert!(delivery.rejected[0].reason.starts_with("hec/413"));
            }
        }
    }

    #[tokio::test]
    async fn an_overlong_answer_is_cut_and_not_taken_for_a_success() {
        let endless = answer(
            "200 OK",
            &format!("{{\"text\":\"{}\",\"code\":0}}", "x".repeat(MAX_ANSWER)),
        );
        let (_, delivery, ..) = exchange(&endless, 1).await;
        assert_eq!(delivery.failure.unwrap().key(), "hec/http-200");
    }

    #[tokio::test]
    async fn a_lost_answer_accepts_nothing() {
        for cut in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"text\":\"Success\",\"code\":0}",
        ] {
            let (_, delivery, ..) = exchange(cut, 1).await;
            assert_eq!(delivery.accepted, 0);
            let failure = delivery.failure.unwrap();
            assert_eq!(failure.origin, Origin::Transport, "{failure}");
            assert!(!format!("{failure:?}").contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_down_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let delivery = hec(format!("http://{address}")).deliver(&numbered(1)).await;
        let failure = delivery.failure.unwrap();
        assert_eq!(failure.key(), "transport/connect");
        assert_eq!(
            failure.endpoint,
            format!("POST {address}/services/collector/event")
        );
    }

    #[tokio::test]
    async fn a_connection_is_made_anew_now_and_then_so_that_a_change_of_names_is_followed() {
        let success = Act::Say(200, "", r#"{"text":"Success","code":0}"#);
        let receiver = Receiver::start(&[success]).await;
        let hec = hec(format!("http://{}", receiver.address));
        for _ in 0..2 * RENEW_AFTER {
            assert_eq!(hec.deliver(&numbered(1)).await, Delivery::accepted(1));
        }
        let heads = receiver.heads();
        let last = |head: &&String| head.contains("\r\nconnection: close");
        assert_eq!(heads.iter().filter(last).count(), 2);
    }

    #[tokio::test]
    async fn auto_asks_before_it_sends_and_sends_again_what_a_token_that_loses_acknowledgement_leaves()
     {
        let receiver = Receiver::start(&[
            Act::Say(200, "", r#"{"acks":{"2147483647":false}}"#),
            Act::Say(200, "", r#"{"text":"Success","code":0,"ackId":0}"#),
            Act::Say(400, "", r#"{"text":"ACK is disabled","code":14}"#),
            Act::Say(200, "", r#"{"text":"Success","code":0}"#),
        ])
        .await;
        let token = Secret::new("hunter2".to_owned());
        let config = HecConfig {
            urls: vec![format!("http://{}", receiver.address)],
            ..HecConfig::plain(SecretSource::Literal(token.clone()))
        };
        let hec = SplunkHec::new(&config, token, client(), Directory::default()).unwrap();
        let receipt = hec.deliver(&numbered(2)).await.pending.unwrap();
        let clock = Clock::manual(Timestamp::from_millis(0));
        let passing = async {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let verdicts = tokio::select! {
            verdicts = hec.confirmations(&clock) => verdicts,
            () = passing => unreachable!(),
        };
        let [(lost, Verdict::Lost(failure))] = verdicts.as_slice() else {
            panic!("{verdicts:?}");
        };
        assert_eq!((*lost, failure.key()), (receipt, "hec/ack_off".to_owned()));
        assert!(lookup(failure).alert_after.is_zero());
        assert_eq!(hec.deliver(&numbered(2)).await, Delivery::accepted(2));
        let asked: Vec<_> = receiver
            .heads()
            .iter()
            .map(|head| head.split(' ').nth(1).unwrap().to_owned())
            .collect();
        let (event, ack) = ("/services/collector/event", "/services/collector/ack");
        assert_eq!(asked, [ack, event, ack, event]);
    }

    #[tokio::test]
    async fn an_empty_batch_sends_nothing() {
        let nowhere = hec("http://127.0.0.1:1".to_owned());
        assert_eq!(nowhere.deliver(&numbered(0)).await, Delivery::accepted(0));
    }
}
