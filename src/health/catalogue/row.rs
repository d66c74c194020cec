//! The shape of a row, and what follows from its class.

use std::time::Duration;

use crate::health::Origin;

/// What a failure means for what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A bearer token, or a refusal without a reason, that a new token may mend.
    CredentialStale,
    /// A refused signature: of a wrong clock if the answer's date is far off, else of a wrong key.
    ClockSkewed,
    /// The account is locked for a while, and each try may prolong that.
    LockedOut,
    /// The credential is not accepted: a person must change it, or what it stands for.
    CredentialRejected,
    /// The credential is good and may not do this.
    Forbidden,
    /// The request is wrong and will stay wrong.
    RequestInvalid,
    /// It passes by itself.
    Transient,
    /// Too many requests.
    Throttled,
    /// The cursor is not accepted any more.
    CursorInvalid,
    /// One record is not accepted; the next may be.
    RecordRejected,
    /// A condition that the collector watches, and that nothing waits for.
    Watched,
}

/// Whose state a failure changes.
///
/// An output knows [`Scope::Lane`] from the rest: what its transport says of a stream or a credential is its own trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The credential's, and so every stream's of the integration.
    Credential,
    /// The function's that Mimecast counts calls of, for this credential.
    Resource,
    /// The stream's.
    Stream,
    /// The output's.
    Output,
    /// The lane's at this output.
    Lane,
}

/// How loud a change of state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Part of the day's work.
    Info,
    /// Unexpected, and coped with.
    Warn,
    /// A person must act, or data is at risk.
    Error,
}

/// How much stands still, in the words of Mimecast's article.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Cosmetic, or soon resolved.
    Low,
    /// Degraded.
    Medium,
    /// Nothing arrives.
    High,
}

/// Which HTTP status a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Any, or none.
    Any,
    /// This one.
    Is(u16),
    /// All that begin with this digit.
    Family(u16),
}

impl Status {
    pub(super) const fn covers(self, status: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Is(one) => one == status,
            Self::Family(digit) => digit == status / 100,
        }
    }
}

const SUPPORT: &str = " If that does not help, open a case with the vendor's support and name the request id that the log shows.";

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who says it.
    pub origin: Origin,
    /// Under which status.
    pub status: Status,
    /// The code; empty for a row of a status without a listed code.
    pub code: &'static str,
    /// Other names of the code; one that ends in `*` stands for all that begin so.
    pub aliases: &'static [&'static str],
    /// What it is called, by the vendor if the vendor names it.
    pub title: &'static str,
    /// What happens next.
    pub class: Class,
    /// To whom.
    pub scope: Scope,
    /// How loud the change of state is.
    pub level: Level,
    /// How much stands still.
    pub impact: Impact,
    /// From a block to the next try; `None` waits for a person or another credential.
    pub recheck: Option<Duration>,
    /// From the first failure to the alert.
    pub alert_after: Duration,
    /// What a person can do, and where.
    pub advice: &'static str,
    /// Whether a support case helps if it stays.
    pub support: bool,
    /// Where the vendor says so.
    pub source: &'static str,
}

impl Row {
    /// A row with what follows from its class; advice and source are to be added.
    pub(super) const fn new(
        origin: Origin,
        status: Status,
        code: &'static str,
        title: &'static str,
        class: Class,
        scope: Scope,
    ) -> Self {
        let (level, alert_after) = match class {
            Class::LockedOut | Class::CredentialRejected | Class::ClockSkewed => {
                (Level::Error, Duration::ZERO)
            }
            Class::Forbidden | Class::RequestInvalid | Class::CursorInvalid => {
                (Level::Error, Duration::from_mins(15))
            }
            Class::CredentialStale | Class::Transient | Class::RecordRejected => {
                (Level::Warn, Duration::from_mins(15))
            }
            Class::Throttled => (Level::Info, Duration::from_mins(15)),
            Class::Watched => (Level::Error, Duration::ZERO),
        };
        Self {
            origin,
            status,
            code,
            aliases: &[],
            title,
            class,
            scope,
            level,
            impact: Impact::Medium,
            recheck: None,
            alert_after,
            advice: "",
            support: false,
            source: "",
        }
    }

    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    pub(super) const fn impact(self, impact: Impact) -> Self {
        Self { impact, ..self }
    }

    pub(super) const fn recheck(self, after: Duration) -> Self {
        Self {
            recheck: Some(after),
            ..self
        }
    }

    pub(super) const fn alert_at_once(self) -> Self {
        Self {
            alert_after: Duration::ZERO,
            ..self
        }
    }

    pub(super) const fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    pub(super) const fn support(self) -> Self {
        Self {
            support: true,
            ..self
        }
    }

    pub(super) const fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// Whether the row is for this code, whatever the status.
    #[must_use]
    pub fn names(&self, code: &str) -> bool {
        let is = |name: &str| match name.strip_suffix('*') {
            Some(beginning) => code.starts_with(beginning),
            None => code == name,
        };
        !code.is_empty() && (code == self.code || self.aliases.iter().any(|alias| is(alias)))
    }

    /// What a person can do, and whether to turn to support if that does not help.
    #[must_use]
    pub fn guidance(&self) -> String {
        let support = if self.support { SUPPORT } else { "" };
        format!("{}{support}", self.advice)
    }

    /// Status and code as people write them: `401/0010`, `429`, `4xx`, `timeout`.
    #[must_use]
    pub fn key(&self) -> String {
        let status = match self.status {
            Status::Any if self.code.is_empty() => return "other".to_owned(),
            Status::Any => return self.code.to_owned(),
            Status::Is(status) => status.to_string(),
            Status::Family(digit) => format!("{digit}xx"),
        };
        if self.code.is_empty() {
            status
        } else {
            format!("{status}/{}", self.code)
        }
    }
}
