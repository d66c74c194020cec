//! What the clock of a machine, and a person, have to do with asking.

use std::time::Duration;

use mimecast_collector::pause::Pause;
use mimecast_collector::poll::Command;
use mimecast_collector::simulator::{Account, Action, Fault, Options, Target};
use mimecast_collector::status::Phase;

use super::bench::{Bench, Seat};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_clock_is_wrong_signs_with_the_servers_time() {
    let seat = Seat::of(Account::v1("skewed"));
    let options = Options {
        clock_ahead_ms: 20 * 60 * 1_000,
        ..Options::default()
    };
    let mut bench = Bench::start(std::slice::from_ref(&seat), Vec::new(), options).await;
    bench.poll(&seat).await;
    bench
        .until("an answer", async |bench| {
            let requests = bench.handle.requests();
            requests.iter().any(|request| request.status == Some(200)) && bench.is_healthy(|_| true)
        })
        .await;
    let refused = bench.handle.requests();
    let refused = refused.iter().filter(|request| request.status == Some(401));
    assert_eq!(refused.count(), 1);
    let stored = bench.context.store.snapshot().await.unwrap();
    let ahead = stored.health.get("credential skewed").unwrap()["clock"]["ahead_ms"].as_i64();
    let ahead = ahead.unwrap();
    assert!((1_190_000..=1_210_000).contains(&ahead), "{ahead}");
    assert!(bench.alerts().await.is_empty());

    // As if ours had been set right meanwhile.
    let agrees = Action::WrongDate {
        ahead_ms: -20 * 60 * 1_000,
    };
    bench.handle.script(Fault::new(Target::Api, agrees).once());
    bench
        .until("the end of the correction", async |bench| {
            let stored = bench.context.store.snapshot().await.unwrap();
            stored.health.get("credential skewed").unwrap()["clock"]["ahead_ms"] == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_integration_asks_nothing_and_goes_on_by_itself() {
    let seat = Seat::of(Account::v1("one"));
    let mut bench = Bench::start(std::slice::from_ref(&seat), Vec::new(), Options::default()).await;
    bench.poll(&seat).await;
    bench
        .until("the first polls", async |bench| {
            bench.handle.requests().len() > 4
        })
        .await;
    let since = bench.clock.now();
    let until = since + Duration::from_mins(120);
    let pause = Pause {
        since,
        until: Some(until),
    };
    bench.command(&seat, Command::Pause(pause)).await;
    // One request may be out.
    bench
        .until("the pause", async |bench| {
            bench.clock.now() >= since + Duration::from_mins(10)
        })
        .await;
    let asked = bench.handle.requests().len();
    let report = bench.context.status.report(bench.clock.now());
    let condition = &report.integrations.first().unwrap().condition;
    assert_eq!(
        (condition.state, condition.until),
        (Phase::Paused, Some(until))
    );
    bench
        .until("its end", async |bench| {
            bench.clock.now() >= until - Duration::from_mins(10)
        })
        .await;
    assert_eq!(bench.handle.requests().len(), asked);
    bench
        .until("further polls", async |bench| {
            bench.handle.requests().len() > asked
        })
        .await;
    assert!(bench.clock.now() >= until);
}
