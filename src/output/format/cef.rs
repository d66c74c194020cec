//! ArcSight's Common Event Format, version 0.
//!
//! `CEF:0|Mimecast|Email Security|<version>|<signature id>|<name>|<severity>|key=value key=value`. A field without a row in the table
//! goes under `mc` and its name: `mcSpamDetectionLevel`.

use super::fields::Field;
use super::{Cut, Event, TRUNCATED, escape, map};

pub(super) fn write(out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
    let signature = event.signature;
    let head = format!(
        "CEF:0|Mimecast|Email Security|{}|{}|{}|{}|rt={}",
        env!("CARGO_PKG_VERSION"),
        signature.id,
        signature.name,
        event.severity(),
        event.record.time.as_millis()
    );
    out.extend_from_slice(head.as_bytes());
    pair(out, "cat", signature.category);
    pair(out, "mcEventId", &event.record.id.to_string());
    pair(out, "mcIntegration", event.integration);
    pair(out, "mcLog", event.log);
    pair(out, "mcType", &event.record.kind);
    let mut used = Vec::new();
    for field in cut.fields(event) {
        member(out, &event.record.kind, field, cut.value(field), &mut used);
    }
    if !cut.is_none() {
        pair(out, TRUNCATED, "true");
    }
}

fn member(
    out: &mut Vec<u8>,
    kind: &str,
    field: &Field<'_>,
    value: &str,
    used: &mut Vec<&'static str>,
) {
    let row = map::find(kind, &field.name).filter(|row| !used.contains(&row.cef));
    match row.and_then(|row| Some((row, row.cef_value(value)?))) {
        Some((row, value)) => {
            used.push(row.cef);
            pair(out, row.cef, value);
            if !row.label.is_empty() {
                pair(out, &format!("{}Label", row.cef), row.label);
            }
        }
        None => pair(out, &own_key(&field.name), value),
    }
}

/// The key of a field without a row: letters and digits only, the first of each word a capital.
pub(super) fn own_key(name: &str) -> String {
    let mut key = String::from("mc");
    let mut begins = true;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            begins = true;
        } else if begins {
            key.push(c.to_ascii_uppercase());
            begins = false;
        } else {
            key.push(c);
        }
    }
    // What the collector itself says of every event.
    if matches!(
        &*key,
        "mc" | "mcEventId" | "mcIntegration" | "mcLog" | "mcType"
    ) {
        key.push_str("Field");
    }
    key
}

fn pair(out: &mut Vec<u8>, key: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    // A backslash is always escaped, so that one of a control character's escape is, too; but for line breaks, which have escapes of
    // their own.
    escape::write(out, value, "\\\\", |c| match c {
        '\\' => Some("\\\\"),
        '=' => Some("\\="),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        _ => None,
    });
}
