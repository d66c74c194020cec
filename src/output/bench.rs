//! The hot loops of this module, for `benches/micro`.

use super::Batch;
use super::batching::{Oversized, Then};
use super::format::{Event, Format};
pub use super::hec::bench::wrap;
use super::syslog::{self, Framing, Rfc, SyslogConfig, Transport};

/// The formats by their names.
pub const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("key-value", Format::KeyValue),
    ("cef", Format::Cef),
    ("leef", Format::Leef),
    ("leef2", Format::Leef2),
];

/// The events of a batch, each as text in a format.
#[must_use]
pub fn written(format: &Format, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    for record in batch.records() {
        let body = record.body_str();
        let event = Event::new(batch.integration(), batch.log(), record, &body);
        format.write(&mut out, &event, Oversized::default().max_bytes);
    }
    out
}

/// The events of a batch as syslog messages of JSON for a stream.
#[must_use]
pub fn framed(batch: &Batch) -> Vec<u8> {
    let config = SyslogConfig {
        servers: Vec::new(),
        transport: Transport::Tcp,
        rfc: Rfc::Rfc5424,
        framing: Framing::Lf,
        format: Format::Json,
        facility: 16,
        app_name: "mimecast-collector".to_owned(),
        hostname: Some("collector-1".to_owned()),
        max_bytes: Oversized::default().max_bytes,
        oversized: Then::Truncate,
        ca_file: None,
        client_cert: None,
        client_key: None,
    };
    syslog::frames(&config, batch)
}

/// A body as it is packed by default.
///
/// # Errors
/// None that a body in memory can cause.
pub fn pack(body: &[u8]) -> std::io::Result<Vec<u8>> {
    super::gzip(body, 1)
}
