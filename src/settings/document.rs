//! A file and what TOML makes of it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;
use zeroize::Zeroizing;

use super::{Notes, Place};

/// The text of a configuration file, wiped when it goes: it may hold secrets.
pub struct File {
    rank: usize,
    path: Arc<Path>,
    /// `None` if it could not be read.
    text: Option<Zeroizing<String>>,
    /// Where its lines begin; a place is asked for with each key.
    lines: Vec<usize>,
}

impl File {
    /// Takes a file's text; `rank` is its place in the order of reading.
    #[must_use]
    pub fn new(rank: usize, path: &Path, text: String) -> Self {
        Self {
            rank,
            path: path.into(),
            lines: std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1))
                .collect(),
            text: Some(Zeroizing::new(text)),
        }
    }

    /// A file that could not be read: what it would have held is not missed.
    #[must_use]
    pub fn unreadable(rank: usize, path: &Path) -> Self {
        Self {
            rank,
            path: path.into(),
            text: None,
            lines: vec![0],
        }
    }

    fn text(&self) -> &str {
        self.text.as_ref().map_or("", |text| text)
    }

    /// The file as a whole.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(self.rank, Arc::clone(&self.path), 0, 0)
    }

    /// Where the byte `offset` of the text is.
    pub(super) fn place_of(&self, offset: usize) -> Place {
        let before = self.text().get(..offset).unwrap_or(self.text());
        let line = self.lines.partition_point(|start| *start <= before.len());
        let start = self.lines.get(line.saturating_sub(1)).copied();
        let last = before.get(start.unwrap_or(0)..).unwrap_or(before);
        let column = last.chars().filter(|c| *c != '\u{feff}').count() + 1;
        Place::new(self.rank, Arc::clone(&self.path), line, column)
    }

    /// A path as the file means it: from the folder that the file is in.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let path = folder.join(path);
        std::path::absolute(&path).unwrap_or(path)
    }
}

/// A file as TOML, as far as it is TOML.
pub struct Document<'a> {
    pub(super) file: &'a File,
    pub(super) root: Spanned<DeTable<'a>>,
    /// Where the syntax is wrong: what stands there is a guess of the parser.
    faults: Vec<usize>,
}

impl<'a> Document<'a> {
    /// Parses the file; notes the first fault of each line and keeps what the parser could make of the rest.
    ///
    /// Only the parser's message is shown: its errors print the line, which may hold a secret.
    #[must_use]
    pub fn parse(file: &'a File, notes: &Notes) -> Self {
        let (root, errors) = DeTable::parse_recoverable(file.text());
        let mut faults = Vec::new();
        let mut lines = BTreeSet::new();
        for error in errors {
            let offset = error.span().unwrap_or_default().start;
            let place = file.place_of(offset);
            if lines.insert(place.line()) {
                let text = format!("this is not TOML: {}", error.message());
                notes.error(place, "", text);
            }
            faults.push(offset);
        }
        Self { file, root, faults }
    }

    /// Whether the file is not TOML, or not there: then a key that seems missing may be there after all.
    pub(super) fn is_broken(&self) -> bool {
        !self.faults.is_empty() || self.file.text.is_none()
    }

    /// Whether the parser had to guess at what stands there.
    pub(super) fn is_guess(&self, span: &Range<usize>) -> bool {
        self.faults
            .iter()
            .any(|fault| (span.start..=span.end).contains(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_counts_characters_and_not_a_byte_order_mark() {
        let text = "\u{feff}a = 1\n\"ü\" = 2\n";
        let file = File::new(0, Path::new("x.toml"), text.to_owned());
        let place = |needle| file.place_of(text.find(needle).unwrap()).to_string();
        assert_eq!(
            [place("a"), place("="), place("2")],
            ["x.toml:1:1", "x.toml:1:3", "x.toml:2:7"]
        );
        assert_eq!(file.place_of(text.len()).to_string(), "x.toml:3:1");
        assert_eq!(file.place().to_string(), "x.toml");
    }
}
