//! Every row of what log endpoints answer, to both versions of the API.

use std::ops::RangeInclusive;

use mimecast_collector::health::{Class, Origin, Scope};
use mimecast_collector::simulator::{Answer, Fault, Target};

use super::play::{AUDIT, Counts, Line, Told, Ways, play};

/// Once, or hourly, and so on.
const ONCE: RangeInclusive<usize> = 1..=1;
const SIX_HOURS_LATER: RangeInclusive<usize> = 2..=2;
const HOURLY: RangeInclusive<usize> = 2..=8;
/// After 30 min, 1 h, 2 h; the fourth is four hours later.
const LOCKED: RangeInclusive<usize> = 4..=4;
/// Renewed, three times 5 min, then each 30 min.
const STALE: RangeInclusive<usize> = 6..=19;
/// 1, 2, 4, 8, 15 min and so on.
pub(super) const CURVE: RangeInclusive<usize> = 6..=34;

/// An answer that the article has, and that is what it says.
fn row(
    status: u16,
    code: &'static str,
    class: Class,
    scope: Scope,
    requests: RangeInclusive<usize>,
) -> Line {
    let failure = (Origin::Mimecast, status, code);
    Line::new(failure, class, scope, requests).answered(Answer::article(status, code))
}

/// A code in the form that functions of `/api/` have in both versions.
fn envelope(
    status: u16,
    code: &'static str,
    class: Class,
    scope: Scope,
    requests: RangeInclusive<usize>,
) -> Line {
    let body = serde_json::json!({
        "meta": {"status": status},
        "data": [],
        "fail": [{"errors": [{"code": "err_xdk_any", "message": format!("{code} in words")}]}],
    });
    let answer = Answer::raw(status, "application/json", &body.to_string());
    row(status, code, class, scope, requests).answered(answer)
}

/// HTTP says that it went well, and the envelope that it did not.
fn under_success(
    code: &'static str,
    class: Class,
    scope: Scope,
    requests: RangeInclusive<usize>,
) -> Line {
    let answer = Answer::ok_with_fail(code, "in words");
    row(200, code, class, scope, requests).answered(answer)
}

/// Something that is no answer of Mimecast's.
fn unlike(label: &'static str, answer: Answer) -> Line {
    let failure = (Origin::Transport, 0, "body");
    let line = Line::new(failure, Class::Transient, Scope::Stream, CURVE).answered(answer);
    Line { label, ..line }
}

/// A status that the article does not have, as a page of a gateway.
fn page(status: u16, class: Class, scope: Scope, requests: RangeInclusive<usize>) -> Line {
    let line = row(status, "", class, scope, requests).answered(Answer::html(status));
    Line {
        label: "page",
        ..line
    }
}

/// The account never had this log, so nobody is told.
fn never_had(line: Line) -> Line {
    Line {
        told: Told::Never,
        ..line
    }
}

/// The account had this log, and has it no more.
fn lost(line: Line) -> Line {
    let faults = line.faults.into_iter();
    let (least, most) = (*line.requests.start(), *line.requests.end());
    Line {
        faults: faults.map(|fault| fault.after(1)).collect(),
        requests: least + 1..=most + 1,
        label: "lost",
        ..line
    }
}

/// The second page is refused each time, and the first is not.
fn second_page_refused() -> Line {
    let failure = (Origin::Mimecast, 400, "page_token");
    let second = Target::NextPage(AUDIT.to_owned());
    Line {
        // Of slices of time, one that has but one page is read between.
        counts: Counts::Failures,
        requests: 5..=60,
        told: Told::Again,
        hinder: Some(|bench, seat| {
            let published = bench.handle.publish(seat.name(), "audit", "", 1_200);
            published.unwrap();
        }),
        ..Line::new(failure, Class::Transient, Scope::Stream, CURVE)
    }
    .meeting(vec![Fault::answer(second, Answer::bad_request())])
}

#[rustfmt::skip]
pub(super) fn lines() -> Vec<Line> {
    use Class::{
        ClockSkewed, CredentialRejected, CredentialStale, CursorInvalid, Forbidden, LockedOut, RequestInvalid, Throttled, Transient,
    };
    use Scope::{Credential, Resource, Stream};
    vec![
        row(400, "", RequestInvalid, Stream, HOURLY),
        row(400, "validation_error", RequestInvalid, Stream, HOURLY),
        row(404, "", RequestInvalid, Stream, HOURLY),
        row(405, "", RequestInvalid, Stream, HOURLY),
        never_had(row(403, "", Forbidden, Stream, HOURLY)),
        never_had(row(403, "0002", Forbidden, Stream, HOURLY)),
        never_had(row(403, "app_forbidden", Forbidden, Stream, HOURLY)),
        never_had(envelope(403, "0003", Forbidden, Stream, HOURLY)),
        lost(row(403, "", Forbidden, Stream, HOURLY)),
        Line { unnumbered: Some("forbidden"), ..lost(row(403, "0002", Forbidden, Stream, HOURLY)) },
        lost(row(403, "app_forbidden", Forbidden, Stream, HOURLY)),
        lost(envelope(403, "0003", Forbidden, Stream, HOURLY)),
        row(401, "0008", CredentialRejected, Credential, ONCE),
        row(401, "0012", CredentialRejected, Credential, ONCE),
        row(401, "0013", CredentialRejected, Credential, ONCE),
        row(418, "0001", CredentialRejected, Credential, ONCE),
        row(418, "", CredentialRejected, Credential, ONCE),
        row(401, "0003", CredentialRejected, Credential, SIX_HOURS_LATER),
        row(401, "0004", ClockSkewed, Credential, SIX_HOURS_LATER),
        row(401, "err_developer_key", CredentialRejected, Credential, SIX_HOURS_LATER),
        row(403, "0009", CredentialRejected, Credential, SIX_HOURS_LATER),
        row(403, "0012", CredentialRejected, Credential, SIX_HOURS_LATER),
        row(401, "0010", LockedOut, Credential, LOCKED),
        row(401, "", CredentialStale, Credential, STALE),
        row(401, "token_expired", CredentialStale, Credential, STALE),
        row(401, "token_verification_failed", CredentialStale, Credential, STALE),
        row(429, "", Throttled, Resource, CURVE),
        row(500, "", Transient, Stream, CURVE),
        row(502, "", Transient, Stream, CURVE),
        row(503, "", Transient, Stream, CURVE),
        row(504, "", Transient, Stream, CURVE),
        row(509, "", Transient, Stream, CURVE),
        row(408, "", Transient, Stream, CURVE),
        // What the article does not have: older codes, the wrong region, a success that is none, pages of gateways.
        envelope(400, "0001", CredentialRejected, Credential, SIX_HOURS_LATER),
        envelope(401, "0001", CredentialRejected, Credential, SIX_HOURS_LATER),
        under_success("err_audit_log_incorrect_region", RequestInvalid, Stream, SIX_HOURS_LATER),
        never_had(under_success("err_xdk_forbidden", Forbidden, Stream, HOURLY)),
        under_success("err_audit_siem_invalid_token", CursorInvalid, Stream, CURVE),
        under_success("err_nobody_knows", Transient, Stream, CURVE),
        second_page_refused(),
        unlike("html", Answer::html(200)),
        unlike("empty", Answer::empty(200)),
        unlike("cut", Answer::raw(200, "application/json", "{\"meta\": {\"stat")),
        never_had(page(403, Forbidden, Stream, HOURLY)),
        page(302, RequestInvalid, Stream, HOURLY),
        page(413, RequestInvalid, Stream, HOURLY),
        page(502, Transient, Stream, CURVE),
        page(507, Transient, Stream, CURVE),
        page(700, Transient, Stream, CURVE),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_is_asked_again_as_its_row_says_told_once_and_healed_once_mended() {
    play(&lines(), &Ways::default()).await;
}
