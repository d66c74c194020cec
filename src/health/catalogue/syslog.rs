//! What stands between this machine and a syslog receiver, which itself answers nothing.

use std::time::Duration;

use super::Class::{RequestInvalid, Transient};
use super::Impact::High;
use super::Level;
use super::Row;
use super::Scope::Output;
use super::Status::Any;
use crate::health::Origin;

const fn row(code: &'static str, title: &'static str) -> Row {
    Row::new(Origin::Syslog, Any, code, title, Transient, Output)
        .source("this collector's own words for what its connections report")
        .impact(High)
}

/// A person must change something, there or here.
const fn wrong(code: &'static str, title: &'static str) -> Row {
    Row::new(Origin::Syslog, Any, code, title, RequestInvalid, Output)
        .source("this collector's own words for what the TLS library reports")
        .impact(High)
        .level(Level::Error)
        .recheck(Duration::from_mins(15))
}

pub(super) static ROWS: &[Row] = &[
    row("dns", "Host name not found")
        .advice("Check the host name in address and this machine's DNS servers."),
    row("connect", "No connection")
        .advice("Check that the receiver runs and listens on this port and protocol, and that firewalls let this machine reach it. For a Unix socket, check path and permissions."),
    row("timeout", "No connection in time")
        .advice("Nothing, if it passes. If it stays, look for a firewall that drops connections to this port, and at the load of the receiver."),
    row("reset", "The receiver closed the connection")
        .advice("Nothing, if it passes: what was not yet accepted goes out again. If it stays, check that the port speaks the configured transport, and that framing and max_bytes suit the receiver."),
    row("stalled", "The receiver takes nothing")
        .advice("Look at the receiver: its queue or disk may be full. The events wait on disk here."),
    wrong("tls_name", "The receiver's certificate is for another host")
        .advice("Write the host name of the certificate in address, or give the receiver a certificate for the name that stands there."),
    wrong("tls_expired", "The receiver's certificate is not valid at this time")
        .advice("Renew the receiver's certificate, or set this machine's clock."),
    wrong("tls_authority", "No trusted authority has signed the receiver's certificate")
        .advice("Name the PEM file of the authority that signed it as ca_file."),
    wrong("tls_version", "The receiver speaks no TLS that is safe")
        .advice("Have the receiver speak TLS 1.2 or 1.3: older versions are not used."),
    wrong("tls_refused", "The receiver refuses TLS with this client")
        .advice("Check client_cert and client_key: the receiver may demand a certificate, or one of another authority. Its own log says why."),
    row("tls", "TLS not agreed on")
        .level(Level::Error)
        .advice("Check that the port of address speaks TLS 1.2 or 1.3, and look at the message."),
    row("", "Any other error").advice("Look at the message."),
];
