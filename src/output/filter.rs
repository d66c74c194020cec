//! What of an output's events it is not offered, and what it does not see of the others.
//!
//! [`Filtered`] stands around an output: it offers it the events that stay, with fields dropped or hashed, and reads the answer back
//! for the whole batch. So neither the worker nor any output knows of it. Bytes of a JSON object that stay are those that came, in
//! their order. An event that cannot be understood is never offered where a field of it should be hidden: it is put aside.

mod config;
mod fields;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

use std::sync::Arc;

use regex_lite::Regex;

use super::batch::{Batch, BatchLimits};
use super::{Delivery, Judge, Output, Receipt, Rejection, Verdict, Window, blocking};
use crate::clock::Clock;
use crate::model::{Carry, Record, Route};
use fields::Fields;

/// What an output is not offered and does not see; by default it is offered and sees everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterConfig {
    /// Events that one of these fits, and that must or must not go out.
    pub rules: Vec<Rule>,
    /// Fields that are taken out, as paths.
    pub drop_fields: Vec<String>,
    /// Fields whose values are replaced by keyed hashes, as paths.
    pub hash_fields: Vec<String>,
}

/// A question about one field of an event, and what follows from a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The field; a point leads into an object.
    pub field: String,
    /// The question.
    pub test: Test,
    /// What follows.
    pub then: Then,
}

/// A question about the value of a field. Of a list, one element must fit.
#[derive(Clone, Debug)]
pub enum Test {
    /// It is one of these.
    In(Vec<String>),
    /// It contains what the expression matches.
    Matches(Regex),
}

/// Two expressions are the same if they are written alike.
impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(a), Self::In(b)) => a == b,
            (Self::Matches(a), Self::Matches(b)) => a.as_str() == b.as_str(),
            (Self::In(_) | Self::Matches(_), _) => false,
        }
    }
}

impl Eq for Test {}

/// What follows when a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The event may go out; what no such rule fits may not.
    Keep,
    /// The event does not go out.
    Drop,
}

/// An output that is offered only what stays.
#[derive(Debug)]
pub struct Filtered<O> {
    inner: O,
    filter: Arc<Filter>,
}

#[derive(Debug)]
struct Filter {
    route: Route,
    config: FilterConfig,
    /// Of the hashes: the install id, so that equal values are equal here and mean nothing elsewhere.
    key: Vec<u8>,
}

/// What becomes of an event.
enum Fate {
    Stays(Record),
    Dropped,
    /// It cannot be understood, and something of it should be hidden.
    Unclear,
}

impl<O> Filtered<O> {
    /// Stands between `inner` and what goes to it by `route`; hashes are keyed by `key`.
    #[must_use]
    pub fn new(inner: O, route: Route, config: FilterConfig, key: &[u8]) -> Self {
        Self {
            inner,
            filter: Arc::new(Filter {
                route,
                config,
                key: key.to_vec(),
            }),
        }
    }
}

impl<O: Output> Output for Filtered<O> {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if self.filter.lets_all_pass(batch) {
            return self.inner.deliver(batch).await;
        }
        let (filter, whole) = (Arc::clone(&self.filter), batch.clone());
        let sifted = blocking(move || filter.sift(&whole)).await;
        if sifted.offered.is_empty() {
            return sifted.without_an_offer();
        }
        let offered = Batch::new(batch.lane().clone(), sifted.offered.clone());
        sifted.read_back(self.inner.deliver(&offered).await)
    }

    fn limits(&self) -> BatchLimits {
        self.inner.limits()
    }

    /// As if all of them were offered: those that are not leave room, and a filter must not be asked twice for that.
    fn fitting(&self, batch: &Batch) -> usize {
        self.inner.fitting(batch)
    }

    fn window(&self) -> Window {
        self.inner.window()
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        self.inner.confirmations(clock).await
    }
}

/// A batch without what does not go out.
struct Sifted {
    offered: Vec<Record>,
    /// Which of the whole batch these were; ascending.
    places: Vec<usize>,
    /// Events from the front that were looked at: all, or those before one that is unclear.
    looked_at: usize,
    unclear: bool,
}

impl Filter {
    fn lets_all_pass(&self, batch: &Batch) -> bool {
        match batch.own() {
            true => {
                let Carry {
                    alerts, heartbeats, ..
                } = self.route.carry;
                alerts && heartbeats && self.route.integrations.is_none() && !self.sifts_own()
            }
            false => self.config == FilterConfig::default(),
        }
    }

    /// Whether rules and fields are about the collector's own events: only where nothing else goes out, as they have other fields.
    fn sifts_own(&self) -> bool {
        !self.route.carry.events && self.config != FilterConfig::default()
    }

    fn sift(&self, batch: &Batch) -> Sifted {
        let mut sifted = Sifted {
            offered: Vec::with_capacity(batch.len()),
            places: Vec::with_capacity(batch.len()),
            looked_at: batch.len(),
            unclear: false,
        };
        for (place, record) in batch.records().iter().enumerate() {
            let fate = match batch.own() {
                true if !self.is_carried(record) => Fate::Dropped,
                true if !self.sifts_own() => Fate::Stays(record.clone()),
                _ => self.fate(record),
            };
            match fate {
                Fate::Stays(record) => {
                    sifted.offered.push(record);
                    sifted.places.push(place);
                }
                Fate::Dropped => {}
                Fate::Unclear => {
                    (sifted.looked_at, sifted.unclear) = (place, true);
                    break;
                }
            }
        }
        sifted
    }

    /// Whether an event of the collector's own is of a kind that goes out, and about an integration that the output is for.
    fn is_carried(&self, record: &Record) -> bool {
        let carry = self.route.carry;
        let kind = match &*record.kind {
            "heartbeat" => carry.heartbeats,
            _ => carry.alerts,
        };
        let Some(chosen) = &self.route.integrations else {
            return kind;
        };
        let fields = Fields::of(record);
        let about = |name| fields.as_ref().map(|f| f.values(name)).unwrap_or_default();
        let integrations = about("integration");
        let ours = match integrations.first() {
            Some(name) => chosen.iter().any(|id| id.as_str() == name),
            // One that is only for some tenants hears of itself, and of no other output.
            None => about("output")
                .iter()
                .any(|name| name == self.route.output.as_str()),
        };
        kind && ours
    }

    fn fate(&self, record: &Record) -> Fate {
        let hides = !self.config.drop_fields.is_empty() || !self.config.hash_fields.is_empty();
        let Some(fields) = Fields::of(record) else {
            let keeps = self.config.rules.iter().any(|rule| rule.then == Then::Keep);
            return match (hides, keeps) {
                (true, _) => Fate::Unclear,
                (false, true) => Fate::Dropped,
                (false, false) => Fate::Stays(record.clone()),
            };
        };
        if !self.goes_out(&fields) {
            return Fate::Dropped;
        }
        if !hides {
            return Fate::Stays(record.clone());
        }
        let (drop, hash) = (&self.config.drop_fields, &self.config.hash_fields);
        match fields.edited(drop, hash, &self.key) {
            Some(body) => Fate::Stays(Record {
                body: body.into_bytes().into(),
                ..record.clone()
            }),
            None => Fate::Stays(record.clone()),
        }
    }

    /// No rule drops it, and if there are rules that keep, one of them does.
    fn goes_out(&self, fields: &Fields<'_>) -> bool {
        let (mut kept, mut keeps) = (false, false);
        for rule in &self.config.rules {
            let fits = || {
                let values = fields.values(&rule.field);
                values.iter().any(|value| rule.test.fits(value))
            };
            match rule.then {
                Then::Drop if fits() => return false,
                Then::Drop => {}
                Then::Keep => {
                    keeps = true;
                    kept = kept || fits();
                }
            }
        }
        kept || !keeps
    }
}

impl Test {
    fn fits(&self, value: &str) -> bool {
        match self {
            Self::In(values) => values.iter().any(|one| one == value),
            Self::Matches(expression) => expression.is_match(value),
        }
    }
}

impl Sifted {
    /// What became of a batch of which nothing was offered.
    fn without_an_offer(&self) -> Delivery {
        if self.unclear && self.looked_at == 0 {
            let reason =
                "it is no JSON object, so the fields that the output must not see cannot be found";
            return Delivery::withheld(vec![Rejection {
                index: 0,
                reason: reason.to_owned(),
                judge: Judge::Collector,
            }]);
        }
        Delivery {
            accepted: self.looked_at,
            filtered: self.looked_at,
            ..Delivery::default()
        }
    }

    /// Where in the whole batch an offered event was.
    fn place(&self, offered: usize) -> usize {
        self.places.get(offered).copied().unwrap_or(self.looked_at)
    }

    /// The answer to what was offered, as one to the whole batch: what was dropped ahead of an event goes with it.
    fn read_back(&self, answer: Delivery) -> Delivery {
        let taken = answer.accepted.min(self.places.len());
        // A refusal ahead of which nothing was taken counts at once, so nothing ahead of it is passed.
        let refused = taken == 0 && !answer.rejected.is_empty();
        let accepted = if refused { 0 } else { self.place(taken) };
        let place = |refusal: Rejection| Rejection {
            index: self.place(refusal.index),
            ..refusal
        };
        Delivery {
            accepted,
            filtered: accepted - taken,
            rejected: answer.rejected.into_iter().map(place).collect(),
            failure: answer.failure,
            split: answer.split,
            pending: answer.pending.filter(|_| taken > 0),
        }
    }
}

#[cfg(test)]
mod tests;
