//! What people are told of a trouble, and how it ends, over kills and restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use mimecast_collector::simulator::{Account, Answer, Fault, FaultId, Handle, Target};
use serde_json::Value;

use super::harness::Bench;

const NEW_KEY: &str = "bmV3IGtleSBvZiBvbmU=";

async fn bench() -> (Bench, FaultId) {
    let bench = Bench::new().await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\"]"),
    ];
    bench.configure(&integrations, "");
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    let expired = bench.handle.script(expired);
    (bench, expired)
}

/// Makes a new key where keys are made, and writes it into the collector's file.
fn renew_key(bench: &Bench, expired: FaultId) {
    bench.handle.replace_secret("one", NEW_KEY);
    bench.handle.clear(expired);
    bench.write("secrets/one-secret_key", NEW_KEY);
}

/// What was told of an integration, by the events' ids: a kill may repeat an event, under the same one.
fn told(handle: &Handle, what: &str) -> usize {
    let mut alerts = BTreeMap::new();
    for event in handle.hec().of_the_collector() {
        let alert: Value = serde_json::from_str(event.event()).unwrap();
        let is = |member, text| alert.get(member).is_some_and(|value| value == text);
        if is("alert", what) && is("integration", "one") {
            alerts.insert(event.id().unwrap().to_owned(), ());
        }
    }
    alerts.len()
}

#[tokio::test]
async fn an_alert_is_raised_once_and_cleared_once_over_kills() {
    const SCALE: u32 = 1_200;
    let (bench, expired) = bench().await;
    let mut collector = bench.run(SCALE);
    let raised = |handle: &Handle| told(handle, "raised") == 1;
    bench.until("the alert", raised).await;
    let polled = |handle: &Handle| {
        let requests = handle.requests();
        let of_two = |account: &Option<String>| account.as_deref() == Some("two");
        requests
            .iter()
            .filter(|request| of_two(&request.account))
            .count()
    };
    // After each kill, some intervals of the integration that is well.
    for _ in 0..3 {
        collector.kill_9();
        collector = bench.run(SCALE);
        let before = polled(&bench.handle);
        bench
            .until("polls of the other", |handle| polled(handle) > before + 40)
            .await;
    }
    assert_eq!(
        bench.requests_of("one").len(),
        1,
        "an expired key was tried"
    );
    renew_key(&bench, expired);
    collector.signal("HUP");
    let cleared = |handle: &Handle| told(handle, "cleared") == 1;
    bench.until("the end of it", cleared).await;
    for _ in 0..2 {
        collector.kill_9();
        collector = bench.run(SCALE);
        let before = polled(&bench.handle);
        bench
            .until("polls of the other", |handle| polled(handle) > before + 40)
            .await;
    }
    collector.stop().await;
    let of_one = (
        told(&bench.handle, "raised"),
        told(&bench.handle, "cleared"),
    );
    assert_eq!(of_one, (1, 1));
}

#[tokio::test]
async fn a_key_made_anew_in_its_file_heals_within_three_minutes_without_a_reload() {
    const SCALE: u32 = 20;
    let (bench, expired) = bench().await;
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    let collector = bench.run(SCALE);
    collector.logged(&["ERROR", "418/0001"]).await;
    renew_key(&bench, expired);
    // The other integration tells what time it is: its requests go on.
    let renewed = bench.handle.requests().len();
    bench.until_all_arrived().await;
    collector
        .logged(&["credential one", "recovered", "418/0001"])
        .await;
    collector.stop().await;
    let requests = bench.handle.requests();
    let (before, after) = requests.split_at(renewed);
    let of_one = |request: &&mimecast_collector::simulator::Request| {
        request.account.as_deref() == Some("one")
    };
    let refused = before.iter().rfind(of_one).unwrap();
    let healed = after.iter().find(of_one).unwrap();
    let took = (healed.since_start - refused.since_start) * SCALE;
    assert!(took <= Duration::from_mins(3), "healed after {took:?}");
    bench.assert_no_violations();
}
