//! How the command line talks to a running collector: JSON lines over a Unix socket.
//!
//! A request is one line, the answer is one line, and a connection may carry several:
//!
//! ```text
//! > {"version":1,"command":"resume","name":"acme-uk"}
//! < {"version":1,"ok":"acme-uk is tried again now"}
//! > {"version":1,"command":"fly"}
//! < {"version":1,"error":"unknown variant `fly`, expected one of `status`, `ledger`, `resume`, `pause`, …"}
//! ```
//!
//! Who may open the socket may ask everything: its rights are the authentication, so it belongs to the collector's user and
//! group alone. No request and no answer has a place for a secret. The [`Server`] bounds what a client can cost; what a request
//! means is its [`Handler`]'s business.

mod client;
mod server;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::Timestamp;

pub use client::ask;
pub use server::{Handler, Server};

/// The version of requests and answers; changes when either changes its meaning.
const VERSION: u64 = 1;
/// The name of the socket in its folder.
const SOCKET: &str = "control.sock";

/// What can be asked of a running collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything is doing; answered with a [`Report`](crate::status::Report).
    Status,
    /// Whether the books balance; answered with a [`Ledger`](crate::ledger::Ledger).
    Ledger,
    /// Try an integration or an output again at once; answered with a sentence for people.
    Resume {
        /// Its name.
        name: String,
    },
    /// Leave an integration or an output alone; answered with a sentence for people.
    Pause {
        /// Its name.
        name: String,
        /// For how long; until it is resumed if this is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Fetch a span of time again; answered with its number, the least requests that it takes, and a sentence for people.
    Replay {
        /// The integration's name.
        integration: String,
        /// The log type's name.
        log: String,
        /// The first moment.
        from: Timestamp,
        /// The moment behind the last one.
        to: Timestamp,
        /// The one output that it is for; all if this is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        /// Whether only to say what would be asked.
        #[serde(default)]
        dry_run: bool,
    },
    /// The replays that are not over; answered with a list of [`ReplayReport`](crate::status::ReplayReport).
    Replays,
    /// Give up a replay; answered with a sentence for people.
    CancelReplay {
        /// Its number.
        number: u64,
    },
    /// Give up what is kept for a name that is not configured any more; answered with a sentence for people.
    Forget {
        /// The name.
        name: String,
        /// Whether to do it, or only to say what that would be.
        #[serde(default)]
        sure: bool,
    },
    /// What was put aside; answered with a list.
    DeadLetters,
    /// One of these with its records; answered with an object.
    DeadLetter {
        /// Its number.
        number: u64,
    },
    /// Send the events of one of these again; answered with a sentence for people.
    SendAgain {
        /// Its number.
        number: u64,
    },
    /// Throw one of these away; answered with a sentence for people.
    Discard {
        /// Its number.
        number: u64,
    },
    /// Hand all integrations over to the other nodes, or take a share again; answered with a sentence for people.
    Drain {
        /// Whether to take a share again.
        undo: bool,
    },
}

/// Where a collector with this state directory listens: in the runtime directory that systemd gives it, else in the
/// state directory.
///
/// A client does not share the collector's environment. It looks at [`state_socket`], where
/// [`Server::linked_at`] leaves a link.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    runtime_dir().map_or_else(|| state_socket(state_dir), |dir| dir.join(SOCKET))
}

/// Where a client finds the collector that uses this state directory.
#[must_use]
pub fn state_socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd's word for where the socket belongs; nobody else asks for it"
)]
fn runtime_dir() -> Option<PathBuf> {
    first_dir(&std::env::var("RUNTIME_DIRECTORY").ok()?)
}

/// The first of the folders that systemd names, separated by colons.
fn first_dir(list: &str) -> Option<PathBuf> {
    let first = list.split(':').find(|dir| !dir.is_empty())?;
    Some(PathBuf::from(first))
}

/// Why the control socket does not serve, or why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made.
    #[error("cannot {attempt} the control socket {path}: {source}")]
    Bind {
        /// What was attempted.
        attempt: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody listens.
    #[error(
        "no collector is running: {why} {path}. Start it with 'systemctl start mimecast-collector' or \
         'mimecast-collector run', or name the configuration of the one that is running with --config"
    )]
    NotRunning {
        /// How that is known.
        why: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// The socket is another user's.
    #[error("permission denied for the control socket {path}: {whose}")]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Who may open it.
        whose: String,
    },
    /// The connection broke.
    #[error("the collector at {path} did not answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not one of this version.
    #[error(
        "cannot read the answer of the collector at {path}: {why}. If it was upgraded, use the program of its version"
    )]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The collector said no.
    #[error("{0}")]
    Refused(String),
}

/// What becomes of a request.
type Answer = Result<Value, String>;

/// A message as it is written.
#[derive(Serialize)]
struct Envelope<T> {
    version: u64,
    #[serde(flatten)]
    content: T,
}

fn write_request(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    line(request)
}

fn write_answer(answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Content<'a> {
        Ok(&'a Value),
        Error(&'a str),
    }
    line(match answer {
        Ok(value) => Content::Ok(value),
        Err(error) => Content::Error(error),
    })
}

fn line(content: impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&Envelope {
        version: VERSION,
        content,
    })?;
    line.push(b'\n');
    Ok(line)
}

fn read_request(line: &[u8]) -> Result<Request, String> {
    let mut members: Map<_, _> = serde_json::from_slice(line)
        .map_err(|e| format!("a request is one JSON object in one line: {e}"))?;
    check_version(&mut members)?;
    let request: Request =
        serde_json::from_value(Value::Object(members.clone())).map_err(|e| e.to_string())?;
    // Serde lets the members of a variant without fields pass.
    if serde_json::to_value(&request).is_ok_and(|known| known != Value::Object(members)) {
        return Err("the request has members that its command does not know".to_owned());
    }
    Ok(request)
}

/// The outer error is about the answer, the inner one is the answer.
fn read_answer(line: &[u8]) -> Result<Answer, String> {
    let mut members: Map<_, _> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    check_version(&mut members)?;
    match (members.remove("ok"), members.remove("error")) {
        (Some(value), None) => Ok(Ok(value)),
        (None, Some(Value::String(error))) => Ok(Err(error)),
        (_, _) => Err("it is neither ok nor an error".to_owned()),
    }
}

fn check_version(members: &mut Map<String, Value>) -> Result<(), String> {
    match members.remove("version") {
        Some(version) if version == VERSION => Ok(()),
        Some(version) => Err(format!("version {version} is not known, only {VERSION}")),
        None => Err(format!("\"version\" is missing, it must be {VERSION}")),
    }
}

#[cfg(test)]
mod tests;
