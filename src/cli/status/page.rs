//! Lines of a given width, some of them coloured.

use std::io::{self, Write};

use crate::health::failure::printable;

/// How the table may look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Characters in a line; at least 60 are used.
    pub width: usize,
    /// Whether colours mean something to the reader.
    pub colours: bool,
}

/// What a line is about, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    Plain,
    Strong,
    Good,
    Passing,
    Bad,
}

impl Tone {
    /// The escape sequence that begins it; bold, green, yellow, bold red.
    const fn begin(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("\u{1b}[1m"),
            Self::Good => Some("\u{1b}[32m"),
            Self::Passing => Some("\u{1b}[33m"),
            Self::Bad => Some("\u{1b}[1;31m"),
        }
    }
}

pub(in crate::cli) struct Page<'a, W> {
    out: &'a mut W,
    look: Look,
}

impl<'a, W: Write> Page<'a, W> {
    pub(in crate::cli) fn new(out: &'a mut W, look: Look) -> Self {
        let width = look.width.max(60);
        Self {
            out,
            look: Look { width, ..look },
        }
    }

    pub(in crate::cli) const fn width(&self) -> usize {
        self.look.width
    }

    pub(in crate::cli) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// Writes text, broken between words; every line begins with `indent` spaces, those after the first with two more.
    pub(in crate::cli) fn text(&mut self, tone: Tone, indent: usize, text: &str) -> io::Result<()> {
        for line in wrap(&printable(text, usize::MAX), indent, self.width()) {
            self.line(tone, &line)?;
        }
        Ok(())
    }

    /// Writes a line that fits already.
    pub(in crate::cli) fn line(&mut self, tone: Tone, line: &str) -> io::Result<()> {
        let line = line.trim_end();
        match tone.begin().filter(|_| self.look.colours) {
            Some(begin) => writeln!(self.out, "{begin}{line}\u{1b}[0m"),
            None => writeln!(self.out, "{line}"),
        }
    }
}

/// The text in `width` characters, or the most of it with a mark that something is missing.
pub(in crate::cli) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn wrap(text: &str, indent: usize, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), " ".repeat(indent));
    let mut free = width.saturating_sub(indent);
    let mut empty = true;
    for word in text.split_whitespace() {
        let mut rest = word.chars().peekable();
        let mut length = word.chars().count();
        while length > 0 {
            let space = usize::from(!empty);
            // A word that no line has room for is broken where the line ends.
            let room = width.saturating_sub(indent + 2);
            if length + space > free && !(empty && length > room) {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
                (free, empty) = (room, true);
                continue;
            }
            if !empty {
                line.push(' ');
                free -= 1;
            }
            let part = length.min(free);
            line.extend(rest.by_ref().take(part));
            (length, free, empty) = (length - part, free - part, false);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_breaks_between_words_and_hangs() {
        assert_eq!(
            wrap("one two three  four", 2, 10),
            ["  one two", "    three", "    four"]
        );
        assert_eq!(wrap("abcdefghijklmnop", 0, 10), ["abcdefghij", "  klmnop"]);
        assert_eq!(
            wrap("a abcdefghijklm", 0, 10),
            ["a", "  abcdefgh", "  ijklm"]
        );
        assert_eq!(wrap("", 2, 10), ["  "]);
    }

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("äbcd", 3), "äb…");
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_no_letter_is_lost(text in "([a-zé]{0,30} {0,2}){0,12}", indent in 0..8_usize, width in 12..60_usize) {
            let lines = wrap(&text, indent, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{:?}", lines);
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
