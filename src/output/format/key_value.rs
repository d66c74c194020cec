//! `key=value|key=value`: the lines of API 1.0, for parsers that were written for them.
//!
//! Before the event's own fields stand `event_id`, `integration`, `log` and `type`. A line of API 1.0 follows as it came, with control
//! characters escaped. The values of other events have `\|` and `\\` for `|` and `\`.

use super::{Cut, Event, TRUNCATED, escape};
use crate::model::Form;

/// Keys that every event has; fields of these names have `mc.` before theirs.
const OWN: &[&str] = &["event_id", "integration", "log", "type", TRUNCATED];

pub(super) fn write(out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
    out.extend_from_slice(format!("event_id={}", event.record.id).as_bytes());
    for (name, value) in [
        ("integration", event.integration),
        ("log", event.log),
        ("type", &event.record.kind),
    ] {
        field(out, name, value);
    }
    if event.record.form == Form::Text && cut.is_none() {
        out.push(b'|');
        escape::write_plain(out, event.body);
        return;
    }
    for member in cut.fields(event) {
        if OWN.contains(&&*member.name) {
            field(out, &format!("mc.{}", member.name), cut.value(member));
        } else {
            field(out, &member.name, cut.value(member));
        }
    }
    if !cut.is_none() {
        field(out, TRUNCATED, "true");
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b'|');
    escape::write_name(out, name);
    out.push(b'=');
    escape::write(out, value, "\\", |c| match c {
        '|' => Some("\\|"),
        '\\' => Some("\\\\"),
        _ => None,
    });
}
