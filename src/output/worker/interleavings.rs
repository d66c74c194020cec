//! Any interleaving of answers, refusals, events that are not offered, halves, lost answers, late and negative confirmations, stops and kills,
//! drawn from a seed: each event arrives, once where no answer was lost, and in its lane's order where one batch is out at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::model::{Cursor, Event, EventId, Form, IntegrationId, Sink, StreamId};
use crate::output::{Batch, BatchLimits, Delivery, Judge, Rejection, Window};
use crate::status::Status;
use crate::store::Store;

const BEGIN: Timestamp = Timestamp::from_millis(1_767_690_487_000);
const LOGS: [&str; 3] = ["audit", "siem", "ttp-url"];

/// What the receiver has and will do, over all restarts of the worker.
struct World {
    dice: u64,
    /// How often each event arrived, by lane and number.
    seen: BTreeMap<(String, usize), usize>,
    /// How often an event that had arrived may arrive again.
    uncertain: BTreeMap<(String, usize), usize>,
    /// Whether each first arrival was the next in its lane.
    in_order: bool,
    receipts: u64,
    /// Sent and not decided about.
    pending: Vec<(Receipt, Vec<(String, usize)>)>,
}

impl World {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn take(&mut self, events: &[(String, usize)]) {
        for event in events {
            let later = (event.0.clone(), event.1 + 1)..(event.0.clone(), usize::MAX);
            if !self.seen.contains_key(event) && self.seen.range(later).next().is_some() {
                self.in_order = false;
            }
            *self.seen.entry(event.clone()).or_default() += 1;
        }
    }

    fn doubt(&mut self, events: &[(String, usize)]) {
        for event in events {
            *self.uncertain.entry(event.clone()).or_default() += 1;
        }
    }
}

struct Receiver {
    world: Arc<Mutex<World>>,
    clock: Clock,
    window: Window,
    confirms: bool,
    sent: Notify,
}

/// Every seventh event is none that the receiver takes.
fn is_bad(event: &(String, usize)) -> bool {
    event.1 % 7 == 3 && !is_long(event)
}

/// Every eleventh is too long to be offered.
fn is_long(event: &(String, usize)) -> bool {
    event.1 % 11 == 5
}

fn failure(code: &str) -> Failure {
    Failure::new(Origin::Hec, 503, code, "POST /hec")
}

impl Output for Receiver {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if batch.log() == "collector" {
            // The alerts about all this.
            return Delivery::accepted(batch.len());
        }
        let delay = self.world.lock().unwrap().roll(400);
        let until = self.clock.now() + Duration::from_millis(delay);
        self.clock.sleep_until(until).await;
        let events: Vec<_> = batch
            .records()
            .iter()
            .map(|record| (batch.log().to_owned(), record.body_str().parse().unwrap()))
            .collect();
        let withheld = events
            .iter()
            .enumerate()
            .filter(|(_, event)| is_long(event));
        let withheld = withheld.map(|(index, _)| Rejection {
            index,
            reason: "too long".to_owned(),
            judge: Judge::Collector,
        });
        let withheld: Vec<_> = withheld.collect();
        if !withheld.is_empty() {
            return Delivery::withheld(withheld);
        }
        let mut world = self.world.lock().unwrap();
        let prefix = usize::try_from(world.roll(events.len() as u64 + 1)).unwrap();
        let delivery = match world.roll(12) {
            0 => Delivery::failed(failure("8")),
            1 => {
                let good: Vec<_> = events.iter().filter(|e| !is_bad(e)).cloned().collect();
                world.take(&good);
                world.doubt(&good);
                return Delivery::failed(Failure::new(Origin::Transport, 0, "reset", "POST /hec"));
            }
            2 if events.len() > 1 => Delivery::split(failure("413")),
            _ if events.iter().any(is_bad) => {
                let rejected = events.iter().enumerate().filter(|(_, event)| is_bad(event));
                let rejected = rejected.map(|(index, _)| Rejection {
                    index,
                    reason: "no".to_owned(),
                    judge: Judge::Receiver,
                });
                Delivery {
                    rejected: rejected.collect(),
                    ..Delivery::default()
                }
            }
            3 => Delivery::cut_short(prefix, failure("9")),
            4 => Delivery::accepted(prefix.max(1)),
            _ => Delivery::accepted(events.len()),
        };
        let taken = events[..delivery.accepted].to_vec();
        world.take(&taken);
        if !self.confirms || taken.is_empty() {
            return delivery;
        }
        world.receipts += 1;
        let receipt = Receipt(world.receipts);
        world.pending.push((receipt, taken));
        self.sent.notify_one();
        Delivery {
            pending: Some(receipt),
            ..delivery
        }
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1 << 20,
            events: 5,
        }
    }

    fn window(&self) -> Window {
        self.window
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        loop {
            let delay = self.world.lock().unwrap().roll(900);
            if self.world.lock().unwrap().pending.is_empty() {
                self.sent.notified().await;
            }
            let until = clock.now() + Duration::from_millis(delay);
            clock.sleep_until(until).await;
            let mut world = self.world.lock().unwrap();
            let mut verdicts = Vec::new();
            for (receipt, events) in std::mem::take(&mut world.pending) {
                match world.roll(8) {
                    0..5 => verdicts.push((receipt, Verdict::Accepted)),
                    5 => {
                        world.doubt(&events);
                        verdicts.push((receipt, Verdict::Lost(failure("ack_timeout"))));
                    }
                    _ => world.pending.push((receipt, events)),
                }
            }
            if !verdicts.is_empty() {
                return verdicts;
            }
        }
    }
}

async fn store_events(store: &Store, log: &str, numbers: std::ops::Range<usize>) {
    let stream = StreamId::new(&IntegrationId::new("acme").unwrap(), log, "");
    let mut writer = store.writer(&stream).await.unwrap();
    let work = move || {
        for part in numbers.clone().collect::<Vec<_>>().chunks(9) {
            for number in part {
                let event = Event {
                    body: &number.to_string(),
                    time: BEGIN,
                    id: EventId([1; 16]),
                };
                writer.push("audit", Form::Text, event).unwrap();
            }
            let next = Cursor::new(format!("{}", part.last().unwrap())).unwrap();
            writer.commit(&next).unwrap();
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// Lets a worker deliver `events` of each lane, and kills it now and then.
async fn run(seed: u64, window: Window, confirms: bool, events: usize) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(BEGIN);
    let (store, task) = Store::open(dir.path(), clock.clone()).unwrap();
    let mut tasks = JoinSet::new();
    let store_stop = CancellationToken::new();
    tasks.spawn(task.run(store_stop.clone()));
    let output = OutputId::new("splunk").unwrap();
    store.route(vec![output.clone()]).await.unwrap();
    let world = Arc::new(Mutex::new(World {
        dice: seed,
        seen: BTreeMap::new(),
        uncertain: BTreeMap::new(),
        in_order: true,
        receipts: 0,
        pending: Vec::new(),
    }));
    for log in LOGS {
        store_events(&store, log, 0..events / 2).await;
    }
    for round in 0.. {
        assert!(round < 500, "seed {seed}: not delivered");
        let context = Context {
            tenure: crate::tenure::Tenure::unlimited(),
            watchdog: crate::watchdog::Watchdog::new(clock.clone()),
            store: store.clone(),
            clock: clock.clone(),
            status: Status::new(Path::new("/x"), BEGIN),
        };
        let receiver = Receiver {
            world: Arc::clone(&world),
            clock: clock.clone(),
            window,
            confirms,
            sent: Notify::new(),
        };
        let (_commands, inbox) = mpsc::channel(1);
        let stored = store.snapshot().await.unwrap();
        let worker = Worker::new(output.clone(), receiver, None, context, &stored, inbox);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(worker.run(stop.clone()));
        if round == 1 {
            for log in LOGS {
                store_events(&store, log, events / 2..events).await;
            }
        }
        let life = 1_000 + world.lock().unwrap().roll(60_000);
        let end = clock.now() + Duration::from_millis(life);
        clock.sleep_until(end).await;
        if round % 3 == 2 {
            stop.cancel();
            running.join_next().await.unwrap().unwrap().unwrap();
        } else {
            running.shutdown().await;
        }
        // What is not durable is offered again.
        let stored = store.snapshot().await.unwrap();
        let mut world = world.lock().unwrap();
        world.pending.clear();
        let again: Vec<_> = world
            .seen
            .keys()
            .filter(|(log, number)| {
                let position = stored.positions.iter().find(|((_, lane), _)| {
                    lane.source().is_some_and(|stream| *stream.log == **log)
                });
                position.is_none_or(|(_, at)| *number as u64 >= at.passed)
            })
            .cloned()
            .collect();
        world.doubt(&again);
        if round > 1
            && stored
                .positions
                .iter()
                .all(|((_, lane), at)| lane.source().is_none() || at.passed == events as u64)
        {
            break;
        }
    }
    let stored = store.snapshot().await.unwrap();
    let count = |is: fn(&(String, usize)) -> bool| {
        let events = (0..events).filter(|n| is(&(String::new(), *n)));
        events.count() as u64
    };
    let (bad, long) = (count(is_bad), count(is_long));
    for ((_, lane), at) in &stored.positions {
        if lane.source().is_some() {
            let found = (at.accepted, at.rejected, at.withheld);
            let expected = (events as u64 - bad - long, bad, long);
            assert_eq!(found, expected, "seed {seed}: {lane}");
        }
    }
    {
        let world = world.lock().unwrap();
        for log in LOGS {
            for number in 0..events {
                let event = (log.to_owned(), number);
                let seen = world.seen.get(&event).copied().unwrap_or(0);
                let uncertain = world.uncertain.get(&event).copied().unwrap_or(0);
                let at_least = usize::from(!is_bad(&event) && !is_long(&event));
                assert!(
                    (at_least..=at_least + uncertain).contains(&seen),
                    "seed {seed}: {event:?} arrived {seen} times, {uncertain} in doubt"
                );
            }
        }
        assert!(
            world.in_order || window.lane > 1 || confirms,
            "seed {seed}: out of order"
        );
    }
    store_stop.cancel();
    drop(store);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn each_event_arrives_once_unless_an_answer_is_lost_and_in_order_where_one_batch_is_out(
        seed: u64,
        lane in 1_usize..5,
        confirms: bool,
        wait in 0_u64..300,
    ) {
        let window = Window {
            lane,
            all: lane * 2 - 1,
            unconfirmed: 6,
            wait: Duration::from_millis(wait),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(seed, window, confirms, 60));
    }
}
