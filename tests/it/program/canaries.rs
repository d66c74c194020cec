//! One secret of every kind there is, and all places where a running collector could show it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mimecast_collector::simulator::{Account, Answer, Fault, Key, Options, Target};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::harness::{Bench, Program, look_until};
use super::secrets::{assert_without, files};
use super::support_bundle::unpacked;
use super::web::{get, url};

/// All but the private key of a certificate, which is made anew each time.
const CANARIES: [&str; 16] = [
    "canary-application-key",
    "canary-access-key",
    "Y2FuYXJ5LXNlY3JldC1rZXk",
    "canary-secret-key",
    "canary-client-secret",
    "canary-hec-token",
    "canary-proxy-password",
    "canary-query",
    "canary-lake-token",
    "canary-lake-key",
    "canary-hook-path",
    "canary-hook-header",
    "canary-hook-routing-key",
    "canary-pager-token",
    "canary-page-password",
    "canary-page-token",
];

/// A server that fails every request, and repeats all of it.
async fn echo(tasks: &mut JoinSet<()>, status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 << 10];
            let length = socket.read(&mut request).await.unwrap_or(0);
            let heard = String::from_utf8_lossy(request.split_at(length).0).into_owned();
            let repeated = heard.replace(['\r', '\n'], " ");
            let answer = format!(
                "HTTP/1.1 {status}\r\nX-Repeated: {repeated}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{heard}",
                heard.len()
            );
            // A client may have gone.
            socket.write_all(answer.as_bytes()).await.ok();
        }
    });
    address
}

fn accounts() -> [Account; 2] {
    let one = Key::V1 {
        application_id: "application-id".to_owned(),
        application_key: "canary-application-key".to_owned(),
        access_key: "canary-access-key".to_owned(),
        // "canary-secret-key"
        secret_key: "Y2FuYXJ5LXNlY3JldC1rZXk=".to_owned(),
    };
    let two = Key::V2 {
        client_id: "client-id".to_owned(),
        client_secret: "canary-client-secret".to_owned(),
    };
    [("one", one), ("two", two)].map(|(name, key)| Account {
        name: name.to_owned(),
        key,
    })
}

/// A program that writes down what it can see of us, and repeats what it was told.
const TELL: &str = r#"#!/bin/sh
here="${0%/*}"
tr '\0' '\n' < /proc/self/environ > "$here/seen.new"
tr '\0' '\n' < "/proc/$PPID/cmdline" >> "$here/seen.new"
tr '\0' '\n' < /proc/self/cmdline >> "$here/seen.new"
mv "$here/seen.new" "$here/seen"
cat >&2
exit 7
"#;

/// Every kind of secret, in every form; answers the canary of the private key.
async fn configure(bench: &Bench, tasks: &mut JoinSet<()>) -> String {
    let integrations = accounts().map(|account| bench.integration(&account, "\"all\""));
    let integrations = integrations.map(|text| {
        text.replace(
            "{ file = \"secrets/two-client_secret\" }",
            "{ env = \"COLLECTOR_CLIENT_SECRET\" }",
        )
        .replace(
            "{ file = \"secrets/one-secret_key\" }",
            "{ credential = \"one-secret_key\" }",
        )
    });
    bench.configure(&integrations, "");
    let mut text = fs::read_to_string(bench.path("config.toml")).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["collector".to_owned()]).unwrap();
    bench.write("client.pem", &params.self_signed(&key).unwrap().pem());
    bench.write("secrets/client.key", &key.serialize_pem());
    let failing = echo(tasks, "500 Internal Server Error").await;
    let proxy = echo(tasks, "407 Proxy Authentication Required").await;
    for (name, secret) in [
        ("lake", "canary-lake-token"),
        ("lake-key", "canary-lake-key"),
        ("hook-header", "canary-hook-header"),
        ("hook-key", "canary-hook-routing-key"),
        ("pager", "canary-pager-token"),
        ("page", "canary-page-password"),
        ("page-token", "canary-page-token"),
    ] {
        bench.write(&format!("secrets/{name}"), secret);
    }
    let hook = format!("http://{failing}/canary-hook-path");
    bench.write("secrets/hook", &hook);
    bench.write("tell", TELL);
    let tell = bench.path("tell");
    fs::set_permissions(&tell, fs::Permissions::from_mode(0o755)).unwrap();
    write!(
        text,
        r#"
[status]
listen = "127.0.0.1:0"
username = "operator"
password = {{ file = "secrets/page" }}
token = {{ file = "secrets/page-token" }}

[[output]]
name = "lake"
type = "http"
url = "http://{failing}/in?key=canary-query"
token = {{ file = "secrets/lake" }}
headers = {{ X-Api-Key = {{ file = "secrets/lake-key" }} }}

[[output]]
name = "far"
type = "http"
url = "https://127.0.0.1:9/in"
proxy = "http://somebody:canary-proxy-password@{proxy}"
client_cert = "client.pem"
client_key = {{ file = "secrets/client.key" }}

[[output]]
name = "chat"
type = "webhook"
url = {{ file = "secrets/hook" }}
headers = {{ Authorization = {{ file = "secrets/hook-header" }} }}
secrets = {{ key = {{ file = "secrets/hook-key" }} }}
template = '{{"key": "{{secret.key}}", "text": "{{text}}"}}'

[[output]]
name = "pager"
type = "exec"
program = {tell:?}
secrets = {{ token = {{ file = "secrets/pager" }} }}
"#
    )
    .unwrap();
    bench.write("config.toml", &text);
    key.serialize_pem().lines().nth(1).unwrap().to_owned()
}

/// What the system and the collector's commands tell of it while it runs.
async fn said_by(bench: &Bench, collector: &Program) -> Vec<(String, Vec<u8>)> {
    let mut said = Vec::new();
    let mut add = |place: &str, text: String| said.push((place.to_owned(), text.into_bytes()));
    let page = url(collector).await;
    for path in ["/", "/api/v1/status", "/metrics", "/healthz", "/readyz"] {
        let headers = [("Authorization", "Bearer canary-page-token")];
        let answer = get(&format!("{page}{path}"), &headers).await;
        add(path, format!("{:?}", answer.headers()));
        add(path, answer.text().await.unwrap());
    }
    let wrong = get(&page, &[("Authorization", "Bearer canary-page-tokem")]).await;
    assert_eq!(wrong.status(), 401);
    add("the refusal", wrong.text().await.unwrap());
    for command in [
        "status",
        "status --json",
        "ledger --json",
        "dead-letters list --json",
        "replay --list",
        "resume one",
        "check --no-secrets",
        "support-bundle --log collector.log --output bundle.tar.gz",
    ] {
        bench.write("collector.log", &collector.log());
        let ended = bench.ended(&command.split(' ').collect::<Vec<_>>()).await;
        add(command, ended.out);
        add(command, ended.err);
    }
    for (name, text) in unpacked(bench, "bundle.tar.gz") {
        add(&format!("{name} of the bundle"), text);
    }
    add(
        "what a child sees",
        fs::read_to_string(bench.path("seen")).unwrap(),
    );
    let id = collector.id();
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap();
    said.push(("the process list".to_owned(), line));
    said
}

#[tokio::test]
async fn no_secret_of_any_kind_is_seen_in_any_place_of_a_running_collector() {
    let bench = Bench::with(Options {
        accounts: accounts().to_vec(),
        hec_token: "canary-hec-token".to_owned(),
        ..Options::default()
    })
    .await;
    let mut tasks = JoinSet::new();
    let private = configure(&bench, &mut tasks).await;
    let credentials = bench.path("secrets");
    let environment = [
        ("COLLECTOR_CLIENT_SECRET", "canary-client-secret"),
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
    ];
    bench.handle.publish("two", "audit", "", 5).unwrap();
    bench.handle.publish("one", "audit", "", 5).unwrap();
    let config = bench.path("config.toml");
    let words = "run --time-scale 600 --log-level trace --config";
    let words = words.split(' ').chain([config.to_str().unwrap()]);
    let words: Vec<_> = words.collect();
    let collector = Program::start_in(&words, bench.folder.path(), &environment);
    bench.until_all_arrived().await;
    // An alert for those who are told of alerts.
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    bench.handle.script(expired);
    for output in ["lake", "far", "chat", "pager"] {
        let subject = format!("subject=\"output {output}\"");
        collector.logged(&["code=", &subject]).await;
    }
    look_until("the program to be told", || {
        bench.path("seen").exists().then_some(())
    })
    .await;
    let mut said = said_by(&bench, &collector).await;
    said.push(("standard output".to_owned(), collector.out().into_bytes()));
    said.push(("the log".to_owned(), collector.log().into_bytes()));
    // Killed, so that nothing is tidied up before it is looked at.
    collector.kill_9();
    let mode = fs::metadata(bench.state_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o007,
        0,
        "{mode:o}: everybody can read the state directory"
    );
    let shown = bench.ended(&["state", "export"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    said.push(("the exported state".to_owned(), shown.out.into_bytes()));
    for file in files(&bench.state_dir()) {
        said.push((file.display().to_string(), fs::read(&file).unwrap()));
    }
    let mut secrets: Vec<String> = CANARIES.map(str::to_owned).to_vec();
    secrets.push(private);
    secrets.extend(bench.handle.bearer_tokens());
    for (place, bytes) in &said {
        assert_without(&secrets, place, bytes);
    }
    println!(
        "{} secrets, {} places, none found",
        secrets.len(),
        said.len()
    );
}

#[tokio::test]
async fn a_collector_that_crashes_leaves_no_core_file() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"audit\"]");
    bench.configure(&[integration], "");
    let mut collector = bench.run(1);
    collector.logged(&["INFO", "running"]).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", collector.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().rev().take(3).collect();
    assert_eq!(core, ["bytes", "0", "0"], "{limits}");
    collector.signal("ABRT");
    let ended = collector.exited().await;
    let dumped = std::os::unix::process::ExitStatusExt::core_dumped(&ended);
    assert!(!dumped && ended.code().is_none(), "{ended:?}");
}
