//! An answer for the fuzzer, taken apart.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Status, headers and body of an answer: a line with the status, lines of headers, an empty line, the body.
pub(crate) fn answer(data: &[u8]) -> Option<(u16, HeaderMap, &[u8])> {
    let (status, mut rest) = line(data);
    let status = std::str::from_utf8(status).ok()?.trim().parse().ok()?;
    let mut headers = HeaderMap::new();
    loop {
        let (header, behind) = line(rest);
        rest = behind;
        if header.is_empty() {
            return Some((status, headers, rest));
        }
        let colon = header.iter().position(|byte| *byte == b':')?;
        let (name, value) = header.split_at(colon);
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
}

fn line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    let (line, rest) = data.split_at(end);
    (
        line.strip_suffix(b"\r").unwrap_or(line),
        rest.get(1..).unwrap_or_default(),
    )
}
