//! What the configuration says of a program that is told of alerts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::output::webhook::{max_alerts, timeout};
use crate::secret::SecretSource;
use crate::settings::{Item, Place, Setting, Table, Wrong};

/// A program that is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// Its absolute path.
    pub program: PathBuf,
    /// Its arguments, as they are: no shell reads them.
    pub args: Vec<String>,
    /// Secrets that it is told on standard input.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Alerts that it is told at once, at most.
    pub max_alerts: Option<usize>,
    /// Until it is killed.
    pub timeout: Duration,
    /// Where the configuration names it.
    pub named: Named,
}

/// A place in the configuration. It says nothing of the program, so one is as good as the other.
#[derive(Clone, Debug, Default)]
pub struct Named(pub Option<Place>);

impl PartialEq for Named {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Named {}

impl ExecConfig {
    /// Reads the keys of the type `exec`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let program = table.required::<Program>("program");
        let named = Named(table.find("program").map(|item| item.place()));
        let args = table.optional("args").map(|Args(args)| args);
        let secrets = table.optional("secrets").unwrap_or_default();
        let max_alerts = max_alerts(table);
        let timeout = timeout(table);
        Some(Self {
            program: program?.0,
            args: args.unwrap_or_default(),
            secrets,
            max_alerts,
            timeout,
            named,
        })
    }
}

struct Program(PathBuf);

impl Setting for Program {
    const EXPECTED: &'static str =
        "the absolute path of a program such as \"/usr/local/bin/tell-someone\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let path = PathBuf::from(item.text()?);
        if path.is_relative() {
            return Err([
                "is not ",
                Self::EXPECTED,
                "; arguments go into args, and no shell is asked",
            ]
            .concat()
            .into());
        }
        Ok(Self(path))
    }
}

struct Args(Vec<String>);

impl Setting for Args {
    const EXPECTED: &'static str = "a list of strings such as [\"--team\", \"secops\"]";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let elements = item.elements().ok_or(Wrong::Kind)?;
        let texts: Vec<_> = elements.iter().filter_map(Item::read::<Arg>).collect();
        if texts.len() < elements.len() {
            return Err(Wrong::Told);
        }
        Ok(Self(texts.into_iter().map(|Arg(text)| text).collect()))
    }
}

/// Any text, an empty one too.
struct Arg(String);

impl Setting for Arg {
    const EXPECTED: &'static str = "a string";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let text = item.text()?;
        if text.contains('\0') {
            return Err("has a NUL, which no argument can hold".into());
        }
        Ok(Self(text.to_owned()))
    }
}
