//! A syslog receiver that comes and goes: each event reaches it, and what is repeated has the id that it had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mimecast_collector::simulator::Account;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::harness::{Bench, Program, look_until};

/// By event id the bodies that came under it, in the order of their arrival.
type Arrived = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A receiver of counted messages on a port of its own, which it keeps while it is stopped.
struct Receiver {
    address: String,
    arrived: Arrived,
    /// Takes so many messages more, and then dies, with whatever was sent and not read.
    life: Arc<AtomicUsize>,
    /// Ends with all its connections when it is dropped.
    running: Option<JoinSet<()>>,
}

impl Receiver {
    async fn start() -> Self {
        let mut receiver = Self {
            address: "127.0.0.1:0".to_owned(),
            arrived: Arrived::default(),
            life: Arc::default(),
            running: None,
        };
        receiver.listen(usize::MAX).await;
        receiver
    }

    /// Listens, again, and takes so many messages.
    async fn listen(&mut self, messages: usize) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
        self.life.store(messages, Ordering::SeqCst);
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let (arrived, life) = (Arc::clone(&self.arrived), Arc::clone(&self.life));
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((socket, _)) = listener.accept() => {
                        connections.spawn(take(socket, Arc::clone(&arrived), Arc::clone(&life)));
                    }
                    Some(_) = connections.join_next() => if life.load(Ordering::SeqCst) == 0 {
                        return;
                    }
                }
            }
        });
        self.running = Some(running);
    }

    /// Waits until it has taken as many messages as it was to take.
    async fn died(&self) {
        let is_over = || (self.life.load(Ordering::SeqCst) == 0).then_some(());
        look_until("the receiver's end", is_over).await;
    }

    /// How many of the events of the integrations are here.
    fn distinct(&self) -> u64 {
        self.arrived.lock().unwrap().len() as u64
    }

    async fn until(&self, what: &str, events: u64) {
        look_until(what, || (self.distinct() >= events).then_some(())).await;
    }
}

/// Takes whole messages from a connection, until it ends or the receiver does.
async fn take(mut socket: TcpStream, arrived: Arrived, life: Arc<AtomicUsize>) {
    let mut bytes = Vec::with_capacity(16 << 10);
    while let Ok(1..) = socket.read_buf(&mut bytes).await {
        while let Some((message, end)) = first_message(&bytes) {
            note(&message, &arrived);
            bytes.drain(..end);
            if life.fetch_sub(1, Ordering::SeqCst) == 1 {
                return;
            }
        }
        bytes.reserve(16 << 10);
    }
}

/// The first message and where it ends, if it is all there.
fn first_message(bytes: &[u8]) -> Option<(String, usize)> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let count = std::str::from_utf8(bytes.get(..space)?).unwrap();
    let end = space + 1 + count.parse::<usize>().unwrap();
    let message = bytes.get(space + 1..end)?;
    Some((String::from_utf8(message.to_vec()).unwrap(), end))
}

/// Events of the collector's own, which nobody has published, are left out.
fn note(message: &str, arrived: &Arrived) {
    if message.contains("integration=\"@collector\"") {
        return;
    }
    let (_, rest) = message.split_once("eventId=\"").unwrap();
    let (id, rest) = rest.split_once('"').unwrap();
    let (_, body) = rest.split_once("] ").unwrap();
    let mut arrived = arrived.lock().unwrap();
    arrived
        .entry(id.to_owned())
        .or_default()
        .push(body.to_owned());
}

const LOGS: [(&str, &str); 2] = [("siem-cg", "receipt"), ("audit", "")];

async fn bench(receiver: &Receiver) -> Bench {
    let bench = Bench::new().await;
    let mut text = format!("state_dir = {:?}\n", bench.state_dir());
    text.push_str(&bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"));
    text.push_str(&format!(
        "\n[[output]]\nname = \"siem\"\ntype = \"syslog\"\naddress = \"{}\"\ntransport = \"tcp\"\nframing = \"octet-counting\"\n",
        receiver.address
    ));
    bench.write("config.toml", &text);
    for (log, event_type) in LOGS {
        bench.handle.publish("two", log, event_type, 500).unwrap();
    }
    bench
}

/// Waits until all that was published is here, compares it by id and body, and counts what came again.
async fn repeated(bench: &Bench, receiver: &Receiver, collector: Program) -> usize {
    let published = bench.handle.published_total();
    receiver
        .until("all events at the receiver", published)
        .await;
    collector.stop().await;
    let arrived = receiver.arrived.lock().unwrap();
    let (mut bodies, mut repeated) = (Vec::new(), 0);
    for (id, copies) in arrived.iter() {
        let (first, again) = copies.split_first().unwrap();
        assert!(again.iter().all(|copy| copy == first), "{id}: {copies:?}");
        repeated += again.len();
        bodies.push(first.clone());
    }
    let mut expected: Vec<String> = Vec::new();
    for (log, event_type) in LOGS {
        let records = bench.handle.published("two", log, event_type).into_iter();
        expected.extend(records.map(|record| String::from_utf8(record).unwrap()));
    }
    bodies.sort();
    expected.sort();
    assert_eq!(bodies, expected);
    bench.assert_no_violations();
    repeated
}

#[tokio::test]
async fn after_a_kill_9_syslog_gets_what_did_not_count_yet_again_with_the_same_ids() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;
    let half = bench.handle.published_total() / 2;
    // In real time, so that all of it waits for its 5 s when the process ends.
    let collector = bench.run(1);
    receiver.until("half of the events", half).await;
    collector.kill_9();
    let collector = bench.run(600);
    let repeated = repeated(&bench, &receiver, collector).await;
    println!(
        "1 kill, {} events: 0 lost, {repeated} repeated",
        bench.handle.published_total()
    );
    assert!(repeated > 0);
}

#[tokio::test]
async fn a_syslog_receiver_that_dies_and_comes_back_gets_every_event() {
    let mut receiver = Receiver::start().await;
    let bench = bench(&receiver).await;
    receiver.listen(1).await;
    let collector = bench.run(2);
    for messages in [100, 250, usize::MAX] {
        receiver.died().await;
        receiver.listen(messages).await;
    }
    let repeated = repeated(&bench, &receiver, collector).await;
    println!(
        "3 deaths, {} events: 0 lost, {repeated} repeated",
        bench.handle.published_total()
    );
    assert!(repeated > 0);
}
