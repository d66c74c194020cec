//! QRadar's Log Event Extended Format.
//!
//! `LEEF:1.0|Mimecast|Email Security|<version>|<event id>|` or `LEEF:2.0|…|<event id>|x09|`, then `key=value` separated by tabs. A
//! field without a row in the table goes under its own name. LEEF has no escapes: a tab can not stand in a value, because
//! control characters are written as `\t`, `\n` and the like.

use super::{Cut, Event, TRUNCATED, escape, map};

/// Of `devTime`, as QRadar's Java reads it.
const TIME_FORMAT: &str = "yyyy-MM-dd'T'HH:mm:ss.SSSZ";

/// Keys that every event has; fields of these names have another one.
const OWN: &[&str] = &[
    "devTime",
    "devTimeFormat",
    "cat",
    "sev",
    "eventId",
    "integration",
    "log",
    "type",
    TRUNCATED,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

pub(super) fn write(out: &mut Vec<u8>, event: &Event<'_>, cut: Cut, version: Version) {
    let signature = event.signature;
    let (number, delimiter) = match version {
        Version::One => ("1.0", ""),
        Version::Two => ("2.0", "x09|"),
    };
    // The time ends in "Z", which this form of Java's does not read.
    let time = event.record.time.to_string().replace('Z', "+0000");
    let head = format!(
        "LEEF:{number}|Mimecast|Email Security|{}|{}|{delimiter}devTime={time}\tdevTimeFormat={TIME_FORMAT}\tcat={}\tsev={}\teventId={}",
        env!("CARGO_PKG_VERSION"),
        signature.id,
        signature.category,
        event.severity().max(1),
        event.record.id,
    );
    out.extend_from_slice(head.as_bytes());
    pair(out, "", "integration", event.integration);
    pair(out, "", "log", event.log);
    pair(out, "", "type", &event.record.kind);
    let mut used = Vec::new();
    for field in cut.fields(event) {
        let value = cut.value(field);
        match map::find(&event.record.kind, &field.name).filter(|row| !used.contains(&row.leef)) {
            Some(row) => {
                used.push(row.leef);
                pair(out, "", row.leef, value);
            }
            // A name that is a key of the table, or of every event, would be read as that.
            None if OWN.contains(&&*field.name)
                || map::ROWS.iter().any(|row| row.leef == field.name) =>
            {
                pair(out, "mc.", &field.name, value);
            }
            None => pair(out, "", &field.name, value),
        }
    }
    if !cut.is_none() {
        pair(out, "", TRUNCATED, "true");
    }
}

fn pair(out: &mut Vec<u8>, prefix: &str, key: &str, value: &str) {
    out.push(b'\t');
    out.extend_from_slice(prefix.as_bytes());
    escape::write_name(out, key);
    out.push(b'=');
    escape::write_plain(out, value);
}
