//! Days, weeks and years of polling in seconds: pollers, the real store and output workers, with a scripted Mimecast and a scripted receiver, on tokio's
//! paused clock. Everything that is drawn comes from a seed, which a failure prints.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Origin, Policy, Seed, lookup};
use mimecast_collector::http::Connection;
use mimecast_collector::ledger;
use mimecast_collector::mimecast::{FetchError, Gate, Job, Progress, Source, log_types};
use mimecast_collector::model::{
    Counted, Cursor, Event, EventId, Form, IntegrationId, OutputId, Route, Sink, Timestamp,
};
use mimecast_collector::output::{Batch, BatchLimits, Delivery, Output, Worker};
use mimecast_collector::poll::config::{CredentialSource, IntegrationConfig, LogConfig};
use mimecast_collector::poll::{BEAT, Budgets, Poller, Room, Shared, Turns};
use mimecast_collector::secret::{Fingerprint, Secret, SecretSource};
use mimecast_collector::status::Status;
use mimecast_collector::store::{self, Store};
use mimecast_collector::subject::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore, mpsc};
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
    seed: u64,
    /// For lives and clocks.
    dice: Dice,
    /// For each stream and the receiver, so that it does not matter whose turn it was first.
    others: BTreeMap<String, Dice>,
    /// How far the collector's clock is from the right time, in seconds.
    wrong_by: i64,
    /// When the collector began to live, by the right time.
    births: Vec<Timestamp>,
    /// Failures by their class.
    failures: BTreeMap<String, u32>,
    /// What has happened so far, and at which of these the collector dies.
    steps: u64,
    dies_at: Option<u64>,
    dies: Arc<Notify>,
    /// How far each stream was read.
    reached: BTreeMap<String, u64>,
    /// Failures in a hundred requests.
    failing: u64,
    /// The right time, whatever the collector's clock says.
    clock: Clock,
    began: Timestamp,
    /// From one event of a stream to the next.
    every: Duration,
    /// When each request went out, by the right time and by stream.
    asked: Vec<(Timestamp, String)>,
    /// From one heartbeat to the next.
    beat: Duration,
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
            seed,
            dice: Dice(seed),
            others: BTreeMap::new(),
            wrong_by: 0,
            births: Vec::new(),
            failures: BTreeMap::new(),
            steps: 0,
            dies_at: None,
            dies: Arc::default(),
            reached: BTreeMap::new(),
            failing: 3,
            clock: clock.clone(),
            began: clock.now(),
            every: Duration::from_mins(10),
            asked: Vec::new(),
            beat: BEAT,
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

    /// When event `n` of each stream was.
    fn at(&self, n: u64) -> Timestamp {
        self.began + self.every * u32::try_from(n).unwrap()
    }

    fn roll(&mut self, whose: &str, sides: u64) -> u64 {
        let seed = self.seed;
        let dice = self.others.entry(whose.to_owned()).or_insert_with(|| {
            let id = EventId::of(
                &IntegrationId::new("dice").unwrap(),
                whose,
                &seed.to_be_bytes(),
            );
            Dice(u64::from_be_bytes(*id.0.first_chunk().unwrap()))
        });
        dice.roll(sides)
    }

    /// Something has happened; says whether the collector dies of it.
    fn step(&mut self) -> bool {
        self.steps += 1;
        let dies = self.dies_at == Some(self.steps);
        if dies {
            self.dies.notify_one();
        }
        dies
    }

    /// The collector lives again, with a clock that is `wrong_by` seconds ahead: no time that it has noted keeps it longer than the
    /// longest wait that there is.
    fn born(&mut self, wrong_by: i64) -> Clock {
        self.wrong_by = wrong_by;
        let now = self.clock.now();
        self.births.push(now);
        self.dies = Arc::default();
        // Half of the lives end with one of the next things that happen, whichever that is.
        let things = self.dice.roll(80) + 1;
        self.dies_at = (things <= 40).then_some(self.steps + things);
        let clock = Clock::starting_at(Timestamp::from_millis(now.as_millis() + wrong_by * 1000));
        let latest = clock.now() + Policy::source(Seed::of(&[], "")).longest();
        let until = self
            .silent_until
            .iter_mut()
            .chain(self.limited.values_mut());
        until.for_each(|until| *until = latest.min(*until));
        clock
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
    /// Something has happened; if the collector dies of it, nothing comes after it.
    async fn step(&self) {
        if self.world.lock().unwrap().step() {
            std::future::pending::<()>().await;
        }
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
        // Whoever asks now asks with all that it knew; what it is answered counts from here.
        world.silent_until = None;
        world.limited.remove(stream);
        let failing = world.failing;
        if world.roll(stream, 100) >= failing {
            return Ok(());
        }
        let failures = [
            (Origin::Mimecast, 401, "0010"),
            (Origin::Mimecast, 429, ""),
            (Origin::Mimecast, 500, ""),
            (Origin::Mimecast, 403, "0002"),
            (Origin::Transport, 0, "timeout"),
            (Origin::Transport, 0, "dns"),
            (Origin::Mimecast, 401, "token_expired"),
            (Origin::Mimecast, 503, ""),
            (Origin::Mimecast, 400, "validation_error"),
            (Origin::Mimecast, 401, "0004"),
            (Origin::Mimecast, 400, "invalid_cursor"),
        ];
        // With a clock that is days ahead, the time from which a lost cursor is made good lies ahead too.
        let has_time = world.wrong_by.abs() < 86_400;
        let kinds = failures.len() - usize::from(!has_time);
        let kind = world.roll(stream, kinds as u64);
        let (origin, status, code) = failures[usize::try_from(kind).unwrap()];
        let mut failure = Failure::new(origin, status, code, "POST /scripted");
        failure.server_time = Some(at);
        if world.keys_expire && status == 403 && world.roll(stream, 3) == 0 {
            failure = Failure::new(Origin::Mimecast, 418, "0001", "POST /scripted");
            world.refused.insert(self.key);
            world.expiries.push(at);
        }
        if status == 429 && world.roll(stream, 2) == 0 {
            let wish = Duration::from_mins(10);
            failure.retry_after = Some(wish);
            world.limited.insert(stream.to_owned(), now + wish);
        }
        if lookup(&failure).class == Class::LockedOut {
            world.silent_until = Some(now + Duration::from_secs(30 * 60));
            world.lockouts += 1;
        }
        let class = format!("{:?}", lookup(&failure).class);
        *world.failures.entry(class).or_default() += 1;
        Err(Box::new(failure))
    }

    /// From which event on a stream is read, and how many there are.
    fn place(&self, job: &Job) -> (u64, u64) {
        let stream = job.stream.to_string();
        let mut world = self.world.lock().unwrap();
        let all = world.published();
        if let Some(cursor) = &job.cursor {
            return (cursor.as_str().parse().unwrap(), all);
        }
        // Before anything is read, by the beginning; later a cursor was lost, and it is read by time again.
        let reached = world.reached.get(&stream).copied().unwrap_or(0);
        let by_time = (0..reached).find(|n| world.at(*n) >= job.start);
        let from = by_time.unwrap_or(reached);
        world.uncertain += u32::try_from(reached - from).unwrap();
        (from, all)
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
        self.step().await;
        if let Err(failure) = self.ask(&stream) {
            gate.failed(&failure);
            return Err(FetchError::Failed(failure));
        }
        drop(permit);
        self.step().await;
        let (from, all) = self.place(&job);
        let page = (from + 7).min(all);
        let integration = job.stream.integration.clone();
        let log = job.log.row.name;
        // A page comes in two parts, and the connection may break between them.
        let breaks = self.world.lock().unwrap().roll(&stream, 20) == 0;
        let world = Arc::clone(&self.world);
        let work = move || {
            let middle = from + (page - from) / 2;
            let parts = [(middle, from..middle), (page, middle..page)];
            for (part, range) in parts.into_iter().filter(|(_, range)| !range.is_empty()) {
                for n in range {
                    let body = body(&stream, n);
                    let event = Event {
                        body: &body,
                        time: world.lock().unwrap().at(n),
                        id: EventId::of(&integration, log, body.as_bytes()),
                    };
                    sink.count(Counted::Read);
                    sink.push("audit", Form::Json, event)?;
                }
                if world.lock().unwrap().step() {
                    // Nothing comes after it.
                    let failure = Failure::new(Origin::Transport, 0, "reset", "GET /scripted");
                    return Err(FetchError::from(failure));
                }
                if breaks && part == page {
                    let failure = Failure::new(Origin::Transport, 0, "reset", "GET /scripted");
                    return Err(FetchError::from(failure));
                }
                sink.commit(&Cursor::new(part.to_string()).unwrap())?;
                let mut world = world.lock().unwrap();
                let reached = world.reached.entry(stream.clone()).or_default();
                *reached = part.max(*reached);
            }
            Ok(if page < all {
                Progress::More
            } else {
                Progress::CaughtUp
            })
        };
        let done = tokio::task::spawn_blocking(work).await.unwrap();
        self.step().await;
        done
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
        if self.world.lock().unwrap().step() {
            std::future::pending::<()>().await;
        }
        let delivery = self.answer(batch);
        // Taken or not, the answer is lost.
        if self.world.lock().unwrap().step() {
            std::future::pending::<()>().await;
        }
        delivery
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1 << 20,
            events: 5,
        }
    }
}

impl Receiver {
    fn answer(&self, batch: &Batch) -> Delivery {
        let mut world = self.world.lock().unwrap();
        let failing = world.failing;
        let failure = |code: &str| Failure::new(Origin::Hec, 503, code, "POST /hec");
        let take = |world: &mut World, events: usize| {
            for record in &batch.records()[..events] {
                *world.delivered.entry(record.id).or_default() += 1;
            }
        };
        let lane = format!("receiver {}", batch.lane());
        if world.roll(&lane, 100) >= failing {
            take(&mut world, batch.len());
            return Delivery::accepted(batch.len());
        }
        match world.roll(&lane, 3) {
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

/// One life of the collector: from an open store to a kill after `life`, or when it dies of something; with this clock and key.
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
    store.route(vec![Route::all(output.clone())]).await.unwrap();
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
        turns: Turns::default(),
        beat: world.lock().unwrap().beat,
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
    let dies = Arc::clone(&world.lock().unwrap().dies);
    tokio::select! {
        () = clock.sleep_until(clock.now() + life) => {}
        () = dies.notified() => {}
    }
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
        // The jitter is the installation's.
        let install = uuid::Uuid::from_u64_pair(seed, seed);
        store::adopt(dir.path(), &install.to_string()).unwrap();
        let clock = Clock::starting_at(Timestamp::from_millis(1_767_225_600_000));
        let world = Arc::new(Mutex::new(World::new(seed, &clock)));
        story(dir.path(), clock, world).await;
    });
}

/// What is told of a seed: how often is polled, for how long, and how wrong clocks are.
struct Story {
    logs: &'static [&'static str],
    interval: Duration,
    /// From one heartbeat to the next: each five minutes, they would be most of what happens in years.
    beat: Duration,
    /// From one event of a stream to the next.
    every: Duration,
    length: Duration,
    /// The longest that the collector lives.
    life: Duration,
    /// Seconds by which a clock may be wrong after a start, in either direction.
    wrong_by: &'static [i64],
}

const DAY: u64 = 86_400;

/// Polled as often as may be, with all types of an account.
const TWO_DAYS: Story = Story {
    logs: &["siem-cg", "audit"],
    interval: Duration::from_mins(5),
    beat: BEAT,
    every: Duration::from_mins(10),
    length: Duration::from_secs(2 * DAY),
    life: Duration::from_hours(4),
    wrong_by: &[0],
};

const WEEK: Story = Story {
    logs: &["audit"],
    interval: Duration::from_secs(300),
    beat: BEAT,
    every: Duration::from_mins(10),
    length: Duration::from_secs(7 * DAY),
    life: Duration::from_hours(8),
    wrong_by: &[0, 1, 60, 3_600],
};

const YEAR: Story = Story {
    logs: &["audit", "ttp-url"],
    interval: Duration::from_hours(1),
    beat: Duration::from_secs(DAY),
    every: Duration::from_hours(1),
    length: Duration::from_secs(365 * DAY),
    life: Duration::from_secs(6 * DAY),
    wrong_by: &[0, 1, 3_600],
};

/// Ten years, leap days among them, with clocks that are wrong by up to ten years.
const TEN_YEARS: Story = Story {
    logs: &["audit"],
    interval: Duration::from_secs(DAY),
    beat: Duration::from_secs(30 * DAY),
    every: Duration::from_hours(8),
    length: Duration::from_secs(3_653 * DAY),
    life: Duration::from_secs(40 * DAY),
    wrong_by: &[0, 1, 60, 3_600, 86_400, 31_536_000, 315_360_000],
};

/// What came of a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    asked: usize,
    events: u64,
    repeated: u32,
    explained: u32,
    lives: u32,
    failures: BTreeMap<String, u32>,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.events += other.events;
        self.repeated += other.repeated;
        self.explained += other.explained;
        self.lives += other.lives;
        for (class, times) in other.failures {
            *self.failures.entry(class).or_default() += times;
        }
    }
}

impl Story {
    /// Keys that expire are replaced with the next start, and each start may find another clock. Then come calm days, on which what was
    /// blocked is looked at again and what waits goes out.
    fn tell(&self, seed: u64) -> Told {
        let config = integration(self.logs, self.interval);
        let mut told = Told::default();
        in_virtual_time(seed, async |root, clock, world| {
            {
                let mut world = world.lock().unwrap();
                world.every = self.every;
                world.keys_expire = true;
                world.beat = self.beat;
            }
            let over = clock.now() + self.length;
            let (mut kills, mut key) = (0, 0);
            while clock.now() < over {
                let (wrong, life) = {
                    let mut world = world.lock().unwrap();
                    if world.refused.contains(&key) {
                        key += 1;
                    }
                    let wrong = world.dice.roll(self.wrong_by.len() as u64 * 2);
                    let by = self.wrong_by[usize::try_from(wrong / 2).unwrap()];
                    let by = if wrong % 2 == 0 { by } else { -by };
                    let life = world.dice.roll(self.life.as_secs()) + 1;
                    // The first poll begins by the right time.
                    (
                        world.born(if kills == 0 { 0 } else { by }),
                        Duration::from_secs(life),
                    )
                };
                live(root, &config, (&wrong, key), &world, life).await;
                kills += 1;
            }
            let (last, published) = {
                let mut world = world.lock().unwrap();
                world.failing = 0;
                let last = world.born(0);
                world.dies_at = None;
                (last, world.published())
            };
            let calm = Duration::from_hours(24) + self.interval * 3;
            live(root, &config, (&last, key + 1), &world, calm).await;
            let world = world.lock().unwrap();
            told = check(seed, &config, &world, published, kills);
            check_manners(seed, &config, &world, self.interval);
        });
        told
    }
}

/// Neither silent for longer than three of the longest blocks, save with a dead key, nor many requests in a row. A block of the credential
/// ends with the request of one stream, and may begin anew with its answer before another has asked.
fn check_manners(seed: u64, config: &IntegrationConfig, world: &World, interval: Duration) {
    for log in &config.logs {
        for stream in log.streams(&config.id) {
            let stream = stream.to_string();
            let of_it = world.asked.iter().filter(|(_, s)| *s == stream);
            let times: Vec<Timestamp> = of_it.map(|(at, _)| *at).collect();
            for pair in times.windows(2) {
                let between = pair[0]..=pair[1];
                let dead = world.expiries.iter().any(|at| between.contains(at));
                let births = world.births.iter().filter(|at| between.contains(at));
                // After a clock went back, nobody knows when it was asked last.
                let births = u32::try_from(births.count()).unwrap();
                let longest = interval * (1 + births) + Duration::from_hours(3 * 6);
                let gap = pair[1].since(pair[0]);
                assert!(
                    dead || gap <= longest,
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

fn check(seed: u64, config: &IntegrationConfig, world: &World, published: u64, kills: u32) -> Told {
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
        let asked = world.asked.iter().filter(|(_, s)| s == stream);
        assert!(
            asked.count() > 100,
            "seed {seed}: {stream} was hardly asked"
        );
    }
    Told {
        asked: world.asked.len(),
        events: published * streams.len() as u64,
        repeated: extra,
        explained: bound,
        lives: kills,
        failures: world.failures.clone(),
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

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap();
    let all = 0..CpuSet::MAX_CPU;
    all.filter(|cpu| allowed.is_set(*cpu)).collect()
}

/// Tells a story from each of the seeds, one at a time on each processor; each has a runtime and a clock of its own. The threads of a story
/// wait for each other at every step, so on one processor it takes half the time that it takes on two. One that fails is told again by
/// `SIMULATION_FIRST=<seed> SIMULATION_SEEDS=1`: all that is drawn is the same, and only which of two tasks that are ready at one moment
/// goes first is not.
#[expect(clippy::print_stdout, reason = "the figures")]
fn tell(name: &str, story: &Story, few: u64) -> Told {
    let first = asked_for("SIMULATION_FIRST", 0);
    let seeds = first..first + asked_for("SIMULATION_SEEDS", few);
    let sum = Mutex::new(Told::default());
    let processors = processors();
    std::thread::scope(|scope| {
        for (part, processor) in processors.iter().enumerate() {
            let (seeds, sum, parts) = (seeds.clone(), &sum, processors.len());
            scope.spawn(move || {
                let mut here = CpuSet::new();
                here.set(*processor);
                sched_setaffinity(None, &here).unwrap();
                for seed in seeds.skip(part).step_by(parts) {
                    let told = std::panic::catch_unwind(|| story.tell(seed));
                    let told = told.unwrap_or_else(|cause| {
                        println!("it was seed {seed}: SIMULATION_FIRST={seed} SIMULATION_SEEDS=1");
                        std::panic::resume_unwind(cause)
                    });
                    sum.lock().unwrap().add(told);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!(
        "{name}: seeds {seeds:?}, {} polls and steps, {} events, {} lives, failures {:?}; 0 lost, {} repeated of {} that can be explained",
        sum.asked, sum.events, sum.lives, sum.failures, sum.repeated, sum.explained
    );
    sum
}

/// Every class of failure that a stream can meet has been met.
fn assert_all_classes(told: &Told) {
    let met: Vec<_> = told.failures.keys().map(String::as_str).collect();
    let all = [
        "ClockSkewed",
        "CredentialRejected",
        "CredentialStale",
        "CursorInvalid",
        "Forbidden",
        "LockedOut",
        "RequestInvalid",
        "Throttled",
        "Transient",
    ];
    assert_eq!(met, all);
}

/// Eight seeds of two days with three failures in a hundred requests and a kill each few hours.
#[test]
fn nothing_is_lost_and_no_lockout_is_disturbed_whatever_fails_and_dies_between_two_steps() {
    tell("two days", &TWO_DAYS, 8);
}

/// With lock-outs, keys that expire, rate limits, restarts and clocks that were stepped meanwhile.
#[test]
fn a_year_of_hourly_polls_loses_nothing_and_asks_nothing_that_is_forbidden() {
    tell("a year, hourly", &YEAR, 2);
}

#[test]
fn a_week_at_300_s_loses_nothing_with_failures_of_every_class_and_crashes_between_any_two_steps() {
    assert_all_classes(&tell("a week at 300 s", &WEEK, 20));
}

#[test]
fn ten_years_of_daily_polls_lose_nothing_over_leap_days_and_clocks_that_are_wrong_by_up_to_ten_years()
 {
    assert_all_classes(&tell("ten years, daily", &TEN_YEARS, 20));
}
