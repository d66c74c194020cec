//! Hours at ten times the load of a large tenant, with faults at random: memory, descriptors and disk stay flat, and nothing is lost.
//!
//! `.ci/full soak`, with SOAK_MINUTES and SOAK_SEED.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::simulator::{Account, Action, Answer, Fault, Keep, Options, Target};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::harness::{Bench, Program, look_until, within};

/// The day of history that the program remembers is over in six minutes.
const SCALE: u32 = 240;
/// A million events a day of a large tenant are twelve a second; ten times that, nearly all of them of mail.
const EACH_SECOND: [(&str, &str, &str, usize); 4] = [
    ("one", "siem", "receipt", 58),
    ("one", "audit", "", 2),
    ("two", "siem-cg", "receipt", 58),
    ("two", "audit", "", 2),
];
const FAULTS_EVERY: u64 = 7;
/// Four of events and the collector's own. A lane that is never empty keeps the segment that is read and the one that is written, and a
/// segment is full once it has 8 MiB.
const LANES: u64 = 5;
const OF_A_LANE: u64 = 2 * (9 << 20);

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tried is no part of the program"
)]
fn asked_for(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |wanted| wanted.parse().unwrap())
}

/// What the process takes at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds since the start.
    at: f64,
    rss: u64,
    descriptors: usize,
    /// Bytes of segments.
    lanes: u64,
    /// All else in the state directory.
    rest: u64,
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        // Deleted meanwhile.
        Err(_) => 0,
    });
    bytes.sum()
}

fn sample(program: &Program, state_dir: &Path, since: Duration) -> Sample {
    let folder = format!("/proc/{}", program.id());
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    let lanes = bytes_below(&state_dir.join("lanes"));
    Sample {
        at: since.as_secs_f64(),
        rss: kib.parse::<u64>().unwrap() << 10,
        descriptors: fs::read_dir(format!("{folder}/fd")).unwrap().count(),
        lanes,
        rest: bytes_below(state_dir).saturating_sub(lanes),
    }
}

/// Bytes that a measure grows by in an hour, by least squares.
#[expect(clippy::cast_precision_loss, reason = "a slope")]
fn an_hour(samples: &[Sample], of: fn(&Sample) -> u64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|s| s.at), mean(&|s| of(s) as f64));
    let with = mean(&|s| (s.at - x) * (of(s) as f64 - y));
    with / mean(&|s| (s.at - x).powi(2)) * 3_600.0
}

/// One of many things that go wrong, once or a few times.
fn fault(roll: u64) -> Fault {
    let reset = || Action::ResetMidBody { after: 200 };
    let slow = Action::Slow {
        bytes: 512,
        pause: Duration::from_millis(5),
    };
    let stall = Action::Stall(Some(Duration::from_secs(3)));
    match roll % 14 {
        0 => Fault::new(Target::Hec, Action::Reset),
        1 => Fault::new(Target::Hec, Action::LoseReply),
        2 => Fault::new(Target::Hec, stall),
        3 => Fault::answer(Target::Hec, Answer::server_error(503)),
        4 => Fault::answer(Target::Hec, Answer::html(502)),
        5 => Fault::new(Target::Api, Action::Reset),
        6 => Fault::new(Target::Api, reset()),
        7 => Fault::answer(Target::Api, Answer::server_error(500)),
        8 => Fault::answer(Target::Api, Answer::empty(429)),
        9 => Fault::new(Target::Objects, reset()),
        10 => Fault::new(Target::Objects, slow),
        11 => Fault::new(Target::Objects, Action::Truncate),
        12 => Fault::new(Target::Token, Action::Reset),
        _ => Fault::new(Target::Api, Action::ExpiredLinks),
    }
    .times(1 + u32::try_from(roll / 14 % 3).unwrap())
}

/// Events that some output has not taken yet.
async fn waiting(bench: &Bench) -> u64 {
    let shown = bench.ended(&["status", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let outputs = shown.pointer("/outputs").unwrap().as_array().unwrap();
    let waiting = outputs
        .iter()
        .map(|output| output.pointer("/backlog_events").unwrap().as_u64().unwrap());
    waiting.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_at_ten_times_the_load_with_random_faults_leave_memory_descriptors_and_disk_flat() {
    let length = Duration::from_secs(asked_for("SOAK_MINUTES", 120) * 60);
    let mut dice = asked_for("SOAK_SEED", 1);
    let bench = Bench::with(Options {
        hec_keeps: Keep::Counts,
        records_per_file: 200,
        ..Options::default()
    })
    .await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\", \"audit\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"),
    ];
    let archive = r#"
        [[output]]
        name = "archive"
        type = "file"
        path = "events.ndjson"
        rotate_bytes = "4MiB"
        keep = 2
        carry = ["events"]
    "#;
    bench.configure(&integrations, archive);
    let collector = bench.run(SCALE);
    collector.logged(&["INFO", "running"]).await;
    let clock = Clock::system();
    let (mut samples, mut faults, mut seconds) = (Vec::new(), 0_u32, 0_u64);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while clock.monotonic() < length {
        ticks.tick().await;
        seconds += 1;
        for (account, log, event_type, events) in EACH_SECOND {
            let handle = &bench.handle;
            handle.publish(account, log, event_type, events).unwrap();
        }
        if seconds % FAULTS_EVERY == 0 {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bench.handle.script(fault(dice >> 33));
            faults += 1;
        }
        if seconds % 5 == 0 {
            samples.push(sample(&collector, &bench.state_dir(), clock.monotonic()));
        }
    }
    bench.handle.clear_faults();
    let published = bench.handle.published_total();
    look_until("the rest", || {
        (bench.handle.hec().distinct() >= published).then_some(())
    })
    .await;
    let taken = async { while waiting(&bench).await > 0 {} };
    within("every output to have everything", taken).await;
    bench.assert_balanced().await;
    collector.stop().await;

    let hec = bench.handle.hec();
    // The first half is for caches, pools and the day of history to fill.
    let steady = &samples[samples.len() / 2..];
    let most = |of: fn(&Sample) -> u64| steady.iter().map(of).max().unwrap();
    let (rss, rest) = (an_hour(steady, |s| s.rss), an_hour(steady, |s| s.rest));
    let descriptors = an_hour(steady, |s| s.descriptors as u64);
    println!(
        "{} min, seed {}: {published} events, {faults} kinds of faults at random; 0 lost, {} repeated; RSS at most {} KiB, slope {:.0} KiB \
         an hour; descriptors at most {}, slope {descriptors:.1} an hour; segments at most {} KiB; the rest of the state directory at most {} KiB, \
         slope {:.0} KiB an hour",
        length.as_secs() / 60,
        asked_for("SOAK_SEED", 1),
        hec.duplicates(),
        most(|s| s.rss) >> 10,
        rss / 1024.0,
        most(|s| s.descriptors as u64),
        most(|s| s.lanes) >> 10,
        most(|s| s.rest) >> 10,
        rest / 1024.0,
    );
    assert_eq!(hec.distinct(), published);
    // By as much as the second half may have grown, however long they were: an eighth of what there is.
    let hours = (length / 2).as_secs_f64() / 3_600.0;
    let flat = |slope: f64, most: u64| slope * hours < most as f64 / 8.0;
    assert!(flat(rss, most(|s| s.rss)), "memory grows");
    assert!(
        flat(descriptors, most(|s| s.descriptors as u64)),
        "descriptors grow"
    );
    assert!(most(|s| s.lanes) <= LANES * OF_A_LANE, "segments pile up");
    assert!(flat(rest, most(|s| s.rest)), "disk grows");
}
