//! `status`: asks a running collector how it is doing.

mod cluster;
pub(super) mod page;
mod problem;
mod render;
mod streams;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use page::Look;
pub use render::render;
pub use watch::{Screen, watch};

use crate::control::{ControlError, Request, ask};
use crate::status::{Level, Report};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The collector did not answer, or said no.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The answer is of another version.
    #[error(
        "cannot read the report of the collector: {0}; use the program of its version, or --json"
    )]
    Report(#[from] serde_json::Error),
    /// A dead letter has no file besides its records.
    #[error(
        "no file was kept with dead letter {0}: only damaged files are, of up to 64 MiB; 'dead-letters show {0}' has its records"
    )]
    NotKept(u64),
    /// A file cannot be copied.
    #[error("cannot {attempt} {path}: {source}")]
    Copy {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nowhere to write it.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// Asks the collector that listens at `socket`, writes its report as a table, and says whether somebody has to act.
///
/// # Errors
/// No collector there, one of another version, or nowhere to write.
pub async fn run(socket: &Path, look: Look, out: &mut impl Write) -> Result<Level, AskError> {
    let report: Report = serde_json::from_value(ask(socket, &Request::Status).await?)?;
    render(&report, look, out)?;
    Ok(report.summary.level)
}

/// Asks the collector that listens at `socket`, writes its report as it comes, as JSON, and says whether somebody has to act.
///
/// # Errors
/// No collector there, or nowhere to write.
pub async fn run_json(socket: &Path, out: &mut impl Write) -> Result<Level, AskError> {
    let report = ask(socket, &Request::Status).await?;
    writeln!(out, "{report:#}")?;
    let Report { summary, .. } = serde_json::from_value(report)?;
    Ok(summary.level)
}
