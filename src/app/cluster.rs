//! This process as a node of a cluster: what the node decides is done by the loop that owns the supervisor.

use std::collections::BTreeMap;
use std::future::pending;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::config::ClusterConfig;
use crate::cluster::etcd::{Etcd, EtcdError, timeout};
use crate::cluster::node::{Host, Inheritance, Node, Settings, Wanted};
use crate::config::Config;
use crate::model::{Cursor, IntegrationId, LaneId, Position, StreamId, Timestamp};
use crate::secret::Fingerprint;
use crate::store::{Portrait, Store, StoreError};
use crate::subject::Context;
use crate::supervisor::{Supervisor, flatten};

/// What nodes call for that is under way at a time.
const CALLS: usize = 1;

/// The node of this process, if it is one.
#[derive(Debug)]
pub(super) struct Membership {
    config: Option<ClusterConfig>,
    wanted: watch::Sender<Wanted>,
    drain: watch::Sender<bool>,
    calls: mpsc::Receiver<Call>,
    task: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
    leave: CancellationToken,
}

/// What the node wants done to the integrations of the process.
#[derive(Debug)]
pub(super) struct Call {
    integration: IntegrationId,
    what: What,
    reply: oneshot::Sender<()>,
}

#[derive(Debug)]
enum What {
    TakeUp(u64, Option<Box<Inheritance>>),
    Start(Vec<u8>),
    Stop,
}

/// Builds what talks to etcd, if the configuration has a cluster; nothing is sent.
///
/// # Errors
/// What it names and cannot be used.
pub(super) fn prepare(config: &Config) -> Result<Option<Etcd>, EtcdError> {
    let cluster = config.cluster.as_ref();
    let etcd = cluster.map(|cluster| Etcd::new(&cluster.etcd, timeout(cluster.lease)));
    etcd.transpose()
}

/// What a node has to know of the configuration.
pub(super) fn wanted(config: &Config) -> Wanted {
    let mut kept = BTreeMap::new();
    for integration in &config.integrations {
        for log in &integration.logs {
            let key = format!("{}/{}", integration.id, log.log.row.name);
            kept.insert(key, log.log.kept().unwrap_or(log.log.look_back));
        }
    }
    Wanted {
        integrations: config
            .integrations
            .iter()
            .map(|one| one.id.clone())
            .collect(),
        config: config.hash(),
        kept,
    }
}

impl Membership {
    /// Begins to take part, if there is a cluster.
    pub(super) fn begin(config: &Config, etcd: Option<Etcd>, context: &Context) -> Self {
        let (calls, inbox) = mpsc::channel(CALLS);
        let (wanted, drain) = (
            watch::Sender::new(wanted(config)),
            watch::Sender::new(false),
        );
        let (stop, leave) = (CancellationToken::new(), CancellationToken::new());
        let mut task = JoinSet::new();
        if let Some((cluster, etcd)) = config.cluster.as_ref().zip(etcd) {
            let install = Fingerprint::of(context.store.install_id().as_bytes(), &["node"]);
            let settings = Settings {
                node: cluster.node.clone(),
                install: install.to_string(),
                lease: cluster.lease,
                prefix: cluster.prefix.clone(),
                keep_last_assignment: cluster.keep_last_assignment,
            };
            let process = Process {
                store: context.store.clone(),
                calls,
            };
            let Context {
                tenure,
                clock,
                status,
                ..
            } = context.clone();
            let told = (wanted.subscribe(), drain.subscribe());
            let node = Node::new(
                settings,
                etcd,
                process,
                (tenure, clock, status),
                told.0,
                told.1,
            );
            task.spawn(node.run(stop.clone(), leave.clone()));
        }
        Self {
            config: config.cluster.clone(),
            wanted,
            drain,
            calls: inbox,
            task,
            stop,
            leave,
        }
    }

    /// Whether the configuration has the same cluster as at the start.
    pub(super) fn is(&self, config: &Config) -> bool {
        self.config == config.cluster
    }

    /// Says what the configuration wants now.
    pub(super) fn want(&self, config: &Config) {
        self.wanted.send_replace(wanted(config));
    }

    /// How to drain this node; `None` if it is none.
    pub(super) fn drain(&self) -> Option<watch::Sender<bool>> {
        self.config.as_ref().map(|_| self.drain.clone())
    }

    /// The next call of the node; waits for ever if there is no node.
    ///
    /// # Errors
    /// The store's, which has ended the node.
    pub(super) async fn call(&mut self) -> Result<Call, StoreError> {
        tokio::select! {
            biased;
            Some(ended) = self.task.join_next() => flatten(ended)?,
            Some(call) = self.calls.recv() => return Ok(call),
            else => {}
        }
        pending().await
    }

    /// Takes nothing up any more; the lease is still renewed.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Gives up what is owned, now that nothing is asked and delivered any more.
    pub(super) async fn leave(mut self) -> Result<(), StoreError> {
        self.stop.cancel();
        self.leave.cancel();
        while let Some(ended) = self.task.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    }
}

impl Call {
    /// Does what the node wants.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn obey(self, supervisor: &mut Supervisor) -> Result<(), StoreError> {
        match self.what {
            What::TakeUp(fence, left) => {
                let left = left.map(|left| (left.left, left.in_order));
                supervisor.take_up(&self.integration, fence, left).await?;
            }
            What::Start(key) => supervisor.start(&self.integration, &key).await?,
            What::Stop => supervisor.stop_asking(&self.integration).await,
        }
        // A node that is gone needs no answer.
        self.reply.send(()).ok();
        Ok(())
    }
}

/// The process, as its node sees it.
#[derive(Clone, Debug)]
struct Process {
    store: Store,
    calls: mpsc::Sender<Call>,
}

impl Process {
    async fn call(&self, integration: &IntegrationId, what: What) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let call = Call {
            integration: integration.clone(),
            what,
            reply,
        };
        let sent = self.calls.send(call).await;
        sent.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)
    }
}

impl Host for Process {
    async fn portraits(
        &self,
        integrations: Vec<IntegrationId>,
    ) -> Result<BTreeMap<IntegrationId, Portrait>, StoreError> {
        self.store.portraits(integrations).await
    }

    async fn fetched_from(&self, lane: &LaneId, at: Position) -> Option<Option<Cursor>> {
        self.store.fetched_from(lane, at).await
    }

    async fn time_of(&self, lane: &LaneId, at: Position) -> Option<Timestamp> {
        let ahead = self.store.outbox().ahead(lane, at).await;
        ahead.map(|ahead| ahead.time)
    }

    async fn memo(&self, stream: &StreamId, number: u64) -> Option<Vec<u8>> {
        self.store.memo(stream, number).await
    }

    async fn take_up(
        &self,
        integration: &IntegrationId,
        fence: u64,
        left: Option<Inheritance>,
    ) -> Result<(), StoreError> {
        let what = What::TakeUp(fence, left.map(Box::new));
        self.call(integration, what).await
    }

    async fn pass_over(&self, lane: &LaneId) -> Result<u64, StoreError> {
        self.store.pass_over(lane).await
    }

    async fn start(&self, integration: &IntegrationId, key: &[u8]) -> Result<(), StoreError> {
        self.call(integration, What::Start(key.to_vec())).await
    }

    async fn stop(&self, integration: &IntegrationId) -> Result<(), StoreError> {
        self.call(integration, What::Stop).await
    }
}

/// Says to hand everything over, or that this node takes its share again.
pub(super) fn drain(drain: Option<&watch::Sender<bool>>, undo: bool) -> Result<String, String> {
    let Some(drain) = drain else {
        let said = "this collector is the only one: there is no [cluster] in its configuration";
        return Err(said.to_owned());
    };
    let was = drain.send_replace(!undo);
    Ok(match (was, undo) {
        (_, false) => "everything is handed over to the other nodes, each integration when what it has is delivered, and nothing is taken; see: \
                       mimecast-collector status. To take a share again: mimecast-collector drain --undo, or a restart",
        (true, true) => "this node takes its share again",
        (false, true) => "this node takes its share already",
    }
    .to_owned())
}
