//! Any receiver of events over HTTP: batches as lines of JSON, or as one JSON array, by POST.
//!
//! Nothing is agreed on with the receiver but HTTP, so the status alone says what became of a batch: `reply` reads it. A batch of a lane goes
//! out when that before it is taken, so a lane keeps its order. Several servers stand in for one another.

mod config;
mod reply;

pub use config::{Body, Header, HttpConfig, Login, Place};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    InvalidHeaderValue,
};

use super::batch::{Batch, BatchLimits};
use super::batching::{Batching, Oversized};
use super::format::Format;
use super::lines::Lines;
use super::redact::Redactor;
use super::servers::Servers;
use super::{Delivery, Output, Window, blocking, gzip};
use crate::health::{Failure, Origin};
use crate::http::{read_prefix, transport_failure};
use crate::secret::{Fingerprint, Secret, SecretError};
use reply::Answer;

/// 4 KiB: smaller bodies cost more in requests than a receiver that refuses larger ones can mean.
const MIN_BODY: usize = 4 << 10;

/// 4 KiB of an answer are read: it only explains.
const MAX_ANSWER: usize = 4 << 10;

/// So many deliveries go over a connection before a new one is made, so that a change of names is followed.
const RENEW_AFTER: usize = 100;

/// Lanes whose batches are out at once; each batch holds its events in memory.
const AT_ONCE: usize = 4;

/// Bytes of an event besides its body and the names that it goes under.
const AROUND: usize = 160;

/// A receiver, or several that stand in for one another.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    servers: Servers<Place>,
    /// The addresses as configured, for the fingerprint; their queries may hold secrets.
    urls: Secret,
    headers: HeaderMap,
    secrets: Vec<Secret>,
    /// What an answer may repeat of a request, and nobody is to see.
    redactor: Redactor,
    encoder: Arc<Encoder>,
    timeout: Duration,
    batching: Batching,
    oversized: Oversized,
    /// Bytes of a body before compression; halved each time that the receiver finds one too large.
    max_body: AtomicUsize,
    deliveries: AtomicUsize,
}

/// Why an output cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no address.
    #[error("it has no url")]
    Url,
    /// A secret cannot be read.
    #[error("cannot read the secret of {0}: {1}")]
    Secret(String, #[source] SecretError),
    /// A value does not fit a header.
    #[error(
        "the value of {0} has characters that no header has: look for line breaks where it is kept"
    )]
    Header(String, #[source] InvalidHeaderValue),
}

/// How a body is made of a batch.
#[derive(Debug)]
struct Encoder {
    body: Body,
    format: Format,
    gzip: Option<u32>,
}

/// What came of offering a body to one server.
enum Offered {
    /// It was not reached, so it has taken nothing and another may be offered the same.
    Unreached(Failure),
    Answered(Delivery),
}

impl Http {
    /// Makes a receiver ready to be delivered to: reads the secrets of its headers. Sends nothing.
    ///
    /// # Errors
    /// See [`ConfigError`]; the configuration, or what it names, is to be corrected.
    pub fn new(config: &HttpConfig, client: reqwest::Client) -> Result<Self, ConfigError> {
        let servers = config.urls.iter().map(|url| (url.endpoint(), url.clone()));
        let servers = Servers::new(servers).ok_or(ConfigError::Url)?;
        let urls: Vec<_> = config
            .urls
            .iter()
            .map(|url| url.url().to_string())
            .collect();
        let (headers, secrets) = headers(config)?;
        let redactor = Redactor::new(&secrets);
        let redactor = config
            .urls
            .iter()
            .fold(redactor, |all, url| all.and_query(&url.url()));
        let max_body = usize::try_from(config.batching.bytes).unwrap_or(usize::MAX);
        Ok(Self {
            client,
            servers,
            urls: Secret::new(urls.join(" ")),
            headers,
            secrets,
            redactor,
            encoder: Arc::new(Encoder {
                body: config.body,
                format: config.format.clone(),
                gzip: config.gzip.then_some(config.gzip_level),
            }),
            timeout: config.timeout,
            batching: config.batching,
            oversized: config.oversized,
            max_body: AtomicUsize::new(max_body),
            deliveries: AtomicUsize::new(0),
        })
    }

    /// What the receiver and the secrets shown to it can be told by, under the install id `key`; `None` without a secret.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<Fingerprint> {
        let secrets = self.secrets.iter().map(Secret::expose);
        let parts: Vec<_> = std::iter::once(self.urls.expose()).chain(secrets).collect();
        (parts.len() > 1).then(|| Fingerprint::of(key, &parts))
    }

    /// Offers each server a body without events: whether it answers, and lets us in. Some receivers refuse an empty body, which is none of
    /// these.
    pub async fn probe(&self) -> Vec<Result<(), Failure>> {
        let mut probed = Vec::new();
        for index in 0..self.servers.len() {
            let empty = Bytes::from_static(self.encoder.body.empty());
            probed.push(match self.offer_to(index, empty, 0, false).await {
                Offered::Unreached(failure) => Err(failure),
                Offered::Answered(Delivery {
                    failure: Some(failure),
                    ..
                }) if !matches!(failure.status, 400 | 422) => Err(failure),
                Offered::Answered(_) => Ok(()),
            });
        }
        probed
    }

    /// Encodes and offers as many events from the front of the batch as fit into a body.
    async fn offer_once(&self, batch: &Batch, oversized: Oversized) -> Delivery {
        let (encoder, events) = (Arc::clone(&self.encoder), batch.clone());
        let max_len = self.limits().bytes;
        let encoded = blocking(move || encoder.encode(&events, max_len, oversized)).await;
        let (body, events, raw_len) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let failure = Failure::new(Origin::Local, 0, "encode", "the request's body");
                return Delivery::failed(failure.with_detail(&error.to_string()));
            }
        };
        let delivery = self.offer(Bytes::from(body), events).await;
        let status = delivery.failure.as_ref().map(|failure| failure.status);
        if status == Some(413) {
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
            let gzip = self.encoder.gzip.is_some();
            match self.offer_to(index, body.clone(), events, gzip).await {
                Offered::Unreached(unreached) => failure = Some(unreached),
                Offered::Answered(delivery) => return delivery,
            }
        }
        let endpoint = self.servers.endpoint(0);
        let nowhere = || Failure::new(Origin::Transport, 0, "connect", endpoint);
        Delivery::failed(failure.unwrap_or_else(nowhere))
    }

    async fn offer_to(&self, index: usize, body: Bytes, events: usize, gzip: bool) -> Offered {
        let endpoint = self.servers.endpoint(index);
        let mut request = self
            .client
            .post(self.servers.get(index).url())
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .body(body);
        if gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let so_far = self.deliveries.fetch_add(1, Ordering::Relaxed);
        if so_far % RENEW_AFTER == RENEW_AFTER - 1 {
            request = request.header(CONNECTION, "close");
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.servers.give_way(index);
                let failure = transport_failure(&error, endpoint);
                return if error.is_connect() {
                    Offered::Unreached(failure)
                } else {
                    Offered::Answered(Delivery::failed(failure))
                };
            }
        };
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = read_prefix(response, MAX_ANSWER).await;
        let answer = Answer {
            endpoint,
            status,
            headers: &headers,
            body: &body,
            redactor: &self.redactor,
        };
        if answer.is_of_one_server() {
            self.servers.give_way(index);
        } else {
            self.servers.is_well(index);
        }
        Offered::Answered(answer.read(events))
    }
}

/// What goes with every request, and what of it is secret.
fn headers(config: &HttpConfig) -> Result<(HeaderMap, Vec<Secret>), ConfigError> {
    let mut secrets = Vec::new();
    let mut headers = HeaderMap::new();
    let kind = config.body.media_type(&config.format);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut put = |name: HeaderName, value: &str| {
        let wrong = |e| ConfigError::Header(name.to_string(), e);
        let mut value = HeaderValue::from_str(value).map_err(wrong)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    let unread = |what: &str| {
        let what = what.to_owned();
        move |e| ConfigError::Secret(what, e)
    };
    match &config.login {
        Login::None => {}
        Login::Bearer(token) => {
            let token = token.read().map_err(unread("token"))?;
            put(AUTHORIZATION, &format!("Bearer {}", token.expose()))?;
            secrets.push(token);
        }
        Login::Basic { username, password } => {
            let password = password.read().map_err(unread("password"))?;
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            put(AUTHORIZATION, &format!("Basic {pair}"))?;
            secrets.extend([password, Secret::new(pair)]);
        }
    }
    for (name, value) in &config.headers {
        match value {
            Header::Text(text) => put(name.clone(), text)?,
            Header::Secret(source) => {
                let secret = source.read().map_err(unread(name.as_str()))?;
                put(name.clone(), secret.expose())?;
                secrets.push(secret);
            }
        }
    }
    Ok((headers, secrets))
}

impl Encoder {
    /// A body of as many events from the front of the batch as fit `max_len` bytes before compression, and always one; how many they are,
    /// and its length before compression. Takes milliseconds for a large batch: for a blocking thread.
    fn encode(
        &self,
        batch: &Batch,
        max_len: usize,
        oversized: Oversized,
    ) -> std::io::Result<(Vec<u8>, usize, usize)> {
        let lines = Lines::new(&self.format, batch, oversized);
        let (open, between, close) = self.body.around();
        let mut out = Vec::with_capacity(batch.bytes().min(max_len));
        out.extend_from_slice(open);
        let mut events = 0;
        for record in batch.records() {
            let before = out.len();
            if events > 0 {
                out.extend_from_slice(between);
            }
            lines.write(&mut out, record)?;
            if out.len() + close.len() > max_len && events > 0 {
                out.truncate(before);
                break;
            }
            events += 1;
        }
        out.extend_from_slice(close);
        let raw_len = out.len();
        let body = match self.gzip {
            Some(level) => gzip(&out, level)?,
            None => out,
        };
        Ok((body, events, raw_len))
    }
}

impl Output for Http {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if batch.is_empty() {
            return Delivery::accepted(0);
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
            let shorter = oversized.after_refusal(event);
            match shorter.filter(|_| failure.status == 413) {
                Some(shorter) => oversized = shorter,
                None => return Delivery::rejected(0, reply::reason(&failure)),
            }
        }
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: self.max_body.load(Ordering::Relaxed),
            events: self.batching.events,
        }
    }

    fn fitting(&self, batch: &Batch) -> usize {
        let names = batch.integration().len() + batch.log().len();
        let max_len = self.limits().bytes;
        let mut len = 0_usize;
        let records = batch.records().iter();
        let lens = records.map(|record| record.body.len() + record.kind.len() + names + AROUND);
        lens.take_while(|event| {
            len += event;
            len <= max_len
        })
        .count()
    }

    fn window(&self) -> Window {
        Window {
            all: AT_ONCE,
            wait: self.batching.wait,
            ..Window::default()
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
