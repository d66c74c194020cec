//! `replay`: asks a running collector to fetch a span of time again, and shows how far it is.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::progress::Progress;
use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};
use crate::model::Timestamp;
use crate::status::ReplayReport;

/// From one look at the progress to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The answer to a wish for a replay.
#[derive(Deserialize)]
struct Begun {
    /// `None` for a dry run.
    number: Option<u64>,
    said: String,
}

/// Asks the collector that listens at `socket` for a replay, and follows it to its end. A reader that goes away ends nothing but
/// this command.
///
/// # Errors
/// No collector there, no such replay possible, or nowhere to write.
pub async fn run(
    socket: &Path,
    request: &Request,
    on_terminal: bool,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let begun: Begun = serde_json::from_value(ask(socket, request).await?)?;
    writeln!(out, "{}", begun.said)?;
    match begun.number {
        Some(number) => follow(socket, number, on_terminal, out).await,
        None => Ok(()),
    }
}

/// Lists the replays that are not over.
///
/// # Errors
/// No collector there, or nowhere to write.
pub async fn list(socket: &Path, out: &mut impl Write) -> Result<(), AskError> {
    let replays = replays(socket).await?;
    if replays.is_empty() {
        writeln!(out, "no replay is under way")?;
    }
    for replay in replays {
        let ReplayReport {
            number,
            integration,
            log,
            from,
            to,
            ..
        } = &replay;
        writeln!(
            out,
            "{number}: {integration} {log} from {from} to {to}: {}",
            progress(&replay)
        )?;
    }
    Ok(())
}

/// Gives up a replay.
///
/// # Errors
/// No collector there, no such replay, or nowhere to write.
pub async fn cancel(socket: &Path, number: u64, out: &mut impl Write) -> Result<(), AskError> {
    let answer = ask(socket, &Request::CancelReplay { number }).await?;
    Ok(say(&answer, out)?)
}

async fn replays(socket: &Path) -> Result<Vec<ReplayReport>, AskError> {
    let answer: Value = ask(socket, &Request::Replays).await?;
    Ok(serde_json::from_value(answer)?)
}

async fn follow(
    socket: &Path,
    number: u64,
    on_terminal: bool,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let mut shown = Progress::new(out, on_terminal, &format!("replay {number}"));
    loop {
        let replays = replays(socket).await?;
        let Some(replay) = replays.iter().find(|replay| replay.number == number) else {
            return Ok(shown.end(&format!("replay {number} is over"))?);
        };
        shown.show(replay.fetched_percent, &progress(replay))?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn progress(replay: &ReplayReport) -> String {
    format!(
        "{} % fetched, {} events, {} wait for delivery",
        replay.fetched_percent, replay.events, replay.backlog
    )
}

/// Reads a moment: RFC 3339, or a date for its first moment in UTC.
///
/// # Errors
/// What would be right.
pub fn read_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
        .ok_or_else(|| {
            "expected a moment such as 2026-01-06T09:00:00Z, or a date such as 2026-01-06"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_the_beginning_of_a_day() {
        assert_eq!(read_time("2026-01-06"), read_time("2026-01-06T00:00:00Z"));
        assert_eq!(
            read_time("2026-01-06T10:00:00+01:00"),
            read_time("2026-01-06T09:00:00Z")
        );
        assert!(read_time("yesterday").is_err());
    }
}
