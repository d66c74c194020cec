//! The status endpoint: a page for people, JSON for programs, metrics for monitoring, over HTTP.
//!
//! ```text
//!  /                  the page; it asks for /api/v1/status and /api/v1/history, and is told when by /api/v1/events
//!  /api/v1/status     the report, as `status --json` prints it, whole or a part of its integrations
//!  /api/v1/history    the last 24 hours, of all or of one integration or output
//!  /api/v1/events     server-sent events: something has changed
//!  /metrics           OpenMetrics, or Prometheus's older text
//!  /healthz /readyz   whether the process answers, and whether it collects
//! ```
//!
//! It reads and changes nothing: there is no request by which a page, or who tricks a browser, could do harm. What it can cost is
//! bounded: connections, headers, times. Off loopback it does not listen without authentication. Where the answers come from is its
//! [`Reporter`]'s business.

mod answer;
mod config;
mod events;
mod guard;
pub mod metrics;
mod page;
mod prepare;
mod query;
mod server;

use std::future::Future;

pub use config::WebConfig;
pub use prepare::{Prepared, WebError, prepare};
pub use server::Server;
use tokio::sync::watch;

use crate::status::{History, Report, Whose};

/// Where the answers come from: the seam between HTTP and the program.
pub trait Reporter: Clone + Send + Sync + 'static {
    /// Everything as it stands, or in words for people why that cannot be told.
    fn report(&self) -> impl Future<Output = Result<Report, String>> + Send;

    /// The last 24 hours; `None` if nothing is known of it.
    fn history(&self, whose: &Whose) -> Option<History>;

    /// Tells of each change of state from now on.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Whether the configuration is taken up and nobody has asked to stop.
    fn is_ready(&self) -> bool;
}
