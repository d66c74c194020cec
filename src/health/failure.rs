//! A failure, named by the one who met it; what to do about it is the catalogue's business.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Answered;
use crate::model::Timestamp;

/// Who answered, or did not. Its text form is stored with a state's cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A log endpoint of Mimecast, API 1.0 or 2.0.
    Mimecast,
    /// The token endpoint of API 2.0.
    Token,
    /// The object store that serves batch files by signed links.
    ObjectStore,
    /// Splunk's HTTP Event Collector.
    Hec,
    /// Another receiver over HTTP. The status says all.
    Http,
    /// The receiver of messages about alerts.
    Webhook,
    /// A syslog receiver, or the way to it. The code says what stood in it.
    Syslog,
    /// The network below: names, connections, TLS, time-outs, broken bodies. The code says which.
    Transport,
    /// A local target: a file, a program, standard output.
    Local,
    /// The collector itself, of what it watches besides its requests.
    Watch,
}

impl Origin {
    /// Whether it is Mimecast's.
    #[must_use]
    pub const fn is_mimecast(self) -> bool {
        match self {
            Self::Mimecast | Self::Token | Self::ObjectStore => true,
            Self::Hec
            | Self::Http
            | Self::Webhook
            | Self::Syslog
            | Self::Transport
            | Self::Local
            | Self::Watch => false,
        }
    }

    /// The word for it in logs and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mimecast => "mimecast",
            Self::Token => "token",
            Self::ObjectStore => "object-store",
            Self::Hec => "hec",
            Self::Http => "http",
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
            Self::Transport => "transport",
            Self::Local => "local",
            Self::Watch => "watch",
        }
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who answered.
    pub origin: Origin,
    /// The HTTP status, or `meta.status` where an envelope says so; 0 without an answer.
    pub status: u16,
    /// The vendor's sub-code (`0010`), else its code (`token_expired`), or a word of [`Origin::Transport`]:
    /// `dns`, `connect`, `proxy`, `tls`, `timeout`, `reset`, `body`, `too_large`; empty if there is none.
    pub code: String,
    /// What the server said about when to come back, already read as a duration.
    pub retry_after: Option<Duration>,
    /// The id by which the vendor's support finds the request.
    pub request_id: Option<String>,
    /// Method and path, or host and port; never a query string or a secret.
    pub endpoint: String,
    /// The answer's `Date`.
    pub server_time: Option<Timestamp>,
    /// What the answer said, for people: at most 500 bytes, without secrets and control characters.
    pub detail: String,
    /// The answer itself, redacted, if there was one.
    pub answer: Option<Box<Answered>>,
}

impl Failure {
    /// A failure with nothing but its key and the place it happened.
    #[must_use]
    pub fn new(origin: Origin, status: u16, code: &str, endpoint: &str) -> Self {
        Self {
            origin,
            status,
            code: code.to_owned(),
            retry_after: None,
            request_id: None,
            endpoint: endpoint.to_owned(),
            server_time: None,
            detail: String::new(),
            answer: None,
        }
    }

    /// Adds what the answer said, cut to 500 bytes, control characters made visible.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = printable(detail, 500);
        self
    }

    /// The key as people write it: `401/0010`, `418/0001`, `transport/timeout`, `hec/4`.
    #[must_use]
    pub fn key(&self) -> String {
        key(self.origin, self.status, &self.code)
    }
}

/// A failure's key as people write it.
#[must_use]
pub fn key(origin: Origin, status: u16, code: &str) -> String {
    match (origin, status, code) {
        (Origin::Syslog | Origin::Transport | Origin::Local | Origin::Watch, _, code) => {
            format!("{}/{code}", origin.as_str())
        }
        (Origin::Http, status, _) => format!("http/{status}"),
        (Origin::Hec | Origin::Webhook, status, "") => format!("{}/http-{status}", origin.as_str()),
        (Origin::Hec | Origin::Webhook, _, code) => format!("{}/{code}", origin.as_str()),
        (_, status, "") => status.to_string(),
        (_, status, code) => format!("{status}/{code}"),
    }
}

/// The text with control characters written as escapes, cut at a character's end to `limit` bytes.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let before = shown.len();
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        if shown.len() > limit {
            shown.truncate(before);
            shown.push('…');
            break;
        }
    }
    shown
}

/// One line: key, endpoint, detail, request id.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.key(), self.endpoint)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_cannot_forge_a_log_line() {
        let failure =
            Failure::new(Origin::Mimecast, 401, "0010", "POST /x").with_detail("a\nb\u{1b}[31m");
        assert_eq!(
            failure.to_string(),
            r"401/0010 from POST /x: a\nb\u{1b}[31m"
        );
        assert!(printable(&"é".repeat(600), 500).len() <= 500 + '…'.len_utf8());
    }
}
