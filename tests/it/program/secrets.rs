//! No secret leaves the program but to whom it is for.

use std::path::{Path, PathBuf};

use mimecast_collector::simulator::{Account, Answer, Fault, Handle, Key, Options, Target};

use super::harness::{Bench, Program};

/// Secrets that are found nowhere else: each kind there is.
pub(super) fn accounts() -> [Account; 2] {
    let one = Account {
        name: "one".to_owned(),
        key: Key::V1 {
            application_id: "application-id".to_owned(),
            application_key: "canary-application-key".to_owned(),
            access_key: "canary-access-key".to_owned(),
            // "canary-secret-key"
            secret_key: "Y2FuYXJ5LXNlY3JldC1rZXk=".to_owned(),
        },
    };
    let two = Account {
        name: "two".to_owned(),
        key: Key::V2 {
            client_id: "client-id".to_owned(),
            client_secret: "canary-client-secret".to_owned(),
        },
    };
    [one, two]
}

pub(super) const HEC_TOKEN: &str = "canary-hec-token";

/// What is configured; the secret key also as the bytes that it stands for.
pub(super) const CONFIGURED: [&str; 6] = [
    "canary-application-key",
    "canary-access-key",
    "Y2FuYXJ5LXNlY3JldC1rZXk",
    "canary-secret-key",
    "canary-client-secret",
    HEC_TOKEN,
];

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

pub(super) fn assert_without(secrets: &[String], place: &str, bytes: &[u8]) {
    for secret in secrets {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(
            !found,
            "{secret} stands in {place}:\n{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// Everything fails in turn, with answers that repeat what they were shown.
async fn fail_in_every_way(bench: &Bench, collector: &Program) {
    let echo = |status: u16, shown: &str| {
        let body = format!(
            "{{\"fail\":[{{\"code\":\"{shown}\",\"message\":\"you sent {shown}\"}}],\"error\":\"{shown}\",\
              \"error_description\":\"{shown}\",\"text\":\"{shown}\",\"code\":6}}"
        );
        Answer::raw(status, "application/json", &body)
    };
    let answered = |status: u16| {
        move |handle: &Handle| {
            let requests = handle.requests();
            requests
                .iter()
                .any(|request| request.status == Some(status))
        }
    };
    let bearer = bench.handle.bearer_tokens().join(" ");
    let of_one = "canary-access-key canary-application-key";
    for fault in [
        Fault::answer(Target::Api, echo(501, of_one)).of("one"),
        Fault::answer(Target::Api, echo(502, &bearer)).of("two"),
        Fault::answer(Target::Hec, echo(503, HEC_TOKEN)),
    ] {
        bench.handle.script(fault.once());
    }
    for status in [501, 502, 503] {
        bench
            .handle
            .publish("two", "siem-cg", "receipt", 5)
            .unwrap();
        bench.handle.publish("one", "siem", "receipt", 5).unwrap();
        bench.until("an echo", answered(status)).await;
    }
    bench.handle.revoke_tokens("two");
    let refusal = echo(500, "canary-client-secret");
    bench
        .handle
        .script(Fault::answer(Target::Token, refusal).once());
    bench
        .until("an echo of the token endpoint", answered(500))
        .await;
    bench.until_all_arrived().await;
    for answer in [echo(400, HEC_TOKEN), echo(403, HEC_TOKEN)] {
        bench
            .handle
            .script(Fault::answer(Target::Hec, answer).once());
    }
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 5)
        .unwrap();
    bench.until("an echo of the receiver", answered(403)).await;
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    bench.handle.script(expired.once());
    collector.logged(&["418/0001"]).await;
}

#[tokio::test]
async fn no_secret_is_logged_shown_or_stored_even_if_a_server_repeats_it() {
    for format in ["text", "json"] {
        let bench = Bench::with(Options {
            accounts: accounts().to_vec(),
            hec_token: HEC_TOKEN.to_owned(),
            records_per_file: 2,
            ..Options::default()
        })
        .await;
        let integrations = accounts().map(|account| bench.integration(&account, "\"all\""));
        bench.configure(&integrations, "");
        bench
            .handle
            .publish("two", "siem-cg", "receipt", 5)
            .unwrap();
        bench.handle.publish("one", "siem", "receipt", 5).unwrap();
        let arguments = [
            "run",
            "--time-scale",
            "600",
            "--log-level",
            "trace",
            "--log-format",
            format,
        ];
        let collector = bench.start(&arguments);
        bench.until_all_arrived().await;
        let mut secrets: Vec<String> = CONFIGURED.map(str::to_owned).to_vec();
        secrets.extend(bench.handle.bearer_tokens());
        fail_in_every_way(&bench, &collector).await;
        secrets.extend(bench.handle.bearer_tokens());
        let mut said = vec![("standard output", collector.out())];
        for ask in [
            &["status"][..],
            &["status", "--json"],
            &["resume", "one"],
            &["check"],
        ] {
            let ended = bench.ended(ask).await;
            said.extend([("an answer", ended.out), ("an answer", ended.err)]);
        }
        said.push(("the log", collector.log()));
        // Killed, so that nothing is tidied up before it is looked at.
        collector.kill_9();
        let requests = bench.handle.requests();
        let signatures = requests
            .iter()
            .filter_map(|request| request.parameter("X-Amz-Signature"));
        secrets.extend(signatures.map(str::to_owned));
        assert!(
            secrets.len() > CONFIGURED.len() + 10,
            "too few secrets to look for: {secrets:?}"
        );
        for (place, text) in &said {
            assert_without(&secrets, place, text.as_bytes());
        }
        let stored = files(&bench.state_dir());
        assert!(stored.len() > 3, "{stored:?}");
        for file in stored {
            assert_without(
                &secrets,
                &file.display().to_string(),
                &std::fs::read(&file).unwrap(),
            );
        }
    }
}
