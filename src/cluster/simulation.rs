//! Three nodes over a registry that is slow, cut off and down, with processes that are stopped, wake up, and are killed; clocks that run at
//! other speeds than the registry's; outputs that take nothing and accounts that are locked.
//!
//! The nodes are the real ones; what they do to a process is done to a model of it here, with a disk that outlives it. Time is tokio's,
//! paused; everything else comes from the seed. [`seeds`] says which.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use super::node::{Host, Inheritance, Node, Settings, Wanted};
use super::record::{Keys, Shared};
use super::registry::{
    Change, Compare, Entry, LeaseId, Listing, Registry, RegistryError, Revision,
};
use crate::clock::Clock;
use crate::model::{
    Cursor, IntegrationId, LaneId, NodeId, OutputId, Position, StreamId, Timestamp,
};
use crate::poll::assume_asked;
use crate::status::{Phase, Status};
use crate::store::{PollRecord, Portrait, StoreError, StreamPortrait, StreamState, Undelivered};
use crate::tenure::Tenure;

const LEASE: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_secs(40);
/// From a poll that was cut short to its continuation, as the schedule has it.
const CUT_SHORT: Duration = Duration::from_secs(61);
/// Between two events of an integration.
const EVENT: u64 = 5;
const INTEGRATIONS: usize = 7;
const NODES: usize = 3;
const CHAOS: Duration = Duration::from_mins(20);
/// For everything to be as it should again: two leases, an interval after a takeover, and what waits.
const CALM: Duration = Duration::from_mins(8);
const LOCKED: Duration = Duration::from_mins(4);
/// What nodes take for the time differs by so much at most, in milliseconds.
const SKEW: u64 = 1_500;
const ORIGIN: Timestamp = Timestamp::from_millis(1_767_690_487_000);

/// A generator of numbers, the same for the same seed.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from))
    }
}

fn names() -> Vec<IntegrationId> {
    let name = |n| IntegrationId::new(&format!("tenant-{n}")).unwrap();
    (0..INTEGRATIONS).map(name).collect()
}

fn stream(id: &IntegrationId) -> StreamId {
    StreamId::new(id, "audit", "")
}

fn cursor(at: u64) -> Option<Cursor> {
    (at > 0).then(|| Cursor::new(at.to_string()).unwrap())
}

fn place(cursor: Option<&Cursor>) -> u64 {
    cursor.map_or(0, |cursor| cursor.as_str().parse().unwrap())
}

/// What is outside of all processes.
#[derive(Debug)]
struct World {
    seed: u64,
    dice: Dice,
    /// What the time is; it began at [`ORIGIN`].
    clock: Clock,

    /// Until when an account is locked.
    locked: BTreeMap<IntegrationId, Timestamp>,
    /// When each integration was asked last, and by which node.
    asked: BTreeMap<IntegrationId, (Timestamp, usize)>,
    /// How often each event was delivered.
    delivered: BTreeMap<IntegrationId, BTreeMap<u64, u32>>,
    /// The highest fence under which each integration was shared.
    fences: BTreeMap<IntegrationId, u64>,
    is_output_down: bool,
    is_registry_down: bool,
    cut_off: [bool; NODES],
    /// The rights of the process that each node is now.
    tenures: [Tenure; NODES],
    /// Transactions that the registry gets only after whoever sent them has given up.
    late: Vec<(Timestamp, Vec<Compare>, Vec<Change>)>,
    takeovers: u64,
    requests: u64,
    /// What has happened, for whoever must find out why a seed fails.
    trail: Vec<(Duration, String)>,
}

type SharedWorld = Arc<Mutex<World>>;

impl World {
    fn elapsed(&self) -> Duration {
        self.clock.now().since(ORIGIN)
    }

    fn note(&mut self, what: String) {
        self.trail.push((self.elapsed(), what));
    }

    /// A failure, with what came before it.
    fn said(&self, what: &str) -> String {
        let now = self.elapsed();
        let lately = self
            .trail
            .iter()
            .filter(|(at, _)| now.saturating_sub(*at) < Duration::from_secs(90));
        let lately: Vec<_> = lately
            .map(|(at, what)| format!("{at:>10.1?} {what}"))
            .collect();
        format!(
            "seed {} after {now:?}: {what}\n{}",
            self.seed,
            lately.join("\n")
        )
    }

    /// Events that there are by now.
    fn events(&self) -> u64 {
        self.elapsed().as_secs() / EVENT
    }

    /// An integration is asked; gives whether its account is locked.
    fn ask(&mut self, node: usize, id: &IntegrationId, memory: &Memory) -> bool {
        let now = self.clock.now();
        self.requests += 1;
        self.note(format!("{id} is asked by {node}"));
        for (other, tenure) in self.tenures.iter().enumerate() {
            let both = other != node && tenure.may_ask(id);
            assert!(
                !both,
                "{}",
                self.said(&format!(
                    "{id} is asked by {node} while {other} may ask it too"
                ))
            );
        }
        if let Some((last, by)) = self.asked.get(id) {
            let apart = now.since(*last) + Duration::from_millis(2 * SKEW);
            let why = format!("{id} is asked by {node} {apart:?} after {by} asked it");
            assert!(apart >= INTERVAL, "{}", self.said(&why));
        }
        self.asked.insert(id.clone(), (now, node));
        let is_locked = self.locked.get(id).is_some_and(|until| now < *until);
        if is_locked {
            let known = memory.value(&Keys::below("/sim").shared(id));
            let known: Option<Shared> = known.map(|value| serde_json::from_slice(&value).unwrap());
            // By the clock that is ahead of all others.
            let now = now + Duration::from_millis(SKEW);
            let told = known.is_some_and(|known| is_known_as_locked(&known.health, id, now));
            assert!(
                !told,
                "{}",
                self.said(&format!("{node} asks {id}, which all know to be locked"))
            );
        }
        is_locked
    }
}

fn is_known_as_locked(
    health: &BTreeMap<String, serde_json::Value>,
    id: &IntegrationId,
    now: Timestamp,
) -> bool {
    let state = health.get(&format!("credential {id}"));
    let until = state.and_then(|state| state["until"].as_i64());
    until.is_some_and(|until| now < Timestamp::from_millis(until))
}

/// What a node's disk has of one integration.
#[derive(Clone, Debug, Default)]
struct Kept {
    fence: Option<u64>,
    cursor: u64,
    /// What the source remembers is the cursor that it belongs to; its file is numbered by the commits.
    memo: Option<(u64, u64)>,
    poll: Option<PollRecord>,
    health: BTreeMap<String, serde_json::Value>,
    /// Each with the cursor that it was fetched from, and the events in it.
    frames: Vec<(u64, Vec<u64>)>,
    /// Frames that are delivered.
    passed: usize,
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<BTreeMap<IntegrationId, Kept>>>);

impl Disk {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IntegrationId, Kept>> {
        self.0.lock().unwrap()
    }
}

/// A process.
#[derive(Clone, Debug)]
struct Process {
    node: usize,
    world: SharedWorld,
    memory: Memory,
    disk: Disk,
    clock: Clock,
    tenure: Tenure,
    status: Status,
    running: Arc<Mutex<BTreeSet<IntegrationId>>>,
}

impl Host for Process {
    async fn portraits(
        &self,
        integrations: Vec<IntegrationId>,
    ) -> Result<BTreeMap<IntegrationId, Portrait>, StoreError> {
        let disk = self.disk.lock();
        let portrait = |id: IntegrationId| {
            let kept = disk.get(&id).cloned().unwrap_or_default();
            let waits = kept.frames.len() > kept.passed;
            let state = StreamState {
                cursor: cursor(kept.cursor),
                poll: kept.poll,
                ..StreamState::default()
            };
            let undelivered = waits.then(|| Undelivered {
                output: OutputId::new("splunk").unwrap(),
                at: Position::start_of(kept.passed as u64),
                events: 1,
                repair: None,
            });
            let portrait = StreamPortrait {
                state,
                memo: kept.memo.map(|(number, _)| number),
                undelivered,
            };
            let streams = BTreeMap::from([(stream(&id), portrait)]);
            let portrait = Portrait {
                fence: kept.fence,
                streams,
                health: kept.health,
            };
            (id, portrait)
        };
        Ok(integrations.into_iter().map(portrait).collect())
    }

    async fn fetched_from(&self, lane: &LaneId, at: Position) -> Option<Option<Cursor>> {
        let disk = self.disk.lock();
        let kept = disk.get(&lane.source()?.integration)?;
        let (from, _) = kept.frames.get(usize::try_from(at.segment).unwrap())?;
        Some(cursor(*from))
    }

    async fn time_of(&self, _: &LaneId, _: Position) -> Option<Timestamp> {
        None
    }

    async fn memo(&self, stream: &StreamId, number: u64) -> Option<Vec<u8>> {
        let disk = self.disk.lock();
        let (now, memo) = disk.get(&stream.integration)?.memo?;
        (now == number).then(|| memo.to_string().into_bytes())
    }

    async fn take_up(
        &self,
        id: &IntegrationId,
        fence: u64,
        left: Option<Inheritance>,
    ) -> Result<(), StoreError> {
        sleep(Duration::from_millis(5)).await;
        assert!(left.is_none() || !self.running.lock().unwrap().contains(id));
        {
            let mut world = self.world.lock().unwrap();
            world.takeovers += 1;
            let how = left.as_ref().map(|left| left.in_order);
            world.note(format!(
                "{id} is taken up by {} under {fence}, in order: {how:?}",
                self.node
            ));
        }
        let mut disk = self.disk.lock();
        let kept = disk.entry(id.clone()).or_default();
        if let Some(Inheritance { mut left, in_order }) = left {
            let (state, memo) = left.streams.remove(&stream(id)).unwrap_or_default();
            kept.cursor = place(state.cursor.as_ref());
            kept.memo = memo.map(|memo| {
                let memo = String::from_utf8(memo).unwrap().parse().unwrap();
                assert_eq!(memo, kept.cursor, "a memo of another cursor");
                (kept.memo.map_or(1, |(number, _)| number + 1), memo)
            });
            let now = self.clock.now();
            kept.poll = match in_order {
                true => state.poll,
                false => Some(assume_asked(state.poll, INTERVAL, now)),
            };
            kept.health = left.health;
        }
        kept.fence = Some(fence);
        Ok(())
    }

    async fn pass_over(&self, lane: &LaneId) -> Result<u64, StoreError> {
        let mut disk = self.disk.lock();
        let id = lane.source().unwrap().integration;
        let kept = disk.get_mut(&id).unwrap();
        let world = self.world.lock().unwrap();
        let passed = kept.frames.len() - kept.passed;
        for (_, events) in kept.frames.iter().skip(kept.passed) {
            for event in events {
                let delivered = world
                    .delivered
                    .get(&id)
                    .is_some_and(|of| of.contains_key(event));
                assert!(
                    delivered,
                    "{}",
                    world.said(&format!(
                        "event {event} of {id} is thrown away by {}",
                        self.node
                    ))
                );
            }
        }
        kept.passed = kept.frames.len();
        Ok(passed as u64)
    }

    async fn start(&self, id: &IntegrationId, _: &[u8]) -> Result<(), StoreError> {
        self.running.lock().unwrap().insert(id.clone());
        Ok(())
    }

    async fn stop(&self, id: &IntegrationId) -> Result<(), StoreError> {
        self.running.lock().unwrap().remove(id);
        Ok(())
    }
}

impl Process {
    /// Asks what is due, once a second.
    async fn poll(&self) {
        loop {
            for id in names() {
                if self.is_due(&id) {
                    self.ask(&id).await;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn is_due(&self, id: &IntegrationId) -> bool {
        let now = self.clock.now();
        let disk = self.disk.lock();
        let kept = disk.get(id);
        let poll = kept.and_then(|kept| kept.poll);
        let is_locked = kept.is_some_and(|kept| is_known_as_locked(&kept.health, id, now));
        let is_due = poll.is_none_or(|poll| match poll.done {
            true => now.since(poll.started) >= INTERVAL,
            false => now.since(poll.attempted) >= CUT_SHORT,
        });
        self.running.lock().unwrap().contains(id) && is_due && !is_locked && self.tenure.may_ask(id)
    }

    async fn ask(&self, id: &IntegrationId) {
        let now = self.clock.now();
        let poll = PollRecord {
            started: now,
            attempted: now,
            attempts: 0,
            done: false,
            calls: None,
        };
        let from = {
            let mut disk = self.disk.lock();
            let kept = disk.entry(id.clone()).or_default();
            kept.poll = Some(poll);
            kept.cursor
        };
        let (is_locked, all, latency) = {
            let mut world = self.world.lock().unwrap();
            let is_locked = world.ask(self.node, id, &self.memory);
            (is_locked, world.events(), world.dice.millis(10, 900))
        };
        sleep(latency).await;
        if !self.running.lock().unwrap().contains(id) {
            return;
        }
        let mut disk = self.disk.lock();
        let kept = disk.entry(id.clone()).or_default();
        if is_locked {
            let until = self.clock.now() + LOCKED;
            let state = json!({ "until": until.as_millis() });
            kept.health.insert(format!("credential {id}"), state);
            drop(disk);
            self.status.integration(id, |report| {
                report.condition.state = match report.condition.state {
                    Phase::Blocked => Phase::Retrying,
                    Phase::Healthy
                    | Phase::Renewing
                    | Phase::Throttled
                    | Phase::Retrying
                    | Phase::Paused => Phase::Blocked,
                };
            });
            return;
        }
        if kept.cursor != from || kept.poll != Some(poll) {
            return;
        }
        kept.poll = Some(PollRecord { done: true, ..poll });
        if all > from {
            kept.frames.push((from, (from..all).collect()));
            kept.cursor = all;
            kept.memo = Some((kept.memo.map_or(1, |(number, _)| number + 1), all));
        }
    }

    /// Delivers a frame of each lane in turn.
    async fn deliver(&self) {
        loop {
            let before = self.clock.now();
            for id in names() {
                let lane = LaneId::stream(&stream(&id));
                let next = self.disk.lock().get(&id).and_then(|kept| {
                    let frame = kept.frames.get(kept.passed)?;
                    Some((kept.passed, frame.1.clone()))
                });
                let Some((at, events)) = next.filter(|_| self.tenure.may_deliver(&lane)) else {
                    continue;
                };
                let (latency, is_down) = {
                    let mut world = self.world.lock().unwrap();
                    (world.dice.millis(5, 400), world.is_output_down)
                };
                sleep(latency).await;
                if is_down {
                    continue;
                }
                {
                    let mut world = self.world.lock().unwrap();
                    let of = world.delivered.entry(id.clone()).or_default();
                    for event in events {
                        *of.entry(event).or_default() += 1;
                    }
                }
                sleep(latency).await;
                let mut disk = self.disk.lock();
                let kept = disk.entry(id.clone()).or_default();
                kept.passed = kept.passed.max(at + 1);
            }
            if self.clock.now().since(before) < Duration::from_millis(300) {
                sleep(Duration::from_millis(300)).await;
            }
        }
    }
}

/// The registry as one node reaches it.
#[derive(Clone, Debug)]
struct Net {
    node: usize,
    memory: Memory,
    world: SharedWorld,
    /// How long a lease lasts by the node's clock, in percent of what it asked for: its clock is slow or fast.
    speed: u32,
}

enum Way {
    Good,
    AnswerLost,
    Late,
    Lost,
}

impl Net {
    async fn way(&self) -> Way {
        let (delay, way) = {
            let mut world = self.world.lock().unwrap();
            let delay = world.dice.millis(1, 60);
            let way = match world.dice.roll(200) {
                _ if world.cut_off[self.node] || world.is_registry_down => Way::Lost,
                0 => Way::AnswerLost,
                1 => Way::Late,
                2 => Way::Lost,
                _ => Way::Good,
            };
            (delay, way)
        };
        sleep(delay).await;
        way
    }

    async fn too_late<T>(&self) -> Result<T, RegistryError> {
        sleep(super::etcd::timeout(LEASE)).await;
        Err(RegistryError::Unavailable(format!(
            "node {} is cut off",
            self.node
        )))
    }

    async fn back<T>(
        &self,
        way: Way,
        answer: Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        match way {
            Way::Good => {
                let delay = self.world.lock().unwrap().dice.millis(1, 60);
                sleep(delay).await;
                answer
            }
            Way::AnswerLost | Way::Late | Way::Lost => self.too_late().await,
        }
    }
}

/// Does a transaction, and looks at what it does to what is shared.
async fn done(
    world: &SharedWorld,
    memory: &Memory,
    when: &[Compare],
    then: &[Change],
) -> Result<Option<Revision>, RegistryError> {
    let keys = Keys::below("/sim");
    let mut owners = BTreeMap::new();
    for id in names() {
        owners.insert(id.clone(), memory.get(&keys.owner(&id)).await?);
    }
    let revision = memory.txn(when, then).await?;
    if revision.is_none() {
        return Ok(None);
    }
    let mut world = world.lock().unwrap();
    for (id, owner) in owners {
        for change in then {
            let Change::Put { key, value, .. } = change else {
                continue;
            };
            if *key != keys.shared(&id) {
                continue;
            }
            let shared: Shared = serde_json::from_slice(value).unwrap();
            let owner = owner
                .as_ref()
                .unwrap_or_else(|| panic!("{}", world.said("nobody's word is taken")));
            assert_eq!(
                shared.fence,
                owner.created.0,
                "{}",
                world.said("the word of a former owner is taken")
            );
            assert_eq!(shared.node.as_bytes(), owner.value);
            let poll = shared
                .streams
                .get("audit")
                .and_then(|stream| stream.state.poll);
            let started = poll.map(|poll| poll.started.since(ORIGIN));
            world.note(format!(
                "{id} is shared by {} under {}, poll {started:?}, released: {}",
                shared.node, shared.fence, shared.released
            ));
            let last = world.fences.insert(id.clone(), shared.fence);
            assert!(
                last <= Some(shared.fence),
                "{}",
                world.said("a fence goes back")
            );
            let at = shared
                .streams
                .get("audit")
                .map_or(0, |stream| place(stream.state.cursor.as_ref()));
            let delivered = world.delivered.get(&id);
            for event in 0..at {
                let is_there = delivered.is_some_and(|of| of.contains_key(&event));
                let why = format!(
                    "{} shares {at} of {id}, and {event} is not delivered",
                    shared.node
                );
                assert!(is_there, "{}", world.said(&why));
            }
        }
    }
    Ok(revision)
}

impl Registry for Net {
    async fn get(&self, key: &str) -> Result<Option<Entry>, RegistryError> {
        let way = self.way().await;
        let answer = self.memory.get(key).await;
        self.back(way, answer).await
    }

    async fn range(&self, prefix: &str) -> Result<Listing, RegistryError> {
        let way = self.way().await;
        let answer = self.memory.range(prefix).await;
        self.back(way, answer).await
    }

    async fn txn(
        &self,
        when: &[Compare],
        then: &[Change],
    ) -> Result<Option<Revision>, RegistryError> {
        match self.way().await {
            Way::Lost => self.too_late().await,
            Way::Late => {
                {
                    let mut world = self.world.lock().unwrap();
                    let at = world.clock.now() + world.dice.millis(1_000, 60_000);
                    world.late.push((at, when.to_vec(), then.to_vec()));
                }
                self.too_late().await
            }
            way @ (Way::Good | Way::AnswerLost) => {
                let answer = done(&self.world, &self.memory, when, then).await;
                self.back(way, answer).await
            }
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        let way = self.way().await;
        if matches!(way, Way::Lost) {
            return self.too_late().await;
        }
        let answer = self.memory.grant(ttl * self.speed / 100).await;
        self.back(way, answer).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, RegistryError> {
        let way = self.way().await;
        if matches!(way, Way::Lost) {
            return self.too_late().await;
        }
        let answer = self.memory.keep_alive(lease).await;
        self.back(way, answer).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        let way = self.way().await;
        if matches!(way, Way::Lost) {
            return self.too_late().await;
        }
        let answer = self.memory.revoke(lease).await;
        self.back(way, answer).await
    }
}

/// What becomes of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Calm,
    Trouble,
    /// The registry is down for longer than a lease, and the nodes go on with what they had.
    KeptOn,
}

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    /// As by SIGSTOP.
    Freeze,
    /// As by SIGKILL.
    Kill,
    /// As by SIGTERM.
    Stop,
}

/// One machine: processes follow each other on its disk.
async fn machine(
    node: usize,
    world: SharedWorld,
    memory: Memory,
    story: Story,
    mut orders: watch::Receiver<Order>,
    drain: watch::Receiver<bool>,
) {
    let disk = Disk::default();
    let (skew, speed) = {
        let mut world = world.lock().unwrap();
        let speed = u32::try_from(80 + world.dice.roll(45)).unwrap();
        (world.dice.millis(0, SKEW), speed)
    };
    loop {
        orders.wait_for(|order| *order == Order::Run).await.unwrap();
        let now = ORIGIN + world.lock().unwrap().elapsed() + skew;
        let clock = Clock::starting_at(now);
        let tenure = Tenure::leased(clock.clone());
        world.lock().unwrap().tenures[node] = tenure.clone();
        let process = Process {
            node,
            world: Arc::clone(&world),
            memory: memory.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            tenure: tenure.clone(),
            status: Status::new(std::path::Path::new("/sim"), now),
            running: Arc::default(),
        };
        let settings = Settings {
            node: NodeId::new(&format!("node-{node}")).unwrap(),
            install: node.to_string(),
            lease: LEASE,
            prefix: "/sim".to_owned(),
            keep_last_assignment: story == Story::KeptOn,
        };
        let net = Net {
            node,
            memory: memory.clone(),
            world: Arc::clone(&world),
            speed,
        };
        let wanted = Wanted {
            integrations: names().into_iter().collect(),
            ..Wanted::default()
        };
        let (_wanted, wanted) = watch::channel(wanted);
        let (stop, leave) = (CancellationToken::new(), CancellationToken::new());
        let status = process.status.clone();
        let taking_part = Node::new(
            settings,
            net,
            process.clone(),
            (tenure, clock, status),
            wanted,
            drain.clone(),
        );
        let taking_part = taking_part.run(stop.clone(), leave.clone());
        let work = async {
            let asks_and_delivers = async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => std::future::pending().await,
                    () = process.poll() => {}
                    () = process.deliver() => {}
                }
            };
            tokio::select! {
                biased;
                () = asks_and_delivers => {}
                ended = taking_part => ended.unwrap(),
            }
        };
        tokio::pin!(work);
        loop {
            let order = *orders.borrow_and_update();
            match order {
                Order::Kill => break,
                Order::Stop => {
                    // Pollers and outputs end first.
                    stop.cancel();
                    process.running.lock().unwrap().clear();
                    leave.cancel();
                }
                Order::Freeze | Order::Run => {}
            }
            tokio::select! {
                biased;
                changed = orders.changed() => changed.unwrap(),
                () = &mut work, if order != Order::Freeze => break,
            }
        }
        // Nobody acts by the rights of a process that is gone.
        world.lock().unwrap().tenures[node] = Tenure::leased(Clock::starting_at(now));
        orders
            .wait_for(|order| *order != Order::Stop)
            .await
            .unwrap();
    }
}

/// Gives the registry what is late, in its time.
async fn late(world: SharedWorld, memory: Memory) {
    loop {
        let due: Vec<_> = {
            let mut world = world.lock().unwrap();
            let now = world.clock.now();
            world.late.extract_if(.., |(at, _, _)| *at <= now).collect()
        };
        for (_, when, then) in due {
            // Whoever sent it is not there to hear.
            done(&world, &memory, &when, &then).await.ok();
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Days of trouble in some minutes.
async fn chaos(
    world: &SharedWorld,
    orders: &[watch::Sender<Order>],
    drains: &[watch::Sender<bool>],
) {
    let clock = world.lock().unwrap().clock.clone();
    let end = clock.now() + CHAOS;
    let mut over: Vec<(Timestamp, u64, usize)> = Vec::new();
    while clock.now() < end {
        let (wait, what, node, lasts) = {
            let mut world = world.lock().unwrap();
            let node = usize::try_from(world.dice.roll(NODES as u64)).unwrap();
            (
                world.dice.millis(2_000, 30_000),
                world.dice.roll(8),
                node,
                world.dice.millis(1_000, 60_000),
            )
        };
        sleep(wait).await;
        let now = clock.now();
        for (_, what, node) in over.extract_if(.., |(at, _, _)| *at <= now) {
            mend(world, orders, drains, what, node);
        }
        world
            .lock()
            .unwrap()
            .note(format!("trouble {what} of {node} for {lasts:?}"));
        match what {
            0 | 1 => drop(orders[node].send_replace(Order::Freeze)),
            2 => drop(orders[node].send_replace(Order::Kill)),
            3 => drop(orders[node].send_replace(Order::Stop)),
            4 => world.lock().unwrap().cut_off[node] = true,
            5 => world.lock().unwrap().is_registry_down = true,
            6 => drop(drains[node].send_replace(true)),
            _ => {
                let mut world = world.lock().unwrap();
                world.is_output_down = world.dice.roll(2) == 0;
                let which = usize::try_from(world.dice.roll(INTEGRATIONS as u64)).unwrap();
                let id = names()[which].clone();
                world.locked.insert(id, now + LOCKED);
            }
        }
        over.push((now + lasts, what, node));
    }
    for (_, what, node) in over {
        mend(world, orders, drains, what, node);
    }
}

fn mend(
    world: &SharedWorld,
    orders: &[watch::Sender<Order>],
    drains: &[watch::Sender<bool>],
    what: u64,
    node: usize,
) {
    match what {
        0..=3 => drop(orders[node].send_replace(Order::Run)),
        4 => world.lock().unwrap().cut_off[node] = false,
        5 => world.lock().unwrap().is_registry_down = false,
        6 => drop(drains[node].send_replace(false)),
        _ => world.lock().unwrap().is_output_down = false,
    }
}

/// The registry is down; everybody is asked nevertheless.
async fn outage(world: &SharedWorld) {
    sleep(Duration::from_mins(3)).await;
    world.lock().unwrap().is_registry_down = true;
    sleep(Duration::from_mins(6)).await;
    let mut world = world.lock().unwrap();
    let now = world.clock.now();
    for id in names() {
        let last = world.asked.get(&id).map(|(last, _)| now.since(*last));
        assert!(
            last < Some(INTERVAL * 3),
            "{}",
            world.said(&format!("{id} is not asked"))
        );
    }
    world.is_registry_down = false;
}

/// One seed; gives how many requests, takeovers and repeated events there were.
fn live(seed: u64, story: Story) -> [u64; 3] {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(Mutex::new(World {
            seed,
            dice: Dice(seed),
            clock: Clock::starting_at(ORIGIN),
            locked: BTreeMap::new(),
            asked: BTreeMap::new(),
            delivered: BTreeMap::new(),
            fences: BTreeMap::new(),
            is_output_down: false,
            is_registry_down: false,
            cut_off: [false; NODES],
            tenures: std::array::from_fn(|_| Tenure::leased(Clock::starting_at(ORIGIN))),
            late: Vec::new(),
            takeovers: 0,
            requests: 0,
            trail: Vec::new(),
        }));
        let memory = Memory::new(world.lock().unwrap().clock.clone());
        let orders: [watch::Sender<Order>; NODES] =
            std::array::from_fn(|_| watch::Sender::new(Order::Run));
        let drains: [watch::Sender<bool>; NODES] =
            std::array::from_fn(|_| watch::Sender::new(false));
        let mut machines: Vec<_> = (0..NODES)
            .map(|node| {
                Box::pin(machine(
                    node,
                    Arc::clone(&world),
                    memory.clone(),
                    story,
                    orders[node].subscribe(),
                    drains[node].subscribe(),
                ))
            })
            .collect();
        let (a, rest) = machines.split_first_mut().unwrap();
        let (b, c) = rest.split_first_mut().unwrap();
        let told = async {
            match story {
                Story::Calm => sleep(CHAOS).await,
                Story::Trouble => chaos(&world, &orders, &drains).await,
                Story::KeptOn => outage(&world).await,
            }
            let until = world.lock().unwrap().events();
            sleep(CALM).await;
            until
        };
        let until = tokio::select! {
            biased;
            () = a => unreachable!(),
            () = b => unreachable!(),
            () = &mut c[0] => unreachable!(),
            () = late(Arc::clone(&world), memory.clone()) => unreachable!(),
            until = told => until,
        };
        let world = world.lock().unwrap();
        let mut repeated = 0;
        for id in names() {
            let delivered = world.delivered.get(&id).cloned().unwrap_or_default();
            let lost: Vec<_> = (0..until)
                .filter(|event| !delivered.contains_key(event))
                .collect();
            assert!(
                lost.is_empty(),
                "{}",
                world.said(&format!("of {id} {lost:?} are lost"))
            );
            repeated += delivered
                .values()
                .map(|times| u64::from(*times) - 1)
                .sum::<u64>();
        }
        [world.requests, world.takeovers, repeated]
    })
}

/// The seeds of this run: `CLUSTER_SEEDS=1000` for so many, `CLUSTER_SEEDS=23..24` for one.
fn seeds() -> Range<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much a run of the test tries"
    )]
    let wish = std::env::var("CLUSTER_SEEDS").unwrap_or_else(|_| "40".to_owned());
    let (from, to) = wish.split_once("..").unwrap_or(("0", &wish));
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn nothing_is_lost_and_no_account_is_asked_by_two_whatever_happens_to_the_nodes_and_the_registry() {
    let mut sums = [0; 3];
    for seed in seeds() {
        let counts = live(seed, Story::Trouble);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let (seeds, [requests, takeovers, repeated]) = (seeds(), sums);
    println!(
        "seeds {seeds:?}: {requests} requests, {takeovers} takeovers, {repeated} events delivered again"
    );
    assert!(
        takeovers > (seeds.end - seeds.start) * 10,
        "too little has happened"
    );
}

#[test]
fn without_trouble_every_event_is_delivered_once() {
    for seed in 0..5 {
        let [requests, takeovers, repeated] = live(seed, Story::Calm);
        assert!(requests > 200, "seed {seed}: {requests}");
        assert_eq!(
            (takeovers, repeated),
            (INTEGRATIONS as u64, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn nodes_that_keep_their_last_assignment_go_on_without_the_registry() {
    for seed in 0..5 {
        let [requests, takeovers, _] = live(seed, Story::KeptOn);
        assert!(requests > 100, "seed {seed}: {requests}");
        assert!(
            takeovers >= 2 * INTEGRATIONS as u64,
            "seed {seed}: all leases had ended"
        );
    }
}
