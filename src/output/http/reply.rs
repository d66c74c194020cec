//! What a status says of the events that were sent. Pure.
//!
//! | Status | What became of the events |
//! | --- | --- |
//! | 2xx | accepted |
//! | 413 | to be halved; a single event is to be shortened, or else rejected |
//! | 400, 422 (something in the body is not taken) | to be halved, until a single event is rejected |
//! | all else | a failure, nothing accepted |

use reqwest::header::HeaderMap;

use crate::health::failure::printable;
use crate::health::{Failure, Origin};
use crate::http::{retry_after, server_time};
use crate::output::Delivery;
use crate::output::redact::Redactor;

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// Method and place of the request.
    pub(super) endpoint: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    /// The beginning of what it says.
    pub(super) body: &'a [u8],
    /// Knows what was sent with it, not to be repeated from a page that echoes requests.
    pub(super) redactor: &'a Redactor,
}

impl Answer<'_> {
    /// What became of the `sent` events of the request.
    pub(super) fn read(&self, sent: usize) -> Delivery {
        match self.status {
            200..300 => Delivery::accepted(sent),
            400 | 413 | 422 => Delivery::split(self.failure()),
            _ => Delivery::failed(self.failure()),
        }
    }

    /// Whether it speaks of the server that gave it: another may do better.
    pub(super) fn is_of_one_server(&self) -> bool {
        self.status >= 500 || matches!(self.status, 404 | 408)
    }

    fn failure(&self) -> Failure {
        let said = self.redactor.hide(&String::from_utf8_lossy(self.body));
        Failure {
            retry_after: retry_after(self.headers),
            server_time: server_time(self.headers),
            ..Failure::new(Origin::Http, self.status, "", self.endpoint)
        }
        .with_detail(said.trim())
    }
}

/// Why an event was refused, as it is put aside with it.
pub(super) fn reason(failure: &Failure) -> String {
    printable(&format!("{}: {}", failure.key(), failure.detail), 500)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn an_answer_that_repeats_a_part_of_a_secret_header_does_not_show_it() {
        let answer = Answer {
            endpoint: "POST siem.example.com/events",
            status: 403,
            headers: &HeaderMap::new(),
            body: b"the key 0123456789 is not known",
            redactor: &Redactor::new([&Secret::new("ApiKey 0123456789".to_owned())]),
        };
        assert_eq!(answer.failure().detail, "the key [secret] is not known");
    }
}
