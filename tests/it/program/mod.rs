//! The whole program against a simulator: what is promised to operators, proved from outside.

mod alerts;
mod budget;
mod canaries;
#[cfg(feature = "system-tests")]
mod cluster;
mod commands;
mod connect;
mod damaged;
mod delivery;
#[cfg(feature = "system-tests")]
mod full_disk;
pub(crate) mod harness;
mod healing;
mod hec;
mod hec_tls;
mod http;
mod ledger;
mod logs;
mod memory;
mod moving;
mod network;
mod operation;
mod outage;
mod polling;
mod progress;
#[cfg(feature = "full-tests")]
mod refusals;
mod replay;
mod routes;
mod secrets;
#[cfg(feature = "full-tests")]
mod soak;
mod state;
mod support_bundle;
mod syslog;
mod tls;
mod watches;
mod web;
