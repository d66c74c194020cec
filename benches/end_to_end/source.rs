//! The simulator in a process of its own, with files of mail events.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mimecast_collector::simulator::{Account, Key, Options, Publication, Simulator};

use crate::process::Child;

/// Some event types, so that streams run beside each other as they do in life.
pub(crate) const TYPES: [&str; 4] = ["receipt", "process", "delivery", "url protect"];
/// Records in a file: some 50 MB.
const PER_FILE: usize = 60_000;
/// Bytes added to each subject, so that lines are as long as the vendor's: 870 bytes or so.
const PADDING: usize = 200;

/// A running simulator and what it serves to each account.
pub(crate) struct Source {
    url: String,
    /// The files of one account, for the yardstick.
    pub(crate) folder: PathBuf,
    pub(crate) files: usize,
    pub(crate) events: u64,
    /// Unpacked.
    pub(crate) bytes: u64,
    /// As files.
    pub(crate) packed: u64,
    _process: Child,
}

impl Source {
    /// An `[[integration]]` that fetches these logs of an account.
    pub(crate) fn integration(&self, number: usize, logs: &str) -> String {
        let name = name(number);
        format!("{}{logs}\n", credential(&Account::v2(&name), &self.url))
    }
}

/// The head of an `[[integration]]` that shows an account's credential to the simulator at `url`.
pub(crate) fn credential(account: &Account, url: &str) -> String {
    let Key::V2 {
        client_id,
        client_secret,
    } = &account.key
    else {
        unreachable!("the account is of API 2.0");
    };
    format!(
        "\n[[integration]]\nname = \"{}\"\nbase_url = \"{url}\"\nclient_id = \"{client_id}\"\n\
         client_secret = {{ literal = \"{client_secret}\" }}\n",
        account.name
    )
}

/// The name of an account.
fn name(number: usize) -> String {
    format!("account-{number}")
}

/// A simulator with so many accounts, each of which has the same files.
pub(crate) fn start(accounts: usize, megabytes: u64, folder: &Path) -> Source {
    let folder = folder.join("files");
    fs::create_dir(&folder).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--role-source",
            &accounts.to_string(),
            &megabytes.to_string(),
        ])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    let url = next();
    let mut number = || next().parse::<u64>().unwrap();
    Source {
        events: number(),
        bytes: number(),
        packed: number(),
        files: fs::read_dir(&folder).unwrap().count(),
        url,
        folder,
        _process: Child(child),
    }
}

/// The simulator's process: says where it is and what it has, and serves until it is killed.
pub(crate) fn serve(arguments: &[String]) {
    let (accounts, megabytes): (usize, u64) =
        (arguments[0].parse().unwrap(), arguments[1].parse().unwrap());
    let (accounts, folder) = ((0..accounts).map(name), &arguments[2]);
    let accounts: Vec<_> = accounts.collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = Options {
            accounts: accounts.iter().map(|name| Account::v2(name)).collect(),
            records_per_file: PER_FILE,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let handle = simulator.handle();
        let publish = |account: &str, kind: &str, count: usize| {
            handle
                .publish_as(&Publication {
                    padding: PADDING,
                    ..Publication::new(account, "siem-cg", kind, count)
                })
                .unwrap();
        };
        let (mut events, mut bytes) = (0, 0);
        for kind in TYPES.iter().cycle() {
            if bytes >= megabytes * 1_000_000 {
                break;
            }
            for account in &accounts {
                publish(account, kind, PER_FILE);
            }
            events += PER_FILE;
            let files = handle.objects(&accounts[0]);
            bytes = files.iter().map(|file| unpacked(file)).sum();
        }
        let mut packed = 0;
        for (number, file) in handle.objects(&accounts[0]).into_iter().enumerate() {
            packed += file.len() as u64;
            fs::write(format!("{folder}/{number:06}.gz"), file).unwrap();
        }
        println!("{}\n{events}\n{bytes}\n{packed}", simulator.api_url());
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

/// The size of what a gzip file holds: its last four bytes.
fn unpacked(file: &[u8]) -> u64 {
    let size = file.last_chunk().copied().map_or(0, u32::from_le_bytes);
    u64::from(size)
}
