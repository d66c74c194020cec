//! What people see: the status endpoint, taken up and changed with the configuration, and the memory of the last day that it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Desk;
use super::report::draw_up;
use crate::model::Timestamp;
use crate::status::{History, Report, Whose};
use crate::web::{Prepared, Reporter, Server, WebError};

/// The status endpoint, if the configuration wants one.
#[derive(Debug)]
pub(super) struct Face {
    desk: Desk,
    ready: Arc<AtomicBool>,
    server: Option<Server>,
}

/// Answers the endpoint.
#[derive(Clone, Debug)]
pub(super) struct Window {
    desk: Desk,
    ready: Arc<AtomicBool>,
}

/// What a reload is going to make of the endpoint, with everything done that can fail.
#[derive(Debug)]
pub(super) enum Plan {
    /// There is to be none.
    Close,
    /// It stays where it is, with other secrets and certificates.
    Change(Prepared),
    /// It is another one, which listens already.
    Replace(Server),
}

impl Face {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            ready: Arc::default(),
            server: None,
        }
    }

    /// Says whether the collector collects.
    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Takes the address that `prepared` wants, beside the one that is served.
    pub(super) fn plan(&self, prepared: Option<Prepared>) -> Result<Plan, WebError> {
        Ok(match prepared {
            None => Plan::Close,
            Some(prepared) => match &self.server {
                Some(server) if server.serves(&prepared) => Plan::Change(prepared),
                Some(_) | None => {
                    let window = Window {
                        desk: self.desk.clone(),
                        ready: Arc::clone(&self.ready),
                    };
                    Plan::Replace(Server::start(&prepared, window)?)
                }
            },
        })
    }

    /// Does what was planned, which cannot fail.
    pub(super) async fn apply(&mut self, plan: Plan) {
        match plan {
            Plan::Change(prepared) => {
                if let Some(server) = &self.server {
                    server.change(&prepared);
                }
            }
            Plan::Close => self.stop().await,
            Plan::Replace(server) => {
                self.stop().await;
                self.server = Some(server);
            }
        }
    }

    /// Waits for what does not happen: its end by itself. A panic of it is one here.
    pub(super) async fn ended(&mut self) {
        match &mut self.server {
            Some(server) => server.ended().await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}

impl Reporter for Window {
    async fn report(&self) -> Result<Report, String> {
        self.desk.report().await
    }

    fn history(&self, whose: &Whose) -> Option<History> {
        self.desk.context.status.history(whose)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.desk.context.status.changes()
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Draws up the ledger at once and each minute, takes down each minute as it ends, and dates each change of state as it happens, until `stop`.
pub(super) async fn remember(desk: Desk, stop: CancellationToken) {
    let (status, clock) = (&desk.context.status, &desk.context.clock);
    let mut changes = status.changes();
    // The store closes when the program stops; then there is nothing more to remember.
    if draw_up(&desk.context).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = changes.changed() => status.stamp(clock.now()),
            () = clock.sleep_until(next_minute(clock.now())) => {
                if draw_up(&desk.context).await.is_err() {
                    return;
                }
                let Ok(report) = desk.report().await else { return };
                status.remember(&report);
            }
        }
    }
}

fn next_minute(now: Timestamp) -> Timestamp {
    let minute = i64::try_from(MINUTE.as_millis()).unwrap_or(i64::MAX);
    let passed = now.as_millis().rem_euclid(minute);
    now + MINUTE - Duration::from_millis(u64::try_from(passed).unwrap_or(0))
}
