//! The rate budget: a backlog drains page after page, without a call that Mimecast refuses.

use std::time::Duration;

use mimecast_collector::simulator::{Account, Handle, Options, Publication, RateLimit};

use super::harness::Bench;

const PATH: &str = "/siem/v1/batch/events/cg";
const CALLS: u32 = 20;
/// The schedule is as many times as fast.
const SCALE: u32 = 60;
const PAGES: usize = 65;

async fn bench() -> Bench {
    let bench = Bench::with(Options {
        records_per_file: 1,
        files_per_page: 1,
        rate_limits: vec![RateLimit {
            path: Some(PATH.to_owned()),
            calls: CALLS,
            window: Duration::from_secs(1),
        }],
        ..Options::default()
    })
    .await;
    // The poll after the first is a real minute away. Two real seconds are twice the window: a busy machine delivers requests late.
    let lines = format!(
        "interval = \"1h\"\n[integration.log.siem-cg]\ntypes = [\"receipt\", \"av\"]\nquota = \"{CALLS}/2m\"\n"
    );
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\"]");
    bench.configure(&[integration + &lines], "");
    let mut backlog = Publication::new("two", "siem-cg", "receipt", PAGES);
    backlog.spread = Duration::from_secs(24 * 3600);
    bench.handle.publish_as(&backlog).unwrap();
    bench.handle.publish("two", "siem-cg", "av", 1).unwrap();
    bench
}

fn assert_none_refused(bench: &Bench) {
    let requests = bench.handle.requests();
    let asked = requests.iter().filter(|request| request.path == PATH);
    let statuses: Vec<_> = asked.filter_map(|request| request.status).collect();
    assert!(statuses.len() >= PAGES, "{} calls", statuses.len());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_backlog_drains_within_the_budget_and_does_not_wait_for_the_next_interval() {
    let bench = bench().await;
    let began = bench.handle.requests().len();
    let collector = bench.run(SCALE);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_none_refused(&bench);
    let requests = bench.handle.requests();
    let first = requests.get(began).map(|request| request.since_start);
    let last = requests.last().map(|request| request.since_start);
    let lasted = last.unwrap() - first.unwrap();
    assert!(lasted < Duration::from_secs(55), "lasted {lasted:?}");
}

#[tokio::test]
async fn a_kill_9_in_the_middle_of_a_backlog_is_followed_by_no_burst() {
    let bench = bench().await;
    for part in [8, 16, 24] {
        let collector = bench.run(SCALE);
        let some = |handle: &Handle| handle.hec().distinct() >= part;
        bench.until("a part of the backlog", some).await;
        collector.kill_9();
    }
    let collector = bench.run(SCALE);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_none_refused(&bench);
    assert_eq!(
        bench.handle.hec().distinct(),
        bench.handle.published_total()
    );
}
