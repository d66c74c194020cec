//! An exported state, put back: into the directory that it came from, or into an empty one.
//!
//! A stream goes on from where everything had been delivered when the document was written. So nothing is missing, whatever has
//! become of the lanes since; what waited then is fetched again, under the same event ids.

use std::path::Path;

use super::{Document, Held, StateError};
use crate::clock::Clock;
use crate::model::StreamId;
use crate::store::{self, Portable, StreamRecord};
use crate::units::show_count;

/// What an import does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What is put back.
    portable: Portable,
    /// The same for people, a sentence a line.
    pub said: Vec<String>,
}

/// Says what an import of `document` into the state directory would do; a directory that holds nothing is not touched.
///
/// # Errors
/// The directory is another installation's, or cannot be read.
pub async fn look(
    document: &Document,
    state_dir: &Path,
    clock: &Clock,
) -> Result<Plan, StateError> {
    super::is_ours(state_dir)?;
    if store::is_unused(state_dir) {
        return plan(document, None);
    }
    let held = Held::open(state_dir, clock.clone())?;
    let here = held.document().await;
    held.release().await?;
    plan(document, Some(&here?))
}

/// Imports `document`, and says what that did.
///
/// # Errors
/// As for [`look`], or what the disk says; then nothing has changed.
pub async fn run(document: &Document, state_dir: &Path, clock: &Clock) -> Result<Plan, StateError> {
    super::is_ours(state_dir)?;
    let unused = store::is_unused(state_dir);
    let held = if unused {
        Held::begin(state_dir, &document.installation, clock.clone())?
    } else {
        Held::open(state_dir, clock.clone())?
    };
    let plan = put_back(&held, document, unused).await;
    held.release().await?;
    plan
}

async fn put_back(held: &Held, document: &Document, unused: bool) -> Result<Plan, StateError> {
    let here = held.document().await?;
    let plan = plan(document, Some(&here).filter(|_| !unused))?;
    held.store.restore(plan.portable.clone()).await?;
    Ok(plan)
}

/// What importing `document` into a directory that stands as `here` says comes to; `None` is an empty one.
fn plan(document: &Document, here: Option<&Document>) -> Result<Plan, StateError> {
    if let Some(here) = here
        && here.installation != document.installation
    {
        return Err(StateError::Refused(format!(
            "the document is of the installation {}, the state directory of {}: import into the one that it came from, or into an \
             empty directory, for two may not collect with one state",
            document.installation, here.installation
        )));
    }
    let mut plan = Plan::default();
    let mut unchanged = 0_u64;
    for (name, place) in &document.streams {
        let Some(stream) = StreamId::parse(name) else {
            continue; // Refused where it was read.
        };
        if stream.replay.is_some() {
            plan.said.push(format!(
                "{name}: a replay is not taken over; begin it again: mimecast-collector replay"
            ));
            continue;
        }
        let known = here.and_then(|here| here.streams.get(name));
        if known.is_some_and(|known| known.record.cursor == place.delivered_until) {
            unchanged += 1;
            continue;
        }
        let until = |record: &StreamRecord| match record.fetched_until {
            Some(until) => format!("fetched until {until}"),
            None => "never polled".to_owned(),
        };
        let mut said = format!(
            "{name}: goes to the place of the document, {}",
            until(&place.record)
        );
        if let Some(known) = known {
            said.push_str(&format!(" (here: {})", until(&known.record)));
        }
        if place.delivered_until != place.record.cursor {
            said.push_str("; what waited for outputs then is fetched again");
        }
        plan.said.push(said);
        let record = StreamRecord {
            cursor: place.delivered_until.clone(),
            poll: place.record.poll,
            origin: place.record.origin,
            fetched_until: place.record.fetched_until,
            newest: place.record.newest,
            rhythm: place.record.rhythm,
            ..StreamRecord::default()
        };
        plan.portable.streams.insert(stream, record);
    }
    if unchanged > 0 {
        plan.said.push(format!(
            "{} streams stand where the document says, and stay",
            show_count(unchanged)
        ));
    }
    for (subject, state) in &document.states {
        if here.is_none_or(|here| !here.states.contains_key(subject)) {
            let health = &mut plan.portable.health;
            health.insert(subject.clone(), state.clone());
        }
    }
    plan.said.push(format!(
        "{} states of health are taken over; those that are known here stay",
        show_count(plan.portable.health.len() as u64)
    ));
    plan.said.extend(left_out(document, here.is_none()));
    Ok(plan)
}

/// What a document does not hold, and a person may miss.
fn left_out(document: &Document, elsewhere: bool) -> Vec<String> {
    let mut said = Vec::new();
    if !elsewhere {
        return said;
    }
    let own = document.outputs.iter();
    let own = own.filter(|place| place.lane.source().is_none() || place.lane.again_for().is_some());
    let own: u64 = own.map(|place| place.waiting).sum();
    if own > 0 {
        said.push(format!(
            "{} alerts, heartbeats or dead letters that were to be delivered are not in the document: they stay in the directory that \
             it came from",
            show_count(own)
        ));
    }
    if document.put_aside > 0 {
        said.push(format!(
            "{} records that were put aside are not in the document: they stay in quarantine/ of the directory that it came from",
            show_count(document.put_aside)
        ));
    }
    said
}
