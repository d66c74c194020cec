//! What an answer says: success, or which failure. Pure.
//!
//! Mimecast has many ways to say no, and all are read alike, whichever endpoint sent them: the envelope
//! (`meta.status`, `fail[].errors[]`) also under HTTP 200, flat `fail[]`, `error` as list, object or text,
//! `errors[]`, plain text, HTML, nothing at all.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use super::budget::Allowance;
use crate::health::failure::printable;
use crate::health::{Answered, Failure, Origin};
use crate::model::Timestamp;
use crate::secret::Secret;

/// How long a server's wish to be left alone is believed.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);

/// Bytes of a body that are searched for secrets before the first 500 of what is left are shown: a secret cut in two would not be found.
const EXPLANATION: usize = 64 << 10;

/// The head of an answer, with what is needed to name a failure.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) origin: Origin,
    /// Method and path.
    pub(super) endpoint: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The id that the request was sent with.
    pub(super) sent_id: Option<String>,
    /// The wall clock when the head came.
    pub(super) received: Timestamp,
    /// What was sent and must not be repeated.
    pub(super) secrets: Vec<Secret>,
}

impl Head {
    /// The failure that the answer is, if it is one.
    pub(super) fn refusal(&self, body: &[u8]) -> Option<Failure> {
        let said = Said::read(body);
        let refused = !(200..300).contains(&self.status)
            || said.status.is_some_and(is_error)
            || said.no
            || !said.complaints.is_empty();
        refused.then(|| self.failure(said, body))
    }

    /// The answer's `Date`.
    pub(super) fn server_time(&self) -> Option<Timestamp> {
        http_date(self.header(DATE.as_str())?)
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    fn failure(&self, said: Said, body: &[u8]) -> Failure {
        let status = said.status.filter(|s| is_error(*s)).unwrap_or(self.status);
        let code = said.complaints.iter().map(Complaint::key).next();
        // Before it is cut: a part of a secret is not known for one.
        let code = self.redacted(code.unwrap_or_default().to_owned());
        let mut failure = Failure::new(self.origin, status, &printable(&code, 64), &self.endpoint);
        failure.retry_after = self.retry_after(status);
        failure.request_id = self.request_id();
        failure.server_time = self.server_time();
        failure.answer = Some(self.answered(body));
        let detail = match self.origin {
            // Its XML repeats the signed request.
            Origin::ObjectStore => String::new(),
            _ if said.complaints.is_empty() => {
                String::from_utf8_lossy(body.get(..EXPLANATION).unwrap_or(body)).into_owned()
            }
            Origin::Mimecast
            | Origin::Token
            | Origin::Hec
            | Origin::Http
            | Origin::Webhook
            | Origin::Syslog
            | Origin::Transport
            | Origin::Local
            | Origin::Watch => {
                let all: Vec<String> = said.complaints.iter().map(Complaint::show).collect();
                all.join("; ")
            }
        };
        failure.with_detail(&self.redacted(detail))
    }

    /// What may be shown of the answer to those who are asked for help.
    pub(super) fn answered(&self, body: &[u8]) -> Box<Answered> {
        let header = |name| self.header(name).map(str::to_owned);
        Answered::redacted(self.status, header, body, &self.secrets)
    }

    /// The path of a call that Mimecast counts; `None` for tokens and objects.
    pub(super) fn counted_path(&self) -> Option<&str> {
        let (_, path) = self.endpoint.split_once(' ')?;
        (self.origin == Origin::Mimecast).then_some(path)
    }

    /// What the answer says of the calls that are left: nothing is, if it refuses for that.
    pub(super) fn allowance(&self) -> Allowance {
        // Some servers list their rules behind the number.
        let number = |name| {
            let text = self.header(name)?;
            let end = text.find(|c: char| !c.is_ascii_digit());
            text.get(..end.unwrap_or(text.len()))?.parse().ok()
        };
        let limited = self.status == 429;
        Allowance {
            limit: number("x-ratelimit-limit"),
            remaining: if limited {
                Some(0)
            } else {
                number("x-ratelimit-remaining")
            },
            // The wish to be left alone comes first.
            reset: self.retry_after(self.status).or_else(|| self.reset()),
        }
    }

    fn redacted(&self, mut text: String) -> String {
        for secret in &self.secrets {
            text = text.replace(secret.expose(), "[secret]");
        }
        text
    }

    /// The id by which support finds the request: the server's, else ours.
    pub(super) fn request_id(&self) -> Option<String> {
        ["x-mc-req-id", "x-request-id", "x-amz-request-id"]
            .into_iter()
            .find_map(|name| self.header(name))
            .map(|id| printable(&self.redacted(id.to_owned()), 128))
            .or_else(|| self.sent_id.clone())
    }

    /// When the server says to come back: `Retry-After` in seconds or as a date, else, where the rate is
    /// limited, `X-RateLimit-Reset`.
    fn retry_after(&self, status: u16) -> Option<Duration> {
        let now = self.server_time().unwrap_or(self.received);
        let told = self.header(RETRY_AFTER.as_str()).and_then(|text| {
            let seconds = text.parse().ok().map(Duration::from_secs);
            seconds.or_else(|| Some(http_date(text)?.since(now)))
        });
        told.or_else(|| self.reset().filter(|_| status == 429))
            .map(|wait| wait.clamp(*WAIT.start(), *WAIT.end()))
    }

    /// From now until calls are left again, by `X-RateLimit-Reset`.
    fn reset(&self) -> Option<Duration> {
        let now = self.server_time().unwrap_or(self.received);
        let value: u64 = self.header("x-ratelimit-reset")?.parse().ok()?;
        Some(until_reset(value, now))
    }
}

/// API 1.0 documents milliseconds until a request is allowed again; clients of 2.0 have seen moments.
fn until_reset(value: u64, now: Timestamp) -> Duration {
    const FIRST_EPOCH_MS: u64 = 1_000_000_000_000;
    const FIRST_EPOCH_S: u64 = 1_000_000_000;
    let moment = match value {
        FIRST_EPOCH_MS.. => value,
        FIRST_EPOCH_S.. => value.saturating_mul(1000),
        _ => return Duration::from_millis(value),
    };
    Timestamp::from_millis(i64::try_from(moment).unwrap_or(i64::MAX)).since(now)
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
}

fn is_error(status: u16) -> bool {
    status >= 400
}

/// What a body says of failure.
#[derive(Default)]
struct Said {
    /// `meta.status`.
    status: Option<u16>,
    /// There is a `fail` or `error` with something in it, be it understood or not.
    no: bool,
    complaints: Vec<Complaint>,
}

#[derive(Default)]
struct Complaint {
    code: String,
    message: String,
    field: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    meta: Value,
    fail: Value,
    error: Value,
    errors: Value,
    error_description: Value,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Self::default();
        }
        let Ok(body) = serde_json::from_slice::<Body>(body) else {
            return Self::default();
        };
        let mut said = Self {
            status: body.meta.get("status").and_then(|s| text(s).parse().ok()),
            ..Self::default()
        };
        for part in [&body.fail, &body.error, &body.errors] {
            said.no |= says_something(part);
            collect(part, &mut said.complaints);
        }
        if let Some(first) = said.complaints.first_mut()
            && first.message.is_empty()
        {
            first.message = text(&body.error_description);
        }
        said
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Finds what has a code or a message, however it is wrapped.
fn collect(value: &Value, into: &mut Vec<Complaint>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(code) if code.is_empty() => {}
        Value::String(code) => into.push(Complaint {
            code: code.clone(),
            ..Complaint::default()
        }),
        Value::Array(list) => list.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => {
            let member = |name| members.get(name).map(text).unwrap_or_default();
            let complaint = Complaint {
                code: member("code"),
                message: member("message"),
                field: member("field"),
            };
            if !(complaint.code.is_empty() && complaint.message.is_empty()) {
                into.push(complaint);
            }
            if let Some(errors) = members.get("errors") {
                collect(errors, into);
            }
        }
    }
}

/// The text of a text or a number.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

impl Complaint {
    /// The four digits of Mimecast's table of errors, which stand at the beginning of the message or are the
    /// code; else the code.
    fn key(&self) -> &str {
        sub_code(&self.message)
            .or_else(|| sub_code(&self.code))
            .unwrap_or(&self.code)
    }

    fn show(&self) -> String {
        let field = match self.field.as_str() {
            "" => String::new(),
            field => format!(" (field {field})"),
        };
        match (self.code.as_str(), self.message.as_str()) {
            ("", said) | (said, "") => format!("{said}{field}"),
            (code, message) => format!("{code}: {message}{field}"),
        }
    }
}

/// Four digits that begin with a zero, as all of the table do: else a year would be taken for one.
fn sub_code(text: &str) -> Option<&str> {
    let (code, rest) = text.trim_start().split_at_checked(4)?;
    let digits = code.starts_with('0') && code.bytes().all(|b| b.is_ascii_digit());
    let ends = !rest.starts_with(|c: char| c.is_alphanumeric());
    (digits && ends).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &str)]) -> Head {
        Head {
            origin: Origin::Mimecast,
            endpoint: "POST /x".to_owned(),
            status,
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            sent_id: Some("sent".to_owned()),
            received: Timestamp::parse("2026-01-06T09:08:07Z").unwrap(),
            secrets: vec![Secret::new("hunter2".to_owned())],
        }
    }

    fn key(status: u16, body: &str) -> Option<String> {
        head(status, &[]).refusal(body.as_bytes()).map(|f| f.key())
    }

    #[test]
    fn what_is_left_of_the_budget_is_read_and_what_makes_no_sense_is_left_out() {
        let said = |status, headers: &[(&'static str, &str)]| {
            let said = head(status, headers).allowance();
            let reset = said.reset.map(|reset| reset.as_millis());
            (said.limit, said.remaining, reset)
        };
        let named = |limit, remaining, reset| {
            let headers = [
                ("X-RateLimit-Limit", limit),
                ("x-ratelimit-remaining", remaining),
                ("X-RATELIMIT-RESET", reset),
            ];
            said(200, &headers)
        };
        assert_eq!(
            named(" 50 ", "49", "9000"),
            (Some(50), Some(49), Some(9000))
        );
        assert_eq!(named("50, 50;w=900", "-1", "soon"), (Some(50), None, None));
        assert_eq!(
            named("9999999999999", "", "1767690497"),
            (None, None, Some(10_000))
        );
        assert_eq!(said(200, &[]), (None, None, None));
        let refused = [("retry-after", "120"), ("x-ratelimit-remaining", "7")];
        assert_eq!(said(429, &refused), (None, Some(0), Some(120_000)));
    }

    #[test]
    fn success_in_all_its_forms_is_no_failure() {
        for body in [
            "",
            "PK\u{3}\u{4}",
            r#"{"meta":{"status":200},"data":[],"fail":[]}"#,
            r#"{"meta":{"isLastToken":true,"status":200},"data":[]}"#,
            r#"{"value":[],"@nextPage":"MTp0","isCaughtUp":true}"#,
            r#"{"access_token":"x","error":null,"errors":[]}"#,
        ] {
            assert_eq!(key(200, body), None, "{body}");
        }
    }

    #[test]
    fn every_form_of_failure_is_read() {
        let table = [
            // The envelope of 1.0, with the status of HTTP and under HTTP 200.
            (
                401,
                r#"{"meta":{"status":401},"data":[],"fail":[{"errors":[{"code":"err_xdk_invalid_signature","message":"0004 Invalid Signature","retryable":false}]}]}"#,
                "401/0004",
            ),
            (
                200,
                r#"{"meta":{"status":401},"data":[],"fail":[{"errors":[{"code":"err_xdk_login_locked_out","message":"0010 Login Locked Out","retryable":false}]}]}"#,
                "401/0010",
            ),
            (
                200,
                r#"{"meta":{"status":418},"data":[],"fail":[{"errors":[{"code":"err_xdk_binding_expired","message":"0001 AccessKey Has Expired"}]}]}"#,
                "418/0001",
            ),
            (
                200,
                r#"{"meta":{"status":200},"fail":[{"errors":[{"code":"err_track_and_trace_invalid_start_date"}]}]}"#,
                "200/err_track_and_trace_invalid_start_date",
            ),
            (
                200,
                r#"{"data":[{"id":"1"}],"fail":[{"key":{"from":"x"},"errors":[{"code":"err_validation_null","message":"must not be null","field":"from"}]}]}"#,
                "200/err_validation_null",
            ),
            (200, r#"{"meta":{"status":403},"data":[]}"#, "403"),
            (
                200,
                r#"{"meta":{"status":200},"data":[],"fail":[{}]}"#,
                "200",
            ),
            // (a) to (g) of 2.0.
            (
                400,
                r#"{"error":[{"code":"validation_error","message":"X-Request-Id header is missing","field":"X-Request-Id"}]}"#,
                "400/validation_error",
            ),
            (
                401,
                r#"{"error":[{"code":"0013","message":"Binding Not Found"}]}"#,
                "401/0013",
            ),
            (
                429,
                r#"{"error":{"code":"too_many_requests","message":"quota exceeded"}}"#,
                "429/too_many_requests",
            ),
            (
                401,
                r#"{"fail":[{"code":"token_expired","message":"token is past its lifetime"}]}"#,
                "401/token_expired",
            ),
            (
                200,
                r#"{"fail":[{"code":"InvalidClientIdentifier","message":"not known"}]}"#,
                "200/InvalidClientIdentifier",
            ),
            (
                403,
                r#"{"meta":{"status":403},"data":[],"fail":[{"errors":[{"code":"err_xdk_forbidden","message":"0002 Forbidden To Perform Operation"}]}]}"#,
                "403/0002",
            ),
            (
                401,
                r#"{"error":"invalid_client","error_description":"no such client"}"#,
                "401/invalid_client",
            ),
            (400, "", "400"),
            (502, "<html><body>Bad Gateway</body></html>", "502"),
            (429, "the service is busy", "429"),
            (
                500,
                r#"{"errors":[{"code":"internal_error","message":"oops"}]}"#,
                "500/internal_error",
            ),
            // What nobody promised.
            (405, "{", "405"),
            (302, "", "302"),
            (
                500,
                r#"{"meta":7,"fail":{"errors":"boom"},"error":[[],{"code":5}]}"#,
                "500/boom",
            ),
        ];
        for (status, body, expected) in table {
            assert_eq!(key(status, body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn a_year_is_not_a_sub_code() {
        let body = r#"{"error":[{"code":"validation_error","message":"2026 lies ahead"}]}"#;
        assert_eq!(key(400, body).unwrap(), "400/validation_error");
        assert_eq!(sub_code("0004: Invalid Signature"), Some("0004"));
        assert_eq!(sub_code("00041"), None);
        assert_eq!(sub_code("日本"), None);
    }

    #[test]
    fn the_detail_names_the_field_and_hides_what_we_sent() {
        let body = br#"{"error":[{"code":"validation_error","message":"key hunter2 is bad","field":"key"},{"code":"b"}]}"#;
        let failure = head(400, &[]).refusal(body).unwrap();
        assert_eq!(
            failure.detail,
            "validation_error: key [secret] is bad (field key); b"
        );
        let failure = head(500, &[]).refusal(b"<p>hunter2</p>").unwrap();
        assert_eq!(failure.detail, "<p>[secret]</p>");
    }

    #[test]
    fn a_secret_that_came_back_as_a_code_or_request_id_was_logged() {
        let long = "x".repeat(60);
        let body = format!(r#"{{"error":[{{"code":"{long}hunter2"}}]}}"#);
        let failure = head(500, &[("x-mc-req-id", "hunter2")])
            .refusal(body.as_bytes())
            .unwrap();
        assert!(!failure.code.contains("hunt"), "{}", failure.code);
        assert_eq!(failure.request_id.as_deref(), Some("[secret]"));
    }

    #[test]
    fn a_long_secret_is_hidden_although_only_its_beginning_would_be_shown() {
        let secret = "s".repeat(4_000);
        let mut head = head(500, &[]);
        head.secrets = vec![Secret::new(secret.clone())];
        let failure = head.refusal(format!("<p>{secret}</p>").as_bytes());
        assert_eq!(failure.unwrap().detail, "<p>[secret]</p>");
    }

    #[test]
    fn an_object_stores_answer_is_never_quoted() {
        let mut head = head(403, &[("x-amz-request-id", "R1")]);
        head.origin = Origin::ObjectStore;
        let failure = head
            .refusal(b"<Error><StringToSign>s</StringToSign>")
            .unwrap();
        assert_eq!(failure.detail, "");
        assert_eq!(failure.request_id.as_deref(), Some("R1"));
    }

    #[test]
    fn the_wish_to_be_left_alone_is_read_in_all_its_units() {
        const NOW: &str = "Tue, 06 Jan 2026 09:08:07 GMT";
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let table: [(Headers<'_>, Option<u64>); 11] = [
            (&[("retry-after", "30")], Some(30)),
            (
                &[
                    ("retry-after", "Tue, 06 Jan 2026 09:10:07 GMT"),
                    ("date", NOW),
                ],
                Some(120),
            ),
            (
                &[("retry-after", "7"), ("x-ratelimit-reset", "47210")],
                Some(7),
            ),
            (&[("x-ratelimit-reset", " 47000 ")], Some(47)),
            (&[("x-ratelimit-reset", "12")], Some(1)),
            (&[("x-ratelimit-reset", "1767690547")], Some(60)),
            (&[("x-ratelimit-reset", "1767690547000")], Some(60)),
            (&[("x-ratelimit-reset", "1767690000")], Some(1)),
            (&[("retry-after", "99999999999")], Some(900)),
            (&[("x-ratelimit-reset", "soon")], None),
            (&[], None),
        ];
        for (headers, seconds) in table {
            let failure = head(429, headers).refusal(b"").unwrap();
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(failure.retry_after, expected, "{headers:?}");
        }
        let other = head(401, &[("x-ratelimit-reset", "3000")]).refusal(b"");
        assert_eq!(other.unwrap().retry_after, None);
    }

    #[test]
    fn the_servers_request_id_and_time_are_kept() {
        let failure = head(500, &[]).refusal(b"").unwrap();
        assert_eq!(failure.request_id.as_deref(), Some("sent"));
        let headers = [
            ("x-request-id", "theirs"),
            ("date", "Tue, 06 Jan 2026 09:08:07 GMT"),
        ];
        let failure = head(500, &headers).refusal(b"").unwrap();
        assert_eq!(failure.request_id.as_deref(), Some("theirs"));
        assert_eq!(
            failure.server_time,
            Timestamp::parse("2026-01-06T09:08:07Z")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(status: u16, body: Vec<u8>, text in r#"[{}\[\]":,a-z0-9 ]{0,60}"#) {
            drop(head(status, &[]).refusal(&body));
            drop(head(status, &[]).refusal(text.as_bytes()));
        }
    }
}
