//! The set-up that docs/cluster.md describes, run as it stands there but for names and places.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mimecast_collector::cluster::etcd::{Etcd, EtcdConfig};
use mimecast_collector::secret::SecretSource;

use super::servers::{Environment, Servers, free_ports};
use crate::program::harness::folder;

const PAGE: &str = include_str!("../../../docs/cluster.md");

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

#[tokio::test]
async fn the_documented_set_up_of_etcd_works() {
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
    let secret = |name: &str, text: &str| {
        let path = path.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        SecretSource::File(path)
    };
    secret("root-password", "correct-horse\n");
    let password = secret("collector-password", "battery-staple\n");
    run(&here(user, &ports, &path), &path);

    let config = client(&servers.urls(), Some(("collector".to_owned(), password)));
    let etcd = Etcd::new(&config, Duration::from_secs(20)).unwrap();
    assert_eq!(etcd.try_rights("/mimecast-collector/").await, Ok(()));
    let refused = etcd.try_rights("/").await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
    for member in etcd.members().await {
        let member = member.unwrap();
        assert!(
            member.has_leader && member.complaints.is_empty(),
            "{member:?}"
        );
    }
}
