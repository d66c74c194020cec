//! A quick reader of plain JSON: eight bytes at a time, without a copy.
//!
//! What it accepts, the strict reader in `json` accepts with the same result. Of anything unusual it is not sure, which costs nothing but the
//! time to read the record once more.

use crate::model::Timestamp;

/// Values within values are followed as deep as this.
const DEPTH: u32 = 32;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// What the text's members `field` say, by the first of them that `read` understands; `None` if it is not sure that the text is one JSON
/// object.
pub(super) fn time(
    text: &str,
    field: &str,
    read: impl Fn(&str) -> Option<Timestamp>,
) -> Option<Option<Timestamp>> {
    let mut scan = Scan(text.as_bytes());
    let mut time = None;
    scan.expect(b'{')?;
    scan.white();
    if scan.take(b'}') {
        scan.white();
        return scan.0.is_empty().then_some(None);
    }
    loop {
        scan.white();
        scan.expect(b'"')?;
        let key = scan.string()?;
        // One that is spelled with escapes may be the field all the same.
        let key = key.filter_plain()?;
        scan.white();
        scan.expect(b':')?;
        scan.white();
        let from = text.len() - scan.0.len();
        scan.value(DEPTH)?;
        if time.is_none() && key == field.as_bytes() {
            time = read(text.get(from..text.len() - scan.0.len())?);
        }
        scan.white();
        if scan.take(b'}') {
            break;
        }
        scan.expect(b',')?;
    }
    scan.white();
    scan.0.is_empty().then_some(time)
}

/// What is left of a text.
struct Scan<'t>(&'t [u8]);

/// A string, without its quotes.
struct Text<'t> {
    raw: &'t [u8],
    has_escapes: bool,
}

impl<'t> Text<'t> {
    fn filter_plain(self) -> Option<&'t [u8]> {
        (!self.has_escapes).then_some(self.raw)
    }
}

impl<'t> Scan<'t> {
    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn white(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.0.split_first() {
            self.0 = rest;
        }
    }

    /// Steps over a value that begins here.
    fn value(&mut self, depth: u32) -> Option<()> {
        match self.0.first()? {
            b'"' => {
                self.take(b'"');
                self.string().map(|_| ())
            }
            b'{' | b'[' => self.inner(depth.checked_sub(1)?),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// Steps over an object or an array.
    fn inner(&mut self, depth: u32) -> Option<()> {
        let is_object = self.take(b'{');
        let end = if is_object { b'}' } else { b']' };
        if !is_object {
            self.expect(b'[')?;
        }
        self.white();
        if self.take(end) {
            return Some(());
        }
        loop {
            self.white();
            if is_object {
                self.expect(b'"')?;
                self.string()?;
                self.white();
                self.expect(b':')?;
                self.white();
            }
            self.value(depth)?;
            self.white();
            if self.take(end) {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Some(())
    }

    /// Steps over one digit or more.
    fn digits(&mut self) -> Option<()> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        self.0 = self.0.get(digits..)?;
        (digits > 0).then_some(())
    }

    /// Takes a string whose opening quote was taken.
    fn string(&mut self) -> Option<Text<'t>> {
        let begun = self.0;
        let mut has_escapes = false;
        loop {
            while let Some((eight, rest)) = self.0.split_first_chunk() {
                let ends = ends_in(u64::from_le_bytes(*eight));
                if ends != 0 {
                    self.0 = self.0.get((ends.trailing_zeros() / 8) as usize..)?;
                    break;
                }
                self.0 = rest;
            }
            let (byte, rest) = self.0.split_first()?;
            match byte {
                b'"' => {
                    let raw = begun.get(..begun.len() - self.0.len())?;
                    self.0 = rest;
                    return Some(Text { raw, has_escapes });
                }
                b'\\' => {
                    has_escapes = true;
                    self.0 = escape(rest)?;
                }
                ..0x20 => return None,
                _ => self.0 = rest,
            }
        }
    }
}

/// What is behind an escape, whose backslash was taken.
fn escape(text: &[u8]) -> Option<&[u8]> {
    let (byte, rest) = text.split_first()?;
    match byte {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(rest),
        b'u' => {
            let (digits, rest) = rest.split_first_chunk::<4>()?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(rest)
        }
        _ => None,
    }
}

/// Marks in the highest bit of each byte, up to the first that is marked: whether it is a quote, a backslash or a control character.
const fn ends_in(bytes: u64) -> u64 {
    let quote = bytes ^ (ONES * 0x22);
    let backslash = bytes ^ (ONES * 0x5c);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = bytes.wrapping_sub(ONES * 0x20) & !bytes;
    (is_quote | is_backslash | is_control) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanned(text: &str) -> Option<Option<i64>> {
        let read = |json: &str| json.parse().ok().map(Timestamp::from_millis);
        time(text, "when", read).map(|time| time.map(Timestamp::as_millis))
    }

    #[test]
    fn plain_records_are_read_and_the_first_time_that_is_one_counts() {
        let text = r#" {"a" : "x\"}\\" , "when":null,"b":{"when":1,"c":[1.5e-3,[],{},-0,true]},
            "when": 7 ,"when":8} "#;
        assert_eq!(scanned(text.trim_start()), Some(Some(7)));
        assert_eq!(scanned("{ }\r\n"), Some(None));
        assert_eq!(scanned(r#"{"é\u00e9":"日本"}"#), None, "a key with escapes");
    }

    #[test]
    fn whatever_is_odd_is_left_to_the_strict_reader() {
        for odd in [
            "",
            "[]",
            "{",
            r#"{"a":1}{}"#,
            r#"{"a":01}"#,
            r#"{"a":.5}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"1234567\u{1f}\"}",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{a:1}"#,
            r#"{"a":[1 2]}"#,
            r#"{"a":"x"#,
        ] {
            assert_eq!(scanned(odd), None, "{odd}");
        }
        let deep = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(scanned(&deep(32)), Some(None));
        assert_eq!(scanned(&deep(33)), None);
    }

    fn strict(text: &str) -> Option<serde_json::Value> {
        serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .filter(serde_json::Value::is_object)
    }

    proptest! {
        #[test]
        fn what_it_accepts_is_an_object(text in r#"[{}\[\]",:\\u0-9a-e.+ \n\-]{0,40}"#) {
            for text in [text.clone(), format!("{{\"when\":{text}}}"), format!("{{\"a\":\"{text}\"}}")] {
                // Only that a surrogate stands alone is nothing to the strict reader that steps over values.
                if scanned(&text).is_some() && !text.contains("\\u") {
                    prop_assert!(strict(&text).is_some(), "{}", text);
                }
            }
        }

        #[test]
        fn bytes_that_end_plain_text_are_found_wherever_they_stand(text in "[ -~é日]{0,40}", at in 0_usize..41, end in 0_u8..0x20) {
            let mut quoted: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'"' | b'\\')).collect();
            let plain = quoted.clone();
            quoted.push(b'"');
            let string = Scan(&quoted).string().unwrap();
            prop_assert_eq!((string.raw, string.has_escapes), (plain.as_slice(), false));
            quoted.insert(at.min(plain.len()), end);
            prop_assert!(Scan(&quoted).string().is_none());
        }
    }
}
