//! Indexer acknowledgement of the event collector, by indexers behind a load balancer that tells them apart by a cookie.

use std::collections::BTreeMap;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::answer::hec;
use super::call::Call;
use super::reply::Reply;
use super::world::World;

/// How the event collector acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HecAcks {
    /// Indexers behind the load balancer; each counts its batches from 0.
    pub indexers: usize,
    /// What they say when they are asked.
    pub confirms: Confirms,
}

/// What an indexer says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    /// Not yet, so many times; then that it has it.
    After(u32),
    /// Always that it has not.
    False,
    /// Nothing: the question is refused as by a server that is full.
    Never,
}

/// The batches of each indexer and channel, by how often each was asked about.
#[derive(Default)]
pub(super) struct Numbers {
    asked: BTreeMap<(usize, String), BTreeMap<u64, u32>>,
    given: BTreeMap<(usize, String), u64>,
    requests: usize,
}

#[derive(Deserialize)]
struct Question {
    acks: Vec<u64>,
}

/// The channel of a request, as a token with acknowledgement demands it.
pub(super) fn channel(call: &Call) -> Result<String, Reply> {
    match call.header("x-splunk-request-channel") {
        None => Err(hec(10, None)),
        Some(channel) if channel.len() == 36 => Ok(channel.to_owned()),
        Some(_) => Err(hec(11, None)),
    }
}

impl Numbers {
    /// The answer to a batch that was taken.
    pub(super) fn taken(&mut self, call: &Call, acks: HecAcks, channel: String) -> Reply {
        let (indexer, is_new) = self.indexer(call, acks);
        let key = (indexer, channel);
        let given = self.given.entry(key.clone()).or_default();
        let number = *given;
        *given += 1;
        self.asked.entry(key).or_default().insert(number, 0);
        let body = json!({"text": "Success", "code": 0, "ackId": number});
        stuck(Reply::json(200, &body), indexer, is_new)
    }

    pub(super) fn unconfirmed(&self) -> usize {
        self.asked.values().map(BTreeMap::len).sum()
    }

    /// By its cookie; a request without one goes to the next.
    fn indexer(&mut self, call: &Call, acks: HecAcks) -> (usize, bool) {
        let cookie = call.header("cookie").unwrap_or_default();
        let named = cookie
            .split("; ")
            .find_map(|pair| pair.strip_prefix("indexer="));
        if let Some(indexer) = named.and_then(|number| number.parse().ok())
            && indexer < acks.indexers
        {
            return (indexer, false);
        }
        self.requests += 1;
        (self.requests % acks.indexers.max(1), true)
    }

    fn answer(&mut self, call: &Call, acks: HecAcks, channel: String) -> Reply {
        let Ok(Question { acks: numbers }) = serde_json::from_slice(&call.body) else {
            return hec(6, None);
        };
        let (indexer, is_new) = self.indexer(call, acks);
        let known = self.asked.entry((indexer, channel)).or_default();
        let mut said = serde_json::Map::new();
        for number in numbers {
            let confirms = match (known.get_mut(&number), acks.confirms) {
                (Some(asked), Confirms::After(times)) => {
                    *asked += 1;
                    *asked > times
                }
                (Some(_), Confirms::False | Confirms::Never) | (None, _) => false,
            };
            if confirms {
                known.remove(&number);
            }
            said.insert(number.to_string(), confirms.into());
        }
        stuck(Reply::json(200, &json!({ "acks": said })), indexer, is_new)
    }
}

fn stuck(reply: Reply, indexer: usize, is_new: bool) -> Reply {
    if is_new {
        return reply.with("set-cookie", format!("indexer={indexer}; Path=/; HttpOnly"));
    }
    reply
}

/// Serves a question after numbers.
pub(super) fn serve(world: &World, call: &Call) -> Reply {
    let Some(acks) = world.options.hec_acks else {
        return hec(14, None);
    };
    if call.method != Method::POST {
        return Reply::empty(405).with("allow", "POST");
    }
    if acks.confirms == Confirms::Never {
        return hec(9, None);
    }
    match channel(call) {
        Ok(channel) => world.received().numbers().answer(call, acks, channel),
        Err(refused) => refused,
    }
}
