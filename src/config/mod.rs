//! The configuration: the parts that others own, put together and checked against each other.
//!
//! A [`Config`] is usable: what could be found wrong without leaving this machine has been found, all of it at once. What needs
//! the secrets themselves is found by [`Config::check_secrets`].

mod files;
mod read;
mod secrets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cluster::config::ClusterConfig;
use crate::logging::Format;
use crate::output::config::OutputConfig;
use crate::poll::config::IntegrationConfig;
use crate::secret::SecretSource;
use crate::settings::{Document, Notes, Problem, Problems, SecretUse, Table};
use crate::web::WebConfig;

/// All that the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder of all that outlives the process.
    pub state_dir: PathBuf,
    /// How the program logs.
    pub log: Log,
    /// How much may wait for delivery.
    pub spool: Spool,
    /// Where the status page is served, if anywhere.
    pub status: WebConfig,
    /// The other collectors that share the integrations, if there are any.
    pub cluster: Option<ClusterConfig>,
    /// What is fetched: at least one, in the order of the files.
    pub integrations: Vec<IntegrationConfig>,
    /// Where it goes: at least one, in the order of the files.
    pub outputs: Vec<OutputConfig>,
    /// What works but should be looked at.
    pub warnings: Vec<Problem>,
    /// Every secret that is named, with its place.
    secrets: Vec<SecretUse>,
}

/// How the program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of its lines.
    pub format: Format,
    /// The least important lines that are written.
    pub level: tracing::Level,
}

/// How much may wait for delivery, in bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Of all integrations together.
    pub max_bytes: u64,
    /// Of one integration; when it is reached, that integration stops polling.
    pub integration_max_bytes: u64,
    /// People are told when less than this is free on the disk; `None` for what suits its size.
    pub disk_low: Option<u64>,
}

impl Config {
    /// Reads the file and `conf.d/*.toml` beside it, in the order of their names.
    ///
    /// # Errors
    /// Every mistake of all files.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let notes = Notes::default();
        let files = files::read(path, &notes);
        let documents: Vec<_> = files
            .iter()
            .map(|file| Document::parse(file, &notes))
            .collect();
        let parts = read::parts(Table::root(&documents, &notes));
        Self::of(parts, notes)
    }

    /// What tells whether two collectors have the same integrations and outputs; nothing can be told from it.
    #[must_use]
    pub fn hash(&self) -> String {
        use sha2::Digest as _;
        // Secrets are not shown; where they are is.
        let text = format!("{:?} {:?}", self.integrations, self.outputs);
        let hash = sha2::Sha256::digest(text);
        hash.iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The files that the configuration is in, as far as the folder can be listed.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        files::paths(path)
    }

    /// The files that hold secrets, each once.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let files = self.secrets.iter().filter_map(|used| match &used.source {
            SecretSource::File(path) => Some(path.as_path()),
            SecretSource::Credential(_) | SecretSource::Env(_) | SecretSource::Literal(_) => None,
        });
        files.collect::<BTreeSet<_>>().into_iter()
    }

    fn of(parts: read::Parts, notes: Notes) -> Result<Self, Problems> {
        let (warnings, secrets) = notes.finish()?;
        Ok(Self {
            state_dir: parts.state_dir,
            log: parts.log,
            spool: parts.spool,
            status: parts.status,
            cluster: parts.cluster,
            integrations: parts.integrations,
            outputs: parts.outputs,
            warnings,
            secrets,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mimecast::log_types::LOG_TYPES;
    use crate::settings::File;

    const EXAMPLE: &str = include_str!("../../config.example.toml");

    /// The example with the `#` taken from its lines with keys, if `uncomment` says so.
    fn example(uncomment: impl Fn(&str) -> bool) -> String {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) && uncomment(key) => key,
            Some(_) | None => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What a text says, and the keys that were asked for.
    fn read(text: String) -> (Config, BTreeMap<String, bool>) {
        let notes = Notes::default();
        let files = [File::new(0, Path::new("/etc/example.toml"), text)];
        let documents = files.each_ref().map(|file| Document::parse(file, &notes));
        let parts = read::parts(Table::root(&documents, &notes));
        let keys = notes.keys();
        let config = Config::of(parts, notes).unwrap_or_else(|problems| panic!("{problems}"));
        (config, keys)
    }

    #[test]
    fn the_example_has_every_key_and_no_other() {
        let (_, keys) = read(example(|_| true));
        let absent: Vec<_> = keys
            .iter()
            .filter(|(key, found)| !**found && !key.starts_with("defaults."))
            .collect();
        assert!(absent.is_empty(), "not in config.example.toml: {absent:?}");
        assert!(keys.len() > 30, "{keys:?}");
    }

    #[test]
    fn the_example_names_every_log_type() {
        for log in LOG_TYPES {
            assert!(EXAMPLE.contains(log.name), "{}", log.name);
        }
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let (plain, _) = read(example(|_| false));
        let (shown, _) = read(example(|line| !line.ends_with("# no default")));
        let without_places = |config: Config| Config {
            secrets: Vec::new(),
            ..config
        };
        assert_eq!(without_places(plain), without_places(shown));
    }

    proptest::proptest! {
        #[test]
        fn no_damage_to_a_file_makes_reading_panic(from in 0..EXAMPLE.len(), cut in 0..200_usize, put in "[\\[\\]{}=\"'.,#\n0-9a-z é]{0,6}") {
            let mut text = EXAMPLE.as_bytes().to_vec();
            let end = (from + cut).min(text.len());
            text.splice(from..end, put.bytes());
            let files = [File::new(0, Path::new("x"), String::from_utf8_lossy(&text).into_owned())];
            let notes = Notes::default();
            let documents = files.each_ref().map(|file| Document::parse(file, &notes));
            let parts = read::parts(Table::root(&documents, &notes));
            drop(Config::of(parts, notes));
        }
    }
}
