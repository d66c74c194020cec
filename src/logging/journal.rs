//! The journal's own protocol: one datagram an event, each field by its name, so that `journalctl MC_INTEGRATION=acme` finds what it
//! should; the message repeats them, for those who read. A value can neither end a field nor begin another: those with line breaks are sent with their length.

use std::fmt::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::fs::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

const SOCKET: &str = "/run/systemd/journal/socket";
/// 4 KiB: the longest text of a failure has 500 bytes; a datagram must fit the socket's buffer.
const LONGEST: usize = 4 << 10;
/// A journal that takes nothing must not hold up the tasks that log: what it has no room for by then is not logged.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends events to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The journal, if standard error leads there.
    pub(super) fn behind_stderr() -> Option<Self> {
        let seen = fstat(std::io::stderr()).ok()?;
        let stream = journal_stream()?;
        leads_there(&stream, seen.st_dev, seen.st_ino).then(|| Self::at(SOCKET))?
    }

    fn at(path: &str) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self { socket })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd's word for where standard error leads; nobody else asks for it"
)]
fn journal_stream() -> Option<String> {
    std::env::var("JOURNAL_STREAM").ok()
}

/// Whether `$JOURNAL_STREAM`, device and inode, names the file that was seen: standard error may have been redirected since.
fn leads_there(stream: &str, device: u64, inode: u64) -> bool {
    let ids = stream.split_once(':');
    ids.is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::new(event.metadata().level(), event.metadata().target());
        event.record(&mut entry);
        // A log that cannot be written is no reason to stop.
        self.socket.send(&entry.finish()).ok();
    }
}

struct Entry {
    bytes: Vec<u8>,
    /// The sentence, escaped.
    sentence: String,
    /// ` name=value` of each field, as in text.
    fields: String,
}

impl Entry {
    fn new(level: &Level, target: &str) -> Self {
        let mut entry = Self {
            bytes: Vec::new(),
            sentence: String::new(),
            fields: String::new(),
        };
        entry.put("PRIORITY", priority(level));
        entry.put("SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        entry.put("MC_TARGET", target);
        entry
    }

    fn finish(mut self) -> Vec<u8> {
        let message = format!("{}{}", self.sentence, self.fields);
        self.put("MESSAGE", message.trim_start());
        self.bytes
    }

    fn put(&mut self, name: &str, value: &str) {
        let value = cut(value);
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            self.bytes
                .extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }
}

/// The severities of syslog(3).
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

fn cut(value: &str) -> &str {
    value
        .get(..value.floor_char_boundary(LONGEST))
        .unwrap_or(value)
}

/// The journal's form of a field's name: capitals, digits and underscores, under a prefix of our own.
fn named(name: &str) -> String {
    let capital = |c: char| match c.to_ascii_uppercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    "MC_".chars().chain(name.chars().map(capital)).collect()
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            super::write_sentence(&mut self.sentence, value).ok();
        } else {
            super::write_field(&mut self.fields, field, value).ok();
            self.put(&named(field.name()), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").ok();
        self.record_str(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn an_event_reaches_the_journal_with_its_fields_and_none_that_was_forged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path.to_str().unwrap()).unwrap();
        let registry = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(registry, || {
            tracing::warn!(
                integration = "acme",
                request_id = %"a\nPRIORITY=0",
                "refused:\n\u{1b}[2J"
            );
        });
        let mut heard = [0; 4096];
        let len = listener.recv(&mut heard).unwrap();
        let heard = String::from_utf8(heard[..len].to_vec()).unwrap();
        for field in [
            "PRIORITY=4\n",
            "\nSYSLOG_IDENTIFIER=mimecast-collector\n",
            "\nMC_INTEGRATION=acme\n",
            "\nMESSAGE=refused:\\n\\u{1b}[2J integration=acme request_id=\"a\\nPRIORITY=0\"\n",
            "\nMC_REQUEST_ID\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=0\n",
        ] {
            assert!(heard.contains(field), "no {field:?} in {heard:?}");
        }
    }

    #[test]
    fn a_journal_that_takes_nothing_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let other = UnixDatagram::unbound().unwrap();
        other.connect(&path).unwrap();
        other.set_nonblocking(true).unwrap();
        while other.send(b"full").is_ok() {}
        let journal = Journal::at(path.to_str().unwrap()).unwrap();
        let registry = tracing_subscriber::registry().with(journal);
        // Without a limit this never ends.
        tracing::subscriber::with_default(registry, || tracing::warn!("not heard"));
    }

    #[test]
    fn standard_error_that_was_redirected_leads_elsewhere() {
        assert!(leads_there("8:15", 8, 15));
        for other in ["8:16", "9:15", "", "8", ":", "x:y"] {
            assert!(!leads_there(other, 8, 15), "{other}");
        }
    }
}
