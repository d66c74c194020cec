//! The hot loops of this module, for `benches/micro`.

use std::io::{self, BufReader};

use super::auth::{Credential, signature};
use super::decode::gzip::Inflated;
use super::decode::lines::{Ends, Lines};
use super::decode::recorder::{Origin, Recorder};
use super::decode::{BUFFER, DecodeError, Records as _};
use super::log_types;
use crate::model::{Form, Sink, StreamId, Timestamp};

/// Reads a gzip file of NDJSON into a sink; gives the number of records.
///
/// # Errors
/// A file that cannot be read, or the sink's.
pub fn decode<S: Sink>(file: &[u8], stream: &StreamId, sink: &mut S) -> io::Result<u64> {
    let log = log_types::find(&stream.log).ok_or(io::ErrorKind::NotFound)?;
    let input = BufReader::with_capacity(BUFFER, Inflated::new(file)?);
    let mut lines = Lines::new(input, Ends::LineFeed);
    let origin = Origin {
        stream,
        log,
        kind: &stream.event_type,
        form: Form::Json,
        time: Timestamp::from_millis(0),
    };
    let mut recorder = Recorder::new(sink, origin);
    let mut records = 0;
    while let Some(record) = lines.next()? {
        let taken = recorder.take(record).map_err(DecodeError::from);
        taken.map_err(|error| io::Error::other(error.to_string()))?;
        records += 1;
    }
    Ok(records)
}

/// The date and the signature of a request of API 1.0; empty for a credential of 2.0.
#[must_use]
pub fn sign(credential: &Credential, now: Timestamp, request_id: &str, path: &str) -> [String; 2] {
    let Credential::V1 {
        application_key,
        secret_key,
        ..
    } = credential
    else {
        return [String::new(), String::new()];
    };
    let date = signature::date(now);
    let key = application_key.expose();
    let signature = signature::sign(secret_key, &date, request_id, path, key);
    [date, signature]
}
