//! Flat memory, by what the kernel says that the process had at its height.

use std::fs;
use std::path::Path;

use mimecast_collector::clock::Clock;
use mimecast_collector::model::{
    Cursor, Event, EventId, Form, IntegrationId, OutputId, Sink as _, StreamId,
};
use mimecast_collector::simulator::{
    Account, Action, Fault, Handle, Keep, Options, Publication, Target,
};
use mimecast_collector::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::harness::Bench;

const MIB: usize = 1 << 20;
/// For one file, however large.
const PEAK_OF_A_FILE: usize = 64 * MIB;
/// For whatever else a page may hold.
const PEAK: usize = 128 * MIB;
/// For one integration that has nothing to do.
const IDLE: usize = 30 * MIB;
/// A record of the large file.
const RECORD: usize = 64 << 10;

/// MiB of the large file, inflated; `.ci/full` asks for more.
fn large_file() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("LARGE_FILE_MIB");
    wanted.map_or(400, |wanted| wanted.parse().unwrap())
}

/// Waits until so many events have arrived, however long it takes while they keep coming.
async fn until_arrived(bench: &Bench, events: u64) {
    let mut arrived = 0;
    while arrived < events {
        bench
            .until("further events", |handle| handle.hec().distinct() > arrived)
            .await;
        arrived = bench.handle.hec().distinct();
    }
}

async fn bench() -> Bench {
    let bench = Bench::with(Options {
        hec_keeps: Keep::Counts,
        ..Options::default()
    })
    .await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\"]");
    bench.configure(&[integration], "");
    bench
}

fn lines_below(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            lines.extend(lines_below(&entry.path()));
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_hundreds_of_megabytes_goes_through_in_64_mib() {
    let bench = bench().await;
    let count = large_file() * MIB / RECORD;
    let mut file = Publication::new("two", "siem-cg", "receipt", count);
    file.per_file = Some(count);
    file.padding = RECORD;
    bench.handle.publish_as(&file).unwrap();
    let collector = bench.run(60);
    until_arrived(&bench, count as u64).await;
    let peak = collector.memory("VmHWM");
    println!("{} MiB in one file: peak {} KiB", large_file(), peak >> 10);
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    assert!(peak < PEAK_OF_A_FILE, "{} KiB at the height", peak >> 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_hundred_files_and_a_bomb_of_lines_of_50_mib_stay_within_128_mib() {
    const LONG: usize = 8;
    let bench = bench().await;
    let publish = |count, per_file, padding| {
        let mut files = Publication::new("two", "siem-cg", "receipt", count);
        files.per_file = Some(per_file);
        files.padding = padding;
        bench.handle.publish_as(&files).unwrap();
    };
    publish(49 * 20, 20, 0);
    // Inflates a thousand times over.
    publish(LONG, LONG, 50 * MIB);
    publish(50 * 20, 20, 0);
    let collector = bench.run(60);
    until_arrived(&bench, 99 * 20).await;
    let peak = collector.memory("VmHWM");
    println!("a page of a hundred files: peak {} KiB", peak >> 10);
    collector.stop().await;
    assert_eq!(bench.handle.hec().distinct(), 99 * 20);
    assert_eq!(bench.handle.hec().duplicates(), 0);
    let aside = lines_below(&bench.state_dir().join("quarantine"));
    let long = aside
        .iter()
        .filter(|line| line.contains("longer than 1 MiB"));
    assert_eq!((long.count(), aside.len()), (LONG, LONG));
    assert!(peak < PEAK, "{} KiB at the height", peak >> 10);
}

/// MiB that wait on disk; `.ci/full` asks for more.
fn spool() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("SPOOL_MIB");
    wanted.map_or(96, |wanted| wanted.parse().unwrap())
}

/// Digits that do not compress, the same for the same number.
fn noise(mut seed: u64, bytes: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        write!(text, "{:08x}", seed >> 32).unwrap();
    }
    text
}

/// Fills a state directory with so many events of the integration `two` for the output `splunk`.
async fn fill(state_dir: &Path, events: usize) {
    let (store, task) = Store::open(state_dir, Clock::system()).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    store
        .route(vec![OutputId::new("splunk").unwrap()])
        .await
        .unwrap();
    let integration = IntegrationId::new("two").unwrap();
    let stream = StreamId::new(&integration, "siem-cg", "receipt");
    let mut writer = store.writer(&stream).await.unwrap();
    let time = Clock::system().now();
    let work = move || {
        for number in 0..events {
            let body = format!(
                "{{\"n\":{number},\"x\":\"{}\"}}",
                noise(number as u64, RECORD)
            );
            let event = Event {
                body: &body,
                time,
                id: EventId::of(&integration, "siem-cg", body.as_bytes()),
            };
            writer.push("receipt", Form::Json, event).unwrap();
            if number % 256 == 255 || number + 1 == events {
                let cursor = format!("{{\"v\":1,\"token\":\"{number}\"}}");
                writer.commit(&Cursor::new(cursor).unwrap()).unwrap();
            }
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    drop(store);
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_is_taken_up_and_delivered_within_128_mib() {
    let bench = bench().await;
    let down = bench.handle.script(Fault::new(Target::Hec, Action::Reset));
    let events = spool() * MIB / RECORD;
    fill(&bench.state_dir(), events).await;
    let clock = Clock::system();
    let collector = bench.run(60);
    collector.logged(&["INFO", "running"]).await;
    let ready = clock.monotonic();
    let at_start = collector.memory("VmHWM");
    bench.handle.clear(down);
    until_arrived(&bench, events as u64).await;
    let peak = collector.memory("VmHWM");
    println!(
        "a spool of {} MiB: ready in {} ms, peak {} KiB at the start, {} KiB over the delivery",
        spool(),
        ready.as_millis(),
        at_start >> 10,
        peak >> 10
    );
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    assert!(peak < PEAK, "{} KiB at the height", peak >> 10);
}

#[tokio::test]
async fn one_integration_that_has_nothing_to_do_takes_30_mib_at_most() {
    let bench = bench().await;
    let collector = bench.run(600);
    let polled = |handle: &Handle| handle.requests().len() >= 100;
    bench.until("polls", polled).await;
    let (now, peak) = (collector.memory("VmRSS"), collector.memory("VmHWM"));
    println!(
        "idle with one integration: {} KiB, peak {} KiB",
        now >> 10,
        peak >> 10
    );
    collector.stop().await;
    assert!(now < IDLE, "{} KiB", now >> 10);
}

/// The peak of a process with a thousand integrations of these logs, until each has been polled.
#[cfg(feature = "full-tests")]
async fn of_a_thousand_integrations(logs: &str) -> usize {
    const ALL: usize = 1_000;
    let accounts: Vec<_> = (0..ALL)
        .map(|n| Account::v2(&format!("tenant-{n:04}")))
        .collect();
    let bench = Bench::with(Options {
        accounts: accounts.clone(),
        hec_keeps: Keep::Counts,
        ..Options::default()
    })
    .await;
    let integration = |account| bench.integration(account, logs);
    let integrations: Vec<_> = accounts.iter().map(integration).collect();
    bench.configure(&integrations, "");
    for account in &accounts {
        bench.handle.publish(&account.name, "audit", "", 5).unwrap();
    }
    let collector = bench.run(10);
    until_arrived(&bench, 5 * ALL as u64).await;
    let peak = collector.memory("VmHWM");
    collector.stop().await;
    peak
}

#[cfg(feature = "full-tests")]
#[tokio::test]
async fn a_thousand_integrations_of_five_logs_stay_within_128_mib() {
    let logs = r#"["audit", "ttp-url", "ttp-attachment", "ttp-impersonation", "dlp"]"#;
    let peak = of_a_thousand_integrations(logs).await;
    println!("a thousand integrations of {logs}: peak {} KiB", peak >> 10);
    assert!(peak < 128 * MIB, "{} KiB at the height", peak >> 10);
}

/// Ten streams of mail and the audit log, each with a state and a watch of its own.
#[cfg(feature = "full-tests")]
#[tokio::test]
async fn a_thousand_integrations_of_all_mail_logs_stay_within_256_mib() {
    let logs = r#"["siem-cg", "audit"]"#;
    let peak = of_a_thousand_integrations(logs).await;
    println!("a thousand integrations of {logs}: peak {} KiB", peak >> 10);
    assert!(peak < 256 * MIB, "{} KiB at the height", peak >> 10);
}
