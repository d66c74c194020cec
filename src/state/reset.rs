//! A live stream sent back, so that it fetches a span of time again.
//!
//! Back only: what lies between where a stream stands and a later place would be passed over.

use std::time::Duration;

use super::{Document, Held, StateError};
use crate::mimecast::log_types::{self, LogType, Paging};
use crate::model::{StreamId, Timestamp};
use crate::store::StreamRecord;
use crate::units::show_duration;

/// What may be listed late: a place this near to what is fetched last could pass over events.
const LATE: Duration = Duration::from_hours(1);

/// Which streams go back, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The integration's name.
    pub integration: String,
    /// The log type's name; `None` for all.
    pub log: Option<String>,
    /// The moment to fetch from; `None` for the oldest that Mimecast keeps.
    pub to: Option<Timestamp>,
}

/// What a reset does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The streams, and from when on they fetch.
    streams: Vec<(StreamId, Timestamp)>,
    /// The same for people, a sentence a line.
    pub said: Vec<String>,
}

impl Held {
    /// Says what `wish` comes to.
    ///
    /// # Errors
    /// [`StateError::Refused`]: nothing of that name, or events would be passed over. The store's.
    pub async fn plan_reset(&self, wish: &Wish) -> Result<Plan, StateError> {
        plan(&self.document().await?, wish, self.clock.wall())
    }

    /// Sends the streams of a plan back.
    ///
    /// # Errors
    /// The store's; streams before the one that failed have gone back, and the same again does the rest.
    pub async fn reset(&self, plan: &Plan) -> Result<(), StateError> {
        for (stream, from) in &plan.streams {
            self.store.reset(stream, None, Some(*from)).await?;
        }
        Ok(())
    }
}

pub(super) fn plan(document: &Document, wish: &Wish, now: Timestamp) -> Result<Plan, StateError> {
    let live = || {
        let streams = document.streams.iter();
        streams.filter_map(|(name, place)| {
            let stream = StreamId::parse(name).filter(|stream| stream.replay.is_none())?;
            Some((stream, &place.record))
        })
    };
    let of_it: Vec<_> = live()
        .filter(|(stream, _)| stream.integration.as_str() == wish.integration)
        .collect();
    if of_it.is_empty() {
        let names = live().map(|(stream, _)| stream.integration.to_string());
        return Err(nothing("integration", &wish.integration, names));
    }
    let is_wanted = |log: &str| wish.log.as_deref().is_none_or(|wanted| wanted == log);
    let wanted: Vec<_> = of_it
        .iter()
        .filter(|(stream, _)| is_wanted(&stream.log))
        .collect();
    if let Some(log) = wish.log.as_deref().filter(|_| wanted.is_empty()) {
        let names = of_it.iter().map(|(stream, _)| stream.log.to_string());
        return Err(nothing("log", log, names));
    }
    let mut plan = Plan {
        streams: Vec::new(),
        said: Vec::new(),
    };
    for (stream, record) in wanted {
        let Some(row) = log_types::find(&stream.log) else {
            plan.said.push(format!(
                "{stream}: no log type of this version; it stays where it is"
            ));
            continue;
        };
        let (from, said) = back(stream, record, row, wish.to, now)?;
        plan.streams.push((stream.clone(), from));
        plan.said.push(said);
    }
    Ok(plan)
}

fn nothing(what: &str, name: &str, known: impl Iterator<Item = String>) -> StateError {
    let mut known: Vec<_> = known.collect();
    known.sort();
    known.dedup();
    let known = if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    StateError::Refused(format!("no {what} '{name}' has been polled; {known}"))
}

/// From when on a stream fetches, and what that repeats.
fn back(
    stream: &StreamId,
    record: &StreamRecord,
    row: &LogType,
    to: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Timestamp, String), StateError> {
    let oldest = now - row.look_back;
    let fetched = fetched(record).ok_or_else(|| {
        StateError::Refused(format!(
            "{stream} has not fetched anything yet: its first poll goes back as far as 'start' says"
        ))
    })?;
    let latest = fetched - LATE;
    if let Some(to) = to
        && to > latest
    {
        return Err(StateError::Refused(format!(
            "{stream} has everything up to {fetched}; a later place than {latest} could pass over events that are listed late: give \
             --to an earlier time"
        )));
    }
    let from = to.unwrap_or(oldest).max(oldest);
    let kept = show_duration(row.look_back);
    let span = show_duration(fetched.since(from));
    let said = match row.paging {
        Paging::Snapshot(..) => {
            format!("{stream}: lists what is there now: all of it is fetched again")
        }
        Paging::SiemFiles { .. } => format!(
            "{stream}: Mimecast lists its files from the oldest on: all that it keeps ({kept}) is fetched again"
        ),
        Paging::BatchFiles => format!(
            "{stream}: from the beginning of the day of {from} to {fetched} ({span}) is fetched again"
        ),
        Paging::Stream | Paging::Window(_) | Paging::Feed { .. } => {
            format!("{stream}: from {from} to {fetched} ({span}) is fetched again")
        }
    };
    let cut = to.filter(|to| *to < oldest).map_or_else(String::new, |to| {
        format!("; Mimecast keeps it for {kept}: what is between {to} and {oldest} is gone")
    });
    Ok((from, said + &cut))
}

/// Up to when everything is known to be fetched.
fn fetched(record: &StreamRecord) -> Option<Timestamp> {
    let poll = record.poll?;
    if poll.done {
        return record.fetched_until;
    }
    // What came before the first poll may still be on its way.
    let reached = record
        .newest
        .map(|newest| newest - LATE)
        .or(record.origin)?;
    Some(
        record
            .fetched_until
            .map_or(reached, |until| until.min(reached)),
    )
}
