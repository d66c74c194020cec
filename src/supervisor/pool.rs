//! Integrations that several collectors share: all are configured, and those are asked that the cluster says are this one's.

use std::collections::BTreeMap;

use super::{PrepareError, Supervisor, credential};
use crate::mimecast::auth::Credential;
use crate::mimecast::client::Http;
use crate::model::{IntegrationId, StreamId};
use crate::poll::assume_asked;
use crate::poll::config::IntegrationConfig;
use crate::store::{Left, StoreError, StreamState};

/// What is needed to ask an integration.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) config: IntegrationConfig,
    credential: Credential,
    http: Http,
}

/// The integrations of a cluster.
#[derive(Debug)]
pub(super) struct Pool {
    /// The key of the fingerprints that all nodes understand; `None` before the cluster has told.
    key: Option<Vec<u8>>,
    integrations: BTreeMap<IntegrationId, Ready>,
}

impl Pool {
    pub(super) const fn new() -> Self {
        Self {
            key: None,
            integrations: BTreeMap::new(),
        }
    }

    /// Remembers what the configuration has now.
    pub(super) fn fill(&mut self, integrations: &[(IntegrationConfig, Credential, Http)]) {
        let ready = |(config, credential, http): &(IntegrationConfig, Credential, Http)| {
            let ready = Ready {
                config: config.clone(),
                credential: credential.clone(),
                http: http.clone(),
            };
            (config.id.clone(), ready)
        };
        self.integrations = integrations.iter().map(ready).collect();
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.integrations.keys().any(|id| id.as_str() == name)
    }
}

impl Supervisor {
    /// One whose integrations are shared with other collectors: none is asked before [`Supervisor::start`].
    #[must_use]
    pub fn sharing(mut self) -> Self {
        self.pool = Some(Pool::new());
        self
    }

    /// The key of the fingerprints of integrations' credentials: in a cluster, one that all nodes have.
    pub(super) fn key(&self) -> Vec<u8> {
        let shared = self.pool.as_ref().and_then(|pool| pool.key.clone());
        shared.unwrap_or_else(|| self.shared.context.store.install_id().as_bytes().to_vec())
    }

    /// Whether an integration is asked by this collector as soon as it is configured.
    pub(super) fn is_ours(&self, id: &IntegrationId) -> bool {
        self.pool.is_none() || self.pollers.contains_key(id)
    }

    /// Whether the configuration has an integration, whoever asks it.
    pub(super) fn is_configured(&self, name: &str) -> bool {
        let pool = self.pool.as_ref();
        self.pollers.keys().any(|id| id.as_str() == name) || pool.is_some_and(|pool| pool.has(name))
    }

    /// Says of an integration that another node asks what a person has to do; `None` for one that is asked here, or is not configured.
    pub(super) fn elsewhere(&self, name: &str) -> Option<String> {
        let is_here = self.pollers.keys().any(|id| id.as_str() == name);
        (!is_here && self.is_configured(name)).then(|| {
            format!("{name} is not asked by this collector: 'mimecast-collector status' says by which; say it there")
        })
    }

    /// Takes up an integration under a fence. `left` is what another node has left, and whether it did so in order: else it may have asked
    /// until a moment ago, and what was due is not asked again before its interval is over.
    ///
    /// # Errors
    /// The store's.
    pub async fn take_up(
        &self,
        id: &IntegrationId,
        fence: u64,
        left: Option<(Left, bool)>,
    ) -> Result<(), StoreError> {
        let left = match left {
            Some((left, false)) => Some(self.asked_until_now(id, left).await?),
            Some((left, true)) => Some(left),
            None => None,
        };
        self.shared.context.store.take_up(id, fence, left).await
    }

    async fn asked_until_now(
        &self,
        id: &IntegrationId,
        mut left: Left,
    ) -> Result<Left, StoreError> {
        let store = &self.shared.context.store;
        let now = self.shared.context.clock.now();
        let pool = self.pool.iter().flat_map(|pool| pool.integrations.get(id));
        let intervals: BTreeMap<StreamId, _> = pool
            .flat_map(|ready| &ready.config.logs)
            .flat_map(|log| log.streams(id).map(|stream| (stream, log.interval)))
            .collect();
        for stream in intervals.keys() {
            // One that nobody has shared stands where it stands here.
            let known = StreamState::from(&store.stream(stream).await?);
            left.streams.entry(stream.clone()).or_insert((known, None));
        }
        for (stream, (state, _)) in &mut left.streams {
            // A replay has none.
            let interval = intervals.get(stream).copied().unwrap_or_default();
            state.poll = Some(assume_asked(state.poll.take(), interval, now));
        }
        Ok(left)
    }

    /// Begins to ask an integration of the configuration; one that is asked already goes on. `key` is that of the cluster's fingerprints.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(&mut self, id: &IntegrationId, key: &[u8]) -> Result<(), StoreError> {
        let Some(pool) = &mut self.pool else {
            return Ok(());
        };
        pool.key = Some(key.to_vec());
        let Some(ready) = pool.integrations.get(id).cloned() else {
            return Ok(());
        };
        if self.pollers.contains_key(id) {
            return Ok(());
        }
        let Ready {
            config,
            credential: known,
            http,
        } = ready;
        // One in a file may be another by now.
        let credential = credential(&config).unwrap_or_else(|error: PrepareError| {
            tracing::warn!("what it was before stays in use: {error}");
            known
        });
        let fingerprint = credential.fingerprint(key);
        let stored = self.shared.context.store.snapshot().await?;
        let room = self.room();
        self.start_poller(config, credential, http, fingerprint, room, &stored);
        Ok(())
    }

    /// Asks an integration no more; done when nothing of it is under way.
    pub async fn stop_asking(&mut self, id: &IntegrationId) {
        if let Some(mut entry) = self.pollers.remove(id) {
            entry.stop().await;
            self.shared.context.status.remove_integration(id);
            tracing::info!(integration = %id, "integration stops");
        }
    }
}
