//! Syslog over TLS, TCP, UDP or a Unix socket, as RFC 5424 or RFC 3164.
//!
//! Syslog has no answer, so nothing here proves that a receiver has stored an event. What can be known is used: on a stream, the events of a
//! batch count as accepted 5 s after their bytes were written, if the receiver has neither closed nor reset the connection by
//! then. If it has, or this program dies, all of them go out again with the same ids. A datagram counts once the system took it.
//!
//! Several servers stand in for one another: a connection that cannot be made, or breaks, is made to the next in turn.

mod config;
mod connect;
mod frame;
mod link;

pub use config::{Framing, Rfc, SyslogConfig, Transport};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::batch::{Batch, BatchLimits};
use super::{Delivery, Output, blocking};
use crate::health::{Failure, Origin};
use crate::http::HttpError;
use crate::secret::{Fingerprint, Secret};
use connect::Connector;
use frame::Encoder;
use link::{Link, Sent};

/// From the last byte of a batch to its acceptance. A receiver that is gone answers with a reset within a round trip, one
/// that stops in order closes the connection before.
const ACCEPTED_AFTER: Duration = Duration::from_secs(5);

/// A server that does not want a connection closes it within a few round trips.
const KEPT_AFTER: Duration = Duration::from_secs(1);

/// As much as a window of that length should hold, and little to send again.
const STREAM: BatchLimits = BatchLimits {
    bytes: 4 << 20,
    events: 10_000,
};
/// Few at a time: a receiver has nothing but the buffer of its socket.
const DATAGRAMS: BatchLimits = BatchLimits {
    bytes: 1 << 20,
    events: 256,
};

/// A syslog receiver, or several that stand in for one another.
#[derive(Debug)]
pub struct Syslog {
    encoder: Arc<Encoder>,
    connector: Connector,
    limits: BatchLimits,
    fingerprint_parts: Option<Secret>,
    accepted_after: Duration,
    /// The open connection, and the server to try first when there is none.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Taken out while it is in use, so that a delivery that is dropped halfway leaves no connection with half a frame in it.
    link: Option<Link>,
    server: usize,
}

impl Syslog {
    /// Makes a syslog output ready; `client_key` is the private key, if the configuration names one. Sends nothing.
    ///
    /// # Errors
    /// A file of certificates, or the key, that is of no use.
    pub fn new(config: &SyslogConfig, client_key: Option<Secret>) -> Result<Self, HttpError> {
        Ok(Self {
            encoder: Arc::new(Encoder::new(config)),
            connector: Connector::new(config, client_key.as_ref())?,
            limits: if config.transport == Transport::Udp {
                DATAGRAMS
            } else {
                STREAM
            },
            fingerprint_parts: client_key,
            accepted_after: ACCEPTED_AFTER,
            state: Mutex::default(),
        })
    }

    /// What its private key can be told by, under the install id `key`; `None` without one.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<Fingerprint> {
        let secret = self.fingerprint_parts.as_ref()?;
        Some(Fingerprint::of(key, &[secret.expose()]))
    }

    /// An open connection that the server has not closed meanwhile, or a new one.
    async fn link(&self, state: &mut State) -> Result<Link, Failure> {
        if let Some(mut link) = state.link.take()
            && link.is_open().await
        {
            return Ok(link);
        }
        let mut failures: Vec<Failure> = Vec::new();
        for _ in 0..self.connector.servers() {
            match self.connector.connect(state.server).await {
                Ok(link) => return Ok(link),
                Err(failure) => failures.push(failure),
            }
            self.next(state);
        }
        Err(worth_trying_soonest(failures))
    }

    /// Connects to each server in turn, and sends nothing: whether the connection came about and the server kept it.
    pub async fn probe(&self) -> Vec<Result<(), Failure>> {
        let mut probed = Vec::new();
        for number in 0..self.connector.servers() {
            probed.push(match self.connector.connect(number).await {
                Ok(mut link) => link.stays_open(KEPT_AFTER).await,
                Err(failure) => Err(failure),
            });
        }
        probed
    }

    fn next(&self, state: &mut State) {
        state.server = (state.server + 1) % self.connector.servers().max(1);
    }
}

/// Of the failures of all servers, the one that may pass by itself; the others stand in its detail.
fn worth_trying_soonest(mut failures: Vec<Failure>) -> Failure {
    let passes = |failure: &Failure| !failure.code.starts_with("tls");
    let best = failures.iter().position(passes).unwrap_or(0);
    if best >= failures.len() {
        return Failure::new(Origin::Syslog, 0, "connect", "no server");
    }
    let failure = failures.swap_remove(best);
    if failures.is_empty() {
        return failure;
    }
    let others: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let detail = format!("{}; and {}", failure.detail, others.join("; "));
    failure.with_detail(&detail)
}

impl Output for Syslog {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let (encoder, events) = (Arc::clone(&self.encoder), batch.clone());
        let frames = blocking(move || encoder.encode(&events)).await;
        if frames.shortened > 0 {
            tracing::debug!(lane = %batch.lane(), events = frames.shortened, "shortened to max_bytes");
        }
        let mut state = self.state.lock().await;
        let mut link = match self.link(&mut state).await {
            Ok(link) => link,
            Err(failure) => return Delivery::failed(failure),
        };
        match link.send(&frames, self.accepted_after).await {
            Ok(Sent::All) => {
                state.link = Some(link);
                Delivery::accepted(batch.len())
            }
            Ok(Sent::TooLarge(0)) => {
                state.link = Some(link);
                Delivery::rejected(
                    0,
                    "the network takes no datagram of this size: lower max_bytes".to_owned(),
                )
            }
            Ok(Sent::TooLarge(before)) => {
                state.link = Some(link);
                Delivery::accepted(before)
            }
            Err(failure) => {
                self.next(&mut state);
                Delivery::failed(failure)
            }
        }
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests;
