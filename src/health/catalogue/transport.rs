//! What can go wrong below HTTP, to Mimecast and to outputs alike.

use super::Class::Transient;
use super::Impact::High;
use super::Row;
use super::Scope::{self, Credential, Stream};
use super::Status::Any;
use crate::health::Origin;

pub(super) const fn row(code: &'static str, title: &'static str, scope: Scope) -> Row {
    Row::new(Origin::Transport, Any, code, title, Transient, scope)
        .source("this collector's own words for what its connections report")
}

pub(super) static ROWS: &[Row] = &[
    row("dns", "Host name not found", Credential)
        .impact(High)
        .advice("Check the host name in the configuration and this machine's DNS servers."),
    row("connect", "No connection", Credential)
        .impact(High)
        .advice("Check that firewalls let this machine reach the host and port (443 for Mimecast), or set a proxy."),
    row("proxy", "The proxy refuses or fails", Credential)
        .impact(High)
        .advice("Check the proxy's URL, user and password, and that it lets this machine reach the host."),
    row("tls_name", "The server's certificate is for another host", Credential)
        .impact(High)
        .advice("Check the host name in the configuration: it must be one that the certificate names. If it is, something on the way answers in the server's place."),
    row("tls_expired", "The server's certificate is not valid at this time", Credential)
        .impact(High)
        .advice("Set this machine's clock if it is wrong; else have the server's certificate renewed."),
    row("tls_authority", "No trusted authority has signed the server's certificate", Credential)
        .impact(High)
        .advice("Install the system's CA certificates. If a proxy inspects TLS, or the server has an authority of its own, name its PEM file as ca_file."),
    row("tls_version", "The server speaks no TLS that is safe", Credential)
        .impact(High)
        .advice("Have the server, or the proxy before it, speak TLS 1.2 or 1.3: older versions are not used."),
    row("tls_refused", "The server refuses TLS with this client", Credential)
        .impact(High)
        .advice("Check client_cert and client_key: the server may demand a certificate, or one of another authority. Its own log says why."),
    row("tls", "TLS not agreed on", Credential)
        .impact(High)
        .advice("Check that the port of the URL speaks TLS 1.2 or 1.3, and look at the message."),
    row("timeout", "No answer in time", Stream)
        .advice("Nothing, if it passes. If it stays, check the way to the host, and the load of a receiver."),
    row("reset", "Connection closed in the middle", Stream)
        .advice("Nothing, if it passes. If it stays, look for a proxy or firewall that cuts long answers."),
    row("body", "Answer not readable", Stream)
        .support()
        .advice("Nothing, if it passes. If it stays, check whether a proxy answers with a page of its own."),
    row("too_large", "Answer over the limit", Stream)
        .support()
        .advice("Nothing, if it passes. If it stays, check whether the URL leads to what it should."),
];
