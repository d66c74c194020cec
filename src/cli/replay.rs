//! `replay`: asks a running collector to fetch a span of time again, and shows how far it is.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};
use crate::model::Timestamp;
use crate::status::ReplayReport;

/// From one look at the progress to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Hundredths from one line of progress to the next, where there is no terminal.
const STEP: u64 = 10;

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
    let mut next_line = 0;
    loop {
        let replays = replays(socket).await?;
        let Some(replay) = replays.iter().find(|replay| replay.number == number) else {
            if on_terminal {
                write!(out, "\r\x1b[K")?;
            }
            writeln!(out, "replay {number} is over")?;
            return Ok(());
        };
        if on_terminal {
            write!(out, "\r{}\x1b[K", bar(replay))?;
            out.flush()?;
        } else if replay.fetched_percent >= next_line {
            writeln!(out, "replay {number}: {}", progress(replay))?;
            next_line = replay.fetched_percent / STEP * STEP + STEP;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn progress(replay: &ReplayReport) -> String {
    format!(
        "{} % fetched, {} events, {} wait for delivery",
        replay.fetched_percent, replay.events, replay.backlog
    )
}

/// A line of a terminal: a bar of twenty places, and the numbers.
fn bar(replay: &ReplayReport) -> String {
    let full = usize::try_from(replay.fetched_percent / 5)
        .unwrap_or(0)
        .min(20);
    let (done, rest) = ("#".repeat(full), "-".repeat(20 - full));
    format!("[{done}{rest}] {}", progress(replay))
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
    use crate::model::IntegrationId;

    #[test]
    fn a_moment_is_a_time_or_the_beginning_of_a_day() {
        assert_eq!(read_time("2026-01-06"), read_time("2026-01-06T00:00:00Z"));
        assert_eq!(
            read_time("2026-01-06T10:00:00+01:00"),
            read_time("2026-01-06T09:00:00Z")
        );
        assert!(read_time("yesterday").is_err());
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_fetched() {
        let replay = |fetched_percent| ReplayReport {
            number: 1,
            integration: IntegrationId::new("acme").unwrap(),
            log: "audit".to_owned(),
            from: Timestamp::from_millis(0),
            to: Timestamp::from_millis(1),
            output: None,
            fetched_percent,
            events: 7,
            backlog: 3,
        };
        let bars = [0, 49, 100].map(|percent| bar(&replay(percent))).join("\n");
        insta::assert_snapshot!(bars, @r"
        [--------------------] 0 % fetched, 7 events, 3 wait for delivery
        [#########-----------] 49 % fetched, 7 events, 3 wait for delivery
        [####################] 100 % fetched, 7 events, 3 wait for delivery
        ");
    }
}
