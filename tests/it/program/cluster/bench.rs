//! Three collectors, three servers of etcd, fifty accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::cluster::etcd::Etcd;
use mimecast_collector::cluster::registry::{Registry as _, Revision};
use mimecast_collector::simulator::{Account, Answer, Fault, Handle, Options, Target};
use tokio::task::JoinSet;

use super::super::harness::{Bench, Ended, Program, folder, within};
use super::PREFIX;
use super::link::Link;
use crate::registry::servers::{Servers, config};

/// From the last sign of a node's life to the end of what it owns.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// How fast the schedule's time goes: five minutes are five seconds.
pub(super) const SCALE: u32 = 60;
/// An account that Mimecast has locked, whatever is asked.
pub(super) const LOCKED: &str = "account-00";
const ACCOUNTS: usize = 50;
const NODES: [&str; 3] = ["collector-a", "collector-b", "collector-c"];
/// Longer than an answer of etcd takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// From one publication to the next, and the events of each account in it.
const PUBLICATION: Duration = Duration::from_secs(1);
const EVENTS: usize = 2;

/// All that takes part.
pub(super) struct Cluster {
    /// First, as they end before the folder that they write to.
    pub(super) nodes: Vec<Node>,
    pub(super) bench: Bench,
    pub(super) clock: Clock,
    pub(super) servers: Servers,
    etcd: Etcd,
    accounts: Vec<Account>,
    publishing: JoinSet<()>,
}

/// A collector.
pub(super) struct Node {
    pub(super) name: &'static str,
    program: Option<Program>,
    links: Vec<Link>,
}

/// Whose each integration is, by its name.
pub(super) type Owners = BTreeMap<String, String>;

impl Cluster {
    pub(super) async fn start() -> Self {
        let clock = Clock::system();
        let account = |n: usize| match n % 5 {
            1 => Account::v1(&format!("account-{n:02}")),
            _ => Account::v2(&format!("account-{n:02}")),
        };
        let accounts: Vec<_> = (0..ACCOUNTS).map(account).collect();
        let bench = Bench::with(Options {
            clock: clock.clone(),
            accounts: accounts.clone(),
            ..Options::default()
        })
        .await;
        let locked = Fault::answer(Target::Api, Answer::lock_out()).of(LOCKED);
        bench.handle.script(locked);
        let servers = Servers::start(3, folder()).await;
        let mut nodes = Vec::new();
        for name in NODES {
            let mut links = Vec::new();
            for url in servers.urls() {
                links.push(Link::to(&url).await);
            }
            nodes.push(Node {
                name,
                program: None,
                links,
            });
        }
        let etcd = Etcd::new(&config(&servers.urls()), LONG).unwrap();
        let mut cluster = Self {
            bench,
            clock,
            servers,
            nodes,
            etcd,
            accounts,
            publishing: JoinSet::new(),
        };
        cluster.configure();
        for index in 0..NODES.len() {
            cluster.start_node(index);
        }
        cluster.publish();
        cluster
    }

    /// Writes each node's configuration, and the moment from which the scaled time of all of them goes.
    fn configure(&self) {
        let integrations: String = self
            .accounts
            .iter()
            .map(|account| {
                let logs = format!("[\"{}\"]", log(account));
                // A first poll of one slice, as all that follow.
                self.bench.integration(account, &logs) + "start = \"1h\"\n"
            })
            .collect();
        self.bench.write("secrets/hec", &self.bench.token);
        let url = self.bench.simulator.hec_url();
        for node in &self.nodes {
            let name = node.name;
            let state_dir = self.bench.path(name);
            let endpoints: Vec<_> = node.links.iter().map(Link::url).collect();
            let mut text = format!("state_dir = {state_dir:?}\n");
            write!(
                text,
                "[cluster]\nnode = \"{name}\"\nendpoints = {endpoints:?}\nlease = \"{}s\"\nprefix = \"{PREFIX}\"\n{integrations}",
                LEASE.as_secs()
            )
            .unwrap();
            write!(
                text,
                "\n[[output]]\nname = \"splunk\"\ntype = \"splunk_hec\"\nurl = \"{url}\"\ntoken = {{ file = \"secrets/hec\" }}\n"
            )
            .unwrap();
            self.bench.write(&format!("{name}.toml"), &text);
            let wall = serde_json::to_value(self.clock.wall()).unwrap();
            let anchor = serde_json::json!({ "wall": wall }).to_string();
            self.bench
                .write(&format!("{name}/time-scale.json"), &anchor);
        }
    }

    pub(super) fn start_node(&mut self, index: usize) {
        let config = self.config(index);
        let scale = SCALE.to_string();
        let arguments = [
            "run",
            "--time-scale",
            &scale,
            "--config",
            config.to_str().unwrap(),
        ];
        let program = Program::start(&arguments, self.bench.folder.path());
        self.nodes[index].program = Some(program);
    }

    /// Runs a command that asks a node.
    pub(super) async fn ask(&self, index: usize, command: &[&str]) -> Ended {
        let config = self.config(index);
        let arguments = [command, &["--config", config.to_str().unwrap()]].concat();
        self.bench.ended_alone(&arguments).await
    }

    /// The file of a node's configuration.
    fn config(&self, index: usize) -> PathBuf {
        let name = self.nodes[index].name;
        self.bench.path(&format!("{name}.toml"))
    }

    /// Publishes events for every account, from now on.
    fn publish(&mut self) {
        let handle = self.bench.handle.clone();
        let accounts = self.accounts.clone();
        self.publishing.spawn(async move {
            let mut ticks = tokio::time::interval(PUBLICATION);
            loop {
                ticks.tick().await;
                for account in accounts.iter().filter(|account| account.name != LOCKED) {
                    publish_one(&handle, account);
                }
            }
        });
    }

    /// Publishes no more, waits until everything has arrived, and stops the collectors in order.
    pub(super) async fn finish(&mut self) {
        self.publishing.shutdown().await;
        self.bench.until_all_arrived().await;
        for node in &mut self.nodes {
            node.program.take().unwrap().stop().await;
        }
    }

    /// How many events of an account are published in a span of time.
    pub(super) fn published_in(span: Duration) -> u64 {
        let times = u64::try_from(span.as_millis() / PUBLICATION.as_millis()).unwrap() + 1;
        times * EVENTS as u64
    }

    /// The names of the integrations that can be asked and published for.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// Whose the integrations are now; `None` while etcd cannot say.
    pub(super) async fn owners(&self) -> Option<Owners> {
        let prefix = format!("{PREFIX}/owners/");
        let listing = self.etcd.range(&prefix).await.ok()?;
        let entries = listing.entries.into_iter();
        let owner = |entry: mimecast_collector::cluster::registry::Entry| {
            let name = entry.key.strip_prefix(&prefix).unwrap().to_owned();
            (name, String::from_utf8(entry.value).unwrap())
        };
        Some(entries.map(owner).collect())
    }

    /// Waits until owners are as `condition` wants them.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Owners) -> bool) -> Owners {
        let found = async {
            loop {
                if let Some(owners) = self.owners().await.filter(|owners| condition(owners)) {
                    return owners;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(what, found).await
    }

    /// Waits until each integration has an owner, and each node something to do.
    pub(super) async fn until_shared(&self) -> Owners {
        let is_shared = |owners: &Owners| {
            let nodes: BTreeSet<_> = owners.values().collect();
            owners.len() == ACCOUNTS && nodes.len() == NODES.len()
        };
        self.until(
            "an owner of each integration, and work for each node",
            is_shared,
        )
        .await
    }

    /// The last change that etcd has seen.
    pub(super) async fn revision(&self) -> Revision {
        self.etcd.range(PREFIX).await.unwrap().revision
    }
}

impl Node {
    pub(super) fn program(&self) -> &Program {
        self.program.as_ref().unwrap()
    }

    pub(super) fn kill_9(&mut self) {
        self.program.take().unwrap().kill_9();
    }

    /// Cuts it off from etcd, but from nothing else.
    pub(super) fn cut(&self) {
        self.links.iter().for_each(Link::cut);
    }

    pub(super) fn join(&self) {
        self.links.iter().for_each(Link::join);
    }
}

/// The log that is fetched for an account: files for one version of the API, slices of time for the other.
pub(super) fn log(account: &Account) -> &'static str {
    match account.api() {
        mimecast_collector::mimecast::log_types::Api::V1 => "siem",
        mimecast_collector::mimecast::log_types::Api::V2 => "audit",
    }
}

fn publish_one(handle: &Handle, account: &Account) {
    handle
        .publish(&account.name, log(account), "", EVENTS)
        .unwrap();
}
