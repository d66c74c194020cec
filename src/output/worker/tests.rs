//! One worker with the real store and a scripted receiver, on tokio's paused clock.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::model::{Cursor, Event, EventId, Form, IntegrationId, Sink, StreamId};
use crate::output::{Batch, BatchLimits, Delivery, Judge, Rejection};
use crate::status::{Phase, Status};
use crate::store::PositionRecord;
use crate::store::Store;
use crate::tenure::Tenure;

const BEGIN: Timestamp = Timestamp::from_millis(1_767_690_487_000);

type Script = dyn Fn(&Batch, usize) -> Delivery + Send + Sync;

/// Answers by a function of the batch and of how many were offered before it.
struct Scripted {
    offered: Arc<Mutex<Vec<String>>>,
    script: Box<Script>,
    clock: Clock,
}

impl Output for Scripted {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        // An answer takes its time.
        self.clock
            .sleep_until(self.clock.now() + Duration::from_millis(10))
            .await;
        let mut line = batch.log().to_owned();
        for record in batch.records() {
            line.push(' ');
            line.push_str(&record.body_str());
        }
        let mut offered = self.offered.lock().unwrap();
        let before = offered.len();
        offered.push(line);
        (self.script)(batch, before)
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1 << 20,
            events: 4,
        }
    }
}

struct Rig {
    dir: TempDir,
    clock: Clock,
    store: Store,
    status: Status,
    tenure: Tenure,
    offered: Arc<Mutex<Vec<String>>>,
    commands: Option<mpsc::Sender<Command>>,
    tasks: JoinSet<Result<(), StoreError>>,
    worker: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
    store_stop: CancellationToken,
}

fn splunk() -> OutputId {
    OutputId::new("splunk").unwrap()
}

fn stream(log: &str) -> StreamId {
    StreamId::new(&IntegrationId::new("acme").unwrap(), log, "")
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(BEGIN);
        let (store, task) = Store::open(dir.path(), clock.clone()).unwrap();
        let store_stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(store_stop.clone()));
        store.route(vec![splunk()]).await.unwrap();
        Self {
            status: Status::new(Path::new("/x"), BEGIN),
            tenure: Tenure::unlimited(),
            offered: Arc::default(),
            worker: JoinSet::new(),
            commands: None,
            dir,
            clock,
            store,
            tasks,
            stop: CancellationToken::new(),
            store_stop,
        }
    }

    /// Commits one event a body, each with a cursor of its own if there is more than one part.
    async fn store(&self, log: &str, parts: &[&[&str]]) {
        let mut writer = self.store.writer(&stream(log)).await.unwrap();
        let parts: Vec<Vec<String>> = parts
            .iter()
            .map(|part| part.iter().map(|body| (*body).to_owned()).collect())
            .collect();
        let work = move || {
            for (n, part) in parts.iter().enumerate() {
                for body in part {
                    let event = Event {
                        body,
                        time: BEGIN,
                        id: EventId([1; 16]),
                    };
                    writer.push("audit", Form::Json, event).unwrap();
                }
                writer
                    .commit(&Cursor::new(format!("c{}", n + 1)).unwrap())
                    .unwrap();
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }

    async fn start(&mut self, script: impl Fn(&Batch, usize) -> Delivery + Send + Sync + 'static) {
        let (commands, inbox) = mpsc::channel(1);
        let context = Context {
            tenure: self.tenure.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            status: self.status.clone(),
            watchdog: crate::watchdog::Watchdog::new(self.clock.clone()),
        };
        let output = Scripted {
            offered: Arc::clone(&self.offered),
            script: Box::new(script),
            clock: self.clock.clone(),
        };
        let stored = self.store.snapshot().await.unwrap();
        let worker = Worker::new(splunk(), output, None, context, &stored, inbox);
        self.commands = Some(commands);
        self.worker.spawn(worker.run(self.stop.clone()));
    }

    async fn wait(&mut self, seconds: u64) {
        let end = self.clock.now() + Duration::from_secs(seconds);
        self.clock.sleep_until(end).await;
        assert!(self.worker.try_join_next().is_none(), "the worker ended");
    }

    fn offered(&self) -> Vec<String> {
        self.offered.lock().unwrap().clone()
    }

    async fn position(&self, log: &str) -> PositionRecord {
        let stored = self.store.snapshot().await.unwrap();
        stored.positions[&(splunk(), LaneId::stream(&stream(log)))].clone()
    }

    async fn end(mut self) {
        self.worker.shutdown().await;
        self.store_stop.cancel();
        drop(self.store);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    fn phase(&self) -> Phase {
        self.status.report(BEGIN).outputs[0].condition.state
    }
}

fn all(batch: &Batch) -> Delivery {
    Delivery::accepted(batch.len())
}

fn failure(code: &str) -> Failure {
    Failure::new(Origin::Hec, 503, code, "POST /hec")
}

#[tokio::test(start_paused = true)]
async fn lanes_of_another_nodes_integration_wait_and_those_of_a_lease_that_ends_stop() {
    let mut rig = Rig::new().await;
    rig.tenure = Tenure::leased(rig.clock.clone());
    rig.store("audit", &[&["a"]]).await;
    rig.start(|batch, _| all(batch)).await;
    rig.wait(60).await;
    assert!(rig.offered().is_empty(), "nobody said that it is ours");
    let acme = IntegrationId::new("acme").unwrap();
    rig.tenure
        .extend(rig.clock.monotonic() + Duration::from_secs(7));
    rig.tenure.own(&acme, rig.tenure.term());
    // It hears of it at once.
    rig.wait(5).await;
    assert_eq!(rig.offered(), ["audit a"]);
    rig.wait(5).await;
    rig.store("dlp", &[&["b"]]).await;
    rig.wait(60).await;
    assert_eq!(rig.offered(), ["audit a"], "the lease was over by then");
    rig.tenure.release(&LaneId::stream(&stream("dlp")));
    rig.wait(5).await;
    assert_eq!(
        rig.offered(),
        ["audit a", "dlp b"],
        "Mimecast will have it no more"
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_in_an_accepted_run_was_counted_as_delivered_and_lost() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c"]]).await;
    rig.start(|batch, _| Delivery {
        rejected: vec![Rejection {
            index: 1,
            reason: "no".to_owned(),
            judge: Judge::Receiver,
        }],
        ..all(batch)
    })
    .await;
    rig.wait(5).await;
    let at = rig.position("audit").await;
    assert_eq!((at.accepted, at.rejected), (2, 1));
    let asides = rig.store.snapshot().await.unwrap().asides;
    let file = std::fs::read_to_string(rig.dir.path().join(&asides[&1].file)).unwrap();
    assert!(file.contains(r#""record":"b""#), "{file}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_was_not_offered_is_passed_and_does_not_make_it_well() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c"]]).await;
    rig.start(|batch, before| match before {
        0 => Delivery::failed(failure("9")),
        _ => Delivery {
            filtered: batch.len(),
            ..all(batch)
        },
    })
    .await;
    rig.wait(60).await;
    let at = rig.position("audit").await;
    assert_eq!((at.accepted, at.filtered, at.passed), (0, 3, 3));
    assert_eq!(rig.phase(), Phase::Retrying);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_output_that_takes_nothing_and_names_no_failure_was_offered_the_same_in_a_spin() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a"]]).await;
    rig.start(|_, before| Delivery::accepted(usize::from(before >= 3)))
        .await;
    rig.wait(1).await;
    assert_eq!(rig.offered().len(), 1);
    assert_eq!(rig.phase(), Phase::Retrying);
    rig.wait(60).await;
    assert_eq!(rig.offered().len(), 4);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_halved_down_to_one_event_which_then_waits() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c"]]).await;
    rig.start(|batch, before| match before {
        0..4 => Delivery::split(failure("9")),
        _ => all(batch),
    })
    .await;
    rig.wait(60).await;
    assert_eq!(
        rig.offered(),
        [
            "audit a b c",
            "audit a",
            "audit a",
            "audit a",
            "audit a",
            "audit b c"
        ]
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_lane_delivered_hid_that_a_whole_stream_was_put_aside() {
    let mut rig = Rig::new().await;
    let many: Vec<String> = (0..40).map(|n| format!("bad{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    rig.store("audit", &[&many]).await;
    let good: Vec<&str> = many.iter().map(|_| "good").collect();
    rig.store("siem", &[&good]).await;
    rig.start(|batch, _| match batch.records()[0].body_str().as_ref() {
        "good" => Delivery::accepted(1),
        _ => Delivery::rejected(0, "no".to_owned()),
    })
    .await;
    rig.wait(60).await;
    assert_eq!(rig.position("audit").await.rejected, 10);
    assert_eq!(rig.position("siem").await.accepted, 40);
    assert_eq!(rig.phase(), Phase::Healthy, "a lane is blocked, no more");
    // A person who has mended it is obeyed.
    let resume = rig.commands.as_ref().unwrap().send(Command::Resume);
    resume.await.unwrap();
    rig.wait(60).await;
    assert_eq!(rig.position("audit").await.rejected, 20);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_output_that_refused_its_last_event_stayed_in_trouble() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a"]]).await;
    rig.start(|_, before| match before {
        0 => Delivery::failed(failure("9")),
        _ => Delivery::rejected(0, "no".to_owned()),
    })
    .await;
    rig.wait(60).await;
    assert_eq!(rig.position("audit").await.rejected, 1);
    assert_eq!(rig.phase(), Phase::Healthy);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_waited_until_a_backlog_was_delivered() {
    let mut rig = Rig::new().await;
    let many: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    rig.store("siem", &[&many]).await;
    rig.store("audit", &[&["bad"]]).await;
    rig.start(|batch, before| match batch.log() {
        // A lane of its own is blocked, for a quarter of an hour.
        "audit" if before < 2 => {
            Delivery::failed(Failure::new(Origin::Local, 0, "all_refused", "x"))
        }
        _ => Delivery::accepted(1),
    })
    .await;
    rig.clock
        .sleep_until(BEGIN + Duration::from_millis(500))
        .await;
    let resume = rig.commands.as_ref().unwrap().send(Command::Resume);
    resume.await.unwrap();
    rig.clock
        .sleep_until(BEGIN + Duration::from_millis(900))
        .await;
    let offered = rig.offered();
    let audits = offered.iter().filter(|line| line.starts_with("audit"));
    assert_eq!(audits.count(), 2);
    assert!(rig.position("siem").await.accepted < 400, "no backlog left");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_damaged_frame_moved_the_stream_forward_over_what_the_first_had_lost() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a"]]).await;
    let (lane, first) = rig.store.outbox().lanes().remove(0);
    rig.store("audit", &[&["b"]]).await;
    let (_, second) = rig.store.outbox().lanes().remove(0);
    rig.store("audit", &[&["c"]]).await;
    let path = rig.dir.path().join("lanes").join(lane.folder());
    let path = path.join(format!("{:016}.seg", first.segment));
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    for end in [first, second] {
        let mut byte = [0];
        let at = end.offset - 1;
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    rig.start(|batch, _| all(batch)).await;
    rig.wait(5).await;
    assert_eq!(rig.offered(), ["audit c"]);
    let record = rig.store.stream(&stream("audit")).await.unwrap();
    assert_eq!(record.cursor, None, "the first frame began at the start");
    // The repair is delivered, and its own damage would count again.
    rig.store("audit", &[&["a", "b", "c"]]).await;
    rig.wait(5).await;
    assert_eq!(rig.offered(), ["audit c", "audit a b c"]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_the_disk_does_not_give_back_held_up_the_others() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a"]]).await;
    rig.store("siem", &[&["b"]]).await;
    let (lane, end) = rig.store.outbox().lanes().remove(0);
    let path = rig.dir.path().join("lanes").join(lane.folder());
    let path = path.join(format!("{:016}.seg", end.segment));
    std::fs::remove_file(&path).unwrap();
    // Reading a folder is an error of the disk, not damage.
    std::fs::create_dir(&path).unwrap();
    rig.start(|batch, _| all(batch)).await;
    rig.wait(5).await;
    assert_eq!(rig.offered(), ["siem b"]);
    assert_eq!(rig.phase(), Phase::Healthy);
    std::fs::remove_dir(&path).unwrap();
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_out_is_finished_before_a_stop() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c", "d", "e"]]).await;
    rig.start(|batch, _| all(batch)).await;
    rig.clock
        .sleep_until(BEGIN + Duration::from_millis(5))
        .await;
    rig.stop.cancel();
    rig.worker.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(rig.offered(), ["audit a b c d"]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_read_once_for_all_batches_that_it_fills() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c", "d", "e", "f", "g", "h", "i"]])
        .await;
    let (lane, end) = rig.store.outbox().lanes().remove(0);
    let path = rig.dir.path().join("lanes").join(lane.folder());
    let path = path.join(format!("{:016}.seg", end.segment));
    rig.start(move |batch, before| {
        if before == 0 {
            // From now on it cannot be read.
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"no frame", 0).unwrap();
        }
        all(batch)
    })
    .await;
    rig.wait(5).await;
    assert_eq!(rig.offered(), ["audit a b c d", "audit e f g h", "audit i"]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_ahead_stands_behind_what_is_offered_again() {
    let mut rig = Rig::new().await;
    rig.store("audit", &[&["a", "b", "c"], &["d", "e", "f"], &["g"]])
        .await;
    rig.start(|batch, before| match before {
        0 => all(batch),
        1 => Delivery::cut_short(1, failure("9")),
        2 => Delivery::split(failure("9")),
        _ => all(batch),
    })
    .await;
    rig.wait(120).await;
    assert_eq!(
        rig.offered(),
        [
            "audit a b c d",
            "audit e f g",
            "audit f g",
            "audit f",
            "audit g"
        ]
    );
    rig.end().await;
}
