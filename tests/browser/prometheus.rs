//! A Prometheus that scrapes the collector and evaluates the alert rules.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mimecast_collector::http::{Connection, Purpose, client};
use serde_json::Value;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

async fn get(url: &str) -> Option<String> {
    let client = client(&Connection::default(), Purpose::Objects).unwrap();
    let answer = client.get(url).send().await.ok()?;
    answer
        .status()
        .is_success()
        .then_some(answer)?
        .text()
        .await
        .ok()
}

async fn ask(url: &str) -> Option<Value> {
    serde_json::from_str(&get(url).await?).ok()
}

/// That promtool has nothing to say of these arguments and this input.
fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool of Debian's prometheus is needed: {error}"));
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success(), "promtool {arguments:?}: {said:?}");
}

/// Waits until a Prometheus has scraped the collector at `url`, and evaluated every rule without an error.
pub(super) async fn agrees(url: &str, folder: &Path) {
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    let metrics = get(&format!("{url}metrics")).await.unwrap();
    promtool(&["check", "metrics"], &metrics);

    let target = url.trim_start_matches("http://").trim_end_matches('/');
    let mut config = "global: { scrape_interval: 1s, evaluation_interval: 1s }\n".to_owned();
    writeln!(config, "rule_files: [{rules:?}]").unwrap();
    writeln!(config, "scrape_configs: [{{ job_name: mimecast-collector, static_configs: [{{ targets: [\"{target}\"] }}] }}]").unwrap();
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("Debian's prometheus is needed: {error}"));
    let server = Server(child);

    let api = format!("http://{address}/api/v1");
    loop {
        let events = ask(&format!(
            "{api}/query?query=sum(mimecast_collector_events_total)"
        ))
        .await;
        let targets = ask(&format!("{api}/targets")).await;
        let rules = ask(&format!("{api}/rules")).await;
        if let (Some(events), Some(targets), Some(rules)) = (events, targets, rules) {
            let count = &events["data"]["result"][0]["value"][1];
            let healths: Vec<_> = rules["data"]["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|group| group["rules"].as_array().into_iter().flatten())
                .map(|rule| {
                    (
                        rule["name"].clone(),
                        rule["health"].clone(),
                        rule["lastError"].clone(),
                    )
                })
                .collect();
            let broken: Vec<_> = healths
                .iter()
                .filter(|(_, health, _)| health == "err")
                .collect();
            assert!(broken.is_empty(), "{broken:?}");
            let scraped = targets["data"]["activeTargets"][0]["health"] == "up";
            let evaluated =
                healths.len() >= 6 && healths.iter().all(|(_, health, _)| health == "ok");
            if count == "40" && scraped && evaluated {
                break;
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    drop(server);
}
