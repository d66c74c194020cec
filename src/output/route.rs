//! What the configuration says of the way to an output: `integrations`, `logs`, `carry`, `from`.
//!
//! Tags are looked up here, so that a [`Route`] only has names and can be asked anywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Carry, From, IntegrationId, OutputId, Route};
use crate::settings::{Item, Table, did_you_mean, quoted};

/// What the integrations of the configuration are, as far as routes name it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Each of them.
    pub integrations: Vec<KnownIntegration>,
    /// Whether all of them could be read, so that a name that is not here is a mistake.
    pub whole: bool,
}

/// An integration of the configuration.
#[derive(Clone, Debug)]
pub struct KnownIntegration {
    /// Its name.
    pub id: IntegrationId,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The log types that are fetched.
    pub logs: BTreeSet<String>,
}

/// A route whose output is not named yet.
#[derive(Clone, Debug)]
pub(super) struct Way {
    integrations: Option<BTreeSet<IntegrationId>>,
    logs: Option<BTreeSet<String>>,
    carry: Option<Carry>,
    from: From,
}

/// What begins a choice by a tag: `tag.customer=acme`.
const TAG: &str = "tag.";

const FROM: &[(&str, From)] = &[("newest", From::Newest), ("oldest", From::Oldest)];

const KINDS: [&str; 3] = ["events", "alerts", "heartbeats"];

impl Way {
    /// Reads the keys of an output's route; what is wrong with them is noted.
    pub(super) fn read(table: &mut Table<'_>, known: &Known) -> Self {
        Self {
            integrations: table
                .find("integrations")
                .map(|item| integrations(&item, known)),
            logs: table.find("logs").map(|item| logs(&item, known)),
            carry: table.find("carry").map(|item| carry(&item)),
            from: table.one_of("from", FROM).unwrap_or_default(),
        }
    }

    /// The way to an output whose type carries `usual`, unless it is told.
    pub(super) fn to(self, output: OutputId, usual: Carry) -> Route {
        Route {
            output,
            integrations: self.integrations,
            logs: self.logs,
            carry: self.carry.unwrap_or(usual),
            from: self.from,
        }
    }
}

/// The elements of a list that is not empty; else notes what was expected.
fn elements<'a>(item: &Item<'a>, expected: &str) -> Vec<Item<'a>> {
    let elements = item.elements().unwrap_or_default();
    if elements.is_empty() {
        item.reject(format!("expected a list such as {expected}"));
    }
    elements
}

fn integrations(item: &Item<'_>, known: &Known) -> BTreeSet<IntegrationId> {
    let names = || known.integrations.iter().map(|one| one.id.as_str());
    let mut chosen = BTreeSet::new();
    for element in elements(item, "[\"acme-uk\", \"tag.customer=acme\"]") {
        let Some(text) = element.read::<String>() else {
            continue;
        };
        let fitting: Vec<_> = match text.strip_prefix(TAG).and_then(|tag| tag.split_once('=')) {
            Some((key, value)) => {
                let has =
                    |one: &&KnownIntegration| one.tags.get(key).is_some_and(|found| found == value);
                known.integrations.iter().filter(has).collect()
            }
            None => {
                let is = |one: &&KnownIntegration| one.id.as_str() == text;
                known.integrations.iter().filter(is).collect()
            }
        };
        if fitting.is_empty() && known.whole {
            let found = format!("{text:?}");
            element.reject(if text.starts_with(TAG) {
                format!("no integration has the tag {found}; a tag is written \"tag.KEY=VALUE\"")
            } else {
                format!(
                    "no integration is called {found}{}; there are {}",
                    did_you_mean(&text, names()),
                    quoted(names())
                )
            });
        }
        chosen.extend(fitting.into_iter().map(|one| one.id.clone()));
    }
    chosen
}

fn logs(item: &Item<'_>, known: &Known) -> BTreeSet<String> {
    let fetched: BTreeSet<&str> = known
        .integrations
        .iter()
        .flat_map(|one| one.logs.iter().map(String::as_str))
        .collect();
    let mut chosen = BTreeSet::new();
    for element in elements(item, "[\"siem-cg\", \"audit\"]") {
        let Some(text) = element.read::<String>() else {
            continue;
        };
        if !fetched.contains(text.as_str()) && known.whole {
            element.reject(format!(
                "no integration fetches {text:?}{}; fetched are {}",
                did_you_mean(&text, fetched.iter().copied()),
                quoted(fetched.iter().copied())
            ));
        }
        chosen.insert(text);
    }
    chosen
}

fn carry(item: &Item<'_>) -> Carry {
    let mut carry = Carry {
        events: false,
        alerts: false,
        heartbeats: false,
    };
    for element in elements(item, "[\"events\", \"alerts\", \"heartbeats\"]") {
        match element.read::<String>().as_deref() {
            Some("events") => carry.events = true,
            Some("alerts") => carry.alerts = true,
            Some("heartbeats") => carry.heartbeats = true,
            Some(other) => element.reject(format!(
                "unknown kind {other:?}{}; there are {}",
                did_you_mean(other, KINDS),
                quoted(KINDS)
            )),
            None => {}
        }
    }
    carry
}
