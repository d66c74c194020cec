//! Three collectors that share fifty integrations over three servers of etcd, while processes are killed, stopped and cut off.
//!
//! What must hold is read from outside: from what the simulator was asked, from what the receiver got, and from every change that etcd has
//! seen.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests, which Clippy's exemption for tests does not reach"
)]

mod bench;
mod documented;
mod history;
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mimecast_collector::simulator::Request;

use super::harness::asks;
use bench::{Cluster, LEASE, LOCKED, Owners, SCALE, log};

const PREFIX: &str = "/mc";
const TOKEN: &str = "/oauth/token";
/// From one poll of a stream to the next, by the schedule's clock: the interval, and the second that the program adds.
const INTERVAL: Duration = Duration::from_secs(301);
/// How long a credential rests that is locked out, by the schedule's clock.
const LOCK_OUT: Duration = Duration::from_mins(30);
/// What etcd and a machine that is busy with other things add to the time of a takeover: etcd looks for leases that are over twice a
/// second, and gives all of them their whole time anew when it has another leader.
const LATE: Duration = Duration::from_secs(5);
/// Real time by which a request may come early, because the one before it was late on its way.
const TOLERANCE: Duration = Duration::from_millis(250);

/// What goes wrong in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A collector is killed, and comes back.
    Kill,
    /// A collector stands still until another has taken over, and goes on then.
    Zombie,
    /// The leader of etcd is killed, and comes back.
    Leader,
    /// Two servers of etcd are killed, and come back when every lease is over.
    Majority,
    /// A collector is cut off from etcd until others have taken over.
    Partition,
    /// A collector is asked to hand over all that it has, and to take its share again.
    Drain,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Kill,
    Trouble::Zombie,
    Trouble::Leader,
    Trouble::Majority,
    Trouble::Partition,
    Trouble::Drain,
];

/// Numbers without order, the same for the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % end as u64).unwrap()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is asked for by its environment"
)]
fn asked_for(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test]
async fn nothing_is_lost_and_nobody_acts_for_another_whatever_dies_or_is_cut_off() {
    let rounds = asked_for("CLUSTER_ROUNDS", TROUBLES.len() as u64);
    let seed = asked_for("CLUSTER_SEED", 20_261_130);
    println!("{rounds} rounds, seed {seed}");
    let mut numbers = Numbers(seed);
    let mut cluster = Cluster::start().await;
    cluster.until_shared().await;
    for round in 0..rounds {
        // Each once, then at random.
        let first = usize::try_from(round).unwrap();
        let trouble = TROUBLES.get(first).copied();
        let trouble = trouble.unwrap_or_else(|| TROUBLES[numbers.below(TROUBLES.len())]);
        let victim = numbers.below(cluster.nodes.len());
        // Anywhere within a poll.
        let pause = Duration::from_millis(numbers.below(5_000) as u64);
        tokio::time::sleep(pause).await;
        let began = cluster.clock.monotonic();
        play(&mut cluster, trouble, victim, &mut numbers).await;
        let took = cluster.clock.monotonic() - began;
        println!("round {round}: {trouble:?} of {victim}, {took:?}");
    }
    cluster.finish().await;

    let last = cluster.revision().await;
    let moves = history::judge(&cluster.servers.urls()[0], last.0).await;
    let taken: usize = moves.taken.values().sum();
    let torn: usize = moves.torn.values().sum();
    let hec = cluster.bench.handle.hec();
    let published = cluster.bench.handle.published_total();
    let (lost, repeated) = (published - hec.distinct(), hec.duplicates());
    println!(
        "{published} events, {lost} lost, {repeated} repeated; {taken} taken, {torn} of them from an owner that had not handed over; {} checkpoints of {} bytes",
        moves.checkpoints,
        moves.bytes / moves.checkpoints
    );
    assert_eq!((lost, hec.without_id()), (0, 0));
    let bound = Cluster::published_in(UNSHARED) * torn as u64;
    assert!(repeated <= bound, "{repeated} repeated, {bound} at most");
    assert_polite(&cluster, &moves);
    cluster.bench.assert_no_violations();
}

/// What a torn owner has delivered and not shared, at most: a poll's worth that it had just delivered, and what it fetched and delivered
/// after its last word to etcd, for as long as it may.
const UNSHARED: Duration = Duration::from_secs(2 * 5 + LEASE.as_secs());

/// Plays a trouble to its end: all nodes are there again, and share the work.
async fn play(cluster: &mut Cluster, trouble: Trouble, victim: usize, numbers: &mut Numbers) {
    match trouble {
        Trouble::Kill => {
            let before = cluster.until_shared().await;
            let since = cluster.clock.monotonic();
            cluster.nodes[victim].kill_9();
            taken_over(cluster, &before, victim, since).await;
            cluster.start_node(victim);
        }
        Trouble::Zombie => {
            let before = cluster.until_shared().await;
            let since = cluster.clock.monotonic();
            cluster.nodes[victim].program().signal("STOP");
            taken_over(cluster, &before, victim, since).await;
            cluster.nodes[victim].program().signal("CONT");
        }
        Trouble::Partition => {
            let before = cluster.until_shared().await;
            let since = cluster.clock.monotonic();
            cluster.nodes[victim].cut();
            taken_over(cluster, &before, victim, since).await;
            cluster.nodes[victim].join();
        }
        Trouble::Drain => {
            let before = cluster.until_shared().await;
            let since = cluster.clock.monotonic();
            assert_eq!(cluster.ask(victim, &["drain"]).await.code, Some(0));
            taken_over(cluster, &before, victim, since).await;
            let undone = cluster.ask(victim, &["drain", "--undo"]).await;
            assert_eq!(undone.code, Some(0));
        }
        Trouble::Leader => {
            let leader = cluster.servers.until_led().await;
            cluster.servers.kill_9(leader);
            cluster.servers.until_led().await;
            cluster.until_shared().await;
            cluster.servers.restart(leader);
        }
        Trouble::Majority => {
            let since = cluster.clock.monotonic();
            let first = numbers.below(3);
            let second = (first + 1) % 3;
            cluster.servers.kill_9(first);
            cluster.servers.kill_9(second);
            // All leases are over by then, whether or not etcd could say so.
            tokio::time::sleep(LEASE).await;
            let silent_from = cluster.clock.monotonic();
            says_that_it_has_stopped(cluster, victim).await;
            tokio::time::sleep(LEASE).await;
            let silent_to = cluster.clock.monotonic();
            cluster.servers.restart(first);
            cluster.servers.restart(second);
            let requests = cluster.bench.handle.requests();
            let silent = silent_from..silent_to;
            let late = |request: &&Request| asks(request) && silent.contains(&request.since_start);
            let late: Vec<_> = requests.iter().filter(late).collect();
            let (first, count) = (late.first(), late.len());
            assert_eq!(count, 0, "asked after {since:?} without etcd: {first:#?}");
        }
    }
    cluster.until_shared().await;
}

/// That a node which cannot renew its lease says so to whoever asks.
async fn says_that_it_has_stopped(cluster: &Cluster, victim: usize) {
    let status = cluster.ask(victim, &["status"]).await;
    let name = cluster.nodes[victim].name;
    for words in [
        "ATTENTION: this node has no lease and collects nothing",
        &format!("Cluster: {name} has no lease"),
        "etcd, for ",
    ] {
        assert!(status.out.contains(words), "{words} in {status:?}");
    }
    assert_eq!(status.code, Some(1), "{status:?}");
}

/// Waits until others own and ask what the victim had, and holds the time that it took to what is promised.
async fn taken_over(cluster: &Cluster, before: &Owners, victim: usize, since: Duration) {
    let victim = cluster.nodes[victim].name;
    let had = before.iter().filter(|(_, owner)| *owner == victim);
    let had: BTreeSet<&String> = had.map(|(name, _)| name).collect();
    let is_taken = |owners: &Owners| {
        let owner = |name: &&String| owners.get(*name).is_some_and(|owner| owner != victim);
        had.iter().all(owner)
    };
    cluster.until("the takeover", is_taken).await;
    let took = cluster.clock.monotonic() - since;
    let asked = cluster.clock.monotonic();
    let silent = |names: &BTreeSet<&String>| {
        let requests = cluster.bench.handle.requests();
        let after = requests
            .iter()
            .filter(|request| request.since_start > asked);
        let asked: BTreeSet<&String> = after.filter_map(|r| r.account.as_ref()).collect();
        let left = names
            .difference(&asked)
            .filter(|name| name.as_str() != LOCKED);
        left.count()
    };
    cluster
        .bench
        .until("requests of the new owners", |_| silent(&had) == 0)
        .await;
    let asked = cluster.clock.monotonic() - since;
    println!(
        "{} integrations of {victim}: owned after {took:?}, asked after {asked:?}",
        had.len()
    );
    assert!(took <= LEASE + LATE, "{took:?}");
    assert!(asked <= LEASE + INTERVAL / SCALE + LATE, "{asked:?}");
}

/// That no account was asked more often than one collector would have asked, and one that is locked out not at all until it may be.
fn assert_polite(cluster: &Cluster, moves: &history::Moves) {
    let requests = cluster.bench.handle.requests();
    let mut by_account: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in requests.iter().filter(|request| asks(request)) {
        if let Some(account) = &request.account {
            by_account.entry(account).or_default().push(request);
        }
    }
    let apart = |pair: &[&Request]| (pair[1].since_start - pair[0].since_start + TOLERANCE) * SCALE;
    for account in cluster.accounts() {
        let name = account.name.as_str();
        let asked = by_account.get(name).unwrap();
        if name == LOCKED {
            for pair in asked.windows(2) {
                let rested = apart(pair);
                let goes_on = pair[0].path == TOKEN && pair[1].path != TOKEN;
                assert!(
                    rested >= LOCK_OUT || goes_on,
                    "a locked account was asked after {rested:?}: {pair:#?}"
                );
            }
        } else if log(account) == "audit" {
            // A poll begins with a first page. One that was cut short by the end of its owner goes on with the next, a minute later at the earliest.
            let begins = |r: &&&Request| r.path != TOKEN && r.cursor.is_none();
            let listings: Vec<_> = asked.iter().filter(begins).copied().collect();
            let early: Vec<_> = listings
                .windows(2)
                .map(apart)
                .filter(|apart| *apart < INTERVAL)
                .collect();
            let owners = moves.taken.get(name).copied().unwrap_or_default();
            assert!(
                early.len() < owners.max(1),
                "{name}: {early:?}, {owners} owners"
            );
            let minute = Duration::from_mins(1);
            assert!(
                early.iter().all(|apart| *apart >= minute),
                "{name}: {early:?}"
            );
        }
    }
}
