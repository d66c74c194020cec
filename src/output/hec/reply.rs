//! What an answer says of the events that were sent. Pure.
//!
//! Codes and their meaning are those of Splunk's "Troubleshoot HTTP Event Collector" (read in November 2026):
//!
//! | Answer | What became of the events |
//! | --- | --- |
//! | 200 with code 0 | accepted |
//! | 200 with code 24, 25 | accepted, though a queue nears its end: never sent again |
//! | 6, 12, 13, 15 (an event cannot be read) | the one it names is rejected; all others are to be sent again |
//! | 9 (busy), naming an event | those surely before it accepted, then a failure |
//! | 413, from HEC (no JSON) or a proxy | to be halved; a single event is to be shortened, or else rejected |
//! | all else: other codes, pages of proxies, a success that cannot be read | a failure, nothing accepted |
//!
//! `invalid-event-number` counts from 0 in codes 6, 12, 13 and 15 (a single bad event is number 0). For code 9 it is
//! published nowhere, and code 7 counts from 1; read as counting from 1, one event may be sent twice and none is lost.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;

use crate::health::failure::printable;
use crate::health::{Answered, Failure, Origin};
use crate::http::{retry_after, server_time};
use crate::output::Delivery;
use crate::secret::Secret;

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// Method and place of the request.
    pub(super) endpoint: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// What was sent with it, not to be repeated from a page that echoes requests.
    pub(super) token: &'a Secret,
}

/// The body of HEC's own answers.
#[derive(Debug, Deserialize)]
struct Hec {
    code: u16,
    #[serde(default)]
    text: String,
    #[serde(rename = "invalid-event-number")]
    event: Option<usize>,
    /// The number that an indexer's acknowledgement is asked by.
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

impl Answer<'_> {
    /// What became of the `sent` events of the request.
    pub(super) fn read(&self, sent: usize) -> Delivery {
        let hec = self.hec();
        let failure = self.failure(hec.as_ref());
        if self.status == 413 {
            return Delivery::split(failure);
        }
        let Some(hec) = hec else {
            return Delivery::failed(failure);
        };
        match hec.code {
            0 | 24 | 25 if self.status == 200 => Delivery::accepted(sent),
            6 | 12 | 13 | 15 => blame(hec.event, sent, failure),
            9 => {
                let stopped_at = hec.event.filter(|number| *number <= sent).unwrap_or(0);
                Delivery::cut_short(stopped_at.saturating_sub(1), failure)
            }
            _ => Delivery::failed(failure),
        }
    }

    /// The number to ask the acknowledgement by, if the token has that.
    pub(super) fn ack_id(&self) -> Option<u64> {
        self.hec()?.ack_id
    }

    /// Whether the events were accepted with the remark that a queue nears its end.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.hec().is_some_and(|hec| matches!(hec.code, 24 | 25))
    }

    /// The answer as a failure, of a request that carried no events.
    pub(super) fn failed(&self) -> Failure {
        self.failure(self.hec().as_ref())
    }

    fn hec(&self) -> Option<Hec> {
        // serde reads an array as an object, its elements as members.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(self.body).ok()
    }

    fn failure(&self, hec: Option<&Hec>) -> Failure {
        let code = match hec {
            _ if self.status == 413 => "413".to_owned(),
            // A code of success under another status is no answer: the status alone is to be believed.
            Some(Hec {
                code: 0 | 24 | 25, ..
            })
            | None => String::new(),
            Some(hec) => hec.code.to_string(),
        };
        let said = match hec {
            Some(hec) => hec.text.clone(),
            None => format!(
                "not an answer of HEC ({}): {}",
                self.content_type().unwrap_or("no content type"),
                String::from_utf8_lossy(self.body).trim()
            ),
        };
        let header = |name: &'static str| {
            let value = self.headers.get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        Failure {
            answer: Some(Answered::redacted(
                self.status,
                header,
                self.body,
                [self.token],
            )),
            retry_after: retry_after(self.headers),
            server_time: server_time(self.headers),
            ..Failure::new(Origin::Hec, self.status, &code, self.endpoint)
        }
        .with_detail(&said.replace(self.token.expose(), "[secret]"))
    }

    fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }
}

/// Rejects the event that must be at fault, or asks for halves when no one can tell which it is.
fn blame(event: Option<usize>, sent: usize, failure: Failure) -> Delivery {
    let event = if sent == 1 { Some(0) } else { event };
    match event.filter(|index| *index < sent) {
        Some(index) => Delivery::rejected(index, reason(&failure)),
        None => Delivery::split(failure),
    }
}

/// Why an event was refused, as it is put aside with it.
pub(super) fn reason(failure: &Failure) -> String {
    printable(&format!("{}: {}", failure.key(), failure.detail), 500)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{DATE, HeaderName, RETRY_AFTER};

    use super::*;

    fn read(status: u16, headers: &[(HeaderName, &str)], body: &str, sent: usize) -> Delivery {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        Answer {
            endpoint: "POST splunk.example:8088/services/collector/event",
            status,
            headers: &headers,
            body: body.as_bytes(),
            token: &Secret::new("hunter2".to_owned()),
        }
        .read(sent)
    }

    fn hec(status: u16, body: &str, sent: usize) -> Delivery {
        read(status, &[(CONTENT_TYPE, "application/json")], body, sent)
    }

    /// The outcome in short: `ok`, `fails <key>`, `rejects <index>`, `halves <key>`; `k then …` after k accepted.
    fn outcome(delivery: &Delivery) -> String {
        match (&delivery.failure, delivery.rejected.as_slice()) {
            (None, []) => format!("ok {}", delivery.accepted),
            (None, [one]) => format!("{} then rejects {}", delivery.accepted, one.index),
            (Some(f), []) if delivery.split => {
                format!("{} then halves {}", delivery.accepted, f.key())
            }
            (Some(f), []) => format!("{} then fails {}", delivery.accepted, f.key()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_code_of_hec_has_its_meaning() {
        let table = [
            (200, 0, "ok 5"),
            (403, 1, "0 then fails hec/1"),
            (401, 2, "0 then fails hec/2"),
            (401, 3, "0 then fails hec/3"),
            (403, 4, "0 then fails hec/4"),
            (400, 5, "0 then fails hec/5"),
            (400, 6, "0 then rejects 3"),
            (400, 7, "0 then fails hec/7"),
            (500, 8, "0 then fails hec/8"),
            (503, 9, "2 then fails hec/9"),
            (400, 10, "0 then fails hec/10"),
            (400, 11, "0 then fails hec/11"),
            (400, 12, "0 then rejects 3"),
            (400, 13, "0 then rejects 3"),
            (400, 14, "0 then fails hec/14"),
            (400, 15, "0 then rejects 3"),
            (400, 16, "0 then fails hec/16"),
            (200, 17, "0 then fails hec/17"),
            (503, 18, "0 then fails hec/18"),
            (503, 19, "0 then fails hec/19"),
            (503, 20, "0 then fails hec/20"),
            (400, 21, "0 then fails hec/21"),
            (400, 22, "0 then fails hec/22"),
            (503, 23, "0 then fails hec/23"),
            (200, 24, "ok 5"),
            (200, 25, "ok 5"),
            (429, 26, "0 then fails hec/26"),
            (429, 27, "0 then fails hec/27"),
            (400, 99, "0 then fails hec/99"),
        ];
        for (status, code, expected) in table {
            let body = format!(r#"{{"text":"T","code":{code},"invalid-event-number":3}}"#);
            assert_eq!(outcome(&hec(status, &body, 5)), expected, "code {code}");
        }
    }

    #[test]
    fn a_success_that_cannot_be_read_is_a_failure() {
        for (status, body) in [
            (200, "<html>Welcome to the proxy</html>"),
            (200, ""),
            (200, "{}"),
            (200, r#"{"text":"Success"}"#),
            (200, r#"{"text":"Success","code":"0"}"#),
            (200, r#"{"text":"Success","code":0"#),
            (200, r#"{"text":"Success","code":-1}"#),
            (200, r#"[0,"Success",null,null]"#),
            (204, ""),
            (202, r#"{"text":"Success","code":0}"#),
            (503, r#"{"text":"Success","code":0}"#),
            (302, ""),
            (404, "<html>"),
            (504, ""),
        ] {
            let delivery = hec(status, body, 5);
            assert_eq!(
                outcome(&delivery),
                format!("0 then fails hec/http-{status}"),
                "{body}"
            );
        }
    }

    #[test]
    fn no_event_is_skipped_when_the_number_is_missing_or_impossible() {
        let cases = [
            (r#"{"text":"T","code":6}"#, 5, "0 then halves hec/6"),
            (
                r#"{"text":"T","code":6,"invalid-event-number":5}"#,
                5,
                "0 then halves hec/6",
            ),
            (r#"{"text":"T","code":6}"#, 1, "0 then rejects 0"),
            (
                r#"{"text":"T","code":12,"invalid-event-number":1}"#,
                1,
                "0 then rejects 0",
            ),
            (r#"{"text":"T","code":9}"#, 5, "0 then fails hec/9"),
            (
                r#"{"text":"T","code":9,"invalid-event-number":0}"#,
                5,
                "0 then fails hec/9",
            ),
            (
                r#"{"text":"T","code":9,"invalid-event-number":6}"#,
                5,
                "0 then fails hec/9",
            ),
        ];
        for (body, sent, expected) in cases {
            assert_eq!(outcome(&hec(400, body, sent)), expected, "{body}");
        }
    }

    #[test]
    fn what_is_too_large_is_halved() {
        let page = "<html><title>413 Request Entity Too Large</title></html>";
        let answer = read(413, &[(CONTENT_TYPE, "text/html")], page, 5);
        assert_eq!(outcome(&answer), "0 then halves hec/413");
        let reason = reason(&answer.failure.unwrap());
        assert!(
            reason.starts_with("hec/413: not an answer of HEC (text/html)"),
            "{reason}"
        );
    }

    #[test]
    fn the_servers_wish_is_read_as_seconds_or_by_its_own_clock() {
        let wish = |headers: &[(HeaderName, &str)]| {
            let body = r#"{"text":"Server is busy","code":9}"#;
            read(503, headers, body, 5).failure.unwrap().retry_after
        };
        let date = (DATE, "Tue, 06 Jan 2026 09:08:07 GMT");
        let later = (RETRY_AFTER, "Tue, 06 Jan 2026 09:10:07 GMT");
        assert_eq!(wish(&[(RETRY_AFTER, "30")]), Some(Duration::from_secs(30)));
        assert_eq!(wish(&[date, later.clone()]), Some(Duration::from_secs(120)));
        assert_eq!(wish(&[later]), None);
        assert_eq!(wish(&[(RETRY_AFTER, "soon")]), None);
    }

    #[test]
    fn a_page_that_echoes_the_request_does_not_reveal_the_token() {
        for body in [
            "<pre>Authorization: Splunk hunter2</pre>",
            r#"{"code":4,"text":"hunter2?"}"#,
        ] {
            let failure = hec(403, body, 1).failure.unwrap();
            assert!(failure.detail.contains("[secret]"));
            assert!(!format!("{failure} {failure:?}").contains("hunter2"));
        }
    }
}
