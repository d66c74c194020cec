//! What an answer to a message says. Pure.
//!
//! | Answer | What became of the alerts |
//! | --- | --- |
//! | 2xx, unless it is a page or lacks what `expect` names | told |
//! | 413 | to be halved; a single one is rejected |
//! | all else | a failure, nothing told |

use reqwest::header::HeaderMap;

use crate::health::failure::printable;
use crate::health::{Failure, Origin};
use crate::http::{retry_after, server_time};
use crate::output::Delivery;
use crate::output::redact::Redactor;

/// An answer.
pub(super) struct Answer<'a> {
    /// Method and place of the request.
    pub(super) endpoint: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a str,
    /// What a success must contain.
    pub(super) expect: Option<&'a str>,
    pub(super) redactor: &'a Redactor,
}

impl Answer<'_> {
    /// What became of the `sent` alerts of the message.
    pub(super) fn read(&self, sent: usize) -> Delivery {
        match self.status {
            200..=299 if self.is_page() => Delivery::failed(self.failure("page")),
            200..=299 if !self.is_expected() => Delivery::failed(self.failure("unexpected")),
            200..=299 => Delivery::accepted(sent),
            413 if sent == 1 => {
                let failure = self.failure("");
                let reason = format!("{}: {}", failure.key(), failure.detail);
                Delivery::rejected(0, printable(&reason, 500))
            }
            413 => Delivery::split(self.failure("")),
            _ => Delivery::failed(self.failure("")),
        }
    }

    /// A page of a proxy, or one to log on at, is no answer of the receiver.
    fn is_page(&self) -> bool {
        self.body.trim_start().starts_with('<')
    }

    fn is_expected(&self) -> bool {
        self.expect
            .is_none_or(|expected| self.body.contains(expected))
    }

    fn failure(&self, code: &str) -> Failure {
        Failure {
            retry_after: retry_after(self.headers),
            server_time: server_time(self.headers),
            ..Failure::new(Origin::Webhook, self.status, code, self.endpoint)
        }
        .with_detail(&self.redactor.hide(self.body.trim()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::RETRY_AFTER;

    use super::*;
    use crate::secret::Secret;

    fn read(status: u16, body: &str, expect: Option<&str>, sent: usize) -> Delivery {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "30".parse().unwrap())]);
        Answer {
            endpoint: "POST hooks.example:443",
            status,
            headers: &headers,
            body,
            expect,
            redactor: &Redactor::new([&Secret::new("hunter2".to_owned())]),
        }
        .read(sent)
    }

    #[test]
    fn only_a_success_of_the_receivers_own_counts() {
        for (status, body, expect) in [
            (200, "ok", None),
            (202, "", None),
            (204, "", None),
            (202, r#"{"status":"success"}"#, Some("success")),
        ] {
            assert_eq!(
                read(status, body, expect, 3),
                Delivery::accepted(3),
                "{status} {body}"
            );
        }
        for (status, body, expect, key) in [
            (200, "\n<html>Log on</html>", None, "webhook/page"),
            (200, "queued", Some("ok"), "webhook/unexpected"),
            (302, "", None, "webhook/http-302"),
            (400, "invalid_payload", None, "webhook/http-400"),
            (404, "no_service", None, "webhook/http-404"),
            (429, "", None, "webhook/http-429"),
            (503, "", None, "webhook/http-503"),
        ] {
            let delivery = read(status, body, expect, 3);
            assert_eq!(delivery.accepted, 0);
            let failure = delivery.failure.unwrap();
            assert_eq!(failure.key(), key);
            assert_eq!(failure.retry_after, Some(Duration::from_secs(30)));
        }
    }

    #[test]
    fn what_is_too_large_is_halved_and_at_last_put_aside() {
        assert!(read(413, "", None, 2).split);
        assert_eq!(read(413, "", None, 1).rejected.len(), 1);
    }

    #[test]
    fn an_answer_that_repeats_a_secret_loses_it() {
        let failure = read(400, "bad key hunter2", None, 1).failure.unwrap();
        assert_eq!(failure.detail, "bad key [secret]");
    }
}
