use std::fs;
use std::time::Duration;

use super::*;
use crate::model::{Event, EventId, Form, IntegrationId, Sink as _};
use crate::store::{Ack, Asked, PollRecord};

const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

fn clock() -> Clock {
    Clock::manual(NOW)
}

fn stream(log: &str) -> StreamId {
    StreamId::new(&IntegrationId::new("acme").unwrap(), log, "")
}

fn cursor(text: &str) -> Cursor {
    Cursor::new(text.to_owned()).unwrap()
}

fn output() -> OutputId {
    OutputId::new("splunk").unwrap()
}

/// Two parts of two events each of the audit log, of which the output has had `delivered`.
async fn collected(root: &Path, delivered: usize) {
    let held = Held::with(Store::open(root, clock()).unwrap(), clock());
    let store = &held.store;
    store.route(vec![output()]).await.unwrap();
    let stream = stream("audit");
    let poll = PollRecord {
        started: NOW,
        attempted: NOW,
        attempts: 0,
        done: true,
        calls: None,
    };
    let origin = NOW - Duration::from_hours(240);
    store
        .asked(vec![Asked::new(&stream, poll, origin)])
        .await
        .unwrap();
    let mut writer = store.writer(&stream).await.unwrap();
    let write = move || {
        for (part, next) in ["one", "two"].into_iter().enumerate() {
            for n in 0..2 {
                let body = format!("{{\"n\":{}}}", part * 2 + n);
                let event = Event {
                    body: &body,
                    time: NOW,
                    id: EventId::of(&stream.integration, "audit", body.as_bytes()),
                };
                writer.push("audit", Form::Json, event).unwrap();
            }
            writer.commit(&cursor(next)).unwrap();
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
    let lane = LaneId::from_text("acme/audit");
    let mut at = store.snapshot().await.unwrap().positions[&(output(), lane.clone())].position;
    let mut left = delivered;
    while left > 0 {
        let chunk = store.outbox().read(&lane, at, 1 << 20, left).await.unwrap();
        let taken = left.min(chunk.records.len());
        at = chunk.position_after(taken);
        left -= taken;
    }
    let ack = Ack {
        output: output(),
        lane,
        position: at,
        accepted: delivered as u64,
        rejected: Vec::new(),
        filtered: 0,
    };
    store.ack(ack).await.unwrap();
    let state = serde_json::json!({"state": "healthy"});
    let subject = "credential acme".to_owned();
    store.put_health(subject, state, None).await.unwrap();
    held.release().await.unwrap();
}

async fn exported(root: &Path) -> Document {
    let held = Held::open(root, clock()).unwrap();
    let document = held.document().await.unwrap();
    held.release().await.unwrap();
    let text = serde_json::to_vec(&document).unwrap();
    let read = Document::read(Path::new("state.json"), &text).unwrap();
    assert_eq!(read, document);
    document
}

fn place(document: &Document) -> &Place {
    &document.streams["acme/audit"]
}

#[tokio::test]
async fn an_export_says_from_where_nothing_is_missing_without_the_lanes() {
    for (delivered, from) in [(0, None), (1, None), (2, Some("one")), (4, Some("two"))] {
        let dir = tempfile::tempdir().unwrap();
        collected(dir.path(), delivered).await;
        let document = exported(dir.path()).await;
        let place = place(&document);
        assert_eq!(place.record.cursor, Some(cursor("two")));
        assert_eq!(
            place.delivered_until,
            from.map(cursor),
            "{delivered} delivered"
        );
        assert_eq!(document.outputs[0].waiting, 4 - delivered as u64);
    }
}

#[tokio::test]
async fn an_import_into_an_empty_directory_goes_on_where_all_was_delivered_as_the_same_installation()
 {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    collected(old.path(), 2).await;
    let document = exported(old.path()).await;
    let plan = import::look(&document, new.path(), &clock()).await.unwrap();
    assert!(
        plan.said[0].contains("what waited for outputs then is fetched again"),
        "{plan:?}"
    );
    assert_eq!(fs::read_dir(new.path()).unwrap().count(), 0, "a dry run");

    let done = import::run(&document, new.path(), &clock()).await.unwrap();
    assert_eq!(done, plan);
    let there = exported(new.path()).await;
    assert_eq!(there.installation, document.installation);
    let (was, is) = (place(&document), place(&there));
    assert_eq!(is.record.cursor, Some(cursor("one")));
    assert_eq!(is.record.poll, was.record.poll);
    assert_eq!(is.record.origin, was.record.origin);
    assert_eq!(there.states, document.states);
    assert!(there.outputs.is_empty(), "lanes are not carried");
    // Once more changes nothing.
    let again = import::look(&document, new.path(), &clock()).await.unwrap();
    assert!(again.said[0].contains("1 streams stand"), "{again:?}");
}

#[tokio::test]
async fn an_import_into_its_own_directory_keeps_what_waits_and_never_asks_sooner() {
    let dir = tempfile::tempdir().unwrap();
    collected(dir.path(), 2).await;
    let mut document = exported(dir.path()).await;
    document.states.insert(
        "credential acme".to_owned(),
        serde_json::json!({"state": "renewing"}),
    );
    let streams = &mut document.streams;
    let earlier = streams.get_mut("acme/audit").unwrap();
    earlier.record.poll.as_mut().unwrap().started = NOW - Duration::from_hours(5);
    import::run(&document, dir.path(), &clock()).await.unwrap();
    let after = exported(dir.path()).await;
    assert_eq!(place(&after).record.cursor, Some(cursor("one")));
    assert_eq!(place(&after).record.poll.unwrap().started, NOW);
    assert_eq!(after.states["credential acme"]["state"], "healthy");
    assert_eq!(after.outputs[0].waiting, 2);
}

#[tokio::test]
async fn the_state_of_another_installation_is_refused_and_so_is_what_is_no_state() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    collected(one.path(), 4).await;
    collected(two.path(), 4).await;
    let document = exported(one.path()).await;
    let before = exported(two.path()).await;
    let error = import::run(&document, two.path(), &clock()).await;
    let told = error.unwrap_err().to_string();
    assert!(told.contains("or into an empty directory"), "{told}");
    assert_eq!(exported(two.path()).await, before);

    let read = |text: &str| Document::read(Path::new("x.json"), text.as_bytes());
    let told = |text: &str| read(text).unwrap_err().to_string();
    assert!(told("[]").contains("cannot import x.json: it is no exported state"));
    assert!(told("{\"version\":2}").contains("use the newer program"));
    let mut wrong = document.clone();
    wrong.installation = "me".to_owned();
    let said = told(&serde_json::to_string(&wrong).unwrap());
    assert!(said.contains("'me' is no UUID"), "{said}");
    let mut wrong = document;
    let place = wrong.streams.remove("acme/audit").unwrap();
    wrong.streams.insert("audit".to_owned(), place);
    let said = told(&serde_json::to_string(&wrong).unwrap());
    assert!(said.contains("'audit' is no name of a stream"), "{said}");
}

fn wish(to: Option<Timestamp>) -> reset::Wish {
    reset::Wish {
        integration: "acme".to_owned(),
        log: Some("audit".to_owned()),
        to,
    }
}

#[tokio::test]
async fn a_stream_is_sent_back_and_what_waits_of_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    collected(dir.path(), 2).await;
    let to = NOW - Duration::from_hours(48);
    let held = Held::open(dir.path(), clock()).unwrap();
    let plan = held.plan_reset(&wish(Some(to))).await.unwrap();
    assert_eq!(
        plan.said,
        [
            "acme/audit: from 2026-01-04T09:08:07.000Z to 2026-01-06T09:08:07.000Z (2 d) is fetched again"
        ]
    );
    assert_eq!(
        held.document().await.unwrap().streams["acme/audit"]
            .record
            .cursor,
        Some(cursor("two"))
    );
    held.reset(&plan).await.unwrap();
    held.release().await.unwrap();
    let after = exported(dir.path()).await;
    let record = &place(&after).record;
    assert_eq!((&record.cursor, record.origin), (&None, Some(to)));
    assert_eq!(record.poll.unwrap().started, NOW, "the interval is kept");
    assert_eq!(after.outputs[0].waiting, 2);
}

#[tokio::test]
async fn a_stream_is_never_sent_forward_and_an_unknown_name_is_answered_with_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    collected(dir.path(), 2).await;
    let held = Held::open(dir.path(), clock()).unwrap();
    let refused = async |wish: reset::Wish| held.plan_reset(&wish).await.unwrap_err().to_string();
    for later in [
        NOW,
        NOW - Duration::from_mins(59),
        NOW + Duration::from_hours(1),
    ] {
        let told = refused(wish(Some(later))).await;
        assert!(told.contains("could pass over events"), "{told}");
    }
    assert!(
        held.plan_reset(&wish(Some(NOW - Duration::from_mins(60))))
            .await
            .is_ok()
    );
    let mut other = wish(None);
    other.integration = "acne".to_owned();
    let told = refused(other.clone()).await;
    assert_eq!(
        told,
        "no integration 'acne' has been polled; there are: acme"
    );
    other.integration = "acme".to_owned();
    other.log = Some("siem".to_owned());
    let told = refused(other).await;
    assert_eq!(told, "no log 'siem' has been polled; there are: audit");
    held.release().await.unwrap();
}

#[tokio::test]
async fn while_a_first_backlog_is_fetched_the_newest_event_bounds_how_far_a_stream_can_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    collected(dir.path(), 4).await;
    let mut document = exported(dir.path()).await;
    let record = &mut document.streams.get_mut("acme/audit").unwrap().record;
    record.poll.as_mut().unwrap().done = false;
    record.newest = Some(NOW - Duration::from_hours(100));
    record.fetched_until = Some(NOW);
    let later = wish(Some(NOW - Duration::from_hours(99)));
    let told = reset::plan(&document, &later, NOW).unwrap_err().to_string();
    assert!(told.contains("could pass over events"), "{told}");
    let earlier = wish(Some(NOW - Duration::from_hours(103)));
    assert!(reset::plan(&document, &earlier, NOW).is_ok());
}

#[tokio::test]
async fn a_directory_that_is_missing_unused_in_use_or_anothers_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let told = |error: StateError| error.to_string();
    let nowhere = dir.path().join("nowhere");
    let error = Held::open(&nowhere, clock()).unwrap_err();
    assert!(told(error).starts_with("there is no state directory"));
    assert!(!nowhere.exists());
    let error = Held::open(dir.path(), clock()).unwrap_err();
    assert!(told(error).contains("holds nothing: no collector has run with it"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    collected(dir.path(), 0).await;
    let held = Held::open(dir.path(), clock()).unwrap();
    let error = Held::open(dir.path(), clock()).unwrap_err();
    assert!(told(error).contains("a collector is running with the state directory"));
    held.release().await.unwrap();

    let error = same_user(dir.path(), 990, 0).unwrap_err();
    assert!(told(error).contains("runuser -u mimecast-collector"));
    assert!(same_user(dir.path(), 990, 990).is_ok());
}

#[tokio::test]
async fn a_lost_database_is_left_to_the_collector() {
    let dir = tempfile::tempdir().unwrap();
    collected(dir.path(), 2).await;
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let error = Held::open(dir.path(), clock()).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("is lost") && told.contains("start the collector"),
        "{told}"
    );
    let aside = fs::read_dir(dir.path()).unwrap();
    let aside = aside.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("sled-lost")
    });
    assert_eq!(aside.count(), 0);
}
