//! Splunk's HTTP Event Collector.
//!
//! Parts that do not know each other: `encode` makes a request body of events, shown under what `label` and `preset` say, `reply` reads
//! what an answer says of them, `ack` keeps what no indexer has confirmed yet, `servers` knows which server is used; and `send` carries
//! requests there and answers back. `probe` asks whether all of that would work.

mod ack;
#[cfg(test)]
mod addon;
#[cfg(feature = "benches")]
pub(super) mod bench;
mod config;
mod encode;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod label;
mod preset;
mod probe;
mod reply;
mod send;
mod servers;

pub use ack::AckMode;
pub(super) use config::gzip_level;
pub use config::{HecConfig, Labels};
pub use label::Label;
pub use preset::Preset;
pub use probe::{Probed, probe};
#[cfg(test)]
pub(super) use send::tests::client as test_client;
pub use send::{ConfigError, SplunkHec};
