//! What the token endpoint of API 2.0 answers. Sub-codes of a credential's trouble are found among Mimecast's rows.

use std::time::Duration;

use super::Class::{CredentialRejected, Forbidden, RequestInvalid, Throttled, Transient};
use super::Impact::High;
use super::Scope::Credential;
use super::Status::{Any, Family, Is};
use super::mimecast::{HOUR, HTTP, INCIDENT, SEEN};
use super::{Class, Row, Status};
use crate::health::Origin;

const fn row(status: Status, code: &'static str, title: &'static str, class: Class) -> Row {
    Row::new(Origin::Token, status, code, title, class, Credential)
        .source(HTTP)
        .impact(High)
}

const CLIENT: &str = "Compare client ID and secret with Services | API Applications, check that the application is enabled, and \
     store the right ones here. A secret that is lost must be made anew.";

pub(super) static ROWS: &[Row] = &[
    row(Any, "InvalidClientIdentifier", "Client ID or secret refused", CredentialRejected)
        .aliases(&["invalid_client", "unauthorized_client"])
        .source(SEEN)
        .recheck(Duration::from_hours(6))
        .advice(CLIENT),
    row(Is(401), "", "Unauthorized without a listed reason", CredentialRejected)
        .recheck(Duration::from_mins(30))
        .support()
        .advice(CLIENT),
    row(Is(403), "", "Forbidden", Forbidden)
        .recheck(HOUR)
        .support()
        .advice("Check that the application may be used from this machine's address (admin IP ranges), and that it is enabled under \
                 Services | API Applications."),
    row(Is(408), "", "Request time-out", Transient)
        .advice("Nothing, if it passes. If it stays, check the way to the internet."),
    row(Is(429), "", "Rate limit exceeded", Throttled)
        .aliases(&["err_rate_limit", "too_many_requests"])
        .source(SEEN)
        .advice("Nothing, if it passes. If it returns, find what else fetches tokens with this application."),
    row(Family(4), "", "Another refusal of the request", RequestInvalid)
        .recheck(HOUR)
        .support()
        .advice("Check base_url: API 2.0 has a host of its own, and no path belongs there."),
    row(Family(5), "", "Error of the server", Transient).support().advice(INCIDENT),
    row(Any, "", "Any other answer", Transient)
        .support()
        .advice("Check base_url, and whether a proxy answers with a page of its own."),
];
