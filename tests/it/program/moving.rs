//! What changes over the years: another API, a restored backup, an older version; as docs/operations.md says.

use std::fs;
use std::path::Path;

use mimecast_collector::clock::Clock;
use mimecast_collector::model::Timestamp;
use mimecast_collector::simulator::{Account, Handle, HecEvent, Publication};

use super::harness::{Bench, look_until};

const DAY_MS: i64 = 86_400_000;

/// The events of an integration, by the field that tells.
fn of<'a>(events: &'a [HecEvent], integration: &str) -> Vec<&'a HecEvent> {
    let is = |event: &&HecEvent| {
        event
            .fields
            .get("integration")
            .is_some_and(|name| name == integration)
    };
    events.iter().filter(is).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The account's integration under another name.
fn named(bench: &Bench, account: &Account, logs: &str, name: &str) -> String {
    let text = bench.integration(account, logs);
    text.replace(
        &format!("name = \"{}\"", account.name),
        &format!("name = \"{name}\""),
    )
}

#[tokio::test]
async fn an_integration_that_moves_to_api_2_keeps_the_place_of_its_audit_log_and_loses_nothing() {
    let bench = Bench::new().await;
    let old = named(&bench, &Account::v1("one"), "[\"siem\", \"audit\"]", "acme");
    bench.configure(&[old], "");
    bench.handle.publish("one", "siem", "receipt", 5).unwrap();
    bench.handle.publish("one", "audit", "", 5).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;

    // Older than the place of the audit log: fetched if that began anew.
    let mut past = Publication::new("two", "audit", "", 4);
    past.at = Some(Timestamp::from_millis(
        Clock::system().wall().as_millis() - 3 * DAY_MS,
    ));
    bench.handle.publish_as(&past).unwrap();
    let new = named(
        &bench,
        &Account::v2("two"),
        "[\"siem-cg\", \"audit\"]",
        "acme",
    );
    bench.configure(&[new], "");
    collector.signal("HUP");
    collector
        .logged(&["INFO", "configuration was read again"])
        .await;
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    bench.handle.publish("two", "audit", "", 5).unwrap();
    let but_the_past = |handle: &Handle| handle.hec().distinct() >= 20;
    bench.until("the events of both APIs", but_the_past).await;
    let arrived = bench.handle.hec().events();
    assert_eq!(of(&arrived, "acme").len(), 20);
    let bodies: Vec<_> = arrived.iter().map(HecEvent::event).collect();
    let old = bench.handle.published("two", "audit", "");
    let old = old
        .iter()
        .take(4)
        .map(|record| String::from_utf8_lossy(record));
    for record in old {
        assert!(
            !bodies.contains(&record.as_ref()),
            "audit was begun anew: {record}"
        );
    }
    bench.assert_balanced().await;
    collector.stop().await;
}

#[tokio::test]
async fn both_apis_may_run_beside_each_other_until_the_new_one_has_proved_itself() {
    let bench = Bench::new().await;
    let old = named(&bench, &Account::v1("one"), "[\"siem\", \"audit\"]", "acme");
    bench.configure(std::slice::from_ref(&old), "");
    bench.handle.publish("one", "siem", "receipt", 5).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;

    let new = named(
        &bench,
        &Account::v2("two"),
        "[\"siem-cg\", \"audit\"]",
        "acme-2",
    );
    bench.configure(&[old, new.clone()], "");
    collector.signal("HUP");
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    bench.handle.publish("one", "audit", "", 5).unwrap();
    bench.handle.publish("two", "audit", "", 5).unwrap();
    bench.until_all_arrived().await;
    let events = bench.handle.hec().events();
    assert_eq!(of(&events, "acme").len(), 10);
    assert_eq!(of(&events, "acme-2").len(), 10);

    bench.configure(&[new], "");
    collector.signal("HUP");
    look_until("the second reload", || {
        let read = collector.lines(&["INFO", "configuration was read again"]);
        (read.len() == 2).then_some(())
    })
    .await;
    let asked = bench.requests_of("one").len();
    bench.handle.publish("two", "audit", "", 5).unwrap();
    bench.until_all_arrived().await;
    assert_eq!(
        bench.requests_of("one").len(),
        asked,
        "the old one is asked still"
    );
    let forgotten = bench.ended(&["forget", "acme", "--yes"]).await;
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    collector.stop().await;
}

#[tokio::test]
async fn a_restored_backup_repeats_events_under_their_ids_and_loses_none() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]");
    bench.configure(&[integration], "");
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    copy(&bench.state_dir(), &bench.path("backup"));

    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    bench.handle.publish("two", "audit", "", 5).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;

    fs::remove_dir_all(bench.state_dir()).unwrap();
    copy(&bench.path("backup"), &bench.state_dir());
    let published = bench.handle.published_total();
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    let hec = bench.handle.hec();
    assert_eq!(
        hec.distinct(),
        published + 5,
        "an id has changed, or an event is missing"
    );
    assert!(hec.duplicates() <= 10, "{} repeats", hec.duplicates());
}

#[tokio::test]
async fn an_older_version_refuses_a_newer_state_directory_and_changes_nothing() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"audit\"]");
    bench.configure(&[integration], "");
    let collector = bench.run(600);
    collector.stop().await;
    {
        #[expect(clippy::disallowed_methods, reason = "plays a later version")]
        let db = sled::open(bench.state_dir().join("sled")).unwrap();
        let meta = db.open_tree("meta").unwrap();
        let mut value = meta.get("schema").unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() = b'9';
        meta.insert("schema", value).unwrap();
        db.flush().unwrap();
    }
    let lanes = || fs::read_dir(bench.state_dir()).unwrap().count();
    let before = lanes();
    let ended = bench.ended(&["run"]).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    let said = "has layout 9, this version knows layouts up to 1: run the newer version";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert_eq!(lanes(), before);
}
