//! A webhook: what people and their tools are told of alerts, as JSON by a template.
//!
//! All alerts that wait go as one message, or as few as `max_alerts` allows. The address, the headers and what the template names as
//! secrets are shown nowhere: not in a log, a failure or the status, and answers that repeat them lose them.

mod config;
mod reply;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

pub use config::WebhookConfig;
pub(in crate::output) use config::{max_alerts, timeout};
pub use template::Template;

use self::reply::Answer;
use super::redact::Redactor;
use super::told::Told;
use super::{Batch, BatchLimits, Delivery, Output, Window};
use crate::http::{read_prefix, transport_failure};
use crate::secret::{Fingerprint, Secret, SecretError, SecretSource};

/// Alerts wait among heartbeats of months, so more than one batch is for no message.
pub(in crate::output) const LIMITS: BatchLimits = BatchLimits {
    bytes: 8 << 20,
    events: 20_000,
};

/// One message after the other, and a little patience: what breaks together is told together.
pub(in crate::output) const WINDOW: Window = Window {
    lane: 1,
    all: 1,
    unconfirmed: 1,
    wait: Duration::from_secs(2),
};

/// 64 KiB: an answer's first words are enough.
const MAX_ANSWER: usize = 64 << 10;

/// A webhook that is ready to be told.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    url: Address,
    headers: HeaderMap,
    secrets: BTreeMap<String, Secret>,
    redactor: Redactor,
    template: Template,
    max_alerts: usize,
    expect: Option<String>,
    timeout: Duration,
    /// Method, host and port, for messages.
    endpoint: String,
    /// All that was read: address, headers, secrets.
    parts: Vec<Secret>,
}

/// An address that is not shown.
struct Address(Url);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A secret cannot be read.
    #[error("cannot read its {0}: {1}")]
    Secret(String, #[source] SecretError),
    /// The address is none; it is not repeated.
    #[error("what its url names {0}")]
    Url(String),
    /// A value has no place in a header; it is not repeated.
    #[error("the value of its header {0} has characters that no header can hold")]
    Header(String),
}

impl Webhook {
    /// Reads the secrets and makes a webhook ready. Sends nothing.
    ///
    /// # Errors
    /// See [`ConfigError`]; the configuration, or what it names, is to be corrected.
    pub fn new(config: &WebhookConfig, client: reqwest::Client) -> Result<Self, ConfigError> {
        let read = |what: String, source: &SecretSource| {
            source.read().map_err(|e| ConfigError::Secret(what, e))
        };
        let address = read("url".to_owned(), &config.url)?;
        let url = config::address(address.expose()).map_err(ConfigError::Url)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut parts = vec![address];
        for (name, source) in &config.headers {
            let value = read(format!("header {name}"), source)?;
            let unfit = || ConfigError::Header(name.clone());
            let mut header = HeaderValue::from_str(value.expose()).map_err(|_| unfit())?;
            header.set_sensitive(true);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            headers.insert(name, header);
            parts.push(value);
        }
        let mut secrets = BTreeMap::new();
        for (name, source) in &config.secrets {
            let secret = read(format!("secret {name}"), source)?;
            parts.push(secret.clone());
            secrets.insert(name.clone(), secret);
        }
        let place = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        Ok(Self {
            client,
            redactor: Redactor::new(&parts).and_url(&url),
            url: Address(url),
            headers,
            secrets,
            template: config.template.clone(),
            max_alerts: config.max_alerts.unwrap_or(usize::MAX),
            expect: config.expect.clone(),
            timeout: config.timeout,
            endpoint: format!("POST {place}"),
            parts,
        })
    }

    /// Where it is, for a look whether it can be reached: scheme, host and port.
    #[must_use]
    pub fn base(&self) -> String {
        self.url.0.origin().ascii_serialization()
    }

    /// What its secrets can be told by, under the install id `key`.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let parts: Vec<_> = self.parts.iter().map(Secret::expose).collect();
        Fingerprint::of(key, &parts)
    }

    async fn send(&self, message: Bytes, alerts: usize) -> Delivery {
        let request = self
            .client
            .post(self.url.0.clone())
            .headers(self.headers.clone())
            .timeout(self.timeout)
            .body(message);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Delivery::failed(transport_failure(&error, &self.endpoint)),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_prefix(response, MAX_ANSWER).await;
        let answer = Answer {
            endpoint: &self.endpoint,
            status,
            headers: &headers,
            body: &String::from_utf8_lossy(&body),
            expect: self.expect.as_deref(),
            redactor: &self.redactor,
        };
        answer.read(alerts)
    }
}

impl Output for Webhook {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let records = batch.records().iter().take(self.max_alerts);
        let told: Vec<_> = records.map(Told::of).collect();
        let message = self.template.render(&told, &self.secrets);
        self.send(message.into(), told.len()).await
    }

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn window(&self) -> Window {
        WINDOW
    }
}
