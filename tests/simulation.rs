//! Days, and a year, of polling in seconds: pollers, the real store and output workers, with a scripted Mimecast and a scripted receiver, on tokio's
//! paused clock. Everything that is drawn comes from a seed, which a failure prints.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Origin, lookup};
use mimecast_collector::http::Connection;
use mimecast_collector::ledger;
use mimecast_collector::mimecast::{FetchError, Gate, Job, Progress, Source, log_types};
use mimecast_collector::model::{
    Counted, Cursor, Event, EventId, Form, IntegrationId, OutputId, Route, Sink, Timestamp,
};
use mimecast_collector::output::{Batch, BatchLimits, Delivery, Output, Worker};
use mimecast_collector::poll::config::{CredentialSource, IntegrationConfig, LogConfig};
use mimecast_collector::poll::{Budgets, Poller, Room, Shared};
use mimecast_collector::secret::{Fingerprint, Secret, SecretSource};
use mimecast_collector::status::Status;
use mimecast_collector::store::Store;
use mimecast_collector::subject::Context;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A small generator of numbers, the same on every machine.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What the world has seen, over all restarts of the collector.
#[derive(Debug)]
struct World {
    dice: Dice,
    /// Failures in a hundred requests.
    failing: u64,
    /// The right time, whatever the collector's clock says.
    clock: Clock,
    began: Timestamp,
    /// From one event of a stream to the next.
    every: Duration,
    /// When each request went out, by the right time and by stream.
    asked: Vec<(Timestamp, String)>,
    /// Whether the receiver wants heartbeats.
    heartbeats: bool,
    /// Whether keys expire.
    keys_expire: bool,
    /// Keys that were refused as expired: not one request may show them again.
    refused: BTreeSet<u32>,
    /// When that was, by the right time.
    expiries: Vec<Timestamp>,
    /// Until when a stream asked to be left alone, by the collector's clock.
    limited: BTreeMap<String, Timestamp>,
    /// Until when no request may go out at all, and why.
    silent_until: Option<Timestamp>,
    delivered: BTreeMap<EventId, u32>,
    /// Deliveries in flight when the worker was killed, or whose answer was lost.
    uncertain: u32,
    lockouts: u32,
}

impl World {
    fn new(seed: u64, clock: &Clock) -> Self {
        Self {
            dice: Dice(seed),
            failing: 3,
            clock: clock.clone(),
            began: clock.now(),
            every: Duration::from_mins(10),
            asked: Vec::new(),
            heartbeats: true,
            keys_expire: false,
            refused: BTreeSet::new(),
            expiries: Vec::new(),
            limited: BTreeMap::new(),
            silent_until: None,
            delivered: BTreeMap::new(),
            uncertain: 0,
            lockouts: 0,
        }
    }

    /// Events that each stream has had so far.
    fn published(&self) -> u64 {
        self.clock.now().since(self.began).as_secs() / self.every.as_secs()
    }
}

type Shared_ = Arc<Mutex<World>>;

#[derive(Clone, Debug)]
struct Vendor {
    world: Shared_,
    /// The collector's, by which it was told when to come back.
    clock: Clock,
    /// The credential that is shown.
    key: u32,
}

fn body(stream: &str, n: u64) -> String {
    format!(r#"{{"stream":"{stream}","n":{n}}}"#)
}

impl Vendor {
    fn events(&self) -> u64 {
        self.world.lock().unwrap().published()
    }

    /// A request: what the vendor answers, by the dice.
    fn ask(&self, stream: &str) -> Result<(), Box<Failure>> {
        let now = self.clock.now();
        let mut world = self.world.lock().unwrap();
        if let Some(until) = world.silent_until {
            assert!(
                now >= until,
                "asked at {now} while locked out until {until}"
            );
        }
        if let Some(until) = world.limited.get(stream) {
            assert!(
                now >= *until,
                "{stream} asked at {now}, not to before {until}"
            );
        }
        assert!(
            !world.refused.contains(&self.key),
            "{stream} asked at {now} with an expired key"
        );
        let at = world.clock.now();
        world.asked.push((at, stream.to_owned()));
        let failing = world.failing;
        if world.dice.roll(100) >= failing {
            return Ok(());
        }
        let (origin, status, code) = match world.dice.roll(8) {
            0 => (Origin::Mimecast, 401, "0010"),
            1 => (Origin::Mimecast, 429, ""),
            2 => (Origin::Mimecast, 500, ""),
            3 => (Origin::Mimecast, 403, "0002"),
            4 => (Origin::Transport, 0, "timeout"),
            5 => (Origin::Transport, 0, "dns"),
            6 => (Origin::Mimecast, 401, "token_expired"),
            _ => (Origin::Mimecast, 503, ""),
        };
        let mut failure = Failure::new(origin, status, code, "POST /scripted");
        if world.keys_expire && status == 403 && world.dice.roll(3) == 0 {
            failure = Failure::new(Origin::Mimecast, 418, "0001", "POST /scripted");
            world.refused.insert(self.key);
            world.expiries.push(at);
        }
        if status == 429 && world.dice.roll(2) == 0 {
            let wish = Duration::from_mins(10);
            failure.retry_after = Some(wish);
            world.limited.insert(stream.to_owned(), now + wish);
        }
        if lookup(&failure).class == Class::LockedOut {
            world.silent_until = Some(now + Duration::from_secs(30 * 60));
            world.lockouts += 1;
        }
        Err(Box::new(failure))
    }
}

impl Source for Vendor {
    async fn fetch<S: Sink, G: Gate>(
        &self,
        job: Job,
        mut sink: S,
        gate: G,
    ) -> Result<Progress, FetchError> {
        let permit = gate.pass().await?;
        let stream = job.stream.to_string();
        if let Err(failure) = self.ask(&stream) {
            gate.failed(&failure);
            return Err(FetchError::Failed(failure));
        }
        drop(permit);
        let from: u64 = job
            .cursor
            .map_or(0, |cursor| cursor.as_str().parse().unwrap());
        let all = self.events();
        let page = (from + 7).min(all);
        let integration = job.stream.integration.clone();
        let log = job.log.row.name;
        // A page comes in two parts, and the connection may break between them.
        let breaks = self.world.lock().unwrap().dice.roll(20) == 0;
        let work = move || {
            let middle = from + (page - from) / 2;
            let parts = [(middle, from..middle), (page, middle..page)];
            for (part, range) in parts.into_iter().filter(|(_, range)| !range.is_empty()) {
                for n in range {
                    let body = body(&stream, n);
                    let event = Event {
                        body: &body,
                        time: Timestamp::from_millis(0),
                        id: EventId::of(&integration, log, body.as_bytes()),
                    };
                    sink.count(Counted::Read);
                    sink.push("audit", Form::Json, event)?;
                }
                if breaks && part == page {
                    let failure = Failure::new(Origin::Transport, 0, "reset", "GET /scripted");
                    return Err(FetchError::from(failure));
                }
                sink.commit(&Cursor::new(part.to_string()).unwrap())?;
            }
            Ok(if page < all {
                Progress::More
            } else {
                Progress::CaughtUp
            })
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    fn renew(&self) {}

    fn correct_clock(&self, _ahead_ms: i64) {}
}

#[derive(Clone, Debug)]
struct Receiver {
    world: Shared_,
    clock: Clock,
}

impl Output for Receiver {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        self.clock
            .sleep_until(self.clock.now() + Duration::from_millis(50))
            .await;
        let mut world = self.world.lock().unwrap();
        let failing = world.failing;
        let failure = |code: &str| Failure::new(Origin::Hec, 503, code, "POST /hec");
        let take = |world: &mut World, events: usize| {
            for record in &batch.records()[..events] {
                *world.delivered.entry(record.id).or_default() += 1;
            }
        };
        if world.dice.roll(100) >= failing {
            take(&mut world, batch.len());
            return Delivery::accepted(batch.len());
        }
        match world.dice.roll(3) {
            0 => Delivery::failed(failure("9")),
            1 => {
                let half = batch.len() / 2;
                take(&mut world, half);
                Delivery::cut_short(half, failure("9"))
            }
            // Taken, and the answer is lost.
            _ => {
                take(&mut world, batch.len());
                world.uncertain += u32::try_from(batch.len()).unwrap();
                Delivery::failed(Failure::new(Origin::Transport, 0, "reset", "POST /hec"))
            }
        }
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1 << 20,
            events: 5,
        }
    }
}

fn integration(logs: &[&str], interval: Duration) -> IntegrationConfig {
    let log = |name: &&str| LogConfig {
        interval,
        start: Duration::from_secs(86_400),
        ..LogConfig::from(log_types::find(name).unwrap())
    };
    IntegrationConfig {
        id: IntegrationId::new("acme").unwrap(),
        credential: CredentialSource::V2 {
            client_id: "id".to_owned(),
            client_secret: SecretSource::Literal(Secret::new("secret".to_owned())),
        },
        base_url: "https://api.example.com".to_owned(),
        logs: logs.iter().map(log).collect(),
        tags: BTreeMap::new(),
        connection: Connection::default(),
    }
}

/// One life of the collector: from an open store to a kill after `life`, or to a calm end; with this clock and key.
async fn live(
    root: &Path,
    config: &IntegrationConfig,
    (clock, key): (&Clock, u32),
    world: &Shared_,
    life: Duration,
) {
    let (store, task) = Store::open(root, clock.clone()).unwrap();
    let stop = CancellationToken::new();
    let mut store_task = JoinSet::new();
    store_task.spawn(task.run(stop.clone()));
    let output = OutputId::new("receiver").unwrap();
    let mut route = Route::all(output.clone());
    route.carry.heartbeats = world.lock().unwrap().heartbeats;
    store.route(vec![route]).await.unwrap();
    let ledger = ledger::draw_up(&store, clock.now()).await.unwrap();
    assert!(ledger.balances, "after a kill: {:?}", ledger.differences);
    let context = Context {
        tenure: mimecast_collector::tenure::Tenure::unlimited(),
        status: Status::new(root, clock.now()),
        store: store.clone(),
        clock: clock.clone(),
        watchdog: mimecast_collector::watchdog::Watchdog::new(clock.clone()),
    };
    let stored = store.snapshot().await.unwrap();
    let (_commands, inbox) = mpsc::channel(1);
    let (world_, clock_) = (Arc::clone(world), clock.clone());
    let receiver = Receiver {
        world: world_,
        clock: clock_,
    };
    let worker = Worker::new(output, receiver, None, context.clone(), &stored, inbox);
    let (_commands, inbox) = mpsc::channel(1);
    let shared = Shared {
        context,
        requests: Arc::new(Semaphore::new(64)),
        budgets: Budgets::default(),
    };
    let vendor = Vendor {
        world: Arc::clone(world),
        clock: clock.clone(),
        key,
    };
    let fingerprint = Fingerprint::of(b"key", &[&key.to_string()]);
    let room = Room::new(1 << 30, 1 << 30);
    let poller = Poller::new(config, vendor, fingerprint, shared, room, &stored, inbox);
    let mut tasks = JoinSet::new();
    tasks.spawn(worker.run(stop.clone()));
    tasks.spawn(poller.run(stop.clone()));
    clock.sleep_until(clock.now() + life).await;
    assert!(tasks.try_join_next().is_none(), "a task ended by itself");
    // The kill: whatever was between two steps is dropped there. What the store had taken, it finishes.
    tasks.shutdown().await;
    drop(store);
    stop.cancel();
    while let Some(ended) = store_task.join_next().await {
        ended.unwrap().unwrap();
    }
}

/// A folder in memory where there is one: what is tried here are kills, not power cuts, and syncs are most of the time.
fn tempdir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Runs in virtual time, from the same moment on.
fn in_virtual_time(seed: u64, story: impl AsyncFnOnce(&Path, Clock, Shared_)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempdir();
        let clock = Clock::starting_at(Timestamp::from_millis(1_767_225_600_000));
        let world = Arc::new(Mutex::new(World::new(seed, &clock)));
        story(dir.path(), clock, world).await;
    });
}

fn two_days(seed: u64) {
    let config = integration(&["siem-cg", "audit"], Duration::from_mins(5));
    in_virtual_time(seed, async |root, clock, world| {
        let over = clock.now() + Duration::from_hours(48);
        let mut kills = 0;
        while clock.now() < over {
            let life = world.lock().unwrap().dice.roll(4 * 3_600) + 1;
            let life = Duration::from_secs(life);
            live(root, &config, (&clock, 0), &world, life).await;
            kills += 1;
        }
        // A calm day: what was blocked is looked at again, what waits goes out.
        world.lock().unwrap().failing = 0;
        let published = world.lock().unwrap().published();
        let calm = Duration::from_hours(24);
        live(root, &config, (&clock, 0), &world, calm).await;
        check(seed, &config, &world.lock().unwrap(), published, kills);
    });
}

/// A year of hourly polls: keys that expire are replaced with the next restart, and each restart may find the clock stepped by
/// up to an hour in either direction.
fn hourly(seed: u64) {
    let config = integration(&["audit", "ttp-url"], Duration::from_hours(1));
    in_virtual_time(seed, async |root, clock, world| {
        {
            let mut world = world.lock().unwrap();
            world.every = Duration::from_hours(1);
            world.keys_expire = true;
            // They are twelve times as many as the polls, and nothing that is told here depends on them.
            world.heartbeats = false;
        }
        let over = clock.now() + Duration::from_hours(24 * asked_for("SIMULATION_DAYS", 365));
        let (mut kills, mut key) = (0, 0);
        let mut steps = Duration::from_hours(1);
        while clock.now() < over {
            let life = {
                let mut world = world.lock().unwrap();
                if world.refused.contains(&key) {
                    key += 1;
                }
                steps = Duration::from_secs(world.dice.roll(7_200));
                Duration::from_secs(world.dice.roll(6 * 86_400) + 1)
            };
            let wrong = Clock::starting_at(clock.now() + steps - Duration::from_hours(1));
            live(root, &config, (&wrong, key), &world, life).await;
            kills += 1;
        }
        world.lock().unwrap().failing = 0;
        let published = world.lock().unwrap().published();
        let last = Clock::starting_at(clock.now() + steps);
        let calm = Duration::from_hours(24);
        live(root, &config, (&last, key + 1), &world, calm).await;
        let world = world.lock().unwrap();
        check(seed, &config, &world, published, kills);
        check_manners(seed, &config, &world);
        assert!(world.lockouts > 2, "seed {seed}: no lock-outs");
        assert!(!world.expiries.is_empty(), "seed {seed}: no expired key");
    });
}

/// Neither silent for longer than the longest block, save with a dead key, nor many requests in a row.
fn check_manners(seed: u64, config: &IntegrationConfig, world: &World) {
    for log in &config.logs {
        for stream in log.streams(&config.id) {
            let stream = stream.to_string();
            let of_it = world.asked.iter().filter(|(_, s)| *s == stream);
            let times: Vec<Timestamp> = of_it.map(|(at, _)| *at).collect();
            for pair in times.windows(2) {
                let dead = world
                    .expiries
                    .iter()
                    .any(|at| (pair[0]..=pair[1]).contains(at));
                let gap = pair[1].since(pair[0]);
                assert!(
                    dead || gap <= Duration::from_hours(10),
                    "seed {seed}: {stream} was silent for {gap:?} from {}",
                    pair[0]
                );
            }
            for many in times.windows(60) {
                assert!(
                    many[59].since(many[0]) > Duration::from_hours(1),
                    "seed {seed}: {stream} was asked 60 times in an hour from {}",
                    many[0]
                );
            }
        }
    }
}

fn check(seed: u64, config: &IntegrationConfig, world: &World, published: u64, kills: u32) {
    let mut streams = Vec::new();
    for log in &config.logs {
        let ids = log.streams(&config.id);
        streams.extend(ids.map(|id| (id.to_string(), log.log.row.name)));
    }
    for (stream, log) in &streams {
        for n in 0..published {
            let id = EventId::of(&config.id, log, body(stream, n).as_bytes());
            assert!(
                world.delivered.contains_key(&id),
                "seed {seed}: event {n} of {stream} is lost"
            );
        }
    }
    let extra: u32 = world.delivered.values().map(|times| times - 1).sum();
    let bound = world.uncertain + kills * 5;
    assert!(
        extra <= bound,
        "seed {seed}: {extra} duplicates, at most {bound} can be explained"
    );
    for (stream, _) in &streams {
        let times: Vec<_> = world
            .asked
            .iter()
            .filter(|(_, s)| s == stream)
            .map(|(t, _)| *t)
            .collect();
        assert!(times.len() > 100, "seed {seed}: {stream} was hardly asked");
    }
}

/// How much is told of a story: more takes longer than a run of all tests should, so it is for `.ci/full`.
fn asked_for(name: &str, few: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var(name);
    wanted.map_or(few, |wanted| wanted.parse().unwrap())
}

/// Two at a time; each has a runtime and a clock of its own.
fn tell(story: fn(u64), few: u64) {
    let seeds = asked_for("SIMULATION_SEEDS", few);
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for seed in (half..seeds).step_by(2) {
                    let told = std::panic::catch_unwind(|| story(seed));
                    assert!(told.is_ok(), "it was seed {seed}");
                }
            });
        }
    });
}

/// Eight seeds of two days with three failures in a hundred requests and a kill each few hours.
#[test]
fn nothing_is_lost_and_no_lockout_is_disturbed_whatever_fails_and_dies_between_two_steps() {
    tell(two_days, 8);
}

/// With lock-outs, keys that expire, rate limits, restarts and clocks that were stepped meanwhile.
#[test]
fn a_year_of_hourly_polls_loses_nothing_and_asks_nothing_that_is_forbidden() {
    tell(hourly, 2);
}
