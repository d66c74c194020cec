//! Progress of long work: a bar in place on a terminal, lines elsewhere, for scripts and logs.

use std::io::{self, Write};

use super::status::Screen;
use super::status::page::fit;
use crate::app::Draining;
use crate::units::show_count;

/// Hundredths from one line to the next, where there is no terminal.
const STEP: u64 = 10;
/// Looks without a line after which there is one although nothing has moved: a minute, at two looks a second.
const SILENCE: u32 = 120;
/// Places of a bar.
const PLACES: usize = 20;

/// Progress as it is shown to one reader.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    on_terminal: bool,
    label: String,
    /// The first hundredth that is worth a line.
    next_line: u64,
    silent: u32,
}

impl<W: Write> Progress<W> {
    /// Progress of what `label` names.
    pub fn new(out: W, on_terminal: bool, label: &str) -> Self {
        Self {
            out,
            on_terminal,
            label: label.to_owned(),
            next_line: 0,
            silent: 0,
        }
    }

    /// Shows how many hundredths are done, and that in words; to be called twice a second.
    ///
    /// # Errors
    /// The writer's.
    pub fn show(&mut self, percent: u64, words: &str) -> io::Result<()> {
        if self.on_terminal {
            // A line that is broken is not written over by the next.
            let width = Screen::here().width.saturating_sub(1);
            write!(self.out, "\r{}\x1b[K", fit(&bar(percent, words), width))?;
            return self.out.flush();
        }
        self.silent += 1;
        if percent >= self.next_line || self.silent >= SILENCE {
            writeln!(self.out, "{}: {words}", self.label)?;
            self.next_line = percent / STEP * STEP + STEP;
            self.silent = 0;
        }
        Ok(())
    }

    /// Says in a sentence how it ended, in place of the bar.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(&mut self, words: &str) -> io::Result<()> {
        if self.on_terminal {
            write!(self.out, "\r\x1b[K")?;
        }
        writeln!(self.out, "{words}")
    }
}

/// The hundredths of `all` that are done when `left` are left.
#[must_use]
pub fn percent(left: u64, all: u64) -> u64 {
    let done = u128::from(all.saturating_sub(left)) * 100;
    let percent = done.checked_div(all.into()).unwrap_or(100);
    u64::try_from(percent).unwrap_or(100)
}

fn bar(percent: u64, words: &str) -> String {
    let full = usize::try_from(percent).unwrap_or(100).min(100) * PLACES / 100;
    let (done, rest) = ("#".repeat(full), "-".repeat(PLACES - full));
    format!("[{done}{rest}] {words}")
}

/// Shows the stop of the program: a bar where `terminal` is one, else lines in the log.
pub fn of_stop(mut terminal: Option<Progress<impl Write>>) -> impl FnMut(&Draining) {
    move |draining| {
        let out = named(&draining.outputs);
        let Some(progress) = &mut terminal else {
            log_stop(draining, &out);
            return;
        };
        let left = show_count(draining.left);
        let shown = if draining.is_over {
            progress.end(&format!(
                "stopped: {left} of the events that were out are not answered{out}"
            ))
        } else {
            let of = show_count(draining.of);
            let words = format!("waiting for {left} of {of} events{out}");
            progress.show(percent(draining.left, draining.of), &words)
        };
        // A terminal that is gone keeps nobody from stopping.
        shown.ok();
    }
}

fn log_stop(draining: &Draining, out: &str) {
    let (left, of) = (draining.left, draining.of);
    match (draining.is_over, left) {
        (false, _) => tracing::info!(left, of, "stopping: waiting for events that are out{out}"),
        (true, 0) => tracing::info!(of, "stopping: all events that were out are answered"),
        (true, _) => tracing::warn!(
            left,
            of,
            "stopping without an answer for events that are out{out}: they are sent again at the next start"
        ),
    }
}

/// Outputs that have something out, as the end of a sentence.
fn named(outputs: &[(String, u64)]) -> String {
    let named = outputs
        .iter()
        .map(|(name, events)| format!("{name} {}", show_count(*events)));
    match named.collect::<Vec<_>>() {
        named if named.is_empty() => String::new(),
        named => format!(" ({})", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(on_terminal: bool, steps: &[u64]) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, on_terminal, "replay 7");
        for percent in steps {
            progress
                .show(*percent, &format!("{percent} % fetched"))
                .unwrap();
        }
        progress.end("replay 7 is over").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_has_a_bar_in_place_and_the_end_in_its_place() {
        assert_eq!(
            shown(true, &[0, 49, 100]),
            "\r[--------------------] 0 % fetched\x1b[K\r[#########-----------] 49 % fetched\x1b[K\
             \r[####################] 100 % fetched\x1b[K\r\x1b[Kreplay 7 is over\n"
        );
    }

    #[test]
    fn a_file_gets_a_line_for_each_tenth_and_one_a_minute_when_nothing_moves() {
        assert_eq!(
            shown(false, &[0, 1, 9, 10, 19, 20, 55, 59]),
            "replay 7: 0 % fetched\nreplay 7: 10 % fetched\nreplay 7: 20 % fetched\nreplay 7: 55 % fetched\nreplay 7 is over\n"
        );
        let stuck = shown(false, &[3; 2 * SILENCE as usize + 1]);
        assert_eq!(stuck.matches("3 % fetched").count(), 3);
    }

    #[test]
    fn what_is_done_is_told_of_any_numbers() {
        assert_eq!(percent(10, 10), 0);
        assert_eq!(percent(1, 3), 66);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX, 1), 0);
        assert_eq!(percent(0, u64::MAX), 100);
    }

    #[test]
    fn a_stop_says_what_is_out_and_what_stays_out() {
        let draining = |left, is_over| Draining {
            left,
            of: 10,
            outputs: vec![("splunk".to_owned(), left)],
            is_over,
        };
        let mut out = Vec::new();
        {
            let progress = Progress::new(&mut out, true, "stop");
            let mut show = of_stop(Some(progress));
            show(&draining(10, false));
            show(&draining(5, false));
            show(&draining(5, true));
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\r[--------------------] waiting for 10 of 10 events (splunk 10)\x1b[K\
             \r[##########----------] waiting for 5 of 10 events (splunk 5)\x1b[K\
             \r\x1b[Kstopped: 5 of the events that were out are not answered (splunk 5)\n"
        );
    }
}
