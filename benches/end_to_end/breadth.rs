//! What a thousand accounts without news cost: five logs each, every one polled each five minutes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mimecast_collector::clock::Clock;

use crate::process::{self, Child};
use crate::{sink, source};

const INTEGRATIONS: usize = 1000;
const LOGS: &str = r#"logs = ["siem-cg", "audit", "ttp-url", "ttp-impersonation", "dlp"]
[integration.log.siem-cg]
types = ["receipt"]"#;

/// Runs a thousand idle integrations for two rounds of polls and prints what each costs.
pub(crate) fn run(folder: &Path) {
    let source = source::start(INTEGRATIONS, 0, folder);
    let sink = sink::start(sink::Kind::Http, folder);
    let state = folder.join("state");
    let mut config = format!("state_dir = {state:?}\n");
    for account in 0..INTEGRATIONS {
        config.push_str(&source.integration(account, LOGS));
    }
    let address = &sink.address;
    config.push_str(&format!(
        "\n[[output]]\nname = \"sink\"\ntype = \"splunk_hec\"\nurl = \"http://{address}\"\n\
         token = {{ literal = \"token\" }}\n"
    ));
    let path = folder.join("config.toml");
    fs::write(&path, config).unwrap();
    let log = folder.join("log");
    let clock = Clock::system();
    let collector =
        Child::spawn(process::collector(&path, "info").stderr(fs::File::create(&log).unwrap()));
    while !fs::read_to_string(&log).unwrap().contains(" running ") {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let mut before = collector.usage();
    println!(
        "started after {:.2} s, of them {:.2} s of CPU\n",
        clock.monotonic().as_secs_f64(),
        before.cpu.as_secs_f64()
    );
    println!("| seconds | CPU % of a core | resident MiB | sled MiB | heartbeats |");
    println!("| ------- | --------------- | ------------ | -------- | ---------- |");
    for round in 1..=20 {
        let until = Duration::from_secs(30 * round);
        while clock.monotonic() < until {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let now = collector.usage();
        println!(
            "| {} | {:.2} | {} | {:.1} | {} |",
            until.as_secs(),
            (now.cpu - before.cpu).as_secs_f64() / 30.0 * 100.0,
            now.peak_kib / 1024,
            size(&state.join("sled")) as f64 / 1e6,
            sink.events()
        );
        before = now;
    }
}

/// Bytes of the files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => size(&entry.path()),
        meta => meta.len(),
    });
    sizes.sum()
}
