//! What was found out: one line, and what to do if it is not as it should be.

use serde::Serialize;

use crate::health::{Failure, lookup};

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Ok,
    /// It was not looked at, because of what was found before.
    Skipped,
    /// It works, or cannot be known, and somebody should look.
    Warning,
    /// It does not work.
    Failure,
}

impl Verdict {
    /// The word, as in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what, such as `dns` or `log audit`.
    pub what: String,
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// How it is, without secrets.
    pub detail: String,
    /// What a person can do; empty if nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(what, Verdict::Ok, detail, "")
    }

    pub(super) fn new(
        what: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            verdict,
            detail: detail.into(),
            advice: advice.into(),
        }
    }

    /// A failure, with the advice of its row in the table of errors.
    pub(super) fn failed(what: impl Into<String>, failure: &Failure) -> Self {
        let row = lookup(failure);
        let detail = format!("{}: {failure}", row.title);
        Self::new(what, Verdict::Failure, detail, row.advice)
    }
}

/// What was found out about one integration, one output, or this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is, such as `Integration acme (API 2.0)`.
    pub subject: String,
    /// In the order in which one thing needs the other.
    pub findings: Vec<Finding>,
}
