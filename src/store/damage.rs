//! What becomes of a state directory that comes back damaged: each file of it, in each region.
//!
//! A byte that flips, a sector of zeros, a file that is cut or gone. Whatever it was, the store opens, each output gets each event that it
//! did not have, and an event that comes twice is one that people were told of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use super::*;
use crate::model::{Event, EventId, Form, IntegrationId, Sink as _};

const SUBJECT: &str = "credential acme";
const OUTPUTS: [&str; 2] = ["ahead", "behind"];

/// A stream of the tests.
#[derive(Clone, Copy, Debug)]
struct Kind {
    event_type: &'static str,
    /// Events that are stored when the damage comes, and so many more there are at the source afterwards.
    stored: u64,
    more: u64,
    /// Bytes of each.
    bytes: usize,
    /// Events of one commit.
    part: u64,
    /// Events that the output which is ahead had by then.
    had: u64,
}

impl Kind {
    /// The events up to `end` that an output does not have yet.
    fn wanted_by(&self, output: usize, end: u64) -> std::ops::Range<u64> {
        let from = if output == 0 { self.had } else { 0 };
        from..end
    }
}

/// Small frames, in one segment each.
const SMALL: [Kind; 2] = [
    Kind {
        event_type: "receipt",
        stored: 54,
        more: 3,
        bytes: 60,
        part: 6,
        had: 5,
    },
    Kind {
        event_type: "delivery",
        stored: 60,
        more: 4,
        bytes: 40,
        part: 5,
        had: 22,
    },
];

/// A small generator of numbers, the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }
}

fn stream(kind: &Kind) -> StreamId {
    let integration = IntegrationId::new("acme").unwrap();
    StreamId::new(&integration, "siem-cg", kind.event_type)
}

/// A stream without events.
fn other(n: i64) -> StreamId {
    let integration = IntegrationId::new("acme").unwrap();
    StreamId::new(&integration, "siem-cg", &format!("other{n}"))
}

fn lane(kind: &Kind) -> LaneId {
    LaneId::stream(&stream(kind))
}

/// An event that tells its number and does not compress.
fn body(number: u64, bytes: usize) -> String {
    let mut dice = Dice(number);
    let mut body = format!("{{\"n\":{number},\"x\":\"");
    while body.len() < bytes {
        body.push_str(&format!("{:016x}", dice.next()));
    }
    body.push_str("\"}");
    body
}

fn number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).unwrap();
    let digits = text.strip_prefix("{\"n\":").unwrap();
    digits.split(',').next().unwrap().parse().unwrap()
}

/// A store with its task.
struct Life {
    store: Store,
    tasks: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
    /// Places that outputs were the first to find damaged.
    found: usize,
}

impl Life {
    async fn begin(root: &Path, now: i64) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(now));
        let (store, task) = tests::opened(root, &clock);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        let outputs = OUTPUTS.map(|name| OutputId::new(name).unwrap());
        store.route(outputs.to_vec()).await.unwrap();
        Self {
            store,
            tasks,
            stop,
            found: 0,
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    async fn poll(&self, stream: &StreamId, at: i64) {
        let at = Timestamp::from_millis(at);
        let poll = PollRecord {
            started: at,
            attempted: at,
            attempts: 0,
            done: true,
            calls: None,
        };
        self.store
            .asked(vec![Asked::new(stream, poll, at)])
            .await
            .unwrap();
    }

    async fn cursor(&self, kind: &Kind) -> u64 {
        let record = self.store.stream(&stream(kind)).await.unwrap();
        let cursor = record.cursor.as_ref().map(Cursor::as_str);
        cursor.map_or(0, |cursor| cursor.parse().unwrap())
    }

    /// Commits what the source has up to `end`, from where the stream stands.
    async fn fetch(&self, kind: &'static Kind, end: u64) {
        let mut from = self.cursor(kind).await;
        while from < end {
            let to = (from + kind.part).min(end);
            let mut writer = self.store.writer(&stream(kind)).await.unwrap();
            let work = move || {
                for number in from..to {
                    let event = Event {
                        body: &body(number, kind.bytes),
                        time: Timestamp::from_millis(i64::try_from(number).unwrap()),
                        id: EventId([0; 16]),
                    };
                    writer.push("receipt", Form::Json, event).unwrap();
                }
                writer.commit(&Cursor::new(to.to_string()).unwrap())
            };
            tokio::task::spawn_blocking(work).await.unwrap().unwrap();
            from = to;
        }
    }

    /// Delivers to an output what waits in a lane, or so many events of it; gives what it got.
    async fn drain(&mut self, output: &str, kind: &Kind, most: usize) -> Vec<u64> {
        let output = OutputId::new(output).unwrap();
        let stored = self.store.snapshot().await.unwrap();
        let mut got = Vec::new();
        let Some(at) = stored.positions.get(&(output.clone(), lane(kind))) else {
            return got;
        };
        let mut at = at.position;
        while got.len() < most {
            let outbox = self.store.outbox();
            let chunk = match outbox
                .read(&lane(kind), at, 4 << 20, most - got.len())
                .await
            {
                Ok(chunk) => chunk,
                Err(ReadError::Damaged {
                    at: place, reason, ..
                }) => {
                    let detour = self
                        .store
                        .damaged(&lane(kind), place, reason)
                        .await
                        .unwrap();
                    self.found += usize::from(detour.new);
                    assert!(at < detour.next, "no way past {at}");
                    at = detour.next;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let events = chunk.records.len();
            at = chunk.position_after(events);
            let ack = Ack {
                output: output.clone(),
                lane: lane(kind),
                position: at,
                accepted: events as u64,
                rejected: Vec::new(),
                filtered: 0,
            };
            self.store.ack(ack).await.unwrap();
            if events == 0 {
                break;
            }
            got.extend(chunk.records.iter().map(|record| number(&record.body)));
        }
        got
    }
}

/// When the directory was last written, and when it is opened again.
const WRITTEN: i64 = 1_000_000;
const OPENED: i64 = 2_000_000;

/// A state directory with a history: sled has a snapshot, several segments of its log and some of it behind the snapshot.
async fn history(root: &Path, kinds: &'static [Kind; 2], others: i64) {
    let life = Life::begin(root, WRITTEN).await;
    for at in 0..others {
        life.poll(&other(at), at).await;
    }
    for kind in kinds {
        life.fetch(kind, kind.stored - kind.part).await;
    }
    life.end().await;
    let mut life = Life::begin(root, WRITTEN).await;
    for kind in kinds {
        let had = usize::try_from(kind.had).unwrap();
        assert_eq!(life.drain(OUTPUTS[0], kind, had).await.len(), had);
        life.poll(&stream(kind), WRITTEN).await;
        life.fetch(kind, kind.stored).await;
    }
    for at in 0..others {
        life.poll(&other(at), WRITTEN).await;
    }
    let state = serde_json::json!("blocked");
    let put = life.store.put_health(SUBJECT.to_owned(), state, None);
    put.await.unwrap();
    life.end().await;
}

/// A folder in memory where there is such a file system.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The files of sled.
fn files_of_sled(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("sled")).unwrap().map(Result::unwrap);
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Blow {
    /// A bit of the byte at this offset.
    Flip(usize),
    /// So many bytes from an offset on are zeros.
    Zeros(usize, usize),
    /// It ends here.
    Cut(usize),
    Gone,
}

fn strike(file: &Path, blow: &Blow) {
    if let Blow::Gone = blow {
        return fs::remove_file(file).unwrap();
    }
    let mut bytes = fs::read(file).unwrap();
    match *blow {
        Blow::Flip(at) => bytes[at] ^= 1 << (at % 8),
        Blow::Zeros(at, len) => {
            let end = (at + len).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Blow::Cut(at) => bytes.truncate(at),
        Blow::Gone => {}
    }
    fs::write(file, bytes).unwrap();
}

fn was_rescued(root: &Path) -> bool {
    let entries = fs::read_dir(root).unwrap().map(Result::unwrap);
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .any(|name| name.starts_with("sled-lost-"))
}

/// How many blows, and what came of them.
#[derive(Debug, Default)]
struct Tally {
    blows: usize,
    /// Databases that were given up and made anew.
    rescued: usize,
    /// Places in lanes that cannot be read.
    found: usize,
    repeated: usize,
}

/// A directory that is damaged again and again, each time from what it was.
struct Anvil {
    base: tempfile::TempDir,
    kinds: &'static [Kind; 2],
    others: i64,
    tally: Tally,
}

impl Anvil {
    async fn new(kinds: &'static [Kind; 2], others: i64) -> Self {
        let base = folder();
        history(base.path(), kinds, others).await;
        let tally = Tally::default();
        Self {
            base,
            kinds,
            others,
            tally,
        }
    }

    /// Damages a file of a copy and lives on with it. `hidden` are the events of each lane that the damage takes from the disk.
    async fn strike(&mut self, file: &str, blow: &Blow, hidden: &[BTreeSet<u64>; 2]) {
        let what = format!("{file}, {blow:?}");
        let left = folder();
        copy(self.base.path(), left.path());
        strike(&left.path().join(file), blow);
        self.live_on(left.path(), hidden, &what).await;
    }

    /// Opens what is left, delivers it, fetches the rest as the streams stand, and looks at what each output got.
    async fn live_on(&mut self, root: &Path, hidden: &[BTreeSet<u64>; 2], what: &str) {
        let mut life = Life::begin(root, OPENED).await;
        let rescued = was_rescued(root);
        self.look_at_states(&life, what).await;
        let mut got = [(); 2].map(|()| [Vec::new(), Vec::new()]);
        for (o, output) in OUTPUTS.iter().enumerate() {
            for (n, kind) in self.kinds.iter().enumerate() {
                got[o][n] = life.drain(output, kind, usize::MAX).await;
                let kept: BTreeSet<_> = got[o][n].iter().copied().collect();
                let mut wanted = kind.wanted_by(o, kind.stored);
                let thrown =
                    wanted.find(|event| !hidden[n].contains(event) && !kept.contains(event));
                assert_eq!(thrown, None, "{what}: thrown away before {output} had it");
                // The other output finds the damage when more has come.
                life.fetch(kind, kind.stored + kind.more).await;
            }
        }
        let mut repeated = 0;
        for (o, output) in OUTPUTS.iter().enumerate() {
            for (n, kind) in self.kinds.iter().enumerate() {
                life.fetch(kind, kind.stored + kind.more).await;
                let rest = life.drain(output, kind, usize::MAX).await;
                got[o][n].extend(rest);
                let all: BTreeSet<_> = got[o][n].iter().copied().collect();
                let mut wanted = kind.wanted_by(o, kind.stored + kind.more);
                let missing = wanted.find(|event| !all.contains(event));
                assert_eq!(missing, None, "{what}: {output} never got it");
                repeated += got[o][n].len() - kind.wanted_by(o, kind.stored + kind.more).count();
            }
        }
        let told = rescued || life.found > 0;
        assert!(
            told || repeated == 0,
            "{what}: {repeated} repeated, and nobody was told"
        );
        self.tally.blows += 1;
        self.tally.rescued += usize::from(rescued);
        self.tally.found += life.found;
        self.tally.repeated += repeated;
        life.end().await;
        self.look_again(root, what).await;
    }

    /// What forbids requests is as it was, or stricter.
    async fn look_at_states(&self, life: &Life, what: &str) {
        let stored = life.store.snapshot().await.unwrap();
        assert_eq!(
            stored.health.get(SUBJECT),
            Some(&serde_json::json!("blocked")),
            "{what}"
        );
        let streams = self.kinds.iter().map(stream);
        for stream in streams.chain((0..self.others).map(other)) {
            let polled = stored.streams[&stream.to_string()].poll.unwrap();
            assert!(polled.started.as_millis() >= WRITTEN, "{what}: {stream}");
        }
    }

    /// What is opened once more is whole, and empty.
    async fn look_again(&self, root: &Path, what: &str) {
        let mut life = Life::begin(root, OPENED + 1).await;
        for output in OUTPUTS {
            for kind in self.kinds {
                let got = life.drain(output, kind, usize::MAX).await;
                assert_eq!(got, Vec::<u64>::new(), "{what}");
            }
        }
        assert_eq!(life.found, 0, "{what}");
        life.end().await;
    }
}

/// How many places of each file are tried; `.ci/full` asks for more.
fn places() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("DAMAGED_PLACES");
    wanted.map_or(40, |wanted| wanted.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_damage_to_the_database_loses_an_event_or_repeats_one_unsaid() {
    let mut dice = Dice(20_261_130);
    let mut anvil = Anvil::new(&SMALL, 3_000).await;
    let whole = [BTreeSet::new(), BTreeSet::new()];
    let untouched = folder();
    copy(anvil.base.path(), untouched.path());
    anvil.live_on(untouched.path(), &whole, "no blow").await;
    assert_eq!((anvil.tally.rescued, anvil.tally.repeated), (0, 0));
    for path in files_of_sled(anvil.base.path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = format!("sled/{name}");
        let bytes = fs::read(&path).unwrap();
        for blow in [Blow::Gone, Blow::Cut(0), Blow::Zeros(0, bytes.len())] {
            anvil.strike(&file, &blow, &whole).await;
        }
        // Most of the log is zeros that mean nothing.
        let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let most = if name == "db" { places() } else { places() / 4 };
        for _ in 0..most {
            let at = used[usize::try_from(dice.roll(used.len() as u64)).unwrap()];
            let blow = match dice.roll(6) {
                0..=2 => Blow::Flip(at),
                3 => Blow::Zeros(at / 512 * 512, 512),
                4 => Blow::Zeros(at / 4096 * 4096, 4096),
                _ => Blow::Cut(at),
            };
            anvil.strike(&file, &blow, &whole).await;
        }
    }
    println!("the database: {:?}", anvil.tally);
}

/// The first has three segments, the other one small frames in one.
const LARGE: [Kind; 2] = [
    Kind {
        event_type: "receipt",
        stored: 54,
        more: 3,
        bytes: 340_000,
        part: 6,
        had: 5,
    },
    SMALL[1],
];

/// A frame of a segment.
struct Frame {
    start: usize,
    /// Where its payload begins.
    payload: usize,
    end: usize,
    events: std::ops::Range<u64>,
}

fn frames(path: &Path) -> Vec<Frame> {
    let file = fs::File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some(header) = segment::read_header(&file, at, len).unwrap() {
        let header = header.unwrap();
        let end = at + header.frame_len();
        let payload = end - header.payload_len() as u64;
        let place = |at: u64| usize::try_from(at).unwrap();
        frames.push(Frame {
            start: place(at),
            payload: place(payload),
            end: place(end),
            events: header.first..header.following(),
        });
        at = end;
    }
    frames
}

impl Blow {
    /// The bytes of a file of `len` bytes that are not what they were.
    fn bytes(&self, len: usize) -> std::ops::Range<usize> {
        match *self {
            Self::Flip(at) => at..at + 1,
            Self::Zeros(at, zeros) => at..(at + zeros).min(len),
            Self::Cut(at) => at..len,
            Self::Gone => 0..len,
        }
    }

    /// The events that it takes: of a frame whose payload it hits, and of all from a frame on whose header it hits.
    fn hides(&self, frames: &[Frame]) -> BTreeSet<u64> {
        let hit = self.bytes(frames.last().unwrap().end);
        let mut hidden = BTreeSet::new();
        for frame in frames {
            if hit.start < frame.payload && frame.start < hit.end {
                let last = frames.last().unwrap();
                hidden.extend(frame.events.start..last.events.end);
            } else if hit.start < frame.end && frame.payload < hit.end {
                hidden.extend(frame.events.clone());
            }
        }
        hidden
    }
}

/// A place in each region of a frame: magic, lengths, ordinal, checksums, names, cursor, payload; the last byte, and the one behind it.
fn regions(frame: &Frame, dice: &mut Dice) -> Vec<usize> {
    let mut at =
        |from: usize, to: usize| from + usize::try_from(dice.roll((to - from) as u64)).unwrap();
    let fixed = [(0, 4), (4, 12), (12, 20), (20, 32), (32, 36), (36, 40)];
    let mut places: Vec<_> = fixed.map(|(from, to)| frame.start + at(from, to)).into();
    places.push(at(frame.start + 40, frame.payload - 1));
    places.push(frame.payload - 1);
    places.push(at(frame.payload, frame.end));
    places.extend([frame.start, frame.end - 1, frame.end]);
    places
}

/// Damages each segment in each region of some of its frames.
async fn strike_segments(anvil: &mut Anvil, dice: &mut Dice) {
    for n in 0..2 {
        let folder = format!("lanes/{}", lane(&anvil.kinds[n]).folder());
        for number in segment::list(&anvil.base.path().join(&folder)).unwrap() {
            let path = segment::path(&anvil.base.path().join(&folder), number);
            let file = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
            let frames = frames(&path);
            let len = frames.last().unwrap().end;
            let mut blows = vec![Blow::Cut(0), Blow::Zeros(0, len)];
            // Without the database nobody knows of a first segment that was there.
            if number > 1 || anvil.base.path().join("sled").exists() {
                blows.push(Blow::Gone);
            }
            for _ in 0..places().div_ceil(20) {
                let frame = &frames[usize::try_from(dice.roll(frames.len() as u64)).unwrap()];
                for at in regions(frame, dice) {
                    blows.push(match dice.roll(4) {
                        0 | 1 => Blow::Flip(at.min(len - 1)),
                        2 => Blow::Zeros(at.min(len - 1), 4096),
                        _ => Blow::Cut(at),
                    });
                }
            }
            for blow in blows {
                let mut hidden = [BTreeSet::new(), BTreeSet::new()];
                hidden[n] = blow.hides(&frames);
                anvil.strike(&file, &blow, &hidden).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_damage_to_a_segment_loses_an_event_or_repeats_one_unsaid() {
    let mut dice = Dice(20_261_201);
    let mut anvil = Anvil::new(&LARGE, 0).await;
    strike_segments(&mut anvil, &mut dice).await;
    println!("segments: {:?}", anvil.tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_lost_with_a_full_spool_that_is_damaged_too_loses_no_event() {
    let mut dice = Dice(20_261_202);
    let mut anvil = Anvil::new(&LARGE, 0).await;
    fs::remove_dir_all(anvil.base.path().join("sled")).unwrap();
    strike_segments(&mut anvil, &mut dice).await;
    println!("segments without their database: {:?}", anvil.tally);
    assert_eq!(anvil.tally.rescued, anvil.tally.blows);
}
