//! The map from the name of an integration or output to its configuration and its running task.
//!
//! A new configuration is prepared whole, with all that can fail, before anything is stopped; then only the entries that differ are stopped
//! and started again. An entry is never changed in place.

mod directory;
mod left;
mod pool;
mod replays;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use replays::ReplayWish;
pub use secrets::credential;
use secrets::readable;

use crate::alert::Renewal;
use crate::clock::Clock;
use crate::config::{Config, Spool};
use crate::http::{Connection, HttpError, Purpose, client};
use crate::measured::Measured;
use crate::mimecast::auth::{Credential, CredentialError};
use crate::mimecast::client::{Client, Http, Limits};
use crate::model::{IntegrationId, OutputId, Timestamp};
use crate::output::config::OutputConfig;
use crate::output::directory::Directory;
use crate::output::{self, Filtered, OpenError, Target, Worker};
use crate::pause::{Pause, Paused};
use crate::poll::config::IntegrationConfig;
use crate::poll::{self, Poller, Room, Shared};
use crate::secret::{Fingerprint, SecretError, SecretSource};
use crate::secret_watch::SecretWatch;
use crate::store::{Snapshot, StoreError};
use crate::subject::Context;

/// Commands that may wait for a task.
const COMMANDS: usize = 4;

/// Runs what the configuration names.
#[derive(Debug)]
pub struct Supervisor {
    shared: Shared,
    limits: Limits,
    spool: Spool,
    directory: Directory,
    pollers: BTreeMap<IntegrationId, Entry<IntegrationConfig, poll::Command>>,
    workers: BTreeMap<OutputId, Entry<OutputConfig, output::Command>>,
    tasks: JoinSet<Result<(), StoreError>>,
    /// When people were last told of what is kept and not configured any more.
    left_told: Option<Timestamp>,
    /// What is shared with other collectors, if there are any.
    pool: Option<pool::Pool>,
}

/// A running task.
#[derive(Debug)]
struct Entry<C, M> {
    config: C,
    fingerprint: Option<Fingerprint>,
    commands: mpsc::Sender<M>,
    stop: CancellationToken,
    /// Resolves when the task has ended.
    ended: oneshot::Receiver<()>,
    secrets: SecretWatch,
}

/// What a person can ask of an integration or output, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What was wrong has been mended: try again now. One that is paused goes on.
    Resume {
        /// Its name.
        name: String,
    },
    /// Leave it alone.
    Pause {
        /// Its name.
        name: String,
        /// For how long; `None` until it is resumed.
        duration: Option<Duration>,
    },
    /// Fetch a span of time again, or say what that would be.
    Replay(ReplayWish),
    /// Give up a replay.
    CancelReplay {
        /// Its number.
        number: u64,
    },
    /// Give up what is kept for it, as it is not configured any more.
    Forget {
        /// Its name.
        name: String,
        /// Whether to do it, or only to say what that would be.
        sure: bool,
    },
}

/// A configuration with everything read and built that can fail.
#[derive(Debug)]
pub struct Prepared {
    integrations: Vec<(IntegrationConfig, Credential, Http)>,
    outputs: Vec<(OutputConfig, Target)>,
    directory: Directory,
    spool: Spool,
}

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A secret cannot be read.
    #[error("integration '{0}': {1}")]
    Secret(IntegrationId, #[source] SecretError),
    /// A credential cannot be used.
    #[error("integration '{0}': {1}")]
    Credential(IntegrationId, #[source] CredentialError),
    /// The way to Mimecast cannot be prepared.
    #[error("integration '{0}': {1}")]
    Http(IntegrationId, #[source] HttpError),
    /// An output cannot be opened.
    #[error(transparent)]
    Output(#[from] OpenError),
}

/// Reads the secrets and builds clients; nothing is sent.
///
/// # Errors
/// The first thing that fails, naming its integration or output.
pub fn prepare(config: &Config, clock: &Clock) -> Result<Prepared, PrepareError> {
    let mut integrations = Vec::new();
    // Each way to connect loads the trusted authorities once, not once a tenant.
    let mut ways: Vec<(&Connection, Http)> = Vec::new();
    for integration in &config.integrations {
        let credential = credential(integration)?;
        let connection = &integration.connection;
        let http = match ways.iter().find(|(way, _)| *way == connection) {
            Some((_, http)) => http.clone(),
            None => {
                let http = Http::new(connection);
                let http = http.map_err(|e| PrepareError::Http(integration.id.clone(), e))?;
                ways.push((connection, http.clone()));
                http
            }
        };
        integrations.push((integration.clone(), credential, http));
    }
    let directory = directory::of(&config.integrations);
    let mut outputs = Vec::new();
    for output in &config.outputs {
        let connect = |connection: &Connection| client(connection, Purpose::Api);
        let target = Target::open(output, clock, &directory, connect)?;
        outputs.push((output.clone(), target));
    }
    Ok(Prepared {
        integrations,
        outputs,
        directory,
        spool: config.spool,
    })
}

impl Supervisor {
    /// A supervisor of nothing yet.
    #[must_use]
    pub fn new(shared: Shared, limits: Limits, spool: Spool) -> Self {
        Self {
            shared,
            limits,
            spool,
            directory: Directory::default(),
            pollers: BTreeMap::new(),
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            left_told: None,
            pool: None,
        }
    }

    /// Runs what `prepared` names: stops what is gone or differs, starts what is new or differs.
    ///
    /// # Errors
    /// The store's.
    pub async fn apply(&mut self, prepared: Prepared) -> Result<(), StoreError> {
        let key = self.key();
        let Prepared {
            integrations,
            outputs,
            directory,
            spool,
        } = prepared;
        self.spool = spool;
        // An output shows what it was told of the integrations when it was opened.
        let is_same = self.directory == directory;
        self.directory = directory;
        let (mut new_pollers, mut new_workers) = (Vec::new(), Vec::new());
        let (mut kept_pollers, mut kept_workers) = (BTreeSet::new(), BTreeSet::new());
        if let Some(pool) = &mut self.pool {
            pool.fill(&integrations);
        }
        for (config, credential, http) in integrations {
            if !self.is_ours(&config.id) {
                continue;
            }
            let fingerprint = credential.fingerprint(&key);
            let running = self.pollers.get(&config.id);
            if running.is_some_and(|entry| entry.is(&config, Some(&fingerprint))) {
                kept_pollers.insert(config.id);
            } else {
                new_pollers.push((config, credential, http, fingerprint));
            }
        }
        let mut routes = Vec::new();
        let install = self.shared.context.store.install_id().as_bytes();
        for (config, target) in outputs {
            routes.push(config.route.clone());
            let fingerprint = target.fingerprint(install);
            let running = self.workers.get(&config.id);
            let is_kept = |entry: &Entry<_, _>| {
                entry.is(&config, fingerprint.as_ref())
                    && (is_same || !config.kind.shows_integrations())
            };
            if running.is_some_and(is_kept) {
                kept_workers.insert(config.id);
            } else {
                new_workers.push((config, target, fingerprint));
            }
        }
        let status = &self.shared.context.status;
        for id in stop_others(&mut self.pollers, &kept_pollers).await {
            status.remove_integration(&id);
        }
        for id in stop_others(&mut self.workers, &kept_workers).await {
            status.remove_output(&id);
        }
        self.shared.context.store.route(routes).await?;
        // One for all: each is as large as all integrations together.
        let stored = self.shared.context.store.snapshot().await?;
        for (config, target, fingerprint) in new_workers {
            self.start_worker(config, target, fingerprint, &stored);
        }
        for (config, credential, http, fingerprint) in new_pollers {
            let room = self.room();
            self.start_poller(config, credential, http, fingerprint, room, &stored);
        }
        Ok(())
    }

    const fn room(&self) -> Room {
        Room::new(self.spool.max_bytes, self.spool.integration_max_bytes)
    }

    fn start_worker(
        &mut self,
        config: OutputConfig,
        target: Target,
        fingerprint: Option<Fingerprint>,
        stored: &Snapshot,
    ) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        tracing::info!(output = %config.id, kind = config.kind.as_str(), "output starts");
        self.shared.context.status.output(&config.id, |report| {
            report.kind = config.kind.as_str().to_owned()
        });
        let Context { clock, status, .. } = self.shared.context.clone();
        let target = Measured::new(target, config.id.clone(), clock, status);
        let key = self.shared.context.store.install_id().as_bytes();
        let (route, filter) = (config.route.clone(), config.filter.clone());
        let worker = Worker::new(
            config.id.clone(),
            Filtered::new(target, route, filter, key),
            fingerprint.clone(),
            self.shared.context.clone(),
            stored,
            inbox,
        );
        let secrets = config.kind.secrets();
        let worker = match secrets.is_empty() {
            true => worker,
            // One that is fixed for a run needs a restart, whatever the others are.
            false => worker.renewed_by(Renewal::of_file(secrets.iter().all(|s| s.is_file()))),
        };
        let stop = CancellationToken::new();
        let (end, ended) = oneshot::channel();
        let task = worker.run(stop.clone());
        self.tasks.spawn(async move {
            let result = task.await;
            // Whoever waited for the end may have gone.
            end.send(()).ok();
            result
        });
        let entry = Entry {
            config: config.clone(),
            fingerprint,
            commands,
            stop,
            ended,
            secrets: SecretWatch::default(),
        };
        self.workers.insert(config.id, entry);
    }

    fn start_poller(
        &mut self,
        config: IntegrationConfig,
        credential: Credential,
        http: Http,
        fingerprint: Fingerprint,
        room: Room,
        stored: &Snapshot,
    ) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let logs: Vec<_> = config.logs.iter().map(|log| log.log.row.name).collect();
        let api = credential.api().as_str();
        tracing::info!(integration = %config.id, api, logs = logs.join(" "), "integration starts");
        self.shared
            .context
            .status
            .integration(&config.id, |report| report.api = api.to_owned());
        let source = Client::new(
            &config.base_url,
            credential,
            http,
            self.shared.context.clock.clone(),
            self.limits.clone(),
        );
        let poller = Poller::new(
            &config,
            source,
            fingerprint.clone(),
            self.shared.clone(),
            room,
            stored,
            inbox,
        );
        let stop = CancellationToken::new();
        let (end, ended) = oneshot::channel();
        let task = poller.run(stop.clone());
        self.tasks.spawn(async move {
            let result = task.await;
            end.send(()).ok();
            result
        });
        let entry = Entry {
            config: config.clone(),
            fingerprint: Some(fingerprint),
            commands,
            stop,
            ended,
            secrets: SecretWatch::default(),
        };
        self.pollers.insert(config.id, entry);
    }

    /// Does what a person asks for, and says that it did.
    ///
    /// # Errors
    /// The store's. The inner one says that there is nothing of that name, with the names there are.
    pub async fn obey(&self, order: Order) -> Result<Result<Value, String>, StoreError> {
        let Context { store, clock, .. } = &self.shared.context;
        let (name, pause, said) = match order {
            Order::Forget { name, sure } => return self.forget(&name, sure).await,
            Order::Resume { name } => (name, None, "is tried again now".to_owned()),
            Order::Pause { name, duration } => {
                let since = clock.now();
                let until = duration.map(|duration| since + duration);
                let said = match until {
                    Some(until) => format!("is paused until {until}"),
                    None => format!("is paused; to go on: mimecast-collector resume {name}"),
                };
                (name, Some(Pause { since, until }), said)
            }
            Order::Replay(wish) => return self.replay(wish).await,
            Order::CancelReplay { number } => return self.cancel_replay(number).await,
        };
        let mut found = false;
        let pollers = self.pollers.iter().filter(|(id, _)| id.as_str() == name);
        for (_, poller) in pollers {
            let command = match pause {
                Some(pause) => {
                    Pause::store(Some(pause), store, Paused::Integration, &name).await?;
                    poll::Command::Pause(pause)
                }
                None => poll::Command::Resume,
            };
            found |= poller.commands.send(command).await.is_ok();
        }
        let workers = self.workers.iter().filter(|(id, _)| id.as_str() == name);
        for (_, worker) in workers {
            let command = match pause {
                Some(pause) => {
                    Pause::store(Some(pause), store, Paused::Output, &name).await?;
                    output::Command::Pause(pause)
                }
                None => output::Command::Resume,
            };
            found |= worker.commands.send(command).await.is_ok();
        }
        if found {
            tracing::info!(name, "{said}, as a person asked");
            return Ok(Ok(format!("{name} {said}").into()));
        }
        if let Some(said) = self.elsewhere(&name) {
            return Ok(Err(said));
        }
        let names = self.pollers.keys().map(IntegrationId::as_str);
        let names = names.chain(self.workers.keys().map(OutputId::as_str));
        let names: Vec<_> = names.collect();
        Ok(Err(format!(
            "no integration or output is called '{name}'; there are: {}",
            names.join(", ")
        )))
    }

    /// Looks whether secrets in files have become others, and starts again with the new ones what had the old. Only files can
    /// change under a running process.
    ///
    /// # Errors
    /// The store's.
    pub async fn look_at_secrets(&mut self) -> Result<(), StoreError> {
        let key = self.key();
        let now = self.shared.context.clock.now();
        let mut changed = Vec::new();
        let watched = |entry: &Entry<IntegrationConfig, _>| entry.config.credential.is_in_files();
        for (id, entry) in self.pollers.iter_mut().filter(|(_, entry)| watched(entry)) {
            let found = readable(credential(&entry.config), &mut entry.secrets)
                .map(|credential| (credential.fingerprint(&key), credential));
            let print = found.as_ref().map(|(print, _)| print.clone());
            if entry.secrets.look(entry.fingerprint.as_ref(), print, now)
                && let Some((print, credential)) = found
            {
                changed.push((id.clone(), credential, print));
            }
        }
        for (id, credential, fingerprint) in changed {
            let Some(mut entry) = self.pollers.remove(&id) else {
                continue;
            };
            let Ok(http) = Http::new(&entry.config.connection) else {
                self.pollers.insert(id, entry);
                continue;
            };
            tracing::info!(integration = %id, "its credential has become another one: it is taken up");
            entry.stop().await;
            let Entry {
                config, secrets, ..
            } = entry;
            let room = self.room();
            let stored = self.shared.context.store.snapshot().await?;
            self.start_poller(config, credential, http, fingerprint, room, &stored);
            if let Some(entry) = self.pollers.get_mut(&id) {
                entry.secrets = secrets;
            }
        }
        self.look_at_output_secrets(now).await
    }

    async fn look_at_output_secrets(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let install = self.shared.context.store.install_id().clone();
        let key = install.as_bytes();
        let mut changed = Vec::new();
        let watched = |entry: &Entry<OutputConfig, _>| {
            let secrets = entry.config.kind.secrets();
            secrets.into_iter().any(SecretSource::is_file)
        };
        for (id, entry) in self.workers.iter_mut().filter(|(_, entry)| watched(entry)) {
            let connect = |connection: &Connection| client(connection, Purpose::Api);
            let clock = &self.shared.context.clock;
            let opened = Target::open(&entry.config, clock, &self.directory, connect);
            let found = readable(opened, &mut entry.secrets);
            let print = found.as_ref().and_then(|target| target.fingerprint(key));
            if entry.secrets.look(entry.fingerprint.as_ref(), print, now)
                && let Some(target) = found
            {
                changed.push((id.clone(), target));
            }
        }
        for (id, target) in changed {
            let Some(mut entry) = self.workers.remove(&id) else {
                continue;
            };
            tracing::info!(output = %id, "its secret has become another one: it is taken up");
            entry.stop().await;
            let Entry {
                config, secrets, ..
            } = entry;
            let fingerprint = target.fingerprint(key);
            let stored = self.shared.context.store.snapshot().await?;
            self.start_worker(config, target, fingerprint, &stored);
            if let Some(entry) = self.workers.get_mut(&id) {
                entry.secrets = secrets;
            }
        }
        Ok(())
    }

    /// Waits until a task ends: well, because it was stopped, or because the store failed. A panic goes on here.
    ///
    /// # Errors
    /// The store's.
    pub async fn ended(&mut self) -> Result<(), StoreError> {
        match self.tasks.join_next().await {
            Some(ended) => flatten(ended),
            None => std::future::pending().await,
        }
    }

    /// Stops everything and waits for it: pollers first, so that nothing new comes while outputs finish what they have out.
    pub async fn stop(&mut self) {
        let none = BTreeSet::new();
        stop_others(&mut self.pollers, &none).await;
        stop_others(&mut self.workers, &BTreeSet::new()).await;
    }
}

impl<C, M> Entry<C, M> {
    /// Stops the task and waits for its end.
    async fn stop(&mut self) {
        self.stop.cancel();
        // An error means that the task is gone already.
        drop((&mut self.ended).await);
    }
}

impl<C: PartialEq, M> Entry<C, M> {
    fn is(&self, config: &C, fingerprint: Option<&Fingerprint>) -> bool {
        self.config == *config && self.fingerprint.as_ref() == fingerprint
    }
}

/// Stops all entries but those that are kept, waits for their tasks to end, and names them.
async fn stop_others<K: Ord + Clone, C, M>(
    entries: &mut BTreeMap<K, Entry<C, M>>,
    kept: &BTreeSet<K>,
) -> Vec<K> {
    let (mut stopped, mut names) = (Vec::new(), Vec::new());
    entries.retain(|key, entry| {
        if kept.contains(key) {
            return true;
        }
        entry.stop.cancel();
        names.push(key.clone());
        let (_, never) = oneshot::channel();
        stopped.push(std::mem::replace(&mut entry.ended, never));
        false
    });
    for ended in stopped {
        // An error means that the task is gone already.
        drop(ended.await);
    }
    names
}

/// The result of a task; its panic is ours, so that the process ends.
pub(crate) fn flatten<T>(ended: Result<Result<T, StoreError>, JoinError>) -> Result<T, StoreError> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed),
    }
}
