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
    line: Gathered,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::mimecast) fn new(input: R, ends: Ends) -> Self {
        Self {
            input,
            ends,
            line: Gathered::default(),
        }
    }

    /// Gathers bytes to the end of the line; false at the end of the file.
    fn gather(&mut self) -> io::Result<bool> {
        self.line.clear();
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if buffer.is_empty() {
                return Ok(!self.line.is_empty());
            }
            let end = match self.ends {
                Ends::LineFeed => memchr::memchr(b'\n', buffer),
                Ends::Either => memchr::memchr2(b'\n', b'\r', buffer),
            };
            let (line, _) = buffer.split_at(end.unwrap_or(buffer.len()));
            self.line.push(line);
            let used = line.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

impl<R: BufRead> Records for Lines<R> {
    fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        while self.gather()? {
            if self.line.too_long || !self.line.bytes.trim_ascii().is_empty() {
                return Ok(Some(self.line.raw()));
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
