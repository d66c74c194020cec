//! `pause`: asks a running collector to leave an integration or output alone.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};
use crate::units::parse_duration;

/// Asks the collector that listens at `socket` to pause `name`, and writes what it says.
///
/// # Errors
/// No collector there, no such name, or nowhere to write.
pub async fn run(
    socket: &Path,
    name: &str,
    wish: Option<Duration>,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let request = Request::Pause {
        name: name.to_owned(),
        seconds: wish.map(|wish| wish.as_secs()),
    };
    Ok(say(&ask(socket, &request).await?, out)?)
}

/// Reads the option `--for`.
///
/// # Errors
/// What is wrong with it.
pub fn read_for(text: &str) -> Result<Duration, String> {
    parse_duration(text).and_then(|wish| match wish.as_secs() {
        0 => Err("a pause lasts a second at least".to_owned()),
        _ => Ok(wish),
    })
}
