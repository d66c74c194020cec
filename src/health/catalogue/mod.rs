//! THE table of errors: what a code means, what the collector makes of it, and what a person can do.
//!
//! A file an origin, a row a code. Vendors' words stop here: all else decides by [`Class`] and [`Scope`]. `docs/errors.md` is
//! printed from the same rows. A code is added as one row, with where the vendor says so.

use std::time::Duration;

use super::{Failure, Origin};

mod document;
mod hec;
mod http;
mod local;
mod mimecast;
mod object_store;
mod row;
mod syslog;
mod token;
mod transport;
mod watch;
mod webhook;

pub use document::{errors_md, what_we_do};
pub use row::{Class, Impact, Level, Row, Scope, Status};

/// The rows of every origin, in the order of the document.
static TABLES: [&[Row]; 10] = [
    mimecast::ROWS,
    token::ROWS,
    object_store::ROWS,
    hec::ROWS,
    http::ROWS,
    webhook::ROWS,
    syslog::ROWS,
    transport::ROWS,
    local::ROWS,
    watch::ROWS,
];

/// What no row fits: tried again, and told to people, so that the table can grow.
static UNLISTED: Row = transport::row("", "Unlisted error", Scope::Stream)
    .source("not listed anywhere yet")
    .advice("Please report the code, so that it can be listed.")
    .support();

/// All rows, in the order of the document.
pub fn all() -> impl Iterator<Item = &'static Row> {
    TABLES.into_iter().flatten()
}

/// The row of a failure: that of its code under its status, else of its code, else of its status, its status' family, its
/// origin; and one for all that is unlisted.
#[must_use]
pub fn lookup(failure: &Failure) -> &'static Row {
    find(failure.origin, failure.status, &failure.code)
}

/// Whether the table lists the failure's code, or its status if it has no code. What it does not list is worth reporting.
#[must_use]
pub fn is_known(failure: &Failure) -> bool {
    lists(failure.origin, failure.status, &failure.code)
}

pub(super) fn lists(origin: Origin, status: u16, code: &str) -> bool {
    let fit = |row| fit(row, origin, status, code);
    all().filter_map(fit).min().is_some_and(|best| match best {
        Fit::Code | Fit::CodeElsewhere => true,
        Fit::Status => code.is_empty(),
        Fit::Family | Fit::Origin => false,
    })
}

/// The longest time between two tries that a row asks for.
pub(super) fn longest_recheck() -> Duration {
    all()
        .filter_map(|row| row.recheck)
        .max()
        .unwrap_or_default()
}

pub(super) fn find(origin: Origin, status: u16, code: &str) -> &'static Row {
    all()
        .filter_map(|row| Some((fit(row, origin, status, code)?, row)))
        .min_by_key(|(fit, row)| (*fit, row.origin != origin))
        .map_or(&UNLISTED, |(_, row)| row)
}

/// How well a row fits a failure, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Code,
    CodeElsewhere,
    Status,
    Family,
    Origin,
}

fn fit(row: &Row, origin: Origin, status: u16, code: &str) -> Option<Fit> {
    let covered = row.status.covers(status);
    if row.names(code) {
        // Both of Mimecast's origins tell of a credential's trouble in the same words, and a lock-out must never be missed.
        let shared = origin == Origin::Token
            && row.origin == Origin::Mimecast
            && row.scope == Scope::Credential;
        // A number means something else under another status, unless the status says "success"; a word does not.
        let elsewhere = status / 100 == 2 || !code.starts_with(|c: char| c.is_ascii_digit());
        if row.origin != origin && !shared {
            return None;
        }
        return if covered {
            Some(Fit::Code)
        } else {
            elsewhere.then_some(Fit::CodeElsewhere)
        };
    }
    (row.origin == origin && row.code.is_empty() && covered).then_some(match row.status {
        Status::Is(_) => Fit::Status,
        Status::Family(_) => Fit::Family,
        Status::Any => Fit::Origin,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::Class::{
        ClockSkewed, CredentialRejected, CredentialStale, CursorInvalid, Forbidden, LockedOut,
        RecordRejected, RequestInvalid, Throttled, Transient, Watched,
    };
    use super::*;

    fn class(origin: Origin, status: u16, code: &str) -> Class {
        find(origin, status, code).class
    }

    #[test]
    fn every_line_of_the_vendors_article_has_its_row() {
        for (status, code, class, impact) in [
            (400, "", RequestInvalid, Impact::Low),
            (400, "validation_error", RequestInvalid, Impact::Low),
            (401, "0003", CredentialRejected, Impact::High),
            (401, "0004", ClockSkewed, Impact::High),
            (401, "0008", CredentialRejected, Impact::High),
            (401, "0010", LockedOut, Impact::High),
            (401, "0012", CredentialRejected, Impact::High),
            (401, "0013", CredentialRejected, Impact::High),
            (403, "0002", Forbidden, Impact::High),
            (403, "0009", CredentialRejected, Impact::High),
            (403, "0012", CredentialRejected, Impact::Medium),
            (405, "", RequestInvalid, Impact::Low),
            (418, "0001", CredentialRejected, Impact::High),
            (429, "", Throttled, Impact::Medium),
            (500, "", Transient, Impact::High),
        ] {
            let failure = Failure::new(Origin::Mimecast, status, code, "POST /x");
            assert!(is_known(&failure), "{failure}");
            let row = lookup(&failure);
            assert_eq!((row.class, row.impact), (class, impact), "{failure}");
            assert_eq!((row.status, row.code), (Status::Is(status), code));
        }
    }

    #[test]
    fn one_number_means_different_things_under_different_statuses() {
        let of = |status, code| find(Origin::Mimecast, status, code);
        assert_ne!(of(401, "0012").title, of(403, "0012").title);
        assert_ne!(of(401, "0003").class, of(403, "0003").class);
        // A number under a status where it is not listed has no meaning of its own.
        assert_eq!(of(500, "0010").class, Transient);
        assert_eq!(of(401, "0099").class, CredentialStale);
    }

    #[test]
    fn a_code_is_found_by_its_other_names_and_in_a_reply_that_says_success() {
        for (origin, status, code, expected) in [
            (Origin::Mimecast, 200, "0010", LockedOut),
            (
                Origin::Mimecast,
                200,
                "err_xdk_binding_expired",
                CredentialRejected,
            ),
            (
                Origin::Mimecast,
                400,
                "err_validation_blank",
                RequestInvalid,
            ),
            (
                Origin::Mimecast,
                200,
                "err_audit_siem_invalid_token",
                CursorInvalid,
            ),
            (Origin::Mimecast, 401, "token_expired", CredentialStale),
            (Origin::Mimecast, 403, "app_forbidden", Forbidden),
            (
                Origin::Token,
                401,
                "InvalidClientIdentifier",
                CredentialRejected,
            ),
            (Origin::Token, 400, "invalid_client", CredentialRejected),
            (Origin::Token, 401, "0010", LockedOut),
            (Origin::Token, 401, "err_xdk_login_locked_out", LockedOut),
            (Origin::Hec, 403, "4", CredentialRejected),
            (Origin::Hec, 400, "6", RecordRejected),
        ] {
            assert_eq!(
                class(origin, status, code),
                expected,
                "{origin:?} {status}/{code}"
            );
            let failure = Failure::new(origin, status, code, "x");
            assert!(is_known(&failure), "{failure}");
        }
    }

    #[test]
    fn what_is_not_listed_falls_to_its_status_then_its_family_then_to_unlisted() {
        for (origin, status, code, expected, scope) in [
            (
                Origin::Mimecast,
                429,
                "slow_down",
                Throttled,
                Scope::Resource,
            ),
            (Origin::Mimecast, 451, "why", RequestInvalid, Scope::Stream),
            (Origin::Mimecast, 599, "", Transient, Scope::Stream),
            (Origin::Mimecast, 200, "err_new", Transient, Scope::Stream),
            (Origin::Mimecast, 0, "", Transient, Scope::Stream),
            (Origin::Token, 503, "", Transient, Scope::Credential),
            (
                Origin::Token,
                429,
                "too_many_requests",
                Throttled,
                Scope::Credential,
            ),
            (Origin::ObjectStore, 418, "", Transient, Scope::Stream),
            (Origin::Hec, 599, "99", Transient, Scope::Output),
            (Origin::Hec, 451, "", RequestInvalid, Scope::Output),
            (Origin::Transport, 0, "gremlins", Transient, Scope::Stream),
            (Origin::Local, 0, "gremlins", Transient, Scope::Output),
        ] {
            let row = find(origin, status, code);
            assert_eq!(
                (row.class, row.scope),
                (expected, scope),
                "{origin:?} {status}/{code}"
            );
        }
        assert!(!is_known(&Failure::new(Origin::Mimecast, 401, "0099", "x")));
        assert!(is_known(&Failure::new(Origin::Mimecast, 429, "", "x")));
    }

    #[test]
    fn every_refusal_of_splunk_is_listed() {
        for code in (1..=27).filter(|code| ![17, 24, 25].contains(code)) {
            let failure = Failure::new(Origin::Hec, 400, &code.to_string(), "x");
            assert!(is_known(&failure), "{failure}");
        }
    }

    #[test]
    fn the_table_is_consistent() {
        let mut keys = HashSet::new();
        for row in all() {
            let key = row.key();
            for name in row.aliases.iter().chain([&row.code]) {
                assert!(
                    keys.insert((row.origin, row.status, *name)),
                    "{key} twice: {name}"
                );
            }
            for text in [row.title, row.advice, row.source] {
                assert!(!text.is_empty() && text.trim() == text, "{key}: {text:?}");
            }
            assert_ne!(row.recheck, Some(Duration::ZERO), "{key}");
            match row.class {
                LockedOut | CredentialStale | Forbidden | RequestInvalid => {
                    assert!(
                        row.recheck.is_some(),
                        "{key} would never be looked at again"
                    );
                }
                CredentialRejected | ClockSkewed => {}
                Transient | Throttled | CursorInvalid | RecordRejected | Watched => {
                    assert_eq!(row.recheck, None, "{key}: the curve decides");
                }
            }
            if row.recheck.is_none() && row.class == CredentialRejected {
                assert_eq!(
                    row.scope,
                    Scope::Credential,
                    "{key}: nothing would end the block"
                );
            }
        }
        assert_eq!(longest_recheck(), Duration::from_hours(6));
    }

    #[test]
    fn an_output_that_is_down_is_told_of_after_a_quarter_of_an_hour_at_the_latest() {
        let of_outputs = all().filter(|row| {
            matches!(
                row.origin,
                Origin::Hec | Origin::Http | Origin::Webhook | Origin::Transport
            ) || (row.origin == Origin::Local && row.scope == Scope::Output)
        });
        for row in of_outputs {
            assert!(row.alert_after <= Duration::from_mins(15), "{}", row.key());
        }
    }

    proptest! {
        #[test]
        fn every_failure_has_a_row(origin in 0..TABLES.len(), status: u16, code: String) {
            let origin = TABLES[origin][0].origin;
            prop_assert!(!find(origin, status, &code).key().is_empty());
        }
    }
}
