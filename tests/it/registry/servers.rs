//! Real servers of etcd on loopback, as Debian packages them (`etcd-server`), which end with the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mimecast_collector::cluster::etcd::{Etcd, EtcdConfig};
use tempfile::TempDir;

use crate::program::harness::folder;

/// Longer than an election takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Servers of one cluster.
pub(crate) struct Servers {
    folder: TempDir,
    servers: Vec<Server>,
    client: Etcd,
    scheme: &'static str,
    flags: Vec<String>,
}

struct Server {
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// So many ports that nothing listens on.
fn free_ports(n: usize) -> Vec<u16> {
    let held: Vec<_> = (0..n)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    held.iter().map(port).collect()
}

impl Servers {
    /// Starts so many servers and waits until they have a leader.
    pub(crate) async fn start(n: usize) -> Self {
        Self::start_with(n, "http", &[], folder(), |urls| config(&urls)).await
    }

    /// As [`Servers::start`], with further flags and files in `folder`, and a client that is set up in another way.
    pub(crate) async fn start_with(
        n: usize,
        scheme: &'static str,
        flags: &[String],
        folder: TempDir,
        client: impl FnOnce(Vec<String>) -> EtcdConfig,
    ) -> Self {
        let ports = free_ports(2 * n);
        let servers: Vec<_> = ports
            .chunks_exact(2)
            .map(|pair| Server {
                client_port: pair[0],
                peer_port: pair[1],
                process: None,
            })
            .collect();
        let urls = servers.iter().map(|s| s.url(scheme)).collect();
        let mut all = Self {
            folder,
            servers,
            client: Etcd::new(&client(urls), PATIENCE).unwrap(),
            scheme,
            flags: flags.to_vec(),
        };
        for index in 0..n {
            all.restart(index);
        }
        all.until_led().await;
        all
    }

    /// The servers' URLs for clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|s| s.url(self.scheme)).collect()
    }

    /// The folder that their data is in, and what else a test keeps there.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server on what it has kept.
    pub(crate) fn restart(&mut self, index: usize) {
        let peer = |(i, s): (usize, &Server)| format!("etcd{i}=http://127.0.0.1:{}", s.peer_port);
        let peers: Vec<_> = self.servers.iter().enumerate().map(peer).collect();
        let server = &self.servers[index];
        let (client, peer) = (
            server.url(self.scheme),
            format!("http://127.0.0.1:{}", server.peer_port),
        );
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(index))
            .unwrap();
        let process = Command::new("etcd")
            .env_clear()
            .args(["--name", &format!("etcd{index}"), "--data-dir"])
            .arg(self.folder.path().join(format!("etcd{index}")))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &peers.join(",")])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("etcd is not installed (Debian: etcd-server): {e}"));
        self.servers[index].process = Some(process);
    }

    /// Ends a server as a power cut ends a process.
    pub(crate) fn kill_9(&mut self, index: usize) {
        let mut process = self.servers[index].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Waits until a majority has a leader, and gives its index.
    pub(crate) async fn until_led(&self) -> usize {
        let led = async {
            loop {
                let members = self.client.members().await;
                let leads = |member: &Result<_, _>| {
                    let member: Option<&mimecast_collector::cluster::etcd::Member> =
                        member.as_ref().ok();
                    member.is_some_and(|member| member.leads)
                };
                if let Some(index) = members.iter().position(leads) {
                    return index;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE * 3, led).await {
            Ok(index) => index,
            Err(_) => panic!("etcd has no leader:\n{}", self.logs()),
        }
    }

    fn log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("etcd{index}.log"))
    }

    fn logs(&self) -> String {
        let read = |index| fs::read_to_string(self.log(index)).unwrap_or_default();
        (0..self.servers.len()).map(read).collect()
    }
}

impl Server {
    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }
}

/// How servers without TLS and users are reached.
pub(crate) fn config(urls: &[String]) -> EtcdConfig {
    EtcdConfig {
        endpoints: urls.to_vec(),
        login: None,
        client_cert: None,
        client_key: None,
        ca_file: None,
    }
}
