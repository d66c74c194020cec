//! What the store promises, on a real directory.

use std::path::Path;

use tokio::task::JoinSet;

use super::*;
use crate::model::{Counted, Event, EventId, Form, IntegrationId, Sink, SinkError};

struct Running {
    store: Store,
    tasks: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000))
}

/// Opens a directory that another store of this process has left. A program that another test starts holds all locks of this process
/// for the moment between its fork and its exec.
pub(super) fn opened(root: &Path, clock: &Clock) -> (Store, StoreTask) {
    loop {
        match Store::open(root, clock.clone()) {
            Err(StoreError::Locked(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn start(root: &Path) -> Running {
    let (store, task) = opened(root, &clock());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    Running { store, tasks, stop }
}

impl Running {
    async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn stream() -> StreamId {
    StreamId::new(&IntegrationId::new("acme").unwrap(), "siem-cg", "receipt")
}

fn splunk() -> OutputId {
    OutputId::new("splunk").unwrap()
}

fn cursor(n: usize) -> Cursor {
    Cursor::new(format!("c{n}")).unwrap()
}

fn push(writer: &mut LaneWriter, body: &str) {
    let integration = IntegrationId::new("acme").unwrap();
    let event = Event {
        body,
        time: Timestamp::from_millis(7),
        id: EventId::of(&integration, "siem-cg", body.as_bytes()),
    };
    writer.push("receipt", Form::Json, event).unwrap();
}

/// Appends `bodies` in one commit that leads to `next`; without a commit if there is no `next`.
async fn append(store: &Store, bodies: Vec<String>, next: Option<Cursor>) -> Result<(), SinkError> {
    let mut writer = store.writer(&stream()).await.unwrap();
    let work = move || {
        for body in &bodies {
            push(&mut writer, body);
        }
        next.map_or(Ok(()), |next| writer.commit(&next))
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn read_all(store: &Store, from: Position) -> Vec<String> {
    let lane = LaneId::stream(&stream());
    let mut bodies = Vec::new();
    let mut at = from;
    loop {
        let chunk = store.outbox().read(&lane, at, 1 << 20, 3).await.unwrap();
        if chunk.records.is_empty() {
            return bodies;
        }
        at = chunk.position_after(chunk.records.len());
        for record in chunk.records {
            bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
        }
    }
}

fn bodies(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

async fn ack(store: &Store, position: Position, accepted: u64) {
    let ack = Ack {
        output: splunk(),
        lane: LaneId::stream(&stream()),
        position,
        accepted,
        rejected: Vec::new(),
        filtered: 0,
    };
    store.ack(ack).await.unwrap();
}

fn segments(root: &Path) -> Vec<u64> {
    segment::list(&root.join("lanes/acme/siem-cg/receipt")).unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart_and_what_was_not_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    running.store.route(vec![splunk()]).await.unwrap();
    append(&running.store, bodies(0..10), Some(cursor(1)))
        .await
        .unwrap();
    append(&running.store, bodies(10..20), None).await.unwrap();
    running.stop().await;

    let running = start(dir.path());
    let store = &running.store;
    assert_eq!(read_all(store, Position::start_of(1)).await, bodies(0..10));
    let record = store.stream(&stream()).await.unwrap();
    assert_eq!((record.cursor, record.events), (Some(cursor(1)), 10));
    append(store, bodies(20..22), Some(cursor(2)))
        .await
        .unwrap();
    let expected = [bodies(0..10), bodies(20..22)].concat();
    assert_eq!(read_all(store, Position::start_of(1)).await, expected);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_shown_before_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    append(&running.store, bodies(0..5), None).await.unwrap();
    assert_eq!(running.store.outbox().lanes(), []);
    running.stop().await;
}

#[tokio::test]
async fn a_commit_that_began_from_another_cursor_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let mut late = store.writer(&stream()).await.unwrap();
    // A damaged frame sends the stream back while it is read.
    store.reset(&stream(), Some(cursor(1)), None).await.unwrap();
    let refused = tokio::task::spawn_blocking(move || {
        push(&mut late, "{}");
        late.commit(&cursor(9))
    });
    assert!(matches!(refused.await.unwrap(), Err(SinkError::Moved)));
    assert_eq!(
        store.stream(&stream()).await.unwrap().cursor,
        Some(cursor(1))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_segment_is_deleted_when_every_output_is_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let second = OutputId::new("second").unwrap();
    store.route(vec![splunk(), second.clone()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    let lane = LaneId::stream(&stream());
    let chunk = store
        .outbox()
        .read(&lane, Position::start_of(1), 1 << 20, 9)
        .await
        .unwrap();
    let end = chunk.position_after(3);
    ack(store, end, 3).await;
    assert_eq!(segments(dir.path()), [1]);
    let other = Ack {
        output: second,
        lane,
        position: end,
        accepted: 3,
        rejected: Vec::new(),
        filtered: 0,
    };
    store.ack(other).await.unwrap();
    assert_eq!(segments(dir.path()), Vec::<u64>::new());
    assert_eq!(store.outbox().bytes(), 0);

    // The position that the output holds in memory still leads to what comes next, also after a restart.
    append(store, bodies(3..4), Some(cursor(2))).await.unwrap();
    assert_eq!(read_all(store, end).await, bodies(3..4));
    running.stop().await;
    let running = start(dir.path());
    assert_eq!(read_all(&running.store, end).await, bodies(3..4));
    running.stop().await;
}

#[tokio::test]
async fn a_position_within_a_frame_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..10), Some(cursor(1))).await.unwrap();
    let lane = LaneId::stream(&stream());
    let chunk = store
        .outbox()
        .read(&lane, Position::start_of(1), 1 << 20, 4)
        .await
        .unwrap();
    assert_eq!(chunk.records.len(), 4);
    assert_eq!(
        read_all(store, chunk.position_after(2)).await,
        bodies(2..10)
    );
    ack(store, chunk.position_after(4), 4).await;
    let snapshot = store.snapshot().await.unwrap();
    let at = snapshot.positions.get(&(splunk(), lane)).unwrap();
    assert_eq!((at.passed, at.accepted), (4, 4));
    assert_eq!(read_all(store, at.position).await, bodies(4..10));
    running.stop().await;
}

#[tokio::test]
async fn an_output_that_is_new_begins_at_the_end_of_lanes_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..2), Some(cursor(1))).await.unwrap();
    let second = OutputId::new("second").unwrap();
    store.route(vec![splunk(), second.clone()]).await.unwrap();
    append(store, bodies(2..4), Some(cursor(2))).await.unwrap();
    let lane = LaneId::stream(&stream());
    let snapshot = store.snapshot().await.unwrap();
    let at = |output: OutputId| {
        snapshot
            .positions
            .get(&(output, lane.clone()))
            .unwrap()
            .position
    };
    assert_eq!(read_all(store, at(splunk())).await, bodies(0..4));
    assert_eq!(read_all(store, at(second)).await, bodies(2..4));
    running.stop().await;
}

#[tokio::test]
async fn a_lane_rolls_over_many_segments_and_is_read_through() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    // Random-looking bodies, so that compression does not keep them in one segment.
    let big: Vec<String> = (0..40_u64)
        .map(|n| {
            let mut x = n + 1;
            let digits: String = (0..60_000)
                .map(|_| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    format!("{:08x}", x >> 32)
                })
                .collect();
            format!("{{\"d\":\"{digits}\"}}")
        })
        .collect();
    append(store, big.clone(), Some(cursor(1))).await.unwrap();
    assert!(segments(dir.path()).len() > 1, "{:?}", segments(dir.path()));
    assert!(read_all(store, Position::start_of(1)).await == big);
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_frame_sends_its_stream_back_once_and_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    append(store, bodies(6..9), Some(cursor(3))).await.unwrap();
    let lane = LaneId::stream(&stream());
    let first = store
        .outbox()
        .read(&lane, Position::start_of(1), 1 << 20, 3)
        .await
        .unwrap();
    let at = first.position_after(3);
    let path = segment::path(&dir.path().join("lanes/acme/siem-cg/receipt"), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let hit = usize::try_from(at.offset).unwrap() + 90;
    bytes[hit] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let error = store
        .outbox()
        .read(&lane, at, 1 << 20, 9)
        .await
        .unwrap_err();
    let ReadError::Damaged { at, reason, .. } = error else {
        panic!("{error}");
    };
    let detour = store.damaged(&lane, at, reason.clone()).await.unwrap();
    assert!(detour.new);
    assert_eq!((detour.events, detour.cursor), (3, Some(cursor(1))));
    assert_eq!(read_all(store, detour.next).await, bodies(6..9));
    assert_eq!(
        store.stream(&stream()).await.unwrap().cursor,
        Some(cursor(1))
    );
    assert_eq!(store.snapshot().await.unwrap().asides.len(), 1);

    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    let again = store.damaged(&lane, at, reason).await.unwrap();
    assert!(!again.new);
    assert_eq!(
        store.stream(&stream()).await.unwrap().cursor,
        Some(cursor(2))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_memo_belongs_to_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let mut writer = store.writer(&stream()).await.unwrap();
    let work = move || {
        assert_eq!(writer.memo(), None);
        writer.commit_with(&cursor(1), Some(b"seen")).unwrap();
        writer.commit(&cursor(2)).unwrap();
        writer.memo()
    };
    let memo = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(memo.unwrap(), b"seen");
    running.stop().await;
    let running = start(dir.path());
    let writer = running.store.writer(&stream()).await.unwrap();
    assert_eq!(writer.memo().unwrap(), b"seen");
    drop(writer);
    running.store.reset(&stream(), None, None).await.unwrap();
    let writer = running.store.writer(&stream()).await.unwrap();
    assert_eq!((writer.memo(), writer.cursor()), (None, None));
    running.stop().await;
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let error = Store::open(dir.path(), clock()).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_later_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).stop().await;
    {
        #[expect(clippy::disallowed_methods, reason = "plays a later version")]
        let db = sled::open(dir.path().join("sled")).unwrap();
        let meta = db.open_tree(keys::META).unwrap();
        meta.insert("schema", keys::encode(&9_u32).unwrap())
            .unwrap();
        db.flush().unwrap();
    }
    let error = Store::open(dir.path(), clock()).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 9, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn records_put_aside_are_on_disk_before_the_commit_that_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let mut writer = store.writer(&stream()).await.unwrap();
    let work = move || {
        writer
            .quarantine("receipt", b"not json \xff", "not a JSON object")
            .unwrap();
        writer.commit(&cursor(1)).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let asides = store.snapshot().await.unwrap().asides;
    let aside = asides.into_values().next_back().unwrap();
    let text = std::fs::read_to_string(dir.path().join(&aside.file)).unwrap();
    assert!(text.contains("not json"), "{text}");
    assert_eq!(store.stream(&stream()).await.unwrap().quarantined, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_reason_of_any_length_is_put_aside_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let mut writer = running.store.writer(&stream()).await.unwrap();
    let reason = "\"é".repeat(20_000);
    let whole = reason.clone();
    let work = move || {
        writer.quarantine("receipt", b"odd", &reason).unwrap();
        writer.commit(&cursor(1)).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let (record, asides) = running.store.dead_letter(1).await.unwrap().unwrap();
    assert!(record.reason.len() < 1_100 && whole.starts_with(record.reason.trim_end_matches('…')));
    assert_eq!(asides[0].reason, whole);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_kept_whole_counts_against_the_spool_until_it_is_thrown_away() {
    const WHOLE: &[u8] = &[0x1f; 200_000];
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let keep = |mut writer: LaneWriter, next: Option<Cursor>| {
        let work = move || {
            writer.quarantine("receipt", b"{}", "cut off").unwrap();
            writer.keep(&mut &*WHOLE).unwrap();
            next.map_or(Ok(()), |next| writer.commit(&next)).unwrap();
        };
        tokio::task::spawn_blocking(work)
    };
    let writer = running.store.writer(&stream()).await.unwrap();
    keep(writer, None).await.unwrap();
    let files = || walk(&dir.path().join("quarantine"));
    assert_eq!(files(), 0, "what is not committed is not kept");
    let writer = running.store.writer(&stream()).await.unwrap();
    keep(writer, Some(cursor(1))).await.unwrap();
    let bytes = running.store.outbox().bytes();
    assert!(bytes > WHOLE.len() as u64, "{bytes}");
    running.stop().await;

    let running = start(dir.path());
    let store = &running.store;
    assert_eq!(store.outbox().bytes(), bytes);
    let (record, asides) = store.dead_letter(1).await.unwrap().unwrap();
    assert_eq!((asides.len(), asides[0].reason.as_str()), (1, "cut off"));
    assert_eq!(std::fs::read(store.kept(&record).unwrap()).unwrap(), WHOLE);
    store.discard(1).await.unwrap().unwrap();
    assert_eq!((files(), store.outbox().bytes()), (0, 0));
    running.stop().await;
}

/// How many files lie below a folder.
fn walk(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| if path.is_dir() { walk(&path) } else { 1 })
        .sum()
}

/// Two commits, the first delivered and acknowledged, and a state of health; then the process ends.
async fn filled(root: &Path) {
    let running = start(root);
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    let lane = LaneId::stream(&stream());
    let chunk = store
        .outbox()
        .read(&lane, Position::start_of(1), 1 << 20, 3)
        .await
        .unwrap();
    ack(store, chunk.position_after(1), 1).await;
    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    let state = serde_json::json!({"state": "blocked"});
    store
        .put_health("credential acme".to_owned(), state, None)
        .await
        .unwrap();
    running.stop().await;
}

/// What is left after sled was lost: all events, the cursor, the state; and the stream is not asked at once.
async fn assert_rescued(root: &Path) {
    let running = start(root);
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let at = snapshot
        .positions
        .get(&(splunk(), LaneId::stream(&stream())))
        .unwrap();
    assert_eq!(read_all(store, at.position).await, bodies(0..6));
    let record = store.stream(&stream()).await.unwrap();
    assert_eq!(record.cursor, Some(cursor(2)));
    assert!(record.poll.unwrap().done);
    assert!(snapshot.health.contains_key("credential acme"));
    append(store, bodies(6..7), Some(cursor(3))).await.unwrap();
    assert_eq!(read_all(store, at.position).await, bodies(0..7));
    running.stop().await;
    // What was rescued is as durable as ever.
    let running = start(root);
    let at = running.store.snapshot().await.unwrap();
    let at = at
        .positions
        .get(&(splunk(), LaneId::stream(&stream())))
        .unwrap()
        .position;
    assert_eq!(read_all(&running.store, at).await, bodies(0..7));
    running.stop().await;
}

#[tokio::test]
async fn a_lost_database_loses_no_event_no_cursor_and_no_state() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert_rescued(dir.path()).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_moved_aside_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    {
        #[expect(clippy::disallowed_methods, reason = "plays damage")]
        let db = sled::open(dir.path().join("sled")).unwrap();
        db.open_tree(keys::STREAMS)
            .unwrap()
            .insert("x/y", b"\x01{not json")
            .unwrap();
        db.flush().unwrap();
    }
    assert_rescued(dir.path()).await;
    let aside = std::fs::read_dir(dir.path()).unwrap();
    let aside = aside
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("sled-lost-"));
    assert_eq!(aside.count(), 1);
}

#[tokio::test]
async fn without_a_shadow_a_stream_goes_back_to_where_it_stood_before_its_last_frame() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    std::fs::remove_file(dir.path().join("shadow.json")).unwrap();
    let running = start(dir.path());
    let record = running.store.stream(&stream()).await.unwrap();
    assert_eq!(record.cursor, Some(cursor(1)));
}

#[tokio::test]
async fn a_step_that_was_given_up_and_still_decodes_wrote_where_the_next_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let mut old = running.store.writer(&stream()).await.unwrap();
    let store = running.store.clone();
    let mut next = Box::pin(async move { store.writer(&stream()).await.unwrap() });
    assert!(futures_util::poll!(&mut next).is_pending());
    let work = move || {
        push(&mut old, "{\"n\":0}");
        old.commit(&cursor(1)).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(next.await.cursor(), Some(&cursor(1)));
    running.stop().await;
}

#[tokio::test]
async fn what_is_put_aside_counts_against_the_spool_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    running.store.route(vec![splunk()]).await.unwrap();
    let mut writer = running.store.writer(&stream()).await.unwrap();
    let work = move || {
        writer.count(Counted::Read);
        let record = [b'x'; 5_000];
        writer.quarantine("receipt", &record, "why").unwrap();
        writer.commit(&cursor(1)).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let bytes = running.store.outbox().bytes();
    assert!((5_000..6_000).contains(&bytes), "{bytes}");
    running.stop().await;
    let running = start(dir.path());
    assert_eq!(running.store.outbox().bytes(), bytes);
    let known = running.store.stream(&stream()).await.unwrap();
    let tally = known.books.unwrap().tally;
    assert_eq!((tally.read, tally.stored, tally.quarantined), (1, 0, 1));
    running.stop().await;
}

/// Appends one event to a replay, and gives what came of its commit.
async fn append_replayed(writer: LaneWriter) -> Result<(), SinkError> {
    let work = move || {
        let mut writer = writer;
        push(&mut writer, "{\"n\":0}");
        writer.commit(&cursor(1))
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_replay_is_for_its_output_alone_and_forgotten_once_it_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let other = OutputId::new("other").unwrap();
    store.route(vec![splunk(), other.clone()]).await.unwrap();
    append(store, bodies(0..1), Some(cursor(9))).await.unwrap();
    let replay = stream().replayed(7);
    let lane = LaneId::stream(&replay);
    let wish = Replay {
        from: Timestamp::from_millis(1),
        to: Timestamp::from_millis(2),
        output: Some(splunk()),
        cancelled: false,
    };
    store.replay(vec![(replay.clone(), wish)]).await.unwrap();
    append_replayed(store.writer(&replay).await.unwrap())
        .await
        .unwrap();
    let late = OutputId::new("late").unwrap();
    store.route(vec![splunk(), other, late]).await.unwrap();
    let stored = store.snapshot().await.unwrap();
    let positions = stored.positions.keys().filter(|(_, of)| *of == lane);
    let outputs: Vec<_> = positions.map(|(output, _)| output.clone()).collect();
    assert_eq!(outputs, [splunk()]);
    let poll = PollRecord {
        started: Timestamp::from_millis(1),
        attempted: Timestamp::from_millis(1),
        attempts: 0,
        done: true,
        calls: None,
    };
    store
        .asked(vec![Asked::new(&replay, poll, poll.started)])
        .await
        .unwrap();
    assert!(
        !store.forget_replay(&replay).await.unwrap(),
        "not delivered yet"
    );
    let chunk = store
        .outbox()
        .read(&lane, Position::start_of(1), 1 << 20, 3)
        .await
        .unwrap();
    let ack = Ack {
        output: splunk(),
        lane: lane.clone(),
        position: chunk.position_after(1),
        accepted: 1,
        rejected: Vec::new(),
        filtered: 0,
    };
    store.ack(ack).await.unwrap();
    assert!(store.forget_replay(&replay).await.unwrap());
    assert!(
        !store.forget_replay(&stream()).await.unwrap(),
        "a live stream"
    );
    running.stop().await;
    let running = start(dir.path());
    let stored = running.store.snapshot().await.unwrap();
    assert_eq!(stored.streams.len(), 1);
    assert_eq!(
        stored.streams["acme/siem-cg/receipt"].cursor,
        Some(cursor(9))
    );
    assert!(!stored.lanes.contains_key(&lane));
    assert!(stored.positions.keys().all(|(_, of)| *of != lane));
    assert!(!dir.path().join("lanes").join(lane.folder()).exists());
    running.stop().await;
}

#[tokio::test]
async fn a_cancelled_replay_is_not_brought_back_by_a_fetch_that_is_still_out() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    let replay = stream().replayed(7);
    let wish = Replay {
        from: Timestamp::from_millis(1),
        to: Timestamp::from_millis(2),
        output: None,
        cancelled: true,
    };
    store.replay(vec![(replay.clone(), wish)]).await.unwrap();
    let writer = store.writer(&replay).await.unwrap();
    assert!(store.forget_replay(&replay).await.unwrap());
    let committed = append_replayed(writer).await;
    assert!(matches!(committed, Err(SinkError::Moved)), "{committed:?}");
    assert!(store.snapshot().await.unwrap().streams.is_empty());
    running.stop().await;
}

mod handover;
mod routes;
