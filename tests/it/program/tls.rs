//! Servers with which TLS cannot be: each is refused with one message that says what to do, and nobody falls back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mimecast_collector::health::{Failure, Origin, lookup};
use mimecast_collector::simulator::Account;
use tokio::task::JoinSet;

use super::harness::{Bench, Program};
use crate::flawed::{self, Flawed};

/// A name for what is configured for a flaw.
fn name(what: &str, flaw: &str) -> String {
    format!("{what}-{}", flaw.replace(['_', ' '], "-"))
}

/// An integration, and an output of each kind, for each server.
fn configure(bench: &Bench, servers: &BTreeMap<&'static str, Flawed>) {
    let well = bench.integration(&Account::v2("two"), "[\"audit\"]");
    bench.configure(&[well], "");
    let mut text = std::fs::read_to_string(bench.path("config.toml")).unwrap();
    let api = bench.simulator.api_url();
    for (flaw, server) in servers {
        let (address, ca_file) = (&server.address, &server.ca_file);
        let account = Account::v2(&name("mimecast", flaw));
        let integration = bench.integration(&account, "[\"audit\"]");
        text.push_str(&integration.replace(&api, &format!("https://{address}")));
        writeln!(text, "ca_file = {ca_file:?}").unwrap();
        let outputs = [
            (
                "hec",
                "splunk_hec",
                format!("url = \"https://{address}\"\ntoken = {{ file = \"secrets/hec\" }}"),
            ),
            (
                "http",
                "http",
                format!("url = \"https://{address}/events\""),
            ),
            (
                "syslog",
                "syslog",
                format!("address = \"{address}\"\ntransport = \"tls\""),
            ),
        ];
        for (what, kind, settings) in outputs {
            let name = name(what, flaw);
            writeln!(
                text,
                "\n[[output]]\nname = \"{name}\"\ntype = \"{kind}\"\nca_file = {ca_file:?}\nintegrations = [\"two\"]\n{settings}"
            )
            .unwrap();
        }
    }
    bench.write("config.toml", &text);
}

/// The one line that tells of it, with the code, what that means and what to do.
async fn told_once(collector: &Program, subject: &str, origin: Origin, code: &str) {
    let failure = Failure::new(origin, 0, code, "");
    let row = lookup(&failure);
    assert_eq!(row.code, code, "no row of its own");
    let code = format!("code={} ", failure.key());
    let subject = format!("subject=\"{subject}\"");
    let line = collector.logged(&[&subject, &code, row.title]).await;
    let first_words: Vec<_> = row.advice.split(' ').take(5).collect();
    assert!(line.contains(&first_words.join(" ")), "no advice in {line}");
    let warned = collector.lines(&[&subject, "code="]);
    let of_it = |line: &&String| line.contains("WARN") || line.contains("ERROR");
    let others: Vec<_> = warned
        .iter()
        .filter(of_it)
        .filter(|other| !other.contains(&code))
        .collect();
    assert!(
        others.is_empty(),
        "another message for the same: {others:#?}"
    );
}

#[tokio::test]
async fn a_wrong_host_an_expired_certificate_an_unknown_authority_and_an_old_protocol_are_each_told_and_nobody_falls_back()
 {
    let bench = Bench::new().await;
    let mut tasks = JoinSet::new();
    let servers = flawed::all(bench.folder.path(), &mut tasks).await;
    configure(&bench, &servers);
    bench.handle.publish("two", "audit", "", 20).unwrap();
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    for flaw in servers.keys() {
        let code = flaw.split(' ').next().unwrap();
        let subject = |what| name(what, flaw);
        let mimecast = format!("credential {}", subject("mimecast"));
        told_once(&collector, &mimecast, Origin::Transport, code).await;
        for what in ["hec", "http"] {
            let output = format!("output {}", subject(what));
            told_once(&collector, &output, Origin::Transport, code).await;
        }
        let syslog = format!("output {}", subject("syslog"));
        told_once(&collector, &syslog, Origin::Syslog, code).await;
    }
    collector.stop().await;
    servers.values().for_each(Flawed::assert_nothing_heard);
    // What could not be sent waits for those who cannot be trusted.
    let shown = bench.ended(&["state", "show", "--json"]).await.out;
    let shown: mimecast_collector::state::Document = serde_json::from_str(&shown).unwrap();
    let waiting = shown.outputs.iter();
    let waiting = waiting.filter(|place| place.lane.as_str() == "two/audit" && place.waiting == 20);
    assert_eq!(waiting.count(), 3 * servers.len());
}
