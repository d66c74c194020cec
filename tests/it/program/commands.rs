//! Every command that the pages tell people to type is run: here against a simulator, or where the table says. A command that is in
//! no table fails.

use std::fs;

use mimecast_collector::clock::Clock;
use mimecast_collector::simulator::Options;

use super::connect::place;
use super::harness::{Bench, look_until};

const PAGES: [(&str, &str); 2] = [
    ("README.md", include_str!("../../../README.md")),
    (
        "docs/operations.md",
        include_str!("../../../docs/operations.md"),
    ),
];
const INSIDE: &str = include_str!("../../../packaging/inside-systemd");
const IMAGE: &str = include_str!("../../../packaging/test-image");
const FULL: &str = include_str!("../../../.ci/full");

/// First words by which a line of a page is known for a command.
const PROGRAMS: [&str; 19] = [
    "apt-get",
    "cargo",
    "cd",
    "chown",
    "cp",
    "dnf",
    "dpkg",
    "install",
    "journalctl",
    "mimecast-collector",
    "packaging/build",
    "packaging/test-systemd",
    "podman",
    "rm",
    "rpm",
    "systemctl",
    "systemd-run",
    "systemd-sysusers",
    "tar",
];

/// How root runs a command as the collector's user.
const AS_THE_COLLECTOR: &str = "runuser -u mimecast-collector -- ";

/// Run as root in a container with a real systemd: these stand in packaging/inside-systemd.
const UNDER_SYSTEMD: [&str; 12] = [
    "apt-get",
    "cd",
    "chown",
    "cp",
    "install",
    "journalctl",
    "rm",
    "rpm",
    "systemctl",
    "systemd-run",
    "systemd-sysusers",
    "tar",
];

/// The commands of a text, each a list of words: lines of its code blocks, parts of `a && b`, and what stands in back-quotes.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let parts: Vec<&str> = if in_code {
            line.split(" && ").collect()
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for part in parts {
            // What a command is for stands behind it.
            let part = part.trim_start().split("  ").next().unwrap_or("");
            let part = part.split(" | ").next().unwrap_or("");
            // Here all is one user's.
            let part = part.strip_prefix(AS_THE_COLLECTOR).unwrap_or(part);
            let words: Vec<String> = part.split_whitespace().map(str::to_owned).collect();
            let [first, ..] = words.as_slice() else {
                continue;
            };
            let is_placeholder = |word: &String| {
                let bare = word.trim_matches(['[', ']']);
                bare.len() > 1 && bare.chars().all(|c| c.is_ascii_uppercase())
            };
            let complete = words.len() > 1 || first.contains('/') || first == "systemd-sysusers";
            if PROGRAMS.contains(&first.as_str()) && complete && !words.iter().any(is_placeholder) {
                found.push(words);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether a line of the script has all words of the command, in their order.
fn is_in(script: &str, command: &[String]) -> bool {
    script.lines().any(|line| {
        let mut words = line.split_whitespace().map(|word| word.trim_matches('"'));
        command
            .iter()
            .all(|wanted| words.any(|word| word == wanted))
    })
}

/// What is left to be run here: the program's own arguments.
fn ours(page: &str, command: Vec<String>) -> Option<Vec<String>> {
    let first = command.first().unwrap().as_str();
    let line = command.join(" ");
    if line == "cargo test" {
        return None; // This is it.
    }
    if UNDER_SYSTEMD.contains(&first) {
        assert!(
            is_in(INSIDE, &command),
            "{page}: nothing runs '{line}' under systemd"
        );
        return None;
    }
    // buildah makes the same image of the same words.
    if first == "podman" {
        let words = command.get(1..).unwrap();
        assert!(is_in(IMAGE, words), "{page}: nothing runs '{line}'");
        return None;
    }
    if let Some(arguments) = line.strip_prefix("cargo run --release -- ") {
        return Some(arguments.split(' ').map(str::to_owned).collect());
    }
    if first != "mimecast-collector" {
        assert!(is_in(FULL, &command), "{page}: nothing runs '{line}'");
        return None;
    }
    command.get(1..).map(<[String]>::to_vec)
}

/// The command with the places that it names moved into the bench, and its days to those that Mimecast still has.
fn moved(words: &[String], bench: &Bench) -> Vec<String> {
    let yesterday = Clock::system().wall().as_millis() - 86_400_000;
    let yesterday = mimecast_collector::model::Timestamp::from_millis(yesterday).to_string();
    let day = yesterday.split('T').next().unwrap();
    let etc = bench.path("etc");
    words
        .iter()
        .map(|word| word.replace("/etc/mimecast-collector", etc.to_str().unwrap()))
        .map(|word| word.replace("/root", bench.folder.path().to_str().unwrap()))
        .map(|word| word.replace("2026-01-06", day))
        .collect()
}

#[tokio::test]
async fn every_command_of_readme_manual_and_operations_is_run() {
    let place = place(Options::default(), "", |text| {
        text.replace("name = \"one\"", "name = \"acme-uk\"")
            .replace("name = \"two\"", "name = \"acme\"")
    })
    .await;
    let bench = &place.bench;
    fs::create_dir_all(bench.path("etc/conf.d")).unwrap();
    // The examples of the manual are those of the help.
    let help = bench.ended_alone(&["--help"]).await.out;
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let (examples, _) = examples.split_once("\n\n").unwrap();
    let examples = format!("```\n{examples}\n```\n");
    let mut pages = vec![("the manual", examples.as_str())];
    pages.extend(PAGES);

    let mut here = Vec::new();
    for (page, text) in pages {
        let found = commands(text);
        assert!(found.len() >= 5, "{page}: {found:?}");
        here.extend(found.into_iter().filter_map(|command| ours(page, command)));
    }
    here.sort();
    here.dedup();
    assert!(here.len() >= 12, "{here:?}");

    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    let (stopped, running): (Vec<_>, Vec<_>) =
        here.into_iter().partition(|words| words[0] == "state");
    for words in running {
        let line = words.join(" ");
        let words = moved(&words, bench);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let subject = words.first().copied().unwrap_or_default();
        if line == "run" {
            continue; // It runs all the time.
        }
        if words.contains(&"--watch") {
            let mut shown = bench.start(&words);
            look_until("the status", || shown.out().contains("acme").then_some(())).await;
            shown.signal("INT");
            shown.exited().await;
            continue;
        }
        let alone = words.contains(&"--config") || matches!(subject, "demo" | "explain");
        let ended = if alone {
            bench.ended_alone(&words).await
        } else {
            bench.ended(&words).await
        };
        // A status may find something to look at.
        let codes: &[i32] = if subject == "status" {
            &[0, 1, 2]
        } else {
            &[0]
        };
        let code = ended.code.unwrap_or(-1);
        assert!(codes.contains(&code), "{line}: {ended:?}");
        if line.contains("--json") {
            let said: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
            assert!(said.get("summary").is_some(), "{line}");
        }
        if subject == "pause" {
            let ended = bench.ended(&["resume", words[1]]).await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
    }
    collector.stop().await;
    // In an order in which each finds what it needs.
    for subject in ["show", "export", "import", "reset-cursor"] {
        let of_it = stopped.iter().filter(|words| words[1] == subject);
        assert!(of_it.clone().count() > 0, "no page has state {subject}");
        for words in of_it {
            let line = words.join(" ");
            let words: Vec<_> = moved(words, bench);
            let (words, to) = match words.iter().position(|word| word == ">") {
                Some(at) => (&words[..at], words.get(at + 1)),
                None => (words.as_slice(), None),
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = bench.ended(&words).await;
            assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
            if let Some(to) = to {
                fs::write(to, ended.out).unwrap();
            }
        }
    }
}

#[test]
fn a_command_that_nothing_runs_is_noticed() {
    let page = "```\nsystemctl halt  now\nmimecast-collector check && cd x\nsome output: check\n```\nuse `mimecast-collector forget NAME`, `rpm -q x`";
    let found = commands(page);
    let lines: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        lines,
        [
            "cd x",
            "mimecast-collector check",
            "rpm -q x",
            "systemctl halt"
        ]
    );
    assert!(!is_in(INSIDE, &found[3]));
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(is_in(INSIDE, &words("systemctl reload mimecast-collector")));
}
