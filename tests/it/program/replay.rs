//! `replay`: a span once more, beside the live traffic, which does not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::model::{Cursor, Timestamp};
use mimecast_collector::simulator::{
    Account, Action, Fault, Handle, HecEvent, Options, Publication, Target,
};
use mimecast_collector::store::Store;

use super::harness::{Bench, Ended, within};

const HOUR: Duration = Duration::from_secs(3600);
const CONSOLE: &str = "\n[[output]]\nname = \"console\"\ntype = \"stdout\"\n";

/// Files of two records, a page each, so that a replay has many steps.
async fn bench(records: usize) -> (Bench, Timestamp) {
    let bench = Bench::with(Options {
        records_per_file: 2,
        files_per_page: 1,
        ..Options::default()
    })
    .await;
    let logs = "[\"siem-cg\", \"audit\", \"held-summary\"]";
    let lines = "[integration.log.siem-cg]\ntypes = [\"receipt\"]\n[integration.log.audit]\npage_size = 20\n";
    let integration = bench.integration(&Account::v2("two"), logs);
    bench.configure(&[integration + lines], CONSOLE);
    for log in ["siem-cg", "audit"] {
        let event_type = if log == "siem-cg" { "receipt" } else { "" };
        let mut past = Publication::new("two", log, event_type, records);
        past.spread = 6 * HOUR;
        bench.handle.publish_as(&past).unwrap();
    }
    (bench, Clock::system().wall())
}

async fn replay(
    bench: &Bench,
    log: &str,
    (from, to): (Timestamp, Timestamp),
    more: &[&str],
) -> Ended {
    let (from, to) = (from.to_string(), to.to_string());
    let mut line = vec!["replay", "--integration", "two", "--log", log];
    line.extend(["--from", &from, "--to", &to]);
    line.extend(more);
    within("the end of the command", bench.ended(&line)).await
}

/// Whether an event is one of a replay.
fn is_replayed(event: &HecEvent) -> bool {
    event
        .fields
        .get("replayed")
        .is_some_and(|value| value == "true")
}

/// The ids of the events of a log, those that came live or those that were replayed.
fn ids(handle: &Handle, log: &str, replayed: bool) -> Vec<String> {
    let source = format!("mimecast:two:{log}");
    let events = handle.hec().events().into_iter();
    let events = events
        .filter(|event| event.source.as_deref() == Some(&source) && is_replayed(event) == replayed);
    events.map(|event| event.id().unwrap().to_owned()).collect()
}

/// The ids of the live events of a log whose time lies in a span.
fn live_within(handle: &Handle, log: &str, (from, to): (Timestamp, Timestamp)) -> BTreeSet<String> {
    let source = format!("mimecast:two:{log}");
    let live = |event: &HecEvent| event.source.as_deref() == Some(&source) && !is_replayed(event);
    let events = handle.hec().events().into_iter().filter(live);
    let within = events.filter(|event| {
        let (seconds, millis) = event.time.as_deref().unwrap().split_once('.').unwrap();
        let at: i64 = format!("{seconds}{millis}").parse().unwrap();
        (from.as_millis()..to.as_millis()).contains(&at)
    });
    within.map(|event| event.id().unwrap().to_owned()).collect()
}

/// What the store of a collector that has ended knows of its streams.
async fn cursors(state: &Path) -> BTreeMap<String, Option<Cursor>> {
    let (store, task) = Store::open(state, Clock::system()).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    let stored = store.snapshot().await.unwrap();
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    let streams = stored.streams.into_iter();
    streams
        .map(|(name, record)| (name, record.cursor))
        .collect()
}

#[tokio::test]
async fn a_replay_that_is_killed_goes_on_and_the_live_cursors_stand_where_they_stood() {
    let (bench, now) = bench(300).await;
    let collector = bench.run(1);
    bench.until_all_arrived().await;
    collector.stop().await;
    let before = cursors(&bench.state_dir()).await;
    // After the first of its files none comes, so that it is not over when it is killed, however fast the machine is.
    let held = Fault::new(Target::Objects, Action::Stall(None)).after(40);
    bench.handle.script(held);
    let collector = bench.run(1);
    collector.logged(&["INFO", "running"]).await;
    let span = (now - 7 * HOUR, now + HOUR);
    let mut command = {
        let (from, to) = (span.0.to_string(), span.1.to_string());
        let line = [
            "replay",
            "--integration",
            "two",
            "--log",
            "siem-cg",
            "--from",
            &from,
            "--to",
            &to,
        ];
        bench.start(&line)
    };
    let some = |handle: &Handle| handle.hec().duplicates() >= 20;
    bench.until("a part of the replay", some).await;
    collector.kill_9();
    bench.handle.clear_faults();
    assert!(bench.handle.hec().duplicates() < 300, "it was over already");
    assert_eq!(
        command.code().await,
        Some(69),
        "the command outlived the collector"
    );
    let collector = bench.run(60);
    let all = |handle: &Handle| {
        let replayed = ids(handle, "siem-cg", true).into_iter();
        replayed.collect::<BTreeSet<_>>().len() == 300
    };
    bench.until("the whole replay", all).await;
    let over = async {
        while !bench
            .ended(&["replay", "--list"])
            .await
            .out
            .contains("no replay is under way")
        {}
    };
    within("the end of the replay", over).await;
    collector.stop().await;
    let after = cursors(&bench.state_dir()).await;
    let siem = "two/siem-cg/receipt";
    assert_eq!(after.get(siem), before.get(siem));
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    assert!(
        !bench
            .state_dir()
            .join("lanes/two")
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().contains('@') })
    );
    let live: BTreeSet<_> = ids(&bench.handle, "siem-cg", false).into_iter().collect();
    let replayed: BTreeSet<_> = ids(&bench.handle, "siem-cg", true).into_iter().collect();
    assert_eq!(live, replayed, "other events than the originals");
    assert_eq!(
        ids(&bench.handle, "siem-cg", false).len(),
        300,
        "live events came twice"
    );
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_replay_keeps_to_its_span_and_to_the_output_that_it_is_for() {
    let (bench, now) = bench(60).await;
    let collector = bench.run(1);
    bench.until_all_arrived().await;
    let span = (now - 4 * HOUR, now - 2 * HOUR);
    for log in ["siem-cg", "audit"] {
        let ended = replay(&bench, log, span, &["--output", "splunk"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("is over"), "{}", ended.out);
        let replayed = ids(&bench.handle, log, true);
        let distinct: BTreeSet<_> = replayed.iter().cloned().collect();
        assert_eq!(distinct.len(), replayed.len(), "{log}: some came twice");
        // Slices of time are asked for in whole seconds.
        let least = live_within(&bench.handle, log, span);
        let second = Duration::from_secs(1);
        let most = live_within(&bench.handle, log, (span.0 - second, span.1 + second));
        assert!((5..55).contains(&least.len()), "{log}: {}", least.len());
        assert!(
            distinct.is_superset(&least) && distinct.is_subset(&most),
            "{log}"
        );
    }
    let out = collector.out();
    assert!(
        out.contains("\"event_id\"") && !out.contains("replayed"),
        "{out}"
    );
    let ended = replay(&bench, "audit", span, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(collector.out().contains("\"replayed\":true"));
    collector.stop().await;
    bench.assert_no_violations();
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused_and_a_dry_run_asks_nothing() {
    let (bench, now) = bench(10).await;
    let collector = bench.run(1);
    bench.until_all_arrived().await;
    let asked = bench.requests_of("two").len();
    let span = (now - 48 * HOUR, now - HOUR);
    let ended = replay(&bench, "audit", span, &["--dry-run"]).await;
    assert!(ended.out.contains("at least 2 requests"), "{}", ended.out);
    let old = (now - 24 * 30 * HOUR, now);
    let ended = replay(&bench, "siem-cg", old, &["--dry-run"]).await;
    assert!(ended.out.contains("is missing"), "{}", ended.out);
    for (log, span, why) in [
        ("held-summary", span, "it cannot be replayed"),
        ("audits", span, "it has: siem-cg, audit, held-summary"),
        ("audit", (now, now - HOUR), "ends before it begins"),
        (
            "siem-cg",
            (now - 24 * 30 * HOUR, now - 24 * 20 * HOUR),
            "nothing of that span is left",
        ),
    ] {
        let ended = replay(&bench, log, span, &[]).await;
        assert_ne!(ended.code, Some(0));
        assert!(ended.err.contains(why), "{}", ended.err);
    }
    let ended = bench.ended(&["replay", "--cancel", "7"]).await;
    assert!(ended.err.contains("there is no replay 7"), "{}", ended.err);
    assert_eq!(bench.requests_of("two").len(), asked);
    assert_eq!(bench.handle.hec().duplicates(), 0);
    collector.stop().await;
}
