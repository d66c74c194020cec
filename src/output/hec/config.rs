//! What the configuration says of a Splunk HEC output.

use std::time::Duration;

use super::ack::AckMode;
use super::label::{Label, Origin};
use super::preset::{self, Preset};
use crate::http::{BaseUrl, BaseUrls, Connection, Proxy};
use crate::output::batching::{Batching, Oversized};
use crate::secret::SecretSource;
use crate::settings::Table;

/// Compression is the greater part of what a delivery costs, and higher levels cost twice and more.
const GZIP_LEVEL: u32 = 1;

/// What Splunk's own senders wait.
const ACK_TIMEOUT: Duration = Duration::from_secs(300);

const ACK_MODES: &[(&str, AckMode)] = &[
    ("auto", AckMode::Auto),
    ("on", AckMode::On),
    ("off", AckMode::Off),
];

const PRESETS: &[(&str, Preset)] = &[("collector", Preset::Collector), ("vendor", Preset::Vendor)];

/// What events are shown under. A label that is absent, or has no value for an event, leaves the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Whose names the defaults are.
    pub preset: Preset,
    /// The index; by default the token's.
    pub index: Option<Label>,
    /// The host; by default this machine's name.
    pub host: Option<Label>,
    /// The source; by default `mimecast:<integration>:<log>`.
    pub source: Option<Label>,
    /// The sourcetype; by default the preset's.
    pub sourcetype: Option<Label>,
    /// Whether event id, integration and account go along as indexed fields.
    pub fields: bool,
}

/// A Splunk HTTP Event Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HecConfig {
    /// Servers: scheme, host and port, without a slash at the end. The first is used until it fails.
    pub urls: Vec<String>,
    /// The token that events are sent with.
    pub token: SecretSource,
    /// What events are shown under.
    pub labels: Labels,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// How hard, from 1 to 9.
    pub gzip_level: u32,
    /// How many events go into a body.
    pub batching: Batching,
    /// What becomes of events that are too long.
    pub oversized: Oversized,
    /// Whether indexer acknowledgement is used.
    pub ack: AckMode,
    /// From a batch's acceptance to its being sent again for want of an acknowledgement.
    pub ack_timeout: Duration,
    /// How it is reached; by default without a proxy.
    pub connection: Connection,
}

impl HecConfig {
    /// An output without servers that has all its options by default.
    #[must_use]
    pub fn plain(token: SecretSource) -> Self {
        Self {
            urls: Vec::new(),
            token,
            labels: Labels::default(),
            gzip: true,
            gzip_level: GZIP_LEVEL,
            batching: Batching::default(),
            oversized: Oversized::default(),
            ack: AckMode::Auto,
            ack_timeout: ACK_TIMEOUT,
            connection: Connection::default(),
        }
    }

    /// Reads the keys of the type `splunk_hec`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let urls = table.required::<BaseUrls>("url");
        if urls
            .as_ref()
            .is_some_and(|BaseUrls(urls)| urls.iter().any(BaseUrl::is_exposed))
        {
            table.warn(
                "url",
                "the token and all events go over the network in the clear; use https",
            );
        }
        let token = table.required("token");
        let batching = Batching::read(table);
        let oversized = Oversized::read(table);
        let gzip_level = gzip_level(table);
        let ack = table.one_of("ack", ACK_MODES).unwrap_or(AckMode::Auto);
        let ack_timeout = table.optional("ack_timeout").unwrap_or(ACK_TIMEOUT);
        if ack_timeout < Duration::from_secs(10) {
            let text = "must be 10s at least: an indexer confirms when its disk has the events";
            table.reject("ack_timeout", text.to_owned());
        }
        let labels = Labels::read(table);
        let gzip = table.optional("gzip").unwrap_or(true);
        let connection = Connection::read(table, Proxy::None);
        Some(Self {
            urls: urls?.0.iter().map(BaseUrl::text).collect(),
            token: token?,
            labels,
            gzip,
            gzip_level,
            batching,
            oversized,
            ack,
            ack_timeout,
            connection,
        })
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            preset: Preset::Collector,
            index: None,
            host: None,
            source: None,
            sourcetype: None,
            fields: true,
        }
    }
}

impl Labels {
    fn read(table: &mut Table<'_>) -> Self {
        let labels = Self {
            preset: table.one_of("preset", PRESETS).unwrap_or(Preset::Collector),
            index: table.optional("index"),
            host: table.optional("host"),
            source: table.optional("source"),
            sourcetype: table.optional("sourcetype"),
            fields: table.optional("fields").unwrap_or(true),
        };
        if !labels.fields {
            let text = "events go without their event_id, so that nobody can tell a repeat";
            table.warn("fields", text);
        }
        labels
    }

    /// The index of what the collector says of itself; `None` for the token's.
    #[must_use]
    pub fn own_index(&self, kind: &str) -> Option<String> {
        let origin = Origin {
            integration: None,
            tenant: None,
            log: "collector",
            kind,
        };
        self.index.as_ref()?.show(&origin, preset::index)
    }

    /// The tags that are needed, by the keys that need them.
    pub fn tags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = [
            ("index", &self.index),
            ("host", &self.host),
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
        ];
        keys.into_iter().flat_map(|(key, label)| {
            let tags = label.iter().flat_map(Label::tags);
            tags.map(move |tag| (key, tag))
        })
    }
}

/// Reads `gzip_level`.
pub(in crate::output) fn gzip_level(table: &mut Table<'_>) -> u32 {
    let level = table.optional("gzip_level").unwrap_or(GZIP_LEVEL);
    if !(1..=9).contains(&level) {
        table.reject("gzip_level", "must be from 1, the fastest, to 9".to_owned());
    }
    level
}
