//! Days of polling in seconds: pollers, the real store and output workers, with a scripted Mimecast and a scripted receiver, on tokio's
//! paused clock. Everything that is drawn comes from a seed, which a failure prints.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Origin, lookup};
use mimecast_collector::http::Connection;
use mimecast_collector::ledger;
use mimecast_collector::mimecast::{FetchError, Gate, Job, Progress, Source, log_types};
use mimecast_collector::model::{
    Counted, Cursor, Event, EventId, Form, IntegrationId, OutputId, Sink, Timestamp,
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
    /// Events that each stream has had so far; one more each ten minutes.
    began: Timestamp,
    /// When each request went out, by stream.
    asked: Vec<(Timestamp, String)>,
    /// Until when no request may go out at all, and why.
    silent_until: Option<Timestamp>,
    delivered: BTreeMap<EventId, u32>,
    /// Deliveries in flight when the worker was killed, or whose answer was lost.
    uncertain: u32,
    lockouts: u32,
}

type Shared_ = Arc<Mutex<World>>;

#[derive(Clone, Debug)]
struct Vendor {
    world: Shared_,
    clock: Clock,
}

const EVENT_EVERY: Duration = Duration::from_secs(600);

fn body(stream: &str, n: u64) -> String {
    format!(r#"{{"stream":"{stream}","n":{n}}}"#)
}

impl Vendor {
    fn events_until(&self, now: Timestamp) -> u64 {
        let began = self.world.lock().unwrap().began;
        now.since(began).as_secs() / EVENT_EVERY.as_secs()
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
        world.asked.push((now, stream.to_owned()));
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
        let failure = Failure::new(origin, status, code, "POST /scripted");
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
        let all = self.events_until(self.clock.now());
        let page = (from + 7).min(all);
        let integration = job.stream.integration.clone();
        let log = job.log.row.name;
        // A page comes in two parts, and the connection may break between them.
        let breaks = self.world.lock().unwrap().dice.roll(20) == 0;
        let work = move || {
            let middle = from + (page - from) / 2;
            for (part, range) in [(middle, from..middle), (page, middle..page)] {
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

fn integration() -> IntegrationConfig {
    let log = |name| LogConfig {
        interval: Duration::from_secs(300),
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
        logs: vec![log("siem-cg"), log("audit")],
        tags: BTreeMap::new(),
        connection: Connection::default(),
    }
}

/// One life of the collector: from an open store to a kill after `life`, or to a calm end.
async fn live(root: &Path, clock: &Clock, world: &Shared_, life: Duration) {
    let (store, task) = Store::open(root, clock.clone()).unwrap();
    let stop = CancellationToken::new();
    let mut store_task = JoinSet::new();
    store_task.spawn(task.run(stop.clone()));
    let output = OutputId::new("receiver").unwrap();
    store.route(vec![output.clone()]).await.unwrap();
    let ledger = ledger::draw_up(&store, clock.now()).await.unwrap();
    assert!(ledger.balances, "after a kill: {:?}", ledger.differences);
    let context = Context {
        status: Status::new(root, clock.now()),
        store: store.clone(),
        clock: clock.clone(),
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
    };
    let fingerprint = Fingerprint::of(b"key", &["secret"]);
    let room = Room::new(1 << 30, 1 << 30);
    let poller = Poller::new(
        &integration(),
        vendor,
        fingerprint,
        shared,
        room,
        &stored,
        inbox,
    );
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

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempdir();
        let began = Timestamp::from_millis(1_767_225_600_000);
        let clock = Clock::starting_at(began);
        let world = Arc::new(Mutex::new(World {
            dice: Dice(seed),
            failing: 3,
            began,
            asked: Vec::new(),
            silent_until: None,
            delivered: BTreeMap::new(),
            uncertain: 0,
            lockouts: 0,
        }));
        let mut kills = 0;
        while clock.now() < began + Duration::from_secs(2 * 86_400) {
            let life = world.lock().unwrap().dice.roll(4 * 3_600) + 1;
            live(dir.path(), &clock, &world, Duration::from_secs(life)).await;
            kills += 1;
        }
        // A calm day: what was blocked is looked at again, what waits goes out.
        world.lock().unwrap().failing = 0;
        let published = clock.now().since(began).as_secs() / EVENT_EVERY.as_secs();
        live(dir.path(), &clock, &world, Duration::from_secs(86_400)).await;
        check(seed, &world.lock().unwrap(), published, kills);
    });
}

fn check(seed: u64, world: &World, published: u64, kills: u32) {
    let config = integration();
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

/// More take longer than a run of all tests should.
const SEEDS: u64 = 8;

/// Eight seeds of two days with three failures in a hundred requests and a kill each few hours.
#[test]
fn nothing_is_lost_and_no_lockout_is_disturbed_whatever_fails_and_dies_between_two_steps() {
    // Two at a time; each has a runtime and a clock of its own.
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (half..SEEDS).step_by(2).for_each(run));
        }
    });
}
