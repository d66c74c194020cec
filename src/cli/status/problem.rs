//! What is wrong, in words: what happened, when it is tried again, what a person can do, what support asks for.

use super::page::Tone;
use crate::model::Timestamp;
use crate::status::{Condition, Phase};
use crate::units::show_duration;

/// The colour of a state.
pub(super) const fn tone(state: Phase) -> Tone {
    match state {
        Phase::Healthy => Tone::Good,
        Phase::Renewing | Phase::Throttled | Phase::Retrying => Tone::Passing,
        Phase::Paused | Phase::Blocked => Tone::Bad,
    }
}

/// The state, and for how long.
pub(super) fn show_condition(condition: &Condition, now: Timestamp) -> String {
    let state = condition.state.as_str();
    match condition.since {
        Some(since) => format!("{state} for {}", show_duration(now.since(since))),
        None => state.to_owned(),
    }
}

/// A paragraph each; none for what is healthy. `name` is what a person may resume.
pub(super) fn show_problem(condition: &Condition, name: &str, now: Timestamp) -> Vec<String> {
    if condition.state == Phase::Healthy {
        return Vec::new();
    }
    let mut said = vec![what(condition), next(condition, name, now)];
    if !condition.advice.is_empty() {
        said.push(format!("To do: {}", condition.advice));
    }
    said.push(support(condition));
    said.retain(|paragraph| !paragraph.is_empty());
    said
}

fn what(condition: &Condition) -> String {
    let key = condition.key.as_deref().unwrap_or_default();
    let mut what = format!("{key} {}", condition.title);
    if !condition.detail.is_empty() {
        what = format!("{what}: \"{}\"", condition.detail);
    }
    what.trim().to_owned()
}

fn next(condition: &Condition, name: &str, now: Timestamp) -> String {
    let failures = match condition.attempts {
        0 => String::new(),
        1 => ", after 1 failure".to_owned(),
        n => format!(", after {n} failures"),
    };
    match (condition.until, condition.state) {
        (Some(until), _) if until > now => {
            let left = show_duration(until.since(now));
            format!("Next attempt in {left}, at {}{failures}.", show_time(until))
        }
        (None, Phase::Blocked) => {
            format!("Not tried again by itself. Once mended: mimecast-collector resume {name}")
        }
        (None, Phase::Paused) => String::new(),
        (_, _) => format!("Next attempt now{failures}."),
    }
}

fn support(condition: &Condition) -> String {
    let endpoint = condition.endpoint.as_ref().map(|at| format!("At {at}"));
    let request = condition.request_id.as_ref();
    let request = request.map(|id| format!("request id {id}"));
    let parts: Vec<_> = [endpoint, request].into_iter().flatten().collect();
    parts.join(", ")
}

/// In UTC, to the second.
pub(super) fn show_time(time: Timestamp) -> String {
    time.calendar()
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}
