//! Names of things that outlive the process. Their text forms are keys of the store.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Timestamp;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes a name of 1 to 64 letters, digits, `.`, `_`, `-` that begins with a letter or digit.
            ///
            /// # Errors
            /// What is wrong with the name, in words for the person who wrote it.
            pub fn new(name: &str) -> Result<Self, String> {
                check_name(name).map(|()| Self(name.into()))
            }

            /// The name as written in the configuration.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(name: String) -> Result<Self, String> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

name! {
    /// The name of an integration; its state is kept under it.
    IntegrationId
}
name! {
    /// The name of an output; its positions are kept under it.
    OutputId
}
name! {
    /// The name of a collector among others that share its integrations.
    NodeId
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().next() {
        None => Err("a name must not be empty".to_owned()),
        Some(first) if !first.is_ascii_alphanumeric() => {
            Err("a name begins with a letter or a digit".to_owned())
        }
        Some(_) if name.len() > 64 => Err("a name has at most 64 characters".to_owned()),
        Some(_) if !name.chars().all(plain) => {
            Err("a name has only letters, digits, '.', '_' and '-'".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// One cursor's worth of logs: integration × log type × event type (empty where a log type has none).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The integration that fetches it.
    pub integration: IntegrationId,
    /// The log type's name, such as `siem-cg`.
    pub log: Arc<str>,
    /// The vendor's name of the event type, such as `url protect`; empty if the log type has none.
    pub event_type: Arc<str>,
    /// The number of the replay that it is part of; `None` for the live stream. A replay is a stream of its own, with an end.
    pub replay: Option<u64>,
}

impl StreamId {
    /// Names a stream.
    #[must_use]
    pub fn new(integration: &IntegrationId, log: &str, event_type: &str) -> Self {
        Self {
            integration: integration.clone(),
            log: log.into(),
            event_type: event_type.into(),
            replay: None,
        }
    }

    /// The same logs once more, as a part of replay `number`.
    #[must_use]
    pub fn replayed(&self, number: u64) -> Self {
        Self {
            replay: Some(number),
            ..self.clone()
        }
    }

    /// Reads the text form back; `None` for a text that is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let integration = IntegrationId::new(parts.next()?).ok()?;
        let log = parts.next()?;
        let (log, replay) = match log.split_once('@') {
            Some((log, number)) => (log, Some(number.parse().ok()?)),
            None => (log, None),
        };
        let event_type = parts.next().unwrap_or("");
        (!log.is_empty()).then(|| Self {
            replay,
            ..Self::new(&integration, log, event_type)
        })
    }

    /// The log type with its event type, without the integration: `siem-cg/url protect`, or `siem-cg@7/url protect` in replay 7.
    #[must_use]
    pub fn log_and_type(&self) -> String {
        let mut text = self.log.to_string();
        if let Some(number) = self.replay {
            text.push_str(&format!("@{number}"));
        }
        if !self.event_type.is_empty() {
            text.push('/');
            text.push_str(&self.event_type);
        }
        text
    }
}

/// `acme-uk/siem-cg/url protect`, or `acme-uk/audit` for a log type without event types.
impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.integration, self.log_and_type())
    }
}

/// What the names of lanes of events that are sent again begin with; no integration can be called so.
const AGAIN: &str = "@again/";

/// One append-only log of the outbox: a stream's, or the collector's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(Arc<str>);

impl LaneId {
    /// The lane of a stream's events.
    #[must_use]
    pub fn stream(stream: &StreamId) -> Self {
        Self(stream.to_string().into())
    }

    /// The lane of the collector's own events.
    #[must_use]
    pub fn collector() -> Self {
        Self("@collector".into())
    }

    /// A lane by the text that [`LaneId::as_str`] gave.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text form, a key of the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lane of events of this one that an output gets once more, because it refused them and a person wants them sent again.
    #[must_use]
    pub fn again(&self, output: &OutputId) -> Self {
        Self(format!("{AGAIN}{output}/{}", self.origin()).into())
    }

    /// The name of the output that gets the lane's events once more; `None` for a lane that is not for that.
    #[must_use]
    pub fn again_for(&self) -> Option<&str> {
        let rest = self.0.strip_prefix(AGAIN)?;
        rest.split_once('/').map(|(output, _)| output)
    }

    /// The text of the lane that the events came by at first: its own, but for events that are sent again.
    #[must_use]
    pub fn origin(&self) -> &str {
        let rest = self.0.strip_prefix(AGAIN);
        let first = rest.and_then(|rest| rest.split_once('/'));
        first.map_or(&self.0, |(_, lane)| lane)
    }

    /// The stream whose events the lane holds.
    #[must_use]
    pub fn source(&self) -> Option<StreamId> {
        StreamId::parse(self.origin())
    }

    /// The folder of the lane's segments below the store's folder of lanes.
    #[must_use]
    pub fn folder(&self) -> String {
        self.0.replace(' ', "-")
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A place in a lane: before event `event` of the frame that begins at `offset` of segment `segment`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Number of the segment; only grows within a lane.
    pub segment: u64,
    /// Bytes from the segment's beginning to a frame's beginning.
    pub offset: u64,
    /// Events of that frame that lie before this place.
    pub event: u32,
}

impl Position {
    /// The beginning of segment `segment`.
    #[must_use]
    pub const fn start_of(segment: u64) -> Self {
        Self {
            segment,
            offset: 0,
            event: 0,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.segment, self.offset, self.event)
    }
}

/// The stable name of an event, the same for each time it is fetched, replayed or sent: 128 bits,
/// written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// Names a record by where it came from and its raw bytes: the first 128 bits of
    /// SHA-256 over integration, log type and record, each name ended by a zero byte.
    ///
    /// Senders of e-mail choose much of a record's content, so an unkeyed fast hash could be
    /// made to collide; a cryptographic one cannot.
    #[must_use]
    pub fn of(integration: &IntegrationId, log: &str, record: &[u8]) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(integration.as_str());
        hash.update([0]);
        hash.update(log);
        hash.update([0]);
        hash.update(record);
        Self::first_128(hash)
    }

    /// Names an event of the collector's own, in which no two are alike.
    #[must_use]
    pub fn own(kind: &str, body: &str) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        // No integration can be called so.
        for name in ["@collector", kind] {
            hash.update(name);
            hash.update([0]);
        }
        hash.update(body);
        Self::first_128(hash)
    }

    /// The name of the `ordinal`-th of several equal records: the first keeps its own, others
    /// get one that follows from it. Used by log types that name records by content and list them in windows.
    #[must_use]
    pub fn ordinal(self, ordinal: u32) -> Self {
        use sha2::Digest as _;
        if ordinal == 0 {
            return self;
        }
        let mut hash = sha2::Sha256::new();
        hash.update(self.0);
        hash.update(ordinal.to_be_bytes());
        Self::first_128(hash)
    }

    /// The name of a record of a list of what is there now, sent by the poll that began at `polled`: if it goes and comes back,
    /// that is another event.
    #[must_use]
    pub fn seen_at(self, polled: Timestamp) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(self.0);
        hash.update(polled.as_millis().to_be_bytes());
        Self::first_128(hash)
    }

    /// Reads the text form back; `None` for a text that is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
        Some(Self(id.to_be_bytes()))
    }

    /// The text form as its digits.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for ([high, low], byte) in pairs.iter_mut().zip(self.0) {
            *high = digit(byte >> 4);
            *low = digit(byte & 0xf);
        }
        digits
    }

    fn first_128(hash: sha2::Sha256) -> Self {
        use sha2::Digest as _;
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(id)
    }
}

/// A number below 16 as a hexadecimal digit.
const fn digit(number: u8) -> u8 {
    match number {
        0..=9 => b'0' + number,
        _ => b'a' - 10 + number,
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integration() -> IntegrationId {
        IntegrationId::new("acme-uk").unwrap()
    }

    #[test]
    fn a_stream_is_read_back_from_its_text() {
        for (log, kind) in [("audit", ""), ("siem-cg", "url protect")] {
            let stream = StreamId::new(&integration(), log, kind);
            assert_eq!(StreamId::parse(&stream.to_string()), Some(stream));
        }
        let replay = StreamId::new(&integration(), "siem-cg", "url protect").replayed(7);
        assert_eq!(replay.to_string(), "acme-uk/siem-cg@7/url protect");
        for replay in [
            replay,
            StreamId::new(&integration(), "audit", "").replayed(7),
        ] {
            assert_eq!(StreamId::parse(&replay.to_string()), Some(replay.clone()));
            assert_eq!(LaneId::stream(&replay).source(), Some(replay));
        }
        assert_eq!(StreamId::parse("acme-uk/audit@x"), None);
        assert_eq!(StreamId::parse("acme-uk"), None);
        assert_eq!(StreamId::parse("@collector"), None);
    }

    #[test]
    fn events_that_are_sent_again_keep_their_stream() {
        let lane = LaneId::from_text("acme-uk/siem-cg/url protect");
        let again = lane.again(&OutputId::new("splunk").unwrap());
        assert_eq!(again.as_str(), "@again/splunk/acme-uk/siem-cg/url protect");
        assert_eq!(again.source(), lane.source());
        assert_eq!(
            (again.origin(), again.again_for()),
            (lane.as_str(), Some("splunk"))
        );
        assert_eq!(again.again(&OutputId::new("splunk").unwrap()), again);
        assert_eq!(lane.again_for(), None);
    }

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for bad in ["", "..", "a/b", "-a", "a b", &"x".repeat(65)] {
            assert!(IntegrationId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_event_id_is_settled() {
        let id = EventId::of(&integration(), "audit", br#"{"id":"1"}"#);
        assert_eq!(id.to_string(), "d2f72158871e5e8e575bcfd9633bb593");
        assert_eq!(id.to_string().as_bytes(), id.digits());
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert_eq!(EventId::parse("+2f72158871e5e8e575bcfd9633bb593"), None);
        assert_eq!(id.ordinal(0), id);
        assert_ne!(id.ordinal(1), id);
        assert_ne!(id.ordinal(1), id.ordinal(2));
    }
}
