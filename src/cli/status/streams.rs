//! The table of streams. Streams of one log type that are doing alike share a line, so that ten event types do not hide the one
//! that is in trouble.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::page::{Page, Tone, fit};
use super::problem::tone;
use crate::model::Timestamp;
use crate::status::{Condition, Phase, StreamReport};
use crate::units::{show_count, show_duration};

/// Widths of the columns behind the name, which gets what is left.
const COLUMNS: [usize; 4] = [9, 11, 13, 11];
const HEADER: [&str; 5] = ["LOG TYPE", "STATE", "NEXT POLL", "EVENTS", "BEHIND"];
const INDENT: usize = 2;
const GAP: usize = 2;

/// Writes a line for each log type, and one for each event type that differs from most of its log type.
pub(super) fn show_table<W: Write>(
    page: &mut Page<'_, W>,
    streams: &[StreamReport],
    credential: &Condition,
    now: Timestamp,
) -> io::Result<()> {
    if streams.is_empty() {
        return Ok(());
    }
    show_row(page, Tone::Strong, &HEADER.map(str::to_owned))?;
    for (log, streams) in by_log(streams) {
        for (label, group) in split(log, &streams) {
            let (state, next) = state(&group, credential, now);
            let cells = [
                label,
                state.to_owned(),
                next,
                show_count(group.iter().fold(0, |sum, s| s.events.saturating_add(sum))),
                behind(&group, now),
            ];
            let ill = group.iter().find(|s| s.condition.state != Phase::Healthy);
            let tone = ill.map_or(Tone::Plain, |s| tone(s.condition.state));
            show_row(page, tone, &cells)?;
        }
    }
    Ok(())
}

/// What is wrong with streams by themselves, each with the streams that share it.
pub(super) fn problems(streams: &[StreamReport]) -> Vec<(Vec<&str>, &Condition)> {
    let mut problems: Vec<(Vec<&str>, &Condition)> = Vec::new();
    let ill = |stream: &&StreamReport| stream.condition.state != Phase::Healthy;
    for stream in streams.iter().filter(ill) {
        let known = problems
            .iter_mut()
            .find(|(_, known)| alike(known, &stream.condition));
        match known {
            Some((names, _)) => names.push(name(stream)),
            None => problems.push((vec![name(stream)], &stream.condition)),
        }
    }
    problems
}

/// How long Mimecast still keeps all that is not fetched, and of which stream it is that it then deletes first.
pub(super) fn retention(streams: &[StreamReport], now: Timestamp) -> Option<(Duration, String)> {
    let left = |stream: &'_ StreamReport| stream.retention_left(now);
    let streams = streams.iter();
    let known = streams.filter_map(|stream| Some((left(stream)?, stream)));
    let (left, stream) = known.min_by_key(|(left, _)| *left)?;
    let name = match stream.event_type.as_str() {
        "" => stream.log.clone(),
        event_type => format!("{} {event_type}", stream.log),
    };
    Some((left, name))
}

/// Whether one explanation does for both.
fn alike(a: &Condition, b: &Condition) -> bool {
    (a.state, &a.key, &a.title) == (b.state, &b.key, &b.title)
}

fn name(stream: &StreamReport) -> &str {
    if stream.event_type.is_empty() {
        &stream.log
    } else {
        &stream.event_type
    }
}

fn by_log(streams: &[StreamReport]) -> BTreeMap<&str, Vec<&StreamReport>> {
    let mut logs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for stream in streams {
        logs.entry(stream.log.as_str()).or_default().push(stream);
    }
    logs
}

/// The lines of a log type: what most of its streams have in common, then each that differs.
fn split<'a>(log: &str, streams: &[&'a StreamReport]) -> Vec<(String, Vec<&'a StreamReport>)> {
    let like = |one: &StreamReport, other: &StreamReport| alike(&one.condition, &other.condition);
    let company = |one: &&&StreamReport| streams.iter().filter(|other| like(one, other)).count();
    // `max_by_key` takes the last of equals; the first one decides here.
    let Some(typical) = streams.iter().rev().max_by_key(company) else {
        return Vec::new();
    };
    let (most, others): (Vec<_>, Vec<_>) = streams.iter().partition(|other| like(typical, other));
    let label = match (most.len(), streams.len()) {
        (_, 1) => log.to_owned(),
        (n, all) if n == all => format!("{log} ({all} types)"),
        (n, all) => format!("{log} ({n} of {all} types)"),
    };
    let others = others
        .into_iter()
        .map(|stream| (format!("  {}", name(stream)), vec![stream]));
    std::iter::once((label, most)).chain(others).collect()
}

/// The state of streams that are alike, and when the next of them is asked for.
fn state(
    group: &[&StreamReport],
    credential: &Condition,
    now: Timestamp,
) -> (&'static str, String) {
    let own = group.first().map_or(Phase::Healthy, |s| s.condition.state);
    if own == Phase::Healthy && credential.state != Phase::Healthy {
        return ("waiting", countdown(credential.until, now));
    }
    if group.iter().any(|stream| stream.polling) {
        return (own.as_str(), "running".to_owned());
    }
    let next = |stream: &&StreamReport| match stream.condition.state {
        // Neither is asked before its condition ends.
        Phase::Blocked | Phase::Paused => stream.condition.until,
        Phase::Healthy | Phase::Renewing | Phase::Throttled | Phase::Retrying => {
            stream.next.max(stream.condition.until)
        }
    };
    (
        own.as_str(),
        countdown(group.iter().filter_map(next).min(), now),
    )
}

fn countdown(to: Option<Timestamp>, now: Timestamp) -> String {
    match to {
        Some(to) if to > now => show_duration(to.since(now)),
        Some(_) => "now".to_owned(),
        None => "-".to_owned(),
    }
}

/// How far the furthest behind of the streams is: whatever happened before its newest event, or before it last found the end,
/// is fetched.
fn behind(group: &[&StreamReport], now: Timestamp) -> String {
    let fetched = |stream: &&StreamReport| stream.last_success.max(stream.newest);
    match group.iter().map(fetched).min().flatten() {
        Some(fetched) => show_duration(now.since(fetched)),
        None => "unknown".to_owned(),
    }
}

fn show_row<W: Write>(page: &mut Page<'_, W>, tone: Tone, cells: &[String; 5]) -> io::Result<()> {
    let taken: usize = INDENT + COLUMNS.iter().map(|column| GAP + column).sum::<usize>();
    let first = page.width().saturating_sub(taken);
    let [name, state, next, events, behind] = cells;
    let [w1, w2, w3, w4] = COLUMNS;
    let line = format!(
        "{:INDENT$}{:first$}{:GAP$}{:w1$}{:GAP$}{:>w2$}{:GAP$}{:>w3$}{:GAP$}{:>w4$}",
        "",
        fit(name, first),
        "",
        fit(state, w1),
        "",
        fit(next, w2),
        "",
        fit(events, w3),
        "",
        fit(behind, w4),
    );
    page.line(tone, &line)
}
