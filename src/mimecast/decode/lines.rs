//! Files of one record a line: NDJSON and `key=value|…`.

use std::io::{self, BufRead};

use super::{Gathered, Raw, Records};

/// What ends a line.
#[derive(Clone, Copy, Debug)]
pub(in crate::mimecast) enum Ends {
    /// A line feed; carriage returns beside it are white space.
    LineFeed,
    /// A line feed or a carriage return: some `key=value` files have only the latter.
    Either,
}

/// The lines of a file that are not blank, without white space around them.
pub(in crate::mimecast) struct Lines<R> {
    input: R,
    ends: Ends,
    /// A line that is not in the reader's buffer as a whole.
    line: Gathered,
    /// Bytes of the reader's buffer that were handed out.
    handed_out: usize,
}

/// Where the next line is.
#[derive(Clone, Copy)]
enum Line {
    /// At the beginning of the reader's buffer, with so many bytes.
    Buffered(usize),
    Gathered,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::mimecast) fn new(input: R, ends: Ends) -> Self {
        Self {
            input,
            ends,
            line: Gathered::default(),
            handed_out: 0,
        }
    }

    /// Finds the end of the next line, and gathers its bytes unless they lie in the reader's buffer; `None` at the end of the file.
    fn find(&mut self) -> io::Result<Option<Line>> {
        self.line.clear();
        self.input.consume(std::mem::take(&mut self.handed_out));
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then_some(Line::Gathered));
            }
            let end = match self.ends {
                Ends::LineFeed => memchr::memchr(b'\n', buffer),
                Ends::Either => memchr::memchr2(b'\n', b'\r', buffer),
            };
            if let Some(end) = end.filter(|_| self.line.is_empty()) {
                self.handed_out = end + 1;
                return Ok(Some(Line::Buffered(end)));
            }
            let (line, _) = buffer.split_at(end.unwrap_or(buffer.len()));
            self.line.push(line);
            let used = line.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(Line::Gathered));
            }
        }
    }

    /// Looks at a line that was found.
    fn look(&mut self, line: Line) -> io::Result<Raw<'_>> {
        match line {
            // The buffer is not empty, so the reader does not read.
            Line::Buffered(len) => {
                let buffer = self.input.fill_buf()?;
                let line = buffer.get(..len).unwrap_or_default();
                Ok(Raw::new(line.trim_ascii()))
            }
            Line::Gathered => Ok(self.line.raw()),
        }
    }
}

impl<R: BufRead> Records for Lines<R> {
    fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        while let Some(line) = self.find()? {
            if !matches!(self.look(line)?, Raw::Whole([])) {
                return self.look(line).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Chunked, all};
    use super::super::{KEPT, MAX_RECORD};
    use super::*;

    fn lines(bytes: &[u8], ends: Ends) -> Vec<Vec<u8>> {
        let found = all(Lines::new(Chunked::new(bytes, vec![3]), ends));
        found.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn lines_end_as_files_have_it_and_blank_ones_are_no_records() {
        let file = b"a\r\n\n \r\nb\rc\nd";
        assert_eq!(
            lines(file, Ends::LineFeed),
            [&b"a"[..], b"b\rc", b"d"].map(<[u8]>::to_vec)
        );
        assert_eq!(
            lines(file, Ends::Either),
            [&b"a"[..], b"b", b"c", b"d"].map(<[u8]>::to_vec)
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_stepped_over_in_bounded_memory() {
        let mut file = vec![b'x'; MAX_RECORD + 1];
        file.extend_from_slice(b"\nshort\n");
        file.extend_from_slice(&vec![b'y'; MAX_RECORD]);
        let mut records = Lines::new(io::BufReader::new(&file[..]), Ends::LineFeed);
        let Some(Raw::Unfit(kept, _)) = records.next().unwrap() else {
            panic!("the long line is no record");
        };
        assert_eq!(kept.len(), KEPT);
        assert!(records.line.bytes.capacity() < 3 * MAX_RECORD);
        assert_eq!(records.next().unwrap(), Some(Raw::Whole(b"short")));
        let last = records.next().unwrap();
        assert_eq!(last, Some(Raw::Whole(&file[MAX_RECORD + 8..])));
    }

    proptest! {
        #[test]
        fn however_a_file_comes_in_pieces_its_lines_are_the_same(
            file in "[ab \r\n]{0,200}",
            sizes in proptest::collection::vec(1_usize..20, 1..5),
        ) {
            let expected: Vec<_> = file
                .split('\n')
                .map(|line| line.trim_ascii().as_bytes().to_vec())
                .filter(|line| !line.is_empty())
                .map(Ok)
                .collect();
            let found = all(Lines::new(Chunked::new(file.as_bytes(), sizes), Ends::LineFeed));
            prop_assert_eq!(found, expected);
        }
    }
}
