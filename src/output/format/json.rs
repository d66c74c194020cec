//! What the JSON formats share: how an event becomes a value, and how text becomes a string.

use std::io::{self, Write as _};

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
