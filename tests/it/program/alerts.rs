//! Alerts to people and their tools: webhooks by the templates that docs/alerts.md shows, and programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use mimecast_collector::simulator::{Account, Answer, Fault, FaultId, Options, Target};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::harness::{Bench, look_until};

const SCALE: u32 = 1_200;
const NEW_KEY: &str = "bmV3IGtleSBvZiBvbmU=";
/// In an address, a header and a message: seen by the receiver alone.
const SECRETS: [&str; 3] = [
    "canary-of-the-url",
    "canary-of-a-header",
    "canary-of-a-message",
];

/// A message as it came.
#[derive(Clone)]
struct Message {
    path: String,
    head: String,
    body: Value,
}

/// A receiver of messages, which answers each path as it is told.
struct Hooks {
    url: String,
    seen: Arc<Mutex<Vec<Message>>>,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    _tasks: JoinSet<()>,
}

impl Hooks {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, answers) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        let (log, rules) = (Arc::clone(&seen), Arc::clone(&answers));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, Arc::clone(&log), Arc::clone(&rules)));
            }
        });
        Self {
            url,
            seen,
            answers,
            _tasks: tasks,
        }
    }

    /// Status line, perhaps headers, and a body, for a path from now on.
    fn answer(&self, path: &str, status: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), answer);
    }

    fn at(&self, path: &str) -> Vec<Message> {
        let seen = self.seen.lock().unwrap();
        let ours = seen.iter().filter(|message| message.path.starts_with(path));
        ours.cloned().collect()
    }

    /// Waits for a message at a path that is as `condition` wants it.
    async fn until(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let look = || {
            let mut found = self.at(path).into_iter();
            found.find(|message| condition(&message.body))
        };
        look_until(path, look).await.body
    }
}

async fn serve(
    mut socket: TcpStream,
    seen: Arc<Mutex<Vec<Message>>>,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            let length: usize = length.unwrap_or(0);
            if body.len() >= length {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let found = answers.lock().unwrap().get(&path).cloned();
                let answer = found
                    .unwrap_or_else(|| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
                seen.lock().unwrap().push(Message {
                    path,
                    head: head.to_owned(),
                    body: serde_json::from_str(body).unwrap_or_default(),
                });
                bytes.clear();
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
        }
        match socket.read(&mut piece).await {
            Ok(read @ 1..) => bytes.extend(piece.iter().take(read)),
            _ => return,
        }
    }
}

/// Two integrations whose credentials will both be refused, besides the usual output.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\"]"),
        bench.integration(&Account::v2("two"), "[\"siem-cg\"]"),
    ];
    bench.configure(&integrations, "");
    bench
}

fn add(bench: &Bench, output: &str) {
    let text = fs::read_to_string(bench.path("config.toml")).unwrap();
    bench.write("config.toml", &format!("{text}\n{output}\n"));
}

/// Lets the credential of an integration be refused from its next request on.
fn expire(bench: &Bench, name: &str) -> FaultId {
    bench
        .handle
        .script(Fault::answer(Target::Api, Answer::expired_key()).of(name))
}

/// Makes a new key where keys are made, and writes it into the collector's file.
fn renew(bench: &Bench, expired: FaultId) {
    bench.handle.replace_secret("one", NEW_KEY);
    bench.handle.clear(expired);
    bench.write("secrets/one-secret_key", NEW_KEY);
}

/// The examples of the page that are outputs of a type.
fn examples(kind: &str) -> Vec<String> {
    let page = include_str!("../../../docs/alerts.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n```").next().unwrap().to_owned());
    let is = |block: &String| block.contains(&format!("type = \"{kind}\""));
    blocks.filter(is).collect()
}

/// An example with its address at our receiver and its secrets in files of ours.
fn at_home(bench: &Bench, example: &str, hooks: &Hooks) -> String {
    let name = example.split('"').nth(1).unwrap();
    let address = format!("{}/{name}", hooks.url);
    bench.write(&format!("secrets/{name}-url"), &address);
    bench.write("secrets/pagerduty-key", "0123456789abcdef0123456789abcdef");
    let lines = example
        .lines()
        .map(|line| match line.strip_prefix("url = \"") {
            Some(_) => format!("url = \"{address}\""),
            None => line.to_owned(),
        });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("/etc/mimecast-collector/secrets/", "secrets/")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

#[tokio::test]
async fn the_examples_of_the_page_tell_slack_teams_pagerduty_and_alertmanager_what_is_raised_and_cleared()
 {
    let (bench, hooks) = (bench().await, Hooks::start().await);
    let examples = examples("webhook");
    assert_eq!(examples.len(), 4, "{examples:?}");
    for example in &examples {
        add(&bench, &at_home(&bench, example, &hooks));
    }
    hooks.answer("/teams", "202 Accepted", "");
    hooks.answer("/pagerduty", "202 Accepted", r#"{"status":"success"}"#);
    let expired = expire(&bench, "one");
    let collector = bench.run(SCALE);

    let slack = hooks.until("/slack", |_| true).await;
    assert_eq!(text(&slack, "/text"), "Mimecast collector: 1 raised");
    let block = text(&slack, "/blocks/0/text/text");
    assert!(
        block.starts_with(":red_circle: *credential one*: "),
        "{block}"
    );
    assert!(block.contains("418/0001"), "{block}");
    let teams = hooks.until("/teams", |_| true).await;
    let card = "/attachments/0/content/body";
    assert_eq!(
        text(&teams, &format!("{card}/1/items/0/style")),
        "attention"
    );
    assert_eq!(
        text(&teams, &format!("{card}/1/items/0/items/1/facts/0/value")),
        "418/0001"
    );
    let pager = hooks.until("/pagerduty", |_| true).await;
    assert_eq!(text(&pager, "/event_action"), "trigger");
    assert_eq!(
        text(&pager, "/routing_key"),
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(text(&pager, "/payload/severity"), "critical");
    let told = pager.pointer("/payload/custom_details").unwrap();
    assert_eq!(text(told, "/event_id").len(), 32);
    let page = include_str!("../../../docs/alerts.md");
    for name in told.as_object().unwrap().keys() {
        let is_named = page.contains(&format!("`{{{name}}}`"));
        assert!(is_named, "docs/alerts.md does not name {name}");
    }
    let manager = hooks.until("/alertmanager", |_| true).await;
    assert_eq!(text(&manager, "/0/labels/subject"), "credential one");
    assert_eq!(manager.pointer("/0/labels/output"), None);
    assert!(text(&manager, "/0/endsAt") > text(&manager, "/0/startsAt"));

    renew(&bench, expired);
    collector.signal("HUP");
    let cleared = |pointer: &'static str, word: &'static str| {
        move |message: &Value| message.pointer(pointer).is_some_and(|value| value == word)
    };
    let title = "Mimecast collector: 1 cleared";
    hooks.until("/slack", cleared("/text", title)).await;
    hooks
        .until(
            "/teams",
            cleared("/attachments/0/content/body/0/text", title),
        )
        .await;
    let resolved = hooks
        .until("/pagerduty", cleared("/event_action", "resolve"))
        .await;
    assert_eq!(resolved.pointer("/dedup_key"), pager.pointer("/dedup_key"));
    let is_over = |message: &Value| text(message, "/0/annotations/severity") == "info";
    let over = hooks.until("/alertmanager", is_over).await;
    assert_eq!(over.pointer("/0/labels"), manager.pointer("/0/labels"));
    assert!(text(&over, "/0/endsAt") < text(&manager, "/0/endsAt"));
    collector.stop().await;
}

#[tokio::test]
async fn all_alerts_that_wait_go_as_one_message_and_no_secret_is_seen_on_the_way() {
    let accounts = ["zero", "one", "two"].map(Account::v1);
    let options = Options {
        accounts: accounts.to_vec(),
        ..Options::default()
    };
    let (bench, hooks) = (Bench::with(options).await, Hooks::start().await);
    let integrations = accounts.map(|account| bench.integration(&account, "[\"siem\"]"));
    bench.configure(&integrations, "");
    let [of_url, of_header, of_message] = SECRETS;
    bench.write(
        "secrets/url",
        &format!("{}/{of_url}?key={of_url}", hooks.url),
    );
    bench.write("secrets/header", &format!("Bearer {of_header}"));
    bench.write("secrets/message", of_message);
    add(
        &bench,
        r#"
        [[output]]
        name = "hook"
        type = "webhook"
        url = { file = "secrets/url" }
        headers = { Authorization = { file = "secrets/header" }, "X-Team" = "secops" }
        secrets = { key = { file = "secrets/message" } }
        template = '{"key": "{secret.key}", "alerts": ["{each}", "{line}"]}'
        "#,
    );
    // It refuses everything, and repeats all that it was shown.
    let path = format!("/{of_url}?key={of_url}");
    let echo = SECRETS.join(" ");
    hooks.answer(
        &path,
        "503 Service Unavailable",
        &format!("no: {echo} {path}"),
    );
    expire(&bench, "zero");
    let arguments = ["run", "--time-scale", "1200", "--log-level", "trace"];
    let collector = bench.start(&arguments);
    collector.logged(&["output hook", "webhook/http-503"]).await;
    // A message that was out stays as it is until it is taken; what is raised from now on waits behind it.
    expire(&bench, "one");
    expire(&bench, "two");
    bench
        .until("all three alerts at the other output", |handle| {
            let own = handle.hec().of_the_collector();
            let raised = own.iter().filter(|event| {
                event.event().contains("\"alert\":\"raised\"") && event.event().contains("418/0001")
            });
            raised.count() >= 3
        })
        .await;
    let shown = bench.ended(&["status", "--json"]).await;
    hooks.answer(&path, "200 OK", "ok");
    // Whether or not the receiver's own alert has been raised by then, one message has both.
    let both = |message: &Value| {
        let alerts = message
            .pointer("/alerts")
            .map(Value::to_string)
            .unwrap_or_default();
        alerts.contains("credential one") && alerts.contains("credential two")
    };
    let message = hooks.until("/", both).await;
    assert_eq!(text(&message, "/key"), of_message);
    let heads = hooks.at("/");
    let head = heads.first().unwrap().head.to_lowercase();
    assert!(
        head.contains(&format!("authorization: bearer {of_header}")),
        "{head}"
    );
    assert!(head.contains("x-team: secops") && head.contains("content-type: application/json"));
    collector.logged(&["output hook", "recovered"]).await;
    let log = collector.log();
    assert!(
        log.contains("no: [secret] [secret] [secret] [secret]"),
        "{log}"
    );
    collector.kill_9();
    let alerts = bench.handle.hec().of_the_collector();
    let alerts: String = alerts
        .iter()
        .map(|event| event.event().to_owned())
        .collect();
    for secret in SECRETS {
        for (place, said) in [
            ("the log", &log),
            ("the status", &shown.out),
            ("an alert", &alerts),
        ] {
            assert!(!said.contains(secret), "{secret} stands in {place}: {said}");
        }
    }
    let folder = bench.state_dir();
    assert_eq!(files_with(&folder, &SECRETS), Vec::<String>::new());
}

/// The files below a folder that hold one of these texts.
fn files_with(folder: &std::path::Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), texts));
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            let bytes = String::from_utf8_lossy(&bytes);
            if texts.iter().any(|text| bytes.contains(text)) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

/// A program beside the configuration, and its output.
fn program(bench: &Bench, script: &str) -> String {
    let path = bench.path("tell");
    bench.write("tell", &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "[[output]]\nname = \"pager\"\ntype = \"exec\"\nprogram = {path:?}\ntimeout = \"20s\"\n"
    )
}

/// What a program has written down of each time that it was told.
fn told(bench: &Bench) -> Vec<Value> {
    let text = fs::read_to_string(bench.path("told")).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    // The last line may not be whole yet.
    lines.map_while(Result::ok).collect()
}

async fn until_told(bench: &Bench, times: usize) -> Vec<Value> {
    look_until("the program to be told", || {
        let told = told(bench);
        (told.len() >= times).then_some(told)
    })
    .await
}

#[tokio::test]
async fn a_program_that_was_told_when_the_collector_was_killed_is_told_again_with_the_same_event_id()
 {
    let bench = bench().await;
    // It writes down what it is told, and stays while it is to.
    let script = r#"here="${0%/*}"; cat >> "$here/told"; while [ -e "$here/stay" ]; do sleep 0.05; done; exit 0"#;
    add(&bench, &program(&bench, script));
    bench.write("stay", "");
    expire(&bench, "one");
    let collector = bench.run(1);
    let first = until_told(&bench, 1).await;
    collector.kill_9();
    fs::remove_file(bench.path("stay")).unwrap();
    let collector = bench.run(1);
    let again = until_told(&bench, 2).await;
    let id = |told: &Value| text(told, "/alerts/0/event_id").to_owned();
    assert_eq!(id(&first[0]), id(&again[1]));
    assert_eq!(text(&again[1], "/alerts/0/subject"), "credential one");
    collector.stop().await;
    assert_eq!(told(&bench).len(), 2);
}

#[tokio::test]
async fn a_program_that_complains_is_told_again_until_it_takes_the_alert() {
    let bench = bench().await;
    let script = r#"here="${0%/*}"; cat >> "$here/told"; if [ -e "$here/broken" ]; then echo "no line to the pager" >&2; exit 7; fi"#;
    add(&bench, &program(&bench, script));
    bench.write("broken", "");
    expire(&bench, "one");
    let collector = bench.run(60);
    let line = collector
        .logged(&["output pager", "local/exec_status"])
        .await;
    assert!(
        line.contains("exit status: 7: no line to the pager"),
        "{line}"
    );
    until_told(&bench, 3).await;
    fs::remove_file(bench.path("broken")).unwrap();
    collector.logged(&["output pager", "recovered"]).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_check_reaches_a_webhook_without_a_message_and_looks_at_a_program_without_starting_it() {
    let (bench, hooks) = (bench().await, Hooks::start().await);
    add(&bench, &program(&bench, r#"touch "${0%/*}/started""#));
    bench.write("secrets/url", &format!("{}/canary-of-the-url", hooks.url));
    add(
        &bench,
        "[[output]]\nname = \"hook\"\ntype = \"webhook\"\nurl = { file = \"secrets/url\" }\n",
    );
    let found = async || {
        let ended = bench.ended(&["check", "--connect", "--json"]).await;
        assert!(!ended.out.contains("canary"), "{}", ended.out);
        let page: Value = serde_json::from_str(&ended.out).unwrap();
        let parts = page["parts"].as_array().unwrap().iter();
        let ours = parts.filter(|part| {
            let subject = text(part, "/subject");
            subject.contains("hook") || subject.contains("pager")
        });
        let findings = ours.flat_map(|part| part["findings"].as_array().unwrap().iter());
        let shown =
            findings.map(|one| format!("{}: {}", text(one, "/what"), text(one, "/verdict")));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(
        found().await,
        [
            "program: ok",
            "proxy: ok",
            "dns: ok",
            "egress: ok",
            "connection: ok",
            "message: ok"
        ]
    );
    let asked: Vec<_> = hooks
        .at("/")
        .into_iter()
        .map(|message| message.head.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(asked, ["GET / HTTP/1.1"]);
    let path = bench.path("tell");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o757)).unwrap();
    assert_eq!(found().await.first().unwrap(), "program: failure");
    let checked = bench.ended(&["check"]).await;
    assert!(
        checked.out.contains("output[pager].program")
            && checked.out.contains("changed by every user"),
        "{checked:?}"
    );
    assert_eq!(checked.code, Some(0));
    assert!(!bench.path("started").exists());
}

#[tokio::test]
async fn the_example_of_a_program_is_one() {
    let bench = bench().await;
    for example in examples("exec") {
        add(&bench, &example);
    }
    let checked = bench.ended(&["check", "--no-secrets"]).await;
    assert!(
        checked.out.contains("the configuration is right"),
        "{checked:?}"
    );
}
