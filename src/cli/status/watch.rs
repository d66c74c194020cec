//! `status --watch`: the table in place, for as long as the terminal is there.
//!
//! It is as long as the terminal is high. When it does not fit, what is well is told in a line each and what is in trouble first; what
//! then has no room is counted.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::AskError;
use super::page::Look;
use super::render::{Detail, write};
use crate::control::{ControlError, Request, ask};
use crate::status::Report;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(2);

/// Characters of a line at most: the eye does not find its way through longer ones.
const WIDEST: usize = 120;

/// A terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

impl Screen {
    /// The terminal that this process writes to; 80 by 24 if it is none.
    #[must_use]
    pub fn here() -> Self {
        let (width, height) = match terminal_size::terminal_size() {
            Some((terminal_size::Width(width), terminal_size::Height(height))) => (width, height),
            None => (80, 24),
        };
        Self {
            width: width.into(),
            height: height.into(),
        }
    }
}

/// Shows the report of the collector that listens at `socket` until it cannot be shown; one that is not running is waited for.
///
/// # Errors
/// A collector of another version, no right to ask, or nowhere to write.
pub async fn watch(socket: &Path, colours: bool, out: &mut impl Write) -> Result<(), AskError> {
    write!(out, "\u{1b}[2J")?;
    loop {
        let screen = Screen::here();
        let text = match ask(socket, &Request::Status).await {
            Ok(report) => frame(&serde_json::from_value(report)?, screen, colours)?,
            Err(
                error @ (ControlError::NotRunning { .. }
                | ControlError::Broken { .. }
                | ControlError::Answer { .. }),
            ) => format!("UNKNOWN: {error}\n"),
            Err(error) => return Err(error.into()),
        };
        // Home, each line with what was behind it wiped out, then what was below.
        let text = text.trim_end().replace('\n', "\u{1b}[K\n");
        write!(out, "\u{1b}[H{text}\u{1b}[K\u{1b}[J")?;
        out.flush()?;
        tokio::time::sleep(EVERY).await;
    }
}

/// A report as high as the screen at most.
pub(super) fn frame(report: &Report, screen: Screen, colours: bool) -> io::Result<String> {
    let look = Look {
        width: screen.width.min(WIDEST),
        colours,
    };
    let written = |detail| -> io::Result<String> {
        let mut text = Vec::new();
        write(report, look, detail, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let whole = written(Detail::Whole)?;
    if whole.lines().count() <= screen.height {
        return Ok(whole);
    }
    let brief = written(Detail::Brief)?;
    let lines = brief.lines().count();
    if lines <= screen.height {
        return Ok(brief);
    }
    let room = screen.height.saturating_sub(1);
    let mut text: String = brief
        .lines()
        .take(room)
        .flat_map(|line| [line, "\n"])
        .collect();
    let left = lines - room;
    text.push_str(&format!("... {left} more lines; make the window higher\n"));
    Ok(text)
}
