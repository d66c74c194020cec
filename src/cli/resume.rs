//! `resume`: asks a running collector to try something again.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::status::AskError;
use crate::control::{Request, ask};

/// Asks the collector that listens at `socket` to try `name` again, and writes what it says.
///
/// # Errors
/// No collector there, no such name, or nowhere to write.
pub async fn run(socket: &Path, name: &str, out: &mut impl Write) -> Result<(), AskError> {
    let request = Request::Resume {
        name: name.to_owned(),
    };
    Ok(say(&ask(socket, &request).await?, out)?)
}

/// Writes an answer that is a sentence for people.
pub(super) fn say(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    match answer.as_str() {
        Some(sentence) => writeln!(out, "{sentence}"),
        None => writeln!(out, "{answer}"),
    }
}
