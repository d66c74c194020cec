//! Carries batches to HEC and its answers back.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue,
};

use super::HecConfig;
use super::encode::{Body, Encoder};
use super::reply::Answer;
use crate::health::{Failure, Origin};
use crate::output::{Batch, BatchLimits, Delivery, Output, blocking};
use crate::secret::{Fingerprint, Secret};

const PATH: &str = "/services/collector/event";

/// 2 MiB: what receivers commonly take before compression.
const MAX_BODY: usize = 2 << 20;

/// 64 KiB: smaller bodies cost more in requests than a receiver that refuses larger ones can mean.
const MIN_BODY: usize = 64 << 10;

/// Bounds memory, and what a lost answer repeats, when events are tiny.
const MAX_EVENTS: usize = 10_000;

/// Longer than a busy indexer takes for the largest body; an answer later than this is lost, and the batch repeated.
const TIMEOUT: Duration = Duration::from_secs(60);

/// 64 KiB: HEC's answers have some hundred bytes; what is longer is not one.
const MAX_ANSWER: usize = 64 << 10;

/// A Splunk HTTP Event Collector.
#[derive(Debug)]
pub struct SplunkHec {
    client: reqwest::Client,
    url: Url,
    /// Method and place, for messages.
    endpoint: String,
    token: Secret,
    /// `Splunk <token>`, marked as sensitive.
    authorization: HeaderValue,
    encoder: Arc<Encoder>,
    /// Bytes of a body before compression; halved each time that the receiver finds one too large.
    max_body: AtomicUsize,
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

impl SplunkHec {
    /// Makes a collector ready to deliver to. Sends nothing.
    ///
    /// # Errors
    /// See [`ConfigError`]; the configuration is to be corrected.
    pub fn new(
        config: &HecConfig,
        token: Secret,
        client: reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let url = Url::parse(&format!("{}{PATH}", config.url))
            .ok()
            .filter(Url::has_host)
            .ok_or_else(|| ConfigError::Url(config.url.clone()))?;
        let mut authorization = HeaderValue::from_str(&format!("Splunk {}", token.expose()))
            .map_err(ConfigError::Token)?;
        authorization.set_sensitive(true);
        let max_body = usize::try_from(config.batch_bytes).unwrap_or(MAX_BODY);
        Ok(Self {
            client,
            endpoint: format!("POST {}{PATH}", place(&url)),
            url,
            token,
            authorization,
            encoder: Arc::new(Encoder {
                host: config.host.clone().or_else(machine_name),
                index: config.index.clone(),
                gzip: config.gzip,
            }),
            max_body: AtomicUsize::new(max_body.min(MAX_BODY)),
        })
    }

    /// What the receiver and the token can be told by, under the install id `key`.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        Fingerprint::of(key, &[self.url.as_str(), self.token.expose()])
    }

    async fn encode(&self, batch: &Batch) -> Result<Body, Failure> {
        let (encoder, batch, limit) = (Arc::clone(&self.encoder), batch.clone(), self.limits());
        blocking(move || encoder.encode(&batch.first(limit), limit.bytes))
            .await
            .map_err(|e| {
                Failure::new(Origin::Local, 0, "encode", "the request's body")
                    .with_detail(&e.to_string())
            })
    }

    /// Sends one request and reads its answer up to [`MAX_ANSWER`].
    async fn post(&self, body: Vec<u8>) -> reqwest::Result<(u16, HeaderMap, Vec<u8>)> {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if self.encoder.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let mut response = request.send().await?;
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(MAX_ANSWER);
        let status = response.status().as_u16();
        Ok((status, std::mem::take(response.headers_mut()), body))
    }
}

impl Output for SplunkHec {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if batch.is_empty() {
            return Delivery::accepted(0);
        }
        let Body {
            bytes,
            events,
            raw_len,
        } = match self.encode(batch).await {
            Ok(body) => body,
            Err(failure) => return Delivery::failed(failure),
        };
        let (status, headers, body) = match self.post(bytes).await {
            Ok(answer) => answer,
            Err(e) => return Delivery::failed(transport(e, &self.endpoint)),
        };
        if status == 413 {
            let half = (raw_len / 2).max(MIN_BODY);
            self.max_body.fetch_min(half, Ordering::Relaxed);
        }
        Answer {
            endpoint: &self.endpoint,
            status,
            headers: &headers,
            body: &body,
            token: &self.token,
        }
        .read(events)
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: self.max_body.load(Ordering::Relaxed),
            events: MAX_EVENTS,
        }
    }
}

/// Host and port.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// This machine's name; where it cannot be read, HEC shows events under the address they came from.
fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Names what went wrong below HTTP.
fn transport(error: reqwest::Error, endpoint: &str) -> Failure {
    let code = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_body() || error.is_decode() {
        "body"
    } else {
        "reset"
    };
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        detail = format!("{detail}: {error}");
        cause = error.source();
    }
    Failure::new(Origin::Transport, 0, code, endpoint).with_detail(&detail)
}

#[cfg(test)]
pub(in crate::output) mod tests {
    use std::io::Read as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::Connection;
    use crate::output::fixture::numbered;
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
            url,
            token: SecretSource::Literal(token.clone()),
            index: None,
            host: Some("here".to_owned()),
            gzip: true,
            batch_bytes: u64::MAX,
            connection: Connection::default(),
        };
        SplunkHec::new(&config, token, client()).unwrap()
    }

    /// Answers one request with the bytes; what it was asked is the head and the unpacked body.
    async fn serve_once(listener: TcpListener, answer: &str) -> (String, String) {
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
    async fn an_empty_batch_sends_nothing() {
        let nowhere = hec("http://127.0.0.1:1".to_owned());
        assert_eq!(nowhere.deliver(&numbered(0)).await, Delivery::accepted(0));
    }
}
