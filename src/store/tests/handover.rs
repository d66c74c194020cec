//! What another node needs of an integration, and taking it up.

use serde_json::json;

use super::*;
use crate::ledger;

fn acme() -> IntegrationId {
    IntegrationId::new("acme").unwrap()
}

fn lane() -> LaneId {
    LaneId::stream(&stream())
}

async fn portrait(store: &Store) -> Portrait {
    let mut portraits = store.portraits(vec![acme()]).await.unwrap();
    portraits.remove(&acme()).unwrap()
}

/// Commits with what the source remembers.
async fn remember(store: &Store, next: Cursor, memo: &'static [u8]) {
    let mut writer = store.writer(&stream()).await.unwrap();
    let work = move || {
        push(&mut writer, "{}");
        writer.commit_with(&next, Some(memo)).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn what_another_node_would_take_up_is_where_delivery_stands() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let gone = OutputId::new("gone").unwrap();
    store.route(vec![splunk(), gone]).await.unwrap();
    for (n, range) in [(1, 0..3), (2, 3..6)] {
        append(store, bodies(range), Some(cursor(n))).await.unwrap();
    }
    // An output that the configuration has no more holds nothing up.
    store.route(vec![splunk()]).await.unwrap();
    let stands = |portrait: Portrait| {
        let stream = portrait.streams[&stream()].clone();
        (stream.state.cursor.unwrap(), stream.undelivered)
    };
    let (fetched, waiting) = stands(portrait(store).await);
    let waiting = waiting.unwrap();
    assert_eq!((fetched, waiting.events), (cursor(2), 6));
    assert_eq!(store.fetched_from(&lane(), waiting.at).await, Some(None));
    let chunk = store
        .outbox()
        .read(&lane(), waiting.at, 1 << 20, 5)
        .await
        .unwrap();
    // In the middle of the second frame.
    ack(store, chunk.position_after(5), 5).await;
    let (_, waiting) = stands(portrait(store).await);
    let waiting = waiting.unwrap();
    assert_eq!((&waiting.output, waiting.events), (&splunk(), 1));
    let from = store.fetched_from(&lane(), waiting.at).await;
    assert_eq!(from, Some(Some(cursor(1))));
    let chunk = store
        .outbox()
        .read(&lane(), waiting.at, 1 << 20, 5)
        .await
        .unwrap();
    ack(store, chunk.position_after(1), 1).await;
    assert_eq!(stands(portrait(store).await), (cursor(2), None));
    assert!(portrait(store).await.is_delivered());
    running.stop().await;
}

/// The lane of three frames with three events each, of which an output has the first and has met damage in the second.
async fn damaged(dir: &std::path::Path, store: &Store) -> Detour {
    store.route(vec![splunk()]).await.unwrap();
    for (n, range) in [(1, 0..3), (2, 3..6), (3, 6..9)] {
        append(store, bodies(range), Some(cursor(n))).await.unwrap();
    }
    let outbox = store.outbox();
    let begin = Position::start_of(1);
    let first = outbox.read(&lane(), begin, 1 << 20, 3).await.unwrap();
    let at = first.position_after(3);
    ack(store, at, 3).await;
    let path = segment::path(&dir.join("lanes/acme/siem-cg/receipt"), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(at.offset).unwrap() + 90] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let reason = "a test's".to_owned();
    let detour = store.damaged(&lane(), at, reason).await.unwrap();
    ack(store, detour.next, 0).await;
    detour
}

async fn waiting(store: &Store) -> Undelivered {
    let portrait = portrait(store).await;
    portrait.streams[&stream()].undelivered.clone().unwrap()
}

#[tokio::test]
async fn another_node_begins_before_a_damaged_frame_though_a_later_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let detour = damaged(dir.path(), store).await;
    let third = waiting(store).await;
    assert_eq!(third.at, detour.next);
    // Its frame alone would say that everything before it is delivered.
    let from = store.fetched_from(&lane(), third.at).await;
    assert_eq!(from, Some(Some(cursor(2))));
    assert_eq!(third.repair.unwrap().cursor, Some(cursor(1)));
    let exported = store.delivered_until().await.unwrap();
    assert_eq!(exported[&stream().to_string()], Some(cursor(1)));

    // Once what was fetched again is next, its frame says it.
    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    let chunk = store.outbox().read(&lane(), third.at, 1 << 20, 3).await;
    ack(store, chunk.unwrap().position_after(3), 3).await;
    let again = waiting(store).await;
    assert_eq!(again.repair, None);
    let from = store.fetched_from(&lane(), again.at).await;
    assert_eq!(from, Some(Some(cursor(1))));
    running.stop().await;
}

#[tokio::test]
async fn a_second_damage_does_not_hide_the_first_from_an_output_that_is_behind_both() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    damaged(dir.path(), store).await;
    let end = store.snapshot().await.unwrap().lanes[&lane()].end;
    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    // The third frame still waits; what was fetched again is damaged too.
    let reason = "a test's".to_owned();
    assert!(store.damaged(&lane(), end, reason).await.unwrap().new);
    let repair = waiting(store).await.repair.unwrap();
    assert_eq!((repair.from, repair.cursor), (end, Some(cursor(1))));
    running.stop().await;
}

#[tokio::test]
async fn what_is_taken_up_counts_and_not_what_lies_here_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    append(store, bodies(3..6), Some(cursor(2))).await.unwrap();
    let at = waiting(store).await.at;
    let state = StreamState {
        cursor: Some(cursor(7)),
        ..StreamState::default()
    };
    let left = Left {
        streams: BTreeMap::from([(stream(), (state, None))]),
        health: BTreeMap::new(),
    };
    store.take_up(&acme(), 42, Some(left)).await.unwrap();
    let repair = waiting(store).await.repair.unwrap();
    assert_eq!(repair.cursor, Some(cursor(7)));
    // All of it is fetched again, or delivered by another node; so damage in it sends nobody back.
    let reason = "a test's".to_owned();
    let detour = store.damaged(&lane(), at, reason).await.unwrap();
    assert_eq!(detour.cursor, Some(cursor(7)));
    running.stop().await;
}

#[tokio::test]
async fn what_a_node_takes_up_is_whole_after_a_kill_and_replaces_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    remember(store, cursor(1), b"old").await;
    for subject in [
        "credential acme",
        "stream acme/siem-cg/receipt",
        "credential acme-2",
    ] {
        store
            .put_health(subject.to_owned(), json!("old"), None)
            .await
            .unwrap();
    }
    let now = Timestamp::from_millis(5_000);
    let poll = PollRecord {
        started: now,
        attempted: now,
        attempts: 3,
        done: false,
        calls: Some(Calls {
            first: now,
            last: now,
            used: 9,
        }),
    };
    let state = StreamState {
        cursor: Some(cursor(7)),
        poll: Some(poll),
        origin: Some(now),
        newest: Some(now),
        ..StreamState::default()
    };
    let locked = json!({"state": "blocked"});
    let left = Left {
        streams: BTreeMap::from([(stream(), (state.clone(), Some(b"new".to_vec())))]),
        health: BTreeMap::from([("credential acme".to_owned(), locked.clone())]),
    };
    store.take_up(&acme(), 42, Some(left)).await.unwrap();
    running.stop().await;

    let running = start(dir.path());
    let store = &running.store;
    let taken = portrait(store).await;
    assert_eq!(
        (taken.fence, &taken.streams[&stream()].state),
        (Some(42), &state)
    );
    assert_eq!(
        taken.health,
        BTreeMap::from([("credential acme".to_owned(), locked)])
    );
    let health = store.snapshot().await.unwrap().health;
    assert_eq!(health["credential acme-2"], json!("old"), "it is another's");
    let writer = store.writer(&stream()).await.unwrap();
    assert_eq!(writer.memo().as_deref(), Some(&b"new"[..]));
    assert_eq!(writer.cursor(), Some(&cursor(7)));
    // To take it up as it stands changes nothing but the fence.
    store.take_up(&acme(), 43, None).await.unwrap();
    let same = portrait(store).await;
    assert_eq!((same.fence, same.streams), (Some(43), taken.streams));
    drop(writer);
    running.stop().await;
}

#[tokio::test]
async fn a_replay_that_another_node_has_finished_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let replay = Replay {
        from: Timestamp::from_millis(0),
        to: Timestamp::from_millis(9),
        output: None,
        cancelled: false,
    };
    store
        .replay(vec![(stream().replayed(7), replay)])
        .await
        .unwrap();
    assert_eq!(portrait(store).await.streams.len(), 1);
    store
        .take_up(&acme(), 2, Some(Left::default()))
        .await
        .unwrap();
    assert_eq!(portrait(store).await.streams.len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn what_another_node_has_delivered_is_passed_over_and_the_books_balance() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..6), Some(cursor(1))).await.unwrap();
    assert_eq!(store.pass_over(&lane()).await.unwrap(), 6);
    assert_eq!(store.pass_over(&lane()).await.unwrap(), 0);
    assert!(portrait(store).await.is_delivered());
    assert!(segments(dir.path()).is_empty(), "their space is free");
    append(store, bodies(6..8), Some(cursor(2))).await.unwrap();
    let drawn_up = ledger::draw_up(store, Timestamp::from_millis(9_000))
        .await
        .unwrap();
    let differs: Vec<_> = drawn_up
        .differences
        .iter()
        .filter(|d| !d.contains("records read"))
        .collect();
    assert!(differs.is_empty(), "{differs:?}");
    let note =
        "acme/siem-cg/receipt at splunk: 6 events fetched here and delivered by another node";
    assert!(
        drawn_up.notes.iter().any(|found| found == note),
        "{:?}",
        drawn_up.notes
    );
    assert_eq!(drawn_up.outputs[0].waiting, 2);
    running.stop().await;
}
