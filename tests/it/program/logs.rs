//! What an operator sees of single logs: one that is not in the contract, one that is added, one whose place Mimecast has forgotten.

use std::time::Duration;

use mimecast_collector::model::Timestamp;
use mimecast_collector::simulator::{Account, Answer, Fault, Handle, Publication, Request, Target};
use serde_json::Value;

use super::harness::Bench;

const HOUR: Duration = Duration::from_secs(3600);

/// The calls of a path so far.
fn calls(handle: &Handle, path: &str) -> Vec<Request> {
    let mut requests = handle.requests();
    requests.retain(|request| request.path == path);
    requests
}

#[tokio::test]
async fn a_log_that_the_account_has_no_product_for_is_one_calm_line_and_disturbs_no_other() {
    const SCALE: u32 = 1_200;
    const PATH: &str = "/api/dlp/get-logs";
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"audit\", \"dlp\"]");
    bench.configure(&[integration], "");
    let no_product = Answer::raw(
        403,
        "application/json",
        r#"{"fail":[{"code":"app_forbidden","message":"no assigned product offers this resource"}]}"#,
    );
    bench
        .handle
        .script(Fault::answer(Target::path(PATH), no_product));
    bench.handle.publish("two", "audit", "", 40).unwrap();
    let collector = bench.run(SCALE);
    bench.until_all_arrived().await;
    bench
        .until("three looks at the log", |handle| {
            calls(handle, PATH).len() >= 3
        })
        .await;
    // It is looked at each hour, and the other one is polled meanwhile.
    let looks = calls(&bench.handle, PATH);
    for pair in looks.windows(2) {
        let apart = (pair[1].since_start - pair[0].since_start) * SCALE;
        // A machine that is busy sends the first of two late, by seconds of its own.
        assert!(apart > HOUR / 2, "looked at again after {apart:?}");
    }
    let audit = calls(&bench.handle, "/api/audit/get-audit-events");
    assert!(audit.len() > 2 * looks.len(), "{} polls", audit.len());
    bench.handle.publish("two", "audit", "", 40).unwrap();
    bench.until_all_arrived().await;

    let told = collector.lines(&["two/dlp"]);
    let calm = collector.lines(&["WARN", "two/dlp", "app_forbidden"]);
    assert_eq!((told.len(), calm.len()), (1, 1), "{told:#?}");
    assert_eq!(collector.lines(&["ERROR"]), Vec::<String>::new());
    let alerts = bench.handle.hec().of_the_collector().into_iter();
    let alerts: Vec<_> = alerts
        .filter(|event| serde_json::from_str::<Value>(event.event()).unwrap()["event"] == "alert")
        .map(|event| event.event().to_owned())
        .collect();
    assert_eq!(alerts, Vec::<String>::new());
    collector.stop().await;
}

#[tokio::test]
async fn a_log_that_is_added_later_begins_at_its_own_start() {
    let bench = Bench::new().await;
    let configure = |logs: &str| {
        let integration = bench.integration(&Account::v2("two"), logs);
        bench.configure(&[integration + "start = \"2h\"\n"], "");
    };
    let publish = |log: &str, count, ago: Duration| {
        let mut records = Publication::new("two", log, "", count);
        let wall = mimecast_collector::clock::Clock::system().wall();
        records.at = Some(wall - ago);
        records.spread = Duration::from_secs(600);
        bench.handle.publish_as(&records).unwrap();
    };
    publish("audit", 30, Duration::ZERO);
    publish("ttp-url", 30, 5 * HOUR);
    publish("ttp-url", 30, HOUR);
    configure("[\"audit\"]");
    let collector = bench.run(60);
    let arrived = |bench: &Bench, log: &str| {
        let source = format!("mimecast:two:{log}");
        let events = bench.handle.hec().events().into_iter();
        events
            .filter(|event| event.source.as_deref() == Some(&source))
            .count()
    };
    bench
        .until("the first log", |_| arrived(&bench, "audit") == 30)
        .await;
    configure("[\"audit\", \"ttp-url\"]");
    collector.signal("HUP");
    bench
        .until("the log that was added", |_| {
            arrived(&bench, "ttp-url") >= 30
        })
        .await;
    // Two more polls of it: what is older than its start does not come later either.
    let path = "/api/ttp/url/get-logs";
    let polls = calls(&bench.handle, path).len();
    bench
        .until("two more polls", |handle| {
            calls(handle, path).len() >= polls + 2
        })
        .await;
    assert_eq!(arrived(&bench, "ttp-url"), 30);
    assert_eq!(arrived(&bench, "audit"), 30);
    collector.stop().await;
    bench.assert_no_violations();
}

/// The time behind a word of a line of the log.
fn time_at(line: &str, word: &str) -> Timestamp {
    let (_, rest) = line.split_once(&format!("{word}=")).unwrap();
    let text = rest.split(' ').next().unwrap().trim_matches('"');
    Timestamp::parse(text).unwrap_or_else(|| panic!("no time {text:?} in {line}"))
}

#[tokio::test]
async fn a_cursor_that_mimecast_has_forgotten_is_read_again_by_time_and_the_span_is_said() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\"]");
    let types = "[integration.log.siem-cg]\ntypes = [\"receipt\"]\n";
    bench.configure(&[integration + types], "");
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 60)
        .unwrap();
    let collector = bench.run(240);
    bench.until_all_arrived().await;
    let path = "/siem/v1/batch/events/cg";
    bench
        .handle
        .script(Fault::answer(Target::path(path), Answer::empty(400)).once());
    let line = collector
        .logged(&["Mimecast no longer knows the cursor"])
        .await;
    assert!(
        line.contains("ERROR") && line.contains("two/siem-cg/receipt"),
        "{line}"
    );
    let (newest, from) = (
        time_at(&line, "newest_stored"),
        time_at(&line, "reading_again_from"),
    );
    assert_eq!(newest.since(from), HOUR);
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 20)
        .unwrap();
    bench.until_all_arrived().await;
    bench.assert_balanced().await;
    // What came before came again at most, with the ids it had.
    assert_eq!(bench.handle.hec().distinct(), 80);
    assert!(bench.handle.hec().duplicates() <= 60);
    collector.stop().await;
}
