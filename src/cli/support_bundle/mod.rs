//! `support-bundle`: what somebody who helps will ask for, in one archive, without secrets and without what is about a mail.
//!
//! Mimecast's support wants of a failure the whole answer with its status, the request id, URL and method, the time with its zone and the
//! account code. Beside these go configuration, states, versions and the recent log. It works with a collector that runs and without
//! one, and with a configuration that is wrong: what cannot be had is said in its place. Nothing is asked of Mimecast or of an output.

mod shown;
mod tar;

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::alert::ACCOUNT_CODE;
use crate::config::Config;
use crate::control::{Request, ask, state_socket};
use crate::mimecast::log_types::Api;
use crate::model::Timestamp;
use crate::redact::Redactor;
use crate::store::last_failures;

/// Failures in the bundle; the last ones.
const FAILURES: usize = 100;
/// Lines of the journal.
const LINES: &str = "5000";
/// 4 MiB: the end of a log that stands in a file.
const LOG: u64 = 4 << 20;
const UNIT: &str = "mimecast-collector";
const STATE_DIR: &str = "/var/lib/mimecast-collector";

/// What is wished for.
#[derive(Debug)]
pub struct Wish {
    /// The configuration.
    pub config: PathBuf,
    /// The archive; in the current folder, named by the time, if this is missing.
    pub output: Option<PathBuf>,
    /// A file with the collector's log; the journal if this is missing.
    pub log: Option<PathBuf>,
    /// The time.
    pub now: Timestamp,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file is there already.
    #[error("{0} is there already and is left as it is: name another file with --output")]
    There(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nowhere to say what is in it.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// A file of the bundle: its text, or why there is none.
type Part = Result<String, String>;

/// Writes the archive, readable by its owner alone, and says what is in it.
///
/// # Errors
/// A file that is there already is not touched.
pub async fn run(wish: &Wish, out: &mut impl Write) -> Result<(), BundleError> {
    let stamp = wish.now.to_string();
    let stamp: String = stamp
        .split('.')
        .next()
        .unwrap_or("")
        .replace(['-', ':'], "");
    let name = format!("{UNIT}-support-{stamp}Z");
    let path = wish.output.clone();
    let path = path.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let failed = |source: io::Error| {
        let path = path.clone();
        if source.kind() == io::ErrorKind::AlreadyExists {
            BundleError::There(path)
        } else {
            BundleError::File { path, source }
        }
    };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let encoder = GzEncoder::new(file.map_err(failed)?, Compression::default());
    let mut archive = tar::Archive::new(encoder, &name, wish.now);

    writeln!(out, "In {}:", path.display())?;
    let mut put = |name: &str, what: &str, part: Part| -> Result<(), BundleError> {
        let (text, size) = match part {
            Ok(text) => {
                let size = format!("{} bytes", text.len());
                (text, size)
            }
            Err(why) => (format!("There is none: {why}\n"), format!("none: {why}")),
        };
        archive.add(name, text.as_bytes()).map_err(failed)?;
        Ok(writeln!(out, "  {name:<14} {what} ({size})")?)
    };
    let load = Config::load(&wish.config);
    let secrets = load.as_ref().map(Config::secrets_at_hand);
    let redactor = Redactor::new(secrets.as_deref().unwrap_or_default());
    let files = Config::files(&wish.config);
    let shown = shown::configuration(&files, &redactor);
    let state_dir = state_dir(&load, &wish.config, &shown);

    put(
        "about.txt",
        "versions, account codes, times",
        Ok(about(wish, &load)),
    )?;
    put(
        "check.txt",
        "what check says of the configuration",
        Ok(check(&load, &redactor)),
    )?;
    put(
        "config.json",
        "the configuration, as values",
        pretty(&shown),
    )?;
    put(
        "failures.json",
        "the last failures, with the answers",
        failures(&state_dir, &redactor),
    )?;
    put(
        "states.json",
        "states and progress, as last written",
        states(&state_dir, &redactor),
    )?;
    let socket = state_socket(&state_dir);
    for (file, what, request) in [
        (
            "status.json",
            "what the running collector says",
            Request::Status,
        ),
        ("ledger.json", "its books", Request::Ledger),
    ] {
        let said = ask(&socket, &request).await;
        let said = said.map_err(|e| redactor.text(&e.to_string()));
        let said = said.and_then(|value| Ok(redactor.text(&pretty(&value)?)));
        put(file, what, said)?;
    }
    put(
        "log.txt",
        "the end of the log",
        log(wish.log.as_deref(), &redactor),
    )?;
    let encoder = archive.finish().map_err(failed)?;
    let file = encoder.finish().map_err(failed)?;
    file.sync_all().map_err(failed)?;
    writeln!(
        out,
        "\nSecrets, tokens, mail addresses and network addresses were taken out, and only you can read the file. Look at it before you \
         send it:\n  tar -xzOf {} | less",
        path.display()
    )?;
    Ok(())
}

/// Where the collector keeps its state, also by a configuration that is wrong elsewhere.
fn state_dir<E>(load: &Result<Config, E>, config: &Path, shown: &Value) -> PathBuf {
    if let Ok(config) = load {
        return config.state_dir.clone();
    }
    let said = shown.as_object().and_then(|files| {
        files
            .values()
            .find_map(|file| file.get("state_dir")?.as_str())
    });
    let folder = config.parent().unwrap_or(Path::new(""));
    said.map_or_else(|| PathBuf::from(STATE_DIR), |said| folder.join(said))
}

fn about<E>(wish: &Wish, load: &Result<Config, E>) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let systemd = output(Command::new("systemctl").arg("--version"));
    let systemd = systemd.unwrap_or_default();
    let mut text = format!(
        "{UNIT} {}\nmade: {} (UTC, as all times here)\nsystem: {}, Linux {} ({})\nsystemd: {}\nconfiguration: {}\n",
        env!("CARGO_PKG_VERSION"),
        wish.now,
        release.unwrap_or("unknown").trim_matches('"'),
        kernel.trim(),
        std::env::consts::ARCH,
        systemd.lines().next().unwrap_or("none"),
        wish.config.display(),
    );
    if let Ok(config) = load {
        for integration in &config.integrations {
            let account = integration.tags.get(ACCOUNT_CODE).map(String::as_str);
            text.push_str(&format!(
                "integration {}: API {}, {}, account code {}\n",
                integration.id,
                match integration.credential.api() {
                    Api::V1 => "1.0",
                    Api::V2 => "2.0",
                },
                integration.base_url,
                account.unwrap_or("not given: set the tag account_code"),
            ));
        }
    }
    text
}

fn check(load: &Result<Config, impl ToString>, redactor: &Redactor) -> String {
    let said = match load {
        Ok(config) => {
            let warnings = config
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}\n"));
            let secrets = match config.check_secrets() {
                Ok(doubts) => doubts
                    .iter()
                    .map(|doubt| format!("warning: {doubt}\n"))
                    .collect(),
                Err(problems) => {
                    format!("secrets, as seen by the user who made this: {problems}\n")
                }
            };
            format!(
                "the configuration is right\n{}{secrets}",
                warnings.collect::<String>()
            )
        }
        Err(problems) => format!("{}\n", problems.to_string()),
    };
    redactor.text(&said)
}

fn failures(state_dir: &Path, redactor: &Redactor) -> Part {
    let mut found = last_failures(state_dir, FAILURES).map_err(|e| e.to_string())?;
    if found.is_empty() {
        return Err("none was met".to_owned());
    }
    found.reverse();
    Ok(redactor.text(&pretty(&found.into())?))
}

/// The shadow copy, without the cursors: what stands in those is Mimecast's.
fn states(state_dir: &Path, redactor: &Redactor) -> Part {
    let text = fs::read_to_string(state_dir.join("shadow.json")).map_err(|e| e.to_string())?;
    let mut value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if let Some(streams) = value.get_mut("streams").and_then(Value::as_object_mut) {
        for stream in streams.values_mut().filter_map(Value::as_object_mut) {
            stream.remove("cursor");
            stream.remove("repair");
        }
    }
    Ok(redactor.text(&pretty(&value)?))
}

fn log(file: Option<&Path>, redactor: &Redactor) -> Part {
    let text = match file {
        Some(path) => end_of(path).map_err(|e| format!("{}: {e}", path.display()))?,
        None => {
            let mut journal = Command::new("journalctl");
            journal.args([
                "--no-pager",
                "--quiet",
                "--utc",
                "--output=short-iso-precise",
            ]);
            journal.args(["--lines", LINES, "--unit", UNIT]);
            output(&mut journal)?
        }
    };
    if text.trim().is_empty() {
        return Err(
            "the journal has no line of it; --log FILE takes the log from a file".to_owned(),
        );
    }
    Ok(redactor.text(&text))
}

/// The end of a file.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let behind = file.metadata()?.len().saturating_sub(LOG);
    file.seek(SeekFrom::Start(behind))?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A line that begins before what was read may hold half of something.
    let whole = text.split_once('\n').map_or("", |(_, rest)| rest);
    Ok(if behind > 0 { whole.to_owned() } else { text })
}

/// What a program of the system says.
fn output(command: &mut Command) -> Part {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| format!("{name}: {e}"))?;
    if !done.status.success() {
        return Err(format!("{name} ended with {}", done.status));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn pretty(value: &Value) -> Part {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|e| e.to_string())
}
