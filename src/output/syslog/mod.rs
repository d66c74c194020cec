//! Syslog over TLS, TCP, UDP or a Unix socket, as RFC 5424 or RFC 3164.
//!
//! Syslog has no answer, so nothing here proves that a receiver has stored an event. What can be known is used: on a stream, the events of a
//! batch count as accepted 5 s after their bytes were written, if the receiver's system has acknowledged them and the receiver has neither
//! closed nor reset the connection by then. If it has, or this program dies, all that was written in that time goes out again with the same ids. A datagram counts once the
//! system took it.
//!
//! Meanwhile the next batches go out: `deliver` holds the half of a connection that is written to, `confirmations` the half that tells of its
//! end, and `unconfirmed` knows what lies between them.
//!
//! Several servers stand in for one another: a connection that cannot be made, or breaks, is made to the next in turn.

mod config;
mod connect;
mod frame;
mod link;
mod queue;
mod unconfirmed;

pub use config::{Framing, Rfc, SyslogConfig, Transport};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::batch::{Batch, BatchLimits};
use super::batching::Then;
use super::{Delivery, Judge, Output, Receipt, Rejection, Verdict, Window, blocking};
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::HttpError;
use crate::model::Timestamp;
use crate::secret::{Fingerprint, Secret};
use connect::{Connector, failure};
use frame::{Encoder, Frames};
use link::{Link, Reader, Sent, Watch, stalled};
use queue::Ends;
use unconfirmed::{Number, Unconfirmed};

/// From the last byte of a batch to its acceptance. A receiver that is gone answers with a reset within a round trip, one
/// that stops in order closes the connection before.
const ACCEPTED_AFTER: Duration = Duration::from_secs(5);

/// Long enough to learn of what the system knows of a connection already.
const GLANCE: Duration = Duration::from_millis(5);

/// From one look at what a receiver's system has not acknowledged to the next, in real time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks at which nothing has moved: about as long as a write may take.
const STANDS_STILL: u32 = 30;

/// A server that does not want a connection closes it within a few round trips.
const KEPT_AFTER: Duration = Duration::from_secs(1);

/// Enough that one batch is encoded while another is written, and few to hold in memory.
const AT_ONCE: usize = 3;

/// Large enough to cost little for each event, and soon written.
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
    oversized: Then,
    fingerprint_parts: Option<Secret>,
    /// Held while a batch is written: batches go out one after another.
    writer: tokio::sync::Mutex<Writer>,
    /// Never held for longer than it takes to look something up.
    book: Mutex<Book>,
    /// Something was written, or a connection was made or given up.
    changed: Notify,
    /// Held by the one call of `confirmations`.
    watch: tokio::sync::Mutex<Option<Watch>>,
}

/// The open connection, and the server to try first when there is none.
#[derive(Debug, Default)]
struct Writer {
    /// Taken out while it is in use, so that a delivery that is dropped halfway leaves no connection with half a frame in it.
    link: Option<Link>,
    server: usize,
}

/// What the two sides tell each other.
#[derive(Debug, Default)]
struct Book {
    unconfirmed: Unconfirmed,
    /// Of a new connection, to be watched from now on in place of the former one.
    watch: Option<Watch>,
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
            oversized: config.oversized,
            fingerprint_parts: client_key,
            writer: tokio::sync::Mutex::default(),
            book: Mutex::default(),
            changed: Notify::new(),
            watch: tokio::sync::Mutex::default(),
        })
    }

    /// What its private key can be told by, under the install id `key`; `None` without one.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<Fingerprint> {
        let secret = self.fingerprint_parts.as_ref()?;
        Some(Fingerprint::of(key, &[secret.expose()]))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to the first server in turn that can be reached.
    async fn connect(&self, writer: &mut Writer) -> Result<Link, Failure> {
        let mut failures: Vec<Failure> = Vec::new();
        for _ in 0..self.connector.servers() {
            match self.connector.connect(writer.server).await {
                Ok((mut link, stream)) => {
                    let mut book = self.book();
                    link.number = book.unconfirmed.connected(&given_up(&link.server));
                    book.watch = stream.map(|stream| Watch::new(&link, stream));
                    self.changed.notify_one();
                    return Ok(link);
                }
                Err(failure) => failures.push(failure),
            }
            self.next(writer);
        }
        Err(worth_trying_soonest(failures))
    }

    /// Connects to each server in turn, and sends nothing: whether the connection came about and the server kept it.
    pub async fn probe(&self) -> Vec<Result<(), Failure>> {
        let mut probed = Vec::new();
        for place in 0..self.connector.servers() {
            probed.push(match self.connector.connect(place).await {
                Ok((link, stream)) => stays_open(&link, stream).await,
                Err(failure) => Err(failure),
            });
        }
        probed
    }

    fn next(&self, writer: &mut Writer) {
        writer.server = (writer.server + 1) % self.connector.servers().max(1);
    }

    /// The open connection, if there is one; and whether the batch keeps its lane in order.
    fn take_link(&self, writer: &mut Writer, batch: &Batch) -> (Option<Link>, bool) {
        let link = writer.link.take();
        let mut book = self.book();
        let unconfirmed = &mut book.unconfirmed;
        let (link, closed) = match link {
            Some(link) if unconfirmed.broken().is_none() => (Some(link), None),
            // A delivery has been dropped halfway, or nothing was ever sent.
            None => {
                unconfirmed.give_up(&given_up(""));
                self.changed.notify_one();
                (None, None)
            }
            Some(link) => (None, Some(link)),
        };
        if closed.is_some() && unconfirmed.has_lost() {
            self.next(writer);
        }
        let first = batch.records().first();
        let may_go = first.is_none_or(|first| unconfirmed.may_go(batch.lane(), first.id));
        (link, may_go)
    }

    /// Writes a batch to the connection, or to a new one.
    async fn write(&self, batch: &Batch, frames: &Frames) -> Result<Delivery, Failure> {
        let mut writer = self.writer.lock().await;
        let (link, may_go) = self.take_link(&mut writer, batch);
        if !may_go {
            writer.link = link;
            return Err(failure(
                "reset",
                batch.lane().as_str(),
                "events before these were lost with their connection, and go first",
            ));
        }
        let mut link = match link {
            Some(link) => link,
            None => self.connect(&mut writer).await?,
        };
        let sent = link.send(frames).await;
        let delivery = match sent {
            Ok(Sent::Written) => Ok(self.written(&link, batch, frames.bytes.len())),
            Ok(Sent::Gone) => Ok(Delivery::accepted(batch.len())),
            Ok(Sent::TooLarge(0)) => Ok(Delivery::rejected(
                0,
                "the network takes no datagram of this size: lower max_bytes".to_owned(),
            )),
            Ok(Sent::TooLarge(before)) => Ok(Delivery::accepted(before)),
            Err(failure) => Err(failure),
        };
        match &delivery {
            Ok(_) => writer.link = Some(link),
            Err(failure) => {
                self.book().unconfirmed.broke(link.number, failure);
                self.next(&mut writer);
            }
        }
        self.changed.notify_one();
        delivery
    }

    fn written(&self, link: &Link, batch: &Batch, bytes: usize) -> Delivery {
        let Some(first) = batch.records().first() else {
            return Delivery::accepted(0);
        };
        let unconfirmed = &mut self.book().unconfirmed;
        match unconfirmed.wrote(link.number, batch.lane(), first.id, bytes as u64) {
            Some(receipt) => Delivery::pending(batch.len(), receipt),
            // While the last bytes were written.
            None => {
                let broken = unconfirmed.broken().cloned();
                Delivery::failed(broken.unwrap_or_else(|| given_up(&link.server)))
            }
        }
    }
}

/// Waits whether the server closes the connection, as one does that wants another certificate of ours: over TLS 1.3 it says so only
/// after the handshake.
async fn stays_open(link: &Link, stream: Option<Reader>) -> Result<(), Failure> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let mut watch = Watch::new(link, stream);
    match timeout(KEPT_AFTER, watch.closed()).await {
        Ok(failure) => Err(failure),
        Err(_) => Ok(()),
    }
}

fn given_up(server: &str) -> Failure {
    failure("reset", server, "the connection was given up")
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
        let shortened = &frames.shortened;
        match self.oversized {
            Then::Quarantine if !shortened.is_empty() => {
                let withheld = shortened.iter().map(|index| Rejection {
                    index: *index,
                    reason: "its message would be longer than max_bytes".to_owned(),
                    judge: Judge::Collector,
                });
                return Delivery::withheld(withheld.collect());
            }
            Then::Truncate if !shortened.is_empty() => {
                tracing::debug!(lane = %batch.lane(), events = shortened.len(), "shortened to max_bytes");
            }
            Then::Truncate | Then::Quarantine => {}
        }
        self.write(batch, &frames)
            .await
            .unwrap_or_else(Delivery::failed)
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }

    fn window(&self) -> Window {
        Window {
            all: AT_ONCE,
            ..Window::default()
        }
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        self.book().unconfirmed.told();
        let mut watch = self.watch.lock().await;
        let mut is_stuck = false;
        loop {
            let next = {
                let mut book = self.book();
                if let Some(new) = book.watch.take() {
                    *watch = Some(new);
                }
                let lost = book.unconfirmed.lost();
                if !lost.is_empty() {
                    return lost;
                }
                book.unconfirmed.next(clock.now(), ACCEPTED_AFTER)
            };
            let is_due = next.is_some_and(|at| at <= clock.now());
            tokio::select! {
                biased;
                (number, failure) = closed(&mut watch) => {
                    self.book().unconfirmed.broke(number, &failure);
                    continue;
                }
                () = self.changed.notified() => continue,
                () = sleep(LOOK_AGAIN), if is_stuck && is_due => {}
                () = reached(clock, next), if !(is_stuck && is_due) => {}
            }
            // A process that did not run for a while may hear of the time before it hears of a reset.
            if let Ok((number, failure)) = timeout(GLANCE, closed(&mut watch)).await {
                self.book().unconfirmed.broke(number, &failure);
                continue;
            }
            // Asked first, so that what is written meanwhile only makes for waiting.
            let written = self.book().unconfirmed.written();
            let unacknowledged = unacknowledged(watch.as_ref().and_then(|watch| watch.ends)).await;
            let unconfirmed = &mut self.book().unconfirmed;
            let accepted = unconfirmed.accepted(clock.now(), written, unacknowledged);
            if !accepted.is_empty() {
                return accepted;
            }
            is_stuck = unacknowledged > 0;
            if is_stuck
                && unconfirmed.stands_still(unacknowledged, STANDS_STILL)
                && let Some(open) = &*watch
            {
                unconfirmed.broke(open.number, &stalled(&open.server));
            }
        }
    }
}

/// Bytes that the receiver's system has not acknowledged; none where that cannot be known.
async fn unacknowledged(ends: Option<Ends>) -> u64 {
    match ends {
        Some(ends) => blocking(move || ends.unacknowledged()).await.unwrap_or(0),
        None => 0,
    }
}

/// Waits for the end of the watched connection, and then watches none; for ever if none is watched.
async fn closed(watch: &mut Option<Watch>) -> (Number, Failure) {
    let Some(open) = watch.as_mut() else {
        return std::future::pending().await;
    };
    let (number, failure) = (open.number, open.closed().await);
    *watch = None;
    (number, failure)
}

async fn reached(clock: &Clock, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The bytes of a batch as they go out.
#[cfg(any(test, fuzzing, feature = "benches"))]
pub(super) fn frames(config: &SyslogConfig, batch: &Batch) -> Vec<u8> {
    Encoder::new(config).encode(batch).bytes
}

#[cfg(test)]
mod tests;
