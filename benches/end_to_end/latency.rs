//! How soon an event is at the receiver, measured from the moment at which the file that holds it is asked for: before it can be decoded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::simulator::{Account, Handle, Options, Service, Simulator};

use crate::process::{self, Child};

/// Events, one after the other.
const EVENTS: u64 = 200;

/// Publishes one event, waits for it at the receiver, publishes the next; prints what a part of them took at most.
pub(crate) fn run(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut took = runtime.block_on(measure(folder));
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_millis();
    println!("| events | median ms | 95 % within ms | longest ms |");
    println!("| ------ | --------- | -------------- | ---------- |");
    println!("| {} | {} | {} | {} |", took.len(), at(50), at(95), at(100));
}

async fn measure(folder: &Path) -> Vec<Duration> {
    let account = Account::v2("account-0");
    let options = Options {
        accounts: vec![account.clone()],
        ..Options::default()
    };
    let token = options.hec_token.clone();
    let simulator = Simulator::start(options).await.unwrap();
    let handle = simulator.handle();
    let config = format!(
        "state_dir = {:?}\n{}interval = \"100ms\"\nlogs = [\"siem-cg\"]\n[integration.log.siem-cg]\ntypes = [\"receipt\"]\n\n\
         [[output]]\nname = \"sink\"\ntype = \"splunk_hec\"\nurl = \"{}\"\ntoken = {{ literal = \"{token}\" }}\n",
        folder.join("state"),
        crate::source::credential(&account, &simulator.api_url()),
        simulator.hec_url(),
    );
    let path = folder.join("config.toml");
    fs::write(&path, config).unwrap();
    let clock = Clock::system();
    let collector = Child::spawn(&mut process::collector(&path, "warn"));
    let mut took = Vec::new();
    for number in 1..=EVENTS {
        handle
            .publish("account-0", "siem-cg", "receipt", 1)
            .unwrap();
        let downloads = |handle: &Handle| {
            let all = handle.requests();
            all.iter().filter(|r| r.service == Service::Objects).count() as u64
        };
        handle.until(|handle| downloads(handle) >= number).await;
        let asked = clock.monotonic();
        handle
            .until(|handle| handle.hec().distinct() >= number)
            .await;
        took.push(clock.monotonic() - asked);
    }
    drop(collector);
    took
}
