//! Which lanes go to which outputs, and what a person gives up, sends again or throws away.

use std::collections::BTreeSet;

use super::*;
use crate::model::From;

fn of(output: &str, integration: &str) -> Route {
    Route {
        integrations: Some(BTreeSet::from([IntegrationId::new(integration).unwrap()])),
        ..Route::all(OutputId::new(output).unwrap())
    }
}

async fn positions(store: &Store) -> Vec<(String, u64)> {
    let positions = store.snapshot().await.unwrap().positions;
    let text = |((output, lane), at): ((OutputId, LaneId), PositionRecord)| {
        (format!("{output} {lane}"), at.passed)
    };
    positions.into_iter().map(text).collect()
}

const LANE: &str = "acme/siem-cg/receipt";

#[tokio::test]
async fn a_lane_begins_for_the_outputs_that_it_goes_to_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let late = |from| Route {
        from,
        ..of("late", "acme")
    };
    store
        .route(vec![of("splunk", "acme"), of("other", "beta")])
        .await
        .unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    assert_eq!(positions(store).await, [(format!("splunk {LANE}"), 0)]);
    let oldest = Route {
        from: From::Oldest,
        ..of("oldest", "acme")
    };
    let routes = vec![of("splunk", "acme"), late(From::Newest), oldest];
    store.route(routes).await.unwrap();
    assert_eq!(
        positions(store).await,
        [
            (format!("late {LANE}"), 3),
            (format!("oldest {LANE}"), 0),
            (format!("splunk {LANE}"), 0)
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_replay_goes_where_its_stream_goes_and_if_it_is_for_one_output_there_alone() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let routes = || ["splunk", "second"].map(|output| of(output, "acme"));
    let [splunk_route, second] = routes();
    store
        .route(vec![splunk_route, second, of("other", "beta")])
        .await
        .unwrap();
    for (number, output) in [(7, None), (8, Some(splunk()))] {
        let stream = stream().replayed(number);
        let wish = Replay {
            from: Timestamp::from_millis(1),
            to: Timestamp::from_millis(2),
            output,
            cancelled: false,
        };
        store.replay(vec![(stream.clone(), wish)]).await.unwrap();
        let writer = store.writer(&stream).await.unwrap();
        append_replayed(writer).await.unwrap();
    }
    let expected = [
        "second acme/siem-cg@7/receipt",
        "splunk acme/siem-cg@7/receipt",
        "splunk acme/siem-cg@8/receipt",
    ];
    assert_eq!(
        positions(store).await,
        expected.map(|text| (text.to_owned(), 0))
    );
    let late = Route {
        from: From::Oldest,
        ..of("late", "acme")
    };
    let [splunk_route, second] = routes();
    store.route(vec![splunk_route, second, late]).await.unwrap();
    let positions = positions(store).await;
    assert_eq!(positions[0].0, "late acme/siem-cg@7/receipt");
    assert_eq!(positions.len(), 4);
    assert!(store.snapshot().await.unwrap().left_behind.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_route_that_is_taken_away_keeps_its_backlog_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store
        .route(vec![of("splunk", "acme"), of("other", "acme")])
        .await
        .unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    let end = store.outbox().lanes()[0].1;
    store
        .route(vec![of("splunk", "acme"), of("other", "beta")])
        .await
        .unwrap();
    ack(store, end, 3).await;
    assert_eq!(segments(dir.path()), [1]);
    let left = store.snapshot().await.unwrap().left_behind;
    let other = OutputId::new("other").unwrap();
    assert_eq!(
        left,
        BTreeSet::from([(other.clone(), LaneId::from_text(LANE))])
    );
    let forgotten = store.forget(Forget::Output(other)).await.unwrap();
    assert_eq!((forgotten.records, forgotten.events), (1, 3));
    assert_eq!(segments(dir.path()), Vec::<u64>::new());
    running.stop().await;

    let running = start(dir.path());
    assert_eq!(
        positions(&running.store).await,
        [(format!("splunk {LANE}"), 3)]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_forgotten_integration_leaves_nothing_and_may_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    let credential = "credential acme".to_owned();
    store
        .put_health(credential, serde_json::json!({}), None)
        .await
        .unwrap();
    let acme = IntegrationId::new("acme").unwrap();
    let forgotten = store.forget(Forget::Integration(acme)).await.unwrap();
    assert_eq!(forgotten.events, 3);
    running.stop().await;
    assert!(!dir.path().join("lanes/acme/siem-cg/receipt").exists());

    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    let stored = store.snapshot().await.unwrap();
    assert!(stored.streams.is_empty() && stored.lanes.is_empty() && stored.health.is_empty());
    append(store, bodies(5..7), Some(cursor(9))).await.unwrap();
    assert_eq!(read_all(store, Position::start_of(1)).await, bodies(5..7));
    running.stop().await;
}

fn refused(n: usize) -> Aside {
    Aside {
        what: EventId([7; 16]).to_string(),
        withheld: false,
        reason: "the receiver said no".to_owned(),
        record: format!("{{\"n\":{n}}}"),
        event: Some(AsideEvent {
            time: Timestamp::from_millis(7),
            kind: "receipt".to_owned(),
            text: false,
        }),
    }
}

/// Three events, of which the receiver refuses the first.
async fn refuse_one(store: &Store) {
    store.route(vec![splunk()]).await.unwrap();
    append(store, bodies(0..3), Some(cursor(1))).await.unwrap();
    let ack = Ack {
        output: splunk(),
        lane: LaneId::stream(&stream()),
        position: store.outbox().lanes()[0].1,
        accepted: 2,
        rejected: vec![refused(0)],
        filtered: 0,
    };
    store.ack(ack).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_sent_again_once_as_it_was_and_a_restart_forgets_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    refuse_one(&running.store).await;
    let (record, records) = running.store.dead_letter(1).await.unwrap().unwrap();
    assert_eq!(record.reason, "the receiver said no");
    assert_eq!(records, [refused(0)]);
    running.stop().await;

    let running = start(dir.path());
    assert!(running.store.send_again(1).await.unwrap());
    assert!(!running.store.send_again(1).await.unwrap());
    assert!(!running.store.send_again(2).await.unwrap());
    running.stop().await;

    let running = start(dir.path());
    let store = &running.store;
    store.route(vec![splunk()]).await.unwrap();
    let again = LaneId::stream(&stream()).again(&splunk());
    let chunk = store
        .outbox()
        .read(&again, Position::start_of(1), 1 << 20, 9)
        .await
        .unwrap();
    let [event] = chunk.records.as_slice() else {
        panic!("{chunk:?}")
    };
    assert_eq!((event.id, &*event.kind), (EventId([7; 16]), "receipt"));
    assert_eq!(event.body_str(), r#"{"n":0}"#);
    let stored = store.snapshot().await.unwrap();
    assert!(stored.asides[&1].sent_again.is_some());
    assert_eq!(stored.positions[&(splunk(), again)].passed, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_kill_between_the_frames_of_a_dead_letter_and_its_record_sends_it_neither_twice_nor_never()
 {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    refuse_one(&running.store).await;
    running.stop().await;
    // What such a kill leaves: frames, whole or torn, that no record counts.
    let folder = dir.path().join("lanes/@again/splunk/acme/siem-cg/receipt");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(segment::path(&folder, 1), b"MCF\x01 torn").unwrap();
    let running = start(dir.path());
    let store = &running.store;
    assert!(
        store.snapshot().await.unwrap().asides[&1]
            .sent_again
            .is_none()
    );
    store.route(vec![splunk()]).await.unwrap();
    assert!(store.send_again(1).await.unwrap());
    let again = LaneId::stream(&stream()).again(&splunk());
    let chunk = store
        .outbox()
        .read(&again, Position::start_of(1), 1 << 20, 9)
        .await
        .unwrap();
    assert_eq!(chunk.records.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_is_thrown_away_is_gone_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    refuse_one(&running.store).await;
    let gone = running.store.discard(1).await.unwrap().unwrap();
    assert!(running.store.discard(1).await.unwrap().is_none());
    running.stop().await;
    assert!(!dir.path().join(&gone.file).exists());
    let running = start(dir.path());
    assert!(running.store.snapshot().await.unwrap().asides.is_empty());
    running.stop().await;
}

/// Tells twice that an integration is alive, and gives the events of the collector's own since the store began.
async fn beat_twice(store: &Store) -> u64 {
    for n in 0..2 {
        let notice = Notice::new("heartbeat", &n, Timestamp::from_millis(n));
        store.heartbeat("acme".to_owned(), notice).await.unwrap();
    }
    let lanes = store.snapshot().await.unwrap().lanes;
    lanes
        .get(&LaneId::collector())
        .map_or(0, |lane| lane.events)
}

async fn takes_all(store: &Store, output: &str) {
    let end = store.snapshot().await.unwrap().lanes[&LaneId::collector()].end;
    let ack = Ack {
        output: OutputId::new(output).unwrap(),
        lane: LaneId::collector(),
        position: end,
        accepted: 1,
        rejected: Vec::new(),
        filtered: 0,
    };
    store.ack(ack).await.unwrap();
}

#[tokio::test]
async fn an_output_that_is_down_does_not_silence_the_heartbeats_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let store = &running.store;
    let both = ["splunk", "archive"].map(|output| OutputId::new(output).unwrap());
    store.route(both.to_vec()).await.unwrap();
    // While both are down, one word is enough.
    assert_eq!(beat_twice(store).await, 1);
    takes_all(store, "splunk").await;
    assert_eq!(beat_twice(store).await, 2);
    takes_all(store, "splunk").await;
    assert_eq!(beat_twice(store).await, 3);
    running.stop().await;
}

#[tokio::test]
async fn heartbeats_that_no_output_carries_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let mut route = Route::all(splunk());
    route.carry.heartbeats = false;
    running.store.route(vec![route]).await.unwrap();
    assert_eq!(beat_twice(&running.store).await, 0);
    running.store.route(vec![splunk()]).await.unwrap();
    assert_eq!(beat_twice(&running.store).await, 1);
    running.stop().await;
}
