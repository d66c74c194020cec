//! `ledger`: asks a running collector whether its books balance.

use std::io::{self, Write};
use std::path::Path;

use super::status::AskError;
use super::status::Look;
use super::status::page::{Page, Tone, fit};
use crate::control::{Request, ask};
use crate::ledger::{Ledger, OutputBooks, StreamBooks};
use crate::model::Timestamp;
use crate::units::show_count;

/// Columns of a name; the rest of 80 is for numbers.
const NAME: usize = 26;

/// Asks the collector that listens at `socket`, and writes its books for people.
///
/// # Errors
/// No collector there, an answer of another version, or nowhere to write.
pub async fn run(socket: &Path, look: Look, out: &mut impl Write) -> Result<(), AskError> {
    let ledger: Ledger = serde_json::from_value(ask(socket, &Request::Ledger).await?)?;
    Ok(render(&ledger, look, out)?)
}

/// As [`run`], for scripts.
///
/// # Errors
/// No collector there, or nowhere to write.
pub async fn run_json(socket: &Path, out: &mut impl Write) -> Result<(), AskError> {
    let ledger = ask(socket, &Request::Ledger).await?;
    Ok(writeln!(out, "{ledger:#}")?)
}

/// Writes the books: the answer, what differs, the counts, what is odd and accounted for.
///
/// # Errors
/// Nowhere to write.
pub fn render(ledger: &Ledger, look: Look, out: &mut impl Write) -> io::Result<()> {
    let mut page = Page::new(out, look);
    let tone = if ledger.balances {
        Tone::Good
    } else {
        Tone::Bad
    };
    page.text(tone, 0, &format!("The ledger {}.", ledger.sentence))?;
    for difference in ledger.differences.iter().skip(1) {
        page.text(Tone::Bad, 2, &format!("{difference}."))?;
    }
    let streams = &ledger.streams;
    for streams in streams.chunk_by(|a, b| split(&a.stream).0 == split(&b.stream).0) {
        show_streams(&mut page, streams)?;
    }
    let of = |lane: &OutputBooks| (lane.output.clone(), split(&lane.stream).0.to_owned());
    for lanes in ledger.outputs.chunk_by(|a, b| of(a) == of(b)) {
        show_output(&mut page, lanes)?;
    }
    for (n, note) in ledger.notes.iter().enumerate() {
        if n == 0 {
            page.blank()?;
        }
        page.text(Tone::Plain, 0, &format!("{note}."))?;
    }
    Ok(())
}

/// The integration of a stream, and the rest of its name.
fn split(stream: &str) -> (&str, &str) {
    stream
        .split_once('/')
        .unwrap_or((stream, "alerts, heartbeats"))
}

fn show_streams<W: Write>(page: &mut Page<'_, W>, streams: &[StreamBooks]) -> io::Result<()> {
    let Some(first) = streams.first() else {
        return Ok(());
    };
    page.blank()?;
    let row = |name: &str, [files, read, stored, known, aside]: [&str; 5]| {
        let name = fit(name, NAME);
        format!("{name:<NAME$} {files:>11} {read:>10} {stored:>10} {known:>10} {aside:>8}")
    };
    let head = ["FILES", "READ", "STORED", "KNOWN", "ASIDE"];
    page.line(Tone::Strong, &row(split(&first.stream).0, head))?;
    for StreamBooks { stream, books } in streams {
        let tally = &books.tally;
        let files = match tally.files_listed {
            0 => "-".to_owned(),
            listed => format!("{}/{listed}", tally.files_fetched),
        };
        let counts = [tally.read, tally.stored, tally.known, tally.quarantined];
        let [read, stored, known, aside] = counts;
        let [read, stored, known] = [read, stored, known].map(|count| short(count, 10));
        let cells = [fit(&files, 11), read, stored, known, short(aside, 8)];
        let cells = cells.each_ref().map(String::as_str);
        page.line(Tone::Plain, &row(split(stream).1, cells))?;
    }
    Ok(())
}

fn show_output<W: Write>(page: &mut Page<'_, W>, lanes: &[OutputBooks]) -> io::Result<()> {
    let Some(first) = lanes.first() else {
        return Ok(());
    };
    page.blank()?;
    let row = |name: &str, [accepted, refused, filtered, waiting, reaches]: [&str; 5]| {
        let name = fit(name, NAME);
        format!(
            "{name:<NAME$} {accepted:>10} {refused:>7} {filtered:>8} {waiting:>8} {reaches:>16}"
        )
    };
    let head = [
        "ACCEPTED",
        "REFUSED",
        "FILTERED",
        "WAITING",
        "REACHES TO (UTC)",
    ];
    let title = format!("{} to {}", split(&first.stream).0, first.output);
    page.line(Tone::Strong, &row(&title, head))?;
    for lane in lanes {
        let cells = [
            short(lane.accepted, 10),
            short(lane.rejected, 7),
            short(lane.filtered, 8),
            short(lane.waiting, 8),
            lane.reaches_to.map_or_else(|| "-".to_owned(), minute),
        ];
        let cells = cells.each_ref().map(String::as_str);
        page.line(Tone::Plain, &row(split(&lane.stream).1, cells))?;
    }
    Ok(())
}

/// A number in so many columns.
fn short(count: u64, width: usize) -> String {
    let whole = show_count(count);
    if whole.chars().count() <= width {
        return whole;
    }
    fit(&format!("{} M", show_count(count / 1_000_000)), width)
}

fn minute(time: Timestamp) -> String {
    time.calendar().strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests;
