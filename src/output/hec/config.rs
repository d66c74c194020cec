//! What the configuration says of a Splunk HEC output.

use crate::http::{BaseUrl, Connection, Proxy};
use crate::secret::SecretSource;
use crate::settings::{Size, Table};
use crate::units::show_size;

/// 2 MiB: the default of other senders too, such as OpenTelemetry's exporter, so receivers are set up for it.
const MAX_BATCH_BYTES: u64 = 2 << 20;

/// A Splunk HTTP Event Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HecConfig {
    /// Scheme, host and port, without a slash at the end.
    pub url: String,
    /// The token that events are sent with.
    pub token: SecretSource,
    /// The index, or the token's default.
    pub index: Option<String>,
    /// The host that events are shown under; this machine's name if absent.
    pub host: Option<String>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Uncompressed bytes of a body at most; up to 2 MiB.
    pub batch_bytes: u64,
    /// How it is reached; by default without a proxy.
    pub connection: Connection,
}

impl HecConfig {
    /// Reads the keys of the type `splunk_hec`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let url = table.required::<BaseUrl>("url");
        if url.as_ref().is_some_and(BaseUrl::is_exposed) {
            table.warn(
                "url",
                "the token and all events go over the network in the clear; use https",
            );
        }
        let token = table.required("token");
        let Size(batch_bytes) = table
            .optional("batch_bytes")
            .unwrap_or(Size(MAX_BATCH_BYTES));
        if !(1..=MAX_BATCH_BYTES).contains(&batch_bytes) {
            let text = format!("must be from 1 B to {}", show_size(MAX_BATCH_BYTES));
            table.reject("batch_bytes", text);
        }
        let index = table.optional("index");
        let host = table.optional("host");
        let gzip = table.optional("gzip").unwrap_or(true);
        let connection = Connection::read(table, Proxy::None);
        Some(Self {
            url: url?.text(),
            token: token?,
            index,
            host,
            gzip,
            batch_bytes,
            connection,
        })
    }
}
