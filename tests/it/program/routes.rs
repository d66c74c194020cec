//! What goes to which output, and what becomes of what does not: routes, filters, dead letters, what is forgotten; each over a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use mimecast_collector::ledger::{Ledger, OutputBooks};
use mimecast_collector::simulator::{Account, Action, Answer, Fault, Target};
use serde_json::Value;

use super::harness::{Bench, look_until, within};

/// The lines of a file of an output by their event ids. A line that comes again is the same.
fn lines(path: &Path) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut events = BTreeMap::new();
    // The last one may be half written.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event.get("event_id").and_then(Value::as_str);
        let id = id.unwrap().to_owned();
        let former = events.insert(id, event.clone());
        assert!(former.is_none_or(|former| former == event), "{line}");
    }
    events
}

/// How many of them the integration's logs have.
fn count_of(events: &BTreeMap<String, Value>, integration: &str, logs: &[&str]) -> usize {
    let is_of = |event: &&Value| {
        event["integration"] == integration && logs.iter().any(|log| event["log"] == *log)
    };
    events.values().filter(is_of).count()
}

fn bodies(events: &BTreeMap<String, Value>, integration: &str, log: &str) -> BTreeSet<String> {
    let of = events
        .values()
        .filter(|event| event["integration"] == integration && event["log"] == log);
    of.map(|event| event["event"].to_string()).collect()
}

fn published(bench: &Bench, account: &str, log: &str) -> BTreeSet<String> {
    let records = bench.handle.published(account, log, "").into_iter();
    let value = |record: Vec<u8>| serde_json::from_slice::<Value>(&record).unwrap();
    records.map(|record| value(record).to_string()).collect()
}

/// Writes a configuration of two tenants and these outputs.
fn configure(bench: &Bench, outputs: &str) {
    let mut text = format!("state_dir = {:?}\n", bench.state_dir());
    for (account, logs, customer) in [
        (Account::v1("one"), "[\"siem\", \"audit\"]", "globex"),
        (Account::v2("two"), "[\"siem-cg\", \"audit\"]", "acme"),
    ] {
        text.push_str(&bench.integration(&account, logs));
        writeln!(text, "tags = {{ customer = \"{customer}\" }}").unwrap();
    }
    text.push_str(outputs);
    bench.write("config.toml", &text);
}

fn file(name: &str, lines: &str) -> String {
    format!(
        "\n[[output]]\nname = \"{name}\"\ntype = \"file\"\npath = \"out/{name}.ndjson\"\n{lines}\n"
    )
}

fn splunk(bench: &Bench, lines: &str) -> String {
    bench.write("secrets/hec", &bench.token);
    let url = bench.simulator.hec_url();
    format!(
        "\n[[output]]\nname = \"splunk\"\ntype = \"splunk_hec\"\nurl = \"{url}\"\ntoken = {{ file = \"secrets/hec\" }}\n{lines}\n"
    )
}

fn publish(bench: &Bench, count: usize) {
    for (account, log, kind) in [
        ("one", "siem", ""),
        ("one", "audit", ""),
        ("two", "siem-cg", "receipt"),
        ("two", "audit", ""),
    ] {
        bench.handle.publish(account, log, kind, count).unwrap();
    }
}

/// The lanes of an output that come from Mimecast.
fn lanes(ledger: &Ledger, output: &str) -> Vec<OutputBooks> {
    let lanes = ledger.outputs.iter();
    let of = lanes.filter(|lane| lane.output.as_str() == output && !lane.stream.starts_with('@'));
    of.cloned().collect()
}

/// The ledger once nothing of this output waits.
async fn settled(bench: &Bench, output: &str) -> Ledger {
    let settled = async {
        loop {
            let ended = bench.ended(&["ledger", "--json"]).await;
            let ledger: Ledger = serde_json::from_str(&ended.out).unwrap();
            assert!(ledger.balances, "{ledger:#?}");
            if lanes(&ledger, output).iter().all(|lane| lane.waiting == 0) {
                return ledger;
            }
        }
    };
    within("an empty backlog", settled).await
}

#[tokio::test]
async fn each_output_gets_what_its_route_says_and_nothing_else_also_over_a_kill() {
    let bench = Bench::new().await;
    fs::create_dir(bench.path("out")).unwrap();
    let outputs = [
        splunk(&bench, "integrations = [\"one\"]"),
        file(
            "acme",
            "integrations = [\"tag.customer=acme\"]\ncarry = [\"events\"]",
        ),
        file("audits", "logs = [\"audit\"]\ncarry = [\"events\"]"),
        file("own", "carry = [\"alerts\", \"heartbeats\"]"),
    ];
    configure(&bench, &outputs.concat());
    publish(&bench, 200);
    let collector = bench.run(600);
    bench
        .until("some events", |handle| handle.hec().distinct() > 50)
        .await;
    collector.kill_9();
    publish(&bench, 100);
    let collector = bench.run(600);
    let at = |name: &str| lines(&bench.path(&format!("out/{name}.ndjson")));
    look_until("all that each is to get", || {
        let whole = bench.handle.hec().distinct() >= 600
            && count_of(&at("acme"), "two", &["siem-cg", "audit"]) >= 600
            && at("audits").len() >= 600
            && !at("own").is_empty();
        whole.then_some(())
    })
    .await;
    collector.stop().await;
    let (acme, audits, own) = (at("acme"), at("audits"), at("own"));
    assert_eq!((acme.len(), audits.len()), (600, 600));
    for log in ["siem-cg", "audit"] {
        assert_eq!(bodies(&acme, "two", log), published(&bench, "two", log));
    }
    for account in ["one", "two"] {
        let expected = published(&bench, account, "audit");
        assert_eq!(bodies(&audits, account, "audit"), expected);
    }
    assert!(own.values().all(|event| event["log"] == "collector"));
    assert_eq!(bench.handle.hec().distinct(), 600);
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_filter_drops_keeps_and_hides_and_the_ledger_counts_it_also_over_a_kill() {
    let bench = Bench::new().await;
    fs::create_dir(bench.path("out")).unwrap();
    let part = "integrations = [\"two\"]\nlogs = [\"siem-cg\"]\ncarry = [\"events\"]\n\
        filter = [{ field = \"_offset\", matches = \"[02468]$\", then = \"drop\" }, { field = \"action\", in = [\"Acc\", \"Rej\"], then = \"keep\" }]\n\
        drop_fields = [\"subject\"]\nhash_fields = [\"senderEnvelope\"]";
    let outputs = [splunk(&bench, ""), file("part", part)].concat();
    configure(&bench, &outputs);
    let publish_all = || {
        publish(&bench, 150);
        bench.handle.publish("two", "siem-cg", "av", 40).unwrap();
    };
    publish_all();
    let collector = bench.run(600);
    bench
        .until("some events", |handle| handle.hec().distinct() > 100)
        .await;
    collector.kill_9();
    publish_all();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    let ledger = settled(&bench, "part").await;
    collector.stop().await;

    let receipts = bench.handle.published("two", "siem-cg", "receipt");
    let receipts = receipts
        .iter()
        .map(|record| serde_json::from_slice(record).unwrap());
    let kept: Vec<Value> = receipts
        .filter(|event: &Value| event["_offset"].as_u64().unwrap() % 2 == 1)
        .collect();
    let arrived = lines(&bench.path("out/part.ndjson"));
    let offset = |event: &Value| event["_offset"].as_u64().unwrap();
    let offsets: BTreeSet<u64> = arrived
        .values()
        .map(|line| offset(&line["event"]))
        .collect();
    assert_eq!(offsets, kept.iter().map(offset).collect());
    assert_eq!(offsets.len(), arrived.len());
    let senders: BTreeMap<u64, &str> = kept
        .iter()
        .map(|event| (offset(event), event["senderEnvelope"].as_str().unwrap()))
        .collect();
    let mut hashes: BTreeMap<&str, String> = BTreeMap::new();
    for line in arrived.values() {
        let event = &line["event"];
        assert_eq!(event.get("subject"), None, "{event}");
        let hash = event["senderEnvelope"].as_str().unwrap().to_owned();
        assert!(!hash.contains('@'), "{hash}");
        let of = hashes
            .entry(senders[&offset(event)])
            .or_insert(hash.clone());
        assert_eq!(*of, hash, "one sender, two hashes");
    }
    let books = lanes(&ledger, "part");
    let accepted: u64 = books.iter().map(|lane| lane.accepted).sum();
    let filtered: u64 = books.iter().map(|lane| lane.filtered).sum();
    assert_eq!(accepted, kept.len() as u64);
    assert_eq!(accepted + filtered, 2 * (150 + 40));
    assert_eq!(
        lanes(&ledger, "splunk")
            .iter()
            .map(|l| l.filtered)
            .sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn what_an_output_is_not_offered_is_put_aside_and_counted_as_the_collectors_own_decision() {
    let bench = Bench::new().await;
    fs::create_dir(bench.path("out")).unwrap();
    let short = "logs = [\"audit\"]\ncarry = [\"events\"]\nmax_event_bytes = \"1KiB\"\noversized = \"quarantine\"";
    let cut = "logs = [\"audit\"]\ncarry = [\"events\"]\nmax_event_bytes = \"1KiB\"";
    let outputs = [splunk(&bench, ""), file("short", short), file("cut", cut)].concat();
    configure(&bench, &outputs);
    let publish = |count, padding| {
        let mut events = mimecast_collector::simulator::Publication::new("two", "audit", "", count);
        events.padding = padding;
        bench.handle.publish_as(&events).unwrap();
    };
    // More in a row than a receiver may refuse before its output stops.
    publish(5, 0);
    publish(25, 3_000);
    publish(5, 0);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    let ledger = settled(&bench, "short").await;
    let books = lanes(&ledger, "short");
    let of = |count: fn(&OutputBooks) -> u64| books.iter().map(count).sum::<u64>();
    assert_eq!(
        (of(|l| l.accepted), of(|l| l.rejected), of(|l| l.withheld)),
        (10, 0, 25)
    );
    assert!(
        ledger
            .notes
            .iter()
            .any(|note| note.contains("25 events not offered"))
    );
    settled(&bench, "cut").await;
    let aside = bench.ended(&["dead-letters", "list", "--json"]).await.out;
    let aside: Vec<Value> = serde_json::from_str(&aside).unwrap();
    let records = aside.iter().map(|one| one["records"].as_u64().unwrap());
    assert_eq!(records.sum::<u64>(), 25);
    collector.stop().await;
    assert_eq!(lines(&bench.path("out/short.ndjson")).len(), 10);
    let cut = lines(&bench.path("out/cut.ndjson"));
    let is_cut = |line: &&Value| line["event"]["truncated"] == true;
    assert_eq!((cut.len(), cut.values().filter(is_cut).count()), (35, 25));
}

#[tokio::test]
async fn a_dead_output_and_a_slow_one_hold_up_no_other_and_get_everything_once_they_can() {
    let bench = Bench::new().await;
    // The folder of the dead one is missing.
    let outputs = [
        splunk(&bench, ""),
        file("dead", "carry = [\"events\"]"),
        "\n[[output]]\nname = \"second\"\ntype = \"http\"\nbatch_events = 10\ncarry = [\"events\"]\n"
            .to_owned(),
    ];
    let slow = super::http::Receiver::start(std::time::Duration::from_millis(20)).await;
    let url = format!("url = \"http://{}/in\"\n", slow.address());
    configure(&bench, &[outputs.concat(), url].concat());
    publish(&bench, 200);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    assert!(
        slow.distinct() < 800,
        "the slow one was as fast as the others"
    );
    collector.logged(&["local/io", "dead"]).await;
    collector.kill_9();
    fs::create_dir(bench.path("out")).unwrap();
    let collector = bench.run(600);
    look_until("all events at the dead one", || {
        (lines(&bench.path("out/dead.ndjson")).len() >= 800).then_some(())
    })
    .await;
    look_until("all events at the slow one", || {
        (slow.distinct() >= 800).then_some(())
    })
    .await;
    settled(&bench, "second").await;
    collector.stop().await;
    assert_eq!(lines(&bench.path("out/dead.ndjson")).len(), 800);
    bench.assert_no_violations();
}

#[tokio::test]
async fn what_is_forgotten_frees_its_backlog_for_good_and_touches_nothing_else() {
    let bench = Bench::new().await;
    let both = [splunk(&bench, ""), file("gone", "carry = [\"events\"]")].concat();
    configure(&bench, &both);
    publish(&bench, 100);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    let ended = bench.ended(&["forget", "gone", "--yes"]).await;
    assert_ne!(ended.code, Some(0), "what is configured is not forgotten");
    configure(&bench, &splunk(&bench, ""));
    collector.signal("HUP");
    collector
        .logged(&["output gone is not in the configuration any more"])
        .await;
    let backlog = |ledger: &Ledger| {
        let waiting = lanes(ledger, "gone").into_iter().map(|lane| lane.waiting);
        waiting.sum::<u64>()
    };
    let ledger = settled(&bench, "splunk").await;
    assert_eq!(backlog(&ledger), 400);
    // Without a yes nothing is done.
    let asked = bench.ended(&["forget", "gone"]).await;
    assert!(
        asked.out.contains("400") && asked.out.contains("--yes"),
        "{asked:?}"
    );
    let ended = bench.ended(&["forget", "gone", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    collector.kill_9();
    let collector = bench.run(600);
    publish(&bench, 10);
    bench.until_all_arrived().await;
    let ledger = settled(&bench, "splunk").await;
    assert_eq!(lanes(&ledger, "gone"), []);
    let again = bench.ended(&["forget", "gone", "--yes"]).await;
    assert_ne!(again.code, Some(0), "{again:?}");
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
}

/// The dead letters, as a script reads them.
async fn letters(bench: &Bench) -> Vec<Value> {
    let ended = bench.ended(&["dead-letters", "list", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

#[tokio::test]
async fn dead_letters_are_shown_with_the_answer_sent_again_once_and_thrown_away_whatever_is_killed()
{
    const REFUSED: u32 = 4;
    let bench = Bench::new().await;
    configure(&bench, &splunk(&bench, "carry = [\"events\"]"));
    let refusal = Fault::answer(Target::Hec, Answer::hec_at(6, 0));
    bench.handle.script(refusal.times(REFUSED));
    bench.handle.publish("two", "audit", "", 12).unwrap();
    let collector = bench.run(600);
    bench
        .until("what was not refused", |handle| {
            handle.hec().distinct() >= 8
        })
        .await;
    look_until("what was refused", || {
        (collector.lines(&["it is put aside"]).len() == 4).then_some(())
    })
    .await;
    settled(&bench, "splunk").await;

    let listed = letters(&bench).await;
    let numbers: Vec<String> = listed.iter().map(|one| one["number"].to_string()).collect();
    let records = listed.iter().map(|one| one["records"].as_u64().unwrap());
    assert_eq!(records.sum::<u64>(), u64::from(REFUSED));
    let shown = bench.ended(&["dead-letters", "show", &numbers[0]]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let record = shown["entries"][0]["record"].as_str().unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    assert!(published(&bench, "two", "audit").contains(&record.to_string()));
    assert!(
        shown["reason"].as_str().unwrap().starts_with("hec/6"),
        "{shown}"
    );

    // Asked for and killed meanwhile: it is marked as sent and comes, or neither.
    let lost = Fault::new(Target::Hec, Action::Reset);
    bench.handle.script(lost.once());
    let mut resend = bench.start(&[&["dead-letters", "resend"], &refs(&numbers)[..]].concat());
    look_until("the request, or its end", || {
        let is_sent = !collector.lines(&["sent again"]).is_empty();
        (is_sent || !resend.log().is_empty()).then_some(())
    })
    .await;
    collector.kill_9();
    resend.exited().await;
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    let waiting: Vec<String> = letters(&bench)
        .await
        .iter()
        .filter(|one| one["sent_again"].is_null())
        .map(|one| one["number"].to_string())
        .collect();
    for number in &waiting {
        let ended = bench.ended(&["dead-letters", "resend", number]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    bench.until_all_arrived().await;
    settled(&bench, "splunk").await;
    assert_eq!(bench.handle.hec().distinct(), 12);
    println!(
        "{} of {} letters sent before the kill",
        numbers.len() - waiting.len(),
        numbers.len()
    );
    let again = bench.ended(&["dead-letters", "resend", &numbers[0]]).await;
    assert!(again.err.contains("sent again before"), "{again:?}");

    let discard = [&["dead-letters", "discard", "--yes"], &refs(&numbers)[..]].concat();
    assert_eq!(bench.ended(&discard).await.code, Some(0));
    collector.kill_9();
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    assert_eq!(letters(&bench).await, Vec::<Value>::new());
    collector.stop().await;
    let left = fs::read_dir(bench.state_dir().join("quarantine")).unwrap();
    let left = left.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    assert_eq!(left.count(), 0);
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
