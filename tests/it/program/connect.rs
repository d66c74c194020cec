//! `check --connect`, against a simulator that is well and against all that can be wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mimecast_collector::simulator::{Account, Answer, Confirms, Fault, HecAcks, Options, Target};
use serde_json::Value;
use tempfile::TempDir;

use super::harness::Bench;

/// What the program found, and how it ended.
struct Found {
    code: Option<i32>,
    page: Value,
    text: String,
}

impl Found {
    /// The verdict and detail of the first finding of that name, in the part whose subject contains `subject`.
    fn of(&self, subject: &str, what: &str) -> (String, String) {
        let text = |value: &Value, member: &str| {
            let member = value.get(member).and_then(Value::as_str);
            member.unwrap_or_default().to_owned()
        };
        let list = |value: &Value, member: &str| {
            let member = value.get(member).and_then(Value::as_array);
            member.cloned().unwrap_or_default()
        };
        let parts = list(&self.page, "parts").into_iter();
        let mut parts = parts.filter(|part| text(part, "subject").contains(subject));
        let findings = list(&parts.next().unwrap(), "findings");
        let found = findings
            .iter()
            .find(|finding| text(finding, "what") == what)
            .unwrap_or_else(|| panic!("no {what} in {}", self.text));
        let detail = format!("{} {}", text(found, "detail"), text(found, "advice"));
        (text(found, "verdict"), detail)
    }

    fn assert(&self, subject: &str, what: &str, verdict: &str, words: &[&str]) {
        let (found, detail) = self.of(subject, what);
        assert_eq!(found, verdict, "{what}: {}", self.text);
        for word in words {
            assert!(detail.contains(word), "no {word} in {detail}");
        }
    }
}

/// A bench whose files and state directory are as they should be. The state directory is on the disk that the tests were built on.
pub(super) struct Place {
    pub(super) bench: Bench,
    _disk: TempDir,
}

pub(super) async fn place(
    options: Options,
    output: &str,
    change: impl FnOnce(String) -> String,
) -> Place {
    let bench = Bench::with(options).await;
    let integrations = [
        bench.integration(&Account::v1("one"), "\"all\""),
        bench.integration(&Account::v2("two"), "\"all\""),
    ];
    bench.configure(&integrations, output);
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = bench.path("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    let text = format!(
        "state_dir = {:?}\nspool.max_bytes = \"1MiB\"\n{rest}",
        disk.path()
    );
    fs::write(&config, change(text)).unwrap();
    keep_private(bench.folder.path());
    Place { bench, _disk: disk }
}

fn keep_private(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            keep_private(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        }
    }
}

async fn good() -> Place {
    place(Options::default(), "", |text| text).await
}

async fn found(place: &Place) -> Found {
    let ended = place.bench.ended(&["check", "--connect", "--json"]).await;
    assert!(!ended.out.contains("secret-of-"), "{}", ended.out);
    assert!(!ended.out.contains(&place.bench.token), "{}", ended.out);
    Found {
        code: ended.code,
        page: serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}")),
        text: ended.out,
    }
}

#[tokio::test]
async fn all_is_well_with_a_mimecast_and_a_splunk_that_are_well() {
    let place = good().await;
    let found = found(&place).await;
    assert_eq!(found.code, Some(0), "{}", found.text);
    assert_eq!(found.page["all_is_well"], true);
    found.assert("two", "credential", "ok", &["accepted"]);
    found.assert("two", "account type", "ok", &["Cloud Gateway"]);
    found.assert("two", "hosts met", "ok", &["127.0.0.1"]);
    found.assert("one", "log siem", "ok", &[]);
    found.assert("splunk", "index", "ok", &["mimecast:collector:check"]);
    let own = place.bench.handle.hec().of_the_collector();
    assert_eq!(own.len(), 1, "one event, and marked as the collector's own");
    // The root, by which the way to a server is tried, is no path of the API.
    let mut violations = place.bench.handle.violations();
    violations.retain(|violation| !violation.starts_with("GET /:"));
    assert_eq!(violations, Vec::<String>::new());
}

#[tokio::test]
async fn the_table_ends_with_the_verdict() {
    let place = good().await;
    let ended = place.bench.ended(&["check", "--connect"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.ends_with("\nAll is well.\n"), "{}", ended.out);
    assert!(
        ended.out.lines().all(|line| line.chars().count() <= 80
            || line.contains("file mode")
            || line.contains('/')),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn a_locked_account_is_asked_once_and_no_more() {
    let place = good().await;
    let handle = &place.bench.handle;
    handle.script(Fault::answer(Target::Api, Answer::lock_out()).of("one"));
    let found = found(&place).await;
    assert_eq!(found.code, Some(69));
    found.assert(
        "one",
        "credential",
        "failure",
        &["401/0010", "Login Locked Out", "Wait"],
    );
    found.assert("one", "logs", "skipped", &["one refusal is enough"]);
    assert_eq!(place.bench.requests_of("one").len(), 1);
    found.assert("two", "credential", "ok", &[]);
}

#[tokio::test]
async fn a_log_without_permission_is_named_and_the_others_are_looked_at() {
    let place = good().await;
    let audit = Target::path("/api/audit/get-audit-events");
    place
        .bench
        .handle
        .script(Fault::answer(audit, Answer::article(403, "0018")).of("two"));
    let found = found(&place).await;
    assert_eq!(found.code, Some(69));
    found.assert("two", "log audit", "failure", &["403"]);
    found.assert("two", "log ttp-url", "ok", &[]);
    found.assert("two", "credential", "ok", &[]);
}

#[tokio::test]
async fn a_receiver_that_refuses_says_whether_it_is_the_token_the_index_or_the_acknowledgement() {
    let options = Options {
        hec_indexes: vec!["main".to_owned()],
        ..Options::default()
    };
    let wrong = place(options, "index = \"secure\"", |text| text).await;
    found(&wrong)
        .await
        .assert("splunk", "index", "failure", &["hec/7"]);
    let place = good().await;
    place
        .bench
        .write("secrets/hec", "11111111-1111-4222-8333-444444444444");
    keep_private(&place.bench.path("secrets"));
    found(&place)
        .await
        .assert("splunk", "token", "failure", &["hec/4"]);
    place
        .bench
        .handle
        .script(Fault::answer(Target::Hec, Answer::hec(10)));
    found(&place)
        .await
        .assert("splunk", "acknowledgement", "failure", &["hec/10"]);
    place
        .bench
        .handle
        .script(Fault::answer(Target::HecHealth, Answer::hec(18)));
    found(&place)
        .await
        .assert("splunk", "health", "failure", &["hec/18"]);
}

#[tokio::test]
async fn a_receiver_over_http_is_asked_with_a_body_without_events() {
    let receiver = super::http::Receiver::start(Duration::ZERO).await;
    let address = receiver.address().to_owned();
    let output = |body: &str| {
        format!(
            "\n[[output]]\nname = \"lake\"\ntype = \"http\"\nurl = \"http://{address}/in?key=hunter2\"\nbody = \"{body}\"\n"
        )
    };
    for body in ["ndjson", "json_array"] {
        let place = place(Options::default(), "", |text| text + &output(body)).await;
        let found = found(&place).await;
        found.assert(
            "lake",
            "receiver",
            "ok",
            &["/in answers a body without events"],
        );
        found.assert("lake", "connection", "ok", &["without TLS"]);
        assert!(!found.text.contains("hunter2"), "{}", found.text);
    }
    receiver.script(&[super::http::Act::Refuse(401)].repeat(2));
    let place = place(Options::default(), "", |text| text + &output("ndjson")).await;
    let found = found(&place).await;
    found.assert("lake", "receiver", "failure", &["http/401"]);
    assert_eq!(receiver.distinct(), 0);
}

#[tokio::test]
async fn a_token_is_said_to_acknowledge_or_not_and_fails_only_where_that_is_insisted_on() {
    let acks = HecAcks {
        indexers: 1,
        confirms: Confirms::After(0),
    };
    for (hec_acks, ack, verdict, word) in [
        (Some(acks), "auto", "ok", "with acknowledgement"),
        (None, "auto", "ok", "without acknowledgement"),
        (None, "on", "failure", "hec/14"),
    ] {
        let options = Options {
            hec_acks,
            ..Options::default()
        };
        let place = place(options, &format!("ack = \"{ack}\""), |text| text).await;
        let found = found(&place).await;
        found.assert("splunk", "token", verdict, &[word]);
    }
}

#[tokio::test]
async fn what_is_not_reached_is_told_from_what_is_not_found() {
    let gone = format!("https://{}.invalid", "x".repeat(70));
    let place = place(Options::default(), "", |text| {
        let (integrations, output) = text.split_once("[[output]]").unwrap();
        let (first, second) = integrations.split_once("name = \"two\"").unwrap();
        let url = second
            .lines()
            .find(|line| line.starts_with("base_url"))
            .unwrap();
        let second = second.replace(url, &format!("base_url = \"{gone}\""));
        let hec = output.lines().find(|line| line.starts_with("url")).unwrap();
        let output = output.replace(hec, "url = \"http://127.0.0.1:1\"");
        format!("{first}name = \"two\"{second}[[output]]{output}")
    })
    .await;
    let found = found(&place).await;
    assert_eq!(found.code, Some(69));
    found.assert("two", "dns", "failure", &["transport/dns", "DNS servers"]);
    found.assert("two", "credential", "skipped", &[]);
    found.assert(
        "splunk",
        "connection",
        "failure",
        &["transport/connect", "firewalls"],
    );
    found.assert("one", "credential", "ok", &[]);
    assert_eq!(place.bench.requests_of("two").len(), 0);
}

#[tokio::test]
async fn a_syslog_receiver_is_connected_to_and_what_udp_hides_is_said() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let place = place(Options::default(), "", |text| {
        let syslog = |name: &str, transport: &str, address: &str| {
            format!(
                "[[output]]\nname = \"{name}\"\ntype = \"syslog\"\ntransport = \"{transport}\"\naddress = \"{address}\"\n"
            )
        };
        let there = there.to_string();
        let outputs = [
            syslog("plain", "tcp", &there),
            syslog("gone", "tls", "127.0.0.1:1"),
            syslog("blind", "udp", &there),
        ];
        text + &outputs.concat()
    })
    .await;
    let found = found(&place).await;
    assert_eq!(found.code, Some(69));
    found.assert("plain", "receiver", "ok", &["without TLS"]);
    found.assert("gone", "receiver", "failure", &["syslog/connect"]);
    found.assert("blind", "receiver", "warning", &["cannot be known"]);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_noticed_before_the_signature_is() {
    let options = Options {
        clock_ahead_ms: 20 * 60 * 1000,
        ..Options::default()
    };
    let place = place(options, "", |text| text).await;
    found(&place)
        .await
        .assert("one", "clock", "failure", &["min", "timedatectl"]);
}

#[tokio::test]
async fn nothing_is_asked_with_a_credential_that_a_running_collector_says_is_locked() {
    let place = good().await;
    let handle = &place.bench.handle;
    handle.script(Fault::answer(Target::Api, Answer::lock_out()).of("one"));
    let program = place.bench.run(1);
    program.logged(&["ERROR", "401/0010"]).await;
    let asked = place.bench.requests_of("one").len();
    let found = found(&place).await;
    found.assert(
        "one",
        "credential",
        "failure",
        &["running collector says 401/0010", "until"],
    );
    found.assert("This machine", "collector", "ok", &["runs"]);
    assert_eq!(place.bench.requests_of("one").len(), asked);
    program.stop().await;
}
