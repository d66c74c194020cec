//! One node: keeps its lease, takes up integrations and hands them over, and shares how far they are.
//!
//! Two loops of one future. One renews the lease and says in the [`Tenure`] for how long it is sure to last. The other goes round: it reads
//! whose the integrations are, and does what [`assign`](super::assignment::assign) says should be. Whatever it does it does under the fence of its ownership, so an
//! answer that comes late, or a process that was stopped meanwhile, changes nothing that is another node's by then.
//!
//! ```text
//! free ─claim─► claimed ─take up what was shared─► stamped: the shared record has our fence ─► asked and delivered
//!                                                                   │ too many, drain             │ each round: shared
//!                                                                   ▼                             │
//!                                        not asked, still delivered ─all delivered─► last record, and free: one transaction
//! ```

mod held;
mod ownership;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::ownership::Owned;
use super::record::{Keys, Member};
use super::registry::{Change, Compare, LeaseId, Registry, RegistryError, Revision};
use crate::clock::Clock;
use crate::model::{Cursor, IntegrationId, LaneId, NodeId, Position, StreamId, Timestamp};
use crate::status::{RegistryTrouble, Status};
use crate::store::{Left, Portrait, StoreError};
use crate::tenure::Tenure;

/// For giving up what is owned when the program stops: the service manager waits for 30 s, of which outputs may have had 20.
const LEAVE: Duration = Duration::from_secs(5);

/// What a node does to the integrations of its process.
pub trait Host: Send + Sync + 'static {
    /// How integrations stand.
    ///
    /// # Errors
    /// The store's.
    fn portraits(
        &self,
        integrations: Vec<IntegrationId>,
    ) -> impl Future<Output = Result<BTreeMap<IntegrationId, Portrait>, StoreError>> + Send;

    /// The cursor that the frame at a place was fetched from; the outer `None` if no frame can be read there.
    fn fetched_from(
        &self,
        lane: &LaneId,
        at: Position,
    ) -> impl Future<Output = Option<Option<Cursor>>> + Send;

    /// When the event at a place of a lane happened; `None` if nothing can be read there.
    fn time_of(
        &self,
        lane: &LaneId,
        at: Position,
    ) -> impl Future<Output = Option<Timestamp>> + Send;

    /// What the source of a stream remembers, if that file is still there.
    fn memo(&self, stream: &StreamId, number: u64) -> impl Future<Output = Option<Vec<u8>>> + Send;

    /// Takes up an integration that is not asked, under a fence: what another node has left, or what stands here.
    ///
    /// # Errors
    /// The store's.
    fn take_up(
        &self,
        integration: &IntegrationId,
        fence: u64,
        left: Option<Inheritance>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Passes over what a lane has.
    ///
    /// # Errors
    /// The store's.
    fn pass_over(&self, lane: &LaneId) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Begins to ask. `key` is that of the cluster's fingerprints.
    ///
    /// # Errors
    /// The store's.
    fn start(
        &self,
        integration: &IntegrationId,
        key: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Asks no more; done when nothing is under way any more.
    ///
    /// # Errors
    /// The store's.
    fn stop(
        &self,
        integration: &IntegrationId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a former owner has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// What was delivered, and what is known of the account.
    pub left: Left,
    /// Whether it was handed over in order. Else its owner may have asked until a moment ago.
    pub in_order: bool,
}

/// What the configuration wants of a node; changes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What all nodes share.
    pub integrations: BTreeSet<IntegrationId>,
    /// A hash of the configuration of integrations and outputs.
    pub config: String,
    /// For how long Mimecast keeps each log, by `integration/log`.
    pub kept: BTreeMap<String, Duration>,
}

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub node: NodeId,
    /// What tells its state directory from any other.
    pub install: String,
    /// How long it is taken for alive after its last renewal.
    pub lease: Duration,
    /// What all keys begin with.
    pub prefix: String,
    /// Whether to go on with what it owned last when the registry cannot be reached.
    pub keep_last_assignment: bool,
}

/// A node.
#[derive(Debug)]
pub struct Node<R, H> {
    settings: Settings,
    keys: Keys,
    registry: R,
    host: H,
    tenure: Tenure,
    clock: Clock,
    status: Status,
    wanted: watch::Receiver<Wanted>,
    drain: watch::Receiver<bool>,
    lease: watch::Sender<Option<LeaseId>>,
    trouble: Mutex<Option<RegistryTrouble>>,
}

/// What a node knows from one round to the next.
#[derive(Debug, Default)]
struct Holdings {
    /// The lease under which all of this is.
    lease: Option<LeaseId>,
    /// The tenure's term under that lease.
    term: u64,
    /// What the others are told, once they are.
    member: Option<Member>,
    /// When they were told first, by the monotonic clock.
    joined: Option<Duration>,
    /// The key of the cluster's fingerprints.
    key: Option<Vec<u8>>,
    owned: BTreeMap<IntegrationId, Owned>,
    /// Since when what nobody owns has been seen so, by the monotonic clock.
    free: BTreeMap<IntegrationId, Duration>,
    held: held::Held,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    taken: u64,
    released: u64,
    lost: u64,
}

/// Whose the integrations are, as it was read.
#[derive(Debug, Default)]
struct View {
    nodes: BTreeMap<String, Member>,
    owners: BTreeMap<IntegrationId, Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    node: String,
    fence: Revision,
    lease: Option<LeaseId>,
}

/// Why a round comes to its end.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A person has to do something.
    #[error("{0}")]
    Wrong(String),
}

impl<R: Registry, H: Host> Node<R, H> {
    /// A node that has no lease yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        registry: R,
        host: H,
        (tenure, clock, status): (Tenure, Clock, Status),
        wanted: watch::Receiver<Wanted>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        Self {
            keys: Keys::below(&settings.prefix),
            settings,
            registry,
            host,
            tenure,
            clock,
            status,
            wanted,
            drain,
            lease: watch::Sender::new(None),
            trouble: Mutex::default(),
        }
    }

    /// Takes part until `stop`; then waits for `leave`, which says that nothing is asked and delivered any more, and gives up in order
    /// what it owns.
    ///
    /// # Errors
    /// The store's: the process must end.
    pub async fn run(
        self,
        stop: CancellationToken,
        leave: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut holdings = Holdings::default();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.rounds(&mut holdings) => ended,
            never = self.renewals() => match never {},
        };
        ended?;
        tokio::select! {
            biased;
            () = leave.cancelled() => {}
            never = self.renewals() => match never {},
        }
        // Whoever is slow now leaves it to the lease's end.
        let gone = tokio::time::timeout(LEAVE, self.leave(&mut holdings)).await;
        match gone {
            Ok(Ok(())) => {}
            Ok(Err(Halt::Store(error))) => return Err(error),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the other nodes take over when the lease ends");
            }
            Err(_) => tracing::warn!("the other nodes take over when the lease ends"),
        }
        Ok(())
    }

    /// From one round, and from one renewal, to the next.
    fn period(&self) -> Duration {
        self.settings.lease / 5
    }

    /// Keeps a lease.
    async fn renewals(&self) -> Infallible {
        loop {
            // The lease lasts at least so long from here, for the server is asked later.
            let sure = self.clock.monotonic() + self.settings.lease / 2;
            let lease = *self.lease.borrow();
            let renewed = match lease {
                None => self.registry.grant(self.settings.lease).await.map(Some),
                Some(lease) => {
                    let is_there = self.registry.keep_alive(lease).await;
                    is_there.map(|is_there| is_there.then_some(lease))
                }
            };
            let wait = match renewed {
                Ok(Some(lease)) => {
                    let keeps = self.settings.keep_last_assignment;
                    self.tenure.extend(if keeps { Duration::MAX } else { sure });
                    self.is_well();
                    let is_new = *self.lease.borrow() != Some(lease);
                    if is_new {
                        self.lease.send_replace(Some(lease));
                    }
                    self.period()
                }
                Ok(None) => {
                    tracing::error!(
                        "the lease is over: all integrations of this node are free for the others"
                    );
                    self.lease.send_replace(None);
                    if !self.settings.keep_last_assignment {
                        self.tenure.end();
                    }
                    Duration::ZERO
                }
                Err(error) => {
                    self.is_in_trouble(&error.to_string());
                    self.period() / 3
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn rounds(&self, holdings: &mut Holdings) -> Result<(), StoreError> {
        let (mut wanted, mut drain) = (self.wanted.clone(), self.drain.clone());
        let (mut lease, mut states) = (self.lease.subscribe(), self.status.changes());
        loop {
            wanted.mark_unchanged();
            drain.mark_unchanged();
            lease.mark_unchanged();
            states.mark_unchanged();
            let has_more = self.round(holdings).await?;
            let wait = if has_more {
                Duration::ZERO
            } else {
                self.period()
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                Ok(()) = wanted.changed() => {}
                Ok(()) = drain.changed() => {}
                Ok(()) = lease.changed() => {}
                // A lock-out is to be known before anybody else asks.
                Ok(()) = states.changed() => {}
            }
        }
    }

    /// Goes round once; gives whether there is more to do at once.
    async fn round(&self, holdings: &mut Holdings) -> Result<bool, StoreError> {
        self.follow_the_lease(holdings).await?;
        let mut view = View::default();
        let done = match holdings.lease {
            Some(lease) => self.take_part(holdings, &mut view, lease).await,
            None => Ok(false),
        };
        self.show(holdings, &view);
        match done {
            Ok(has_more) => Ok(has_more),
            Err(Halt::Store(error)) => Err(error),
            Err(error) => {
                self.is_in_trouble(&error.to_string());
                Ok(false)
            }
        }
    }

    async fn take_part(
        &self,
        holdings: &mut Holdings,
        view: &mut View,
        lease: LeaseId,
    ) -> Result<bool, Halt> {
        self.join(holdings, lease).await?;
        *view = self.view().await?;
        if !view.nodes.contains_key(self.settings.node.as_str()) {
            // Somebody has deleted it.
            holdings.member = None;
        }
        self.reconcile(holdings, view, lease).await?;
        self.hand_over(holdings, view).await?;
        let has_more = self.take(holdings, view, lease).await?;
        self.share(holdings).await?;
        self.look_at_held(holdings).await?;
        Ok(has_more)
    }

    /// Stops what may not go on, and starts it again when it may.
    async fn follow_the_lease(&self, holdings: &mut Holdings) -> Result<(), StoreError> {
        let lease = *self.lease.borrow();
        let term = self.tenure.term();
        if lease != holdings.lease {
            (holdings.lease, holdings.term) = (lease, term);
            (holdings.member, holdings.joined) = (None, None);
            if self.settings.keep_last_assignment {
                // They are claimed anew, unless others have them now.
                for owned in holdings.owned.values_mut() {
                    owned.fence = None;
                }
            } else {
                holdings.counts.lost += holdings.owned.len() as u64;
                for (id, owned) in std::mem::take(&mut holdings.owned) {
                    if owned.is_asked {
                        self.host.stop(&id).await?;
                    }
                }
            }
        }
        let lasts = self.tenure.lasts();
        let asked = holdings.owned.values().filter(|owned| owned.is_asked);
        if !lasts && asked.count() > 0 {
            tracing::error!(
                "etcd could not be reached for half of the lease: nothing is asked and delivered until it can be"
            );
        }
        for (id, owned) in &mut holdings.owned {
            if owned.is_asked && !lasts {
                owned.is_asked = false;
                self.host.stop(id).await?;
            } else if lasts
                && owned.may_be_asked()
                && let Some(key) = &holdings.key
            {
                owned.is_asked = true;
                self.host.start(id, key).await?;
            }
        }
        Ok(())
    }

    /// Tells the others that this node is there.
    async fn join(&self, holdings: &mut Holdings, lease: LeaseId) -> Result<(), Halt> {
        if holdings.key.is_none() {
            holdings.key = Some(self.cluster_key().await?);
        }
        let since = holdings.member.as_ref().map(|member| member.since);
        let member = Member {
            install: self.settings.install.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.wanted.borrow().config.clone(),
            since: since.unwrap_or_else(|| self.clock.wall()),
            draining: *self.drain.borrow(),
        };
        if holdings.member.as_ref() == Some(&member) {
            return Ok(());
        }
        let key = self.keys.node(self.settings.node.as_str());
        let mut when = Vec::new();
        if holdings.member.is_none() {
            match self.registry.get(&key).await? {
                None => when.push(Compare::Absent(key.clone())),
                Some(entry) if entry.lease == Some(lease) => {}
                Some(entry) => self.take_leave_of(&entry.value, entry.lease).await?,
            }
        }
        let put = Change::Put {
            key,
            value: json(&member)?,
            lease: Some(lease),
        };
        if self.registry.txn(&when, &[put]).await?.is_some() {
            if holdings.joined.is_none() {
                tracing::info!(node = %self.settings.node, "this node is one of the cluster");
            }
            holdings.member = Some(member);
            holdings.joined.get_or_insert(self.clock.monotonic());
        }
        Ok(())
    }

    /// Ends what an earlier process of this node had; a process that is still there has the same state directory locked. Another node
    /// of the same name is none of ours.
    async fn take_leave_of(&self, value: &[u8], lease: Option<LeaseId>) -> Result<(), Halt> {
        let earlier: Option<Member> = serde_json::from_slice(value).ok();
        let is_ours = earlier.is_some_and(|earlier| earlier.install == self.settings.install);
        match lease {
            Some(lease) if is_ours => Ok(self.registry.revoke(lease).await?),
            _ => Err(Halt::Wrong(format!(
                "another collector takes part as {0:?}, with another state directory: give each its own name in [cluster] node. If {0:?} \
                 was set up anew, wait until its lease is over",
                self.settings.node.as_str()
            ))),
        }
    }

    /// The key of the fingerprints of credentials, which is made by the node that comes first.
    async fn cluster_key(&self) -> Result<Vec<u8>, Halt> {
        let key = self.keys.cluster();
        if let Some(entry) = self.registry.get(&key).await? {
            return Ok(entry.value);
        }
        let made = uuid::Uuid::new_v4().simple().to_string().into_bytes();
        let put = Change::Put {
            key: key.clone(),
            value: made.clone(),
            lease: None,
        };
        match self
            .registry
            .txn(&[Compare::Absent(key.clone())], &[put])
            .await?
        {
            Some(_) => Ok(made),
            None => {
                let entry = self.registry.get(&key).await?;
                let gone = || Halt::Wrong(format!("the key {key} is there, and is not"));
                Ok(entry.ok_or_else(gone)?.value)
            }
        }
    }

    async fn view(&self) -> Result<View, Halt> {
        let mut view = View::default();
        let (nodes, owners) = (self.keys.nodes(), self.keys.owners());
        for entry in self.registry.range(&nodes).await?.entries {
            let name = entry.key.get(nodes.len()..).unwrap_or_default().to_owned();
            match serde_json::from_slice(&entry.value) {
                Ok(member) => drop(view.nodes.insert(name, member)),
                Err(error) => {
                    let text = format!("the key {} is not of a node: {error}", entry.key);
                    return Err(Halt::Wrong(text));
                }
            }
        }
        for entry in self.registry.range(&owners).await?.entries {
            let name = entry.key.get(owners.len()..).unwrap_or_default();
            if let Ok(id) = IntegrationId::new(name) {
                let owner = Owner {
                    node: String::from_utf8_lossy(&entry.value).into_owned(),
                    fence: entry.created,
                    lease: entry.lease,
                };
                view.owners.insert(id, owner);
            }
        }
        Ok(view)
    }

    /// The registry answers as it should.
    fn is_well(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.take().is_some() {
            tracing::info!("etcd answers again");
        }
    }

    fn is_in_trouble(&self, error: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_none_or(|known| known.error != error) {
            tracing::warn!("{error}");
        }
        let since = trouble.as_ref().map(|known| known.since);
        *trouble = Some(RegistryTrouble {
            since: since.unwrap_or_else(|| self.clock.now()),
            error: error.to_owned(),
        });
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Halt> {
    serde_json::to_vec(value).map_err(|e| Halt::Wrong(format!("cannot write a value: {e}")))
}
