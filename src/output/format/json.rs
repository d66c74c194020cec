//! What the JSON formats share: how an event becomes a value, and how text becomes a string.

use std::io::{self, Write as _};

use super::{Cut, Event, TRUNCATED, escape};
use crate::model::{Form, Record};

/// Text as a JSON string, with its quotes.
pub(in crate::output) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes the event as a JSON value: a JSON body byte by byte as it came, any other as a string.
pub(in crate::output) fn write_event(out: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let body = record.body_str();
    match record.form {
        Form::Json => out.write_all(body.as_bytes())?,
        Form::Text => serde_json::to_writer(out, &body)?,
    }
    Ok(())
}

/// Writes the event as a JSON value on one line without control characters. One that must be shortened becomes an object of its
/// fields, `{"from.emailAddress":"…","truncated":true}`.
pub(super) fn write_line(out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
    match event.record.form {
        Form::Json if cut.is_none() && escape::is_printable(event.body) => {
            out.extend_from_slice(event.body.as_bytes());
        }
        Form::Json if cut.is_none() => {
            // Between the members of an object, control characters are white space; within a string, JSON allows those alone that
            // it lets escape.
            escape::write(out, event.body, "\\", |c| {
                matches!(c, '\n' | '\r' | '\t').then_some(" ")
            });
        }
        Form::Text if cut.is_none() => string(out, event.body),
        Form::Json | Form::Text => {
            out.push(b'{');
            for field in cut.fields(event) {
                string(out, &field.name);
                out.push(b':');
                let value = cut.value(field);
                if field.bare && value == field.value {
                    escape::write_plain(out, value);
                } else {
                    string(out, value);
                }
                out.push(b',');
            }
            string(out, TRUNCATED);
            out.extend_from_slice(b":true}");
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    escape::write_plain(out, &quoted(text));
}
