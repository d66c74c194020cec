//! An answer that was a failure, as those want to see it who are asked for help.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::redact::Redactor;
use crate::secret::Secret;

/// 4 KiB of a body: more than any explanation that was seen has.
const BODY: usize = 4 << 10;
/// Bytes of a header's value.
const HEADER: usize = 200;

/// Headers that say something of the failure and nothing of anybody.
const HEADERS: [&str; 14] = [
    "content-length",
    "content-type",
    "date",
    "retry-after",
    "server",
    "via",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-mc-req-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
    "x-splunk-request-channel",
];

/// What an answer said, without secrets and without what is about a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The status of HTTP.
    pub status: u16,
    /// Headers of an allow-list, by their names in lower case.
    pub headers: BTreeMap<&'static str, String>,
    /// What is left of the body; at most 4 KiB.
    pub body: String,
}

impl Answered {
    /// Takes out all that must not be kept; `header` gives a header's text, `secrets` is what was sent with the request.
    #[must_use]
    pub fn redacted<'a>(
        status: u16,
        header: impl Fn(&'static str) -> Option<String>,
        body: &[u8],
        secrets: impl IntoIterator<Item = &'a Secret>,
    ) -> Box<Self> {
        let redactor = Redactor::new(secrets);
        let shown = |text: String| super::failure::printable(&redactor.text(&text), HEADER);
        let headers = HEADERS
            .into_iter()
            .filter_map(|name| Some((name, shown(header(name)?))));
        Box::new(Self {
            status,
            headers: headers.collect(),
            body: redactor.body(body, BODY),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_shown_by_a_list_and_bodies_within_bounds() {
        let token = Secret::new("hunter2-hunter2".to_owned());
        let header = |name: &'static str| match name {
            "x-mc-req-id" => Some("5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11".to_owned()),
            "server" => Some("echo hunter2-hunter2".to_owned()),
            _ => None,
        };
        let body = "hunter2-hunter2 ".repeat(4096);
        let answer = Answered::redacted(500, header, body.as_bytes(), [&token]);
        assert_eq!(answer.headers.len(), 2);
        assert_eq!(answer.headers["server"], "echo [secret]");
        assert!(!answer.body.contains("hunter2"), "{}", answer.body);
        assert!(answer.body.len() < BODY + 16);
    }
}
