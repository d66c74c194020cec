//! What is left of a store after a power cut: whatever was answered, and nothing by halves.
//!
//! A history of commits, polls, states and acknowledgements is played on a real directory, and the disk is rebuilt as a cut after any of
//! its syncs would have left it, without all that was only written by then. With the feature `full-tests`, a real file system is cut off
//! as well.

use std::path::Path;

use serde_json::json;
use tokio::task::JoinSet;

use super::durable::recorder::Recorder;
use super::*;
use crate::model::{Event, EventId, Form, IntegrationId, Sink as _};

/// Two streams, so that a transaction of one meets what is unfinished of the other.
const STREAMS: [&str; 2] = ["receipt", "delivery"];
const SUBJECT: &str = "credential acme";
const STEPS: u64 = 40;
const SEEDS: u64 = 12;
/// Cuts of each history.
const CUTS: usize = 17;

/// A small generator of numbers, the same on every machine.
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

/// What the store has answered of one stream, or what is found of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fetched {
    /// Events, and the cursor behind them.
    events: u64,
    memo: Option<Vec<u8>>,
    quarantined: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Delivered {
    /// Events that the output is past.
    passed: u64,
    rejected: u64,
}

/// What the store has answered, or what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    fetched: [Fetched; 2],
    delivered: [Delivered; 2],
    polled: [i64; 2],
    health: u64,
}

fn stream(n: usize) -> StreamId {
    let integration = IntegrationId::new("acme").unwrap();
    StreamId::new(&integration, "siem-cg", STREAMS[n])
}

fn lane(n: usize) -> LaneId {
    LaneId::stream(&stream(n))
}

fn output() -> OutputId {
    OutputId::new("splunk").unwrap()
}

/// What is kept whole now and then.
const KEPT: &[u8] = b"\x1f\x8b and no more";

/// How many copies lie in the quarantine.
fn copies(root: &Path) -> usize {
    let folders = std::fs::read_dir(root.join("quarantine"))
        .into_iter()
        .flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".file")).count()
}

fn aside(what: String) -> Aside {
    Aside {
        what,
        withheld: false,
        reason: "a test".to_owned(),
        record: "{}".to_owned(),
        event: None,
    }
}

/// A store with its task.
struct Life {
    store: Store,
    tasks: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
}

impl Life {
    async fn begin(root: &Path) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_000));
        let (store, task) = tests::opened(root, &clock);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        store.route(vec![output()]).await.unwrap();
        Self { store, tasks, stop }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    /// Takes one step by the dice, and brings `facts` up to what was answered.
    async fn step(&self, dice: &mut Dice, facts: &mut Facts) {
        let n = usize::try_from(dice.roll(2)).unwrap();
        match dice.roll(10) {
            0..=4 => self.fetch(dice, facts, n).await,
            5 => {
                facts.polled[n] += 1;
                let at = Timestamp::from_millis(facts.polled[n]);
                let poll = PollRecord {
                    started: at,
                    attempted: at,
                    attempts: 0,
                    done: false,
                    calls: None,
                };
                self.store
                    .asked(vec![Asked::new(&stream(n), poll, at)])
                    .await
                    .unwrap();
            }
            6 => {
                facts.health += 1;
                let notice = Notice::new("alert", &facts.health, Timestamp::from_millis(0));
                let state = json!(facts.health);
                let put = self
                    .store
                    .put_health(SUBJECT.to_owned(), state, Some(notice));
                put.await.unwrap();
            }
            _ => self.deliver(dice, facts, n).await,
        }
    }

    /// Pushes some events, puts one aside now and then, and commits, or does not.
    async fn fetch(&self, dice: &mut Dice, facts: &mut Facts, n: usize) {
        let mut writer = self.store.writer(&stream(n)).await.unwrap();
        let known = facts.fetched[n].clone();
        let mut next = known.clone();
        next.events += dice.roll(4);
        let (puts_aside, remembers) = (dice.roll(4) == 0, dice.roll(3) == 0);
        let commits = dice.roll(5) > 0;
        next.quarantined += u64::from(puts_aside);
        if remembers {
            next.memo = Some(format!("memo of {}", next.events).into_bytes());
        }
        let committed = next.clone();
        let work = move || {
            for number in known.events..next.events {
                let body = format!("{{\"n\":{number}}}");
                let event = Event {
                    body: &body,
                    time: Timestamp::from_millis(7),
                    id: EventId([0; 16]),
                };
                writer.push("receipt", Form::Json, event).unwrap();
            }
            if puts_aside {
                writer.quarantine("receipt", b"odd", "a test").unwrap();
                if next.quarantined.is_multiple_of(2) {
                    writer.keep(&mut &*KEPT).unwrap();
                }
            }
            let memo = next.memo.filter(|_| remembers);
            let cursor = Cursor::new(next.events.to_string()).unwrap();
            if commits {
                writer.commit_with(&cursor, memo.as_deref()).unwrap();
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap();
        if commits {
            facts.fetched[n] = committed;
        }
    }

    /// Acknowledges some of what waits, and puts one of it aside now and then.
    async fn deliver(&self, dice: &mut Dice, facts: &mut Facts, n: usize) {
        let found = self.store.snapshot().await.unwrap();
        let Some(at) = found.positions.get(&(output(), lane(n))) else {
            return;
        };
        let most = usize::try_from(dice.roll(6) + 1).unwrap();
        let lane_id = lane(n);
        let outbox = self.store.outbox();
        let read = outbox.read(&lane_id, at.position, 1 << 20, most);
        let chunk = read.await.unwrap();
        let events = chunk.records.len();
        if events == 0 {
            return;
        }
        let rejected = u64::from(dice.roll(3) == 0);
        let ack = Ack {
            output: output(),
            lane: lane(n),
            position: chunk.position_after(events),
            accepted: events as u64 - rejected,
            rejected: (0..rejected).map(|n| aside(n.to_string())).collect(),
            filtered: 0,
        };
        self.store.ack(ack).await.unwrap();
        facts.delivered[n].passed += events as u64;
        facts.delivered[n].rejected += rejected;
    }

    /// What is there; every event that is not delivered is read, and every file that a record names.
    async fn find(&self, root: &Path) -> Facts {
        let found = self.store.snapshot().await.unwrap();
        let mut facts = Facts::default();
        for n in 0..STREAMS.len() {
            let record = self.store.stream(&stream(n)).await.unwrap();
            let cursor = record.cursor.as_ref().map(Cursor::as_str);
            let events = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            assert_eq!(record.events, events, "the count and the cursor differ");
            let at = found.positions.get(&(output(), lane(n)));
            let at = at.cloned().unwrap_or_default();
            assert_eq!(at.passed, at.accepted + at.rejected);
            let (lane_id, outbox) = (lane(n), self.store.outbox());
            let read = outbox.read(&lane_id, at.position, 1 << 20, 10_000);
            let bodies = read.await.unwrap().records.into_iter();
            let bodies: Vec<_> = bodies.map(|record| record.body.to_vec()).collect();
            let expected: Vec<_> = (at.passed..events)
                .map(|number| format!("{{\"n\":{number}}}").into_bytes())
                .collect();
            assert_eq!(bodies, expected, "what waits is not what was passed over");
            facts.fetched[n] = Fetched {
                events,
                memo: self.store.writer(&stream(n)).await.unwrap().memo(),
                quarantined: record.quarantined,
            };
            facts.delivered[n] = Delivered {
                passed: at.passed,
                rejected: at.rejected,
            };
            facts.polled[n] = record.poll.map_or(0, |poll| poll.started.as_millis());
        }
        for aside in found.asides.values() {
            let text = std::fs::read_to_string(root.join(&aside.file)).unwrap();
            assert_eq!(text.lines().count() as u64, aside.records);
            let kept = aside.kept.as_ref().map(|kept| root.join(kept));
            assert!(kept.is_none_or(|kept| std::fs::read(kept).unwrap() == KEPT));
        }
        assert_eq!(
            copies(root),
            found.asides.values().filter(|a| a.kept.is_some()).count()
        );
        let health = found.health.get(SUBJECT);
        facts.health = health.map_or(0, |health| health.as_u64().unwrap());
        // Nobody has taken the alerts yet, one of each state.
        let (alerts, from) = (LaneId::collector(), Position::start_of(1));
        let alerts = self.store.outbox().read(&alerts, from, 1 << 20, 10_000);
        let told = alerts.await.unwrap().records.len() as u64;
        assert_eq!(told, facts.health, "a state and its alert part");
        facts
    }
}

/// A store whose streams were polled once: as in life, where that is before anything of them is stored.
async fn first_poll(root: &Path) -> (Life, Facts) {
    let life = Life::begin(root).await;
    let mut facts = Facts::default();
    for n in 0..STREAMS.len() {
        facts.polled[n] = 1;
        let at = Timestamp::from_millis(1);
        let poll = PollRecord {
            started: at,
            attempted: at,
            attempts: 0,
            done: false,
            calls: None,
        };
        life.store
            .asked(vec![Asked::new(&stream(n), poll, at)])
            .await
            .unwrap();
    }
    (life, facts)
}

/// A history with, after each step, how many syncs there had been and what had been answered.
async fn play(seed: u64, root: &Path) -> (Recorder, Vec<(usize, Facts)>) {
    if !seed.is_multiple_of(2) {
        // Where a ballast is set aside already, or there is no room for one, only the opening syncs the state directory itself.
        ballast::restore(root).unwrap();
    }
    let recorder = Recorder::start(root);
    let (life, mut facts) = first_poll(root).await;
    let mut answered = vec![(recorder.syncs(), facts.clone())];
    let mut dice = Dice(seed);
    for _ in 0..STEPS {
        life.step(&mut dice, &mut facts).await;
        answered.push((recorder.syncs(), facts.clone()));
    }
    life.end().await;
    (recorder, answered)
}

#[tokio::test]
async fn whatever_was_answered_is_there_after_a_power_cut_and_nothing_by_halves() {
    let mut cuts = 0;
    for seed in 0..SEEDS {
        let root = tempfile::tempdir().unwrap();
        let (recorder, answered) = play(seed, root.path()).await;
        let (first, all) = (answered[0].0, recorder.syncs());
        let mut dice = Dice(seed);
        for _ in 0..CUTS {
            let syncs = first + usize::try_from(dice.roll((all - first + 1) as u64)).unwrap();
            let left = tempfile::tempdir().unwrap();
            recorder.cut(syncs, left.path());
            let life = Life::begin(left.path()).await;
            let found = life.find(left.path()).await;
            // The step that was under way may be there whole, or not at all.
            let last = answered.partition_point(|(at, _)| *at <= syncs) - 1;
            let next = (last + 1).min(answered.len() - 1);
            assert!(
                [last, next].iter().any(|step| answered[*step].1 == found),
                "seed {seed}, a cut after {syncs} syncs left {found:#?}\nanswered was {:#?}\nnext came {:#?}",
                answered[last].1,
                answered[next].1,
            );
            life.end().await;
            cuts += 1;
            // The shadow copy has followed each state of health before that was answered.
            std::fs::remove_dir_all(left.path().join("sled")).unwrap();
            let life = Life::begin(left.path()).await;
            let health = life.store.snapshot().await.unwrap().health;
            let health = health
                .get(SUBJECT)
                .map_or(0, |health| health.as_u64().unwrap());
            assert!(
                [last, next]
                    .iter()
                    .any(|step| answered[*step].1.health == health),
                "seed {seed}, a cut after {syncs} syncs that took the database too left state {health}"
            );
            life.end().await;
        }
    }
    println!("{cuts} power cuts");
}

#[cfg(feature = "full-tests")]
mod real {
    //! A file system on a loop device that is shut down under the running store, without its journal: what a power cut leaves of it.
    //! Needs root, a loop device, ext4 and python3; where one is missing, the test says so and fails.

    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// Steps of a history, and those after which a cut comes at the latest.
    const LENGTH: usize = 160;
    const LAST: u64 = 120;

    /// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`, when a line comes.
    const SHUT_DOWN: &str = "import fcntl, os, struct, sys\n\
        folder = os.open(sys.argv[1], os.O_RDONLY)\n\
        sys.stdin.readline()\n\
        fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))\n";

    fn run(program: &str, arguments: &[&str]) -> bool {
        let done = Command::new(program).args(arguments).output();
        let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
        if !done.status.success() {
            eprint!("{}", String::from_utf8_lossy(&done.stderr));
        }
        done.status.success()
    }

    fn cuts() -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "how much is tried is no part of the program"
        )]
        let wanted = std::env::var("POWER_CUTS");
        wanted.map_or(8, |wanted| wanted.parse().unwrap())
    }

    /// An image with an ext4, and where it is mounted.
    struct Disk {
        _folder: tempfile::TempDir,
        image: PathBuf,
        at: PathBuf,
    }

    impl Disk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
            std::fs::create_dir(&at).unwrap();
            let file = std::fs::File::create(&image).unwrap();
            file.set_len(64 << 20).unwrap();
            let image_name = image.to_str().unwrap();
            assert!(
                run("mkfs.ext4", &["-q", image_name]),
                "no ext4 can be made here"
            );
            let disk = Self {
                _folder: folder,
                image,
                at,
            };
            disk.mount();
            disk
        }

        fn mount(&self) {
            let (image, at) = (self.image.to_str().unwrap(), self.at.to_str().unwrap());
            let mounted = run("mount", &["-o", "loop", image, at]);
            assert!(
                mounted,
                "this test needs root and a loop device: run it where there are both, or without the feature full-tests"
            );
        }

        /// Something that shuts the file system down when it is told to.
        fn switch(&self) -> Child {
            let mut python = Command::new("python3");
            python.args(["-c", SHUT_DOWN]).arg(&self.at);
            python.stdin(Stdio::piped()).spawn().unwrap()
        }

        /// sled's threads may hold files for a moment longer than the store lives.
        async fn unmount(&self) {
            let at = self.at.to_str().unwrap();
            let unmounted = async {
                while !run("umount", &[at]) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let patience = Duration::from_secs(60);
            tokio::time::timeout(patience, unmounted).await.unwrap();
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            if std::thread::panicking() {
                run("umount", &["-l", self.at.to_str().unwrap()]);
            }
        }
    }

    /// What is answered after each step, if nothing comes in between.
    async fn rehearsed(seed: u64) -> Vec<Facts> {
        let root = tempfile::tempdir().unwrap();
        let (life, mut facts) = first_poll(root.path()).await;
        let mut answered = vec![facts.clone()];
        let mut dice = Dice(seed);
        for _ in 0..LENGTH {
            life.step(&mut dice, &mut facts).await;
            answered.push(facts.clone());
        }
        life.end().await;
        answered
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whatever_was_answered_is_there_after_a_real_file_system_was_cut_off() {
        let mut in_midst = 0;
        for seed in 0..cuts() {
            let answered = rehearsed(seed).await;
            let disk = Disk::new();
            let root = disk.at.join("state");
            let mut switch = disk.switch();
            let steps = Arc::new(Mutex::new(0));
            let cut_after = usize::try_from(Dice(seed).roll(LAST)).unwrap();
            let mut history = JoinSet::new();
            let (done, path) = (Arc::clone(&steps), root.clone());
            let mut line = switch.stdin.take().unwrap();
            history.spawn(async move {
                let (life, mut facts) = first_poll(&path).await;
                let mut dice = Dice(seed);
                for step in 0..LENGTH {
                    if step == cut_after {
                        line.write_all(b"\n").unwrap();
                    }
                    life.step(&mut dice, &mut facts).await;
                    *done.lock().unwrap() = step + 1;
                }
                // It was cut off after the last step: what was answered counts all the same.
                life.stop.cancel();
            });
            // A store that is refused ends, and the step with it.
            while history.join_next().await.is_some() {}
            assert!(
                switch.wait().unwrap().success(),
                "no file system that can be shut down"
            );
            disk.unmount().await;
            disk.mount();
            let last = *steps.lock().unwrap();
            let next = (last + 1).min(LENGTH);
            let life = Life::begin(&root).await;
            let found = life.find(&root).await;
            assert!(
                [last, next].iter().any(|step| answered[*step] == found),
                "seed {seed}, a cut after {last} steps left {found:#?}\nanswered was {:#?}\nnext came {:#?}",
                answered[last],
                answered[next],
            );
            life.end().await;
            disk.unmount().await;
            in_midst += u64::from(last < LENGTH);
        }
        println!(
            "{} file systems cut off, {in_midst} of them in the midst of a history",
            cuts()
        );
        assert!(in_midst > 0, "no cut met the store");
    }
}
