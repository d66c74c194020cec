//! What an operator does with the state of a stopped collector; and state directories of other versions.

#![expect(clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::Command;

use mimecast_collector::clock::Clock;
use mimecast_collector::model::Timestamp;
use mimecast_collector::simulator::{
    Account, Action, Answer, Fault, Handle, HecEvent, Options, Publication, Target,
};
use serde_json::Value;

use super::harness::{Bench, Ended, look_until};

const DAY_MS: i64 = 86_400_000;

async fn bench() -> Bench {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]");
    bench.configure(&[integration], "");
    bench
}

async fn state(bench: &Bench, arguments: &str) -> Ended {
    let arguments: Vec<_> = ["state"].into_iter().chain(arguments.split(' ')).collect();
    let ended = bench.ended(&arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended
}

async fn waiting(bench: &Bench) -> u64 {
    let shown = state(bench, "show --json").await.out;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let outputs = shown["outputs"].as_array().unwrap().iter();
    let of_logs = outputs.filter(|place| place["lane"].as_str().unwrap().starts_with("two/"));
    of_logs
        .map(|place| place["waiting"].as_u64().unwrap())
        .sum()
}

/// Waits until so many events of each stream are on the disk.
async fn stored(bench: &Bench, streams: &[(&str, u64)]) {
    look_until("what waits", || {
        let shown = fs::read_to_string(bench.state_dir().join("shadow.json")).ok()?;
        let shown: Value = serde_json::from_str(&shown).ok()?;
        let has = |(name, events): &(&str, u64)| shown["streams"][name]["events"] == *events;
        streams.iter().all(has).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_running_collector_keeps_its_state_to_itself_and_says_how_to_stop_it() {
    let bench = bench().await;
    let none = bench.ended(&["state", "show"]).await;
    assert_eq!(none.code, Some(74), "{none:?}");
    assert!(none.err.contains("there is no state directory"), "{none:?}");
    let collector = bench.run(600);
    bench.handle.publish("two", "audit", "", 5).unwrap();
    bench.until_all_arrived().await;
    for command in [
        &["show"][..],
        &["export"],
        &["reset-cursor", "--integration", "two", "--oldest", "--yes"],
    ] {
        let arguments = [&["state"], command].concat();
        let ended = bench.ended(&arguments).await;
        assert_eq!(ended.code, Some(74), "{ended:?}");
        let said = "stop it first (systemctl stop mimecast-collector)";
        assert!(
            ended.err.contains(said) && ended.out.is_empty(),
            "{ended:?}"
        );
    }
    collector.stop().await;
    let shown = state(&bench, "show").await.out;
    for words in [
        "no collector is running",
        "FETCHED UNTIL",
        "audit",
        "WAITING",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
}

#[tokio::test]
async fn a_new_machine_goes_on_from_an_exported_state_and_misses_nothing() {
    let bench = bench().await;
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    bench.handle.publish("two", "audit", "", 5).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    // What is fetched now waits: the receiver is gone.
    let down = bench.handle.script(Fault::new(Target::Hec, Action::Reset));
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 7)
        .unwrap();
    bench.handle.publish("two", "audit", "", 7).unwrap();
    stored(&bench, &[("two/audit", 12), ("two/siem-cg/receipt", 12)]).await;
    collector.stop().await;
    assert_eq!(waiting(&bench).await, 14);
    state(&bench, "export --output state.json").await;
    let again = bench
        .ended(&["state", "export", "--output", "state.json"])
        .await;
    assert_eq!(again.code, Some(74), "it is there: {again:?}");

    // The old machine's disk is lost.
    fs::remove_dir_all(bench.state_dir()).unwrap();
    fs::create_dir(bench.state_dir()).unwrap();
    bench.handle.clear(down);
    let plan = state(&bench, "import state.json").await.out;
    assert!(plan.contains("nothing was done; to do it: --yes"), "{plan}");
    assert!(plan.contains("two/audit: goes to the place"), "{plan}");
    assert_eq!(fs::read_dir(bench.state_dir()).unwrap().count(), 0);
    let done = state(&bench, "import state.json --yes").await.out;
    assert_eq!(
        done,
        plan.replace("nothing was done; to do it: --yes", "done")
    );

    bench
        .handle
        .publish("two", "siem-cg", "receipt", 3)
        .unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    bench.assert_balanced().await;
    collector.stop().await;
    let hec = bench.handle.hec();
    assert_eq!(hec.distinct(), bench.handle.published_total());
    // The overlap of the last slices, of which the new machine does not know what was in it.
    assert!(hec.duplicates() <= 10, "{} repeats", hec.duplicates());
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_cursor_that_is_reset_fetches_again_under_the_same_ids_and_what_waits_is_kept() {
    let bench = bench().await;
    let mut past = Publication::new("two", "audit", "", 6);
    let now = Clock::system().wall().as_millis();
    past.at = Some(Timestamp::from_millis(now - 2 * DAY_MS));
    bench.handle.publish_as(&past).unwrap();
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);

    let to = Timestamp::from_millis(now - 3 * DAY_MS);
    let wish = format!("reset-cursor --integration two --log audit --to {to}");
    let plan = state(&bench, &wish).await.out;
    assert!(
        plan.contains(&format!("two/audit: from {to} to ")),
        "{plan}"
    );
    assert!(
        plan.contains("under the same event ids") && plan.contains("to do it: --yes"),
        "{plan}"
    );
    // A dry run changed nothing.
    let collector = bench.run(600);
    bench.handle.publish("two", "audit", "", 2).unwrap();
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);

    let later = Timestamp::from_millis(now + DAY_MS);
    let forward = format!("state reset-cursor --integration two --log audit --to {later} --yes");
    let refused = bench.ended(&forward.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(
        refused.err.contains("could pass over events"),
        "{refused:?}"
    );

    let published = bench.handle.published_total();
    state(&bench, &format!("{wish} --yes")).await;
    let collector = bench.run(600);
    let again = |handle: &Handle| handle.hec().duplicates() >= 8;
    bench.until("the audit log once more", again).await;
    bench.assert_balanced().await;
    collector.stop().await;
    let hec = bench.handle.hec();
    assert_eq!(hec.distinct(), published, "an id has changed");
    assert_eq!(hec.duplicates(), 8, "another log was fetched again too");
    bench.assert_no_violations();
}

/// What a state directory of the layout of today is kept as, for the versions to come. A layout that is new gets a file of its own:
/// `cargo test --test it what_this_version_leaves && cp target/state-layout-1.tar.gz tests/data/`, once, before it is released.
const LAYOUT: &str = "state-layout-1.tar.gz";

fn tar(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("tar");
    let done = command.current_dir(folder).args(arguments).status();
    assert!(done.unwrap().success(), "tar {arguments:?}");
}

/// An account whose key has expired, and one whose receiver is down.
fn two_accounts(bench: &Bench) {
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"),
    ];
    bench.configure(&integrations, "carry = [\"events\"]\n");
}

/// The ids and bodies of what has arrived, in order.
fn arrived(bench: &Bench) -> Vec<String> {
    let events = bench.handle.hec().events();
    let line = |event: &HecEvent| format!("{} {}", event.id().unwrap(), event.event());
    let mut lines: Vec<_> = events.iter().map(line).collect();
    lines.sort();
    lines
}

/// Opens what a version has left, and delivers what waits in it.
async fn opened_and_delivered(archive: &Path) {
    // Other events than those that are there.
    let bench = Bench::with(Options {
        seed: 2,
        ..Options::default()
    })
    .await;
    two_accounts(&bench);
    tar(bench.folder.path(), &["-xzf", archive.to_str().unwrap()]);
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    let left: Value = serde_json::from_str(&read("left.json")).unwrap();
    let found: Value = serde_json::from_str(&state(&bench, "export").await.out).unwrap();
    for member in ["installation", "streams", "outputs", "states", "put_aside"] {
        assert_eq!(found[member], left[member], "{member}");
    }
    let waiting: Vec<_> = read("waiting.txt").lines().map(str::to_owned).collect();
    assert_eq!(waiting.len(), 19);
    let collector = bench.run(600);
    let all = |handle: &Handle| handle.hec().distinct() >= 19;
    bench.until("what waits", all).await;
    bench.handle.publish("two", "audit", "", 1).unwrap();
    bench
        .until("what comes after", |handle| handle.hec().distinct() >= 20)
        .await;
    bench.assert_balanced().await;
    collector.stop().await;
    let mut arrived = arrived(&bench);
    arrived.retain(|line| waiting.contains(line));
    assert_eq!(arrived, waiting);
    assert_eq!(bench.handle.hec().total(), 20);
    assert_eq!(
        bench.requests_of("one").len(),
        0,
        "the expired key was tried"
    );
    bench.assert_no_violations();
}

#[tokio::test]
async fn what_this_version_leaves_is_opened_and_delivers_what_waits() {
    let bench = Bench::new().await;
    two_accounts(&bench);
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    bench.handle.script(expired);
    let down = bench.handle.script(Fault::new(Target::Hec, Action::Reset));
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 7)
        .unwrap();
    bench.handle.publish("two", "audit", "", 12).unwrap();
    let collector = bench.run(600);
    collector.logged(&["418/0001"]).await;
    stored(&bench, &[("two/audit", 12), ("two/siem-cg/receipt", 7)]).await;
    collector.stop().await;
    // The fast motion is the bench's.
    fs::remove_file(bench.state_dir().join("time-scale.json")).unwrap();
    let left = state(&bench, "export").await.out;
    bench.write("left.json", &left);
    let parts = ["state", "left.json", "waiting.txt"];
    tar(
        bench.folder.path(),
        &["-cf", "left.tar", "--exclude=ballast", parts[0]],
    );

    bench.handle.clear(down);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    bench.write("waiting.txt", &(arrived(&bench).join("\n") + "\n"));
    fs::remove_dir_all(bench.state_dir()).unwrap();
    tar(bench.folder.path(), &["-xf", "left.tar"]);
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(LAYOUT);
    let made = ["-czf", archive.to_str().unwrap()];
    tar(bench.folder.path(), &[&made, &parts[..]].concat());
    opened_and_delivered(&archive).await;
}

#[tokio::test]
async fn a_state_directory_of_each_released_layout_is_opened_and_delivers_what_waits() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut layouts: Vec<_> = fs::read_dir(kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    layouts.retain(|path| path.to_str().unwrap().ends_with(".tar.gz"));
    assert!(!layouts.is_empty(), "no layout is kept");
    for layout in layouts {
        opened_and_delivered(&layout).await;
    }
}
