//! Files of one JSON document, `{"type":"MTA","data":[{…},{…}]}`, cut into the elements of `data`.
//!
//! The document is never held whole: brackets and strings are followed byte by byte, and an element is handed
//! out as it was written. Whether it is well-formed is checked by the next in line; a document that is
//! not what it should be gives unfit records, never silence.

use std::io::{self, BufRead};

use super::{Gathered, KEPT, Raw, Records};

/// The elements of the array `data`.
pub(in crate::mimecast) struct DataArray<R> {
    input: R,
    scanner: Scanner,
}

/// What is known after each byte.
struct Scanner {
    place: Place,
    /// Open brackets: of the document outside the array, of the element within.
    depth: u32,
    text: Text,
    /// The last string of the document's own level, which may be the name of a member.
    name: Vec<u8>,
    element: Gathered,
    /// The beginning of a document in which the array has not been found yet.
    beginning: Vec<u8>,
    array_found: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    InArray,
}

/// Whether a byte belongs to a string.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    No,
    Yes,
    /// After a backslash.
    Escaped,
}

const NAME: &[u8] = b"data";

impl<R: BufRead> DataArray<R> {
    pub(in crate::mimecast) fn new(input: R) -> Self {
        Self {
            input,
            scanner: Scanner {
                place: Place::Outside,
                depth: 0,
                text: Text::No,
                name: Vec::new(),
                element: Gathered::default(),
                beginning: Vec::new(),
                array_found: false,
            },
        }
    }
}

impl Scanner {
    /// Takes bytes up to the end of an element, if there is one among them; says how many, and whether there was.
    fn take_all(&mut self, mut bytes: &[u8]) -> (usize, bool) {
        let all = bytes.len();
        loop {
            let (plain, rest) = bytes.split_at(self.plain(bytes));
            self.element.push(plain);
            let Some((&byte, rest)) = rest.split_first() else {
                return (all, false);
            };
            bytes = rest;
            if self.take(byte) && !self.element.is_empty() {
                return (all - rest.len(), true);
            }
        }
    }

    /// How many bytes from the first on are the element's and mean nothing more.
    fn plain(&self, bytes: &[u8]) -> usize {
        if self.place == Place::Outside || self.element.is_empty() {
            return 0;
        }
        let end = match self.text {
            Text::Yes => memchr::memchr2(b'"', b'\\', bytes),
            Text::No => bytes
                .iter()
                .position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',')),
            Text::Escaped => Some(0),
        };
        end.unwrap_or(bytes.len())
    }

    /// Takes one byte; true if an element ended before it.
    fn take(&mut self, byte: u8) -> bool {
        if !self.array_found && self.beginning.len() < KEPT {
            self.beginning.push(byte);
        }
        let inside = self.text != Text::No;
        self.text = match (self.text, byte) {
            (Text::No, b'"') | (Text::Escaped, _) => Text::Yes,
            (Text::Yes, b'"') => Text::No,
            (Text::Yes, b'\\') => Text::Escaped,
            (text, _) => text,
        };
        match self.place {
            Place::Outside => {
                self.outside(byte, inside);
                false
            }
            Place::InArray => self.within(byte, inside),
        }
    }

    fn outside(&mut self, byte: u8, in_text: bool) {
        match byte {
            b'"' if !in_text => self.name.clear(),
            b'"' => {}
            // One byte more than the name we look for is enough to tell that it is not.
            _ if in_text && self.name.len() <= NAME.len() => self.name.push(byte),
            _ if in_text => {}
            b'[' if self.depth == 1 && self.name == NAME => {
                self.place = Place::InArray;
                self.depth = 0;
                self.array_found = true;
                self.beginning = Vec::new();
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn within(&mut self, byte: u8, in_text: bool) -> bool {
        if !in_text {
            match byte {
                b',' if self.depth == 0 => return true,
                b']' if self.depth == 0 => {
                    self.place = Place::Outside;
                    self.depth = 1;
                    self.name.clear();
                    return true;
                }
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b' ' | b'\t' | b'\r' | b'\n' if self.element.is_empty() => return false,
                _ => {}
            }
        }
        self.element.push(&[byte]);
        false
    }

    /// What is to be said at the file's end.
    ///
    /// # Errors
    /// If it ends within its array: then it has more records than came.
    fn at_end(&mut self) -> io::Result<Option<Raw<'_>>> {
        if self.place == Place::InArray {
            let cut = "the file ends within its array of records";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut));
        }
        // Asked again, it has no more to say.
        let blank = self.beginning.trim_ascii().is_empty();
        let missed = !std::mem::replace(&mut self.array_found, true) && !blank;
        let why = "a file without its array of records";
        Ok(missed.then_some(Raw::Unfit(&self.beginning, why)))
    }
}

impl<R: BufRead> Records for DataArray<R> {
    fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        self.scanner.element.clear();
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if buffer.is_empty() {
                return self.scanner.at_end();
            }
            let (used, ended) = self.scanner.take_all(buffer);
            self.input.consume(used);
            if ended {
                return Ok(Some(self.scanner.element.raw()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::MAX_RECORD;
    use super::super::testing::{Chunked, all};
    use super::*;

    fn elements(file: &str) -> Vec<Result<String, &'static str>> {
        all(DataArray::new(Chunked::new(file.as_bytes(), vec![5])))
            .into_iter()
            .map(|found| found.map(|bytes| String::from_utf8(bytes).unwrap()))
            .collect()
    }

    #[test]
    fn elements_are_handed_out_as_they_are_written() {
        let file = "{\"type\":\"MTA\",\"meta\":{\"data\":[0]},\"data\" : [\n {\"a\" : \"]},{\\\"\"},\n\t{\"b\":[1,{}]} ] , \"z\":[{}]}\n";
        assert_eq!(
            elements(file),
            [
                Ok(r#"{"a" : "]},{\""}"#.to_owned()),
                Ok(r#"{"b":[1,{}]}"#.to_owned())
            ]
        );
    }

    #[test]
    fn an_empty_file_or_array_has_no_records() {
        for file in [
            "",
            " \n",
            r#"{"type":"MTA","data":[]}"#,
            r#"{"data":[ , ]}"#,
        ] {
            assert_eq!(elements(file), [], "{file}");
        }
    }

    #[test]
    fn what_is_not_such_a_document_is_put_aside_and_not_passed_over() {
        for file in [
            "<html>",
            "{\"a\":1}\n{\"a\":2}",
            "[{}]",
            r#"{"data":{"a":[1]}}"#,
        ] {
            assert_eq!(
                elements(file),
                [Err("a file without its array of records")],
                "{file}"
            );
        }
    }

    #[test]
    fn the_records_behind_the_end_of_a_file_that_is_cut_off_were_passed_over() {
        for (file, whole) in [(r#"{"data":["#, 0), (r#"{"data":[{"a":1},{"b":"#, 1)] {
            let mut records = DataArray::new(file.as_bytes());
            for _ in 0..whole {
                assert!(matches!(records.next(), Ok(Some(Raw::Whole(_)))));
            }
            let error = records.next().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{file}");
        }
    }

    #[test]
    fn an_element_that_is_too_long_is_stepped_over() {
        let long = "x".repeat(MAX_RECORD);
        let file = format!(r#"{{"data":[{{"a":"{long}"}},{{"b":1}}]}}"#);
        let found = all(DataArray::new(io::BufReader::new(file.as_bytes())));
        assert_eq!(
            found,
            [Err("longer than 1 MiB"), Ok(br#"{"b":1}"#.to_vec())]
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            r#"[a-c"\\\[\]{},:]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("data|[a-c]", inner, 0..4)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn records_survive_whatever_surrounds_them_and_however_they_come(
            before in any_json(),
            records in proptest::collection::vec(any_json(), 0..6),
            after in any_json(),
            pretty: bool,
            sizes in proptest::collection::vec(1_usize..30, 1..5),
        ) {
            // serde_json keeps members sorted, and "data" must stand in the middle.
            let document = json!({"a": before, "data": records, "z": {"data": after}});
            let text = if pretty {
                serde_json::to_string_pretty(&document).unwrap()
            } else {
                document.to_string()
            };
            let found: Vec<Value> = all(DataArray::new(Chunked::new(text.as_bytes(), sizes)))
                .into_iter()
                .map(|bytes| serde_json::from_slice(&bytes.unwrap()).unwrap())
                .collect();
            prop_assert_eq!(found, records);
        }

        #[test]
        fn no_input_makes_it_panic(
            bytes: Vec<u8>,
            text in r#"(\{"data":\[)?[{}\[\]",:\\a ]{0,80}"#,
        ) {
            for file in [&bytes[..], text.as_bytes()] {
                let mut records = DataArray::new(file);
                while let Ok(Some(_)) = records.next() {}
            }
        }
    }
}
