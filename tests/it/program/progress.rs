//! Long work shows how far it is.

use std::time::Duration;

use mimecast_collector::simulator::{Account, Action, Answer, Fault, Service, Target};
use serde_json::Value;

use super::harness::{Bench, Program, look_until};

/// A running collector whose receiver gets events and keeps `stall` to answer them.
async fn stalled(bench: &Bench, stall: Option<Duration>) -> Program {
    configure(bench);
    bench
        .handle
        .script(Fault::new(Target::Hec, Action::Stall(stall)));
    bench.handle.publish("one", "audit", "", 7).unwrap();
    let collector = bench.run(600);
    let is_out = |request: &mimecast_collector::simulator::Request| {
        request.service == Service::Hec && request.status.is_none()
    };
    bench
        .until("events to be out", |h| h.requests().iter().any(is_out))
        .await;
    collector
}

fn configure(bench: &Bench) {
    let integration = bench.integration(&Account::v1("one"), "[\"audit\"]");
    bench.configure(&[integration], "");
}

#[tokio::test]
async fn a_stop_says_how_many_events_are_out_and_when_they_are_answered() {
    let bench = Bench::new().await;
    let mut collector = stalled(&bench, Some(Duration::from_secs(3))).await;
    collector.signal("TERM");
    let waiting = collector.logged(&["waiting for events that are out"]).await;
    assert!(
        waiting.contains("splunk 7") && waiting.contains("left=7"),
        "{waiting}"
    );
    assert_eq!(collector.code().await, Some(0));
    let log = collector.log();
    assert!(
        log.contains("all events that were out are answered"),
        "{log}"
    );
    assert_eq!(bench.handle.hec().distinct(), 7);
}

#[tokio::test]
async fn a_second_signal_says_what_stays_unanswered() {
    let bench = Bench::new().await;
    let mut collector = stalled(&bench, None).await;
    collector.signal("TERM");
    collector.logged(&["waiting for events that are out"]).await;
    collector.signal("TERM");
    assert_eq!(collector.code().await, Some(0));
    let unanswered = collector.lines(&["without an answer", "splunk 7", "left=7"]);
    assert_eq!(unanswered.len(), 1, "{}", collector.log());
}

/// The dead letters of the lanes whose names begin so; the collector's own alerts may be refused too.
async fn dead_letters(bench: &Bench, lane: &str) -> Vec<Value> {
    let list = bench.ended(&["dead-letters", "list", "--json"]).await;
    let mut letters: Vec<Value> = serde_json::from_str(&list.out).unwrap_or_default();
    letters.retain(|letter| letter["lane"].as_str().unwrap().starts_with(lane));
    letters
}

#[tokio::test]
async fn dead_letters_that_are_sent_again_are_followed_until_they_are_delivered() {
    let bench = Bench::new().await;
    configure(&bench);
    let refused = Fault::answer(Target::Hec, Answer::hec(6));
    let refused = bench.handle.script(refused);
    bench.handle.publish("one", "audit", "", 3).unwrap();
    let collector = bench.run(600);
    let numbers = loop {
        let letters = dead_letters(&bench, "one/").await;
        let records = letters
            .iter()
            .filter_map(|letter| letter["records"].as_u64());
        if records.sum::<u64>() == 3 {
            break letters
                .iter()
                .map(|l| l["number"].to_string())
                .collect::<Vec<_>>();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let status = bench.ended(&["status", "--json"]).await.out;
    let status: Value = serde_json::from_str(&status).unwrap();
    let newest = &status["dead_letters"]["newest"];
    let all = newest.as_array().unwrap().len();
    assert!(all >= numbers.len(), "{newest:#}");
    assert_eq!(status["dead_letters"]["count"], all);
    assert_eq!(status["outputs"][0]["dead_letters"], all);
    let reason = newest[all - 1]["reason"].as_str().unwrap();
    assert!(reason.contains("Invalid data format"), "{reason}");

    // Refused again.
    let (last, others) = numbers.split_last().unwrap();
    let again = bench.ended(&["dead-letters", "resend", last]).await;
    assert!(
        again.out.contains("refused again"),
        "{} {}",
        again.out,
        again.err
    );
    bench.handle.clear(refused);
    let busy = bench.handle.answer(Target::Hec, Answer::hec(9));
    let mut resend = vec!["dead-letters", "resend"];
    let again = dead_letters(&bench, "@again/").await;
    let again: Vec<_> = again.iter().map(|l| l["number"].to_string()).collect();
    resend.extend(others.iter().chain(&again).map(String::as_str));
    let mut sent = bench.start(&resend);
    look_until("the progress", || {
        let shown = sent
            .out()
            .contains("sent again: 0 of 3 events are delivered\n");
        shown.then_some(())
    })
    .await;
    bench.handle.clear(busy);
    assert_eq!(sent.code().await, Some(0), "{}", sent.log());
    let out = sent.out();
    assert!(
        out.ends_with("sent again: all events are delivered\n"),
        "{out}"
    );
    let arrived = bench.handle.hec().distinct();
    assert_eq!(arrived, 3, "{:#?}", dead_letters(&bench, "").await);
    collector.stop().await;
}
