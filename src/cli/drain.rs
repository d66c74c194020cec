//! `drain`: asks a running collector to hand its integrations over to the other nodes.

use std::io::Write;
use std::path::Path;

use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};

/// Asks the collector that listens at `socket` to hand everything over, or to take a share again, and writes what it says.
///
/// # Errors
/// No collector there, none of a cluster, or nowhere to write.
pub async fn run(socket: &Path, undo: bool, out: &mut impl Write) -> Result<(), AskError> {
    Ok(say(&ask(socket, &Request::Drain { undo }).await?, out)?)
}
