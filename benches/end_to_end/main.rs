//! What a gigabyte of events costs from the download of gzip files, over the durable spool, to the receiver: the program as its
//! users run it, between a simulator and a sink that are processes of their own.
//!
//! ```text
//! cargo bench --bench end_to_end                       1 GB, every variant
//! cargo bench --bench end_to_end -- --mb 10000 hec     10 GB, one variant
//! cargo bench --bench end_to_end -- breadth            a thousand accounts without news
//! cargo bench --bench end_to_end -- latency            one event after the other
//! ```
//! The yardstick is `gunzip -c | gzip -1` on the same bytes in the same run, so that the ratio holds on any machine. Wall-clock
//! figures are those of a machine that simulator, collector and sink share. `cores` is how many of them the collector kept busy:
//! a backlog drains at so much of what one core can do.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark, which people start and read"
)]

mod breadth;
mod latency;
mod process;
mod sink;
mod source;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use process::{Child, Usage};

/// What is measured, by the name on the command line.
struct Variant {
    name: &'static str,
    what: &'static str,
    sink: sink::Kind,
    /// The `[[output]]` table; `SINK` is the sink's address, or the file that it reads.
    output: &'static str,
    integrations: usize,
}

const VARIANTS: &[Variant] = &[
    Variant {
        name: "hec",
        what: "to Splunk HEC, gzip bodies",
        sink: sink::Kind::Http,
        output: HEC,
        integrations: 1,
    },
    Variant {
        name: "hec-2",
        what: "the same, two integrations",
        sink: sink::Kind::Http,
        output: HEC,
        integrations: 2,
    },
    Variant {
        name: "hec-plain",
        what: "to Splunk HEC, plain bodies",
        sink: sink::Kind::Http,
        output: HEC_PLAIN,
        integrations: 1,
    },
    Variant {
        name: "syslog",
        what: "to syslog over TCP",
        sink: sink::Kind::Lines,
        output: SYSLOG,
        integrations: 1,
    },
    Variant {
        name: "file",
        what: "to a file",
        sink: sink::Kind::File,
        output: FILE,
        integrations: 1,
    },
];

const HEC: &str = "type = \"splunk_hec\"\nurl = \"http://SINK\"\ntoken = { literal = \"token\" }";
const HEC_PLAIN: &str =
    "type = \"splunk_hec\"\nurl = \"http://SINK\"\ntoken = { literal = \"token\" }\ngzip = false";
const SYSLOG: &str = "type = \"syslog\"\naddress = \"SINK\"\ntransport = \"tcp\"";
const FILE: &str = "type = \"file\"\npath = \"SINK\"\nrotate_bytes = \"100GiB\"";

/// A run that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo's own word.
    arguments.retain(|argument| argument != "--bench");
    match arguments.first().map(String::as_str) {
        Some("--role-source") => return source::serve(&arguments[1..]),
        Some("--role-sink") => return sink::serve(&arguments[1..]),
        Some("breadth") => return breadth::run(tempfile::tempdir().unwrap().path()),
        Some("latency") => return latency::run(tempfile::tempdir().unwrap().path()),
        Some(_) | None => {}
    }
    let mut megabytes = 1000;
    if let Some(at) = arguments.iter().position(|argument| argument == "--mb") {
        megabytes = arguments.get(at + 1).unwrap().parse().unwrap();
        arguments.drain(at..at + 2);
    }
    let chosen = |variant: &&Variant| {
        arguments.is_empty() || arguments.iter().any(|name| name == variant.name)
    };
    let accounts = VARIANTS.iter().filter(chosen).map(|v| v.integrations).max();
    let folder = tempfile::tempdir().unwrap();
    let source = source::start(accounts.unwrap_or(1), megabytes, folder.path());
    println!(
        "{} events, {:.2} GB in {} files, {:.1} : 1 by gzip\n",
        source.events,
        gigabytes(source.bytes),
        source.files,
        source.bytes as f64 / source.packed as f64
    );
    let yardstick = yardstick(&source.folder);
    let per_gigabyte = yardstick.cpu.as_secs_f64() / gigabytes(source.bytes);
    println!("| what | MB/s | cores | CPU s/GB | of the yardstick | peak RSS |");
    println!("| ---- | ---- | ----- | -------- | ---------------- | -------- |");
    let line = |what: &str, usage: &Usage, times: usize, rss: &str| {
        let bytes = gigabytes(source.bytes) * times as f64;
        let cpu = usage.cpu.as_secs_f64() / bytes;
        println!(
            "| {what} | {:.0} | {:.2} | {cpu:.2} | {:.2} | {rss} |",
            bytes * 1000.0 / usage.wall.as_secs_f64(),
            usage.cpu.as_secs_f64() / usage.wall.as_secs_f64(),
            cpu / per_gigabyte
        );
    };
    line("`gunzip -c \\| gzip -1`, the yardstick", &yardstick, 1, "");
    for variant in VARIANTS.iter().filter(chosen) {
        let usage = measure(variant, &source, folder.path());
        let rss = format!("{} MiB", usage.peak_kib / 1024);
        line(variant.what, &usage, variant.integrations, &rss);
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// What unpacking and packing the same bytes costs with the tools that everybody has.
fn yardstick(folder: &Path) -> Usage {
    let clock = Clock::system();
    let script = "cat \"$0\"/*.gz | gunzip -c | gzip -1 > /dev/null; times";
    let said = Command::new("bash")
        .args(["-c", script])
        .arg(folder)
        .output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    // The second line is the children's, user and system.
    let cpu = said
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .map(clock_time);
    Usage {
        wall: clock.monotonic(),
        cpu: cpu.sum(),
        peak_kib: 0,
    }
}

/// `1m2.345s` as bash writes it.
fn clock_time(text: &str) -> Duration {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
    let minutes: f64 = minutes.parse().unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    Duration::from_secs_f64(minutes * 60.0 + seconds)
}

/// Runs the collector from its start until the sink has had every event.
fn measure(variant: &Variant, source: &source::Source, folder: &Path) -> Usage {
    let own = folder.join(variant.name);
    fs::create_dir_all(&own).unwrap();
    let sink = sink::start(variant.sink, &own.join("events"));
    let mut config = format!("state_dir = {:?}\n", own.join("state"));
    let logs = format!(
        "logs = [\"siem-cg\"]\n[integration.log.siem-cg]\ntypes = {:?}",
        source::TYPES
    );
    for account in 0..variant.integrations {
        config.push_str(&source.integration(account, &logs));
    }
    let output = variant.output.replace("SINK", &sink.address);
    config.push_str(&format!("\n[[output]]\nname = \"sink\"\n{output}\n"));
    let path = own.join("config.toml");
    fs::write(&path, config).unwrap();
    let expected = source.events * variant.integrations as u64;
    let log = fs::File::create(own.join("log")).unwrap();
    let collector = Child::spawn(process::collector(&path, "warn").stderr(log));
    let clock = Clock::system();
    // Heartbeats and alerts may be among them.
    while sink.events() < expected {
        assert!(
            clock.monotonic() < PATIENCE,
            "{}",
            fs::read_to_string(own.join("log")).unwrap()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let usage = Usage {
        wall: clock.monotonic(),
        ..collector.usage()
    };
    drop(collector);
    fs::remove_dir_all(&own).unwrap();
    usage
}
