//! The set-up that docs/cluster.md describes, run as it stands there but for names and places.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mimecast_collector::cluster::etcd::{Etcd, EtcdConfig};
use mimecast_collector::cluster::registry::Registry as _;
use mimecast_collector::secret::SecretSource;
use mimecast_collector::simulator::Account;
use serde_json::Value;

use super::super::harness::{Bench, folder};
use crate::registry::servers::{Environment, Servers, free_ports};

const PAGE: &str = include_str!("../../../../docs/cluster.md");

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(&fence).skip(1);
    let block = |text: &str| text.split("```").next().unwrap().to_owned();
    blocks.map(block).collect()
}

/// The text with this machine's name, ports and folder in place of those of the page.
fn here(text: &str, ports: &[u16], folder: &Path) -> String {
    let mut text = text.replace("/etc/etcd", folder.to_str().unwrap());
    for (n, ports) in (1..).zip(ports.chunks_exact(2)) {
        let host = format!("etcd{n}.example.com");
        for (documented, port) in [2379, 2380].iter().zip(ports) {
            let own = format!("https://localhost:{port}");
            text = text.replace(&format!("https://{host}:{documented}"), &own);
        }
        text = text.replace(&host, "localhost");
    }
    text
}

/// Runs a block as a shell does, in the folder.
fn run(block: &str, folder: &Path) {
    let output = Command::new("sh")
        .args(["-euc", block])
        .current_dir(folder)
        .output()
        .unwrap();
    let (out, err) = (output.stdout, output.stderr);
    let said = [out, err].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{block}: {said:?}");
}

/// The documented environment of a machine.
fn environment(block: &str, n: usize, ports: &[u16], folder: &Path) -> Environment {
    let lines = block.lines().map(|line| {
        let (key, value) = line.split_once('=').unwrap();
        let value = match key {
            "ETCD_INITIAL_CLUSTER" => value.to_owned(),
            _ => value.replace("etcd1", &format!("etcd{n}")),
        };
        let value = match key {
            // All machines are one here.
            "ETCD_DATA_DIR" => folder.join(n.to_string()).to_str().unwrap().to_owned(),
            "ETCD_LISTEN_PEER_URLS" => format!("https://127.0.0.1:{}", ports[2 * n - 1]),
            "ETCD_LISTEN_CLIENT_URLS" => format!("https://127.0.0.1:{}", ports[2 * n - 2]),
            _ => here(&value, ports, folder),
        };
        (key.to_owned(), value)
    });
    lines.collect()
}

/// The documented table, with what it names where the blocks before have put it.
fn table(block: &str, ports: &[u16], folder: &Path) -> String {
    let mut table = here(block, ports, folder);
    for (documented, name) in [
        ("\"/etc/mimecast-collector/etcd-ca.pem\"", "ca.pem"),
        ("\"/etc/mimecast-collector/collector.pem\"", "collector.pem"),
        ("{ credential = \"etcd-client-key\" }", "collector.key"),
        ("{ credential = \"etcd-password\" }", "collector-password"),
    ] {
        assert!(table.contains(documented), "{documented} in {table}");
        let own = match documented.starts_with('{') {
            true => format!("{{ file = {:?} }}", folder.join(name)),
            false => format!("{:?}", folder.join(name)),
        };
        table = table.replace(documented, &own);
    }
    table
}

#[tokio::test]
async fn the_documented_set_up_works_from_the_certificates_to_the_first_event() {
    let folder = folder();
    let path = folder.path().to_owned();
    let ports = free_ports(6);
    let shell = blocks("sh");
    let [certificates, etcd, user] = shell.as_slice() else {
        panic!("{shell:?}");
    };
    run(&here(certificates, &ports, &path), &path);
    let servers = (1..=3).map(|n| {
        let url = format!("https://localhost:{}", ports[2 * n - 2]);
        (url, environment(etcd, n, &ports, &path))
    });
    let client = |urls: &[String], login| EtcdConfig {
        endpoints: urls.to_vec(),
        login,
        client_cert: Some(path.join("collector.pem")),
        client_key: Some(SecretSource::File(path.join("collector.key"))),
        ca_file: Some(path.join("ca.pem")),
    };
    let servers = Servers::run(servers.collect(), folder, |urls| client(urls, None)).await;
    for (name, text) in [
        ("root-password", "correct-horse\n"),
        ("collector-password", "battery-staple\n"),
        (
            "collector.key",
            &fs::read_to_string(path.join("collector.key")).unwrap(),
        ),
    ] {
        fs::write(path.join(name), text).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    run(&here(user, &ports, &path), &path);

    let password = SecretSource::File(path.join("collector-password"));
    let config = client(&servers.urls(), Some(("collector".to_owned(), password)));
    let etcd = Etcd::new(&config, Duration::from_secs(20)).unwrap();
    let refused = etcd.try_rights("/").await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");

    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "[\"audit\"]");
    let [toml] = &blocks("toml")[..] else {
        panic!("one table is documented");
    };
    bench.configure(&[integration + &table(toml, &ports, &path)], "");
    let checked = bench.ended(&["check", "--connect", "--json"]).await;
    let page: Value = serde_json::from_str(&checked.out).unwrap();
    let parts = page["parts"].as_array().unwrap();
    let ours = parts
        .iter()
        .find(|part| part["subject"] == "Cluster, as collector-a");
    let findings = ours.unwrap()["findings"].as_array().unwrap();
    assert_eq!(
        findings.len(),
        5,
        "three servers, majority, rights: {findings:#?}"
    );
    for finding in findings {
        assert_eq!(finding["verdict"], "ok", "{finding:#}");
    }
    bench.handle.publish("two", "audit", "", 3).unwrap();
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    collector.stop().await;
    // It has left in order, and what it had is there for another.
    let keys = etcd.range("/mimecast-collector/").await.unwrap().entries;
    let keys: Vec<_> = keys.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "/mimecast-collector/cluster",
            "/mimecast-collector/shared/two"
        ]
    );
}
