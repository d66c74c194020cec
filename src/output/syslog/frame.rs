//! Events as syslog messages, and messages as frames.
//!
//! ```text
//! <134>1 2026-01-06T09:08:07.000Z host app - url-protect [mimecast@32473 integration="…" log="…" type="…" eventId="…"] BODY
//! <134>Jan  6 09:08:07 host app: BODY
//! ```
//! The header is printable ASCII and the body has no control character, so a message holds no line feed, and a count is always right. The
//! number behind `@` is the one that RFC 5612 reserves for documents: the project has none of its own.

use std::io::Write as _;
use std::sync::Arc;

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
        let mut labels = Labels::default();
        for (index, record) in batch.records().iter().enumerate() {
            let body = record.body_str();
            let event = Event::new(batch.integration(), batch.log(), record, &body);
            let out = &mut frames.bytes;
            let is_shortened = if self.framing == Some(Framing::OctetCounting) {
                message.clear();
                let is_shortened = self.message(&mut message, &event, &mut labels);
                // Nothing goes wrong in memory.
                write!(out, "{} ", message.len()).ok();
                out.extend_from_slice(&message);
                is_shortened
            } else {
                self.message(out, &event, &mut labels)
            };
            if is_shortened {
                frames.shortened.push(index);
            }
            if self.framing == Some(Framing::Lf) {
                out.push(b'\n');
            }
            frames.ends.push(out.len());
        }
        frames
    }

    /// Writes a message without its frame; returns whether it was shortened.
    fn message(&self, out: &mut Vec<u8>, event: &Event<'_>, labels: &mut Labels) -> bool {
        let start = out.len();
        let priority = self.facility * 8 + severity(event.severity());
        let time = event.record.time;
        // Nothing goes wrong in memory.
        match self.rfc {
            Rfc::Rfc5424 => {
                write!(out, "<{priority}>1 {time}").ok();
                out.extend_from_slice(labels.of(self, event));
                out.extend_from_slice(&event.record.id.digits());
                out.extend_from_slice(b"\"] ");
            }
            Rfc::Rfc3164 => {
                let time = time.calendar().strftime("%b %e %H:%M:%S");
                let (host, app) = (&self.hostname, &self.app_name);
                write!(out, "<{priority}>{time} {host} {app}: ").ok();
            }
        }
        let head = out.len() - start;
        self.format
            .write(out, event, self.max_bytes.saturating_sub(head))
    }
}

/// What messages of RFC 5424 have from behind the time up to the event's id: the same for all events of a batch that are of one type.
#[derive(Default)]
struct Labels {
    kind: Option<Arc<str>>,
    text: Vec<u8>,
}

impl Labels {
    fn of(&mut self, encoder: &Encoder, event: &Event<'_>) -> &[u8] {
        let kind = &event.record.kind;
        if self.kind.as_ref() != Some(kind) {
            let (host, app, id) = (&encoder.hostname, &encoder.app_name, event.signature.id);
            self.text = format!(" {host} {app} - {id} [mimecast@32473").into_bytes();
            let own: &str = kind;
            for (name, value) in [
                ("integration", event.integration),
                ("log", event.log),
                ("type", own),
            ] {
                parameter(&mut self.text, name, value);
            }
            self.text.extend_from_slice(b" eventId=\"");
            self.kind = Some(Arc::clone(kind));
        }
        &self.text
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
