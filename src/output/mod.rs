//! Delivers what the store holds; nothing here knows Mimecast.
//!
//! An [`Output`] tries a batch once and says exactly what became of it, in a [`Delivery`]. It never retries, waits or
//! drops: repeating is the worker's part, the delay that of `health`, the position that of the store. So every
//! output is about encoding and sending, and all of them fail in the same way.

pub mod batch;
pub mod batching;
#[cfg(feature = "benches")]
#[doc(hidden)]
pub mod bench;
pub mod config;
mod delivery;
pub mod directory;
pub mod exec;
pub mod file;
pub mod filter;
pub mod format;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod hec;
pub mod http;
mod lines;
mod redact;
pub mod route;
mod servers;
pub mod stdout;
pub mod syslog;
mod told;
pub mod webhook;
mod worker;

use std::error::Error;
use std::future::Future;
use std::io::{self, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

pub use batch::{Batch, BatchLimits};
pub use delivery::{Delivery, Judge, Receipt, Rejection, Verdict};
use exec::Exec;
use file::File;
pub use filter::Filtered;
use hec::SplunkHec;
use http::Http;
use stdout::Stdout;
use syslog::Syslog;
use webhook::Webhook;
pub use worker::{Command, Worker};

use crate::clock::Clock;
use crate::http::{Connection, HttpError, Purpose, client_as};
use crate::model::OutputId;
use crate::secret::{Fingerprint, SecretError, SecretSource};
use config::{OutputConfig, OutputKind};
use directory::Directory;

/// A receiver of events: the seam at which tests put scripted ones.
pub trait Output: Send + Sync + 'static {
    /// Offers a batch once.
    ///
    /// Events are counted as accepted only when the receiver has said that it has taken responsibility for them; an answer
    /// that cannot be read counts as a failure. Dropping the future loses nothing, for nothing was accepted.
    fn deliver(&self, batch: &Batch) -> impl Future<Output = Delivery> + Send;

    /// How large a batch is of use. A larger one is taken in part; the limits may shrink when a receiver refuses.
    fn limits(&self) -> BatchLimits;

    /// How many events from the front of the batch, which is within the limits, go into one request, by estimate. The others go with
    /// the next batch.
    fn fitting(&self, batch: &Batch) -> usize {
        batch.len()
    }

    /// How many batches may be under way at once. It may change: a receiver that is nearly full is sent fewer.
    fn window(&self) -> Window {
        Window::default()
    }

    /// Waits until the receiver has decided about batches that were delivered as `pending`, and says what it has decided.
    ///
    /// One call at a time, and it runs until it has an answer or the output ends. An output that never delivers as `pending` waits for
    /// ever. A verdict may overtake the delivery it is about.
    fn confirmations(
        &self,
        _clock: &Clock,
    ) -> impl Future<Output = Vec<(Receipt, Verdict)>> + Send {
        std::future::pending()
    }
}

/// How many batches may be under way at once.
///
/// The default, one by one, keeps the order of a lane: the next batch goes out when it is durable what became of the one before. With
/// more, batches of a lane may arrive in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Batches of one lane that are out.
    pub lane: usize,
    /// Batches that are out, in all; so many batches are held in memory.
    pub all: usize,
    /// Batches that may await a confirmation, in all; of these only the place in the lane is held.
    pub unconfirmed: usize,
    /// How long events wait for more of their lane, unless they fill a batch.
    pub wait: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            lane: 1,
            all: 1,
            unconfirmed: 4_096,
            wait: Duration::ZERO,
        }
    }
}

/// Any of the outputs that a configuration can name.
#[derive(Debug)]
pub enum Target {
    /// Splunk's HTTP Event Collector.
    SplunkHec(Box<SplunkHec>),
    /// A syslog receiver.
    Syslog(Box<Syslog>),
    /// Another receiver over HTTP.
    Http(Box<Http>),
    /// A file.
    File(File),
    /// Standard output.
    Stdout(Stdout),
    /// A webhook.
    Webhook(Box<Webhook>),
    /// A program.
    Exec(Exec),
}

impl Target {
    /// Makes an output ready to deliver: reads its secret and lets `connect` build its client. Sends nothing. The directory says what
    /// is known of the integrations.
    ///
    /// # Errors
    /// What the configuration names and cannot be used, for the person who wrote it.
    pub fn open<E>(
        config: &OutputConfig,
        clock: &Clock,
        directory: &Directory,
        connect: impl FnOnce(&Connection) -> Result<reqwest::Client, E>,
    ) -> Result<Self, OpenError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let output = || config.id.clone();
        match &config.kind {
            OutputKind::SplunkHec(hec) => {
                let token = hec
                    .token
                    .read()
                    .map_err(|e| OpenError::Token(output(), e))?;
                let client =
                    connect(&hec.connection).map_err(|e| OpenError::Client(output(), e.into()))?;
                SplunkHec::new(hec, token, client, directory.clone())
                    .map(|hec| Self::SplunkHec(Box::new(hec)))
                    .map_err(|e| OpenError::Hec(output(), e))
            }
            OutputKind::Syslog(syslog) => {
                let key = syslog.client_key.as_ref().map(SecretSource::read);
                let key = key
                    .transpose()
                    .map_err(|e| OpenError::ClientKey(output(), e))?;
                Syslog::new(syslog, key)
                    .map(|syslog| Self::Syslog(Box::new(syslog)))
                    .map_err(|e| OpenError::Tls(output(), e))
            }
            OutputKind::Http(http) => {
                let client = match http.identity() {
                    None => connect(&http.connection)
                        .map_err(|e| OpenError::Client(output(), e.into()))?,
                    Some((path, key)) => {
                        let key = key.read().map_err(|e| OpenError::ClientKey(output(), e))?;
                        let identity = Some((path, &key));
                        client_as(&http.connection, Purpose::Api, identity)
                            .map_err(|e| OpenError::Tls(output(), e))?
                    }
                };
                Http::new(http, client)
                    .map(|http| Self::Http(Box::new(http)))
                    .map_err(|e| OpenError::Http(output(), e))
            }
            OutputKind::File(file) => Ok(Self::File(File::new(file.clone(), clock.clone()))),
            OutputKind::Stdout => Ok(Self::Stdout(Stdout::default())),
            OutputKind::Webhook(webhook) => {
                let client = connect(&webhook.connection)
                    .map_err(|e| OpenError::Client(output(), e.into()))?;
                Webhook::new(webhook, client)
                    .map(|webhook| Self::Webhook(Box::new(webhook)))
                    .map_err(|e| OpenError::Webhook(output(), e))
            }
            OutputKind::Exec(exec) => {
                let secret = |(name, e)| OpenError::Secret(output(), name, e);
                Exec::new(exec).map(Self::Exec).map_err(secret)
            }
        }
    }

    /// What its credential can be told by, under the install id `key`; `None` for an output without one.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<Fingerprint> {
        match self {
            Self::SplunkHec(hec) => Some(hec.fingerprint(key)),
            Self::Syslog(syslog) => syslog.fingerprint(key),
            Self::Http(http) => http.fingerprint(key),
            Self::File(_) | Self::Stdout(_) => None,
            Self::Webhook(webhook) => Some(webhook.fingerprint(key)),
            Self::Exec(exec) => exec.fingerprint(key),
        }
    }
}

impl Output for Target {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        match self {
            Self::SplunkHec(hec) => hec.deliver(batch).await,
            Self::Syslog(syslog) => syslog.deliver(batch).await,
            Self::Http(http) => http.deliver(batch).await,
            Self::File(file) => file.deliver(batch).await,
            Self::Stdout(stdout) => stdout.deliver(batch).await,
            Self::Webhook(webhook) => webhook.deliver(batch).await,
            Self::Exec(exec) => exec.deliver(batch).await,
        }
    }

    fn limits(&self) -> BatchLimits {
        match self {
            Self::SplunkHec(hec) => hec.limits(),
            Self::Syslog(syslog) => syslog.limits(),
            Self::Http(http) => http.limits(),
            Self::File(file) => file.limits(),
            Self::Stdout(stdout) => stdout.limits(),
            Self::Webhook(webhook) => webhook.limits(),
            Self::Exec(exec) => exec.limits(),
        }
    }

    fn fitting(&self, batch: &Batch) -> usize {
        match self {
            Self::SplunkHec(hec) => hec.fitting(batch),
            Self::Syslog(syslog) => syslog.fitting(batch),
            Self::Http(http) => http.fitting(batch),
            Self::File(file) => file.fitting(batch),
            Self::Stdout(stdout) => stdout.fitting(batch),
            Self::Webhook(webhook) => webhook.fitting(batch),
            Self::Exec(exec) => exec.fitting(batch),
        }
    }

    fn window(&self) -> Window {
        match self {
            Self::SplunkHec(hec) => hec.window(),
            Self::Syslog(syslog) => syslog.window(),
            Self::Http(http) => http.window(),
            Self::File(file) => file.window(),
            Self::Stdout(stdout) => stdout.window(),
            Self::Webhook(webhook) => webhook.window(),
            Self::Exec(exec) => exec.window(),
        }
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        match self {
            Self::SplunkHec(hec) => hec.confirmations(clock).await,
            Self::Syslog(syslog) => syslog.confirmations(clock).await,
            Self::Http(http) => http.confirmations(clock).await,
            Self::File(file) => file.confirmations(clock).await,
            Self::Stdout(stdout) => stdout.confirmations(clock).await,
            Self::Webhook(webhook) => webhook.confirmations(clock).await,
            Self::Exec(exec) => exec.confirmations(clock).await,
        }
    }
}

/// Why an output cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its token cannot be read.
    #[error("output '{0}': cannot read its token: {1}")]
    Token(OutputId, #[source] SecretError),
    /// Its private key cannot be read.
    #[error("output '{0}': cannot read its client_key: {1}")]
    ClientKey(OutputId, #[source] SecretError),
    /// Its files for TLS are of no use.
    #[error("output '{0}': {1}")]
    Tls(OutputId, #[source] HttpError),
    /// Its HTTP client cannot be built.
    #[error("output '{0}': cannot prepare its connection: {1}")]
    Client(OutputId, #[source] Box<dyn Error + Send + Sync>),
    /// Its address or token has no place in a request.
    #[error("output '{0}': {1}")]
    Hec(OutputId, #[source] hec::ConfigError),
    /// Its addresses, headers or secrets are of no use.
    #[error("output '{0}': {1}")]
    Http(OutputId, #[source] http::ConfigError),
    /// A secret, its address or a header is of no use.
    #[error("output '{0}': {1}")]
    Webhook(OutputId, #[source] webhook::ConfigError),
    /// A secret that a program is told cannot be read.
    #[error("output '{0}': cannot read its secret {1}: {2}")]
    Secret(OutputId, String, #[source] SecretError),
}

/// Compresses a request's body.
fn gzip(raw: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut gzip = packer(raw.len(), level);
    gzip.write_all(raw)?;
    gzip.finish()
}

/// Compresses about `len` bytes that are written to it.
fn packer(len: usize, level: u32) -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::with_capacity(len / 2), Compression::new(level))
}

/// Runs work that encodes, compresses or may block on a thread of its own; a panic in it is one here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: only a runtime that is going away does that, and it takes this task along.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::Batch;
    use crate::model::{EventId, Form, LaneId, Record, Timestamp};

    pub(crate) fn record(kind: &str, form: Form, body: &str) -> Record {
        Record {
            id: EventId([0xab; 16]),
            time: Timestamp::from_millis(1_767_690_487_000),
            form,
            kind: kind.into(),
            body: body.to_owned().into(),
        }
    }

    pub(crate) fn batch(lane: &str, records: Vec<Record>) -> Batch {
        Batch::new(LaneId::from_text(lane), records)
    }

    /// A batch of `n` small JSON events of the audit log.
    pub(crate) fn numbered(n: usize) -> Batch {
        let event = |i| record("audit", Form::Json, &format!(r#"{{"n":{i}}}"#));
        batch("acme-uk/audit", (0..n).map(event).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::hec::HecConfig;
    use super::*;
    use crate::model::Route;
    use crate::secret::Secret;

    fn hec(url: &str, token: &str) -> OutputConfig {
        OutputConfig {
            id: OutputId::new("splunk").unwrap(),
            route: Route::all(OutputId::new("splunk").unwrap()),
            filter: filter::FilterConfig::default(),
            kind: OutputKind::SplunkHec(Box::new(HecConfig {
                urls: vec![url.to_owned()],
                ..HecConfig::plain(SecretSource::Literal(Secret::new(token.to_owned())))
            })),
        }
    }

    #[test]
    fn an_output_that_cannot_be_opened_says_which_and_why_without_its_token() {
        let open = |url: &str, token: &str| {
            Target::open(
                &hec(url, token),
                &Clock::system(),
                &Directory::default(),
                |_| Ok::<_, OpenError>(hec::test_client()),
            )
        };
        assert!(open("https://splunk.example:8088", "hunter2").is_ok());
        let shown = |e: OpenError| format!("{e} {e:?}");
        let bad_token = shown(open("https://splunk.example:8088", "hunter\n2").unwrap_err());
        assert!(
            bad_token.starts_with("output 'splunk': the token "),
            "{bad_token}"
        );
        assert!(!bad_token.contains("hunter"), "{bad_token}");
        let bad_url = shown(open("splunk.example", "hunter2").unwrap_err());
        assert!(bad_url.contains("'splunk.example'"), "{bad_url}");
        let no_client = Target::open(
            &hec("https://splunk.example", "hunter2"),
            &Clock::system(),
            &Directory::default(),
            |_| Err("no such CA file"),
        );
        assert!(shown(no_client.unwrap_err()).contains("no such CA file"));
    }

    #[test]
    fn a_target_keeps_its_token_to_itself() {
        let open = |token: &str| {
            let config = hec("https://splunk.example:8088", token);
            Target::open(&config, &Clock::system(), &Directory::default(), |_| {
                Ok::<_, OpenError>(hec::test_client())
            })
            .unwrap()
        };
        let target = open("hunter2");
        assert!(!format!("{target:?}").contains("hunter2"));
        assert_eq!(
            target.fingerprint(b"id"),
            open("hunter2").fingerprint(b"id")
        );
        assert_ne!(
            target.fingerprint(b"id"),
            open("hunter3").fingerprint(b"id")
        );
    }
}
