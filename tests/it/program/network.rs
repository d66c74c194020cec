//! A network that breaks in every way between the collector, Mimecast and a receiver: partitions, connections that are open at one end only,
//! answers that drip, and ones that are cut off.

#![expect(clippy::indexing_slicing, reason = "test code")]

use std::net::SocketAddr;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::simulator::{Account, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::harness::{Bench, Program, look_until};

/// So that a wait of half a minute, which no clock in fast motion shortens, is ten minutes of the schedule.
const SCALE: u32 = 20;
/// Within this the collector has everything again.
const TWO_INTERVALS: Duration = Duration::from_secs(2 * 300);

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They pass.
    Whole,
    /// They are cut, and new ones are closed at once.
    Cut,
    /// They are taken, and nothing ever comes back.
    HalfOpen,
    /// What comes back comes a few bytes at a time.
    Drip,
    /// What comes back is cut off after some bytes.
    MidBody,
}

/// A way to a server that can be broken.
struct Way {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Way {
    async fn to(target: SocketAddr, tasks: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Mode::Whole);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(pass(socket, target, seen.clone()));
            }
        });
        Self { address, mode }
    }
}

/// Passes a connection on, until either end closes it or the way breaks.
async fn pass(mut near: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let (mut there, mut back) = ([0; 16 << 10], [0; 16 << 10]);
    let mut came_back = 0;
    loop {
        let now = *mode.borrow_and_update();
        match now {
            // Dropped with what it has not read, it is reset.
            Mode::Cut => return,
            Mode::HalfOpen => {
                // It stays open here as long as the way is so, whatever the other end does.
                mode.changed().await.ok();
                return;
            }
            Mode::Whole | Mode::Drip | Mode::MidBody => {}
        }
        tokio::select! {
            changed = mode.changed() => if changed.is_err() {
                return;
            },
            read = near.read(&mut there) => match read {
                Ok(length @ 1..) => far.write_all(&there[..length]).await.unwrap_or_default(),
                _ => return,
            },
            read = far.read(&mut back) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &back[..length];
                let whole = now != Mode::Drip;
                let pieces = bytes.chunks(if whole { length } else { 64 });
                for piece in pieces {
                    came_back += piece.len();
                    if now == Mode::MidBody && came_back > 300 {
                        // Half of the answer, and no more.
                        near.write_all(&piece[..piece.len() / 2]).await.ok();
                        return;
                    }
                    if near.write_all(piece).await.is_err() {
                        return;
                    }
                    if !whole {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }
    }
}

/// Waits until the collector has met a failure of each side since the log had `lines` lines.
async fn until_both_failed(collector: &Program, mode: Mode, lines: usize) {
    let failed = |subjects: [&str; 2]| {
        let log = collector.log();
        let mut since = log.lines().skip(lines);
        since.any(|line| {
            line.contains("transport/") && subjects.iter().any(|subject| line.contains(subject))
        })
    };
    look_until(&format!("failures by {mode:?}"), || {
        let both = failed(["\"credential two\"", "\"stream two/"])
            && failed(["\"output splunk\"", "\"lane splunk"]);
        both.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_half_open_connections_slow_answers_and_resets_lose_nothing_and_pass_within_two_intervals()
 {
    let bench = Bench::with(Options {
        records_per_file: 50,
        ..Options::default()
    })
    .await;
    let mut tasks = JoinSet::new();
    let integration = bench.integration(&Account::v2("two"), "[\"audit\", \"siem-cg\"]");
    bench.configure(&[integration], "");
    let mut text = std::fs::read_to_string(bench.path("config.toml")).unwrap();
    let mut ways = Vec::new();
    for url in [bench.simulator.api_url(), bench.simulator.hec_url()] {
        let target = url.strip_prefix("http://").unwrap().parse().unwrap();
        let way = Way::to(target, &mut tasks).await;
        text = text.replace(&url, &format!("http://{}", way.address));
        ways.push(way);
    }
    bench.write("config.toml", &text);
    let set = |mode| {
        for way in &ways {
            way.mode.send(mode).unwrap();
        }
    };
    let publish = || {
        bench.handle.publish("two", "audit", "", 20).unwrap();
        bench
            .handle
            .publish("two", "siem-cg", "receipt", 100)
            .unwrap();
    };
    publish();
    let collector = bench.run(SCALE);
    bench.until_all_arrived().await;
    let clock = Clock::system();
    let mut took = Vec::new();
    for mode in [Mode::Cut, Mode::HalfOpen, Mode::MidBody, Mode::Drip] {
        let lines = collector.log().lines().count();
        set(mode);
        publish();
        if mode == Mode::Drip {
            // Slow is not broken.
            bench.until_all_arrived().await;
        } else {
            until_both_failed(&collector, mode, lines).await;
        }
        let healed = clock.monotonic();
        set(Mode::Whole);
        publish();
        bench.until_all_arrived().await;
        took.push((mode, (clock.monotonic() - healed) * SCALE));
    }
    bench.assert_balanced().await;
    collector.stop().await;
    let hec = bench.handle.hec();
    println!(
        "{} events; 0 lost, {} repeated; all there again after {took:?}",
        hec.distinct(),
        hec.duplicates()
    );
    assert_eq!(hec.distinct(), bench.handle.published_total());
    assert!(
        took.iter().all(|(_, took)| *took <= TWO_INTERVALS),
        "{took:?}"
    );
    bench.assert_no_violations();
}
