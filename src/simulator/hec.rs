//! A Splunk HTTP event collector that counts.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha1::{Digest as _, Sha1};

use super::answer::{Answer, hec};
use super::call::{AuthKind, Call};
use super::hec_ack::{self, Numbers};
use super::options::Keep;
use super::reply::Reply;
use super::token::media_type;
use super::world::World;

/// An event as the collector took it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HecEvent {
    /// Epoch seconds, as written; `None` if it was left to the collector.
    #[serde(default, deserialize_with = "time")]
    pub time: Option<String>,
    /// Shown as the event's host.
    pub host: Option<String>,
    /// Shown as its source.
    pub source: Option<String>,
    /// Its source type.
    pub sourcetype: Option<String>,
    /// The index it is for.
    pub index: Option<String>,
    /// The event, as written.
    #[serde(default, deserialize_with = "raw")]
    event: Option<Box<RawValue>>,
    /// Indexed fields.
    #[serde(default)]
    pub fields: BTreeMap<String, Value>,
}

impl HecEvent {
    /// The member `event`, as it was written.
    #[must_use]
    pub fn event(&self) -> &str {
        self.event.as_ref().map_or("", |event| event.get())
    }

    /// The field `event_id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.fields.get("event_id")?.as_str()
    }
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let number: Result<f64, _> = serde_json::from_str(raw.get());
    match number {
        Ok(seconds) if seconds >= 0.0 => Ok(Some(raw.get().to_owned())),
        Ok(_) | Err(_) => Err(serde::de::Error::custom("time is not a number of seconds")),
    }
}

/// Tells a `null` that stands there from nothing at all.
fn raw<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// All that was taken.
#[derive(Default)]
pub(super) struct Received {
    events: Vec<HecEvent>,
    counts: HashMap<u128, u32>,
    total: u64,
    without_id: u64,
    own: Vec<HecEvent>,
    numbers: Numbers,
}

/// The sourcetypes of what a collector says of itself begin so.
const OWN: &str = "mimecast:collector";

/// What the event collector has taken; clones look at the same. What a collector says of itself is kept apart.
#[derive(Clone)]
pub struct Hec(pub(super) Arc<World>);

impl Hec {
    /// Events taken, repeats included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.received().total
    }

    /// Different events taken, told apart by `fields.event_id`.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.0.received().counts.len() as u64
    }

    /// Events taken that had been taken before.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        let received = self.0.received();
        received.total - received.without_id - received.counts.len() as u64
    }

    /// Events taken that had no id.
    #[must_use]
    pub fn without_id(&self) -> u64 {
        self.0.received().without_id
    }

    /// How often an event was taken.
    #[must_use]
    pub fn count(&self, id: &str) -> u32 {
        let received = self.0.received();
        received.counts.get(&key(id)).copied().unwrap_or_default()
    }

    /// Batches that were taken and not yet confirmed to anyone.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.0.received().numbers.unconfirmed()
    }

    /// What a collector said of itself: alerts and heartbeats, in the order they were taken.
    #[must_use]
    pub fn of_the_collector(&self) -> Vec<HecEvent> {
        self.0.received().own.clone()
    }

    /// The events, in the order they were taken; none if only counts are kept.
    #[must_use]
    pub fn events(&self) -> Vec<HecEvent> {
        self.0.received().events.clone()
    }
}

impl Received {
    pub(super) fn numbers(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    fn take(&mut self, events: Vec<HecEvent>, keep: Keep) {
        for event in events {
            let kind = event.sourcetype.as_deref();
            if kind.is_some_and(|kind| kind.starts_with(OWN)) {
                self.own.push(event);
                continue;
            }
            self.total += 1;
            match event.id() {
                Some(id) => *self.counts.entry(key(id)).or_default() += 1,
                None => self.without_id += 1,
            }
            match keep {
                Keep::Events => self.events.push(event),
                Keep::Counts => {}
            }
        }
    }
}

/// An id in few bytes: read if it is 32 hexadecimal digits, else hashed.
fn key(id: &str) -> u128 {
    match u128::from_str_radix(id, 16) {
        Ok(key) if id.len() == 32 => key,
        Ok(_) | Err(_) => Sha1::digest(id.as_bytes())
            .iter()
            .take(16)
            .fold(0, |key, byte| key << 8 | u128::from(*byte)),
    }
}

/// Serves a request; `answer` is what a script wants said of it.
pub(super) fn serve(world: &World, call: &Call, answer: Option<&Answer>) -> Reply {
    if let Some(answer) = answer
        && answer.taken() == Some(0)
    {
        return answer.to(call, world.wall());
    }
    if is_health(&call.path) {
        return answer.map_or_else(|| hec(17, None), |answer| answer.to(call, world.wall()));
    }
    if is_ack(&call.path) {
        return hec_ack::serve(world, call);
    }
    if !is_versioned(&call.path, "/services/collector")
        && !is_versioned(&call.path, "/services/collector/event")
    {
        world.state().violation(call, "no such path");
        return Reply::empty(404);
    }
    let mut events = match events(world, call) {
        Ok(events) => events,
        Err(refused) => {
            if let Some(violation) = &refused.violation {
                world.state().violation(call, violation);
            }
            return refused.reply;
        }
    };
    let channel = match world.options.hec_acks.map(|_| hec_ack::channel(call)) {
        Some(Err(refused)) => return refused,
        Some(Ok(channel)) => Some(channel),
        None => None,
    };
    if let Some(number) = answer.and_then(Answer::taken) {
        events.truncate(number);
    }
    let mut received = world.received();
    received.take(events, world.options.hec_keeps);
    match (answer, world.options.hec_acks.zip(channel)) {
        (Some(answer), _) => answer.to(call, world.wall()),
        (None, Some((acks, channel))) => received.numbers().taken(call, acks, channel),
        (None, None) => hec(0, None),
    }
}

/// Whether a request asks after acknowledgements.
pub(super) fn is_ack(path: &str) -> bool {
    is_versioned(path, "/services/collector/ack")
}

/// Whether a request asks after the collector's health.
pub(super) fn is_health(path: &str) -> bool {
    is_versioned(path, "/services/collector/health")
}

/// Whether a path is that of an endpoint, with its version or without.
fn is_versioned(path: &str, endpoint: &str) -> bool {
    path.strip_suffix("/1.0").unwrap_or(path) == endpoint
}

struct Refused {
    reply: Reply,
    violation: Option<String>,
}

fn refused(reply: Reply, violation: &str) -> Refused {
    Refused {
        reply,
        violation: Some(violation.to_owned()),
    }
}

/// The events of a request, if it is right in every respect: a batch is taken whole or not at all.
fn events(world: &World, call: &Call) -> Result<Vec<HecEvent>, Refused> {
    if call.method != Method::POST {
        return Err(refused(
            Reply::empty(405).with("allow", "POST"),
            "events are sent by POST",
        ));
    }
    match call.authorization() {
        (AuthKind::None, _) => return Err(refused(hec(2, None), "no token")),
        (AuthKind::Splunk, token) if token == world.options.hec_token => {}
        // A wrong token is not a wrong client.
        (AuthKind::Splunk, _) => {
            return Err(Refused {
                reply: hec(4, None),
                violation: None,
            });
        }
        (AuthKind::Signed | AuthKind::Bearer | AuthKind::Basic | AuthKind::Other, _) => {
            return Err(refused(hec(3, None), "Authorization is not 'Splunk token'"));
        }
    }
    let body = body(world, call)?;
    let mut events = Vec::new();
    for event in serde_json::Deserializer::from_slice(&body).into_iter::<HecEvent>() {
        let number = events.len();
        let wrong = |code, what: &str| {
            let reply = hec(code, Some(number));
            refused(reply, &format!("event {number}: {what}"))
        };
        let event = event.map_err(|error| wrong(6, &error.to_string()))?;
        check(&event).map_err(|(code, what)| wrong(code, what))?;
        let indexes = &world.options.hec_indexes;
        if let Some(index) = &event.index
            && !indexes.is_empty()
            && !indexes.contains(index)
        {
            // A matter of configuration, not of the client.
            let reply = hec(7, Some(number));
            let violation = None;
            return Err(Refused { reply, violation });
        }
        events.push(event);
    }
    if events.is_empty() {
        return Err(refused(hec(5, None), "a body without events"));
    }
    Ok(events)
}

fn body(world: &World, call: &Call) -> Result<Vec<u8>, Refused> {
    let most = world.options.hec_max_body;
    let mut body = Vec::new();
    match call.header("content-encoding") {
        None | Some("identity") => body.extend(&call.body),
        Some("gzip") => {
            let limit = most as u64 + 1;
            let mut decoder = MultiGzDecoder::new(call.body.as_ref()).take(limit);
            let read = decoder.read_to_end(&mut body);
            read.map_err(|_| refused(hec(6, None), "the body is not gzip"))?;
        }
        Some(_) => {
            let what = "an unknown content encoding";
            return Err(refused(Reply::empty(415), what));
        }
    }
    if let Some(kind) = call.header("content-type")
        && !["application/json", "text/plain"].contains(&media_type(kind))
    {
        let what = "the content type is not application/json";
        return Err(refused(Reply::empty(415), what));
    }
    if body.len() > most {
        // The client learns the limit by this, so it has done nothing wrong.
        return Err(Refused {
            reply: Answer::html(413).to(call, world.wall()),
            violation: None,
        });
    }
    Ok(body)
}

fn check(event: &HecEvent) -> Result<(), (u16, &'static str)> {
    match event.event() {
        "" => return Err((12, "an event without its member 'event'")),
        "null" | "\"\"" => return Err((13, "a blank event")),
        _ => {}
    }
    let flat = |value: &Value| match value {
        Value::Null | Value::Object(_) => false,
        Value::Array(items) => items.iter().all(Value::is_string),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    if !event.fields.values().all(flat) {
        return Err((15, "a field that is not a plain value"));
    }
    Ok(())
}
