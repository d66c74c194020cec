//! Events as syslog messages, and messages as frames.
//!
//! ```text
//! <134>1 2026-01-06T09:08:07.000Z host app - url-protect [mimecast@32473 integration="…" log="…" type="…" eventId="…"] BODY
//! <134>Jan  6 09:08:07 host app: BODY
//! ```
//! The header is printable ASCII and the body has no control character, so a message holds no line feed, and a count is always right. The
//! number behind `@` is the one that RFC 5612 reserves for documents: the project has none of its own.

use crate::output::Batch;
use crate::output::format::{Event, Format, escape};

use super::{Framing, Rfc, SyslogConfig, Transport};

/// What messages of an output have in common.
#[derive(Debug)]
pub(super) struct Encoder {
    rfc: Rfc,
    /// `None` for datagrams, which are frames themselves.
    framing: Option<Framing>,
    format: Format,
    facility: u8,
    app_name: String,
    hostname: String,
    max_bytes: usize,
}

/// Messages one after another.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    /// Where each of them ends.
    pub(super) ends: Vec<usize>,
    /// Which events were shortened.
    pub(super) shortened: Vec<usize>,
    /// What stands behind each message on a stream, for sockets of which only the connection shows whether they are one.
    pub(super) separator: &'static [u8],
}

impl Encoder {
    pub(super) fn new(config: &SyslogConfig) -> Self {
        Self {
            rfc: config.rfc,
            framing: match config.transport {
                Transport::Tls | Transport::Tcp => Some(config.framing),
                Transport::Udp | Transport::Unix => None,
            },
            format: config.format.clone(),
            facility: config.facility,
            app_name: config.app_name.clone(),
            hostname: config
                .hostname
                .clone()
                .or_else(this_host)
                .unwrap_or_else(|| "-".to_owned()),
            max_bytes: config.max_bytes,
        }
    }

    /// All events of a batch. Takes milliseconds for a large one: for a blocking thread.
    pub(super) fn encode(&self, batch: &Batch) -> Frames {
        let mut frames = Frames {
            bytes: Vec::with_capacity(batch.bytes() + 256 * batch.len()),
            separator: b"\n",
            ..Frames::default()
        };
        let mut message = Vec::new();
        for (index, record) in batch.records().iter().enumerate() {
            let body = record.body_str();
            let event = Event::new(batch.integration(), batch.log(), record, &body);
            message.clear();
            if self.message(&mut message, &event) {
                frames.shortened.push(index);
            }
            match self.framing {
                Some(Framing::OctetCounting) => {
                    frames
                        .bytes
                        .extend_from_slice(format!("{} ", message.len()).as_bytes());
                    frames.bytes.extend_from_slice(&message);
                }
                Some(Framing::Lf) => {
                    frames.bytes.extend_from_slice(&message);
                    frames.bytes.push(b'\n');
                }
                None => frames.bytes.extend_from_slice(&message),
            }
            frames.ends.push(frames.bytes.len());
        }
        frames
    }

    /// Writes a message without its frame; returns whether it was shortened.
    fn message(&self, out: &mut Vec<u8>, event: &Event<'_>) -> bool {
        let priority = self.facility * 8 + severity(event.severity);
        let time = event.record.time;
        match self.rfc {
            Rfc::Rfc5424 => {
                let head = format!(
                    "<{priority}>1 {time} {} {} - {} [mimecast@32473",
                    self.hostname, self.app_name, event.signature.id
                );
                out.extend_from_slice(head.as_bytes());
                parameter(out, "integration", event.integration);
                parameter(out, "log", event.log);
                parameter(out, "type", &event.record.kind);
                parameter(out, "eventId", &event.record.id.to_string());
                out.extend_from_slice(b"] ");
            }
            Rfc::Rfc3164 => {
                let time = time.calendar().strftime("%b %e %H:%M:%S");
                let head = format!("<{priority}>{time} {} {}: ", self.hostname, self.app_name);
                out.extend_from_slice(head.as_bytes());
            }
        }
        self.format
            .write(out, event, self.max_bytes.saturating_sub(out.len()))
    }
}

fn parameter(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!(" {name}=\"").as_bytes());
    escape::write(out, value, "\\\\", |c| match c {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        ']' => Some("\\]"),
        _ => None,
    });
    out.push(b'"');
}

/// Of syslog's severities, the one for a severity from 0 to 10.
const fn severity(of_ten: u8) -> u8 {
    match of_ten {
        0..=3 => 6,
        4..=5 => 5,
        6..=7 => 4,
        _ => 3,
    }
}

fn this_host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| name.to_owned())
}
