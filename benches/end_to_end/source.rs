//! The simulator in a process of its own, with files of mail events.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mimecast_collector::simulator::{Account, Key, Options, Publication, Simulator};

use crate::process::Child;

/// Who has the same files.
pub(crate) const ACCOUNTS: [&str; 2] = ["one", "two"];
/// Some of the types, so that streams run beside each other as they do in life.
const TYPES: [&str; 4] = ["receipt", "process", "delivery", "url protect"];
/// Records in a file: some 50 MB.
const PER_FILE: usize = 60_000;
/// Bytes added to each subject, so that lines are as long as the vendor's: 870 bytes or so.
const PADDING: usize = 120;

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
    /// An `[[integration]]` that fetches an account's files.
    pub(crate) fn integration(&self, name: &str) -> String {
        let Key::V2 {
            client_id,
            client_secret,
        } = Account::v2(name).key
        else {
            unreachable!("the account is of API 2.0");
        };
        format!(
            "\n[[integration]]\nname = \"{name}\"\nbase_url = \"{}\"\nlogs = [\"siem-cg\"]\n\
             client_id = \"{client_id}\"\nclient_secret = {{ literal = \"{client_secret}\" }}\n\
             [integration.log.siem-cg]\ntypes = {TYPES:?}\n",
            self.url
        )
    }
}

pub(crate) fn start(megabytes: usize, folder: &Path) -> Source {
    let folder = folder.join("files");
    fs::create_dir(&folder).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--role-source", &megabytes.to_string()])
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
    let (megabytes, folder) = (arguments[0].parse::<u64>().unwrap(), &arguments[1]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = Options {
            accounts: ACCOUNTS.map(Account::v2).to_vec(),
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
        let mut events = 0;
        let mut bytes: u64;
        'all: loop {
            for kind in TYPES {
                for account in ACCOUNTS {
                    publish(account, kind, PER_FILE);
                }
                events += PER_FILE as u64;
                bytes = handle
                    .objects(ACCOUNTS[0])
                    .iter()
                    .map(|file| unpacked(file))
                    .sum();
                if bytes >= megabytes * 1_000_000 {
                    break 'all;
                }
            }
        }
        let mut packed = 0;
        for (number, file) in handle.objects(ACCOUNTS[0]).into_iter().enumerate() {
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
