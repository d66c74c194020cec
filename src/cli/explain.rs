//! `explain`: what a code means, what the collector makes of it, what a person can do. Reads the table; asks nobody.

use std::io::{self, Write};

use crate::health::catalogue::{self, Impact, Row, Status, what_we_do};
use crate::health::{Origin, key};
use crate::settings::did_you_mean;

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No row has this name.
    #[error(
        "no error is called '{code}'{meant}. The log and `mimecast-collector status` show the code of each failure; \
         docs/errors.md lists all. An unlisted code of Mimecast is treated by its HTTP status: try that"
    )]
    Unknown {
        /// What was asked for.
        code: String,
        /// A suggestion.
        meant: String,
    },
    /// There is nowhere to write it.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// Explains every row that `code` may mean: `401/0010`, `418`, `0012`, `hec/7`, `transport/dns`, `err_xdk_binding_expired`.
///
/// # Errors
/// No such code, or nowhere to write.
pub fn run(code: &str, out: &mut impl Write) -> Result<(), ExplainError> {
    let code = code.trim();
    let rows = meant(code);
    if rows.is_empty() {
        let names: Vec<String> = catalogue::all().flat_map(names).collect();
        return Err(ExplainError::Unknown {
            code: code.to_owned(),
            meant: did_you_mean(code, names.iter().map(String::as_str)),
        });
    }
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        show(row, out)?;
    }
    if let [row] = rows.as_slice() {
        show_kin(row, out)?;
    }
    Ok(())
}

/// The rows of the exact key, else those that share the code.
fn meant(code: &str) -> Vec<&'static Row> {
    let exact: Vec<_> = catalogue::all()
        .filter(|row| names(row).iter().any(|name| name == code))
        .collect();
    if !exact.is_empty() {
        return exact;
    }
    // A code under the status it came with, which may be an alias or one of a family.
    let under = code.split_once('/').and_then(|(status, code)| {
        let failure = crate::health::Failure::new(Origin::Mimecast, status.parse().ok()?, code, "");
        catalogue::is_known(&failure).then(|| catalogue::lookup(&failure))
    });
    match under {
        Some(row) => vec![row],
        None => catalogue::all().filter(|row| row.names(code)).collect(),
    }
}

/// What a row may be asked for by: its key with and without its origin, its code, its other names.
fn names(row: &Row) -> Vec<String> {
    let origin = row.origin.as_str();
    let mut names = vec![format!("{origin}/{}", row.key())];
    if row.origin == Origin::Mimecast {
        names.push(row.key());
    }
    if let (Origin::Hec | Origin::Webhook, Status::Is(status), "") =
        (row.origin, row.status, row.code)
    {
        names.push(key(row.origin, status, ""));
    }
    if !row.code.is_empty() {
        names.push(row.code.to_owned());
    }
    names.extend(row.aliases.iter().map(|alias| (*alias).to_owned()));
    names
}

fn show(row: &Row, out: &mut impl Write) -> io::Result<()> {
    let name = match row.origin {
        Origin::Mimecast => row.key(),
        Origin::Token
        | Origin::ObjectStore
        | Origin::Hec
        | Origin::Http
        | Origin::Webhook
        | Origin::Syslog
        | Origin::Transport
        | Origin::Local
        | Origin::Watch => {
            format!("{}/{}", row.origin.as_str(), row.key())
        }
    };
    writeln!(out, "{name}  {}", row.title)?;
    if !row.aliases.is_empty() {
        writeln!(out, "  Also:          {}", row.aliases.join(", "))?;
    }
    let impact = match row.impact {
        Impact::Low => "low: cosmetic, or soon resolved",
        Impact::Medium => "medium: degraded",
        Impact::High => "high: nothing arrives",
    };
    writeln!(out, "  Impact:        {impact}")?;
    writeln!(out, "  The collector: {}", what_we_do(row))?;
    writeln!(out, "  What you do:   {}", row.guidance())?;
    writeln!(out, "  Source:        {}", row.source)
}

/// A bare status is one row of several: the others are named.
fn show_kin(row: &Row, out: &mut impl Write) -> io::Result<()> {
    let kin: Vec<String> = catalogue::all()
        .filter(|kin| row.code.is_empty() && !kin.code.is_empty())
        .filter(|kin| (kin.origin, kin.status) == (row.origin, row.status))
        .filter(|kin| kin.status != Status::Any)
        .map(Row::key)
        .collect();
    if kin.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nCodes listed under it: {}", kin.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str) -> String {
        let mut out = Vec::new();
        run(code, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn titles(code: &str) -> Vec<&'static str> {
        meant(code).iter().map(|row| row.title).collect()
    }

    #[test]
    fn a_code_is_explained_with_what_happens_and_what_to_do() {
        insta::assert_snapshot!(explained("401/0010"), @r"
        401/0010  Login Locked Out
          Also:          err_xdk_login_locked_out
          Impact:        high: nothing arrives
          The collector: Stops the integration; tries once after 30 min, then after 1 h, 2 h and each 4 h, never sooner.
          What you do:   Find what signs in with a wrong password or key, another script perhaps, and stop it. Wait (about 30 min), or unlock the service user in the Mimecast Administration Console and resume the integration here.
          Source:        Mimecast support article 49448509755795, read 2026-11-22
        ");
    }

    #[test]
    fn a_row_is_found_by_each_of_its_names() {
        for name in ["418/0001", "err_xdk_binding_expired", "0001"] {
            assert!(titles(name).contains(&"AccessKey Has Expired"), "{name}");
        }
        assert_eq!(titles("hec/7"), ["Incorrect index"]);
        assert_eq!(titles("hec/http-413"), ["Batch too large"]);
        assert_eq!(titles("transport/dns"), ["Host name not found"]);
        assert_eq!(titles("401/err_xdk_login_locked_out"), ["Login Locked Out"]);
        assert_eq!(
            titles("400/err_validation_null"),
            ["Request validation failure"]
        );
        for row in catalogue::all() {
            for name in names(row) {
                assert!(meant(&name).contains(&row), "{name}");
            }
        }
    }

    #[test]
    fn a_number_that_means_two_things_is_explained_twice() {
        assert_eq!(
            titles("0012"),
            ["Remote Wipe Requested", "Too Many Application Bindings"]
        );
        assert_eq!(titles("403/0012"), ["Too Many Application Bindings"]);
    }

    #[test]
    fn a_bare_status_names_the_codes_under_it() {
        assert!(explained("418").ends_with("Codes listed under it: 418/0001\n"));
    }

    #[test]
    fn a_slip_of_the_pen_is_suggested_and_nonsense_is_not() {
        let said = |code: &str| run(code, &mut Vec::new()).unwrap_err().to_string();
        assert!(
            said("err_xdk_binding_expird").contains("did you mean \"err_xdk_binding_expired\"?")
        );
        assert!(said("transport/dn").contains("did you mean \"transport/dns\"?"));
        assert!(!said("gremlins everywhere").contains("did you mean"));
    }
}
