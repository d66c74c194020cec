//! Every change that etcd has seen, and what must never be among them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mimecast_collector::http::{Connection, Purpose, client};
use serde_json::{Value, json};

use super::PREFIX;

/// A change of a key.
#[derive(Debug)]
struct Event {
    revision: u64,
    created: u64,
    key: String,
    /// `None` if it was deleted.
    value: Option<Vec<u8>>,
}

/// How the integrations went from node to node.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// By integration, how often it was taken by any node, the first time included.
    pub(super) taken: BTreeMap<String, usize>,
    /// By integration, how often it was taken although its owner had not handed it over.
    pub(super) torn: BTreeMap<String, usize>,
    /// Checkpoints that were written.
    pub(super) checkpoints: usize,
    /// The bytes of all of them.
    pub(super) bytes: usize,
}

/// Reads all changes up to `last` from a server, and goes through them.
pub(super) async fn judge(server: &str, last: u64) -> Moves {
    let mut moves = Moves::default();
    let mut owners: BTreeMap<String, u64> = BTreeMap::new();
    let mut shared: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    let events = events(server, last).await;
    for change in events.chunk_by(|one, other| one.revision == other.revision) {
        // What a transaction compared is what was there before it.
        let before = owners.clone();
        for event in change {
            if let Some(name) = name(&event.key, "owners") {
                match event.value {
                    None => drop(owners.remove(name)),
                    Some(_) if owners.contains_key(name) => {}
                    Some(_) => {
                        owners.insert(name.to_owned(), event.created);
                        *moves.taken.entry(name.to_owned()).or_default() += 1;
                        if shared.get(name).is_some_and(|(_, released)| !released) {
                            *moves.torn.entry(name.to_owned()).or_default() += 1;
                        }
                    }
                }
            }
            if let (Some(name), Some(value)) = (name(&event.key, "shared"), &event.value) {
                let record: Value = serde_json::from_slice(value).unwrap();
                let fence = record["fence"].as_u64().unwrap();
                assert_eq!(
                    before.get(name),
                    Some(&fence),
                    "the checkpoint of {name} was moved by somebody who did not own it, at revision {}",
                    event.revision
                );
                let released = record["released"].as_bool().unwrap();
                if let Some((earlier, _)) = shared.insert(name.to_owned(), (fence, released)) {
                    assert!(earlier <= fence, "{name}: {fence} after {earlier}");
                }
                moves.checkpoints += 1;
                moves.bytes += value.len();
            }
        }
    }
    moves
}

fn name<'a>(key: &'a str, kind: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(PREFIX)?.strip_prefix('/')?;
    rest.strip_prefix(kind)?.strip_prefix('/')
}

/// The changes of all keys, in order.
async fn events(server: &str, last: u64) -> Vec<Event> {
    let client = client(&Connection::default(), Purpose::Api).unwrap();
    let all = STANDARD.encode([0]);
    let watch = json!({ "create_request": {
        "key": all, "range_end": all, "start_revision": "1", "fragment": true,
    }});
    let request = client.post(format!("{server}/v3/watch"));
    let mut response = request.body(watch.to_string()).send().await.unwrap();
    let mut events: Vec<Event> = Vec::new();
    let mut bytes = Vec::new();
    while events.last().is_none_or(|event| event.revision < last) {
        bytes.extend(
            response
                .chunk()
                .await
                .unwrap()
                .expect("the watch ended early"),
        );
        while let Some(end) = memchr::memchr(b'\n', &bytes) {
            let line: Value = serde_json::from_slice(&bytes[..end]).unwrap();
            bytes.drain(..=end);
            let found = line["result"]["events"].as_array();
            events.extend(found.into_iter().flatten().map(event));
        }
    }
    events
}

fn event(event: &Value) -> Event {
    let kv = &event["kv"];
    let number = |field: &str| kv[field].as_str().map_or(0, |text| text.parse().unwrap());
    let bytes = |field: &str| STANDARD.decode(kv[field].as_str().unwrap_or_default());
    let is_deleted = event["type"] == "DELETE";
    Event {
        revision: number("mod_revision"),
        created: number("create_revision"),
        key: String::from_utf8(bytes("key").unwrap()).unwrap(),
        value: (!is_deleted).then(|| bytes("value").unwrap()),
    }
}
