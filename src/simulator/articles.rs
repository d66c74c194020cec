//! The vendor's table of errors, and the bodies that each version gives them.

use serde_json::json;

use super::answer::hec;
use super::call::{Call, Service};
use super::reply::Reply;
use crate::mimecast::log_types::Api;

/// A row of the vendor's table of errors.
#[derive(Debug)]
pub struct Article {
    /// The HTTP status.
    pub status: u16,
    /// The sub-code, or what stands in its place.
    pub code: &'static str,
    v1: &'static str,
    v2: &'static str,
    message: &'static str,
    form: Form,
}

/// The forms of API 2.0's errors that are in use.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// `{"error":[{…}]}`
    List,
    /// `{"error":{…}}`
    Object,
    /// `{"fail":[{…}]}`
    Flat,
}

const fn article(
    status: u16,
    code: &'static str,
    (v1, v2, form): (&'static str, &'static str, Form),
    message: &'static str,
) -> Article {
    Article {
        status,
        code,
        v1,
        v2,
        message,
        form,
    }
}

/// The table of <https://mimecastsupport.zendesk.com> article 49448509755795 (read 2026-11-22), with the names of
/// codes that integrations met, and in the style of those where none was seen.
#[rustfmt::skip]
pub const ARTICLES: &[Article] = &[
    article(400, "", ("err_bad_request", "bad_request", Form::List), "the request cannot be read"),
    article(400, "validation_error", ("validation_error", "validation_error", Form::List), "a value is out of range"),
    article(401, "0003", ("err_xdk_invalid_credentials", "InvalidClientIdentifier", Form::Flat), "0003 Invalid Credentials"),
    article(401, "0004", ("err_xdk_invalid_signature", "0004", Form::List), "0004 Invalid Signature"),
    article(401, "0008", ("err_xdk_access_key_cannot_be_refreshed", "0008", Form::List), "0008 AccessKey Cannot Be Refreshed"),
    article(401, "0010", ("err_xdk_login_locked_out", "0010", Form::List), "0010 Login Locked Out"),
    article(401, "0012", ("err_xdk_remote_wipe_requested", "0012", Form::List), "0012 Remote Wipe Requested"),
    article(401, "0013", ("err_xdk_binding_not_found", "0013", Form::List), "0013 Binding Not Found"),
    article(401, "err_developer_key", ("err_developer_key", "err_developer_key", Form::List), "the application is not known"),
    article(401, "token_expired", ("token_expired", "token_expired", Form::Flat), "token is past its lifetime"),
    article(401, "token_verification_failed", ("token_verification_failed", "token_verification_failed", Form::Flat), "Unauthorized Request"),
    article(403, "0002", ("err_xdk_forbidden", "forbidden", Form::Flat), "0002 Forbidden To Perform Operation"),
    article(403, "app_forbidden", ("app_forbidden", "app_forbidden", Form::Flat), "no assigned product offers this resource"),
    article(403, "0009", ("err_xdk_password_expired", "0009", Form::List), "0009 Password Expired"),
    article(403, "0012", ("err_xdk_too_many_bindings", "0012", Form::List), "0012 Too Many Application Bindings"),
    article(404, "", ("err_not_found", "not_found", Form::List), "no such resource"),
    article(418, "0001", ("err_xdk_binding_expired", "0001", Form::List), "0001 AccessKey Has Expired"),
    article(429, "", ("err_rate_limit", "too_many_requests", Form::Object), "quota exceeded"),
    article(500, "", ("err_internal", "internal_error", Form::Object), "unexpected error"),
];

impl Article {
    pub(super) fn to(&self, call: &Call, field: Option<(&str, &str)>) -> Reply {
        match call.service {
            Service::Objects => Reply::new(self.status, "text/plain", self.message),
            Service::Hec if self.status == 500 => hec(8, None),
            Service::Hec => Reply::new(self.status, "text/html", self.message),
            Service::Api => self.in_form(call, field),
        }
    }

    fn in_form(&self, call: &Call, field: Option<(&str, &str)>) -> Reply {
        let message = field.map_or(self.message, |(_, message)| message);
        let field = field.map(|(field, _)| field);
        // What a function of `/api/` finds wrong with its request has the old form in both versions.
        let old_function = self.status == 400 && call.path.starts_with("/api/");
        if call.api() == Api::V1 || old_function {
            let body = envelope_fail(self.status, self.v1, message, field);
            return Reply::json(self.status, &body);
        }
        // The sub-code stands in `code` there, not in the message.
        let message = message
            .strip_prefix(self.code)
            .map_or(message, str::trim_start);
        let mut error = json!({"code": self.v2, "message": message});
        if let (Some(field), Some(members)) = (field, error.as_object_mut()) {
            members.insert("field".to_owned(), field.into());
        }
        let body = match self.form {
            Form::List => json!({"error": [error]}),
            Form::Object => json!({"error": error}),
            Form::Flat => json!({"fail": [error]}),
        };
        Reply::json(self.status, &body)
    }
}

/// Refuses a value: 400 with the member that is wrong, in the form of the version.
pub(super) fn invalid(call: &Call, field: &str, message: &str) -> Reply {
    find(400, "validation_error").map_or_else(
        || Reply::empty(400),
        |row| row.to(call, Some((field, message))),
    )
}

/// A row as an answer.
pub(super) fn refuse(call: &Call, status: u16, code: &str) -> Reply {
    find(status, code).map_or_else(|| Reply::empty(status), |row| row.to(call, None))
}

/// The row of that key.
pub(super) fn find(status: u16, code: &str) -> Option<&'static Article> {
    ARTICLES
        .iter()
        .find(|row| row.status == status && row.code == code)
}

/// The envelope of a failed function.
pub(super) fn envelope_fail(
    status: u16,
    code: &str,
    message: &str,
    field: Option<&str>,
) -> serde_json::Value {
    let retryable = status == 429 || status >= 500;
    let mut error = json!({"code": code, "message": message, "retryable": retryable});
    if let (Some(field), Some(members)) = (field, error.as_object_mut()) {
        members.insert("field".to_owned(), field.into());
    }
    json!({"meta": {"status": status}, "data": [], "fail": [{"errors": [error]}]})
}
