//! `dead-letters`: what was put aside, with the reason; sent again, with progress, or thrown away.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::forget::{Sure, confirm};
use super::progress::{Progress, percent};
use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};
use crate::health::failure::printable;
use crate::model::LaneId;
use crate::status::{OutputReport, Phase, Report};

/// Characters of a reason in the list; `show` has it whole.
const REASON: usize = 100;
/// From one look at what is sent again to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Lists what was put aside, a line each.
///
/// # Errors
/// No collector there, or nowhere to write.
pub async fn list(socket: &Path, json: bool, out: &mut impl Write) -> Result<(), AskError> {
    let letters = ask(socket, &Request::DeadLetters).await?;
    if json {
        return Ok(writeln!(out, "{letters:#}")?);
    }
    Ok(table(&letters, out)?)
}

/// Shows one with its records.
///
/// # Errors
/// No collector there, no such number, or nowhere to write.
pub async fn show(socket: &Path, number: u64, out: &mut impl Write) -> Result<(), AskError> {
    let letter = ask(socket, &Request::DeadLetter { number }).await?;
    Ok(writeln!(out, "{letter:#}")?)
}

/// Copies the file that was kept with one to a new file, which is for this user only.
///
/// # Errors
/// No collector there, no such number or no file kept with it, or what cannot be read or written.
pub async fn save(
    socket: &Path,
    number: u64,
    to: &Path,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let letter = ask(socket, &Request::DeadLetter { number }).await?;
    let kept = letter.get("kept").and_then(Value::as_str);
    let kept = Path::new(kept.ok_or(AskError::NotKept(number))?);
    let told = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| AskError::Copy {
            attempt,
            path,
            source,
        }
    };
    let mut from = File::open(kept).map_err(told("read", kept))?;
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(to).map_err(told("make", to))?;
    let bytes = io::copy(&mut from, &mut file)
        .and_then(|bytes| file.sync_all().map(|()| bytes))
        .map_err(told("write", to))?;
    Ok(writeln!(
        out,
        "{bytes} bytes of dead letter {number} are in {}",
        to.display()
    )?)
}

/// Whether what is sent again is followed to its end, and how that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is not.
    No,
    /// By a bar.
    OnTerminal,
    /// By lines.
    ByLines,
}

/// Has the events of some sent again, and follows them until they are delivered or their output waits for a person. A reader that goes
/// away ends nothing but this command.
///
/// # Errors
/// No collector there, one that cannot be sent, or nowhere to write; those before it are on their way.
pub async fn resend(
    socket: &Path,
    numbers: &[u64],
    follow: Follow,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let before = letters(socket).await?;
    for number in numbers {
        let request = Request::SendAgain { number: *number };
        say(&ask(socket, &request).await?, out)?;
    }
    let on_terminal = match follow {
        Follow::No => return Ok(()),
        Follow::OnTerminal => true,
        Follow::ByLines => false,
    };
    let known = before.iter().map(|letter| letter.number).max();
    let mut sent = before;
    sent.retain(|letter| numbers.contains(&letter.number));
    let outputs: BTreeSet<_> = sent
        .into_iter()
        .filter_map(|letter| letter.output)
        .collect();
    let mut progress = Progress::new(out, on_terminal, "sent again");
    let said = match until_delivered(socket, &outputs, &mut progress).await? {
        Some(stuck) => stuck,
        None => {
            let mut refused = letters(socket).await?;
            refused.retain(|letter| Some(letter.number) > known && letter.is_of(&outputs));
            delivered(&refused)
        }
    };
    Ok(progress.end(&format!("sent again: {said}"))?)
}

/// Shows how much of what is on its way again is delivered, until all is; answers what keeps it if that waits for a person.
async fn until_delivered(
    socket: &Path,
    outputs: &BTreeSet<String>,
    progress: &mut Progress<impl Write>,
) -> Result<Option<String>, AskError> {
    let mut all: u64 = 0;
    loop {
        let report: Report = serde_json::from_value(ask(socket, &Request::Status).await?)?;
        let mut waiting = report.outputs;
        waiting.retain(|output| outputs.contains(output.name.as_str()) && output.resending > 0);
        let left = waiting.iter().map(|output| output.resending).sum();
        all = all.max(left);
        if let Some(stuck) = waiting.iter().find(|output| waits_for_a_person(output)) {
            let (name, state) = (&stuck.name, stuck.condition.state.as_str());
            return Ok(Some(format!(
                "{name} is {state}, {left} of {all} events wait on disk until it takes them"
            )));
        }
        if left == 0 {
            return Ok(None);
        }
        let words = format!("{} of {all} events are delivered", all - left);
        progress.show(percent(left, all), &words)?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn delivered(refused: &[Letter]) -> String {
    if refused.is_empty() {
        return "all events are delivered".to_owned();
    }
    let records: u64 = refused.iter().map(|letter| letter.records).sum();
    let numbers: Vec<_> = refused.iter().map(|l| l.number.to_string()).collect();
    let numbers = numbers.join(", ");
    format!("{records} events were refused again, see the dead letters {numbers}")
}

/// What is needed of a dead letter to follow it.
#[derive(Deserialize)]
struct Letter {
    number: u64,
    output: Option<String>,
    lane: String,
    records: u64,
}

impl Letter {
    /// Whether it is of events that one of these outputs got again.
    fn is_of(&self, outputs: &BTreeSet<String>) -> bool {
        let again = LaneId::from_text(&self.lane);
        again.again_for().is_some_and(|name| outputs.contains(name))
    }
}

async fn letters(socket: &Path) -> Result<Vec<Letter>, AskError> {
    Ok(serde_json::from_value(
        ask(socket, &Request::DeadLetters).await?,
    )?)
}

fn waits_for_a_person(output: &OutputReport) -> bool {
    match output.condition.state {
        Phase::Blocked | Phase::Paused => true,
        Phase::Healthy | Phase::Renewing | Phase::Throttled | Phase::Retrying => false,
    }
}

/// Throws some away, if the person is sure.
///
/// # Errors
/// No collector there, no such number, or nowhere to write; those before it are gone.
pub async fn discard(
    socket: &Path,
    numbers: &[u64],
    sure: Sure<'_>,
    out: &mut impl Write,
) -> Result<(), AskError> {
    if !confirm(sure, "Throw them away for ever?", out)? {
        return Ok(());
    }
    for number in numbers {
        let request = Request::Discard { number: *number };
        say(&ask(socket, &request).await?, out)?;
    }
    Ok(())
}

fn table(letters: &Value, out: &mut impl Write) -> io::Result<()> {
    let letters = letters.as_array().map(Vec::as_slice).unwrap_or_default();
    if letters.is_empty() {
        return writeln!(out, "nothing was put aside");
    }
    for letter in letters {
        let text = |name| {
            let value = letter.get(name).and_then(Value::as_str).unwrap_or("");
            printable(value, REASON)
        };
        let number = |name| letter.get(name).and_then(Value::as_u64).unwrap_or(0);
        let who = match text("output") {
            output if output.is_empty() => "not decoded".to_owned(),
            output if letter.get("withheld") == Some(&Value::Bool(true)) => {
                format!("not offered to {output}")
            }
            output => format!("refused by {output}"),
        };
        let sent = match text("sent_again") {
            at if at.is_empty() => String::new(),
            at => format!(", sent again {at}"),
        };
        let kept = match text("kept") {
            kept if kept.is_empty() => "",
            _ => ", with its file",
        };
        writeln!(
            out,
            "{:>5}  {}  {} of {}, {who}{kept}{sent}: {}",
            number("number"),
            text("time"),
            number("records"),
            text("lane"),
            text("reason")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_says_who_refused_what_and_why() {
        let letters = json!([
            { "number": 1, "time": "2026-01-06T09:08:07.000Z", "output": "splunk", "lane": "acme/audit", "records": 1,
              "reason": "400: Invalid data format\u{1b}[31m", "sent_again": null },
            { "number": 12, "time": "2026-01-06T09:08:08.000Z", "output": null, "lane": "acme/siem-cg/url protect", "records": 3,
              "reason": "not a JSON object", "sent_again": "2026-01-07T00:00:00.000Z" },
            { "number": 13, "time": "2026-01-06T09:08:09.000Z", "output": null, "lane": "acme/siem-cg/receipt", "records": 1,
              "reason": "the file could not be read in 5 tries", "kept": "/var/lib/x/quarantine/a/b.file", "sent_again": null },
            { "number": 14, "time": "2026-01-06T09:08:09.000Z", "output": "lake", "lane": "acme/audit", "records": 2, "withheld": true,
              "reason": "its 3000 bytes are more than max_event_bytes", "sent_again": null },
        ]);
        let mut out = Vec::new();
        table(&letters, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
            1  2026-01-06T09:08:07.000Z  1 of acme/audit, refused by splunk: 400: Invalid data format\u{1b}[31m
           12  2026-01-06T09:08:08.000Z  3 of acme/siem-cg/url protect, not decoded, sent again 2026-01-07T00:00:00.000Z: not a JSON object
           13  2026-01-06T09:08:09.000Z  1 of acme/siem-cg/receipt, not decoded, with its file: the file could not be read in 5 tries
           14  2026-01-06T09:08:09.000Z  2 of acme/audit, not offered to lake: its 3000 bytes are more than max_event_bytes
        ");
    }
}
