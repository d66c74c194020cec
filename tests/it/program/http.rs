//! A receiver over HTTP that is none of ours: what it took is there, whatever became of its answers and of the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mimecast_collector::simulator::Account;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::harness::{Bench, look_until};

/// What happens to a request instead of being taken and answered by 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The connection is closed before the request is read.
    CloseFirst,
    /// The request is taken, and the connection closed instead of answering.
    CloseAfter,
    /// It is refused with this status.
    Refuse(u16),
}

/// A receiver that takes arrays or lines of events.
pub(super) struct Receiver {
    address: String,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// By event id, the bodies that came under it, in the order of their arrival.
    arrived: BTreeMap<String, Vec<String>>,
    acts: VecDeque<Act>,
    /// An event whose body contains it makes its request be refused by 422.
    poison: Option<String>,
}

impl Receiver {
    /// One that takes so long for each request.
    pub(super) async fn start(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&shared), pause));
            }
        });
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// How many events are here.
    pub(super) fn distinct(&self) -> u64 {
        self.state.lock().unwrap().arrived.len() as u64
    }

    pub(super) fn script(&self, acts: &[Act]) {
        self.state.lock().unwrap().acts.extend(acts);
    }

    fn repeated(&self) -> usize {
        let state = self.state.lock().unwrap();
        let copies: usize = state.arrived.values().map(Vec::len).sum();
        copies - state.arrived.len()
    }

    /// The bodies of all events; those of one id are the same.
    fn bodies(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let one = |copies: &Vec<String>| {
            let (first, again) = copies.split_first().unwrap();
            assert!(again.iter().all(|copy| copy == first));
            first.clone()
        };
        let mut bodies: Vec<_> = state.arrived.values().map(one).collect();
        bodies.sort();
        bodies
    }
}

async fn serve(mut socket: TcpStream, state: Arc<Mutex<State>>, pause: Duration) {
    let mut bytes = Vec::new();
    loop {
        let closes_first = {
            let acts = &mut state.lock().unwrap().acts;
            let closes = acts.front() == Some(&Act::CloseFirst);
            closes.then(|| acts.pop_front()).is_some()
        };
        if closes_first {
            return;
        }
        let Some(body) = request(&mut socket, &mut bytes).await else {
            return;
        };
        tokio::time::sleep(pause).await;
        let status = match state.lock().unwrap().serve(&body) {
            Some(status) => status,
            None => return,
        };
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl State {
    /// Takes the events of a request; the status of the answer, if it is to be answered.
    fn serve(&mut self, body: &[u8]) -> Option<u16> {
        let act = self.acts.pop_front();
        if let Some(Act::Refuse(status)) = act {
            return Some(status);
        }
        let text = std::str::from_utf8(body).unwrap();
        if let Some(poison) = &self.poison
            && text.contains(poison)
        {
            return Some(422);
        }
        let events: Vec<Value> = match text.starts_with('[') {
            true => serde_json::from_str(text).unwrap(),
            false => {
                let lines = text.lines().map(serde_json::from_str);
                lines.collect::<Result<_, _>>().unwrap()
            }
        };
        for event in events {
            let member = |name| event.get(name).unwrap();
            let id = member("event_id").as_str().unwrap().to_owned();
            let copies = self.arrived.entry(id).or_default();
            copies.push(member("event").to_string());
        }
        (act != Some(Act::CloseAfter)).then_some(200)
    }
}

async fn request(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some((body, end)) = first_request(bytes) {
            bytes.drain(..end);
            return Some(body);
        }
        if socket.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The body of the first request and where it ends, if it is all there.
fn first_request(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let start = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes.get(..start)?.to_vec()).unwrap();
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length: usize = length.map_or(0, |text| text.lines().next().unwrap().parse().unwrap());
    let body = bytes.get(start..start + length)?;
    Some((body.to_vec(), start + length))
}

const LOGS: [(&str, &str); 2] = [("siem-cg", "receipt"), ("audit", "")];

async fn bench(receivers: &[&Receiver], lines: &str) -> Bench {
    let bench = Bench::new().await;
    let mut text = format!("state_dir = {:?}\n", bench.state_dir());
    text.push_str(&bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"));
    let urls: Vec<_> = receivers
        .iter()
        .map(|receiver| format!("http://{}/in", receiver.address))
        .collect();
    text.push_str(&format!(
        "\n[[output]]\nname = \"lake\"\ntype = \"http\"\nurl = {urls:?}\ncarry = [\"events\"]\nbatch_events = 20\n{lines}\n"
    ));
    bench.write("config.toml", &text);
    bench
}

fn publish(bench: &Bench, count: usize) {
    for (log, event_type) in LOGS {
        bench.handle.publish("two", log, event_type, count).unwrap();
    }
}

fn published(bench: &Bench) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    for (log, event_type) in LOGS {
        let records = bench.handle.published("two", log, event_type).into_iter();
        let text = |record: Vec<u8>| serde_json::from_slice::<Value>(&record).unwrap();
        bodies.extend(records.map(|record| text(record).to_string()));
    }
    bodies.sort();
    bodies
}

async fn until(receiver: &Receiver, events: u64) {
    let all = || (receiver.distinct() >= events).then_some(());
    look_until("all events at the receiver", all).await;
}

#[tokio::test]
async fn resets_before_and_after_a_batch_was_taken_lose_nothing_and_repeat_that_batch_alone() {
    for body in ["ndjson", "json_array"] {
        let receiver = Receiver::start(Duration::ZERO).await;
        let bench = bench(&[&receiver], &format!("body = \"{body}\"")).await;
        receiver.script(&[
            Act::CloseFirst,
            Act::Refuse(503),
            Act::CloseAfter,
            Act::Refuse(429),
            Act::CloseFirst,
            Act::Refuse(408),
            Act::Refuse(404),
        ]);
        publish(&bench, 150);
        let collector = bench.run(600);
        until(&receiver, 300).await;
        collector.stop().await;
        assert_eq!(receiver.bodies(), published(&bench));
        let repeated = receiver.repeated();
        assert!((1..=20).contains(&repeated), "{repeated} repeated");
        bench.assert_no_violations();
    }
}

#[tokio::test]
async fn a_kill_9_repeats_what_was_out_at_most_and_a_server_that_fails_is_passed_over() {
    let ill = Receiver::start(Duration::ZERO).await;
    let well = Receiver::start(Duration::from_millis(2)).await;
    ill.script(&[Act::Refuse(500)]);
    let bench = bench(&[&ill, &well], "gzip = false").await;
    publish(&bench, 300);
    let collector = bench.run(600);
    until(&well, 200).await;
    collector.kill_9();
    let collector = bench.run(600);
    let both = || {
        let (a, b) = (ill.state.lock().unwrap(), well.state.lock().unwrap());
        let ids = a.arrived.keys().chain(b.arrived.keys());
        let ids: std::collections::BTreeSet<_> = ids.collect();
        (ids.len() == 600).then_some(())
    };
    look_until("all events at one of the receivers", both).await;
    collector.stop().await;
    let copies = |receiver: &Receiver| receiver.distinct() + receiver.repeated() as u64;
    let repeated = copies(&ill) + copies(&well) - 600;
    println!("1 kill, 600 events: 0 lost, {repeated} repeated");
    // A batch of each lane.
    assert!(repeated <= 2 * 20, "{repeated} repeated");
    bench.assert_no_violations();
}

#[tokio::test]
async fn one_event_that_is_refused_is_found_and_put_aside_and_a_refused_token_stops_the_output() {
    let receiver = Receiver::start(Duration::ZERO).await;
    let bench = bench(&[&receiver], "token = { file = \"secrets/lake\" }").await;
    bench.write("secrets/lake", "hunter2");
    publish(&bench, 50);
    let all = published(&bench);
    let bad: Value = serde_json::from_str(&all[37]).unwrap();
    // What no other event has.
    let mark = match bad.get("aggregateId") {
        Some(id) => id.to_string(),
        None => bad["id"].to_string(),
    };
    receiver.state.lock().unwrap().poison = Some(mark);
    receiver.script(&[Act::Refuse(401)]);
    let collector = bench.run(600);
    collector.logged(&["http/401"]).await;
    until(&receiver, 99).await;
    let line = collector.logged(&["it is put aside", "http/422"]).await;
    assert!(!line.contains("hunter2"));
    let shown = bench.ended(&["dead-letters", "show", "1"]).await.out;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let record = shown["entries"][0]["record"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(record).unwrap(), bad);
    collector.stop().await;
    assert_eq!((receiver.distinct(), receiver.repeated()), (99, 0));
    bench.assert_no_violations();
}
