//! Real servers of etcd on loopback, as Debian packages them (`etcd-server`), which end with the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mimecast_collector::cluster::etcd::{Etcd, EtcdConfig};
use tempfile::TempDir;

/// Longer than an election takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Servers of one cluster.
pub(crate) struct Servers {
    folder: TempDir,
    servers: Vec<Server>,
    client: Etcd,
}

struct Server {
    /// For clients.
    url: String,
    environment: Environment,
    process: Option<Child>,
}

/// How a server is set up: `ETCD_NAME` and so on.
pub(crate) type Environment = Vec<(String, String)>;

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// Ports below those that the system gives out by itself: a server that was killed finds its own free when it comes back, however many
/// connections were made meanwhile.
const PORTS: Range<u32> = 12_000..32_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// So many ports that nothing listens on. Processes begin at different places, and a process takes none twice.
pub(crate) fn free_ports(n: usize) -> Vec<u16> {
    let all = PORTS.end - PORTS.start;
    let begin = std::process::id().wrapping_mul(97);
    let next = || NEXT.fetch_add(1, Ordering::Relaxed);
    let port = || u16::try_from(PORTS.start + begin.wrapping_add(next()) % all).unwrap();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(port)
        .filter(is_free)
        .take(n)
        .collect()
}

impl Servers {
    /// Starts so many servers, which keep what they have in `folder`, and waits until they have a leader.
    pub(crate) async fn start(n: usize, folder: TempDir) -> Self {
        Self::start_with(n, "http", &Vec::new(), folder, config).await
    }

    /// As [`Servers::start`], with more in their environment and files in `folder`, and a client that is set up in another way.
    pub(crate) async fn start_with(
        n: usize,
        scheme: &str,
        more: &Environment,
        folder: TempDir,
        client: impl FnOnce(&[String]) -> EtcdConfig,
    ) -> Self {
        let ports = free_ports(2 * n);
        let client_url = |i: usize| format!("{scheme}://127.0.0.1:{}", ports[2 * i]);
        let peer_url = |i: usize| format!("http://127.0.0.1:{}", ports[2 * i + 1]);
        let peers: Vec<_> = (0..n).map(|i| format!("etcd{i}={}", peer_url(i))).collect();
        let environment = |i: usize| {
            let data = folder.path().join(format!("etcd{i}"));
            let own = [
                ("NAME", format!("etcd{i}")),
                ("DATA_DIR", data.to_str().unwrap().to_owned()),
                ("LISTEN_CLIENT_URLS", client_url(i)),
                ("ADVERTISE_CLIENT_URLS", client_url(i)),
                ("LISTEN_PEER_URLS", peer_url(i)),
                ("INITIAL_ADVERTISE_PEER_URLS", peer_url(i)),
                ("INITIAL_CLUSTER", peers.join(",")),
            ];
            let own = own.map(|(name, value)| (format!("ETCD_{name}"), value));
            own.into_iter().chain(more.clone()).collect()
        };
        let servers = (0..n).map(|i| (client_url(i), environment(i))).collect();
        Self::run(servers, folder, client).await
    }

    /// Starts servers at these URLs in these environments, and waits until they have a leader.
    pub(crate) async fn run(
        servers: Vec<(String, Environment)>,
        folder: TempDir,
        client: impl FnOnce(&[String]) -> EtcdConfig,
    ) -> Self {
        let urls: Vec<_> = servers.iter().map(|(url, _)| url.clone()).collect();
        let server = |(url, environment)| Server {
            url,
            environment,
            process: None,
        };
        let mut all = Self {
            folder,
            servers: servers.into_iter().map(server).collect(),
            client: Etcd::new(&client(&urls), PATIENCE).unwrap(),
        };
        for index in 0..urls.len() {
            all.restart(index);
        }
        all.until_led().await;
        all
    }

    /// The servers' URLs for clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|s| s.url.clone()).collect()
    }

    /// The folder that their data is in, and what else a test keeps there.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server on what it has kept.
    pub(crate) fn restart(&mut self, index: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(index))
            .unwrap();
        let server = &mut self.servers[index];
        let process = Command::new("etcd")
            .env_clear()
            .envs(server.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("etcd is not installed (Debian: etcd-server): {e}"));
        server.process = Some(process);
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
