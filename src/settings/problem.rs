//! What was found while reading: problems with their places, in the order in which a person works through them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::secret::SecretSource;

/// A place in a configuration file; ordered by file, line and column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Rank of the file among those read.
    rank: usize,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// In characters, from 1.
    column: usize,
    path: Arc<Path>,
}

impl Place {
    pub(super) fn new(rank: usize, path: Arc<Path>, line: usize, column: usize) -> Self {
        Self {
            rank,
            line,
            column,
            path,
        }
    }

    /// Line from 1; 0 for the file as a whole.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }
}

/// `config.toml:12:1`, or `config.toml` for the file as a whole.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}:{}", self.column),
        }
    }
}

/// Something to mend, or to think about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Path of the key, such as `integration[acme-uk].interval`; empty for a file as a whole.
    pub key: String,
    /// What is wrong and what would be right; never a secret.
    pub text: String,
}

/// One line: `config.toml:12:1: integration[acme-uk].intervall: unknown key; did you mean "interval"?`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// All that is wrong with a configuration: at least one problem, each once, by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(BTreeSet<Problem>);

impl Problems {
    /// The problems, or none.
    #[must_use]
    pub fn of(problems: BTreeSet<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// Goes through them by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

/// A line for each, and one that counts them.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let files: BTreeSet<_> = self.0.iter().map(|problem| &problem.place.path).collect();
        let count = |n: usize, noun| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "{} in {}",
            count(self.0.len(), "problem"),
            count(files.len(), "file")
        )
    }
}

impl std::error::Error for Problems {}

/// A secret that the configuration names, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// Where.
    pub place: Place,
    /// Path of the key.
    pub key: String,
    /// Where the secret is.
    pub source: SecretSource,
}

/// Collects what is found while reading; shared by all tables of one configuration.
#[derive(Debug, Default)]
pub struct Notes {
    errors: RefCell<BTreeSet<Problem>>,
    warnings: RefCell<BTreeSet<Problem>>,
    secrets: RefCell<Vec<SecretUse>>,
    asked: RefCell<BTreeMap<String, bool>>,
}

impl Notes {
    /// Notes a problem that makes the configuration unusable; the same one counts once.
    pub fn error(&self, place: Place, key: &str, text: String) {
        self.errors.borrow_mut().insert(Problem {
            place,
            key: key.to_owned(),
            text,
        });
    }

    /// Notes something that works but should be looked at.
    pub fn warning(&self, place: Place, key: &str, text: String) {
        self.warnings.borrow_mut().insert(Problem {
            place,
            key: key.to_owned(),
            text,
        });
    }

    pub(super) fn secret(&self, secret: SecretUse) {
        let mut secrets = self.secrets.borrow_mut();
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }

    pub(super) fn asked(&self, key: String, found: bool) {
        *self.asked.borrow_mut().entry(key).or_default() |= found;
    }

    /// Every key that a reader asked for, and whether it was ever there.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<String, bool> {
        self.asked.borrow().clone()
    }

    /// The warnings and the secrets, or the errors.
    ///
    /// # Errors
    /// What makes the configuration unusable.
    pub fn finish(self) -> Result<(Vec<Problem>, Vec<SecretUse>), Problems> {
        match Problems::of(self.errors.into_inner()) {
            Some(problems) => Err(problems),
            None => Ok((
                self.warnings.into_inner().into_iter().collect(),
                self.secrets.into_inner(),
            )),
        }
    }
}
