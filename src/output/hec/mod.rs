//! Splunk's HTTP Event Collector.
//!
//! Three parts that do not know each other: `encode` makes a request body of events, `reply` reads what an answer
//! says of them, and `send` carries one to the server and the other back. `probe` asks whether all of that would work.

mod config;
mod encode;
mod probe;
mod reply;
mod send;

pub use config::HecConfig;
pub use probe::{Probed, probe};
#[cfg(test)]
pub(super) use send::tests::client as test_client;
pub use send::{ConfigError, SplunkHec};
