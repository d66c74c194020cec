//! Text made safe: no control character gets through, and no text is cut within a character.

/// Whether a character could break a line, or a terminal: control characters, and Unicode's two line separators.
pub(in crate::output) fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a text has printable characters of ASCII alone, so that most texts are found to be harmless many bytes at a time.
pub(super) fn is_printable(text: &str) -> bool {
    // Without an early end, so that it is made of wide instructions.
    let odd = |byte: u8| u8::from(!(0x20..0x7f).contains(&byte));
    text.bytes().fold(0, |any, byte| any | odd(byte)) == 0
}

/// Writes a text with control characters as `\n`, `\r`, `\t` or `\u001b`, each backslash of these as `backslash`, and what
/// `special` has a text for as that.
pub(in crate::output) fn write(
    out: &mut Vec<u8>,
    text: &str,
    backslash: &str,
    special: impl Fn(char) -> Option<&'static str>,
) {
    if !text.chars().any(|c| is_unsafe(c) || special(c).is_some()) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        if let Some(written) = special(c) {
            out.extend_from_slice(written.as_bytes());
        } else if is_unsafe(c) {
            out.extend_from_slice(backslash.as_bytes());
            match c {
                '\n' => out.push(b'n'),
                '\r' => out.push(b'r'),
                '\t' => out.push(b't'),
                c => out.extend_from_slice(format!("u{:04x}", u32::from(c)).as_bytes()),
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Writes a text in which only control characters are escaped.
pub(super) fn write_plain(out: &mut Vec<u8>, text: &str) {
    if is_printable(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        write(out, text, "\\", |_| None);
    }
}

/// Writes a field's name with `_` for what is no letter, digit, `_`, `.` or `-`.
pub(super) fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend(name.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => u8::try_from(c).unwrap_or(b'_'),
        '.' => b'.',
        '-' => b'-',
        _ => b'_',
    }));
}

/// The longest beginning of a text that has at most `limit` bytes and ends with a whole character.
pub(super) fn head(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// The last place up to `limit` at which UTF-8 text may be cut.
pub(super) fn boundary(text: &[u8], limit: usize) -> usize {
    let mut end = limit.min(text.len());
    while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_the_end_of_a_character_only() {
        assert_eq!(
            [head("aé日", 2), head("aé日", 5), head("aé日", 99)],
            ["a", "aé", "aé日"]
        );
        assert_eq!(
            [2, 3, 6].map(|limit| boundary("aé日".as_bytes(), limit)),
            [1, 3, 6]
        );
    }

    #[test]
    fn control_characters_become_visible() {
        let mut out = Vec::new();
        write_plain(&mut out, "a\r\n\t\0\u{1b}[31m\u{85}\u{2028}é");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r"a\r\n\t\u0000\u001b[31m\u0085\u2028é"
        );
    }
}
