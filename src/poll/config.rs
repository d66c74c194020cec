//! What the configuration says of an integration.

mod log;
mod read;
mod region;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alert::{About, Renewal};
use crate::http::Connection;
use crate::mimecast::log_types::{Api, Log, LogType};
use crate::model::{IntegrationId, StreamId};
use crate::secret::SecretSource;

/// As often as Mimecast wants to be asked.
const POLL: Duration = Duration::from_secs(300);
/// A week: no log type is kept for less.
const DEFAULT_START: Duration = Duration::from_secs(7 * 86_400);

/// An account of Mimecast with one credential and the logs to fetch with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationConfig {
    /// Its name; state is kept under it.
    pub id: IntegrationId,
    /// Its one credential, which also says which API it is for.
    pub credential: CredentialSource,
    /// Scheme, host and port of the API, without a slash at the end.
    pub base_url: String,
    /// The logs to fetch, each log type at most once.
    pub logs: Vec<LogConfig>,
    /// For templates, filters, metrics and alerts.
    pub tags: BTreeMap<String, String>,
    /// How Mimecast is reached.
    pub connection: Connection,
}

/// Where the parts of a credential are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// API 1.0: signed requests.
    V1 {
        /// Names the registered application; not signed, no secret.
        application_id: String,
        /// Signed text.
        application_key: SecretSource,
        /// Names the binding of the service user.
        access_key: SecretSource,
        /// Base64; its decoded bytes are the key of the signature.
        secret_key: SecretSource,
    },
    /// API 2.0: OAuth 2.0 client credentials.
    V2 {
        /// Names the application; no secret.
        client_id: String,
        /// Its secret.
        client_secret: SecretSource,
    },
}

impl IntegrationConfig {
    /// How alerts name it, or one of its logs.
    #[must_use]
    pub(super) fn about(&self, log: Option<String>) -> About {
        About {
            integration: Some(self.id.clone()),
            tags: self.tags.clone(),
            log,
            output: None,
            renewal: Renewal::of_file(self.credential.is_in_files()),
            server: Some(self.base_url.clone()),
        }
    }
}

impl CredentialSource {
    /// The version of the API that it is for.
    #[must_use]
    pub const fn api(&self) -> Api {
        match self {
            Self::V1 { .. } => Api::V1,
            Self::V2 { .. } => Api::V2,
        }
    }
}

impl CredentialSource {
    /// Whether a part of it can become another one while the program runs.
    #[must_use]
    pub const fn is_in_files(&self) -> bool {
        match self {
            Self::V1 {
                application_key,
                access_key,
                secret_key,
                ..
            } => application_key.is_file() || access_key.is_file() || secret_key.is_file(),
            Self::V2 { client_secret, .. } => client_secret.is_file(),
        }
    }
}

/// One log type of an integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is fetched, and how.
    pub log: Log,
    /// The event types to fetch, each a stream; empty for types that have none.
    pub event_types: Vec<&'static str>,
    /// From poll start to poll start.
    pub interval: Duration,
    /// How far back the first poll goes; at most the type's look-back.
    pub start: Duration,
}

/// A row as an integration fetches it that says nothing of its own.
impl From<&'static LogType> for LogConfig {
    fn from(row: &'static LogType) -> Self {
        Self {
            log: row.into(),
            event_types: row.event_types.to_vec(),
            interval: row.interval.unwrap_or(POLL),
            start: DEFAULT_START.min(row.look_back),
        }
    }
}

impl LogConfig {
    /// Its streams.
    pub fn streams(&self, integration: &IntegrationId) -> impl Iterator<Item = StreamId> {
        let types: &[&str] = match self.event_types.as_slice() {
            [] => &[""],
            types => types,
        };
        let name = self.log.row.name;
        types
            .iter()
            .map(move |event_type| StreamId::new(integration, name, event_type))
    }
}
