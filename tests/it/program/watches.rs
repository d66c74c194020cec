//! What people are told although no request fails by it, on its way to a receiver: raised once, cleared once, over kills and restarts.

use std::fs;
use std::time::Duration;

use mimecast_collector::simulator::{Account, Answer, Fault, Handle, HecEvent, Target};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::harness::{Bench, Program, look_until};

const SCALE: u32 = 600;
const DAY: Duration = Duration::from_hours(24);

async fn bench() -> Bench {
    let bench = Bench::new().await;
    configure(&bench, "");
    bench
}

/// One integration, one event collector, and these lines.
fn configure(bench: &Bench, more: &str) {
    let integration = bench.integration(&Account::v2("two"), "[\"audit\"]");
    bench.configure(&[integration], more);
}

/// What has arrived of the collector's own: each event once, as a kill may repeat one under the same id.
fn own(handle: &Handle, kind: &str) -> Vec<Value> {
    let (mut ids, mut events) = (Vec::new(), Vec::new());
    let is_it = |event: &HecEvent| event.sourcetype.as_deref() == Some(kind);
    for event in handle.hec().of_the_collector().into_iter().filter(is_it) {
        let id = event.id().unwrap().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
            events.push(serde_json::from_str(event.event()).unwrap());
        }
    }
    events
}

/// The alerts of this code that have arrived.
fn told(handle: &Handle, code: &str) -> Vec<String> {
    let mut alerts = own(handle, "mimecast:collector:alert");
    alerts.retain(|alert| alert["code"] == code);
    let what = alerts.iter().map(|alert| alert["alert"].as_str().unwrap());
    what.map(str::to_owned).collect()
}

async fn until_told(bench: &Bench, code: &str, expected: &[&str]) {
    let what = format!("{expected:?} of {code}");
    bench
        .until(&what, |handle| told(handle, code).len() >= expected.len())
        .await;
    assert_eq!(told(&bench.handle, code), expected, "{code}");
}

/// Some more of the schedule, by the heartbeats that arrive.
async fn spend_minutes(bench: &Bench, minutes: usize) {
    let beats = || own(&bench.handle, "mimecast:collector:heartbeat").len();
    let enough = beats() + minutes.div_ceil(5);
    bench.until("heartbeats", |_| beats() >= enough).await;
}

async fn killed_and_run_again(bench: &Bench, collector: Program) -> Program {
    collector.kill_9();
    let collector = bench.run(SCALE);
    spend_minutes(bench, 20).await;
    collector
}

/// Lets the schedule's time jump while the program does not run.
fn shift(bench: &Bench, by: Duration) {
    let path = bench.state_dir().join("time-scale.json");
    let anchor: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let wall = anchor.get("wall").and_then(Value::as_u64).unwrap();
    let real = u64::try_from(by.as_millis()).unwrap() / u64::from(SCALE - 1);
    let anchor = serde_json::json!({ "wall": wall - real });
    fs::write(&path, anchor.to_string()).unwrap();
}

#[tokio::test]
async fn an_output_that_is_down_for_a_quarter_of_an_hour_is_told_to_another_and_cleared_once() {
    let bench = bench().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let syslog = format!(
        "\n[[output]]\nname = \"archive\"\ntype = \"syslog\"\naddress = \"{address}\"\ntransport = \"tcp\"\n"
    );
    configure(&bench, &syslog);
    let collector = bench.run(SCALE);
    let code = "syslog/connect";
    bench.handle.publish("two", "audit", "", 5).unwrap();
    until_told(&bench, code, &["raised"]).await;
    let alerts = own(&bench.handle, "mimecast:collector:alert");
    let alert = alerts.iter().find(|alert| alert["code"] == code).unwrap();
    assert_eq!(
        (&alert["output"], &alert["severity"]),
        (&"archive".into(), &"high".into())
    );
    let time = |name: &str| -> jiff::Timestamp { alert[name].as_str().unwrap().parse().unwrap() };
    let lasted = time("time").duration_since(time("since"));
    assert!(lasted.as_secs() >= 15 * 60, "told after {lasted:?}");
    let collector = killed_and_run_again(&bench, collector).await;
    assert_eq!(told(&bench.handle, code), ["raised"]);

    let listener = TcpListener::bind(address).await.unwrap();
    let mut receiver = JoinSet::new();
    receiver.spawn(async move {
        let mut readers = JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            readers.spawn(async move {
                let mut piece = [0; 4_096];
                while socket.read(&mut piece).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    until_told(&bench, code, &["raised", "cleared"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    assert_eq!(told(&bench.handle, code), ["raised", "cleared"]);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_told_and_cleared_once_over_kills_and_restarts() {
    let bench = bench().await;
    let code = "watch/disk_low";
    // No disk has so much.
    configure(&bench, "\n[spool]\ndisk_low = \"1000000TiB\"\n");
    let collector = bench.run(SCALE);
    until_told(&bench, code, &["raised"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    configure(&bench, "\n[spool]\ndisk_low = \"1B\"\n");
    let collector = bench.run(SCALE);
    until_told(&bench, code, &["raised", "cleared"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    assert_eq!(told(&bench.handle, code), ["raised", "cleared"]);
}

#[tokio::test]
async fn records_put_aside_in_numbers_are_told_and_cleared_once() {
    let bench = bench().await;
    let code = "watch/quarantine_growing";
    // The tenth is enough; one more in a row, and the output would stop.
    let refused = Fault::answer(Target::Hec, Answer::hec_at(6, 0)).times(10);
    bench.handle.script(refused);
    bench.handle.publish("two", "audit", "", 30).unwrap();
    let collector = bench.run(SCALE);
    until_told(&bench, code, &["raised"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    assert_eq!(told(&bench.handle, code), ["raised"]);
    // An hour without more of them, and a quarter of one.
    until_told(&bench, code, &["raised", "cleared"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    assert_eq!(told(&bench.handle, code), ["raised", "cleared"]);
    assert_eq!(bench.handle.hec().distinct(), 20);
}

#[tokio::test]
async fn damage_to_what_is_stored_is_told_with_the_time_from_which_on_events_may_come_twice() {
    let bench = bench().await;
    let down = bench
        .handle
        .script(Fault::answer(Target::Hec, Answer::empty(503)));
    bench.handle.publish("two", "audit", "", 40).unwrap();
    let collector = bench.run(SCALE);
    let lane = bench.state_dir().join("lanes/two/audit");
    look_until("events on disk", || {
        let mut segments = fs::read_dir(&lane).ok()?.flatten();
        let len = segments.next()?.metadata().ok()?.len();
        (len > 0).then_some(())
    })
    .await;
    collector.stop().await;
    let segment = lane.join("0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&segment, bytes).unwrap();
    bench.handle.clear(down);
    let collector = bench.run(SCALE);
    let said = |code: &str, what: &str| {
        let alerts = own(&bench.handle, "mimecast:collector:alert");
        let mut said = alerts.iter().filter(|alert| alert["code"] == code);
        assert!(
            said.all(|alert| alert["said"].as_str().unwrap_or_default().contains(what)),
            "{alerts:#?}"
        );
    };
    until_told(&bench, "watch/events_damaged", &["raised"]).await;
    said(
        "watch/events_damaged",
        "two/audit: the frame's payload is damaged",
    );
    bench.until_all_arrived().await;
    collector.kill_9();

    fs::remove_dir_all(bench.state_dir().join("sled")).unwrap();
    let collector = bench.run(SCALE);
    let told_of = |handle: &Handle| !told(handle, "watch/database_lost").is_empty();
    bench.until("word of the lost database", told_of).await;
    said("watch/database_lost", "are delivered again");
    collector.stop().await;
    assert_eq!(
        bench.handle.hec().distinct(),
        bench.handle.published_total()
    );
}

#[tokio::test]
async fn a_log_that_normally_has_events_and_has_none_is_told_and_cleared_once() {
    let bench = bench().await;
    let code = "watch/silent";
    let events = async |days: u32| {
        if days > 0 {
            shift(&bench, DAY * days);
        }
        bench.handle.publish("two", "audit", "", 5).unwrap();
        let collector = bench.run(SCALE);
        bench.until_all_arrived().await;
        spend_minutes(&bench, 10).await;
        collector.stop().await;
    };
    // Its longest silence is five days, of nine.
    for days in [0, 4, 5] {
        events(days).await;
    }
    shift(&bench, DAY * 9);
    let collector = bench.run(SCALE);
    spend_minutes(&bench, 20).await;
    assert_eq!(told(&bench.handle, code), [""; 0]);
    collector.stop().await;
    shift(&bench, DAY * 2);
    let collector = bench.run(SCALE);
    until_told(&bench, code, &["raised"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    assert_eq!(told(&bench.handle, code), ["raised"]);
    bench.handle.publish("two", "audit", "", 5).unwrap();
    until_told(&bench, code, &["raised", "cleared"]).await;
    collector.stop().await;
}

#[tokio::test]
async fn half_of_the_time_and_all_but_a_tenth_that_a_log_is_kept_are_told_and_cleared_once() {
    let bench = bench().await;
    let collector = bench.run(SCALE);
    spend_minutes(&bench, 10).await;
    collector.stop().await;
    let kept = mimecast_collector::mimecast::log_types::find("audit").unwrap();
    let kept = mimecast_collector::mimecast::log_types::Log::from(kept)
        .kept()
        .unwrap();
    let audit = Target::path("/api/audit/get-audit-events");
    let down = bench
        .handle
        .script(Fault::answer(audit, Answer::server_error(503)));
    shift(&bench, kept / 2);
    let collector = bench.run(SCALE);
    let (low, critical) = ("watch/retention_low", "watch/retention_critical");
    until_told(&bench, low, &["raised"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    assert_eq!(told(&bench.handle, low), ["raised"]);
    shift(&bench, kept * 4 / 10);
    let collector = bench.run(SCALE);
    // The same trouble, now a worse one.
    until_told(&bench, critical, &["reminder"]).await;
    bench.handle.clear(down);
    until_told(&bench, critical, &["reminder", "cleared"]).await;
    let collector = killed_and_run_again(&bench, collector).await;
    collector.stop().await;
    assert_eq!(told(&bench.handle, low), ["raised"]);
    assert_eq!(told(&bench.handle, critical), ["reminder", "cleared"]);
}

#[tokio::test]
async fn each_integration_says_every_five_minutes_that_it_is_alive_and_how_it_is_doing() {
    let bench = Bench::new().await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\"]"),
        bench.integration(&Account::v2("two"), "[\"audit\"]"),
    ];
    bench.configure(&integrations, "");
    bench.handle.publish("two", "audit", "", 7).unwrap();
    let collector = bench.run(SCALE);
    let of = |name: &str| {
        let mut beats = own(&bench.handle, "mimecast:collector:heartbeat");
        beats.retain(|beat| beat["integration"] == name);
        beats
    };
    let enough = || of("one").len() >= 4 && of("two").len() >= 4;
    bench.until("heartbeats of both", |_| enough()).await;
    collector.stop().await;
    for name in ["one", "two"] {
        let beats = of(name);
        let time =
            |beat: &Value| -> jiff::Timestamp { beat["time"].as_str().unwrap().parse().unwrap() };
        for pair in beats.windows(2) {
            let gap = time(&pair[1]).duration_since(time(&pair[0]));
            assert!(gap.as_secs() >= 5 * 60, "{name}: {gap:?}");
        }
        let last = beats.last().unwrap();
        assert_eq!(
            (&last["state"], &last["streams_healthy"]),
            (&"healthy".into(), &last["streams"])
        );
        for figure in [
            "behind_seconds",
            "retention_left_seconds",
            "records_read",
            "files_waiting",
        ] {
            assert!(last[figure].is_u64(), "{figure}: {last:#}");
        }
        let events = if name == "two" { 7 } else { 0 };
        assert_eq!(last["events"], events);
    }
}
