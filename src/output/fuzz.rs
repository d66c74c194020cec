//! What the fuzzer throws at formats, frames and the reading of HEC's answers, and what must hold whatever it throws.
#![expect(
    clippy::indexing_slicing,
    reason = "a panic is what the fuzzer looks for"
)]

use serde_json::Value;

use super::batching::Then;
pub use super::filter::fuzz::filters;
use super::format::{Event, Format, Template, escape};
use super::syslog::{Framing, Rfc, SyslogConfig, Transport};
use super::{Batch, hec, syslog};
use crate::model::{EventId, Form, LaneId, Record, Timestamp};

pub use super::hec::fuzz::hec_answers;

/// An event. The first byte says how it is written, the second what it is, the third how much room there is; a template stands in
/// the first line.
pub fn formats(data: &[u8]) {
    let &[how, what, room, ref body @ ..] = data else {
        return;
    };
    let (line, rest) = match body.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => (&b"{time} {event}"[..], body),
    };
    let (format, body) = match how % 6 {
        0 => (Format::Json, body),
        1 => (Format::KeyValue, body),
        2 => (Format::Cef, body),
        3 => (Format::Leef, body),
        4 => (Format::Leef2, body),
        _ => match Template::parse(&String::from_utf8_lossy(line)) {
            Ok(template) => (Format::Template(template), rest),
            Err(why) => return assert!(!why.contains(char::is_control)),
        },
    };
    let (log, kind) = [
        ("siem", "receipt"),
        ("siem-cg", "url protect"),
        ("audit", "audit"),
        ("dlp", "dlp"),
    ][usize::from(what % 4)];
    let record = record(kind, body, what & 4 != 0);
    one_line(&format, log, &record, 400 + usize::from(room) * 16);
    let of_two = vec![record.clone(), record];
    frames(&format, how, what, &of_two, 480 + usize::from(room) * 16);
    hec::fuzz::bodies(&of_two);
}

/// What a source pushes: a JSON object or a line of text.
pub(super) fn record(kind: &str, body: &[u8], text: bool) -> Record {
    let body = String::from_utf8_lossy(body).replace(['\r', '\n'], " ");
    let is_object = body.trim_start().starts_with('{')
        && serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
    let (form, body) = match (text, is_object) {
        (false, true) => (Form::Json, body.trim().to_owned()),
        // Any text is somewhere in a JSON object, its name and its value alike.
        (false, false) => (
            Form::Json,
            serde_json::json!({ body.clone(): body, "subject": [body, {"a": body}] }).to_string(),
        ),
        (true, _) => (Form::Text, body),
    };
    Record {
        id: EventId([0xab; 16]),
        time: Timestamp::from_millis(1_767_690_487_000),
        form,
        kind: kind.into(),
        body: body.into(),
    }
}

fn one_line(format: &Format, log: &str, record: &Record, limit: usize) {
    let body = record.body_str();
    let event = Event::new("acme-uk", log, record, &body);
    for limit in [limit, usize::MAX] {
        let mut line = b"before".to_vec();
        let cut = format.write(&mut line, &event, limit);
        let line = line.strip_prefix(b"before").unwrap_or_default();
        assert!(line.len() <= limit, "longer than its limit");
        let Ok(line) = std::str::from_utf8(line) else {
            unreachable!("a line that is no UTF-8")
        };
        let tabs = match format {
            Format::Leef | Format::Leef2 | Format::Template(_) => true,
            Format::Json | Format::KeyValue | Format::Cef => false,
        };
        let is_unsafe = |c| escape::is_unsafe(c) && !(tabs && c == '\t');
        assert!(!line.contains(is_unsafe), "a control character");
        match format {
            Format::Json => {
                let json = serde_json::from_str::<serde::de::IgnoredAny>(line);
                assert!(json.is_ok(), "no JSON");
            }
            Format::Cef => assert_eq!(cut, line.ends_with(" truncated=true")),
            Format::Leef | Format::Leef2 => assert_eq!(cut, line.ends_with("\ttruncated=true")),
            Format::KeyValue | Format::Template(_) => {}
        }
    }
}

/// However events look, what a receiver finds are as many messages, each within its limit.
fn frames(format: &Format, how: u8, what: u8, records: &[Record], max_bytes: usize) {
    let config = SyslogConfig {
        servers: Vec::new(),
        transport: Transport::Tcp,
        rfc: if what & 8 == 0 {
            Rfc::Rfc5424
        } else {
            Rfc::Rfc3164
        },
        framing: if what & 16 == 0 {
            Framing::OctetCounting
        } else {
            Framing::Lf
        },
        format: format.clone(),
        facility: how % 24,
        app_name: "mimecast-collector".to_owned(),
        hostname: Some("collector-1".to_owned()),
        max_bytes,
        oversized: Then::Truncate,
        ca_file: None,
        client_cert: None,
        client_key: None,
    };
    let lane = LaneId::from_text("acme-uk/siem-cg/url protect");
    let bytes = syslog::frames(&config, &Batch::new(lane, records.to_vec()));
    let mut rest = &*bytes;
    for _ in records {
        let end = match config.framing {
            Framing::Lf => rest.iter().position(|byte| *byte == b'\n').unwrap_or(0),
            Framing::OctetCounting => {
                let space = rest.iter().position(|byte| *byte == b' ').unwrap_or(0);
                let count = std::str::from_utf8(&rest[..space]).ok();
                rest = &rest[space + 1..];
                count.and_then(|count| count.parse().ok()).unwrap_or(0)
            }
        };
        let message = &rest[..end];
        assert!(message.starts_with(b"<") && message.len() <= max_bytes);
        assert!(!message.contains(&b'\n') && std::str::from_utf8(message).is_ok());
        rest = &rest[end..];
        if config.framing == Framing::Lf {
            rest = &rest[1..];
        }
    }
    assert!(rest.is_empty(), "more messages than events");
}

/// Whether bytes are JSON values one after another, so many of them.
pub(super) fn are_values(bytes: &[u8], count: usize) -> bool {
    let values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut found = 0;
    for value in values {
        match value {
            Ok(_) => found += 1,
            // Deeper than a parser of values follows: the event was looked at by one that does.
            Err(error) => return error.to_string().contains("recursion limit"),
        }
    }
    found == count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds::seeds;

    #[test]
    fn every_seed_keeps_what_is_promised_of_formats_filters_and_answers() {
        seeds("formats").iter().for_each(|seed| formats(seed));
        seeds("filters").iter().for_each(|seed| filters(seed));
        let answers = seeds("answers");
        let of_hec = answers.iter().filter_map(|seed| seed.strip_prefix(b"h"));
        of_hec.for_each(hec_answers);
    }
}
