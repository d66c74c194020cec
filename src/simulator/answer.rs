//! What a script may answer in place of the truth.

use std::io::{self, Read as _};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::articles::{Article, envelope_fail, find, refuse};
use super::call::Call;
use super::reply::{Reply, http_date};
use crate::model::Timestamp;

/// An answer that a script gives, written in the form proper to who gives it.
#[derive(Clone, Debug)]
pub struct Answer(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Article(&'static Article),
    RateLimited(After),
    Fail {
        code: String,
        message: String,
    },
    Raw {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    Packed(Bytes),
    Hec {
        code: u16,
        invalid_event: Option<usize>,
    },
}

/// How a refusal for too many calls says when to come back.
#[derive(Clone, Copy, Debug)]
pub enum After {
    /// It does not say.
    Unsaid,
    /// `Retry-After` in seconds.
    Seconds(Duration),
    /// `Retry-After` as a date.
    Date(Duration),
    /// `X-RateLimit-Reset` in milliseconds.
    ResetMillis(Duration),
}

/// `(code, status, text)` of the event collector, from Splunk's page on its errors (read November 2026); the wording
/// of the codes above 16 is ours.
#[rustfmt::skip]
const HEC_CODES: &[(u16, u16, &str)] = &[
    (0, 200, "Success"),
    (1, 403, "Token disabled"),
    (2, 401, "Token is required"),
    (3, 401, "Invalid authorization"),
    (4, 403, "Invalid token"),
    (5, 400, "No data"),
    (6, 400, "Invalid data format"),
    (7, 400, "Incorrect index"),
    (8, 500, "Internal server error"),
    (9, 503, "Server is busy"),
    (10, 400, "Data channel is missing"),
    (11, 400, "Invalid data channel"),
    (12, 400, "Event field is required"),
    (13, 400, "Event field cannot be blank"),
    (14, 400, "ACK is disabled"),
    (15, 400, "Error in handling indexed fields"),
    (16, 400, "Query string authorization is not enabled"),
    (17, 200, "HEC is healthy"),
    (18, 503, "HEC is unhealthy, queues are full"),
    (19, 503, "HEC is unhealthy, ack service unavailable"),
    (20, 503, "HEC is unhealthy, queues are full, ack service unavailable"),
    (21, 400, "Invalid token"),
    (22, 400, "Token disabled"),
    (23, 503, "Server is shutting down"),
    (24, 200, "Queue is approaching its capacity"),
    (25, 200, "Acknowledgement channel is approaching its capacity"),
    (26, 429, "Queue is at capacity"),
    (27, 429, "Acknowledgement channel is at capacity"),
];

macro_rules! articles {
    ($($(#[$doc:meta])* $name:ident: $status:literal, $code:literal;)*) => {
        impl Answer {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name() -> Self {
                    Self::article($status, $code)
                }
            )*
        }
    };
}

articles! {
    /// The request cannot be read.
    bad_request: 400, "";
    /// A wrong client id.
    invalid_credentials: 401, "0003";
    /// A wrong signature.
    invalid_signature: 401, "0004";
    /// Too many wrong credentials.
    lock_out: 401, "0010";
    /// The keys were revoked.
    binding_not_found: 401, "0013";
    /// The bearer token is too old.
    token_expired: 401, "token_expired";
    /// The bearer token is not one; met in passing too.
    token_verification_failed: 401, "token_verification_failed";
    /// The user may not do this.
    forbidden: 403, "0002";
    /// The application's products do not offer this.
    app_forbidden: 403, "app_forbidden";
    /// The keys have expired.
    expired_key: 418, "0001";
}

impl Answer {
    /// A row of [`super::ARTICLES`], or an empty body with that status if it has none.
    #[must_use]
    pub fn article(status: u16, code: &str) -> Self {
        find(status, code).map_or_else(|| Self::empty(status), |row| Self(Kind::Article(row)))
    }

    /// Too many calls.
    #[must_use]
    pub const fn rate_limited(after: After) -> Self {
        Self(Kind::RateLimited(after))
    }

    /// HTTP 200 with an error in its envelope.
    #[must_use]
    pub fn ok_with_fail(code: &str, message: &str) -> Self {
        Self(Kind::Fail {
            code: code.to_owned(),
            message: message.to_owned(),
        })
    }

    /// A failure of the server; 500 in the vendor's form, others as a gateway's page.
    #[must_use]
    pub fn server_error(status: u16) -> Self {
        if status == 500 {
            Self::article(500, "")
        } else {
            Self::html(status)
        }
    }

    /// A page of something that stands before the server.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::raw(
            status,
            "text/html",
            &format!("<html><body><h1>{status}</h1></body></html>"),
        )
    }

    /// A status without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::raw(status, "", "")
    }

    /// Any status and body; no content type if it is empty.
    #[must_use]
    pub fn raw(status: u16, content_type: &'static str, body: &str) -> Self {
        Self(Kind::Raw {
            status,
            content_type,
            body: body.to_owned(),
        })
    }

    /// Blanks that are small on their way and unpack to so many bytes.
    #[must_use]
    pub fn swollen(bytes: usize) -> Self {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        let blanks = io::copy(&mut io::repeat(b' ').take(bytes as u64), &mut packer);
        // Writing to memory does not fail.
        let packed = blanks.and_then(|_| packer.finish()).unwrap_or_default();
        Self(Kind::Packed(packed.into()))
    }

    /// The object store's word for a link that has expired.
    #[must_use]
    pub fn expired_link() -> Self {
        Self::xml(403, "AccessDenied", "Request has expired")
    }

    /// The object store's word for a file that is gone.
    #[must_use]
    pub fn missing_object() -> Self {
        Self::xml(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(super) fn xml(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Self::raw(status, "application/xml", &body)
    }

    /// A code of the event collector, 0 to 27. It takes the events with the codes 0, 24 and 25 and none with others.
    #[must_use]
    pub const fn hec(code: u16) -> Self {
        Self(Kind::Hec {
            code,
            invalid_event: None,
        })
    }

    /// A code of the event collector with `invalid-event-number`. With code 9 it has taken the events before it.
    #[must_use]
    pub const fn hec_at(code: u16, invalid_event: usize) -> Self {
        Self(Kind::Hec {
            code,
            invalid_event: Some(invalid_event),
        })
    }

    /// How many events of a batch the event collector has taken when it says this: all for `None`.
    pub(super) const fn taken(&self) -> Option<usize> {
        match self.0 {
            Kind::Hec {
                code: 0 | 24 | 25, ..
            } => None,
            Kind::Hec {
                code: 9,
                invalid_event: Some(number),
            } => Some(number),
            Kind::Hec { .. }
            | Kind::Article(_)
            | Kind::RateLimited(_)
            | Kind::Fail { .. }
            | Kind::Packed(_)
            | Kind::Raw { .. } => Some(0),
        }
    }

    /// Writes it as an answer to `call`.
    pub(super) fn to(&self, call: &Call, wall: Timestamp) -> Reply {
        match &self.0 {
            Kind::Article(row) => row.to(call, None),
            Kind::RateLimited(after) => {
                let reply = refuse(call, 429, "");
                match *after {
                    After::Unsaid => reply,
                    After::Seconds(wait) => reply.with("retry-after", wait.as_secs()),
                    After::Date(wait) => reply.with("retry-after", http_date(wall + wait)),
                    After::ResetMillis(wait) => reply
                        .with("x-ratelimit-remaining", 0)
                        .with("x-ratelimit-reset", wait.as_millis()),
                }
            }
            Kind::Fail { code, message } => {
                Reply::json(200, &envelope_fail(200, code, message, None))
            }
            Kind::Raw {
                status,
                content_type: "",
                ..
            } => Reply::empty(*status),
            Kind::Raw {
                status,
                content_type,
                body,
            } => Reply::new(*status, content_type, body.clone()),
            Kind::Packed(packed) => {
                Reply::new(200, "application/json", packed.clone()).with("content-encoding", "gzip")
            }
            Kind::Hec {
                code,
                invalid_event,
            } => hec(*code, *invalid_event),
        }
    }
}

/// The event collector's answer.
pub(super) fn hec(code: u16, invalid_event: Option<usize>) -> Reply {
    let row = HEC_CODES.iter().find(|(number, ..)| *number == code);
    let (_, status, text) = *row.unwrap_or(&(code, 500, "Unknown"));
    let mut body = json!({"text": text, "code": code});
    if let (Some(number), Some(members)) = (invalid_event, body.as_object_mut()) {
        members.insert("invalid-event-number".to_owned(), number.into());
    }
    Reply::json(status, &body)
}
