//! Tests that need files or loopback sockets: one binary, a module a subject.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which Clippy's exemption for tests does not reach"
)]

mod architecture;
mod check;
mod config;
mod errors;
mod flawed;
mod log_types;
mod metrics;
mod program;
mod registry;
