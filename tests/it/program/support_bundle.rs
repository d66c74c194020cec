//! The command `support-bundle`: what it holds, and what it must not.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use mimecast_collector::simulator::{Answer, Fault, Target};
use serde_json::Value;

use super::harness::Bench;
use super::secrets::{CONFIGURED, HEC_TOKEN, accounts};

/// The files of a bundle by their names, without the folder.
pub(super) fn unpacked(bench: &Bench, name: &str) -> BTreeMap<String, String> {
    let path = bench.path(name);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut bytes = Vec::new();
    let packed = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .unwrap();
    let mut rest = bytes.as_slice();
    let mut files = BTreeMap::new();
    while rest.first() != Some(&0) {
        let (header, behind) = rest.split_at(512);
        let text = |from: usize| {
            let field = header.split_at(from).1.split(|byte| *byte == 0).next();
            String::from_utf8(field.unwrap().to_vec()).unwrap()
        };
        let size = usize::from_str_radix(&text(124), 8).unwrap();
        let name = text(0);
        let (_, name) = name.split_once('/').unwrap();
        let content = behind.split_at(size).0.to_vec();
        files.insert(name.to_owned(), String::from_utf8(content).unwrap());
        rest = behind.split_at(size.next_multiple_of(512)).1;
    }
    files
}

/// Nothing of the configured secrets, of the tokens, and of the people in the answers.
fn assert_clean(bench: &Bench, files: &BTreeMap<String, String>) {
    let mut canaries: Vec<String> = CONFIGURED.map(str::to_owned).to_vec();
    canaries.extend(bench.handle.bearer_tokens());
    canaries.extend(["@example", "Canary subject", "192.0.2.99"].map(str::to_owned));
    for (name, content) in files {
        for canary in &canaries {
            assert!(!content.contains(canary), "{canary} in {name}:\n{content}");
        }
    }
}

async fn configured() -> Bench {
    let bench = Bench::with(mimecast_collector::simulator::Options {
        accounts: accounts().to_vec(),
        hec_token: HEC_TOKEN.to_owned(),
        ..Default::default()
    })
    .await;
    let integrations = accounts().map(|account| {
        let tags = "tags = { account_code = \"CUSA1A1\" }\n";
        bench.integration(&account, "[\"audit\"]") + tags
    });
    bench.configure(&integrations, "");
    bench
}

/// A lock-out whose answer repeats what it was shown, and says more than it should.
fn telling(bench: &Bench) -> Fault {
    let token = bench.handle.bearer_tokens().join(" ");
    let body = format!(
        "{{\"meta\":{{\"status\":401}},\"data\":[{{\"subject\":\"Canary subject\",\"to\":\"bob@example.org\"}}],\
          \"fail\":[{{\"errors\":[{{\"code\":\"err_x\",\"message\":\"0010 alice@example.com from 192.0.2.99 is locked, \
          canary-access-key canary-application-key {token}\",\"retryable\":false}}]}}]}}"
    );
    Fault::answer(Target::Api, Answer::raw(401, "application/json", &body)).of("one")
}

#[tokio::test]
async fn the_bundle_holds_what_support_asks_for_and_nothing_of_anybody_while_the_collector_runs_and_after()
 {
    let bench = configured().await;
    bench.handle.script(telling(&bench));
    let collector = bench.run(1);
    collector.logged(&["ERROR", "401/0010"]).await;
    bench.write("collector.log", &collector.log());
    let made = |name: &str| {
        ["support-bundle", "--log", "collector.log", "--output", name].map(str::to_owned)
    };
    let arguments = made("running.tar.gz");
    let ended = bench.ended(&arguments.each_ref().map(String::as_str)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let files = unpacked(&bench, "running.tar.gz");
    assert_clean(&bench, &files);
    for name in files.keys() {
        assert!(
            ended.out.contains(name),
            "{name} is not said: {}",
            ended.out
        );
    }

    let failures: Value = serde_json::from_str(&files["failures.json"]).unwrap();
    let of_one = failures.as_array().unwrap().iter();
    let failure = of_one
        .filter(|failure| failure["integration"] == "one")
        .find(|failure| failure["code"] == "401/0010")
        .unwrap_or_else(|| panic!("{failures:#}"));
    let url = format!("{}/api/audit/get-audit-events", bench.simulator.api_url());
    assert_eq!(failure["url"], url);
    assert_eq!(failure["method"], "POST");
    assert_eq!(failure["account_code"], "CUSA1A1");
    assert!(
        failure["time"].as_str().unwrap().ends_with('Z'),
        "{failure}"
    );
    assert_eq!(failure["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(failure["answer"]["status"], 401);
    let body = failure["answer"]["body"].as_str().unwrap();
    assert!(
        body.contains("0010 [address] from [ip] is locked"),
        "{body}"
    );
    assert!(failure["answer"]["headers"]["content-type"].is_string());

    assert!(
        files["about.txt"].contains("account code CUSA1A1"),
        "{files:#?}"
    );
    assert!(files["about.txt"].contains(env!("CARGO_PKG_VERSION")));
    assert!(files["check.txt"].contains("the configuration is right"));
    assert!(
        files["config.json"].contains("application_key"),
        "{}",
        files["config.json"]
    );
    assert!(
        files["states.json"].contains("credential one"),
        "{}",
        files["states.json"]
    );
    assert!(
        files["status.json"].contains("\"summary\""),
        "{}",
        files["status.json"]
    );
    assert!(
        files["ledger.json"].starts_with('{'),
        "{}",
        files["ledger.json"]
    );
    assert!(
        files["log.txt"].contains("integration starts"),
        "{}",
        files["log.txt"]
    );

    collector.kill_9();
    let arguments = made("killed.tar.gz");
    let ended = bench.ended(&arguments.each_ref().map(String::as_str)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let files = unpacked(&bench, "killed.tar.gz");
    assert_clean(&bench, &files);
    assert!(files["failures.json"].contains("401/0010"));
    assert!(files["states.json"].contains("credential one"));
    assert!(
        files["status.json"].contains("no collector is running"),
        "{}",
        files["status.json"]
    );

    // A file that is there stays.
    let ended = bench.ended(&arguments.each_ref().map(String::as_str)).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_no_reason_for_no_bundle() {
    let bench = configured().await;
    bench.write("conf.d/wrong.toml", "token = \"canary-hec-token\n[[");
    bench.write(
        "conf.d/odd.toml",
        "client_secert = \"canary-client-secret\"\n",
    );
    let ended = bench
        .ended(&["support-bundle", "--output", "x.tar.gz"])
        .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let files = unpacked(&bench, "x.tar.gz");
    assert_clean(&bench, &files);
    assert!(
        files["check.txt"].contains("wrong.toml"),
        "{}",
        files["check.txt"]
    );
    assert!(
        files["config.json"].contains("not TOML"),
        "{}",
        files["config.json"]
    );
    assert!(
        files["log.txt"].contains("There is none"),
        "{}",
        files["log.txt"]
    );
}
