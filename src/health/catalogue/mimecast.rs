//! What the log endpoints of Mimecast answer, API 1.0 and 2.0.

use std::time::Duration;

use super::Class::{
    ClockSkewed, CredentialRejected, CredentialStale, CursorInvalid, Forbidden, LockedOut,
    RequestInvalid, Throttled, Transient,
};
use super::Impact::{High, Low};
use super::Scope::{Credential, Resource, Stream};
use super::Status::{Any, Family, Is};
use super::{Class, Level, Row, Scope, Status};
use crate::health::Origin;

/// The vendor's table of errors, for both versions of the API.
const ARTICLE: &str = "Mimecast support article 49448509755795, read 2026-11-22";
/// An older page of API 1.0.
const OLD_PAGE: &str =
    "Mimecast API 1.0 reference, response codes (integrations.mimecast.com), read 2026-11-22";
/// Nothing of the vendor's.
pub(super) const SEEN: &str =
    "not documented; seen by public integrations (elastic, SEKOIA, rapid7), read 2026-11-22";

/// No vendor's word on it: the status means what it means everywhere.
pub(super) const HTTP: &str = "general HTTP; not in the vendor's table";

pub(super) const HOUR: Duration = Duration::from_hours(1);
const HOURS_6: Duration = Duration::from_hours(6);

const fn row(
    status: Status,
    code: &'static str,
    title: &'static str,
    class: Class,
    scope: Scope,
) -> Row {
    Row::new(Origin::Mimecast, status, code, title, class, scope).source(ARTICLE)
}

const KEY_EXPIRED: &str = "Generate new access and secret keys under Services | API Applications and store them in the collector's \
     configuration. So that it does not happen again: give the service user an authentication profile (Services | Applications | \
     Authentication Profiles) whose TTL is \"Never Expires\", and generate new keys whenever its password changes, for that ends them all.";

const FORBIDDEN: &str = "Give the service user or application the role Basic Administrator, or a role of your own with read access to \
     this log (Account | Roles); check that it belongs to the API administrator group and that this machine's address is among the \
     admin IP ranges (Account | Account Settings | User Access and Permissions), if there are any. If the account has no licence for \
     the log, remove the log type from the configuration. All other logs go on meanwhile.";

pub(super) const INCIDENT: &str = "Nothing, if it passes. If it stays, look for an incident on Mimecast's status page (status.mimecast.com).";

pub(super) static ROWS: &[Row] = &[
    row(Is(200), "", "Success with an error inside", Transient, Stream)
        .source(SEEN)
        .support()
        .advice("Look at the message. Please report the code, so that it can be listed."),
    row(Is(400), "", "Invalid request payload or parameters", RequestInvalid, Stream)
        .aliases(&["bad_request", "err_track_and_trace_invalid_start_date"])
        .impact(Low)
        .recheck(HOUR)
        .support()
        .advice("Look at the message for what is refused, and check the log type and its start in the configuration. If they are right, it \
                 is a fault of the collector: please report it."),
    row(Is(400), "validation_error", "Request validation failure", RequestInvalid, Stream)
        .aliases(&["err_validation_*"])
        .impact(Low)
        .recheck(HOUR)
        .support()
        .advice("Look at the message for the field that is refused, and check the log type and its start in the configuration."),
    row(Is(400), "0001", "Credentials missing", CredentialRejected, Credential)
        .source(OLD_PAGE)
        .impact(High)
        .recheck(HOURS_6)
        .advice("Check that all parts of the credential are set, and that no proxy removes the Authorization header."),
    row(Is(400), "invalid_cursor", "Page token refused", CursorInvalid, Stream)
        .aliases(&["err_audit_siem_invalid_token"])
        .source(SEEN)
        .advice("Nothing: the log names the span of time that may be missing or repeated. SIEM page tokens live about 7 days, so keep \
                 interruptions shorter."),
    row(Is(400), "page_token", "Page token refused within a slice of time", Transient, Stream)
        .source("this collector's own word for 400 to a request with the token of a next page")
        .impact(Low)
        .advice("Nothing: the slice of time is asked for again from its first page."),
    row(Any, "err_audit_log_incorrect_region", "Audit log of another region", RequestInvalid, Stream)
        .source(SEEN)
        .impact(High)
        .recheck(HOURS_6)
        .advice("Set base_url to the host of the account's region; the prefix of the account code names it (CUSA, CUSB, CUK, CDE …)."),
    row(Any, "err_developer_key", "Application ID or key not known", CredentialRejected, Credential)
        .source(OLD_PAGE)
        .impact(High)
        .recheck(HOURS_6)
        .advice("Compare the application ID and the application key with Services | API Applications, and base_url with the \
                 account's region."),
    row(Is(401), "", "Unauthorized without a listed reason", CredentialStale, Credential)
        .aliases(&["unauthorized"])
        .source(SEEN)
        .impact(High)
        .recheck(Duration::from_mins(30))
        .support()
        .advice("Nothing, if it passes: API 2.0 answers so now and then. If it stays: check under Services | API Applications that \
                 the application exists and is enabled, and that this machine's address is among the admin IP ranges, if there are any."),
    row(Is(401), "token_expired", "Access token expired", CredentialStale, Credential)
        .source(SEEN)
        .recheck(Duration::from_mins(30))
        .support()
        .advice("Nothing: a new token is fetched. If it stays, check this machine's clock."),
    row(Is(401), "token_verification_failed", "Access token not verified", CredentialStale, Credential)
        .aliases(&["Unauthorized Request"])
        .source(SEEN)
        .recheck(Duration::from_mins(30))
        .support()
        .advice("Nothing: a new token is fetched. If it stays, check that base_url is the host that the application belongs to."),
    row(Is(401), "0001", "Authentication type not supported for the user", CredentialRejected, Credential)
        .source(OLD_PAGE)
        .impact(High)
        .recheck(HOURS_6)
        .advice("Give the service user cloud authentication in its authentication profile, and generate new keys."),
    row(Is(401), "0003", "Invalid Credentials", CredentialRejected, Credential)
        .aliases(&["err_xdk_invalid_credentials", "InvalidClientIdentifier"])
        .impact(High)
        .recheck(HOURS_6)
        .advice("API 1.0: check under Directories | Internal Directories that the service user exists, is enabled and signs in with a \
                 cloud password (SAML and single sign-on do not work for the API); then generate new keys under \
                 Services | API Applications and store them here. API 2.0: compare client ID and secret with the application."),
    row(Is(401), "0004", "Invalid Signature", ClockSkewed, Credential)
        .aliases(&["err_xdk_invalid_signature"])
        .impact(High)
        .recheck(HOURS_6)
        .advice("Check that this machine's clock follows NTP (timedatectl). If it is right, the access key or the secret key is wrong: \
                 generate both anew under Services | API Applications and store them here."),
    row(Is(401), "0008", "AccessKey Cannot Be Refreshed", CredentialRejected, Credential)
        .aliases(&["err_xdk_access_key_cannot_be_refreshed"])
        .impact(High)
        .advice("The keys are dead for good. Check that the service user is enabled (Directories | Internal Directories) and has a valid \
                 authentication profile (Services | Applications | Authentication Profiles); then generate new keys under \
                 Services | API Applications and store them here."),
    row(Is(401), "0010", "Login Locked Out", LockedOut, Credential)
        .aliases(&["err_xdk_login_locked_out"])
        .impact(High)
        .recheck(Duration::from_mins(30))
        .advice("Find what signs in with a wrong password or key, another script perhaps, and stop it. Wait (about 30 min), or unlock \
                 the service user in the Mimecast Administration Console and resume the integration here."),
    row(Is(401), "0012", "Remote Wipe Requested", CredentialRejected, Credential)
        .aliases(&["err_xdk_remote_wipe_requested"])
        .impact(High)
        .advice("An administrator revoked this binding. Ask why; if the collector may go on, generate new keys under \
                 Services | API Applications and store them here."),
    row(Is(401), "0013", "Binding Not Found", CredentialRejected, Credential)
        .aliases(&["err_xdk_binding_not_found"])
        .impact(High)
        .advice("Check under Services | API Applications that the application still exists, or make it anew; generate new keys and \
                 store them here. Put the service user into an authentication profile whose TTL is \"Never Expires\"."),
    row(Is(403), "", "Forbidden without a listed reason", Forbidden, Stream)
        .aliases(&["forbidden"])
        .source(SEEN)
        .impact(High)
        .recheck(HOUR)
        .advice(FORBIDDEN),
    row(Is(403), "0002", "Forbidden To Perform Operation", Forbidden, Stream)
        .aliases(&["err_xdk_forbidden"])
        .level(Level::Warn)
        .impact(High)
        .recheck(HOUR)
        .advice(FORBIDDEN),
    row(Is(403), "0003", "Forbidden To Perform Operation For Address", Forbidden, Stream)
        .aliases(&["err_xdk_operation_forbidden_for_address"])
        .source(SEEN)
        .impact(High)
        .recheck(HOUR)
        .advice(FORBIDDEN),
    row(Is(403), "app_forbidden", "No assigned product offers this log", Forbidden, Stream)
        .source(SEEN)
        .level(Level::Warn)
        .impact(High)
        .recheck(HOUR)
        .advice("Add the product \"Threats, Security Events and Data\" (for CG or CI) to the application under \
                 Services | API Applications, or remove this log type from the configuration if the account has no licence for it."),
    row(Is(403), "0009", "Password Expired", CredentialRejected, Credential)
        .aliases(&["err_xdk_password_expired"])
        .impact(High)
        .recheck(HOURS_6)
        .advice("Set a new cloud password for the service user under Directories | Internal Directories, generate new keys under \
                 Services | API Applications and store them here. An authentication profile whose TTL is \"Never Expires\" spares the \
                 next time."),
    row(Is(403), "0012", "Too Many Application Bindings", CredentialRejected, Credential)
        .aliases(&["err_xdk_too_many_bindings"])
        .recheck(HOURS_6)
        .advice("Remove bindings that are no longer used under Account | Account Settings | User Access, or give this integration a \
                 service user of its own."),
    row(Is(405), "", "Incorrect HTTP method used for the endpoint", RequestInvalid, Stream)
        .aliases(&["method_not_allowed"])
        .impact(Low)
        .recheck(HOUR)
        .advice("Check base_url: it must be a host of the credential's API version, without a path. A proxy that rewrites requests does this \
                 too. If neither is so, it is a fault of the collector: please report it with the request id."),
    row(Is(408), "", "Request time-out", Transient, Stream)
        .source(HTTP)
        .advice("Nothing, if it passes. If it stays, check the way to the internet."),
    row(Is(418), "", "AccessKey Expired", CredentialRejected, Credential)
        .impact(High)
        .advice(KEY_EXPIRED),
    row(Is(418), "0001", "AccessKey Has Expired", CredentialRejected, Credential)
        .aliases(&["err_xdk_binding_expired"])
        .impact(High)
        .advice(KEY_EXPIRED),
    row(Is(429), "", "Rate limit exceeded", Throttled, Resource)
        .aliases(&["err_rate_limit", "too_many_requests"])
        .advice("Nothing, if it passes. If it returns: lengthen the intervals (300 s or more for SIEM logs) and give each integration \
                 an API application of its own, because all that share one share its quota."),
    row(Is(500), "", "Server-side error", Transient, Stream)
        .aliases(&["err_internal", "internal_error"])
        .impact(High)
        .support()
        .advice(INCIDENT),
    row(Is(502), "", "Bad gateway", Transient, Stream).source(HTTP).support().advice(INCIDENT),
    row(Is(503), "", "Service unavailable", Transient, Stream).source(HTTP).support().advice(INCIDENT),
    row(Is(504), "", "Gateway time-out", Transient, Stream).source(HTTP).support().advice(INCIDENT),
    row(Is(509), "", "Bandwidth limit exceeded", Transient, Stream).source(HTTP).support().advice(INCIDENT),
    row(Family(3), "", "Redirect, which is not followed", RequestInvalid, Stream)
        .source(HTTP)
        .recheck(HOUR)
        .advice("Check base_url, and whether a proxy sends requests to a page of its own."),
    row(Family(4), "", "Another refusal of the request", RequestInvalid, Stream)
        .source(HTTP)
        .recheck(HOUR)
        .support()
        .advice("Check base_url and the log type. Please report the code, so that it can be listed."),
    row(Family(5), "", "Another error of the server", Transient, Stream)
        .source(HTTP)
        .support()
        .advice(INCIDENT),
    row(Any, "", "Any other answer", Transient, Stream)
        .source(HTTP)
        .support()
        .advice("Check base_url. Please report the status and the code, so that they can be listed."),
];
