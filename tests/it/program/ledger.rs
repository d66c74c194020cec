//! The books of the whole program: they balance after whatever has happened, and say what that was.

use std::fs;
use std::path::{Path, PathBuf};

use mimecast_collector::ledger::Ledger;
use mimecast_collector::simulator::{Account, Answer, Fault, Handle, Target};

use super::harness::{Bench, within};

async fn bench() -> Bench {
    let bench = Bench::new().await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\", \"audit\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"),
    ];
    bench.configure(&integrations, "");
    bench
}

fn publish(handle: &Handle) {
    for (account, log, event_type) in [
        ("one", "siem", ""),
        ("one", "audit", ""),
        ("two", "siem-cg", "receipt"),
        ("two", "audit", ""),
    ] {
        handle.publish(account, log, event_type, 120).unwrap();
    }
}

/// The ledger that the running collector gives.
async fn ask(bench: &Bench) -> Ledger {
    let ended = bench.ended(&["ledger", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The ledger once nothing waits any more.
async fn settled(bench: &Bench) -> Ledger {
    let settled = async {
        loop {
            let ledger = ask(bench).await;
            assert!(ledger.balances, "{ledger:#?}");
            if ledger.outputs.iter().all(|lane| lane.waiting == 0) {
                return ledger;
            }
        }
    };
    within("an empty backlog", settled).await
}

/// How many events the output has accepted of what came from Mimecast.
fn accepted(ledger: &Ledger) -> u64 {
    let lanes = ledger.outputs.iter();
    let of_source = lanes.filter(|lane| !lane.stream.starts_with('@'));
    of_source.map(|lane| lane.accepted).sum()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|kind| kind == "seg") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_ledger_balances_with_what_was_published_and_after_a_kill_9_too() {
    let bench = bench().await;
    publish(&bench.handle);
    let collector = bench.run(600);
    let half = bench.handle.published_total() / 2;
    bench
        .until("half of the events", |h| h.hec().distinct() >= half)
        .await;
    collector.kill_9();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    let ledger = settled(&bench).await;
    let published = bench.handle.published_total();
    let stored: u64 = ledger.streams.iter().map(|s| s.books.tally.stored).sum();
    let read: u64 = ledger.streams.iter().map(|s| s.books.tally.read).sum();
    assert_eq!((stored, accepted(&ledger)), (published, published));
    assert!(read >= stored);
    let files: u64 = ledger
        .streams
        .iter()
        .map(|s| s.books.tally.files_fetched)
        .sum();
    assert!(files > 0);
    let text = bench.ended(&["ledger"]).await.out;
    assert!(text.starts_with("The ledger balances: of "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    for name in ["siem-cg/receipt", "one to splunk", "ACCEPTED"] {
        assert!(text.contains(name), "no {name} in {text}");
    }
    println!("{text}");
    collector.stop().await;
}

#[tokio::test]
async fn a_damaged_frame_and_a_lost_database_are_said_and_are_no_difference() {
    let bench = bench().await;
    publish(&bench.handle);
    // The receiver is down, so that everything waits on disk.
    bench
        .handle
        .script(Fault::answer(Target::Hec, Answer::empty(503)));
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    let stored = async {
        loop {
            let ledger = ask(&bench).await;
            let stored: u64 = ledger.streams.iter().map(|s| s.books.tally.stored).sum();
            if stored >= bench.handle.published_total() {
                return ledger;
            }
        }
    };
    let ledger = within("all events on disk", stored).await;
    assert!(ledger.balances && ledger.notes.is_empty(), "{ledger:#?}");
    collector.kill_9();
    let lane = bench.state_dir().join("lanes/two/siem-cg/receipt");
    let segment = segments(&lane).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    // Within the payload of the first frame.
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    bench.handle.clear_faults();
    let collector = bench.run(600);
    collector.logged(&["stored events are damaged"]).await;
    bench.until_all_arrived().await;
    let ledger = settled(&bench).await;
    let said = |ledger: &Ledger, what: &str| ledger.notes.iter().any(|note| note.contains(what));
    assert!(said(&ledger, "damaged frames stepped over"), "{ledger:#?}");
    assert!(said(&ledger, "went back 1 time"), "{ledger:#?}");

    collector.kill_9();
    fs::remove_dir_all(bench.state_dir().join("sled")).unwrap();
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    publish(&bench.handle);
    bench.until_all_arrived().await;
    let ledger = settled(&bench).await;
    assert!(said(&ledger, "the database was lost"), "{ledger:#?}");
    collector.stop().await;
}
