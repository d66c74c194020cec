//! A receiver that is stopped for days: memory stays flat, the spool fills up to its limit, polling pauses, other outputs go on, and
//! everything arrives afterwards.

use std::fs;
use std::time::Duration;

use mimecast_collector::ledger::Ledger;
use mimecast_collector::simulator::{Account, Action, Fault, Handle, Keep, Options, Target};
use serde_json::Value;

use super::harness::{Bench, look_until, within};

/// Times as fast as the clock on the wall.
const SCALE: u32 = 8_640;
/// A limit that is reached within the first of the days.
const SPOOL: &str = "[spool]\nmax_bytes = \"4MiB\"\nintegration_max_bytes = \"1MiB\"\n";
/// What memory may grow by from the moment that polling pauses.
const GROWTH: usize = 24 << 20;
const PEAK: usize = 128 << 20;

/// Scaled days without the receiver; `.ci/full` asks for more.
fn days() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("OUTAGE_DAYS");
    wanted.map_or(3, |wanted| wanted.parse().unwrap())
}

async fn json(bench: &Bench, command: &str) -> Value {
    let ended = bench.ended(&[command, "--json"]).await;
    serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"))
}

/// Lines of the file that are of an integration.
fn archived(bench: &Bench, integration: &str) -> usize {
    let text = fs::read_to_string(bench.path("archive.ndjson")).unwrap_or_default();
    let mark = format!("\"integration\":\"{integration}\",");
    text.lines().filter(|line| line.contains(&mark)).count()
}

fn publish(handle: &Handle, account: &str, log: &str, event_type: &str, count: usize) {
    handle.publish(account, log, event_type, count).unwrap();
}

/// Two tenants: the receiver gets the one, the file both.
async fn bench() -> Bench {
    let bench = Bench::with(Options {
        hec_keeps: Keep::Counts,
        ..Options::default()
    })
    .await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"audit\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\"]"),
    ];
    let archive = format!(
        "integrations = [\"two\"]\ncarry = [\"events\"]\n\n[[output]]\nname = \"archive\"\ntype = \"file\"\npath = {:?}\ncarry = [\"events\"]\n\n{SPOOL}",
        bench.path("archive.ndjson")
    );
    bench.configure(&integrations, &archive);
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_stopped_for_three_days_costs_disk_up_to_the_limit_and_nothing_else() {
    let bench = bench().await;
    let down = bench.handle.script(Fault::new(Target::Hec, Action::Reset));
    let collector = bench.run(SCALE);
    let outage = Duration::from_secs(24 * 3600) * days() / SCALE;
    let mut flood = 0;
    let paused = async {
        while collector.lines(&["polling pauses", "two"]).is_empty() {
            publish(&bench.handle, "two", "siem-cg", "receipt", 1_000);
            flood += 1_000;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    within("a full spool", paused).await;
    let before = collector.memory("VmHWM");
    // The rest of the outage: the one tenant goes on, the other one's logs wait at Mimecast.
    let steps = 30;
    for _ in 0..steps {
        publish(&bench.handle, "one", "audit", "", 20);
        publish(&bench.handle, "two", "siem-cg", "receipt", 100);
        flood += 100;
        tokio::time::sleep(outage / steps).await;
    }
    let one = steps as usize * 20;
    look_until("all of the other tenant's events", || {
        (archived(&bench, "one") >= one).then_some(())
    })
    .await;
    let grown = collector.memory("VmHWM").saturating_sub(before);
    let status = json(&bench, "status").await;
    let (spool, limit) = (&status["spool"]["bytes"], &status["spool"]["limit"]);
    let (spool, limit) = (spool.as_u64().unwrap(), limit.as_u64().unwrap());
    let ledger: Ledger = serde_json::from_value(json(&bench, "ledger").await).unwrap();
    assert!(ledger.balances, "{ledger:#?}");
    let of = |output: &str, count: fn(&mimecast_collector::ledger::OutputBooks) -> u64| {
        let lanes = ledger.outputs.iter();
        let lanes =
            lanes.filter(|lane| lane.output.as_str() == output && lane.stream.starts_with("two/"));
        lanes.map(count).sum::<u64>()
    };
    let stored = of("splunk", |lane| lane.waiting);
    // What was fetched has reached the other output, and much more was published than was fetched.
    assert_eq!(of("archive", |lane| lane.accepted), stored);
    assert!(stored < flood as u64, "{stored} of {flood}");
    assert_eq!(bench.handle.hec().total(), 0);
    assert!(spool <= limit, "{spool} of {limit}");

    bench.handle.clear(down);
    let all = |handle: &Handle| handle.hec().distinct() >= flood as u64;
    bench.until("all events at the receiver", all).await;
    look_until("all events in the file", || {
        (archived(&bench, "two") >= flood).then_some(())
    })
    .await;
    let settled = async {
        loop {
            let ledger: Ledger = serde_json::from_value(json(&bench, "ledger").await).unwrap();
            assert!(ledger.balances, "{ledger:#?}");
            if ledger.outputs.iter().all(|lane| lane.waiting == 0) {
                return;
            }
        }
    };
    within("an empty backlog", settled).await;
    let peak = collector.memory("VmHWM");
    collector.stop().await;
    println!(
        "{} scaled days: {flood} events published, {stored} of them stored in {spool} B before polling paused; \
         memory grew by {} KiB to a peak of {} KiB; 0 lost, {} repeated",
        days(),
        grown >> 10,
        peak >> 10,
        bench.handle.hec().duplicates()
    );
    assert_eq!(bench.handle.hec().distinct(), flood as u64);
    assert_eq!(bench.handle.hec().duplicates(), 0);
    assert_eq!(archived(&bench, "two"), flood);
    assert_eq!(archived(&bench, "one"), one);
    assert!(grown < GROWTH && peak < PEAK, "{grown}, {peak}");
    bench.assert_no_violations();
}
