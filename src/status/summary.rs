//! The answer to the one question that everybody has: is data at risk, and is it for me to act?

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ClusterReport, Condition, IntegrationReport, LedgerReport, OutputReport, Phase, SpoolReport,
    StreamReport,
};
use crate::model::Timestamp;
use crate::units::{show_count, show_duration};

/// How long a failure that should pass may take until people hear of it.
const PATIENCE: Duration = Duration::from_mins(15);
/// How long before the vendor deletes logs people hear of it; all are kept for a week at least.
const SOON: Duration = Duration::from_hours(24);
/// Names that a sentence spells out.
const NAMES: usize = 3;

/// Whether somebody has to do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// In one word.
    pub level: Level,
    /// In one sentence, without a full stop.
    pub sentence: String,
}

/// Whether somebody has to do something, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No; what is wrong, if anything, should pass by itself.
    Ok,
    /// Yes, if only by a look.
    Attention,
    /// Yes, and today: the vendor has begun to delete what is not fetched, or does within a day.
    Critical,
}

impl Level {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Attention => "attention",
            Self::Critical => "critical",
        }
    }
}

impl Condition {
    /// Whether a person should look: it does not pass by itself, or should have passed by now.
    #[must_use]
    pub fn needs_attention(&self, now: Timestamp) -> bool {
        match self.state {
            Phase::Healthy => false,
            Phase::Renewing | Phase::Throttled | Phase::Retrying => {
                self.since.is_some_and(|since| now.since(since) >= PATIENCE)
            }
            Phase::Paused | Phase::Blocked => !self.expected,
        }
    }
}

pub(super) fn of(
    integrations: &[IntegrationReport],
    outputs: &[OutputReport],
    ledger: &LedgerReport,
    spool: SpoolReport,
    cluster: Option<&ClusterReport>,
    now: Timestamp,
) -> Summary {
    let mut sources = Troubled::default();
    let mut receivers = Troubled::default();
    let mut ends = Vec::new();
    for integration in integrations {
        let name = integration.name.as_str();
        let shared: Vec<_> = std::iter::once(&integration.condition)
            .chain(integration.resources.values())
            .collect();
        for condition in &shared {
            sources.note(name, condition, now);
        }
        let all_wait = shared.iter().any(|c| c.needs_attention(now));
        for stream in &integration.streams {
            sources.note(name, &stream.condition, now);
            let ends_soon = ends_soon(stream, now) && !stream.condition.expected;
            if ends_soon {
                sources.attention.insert(name);
            }
            if spool.disk_full || all_wait || ends_soon || stream.condition.needs_attention(now) {
                ends.push(stream.kept_until);
            }
        }
    }
    for output in outputs {
        receivers.note(output.name.as_str(), &output.condition, now);
    }

    let (sick, deaf) = (names(&sources.attention), names(&receivers.attention));
    let mut what = Vec::new();
    let mut risk = vec![risk(&ends, now)];
    if ledger.balances == Some(false) {
        what.push("not all that came in is accounted for".to_owned());
        // What is not accounted for may be lost.
        risk = vec!["mimecast-collector ledger says what differs".to_owned()];
    }
    if spool.disk_full {
        what.push("the disk of state_dir is full, and polling pauses until it has room".to_owned());
    }
    if cluster.is_some_and(|cluster| cluster.lease_left_s == 0) {
        // What another node does cannot be known from here.
        what.push("this node has no lease and collects nothing".to_owned());
    }
    if !sick.is_empty() {
        what.push(format!("not all logs of {sick} are fetched"));
    }
    if !deaf.is_empty() {
        what.push(format!("events do not reach {deaf}"));
        let waiting = outputs.iter().map(|output| output.backlog_events).max();
        risk.push(format!("{} wait on disk", events(waiting.unwrap_or(0))));
    }
    if what.is_empty() {
        return well(integrations.len(), outputs.len(), &sources, &receivers);
    }
    let urgent = ends.iter().flatten().any(|end| *end <= now + SOON);
    Summary {
        level: if urgent {
            Level::Critical
        } else {
            Level::Attention
        },
        sentence: format!("{}; {}", what.join(", "), risk.join(", ")),
    }
}

/// Whether half of the time is gone that Mimecast keeps what is not fetched, or less than a day is left where that is not known.
fn ends_soon(stream: &StreamReport, now: Timestamp) -> bool {
    let half = |seconds: u64| Duration::from_secs(seconds / 2);
    let soon = stream.retention_seconds.map_or(SOON, half);
    stream.kept_until.is_some_and(|end| end <= now + soon)
}

fn well(
    integrations: usize,
    outputs: usize,
    sources: &Troubled<'_>,
    receivers: &Troubled<'_>,
) -> Summary {
    let passing = names(&(&sources.passing | &receivers.passing));
    let rest = if passing.is_empty() {
        let integrations = counted(integrations, "integration");
        format!("{integrations} and {} are well", counted(outputs, "output"))
    } else {
        format!("what troubles {passing} should pass by itself")
    };
    Summary {
        level: Level::Ok,
        sentence: format!("no data is at risk; {rest}"),
    }
}

/// The names of those who have a trouble, by what it asks of people.
#[derive(Default)]
struct Troubled<'a> {
    attention: BTreeSet<&'a str>,
    passing: BTreeSet<&'a str>,
}

impl<'a> Troubled<'a> {
    fn note(&mut self, name: &'a str, condition: &Condition, now: Timestamp) {
        if condition.needs_attention(now) {
            self.attention.insert(name);
        } else if condition.state != Phase::Healthy && !condition.expected {
            self.passing.insert(name);
        }
    }
}

/// What becomes of logs that are not fetched, when the vendor keeps them until `ends`.
fn risk(ends: &[Option<Timestamp>], now: Timestamp) -> String {
    match ends.iter().flatten().min() {
        Some(end) if *end <= now => {
            "Mimecast may have begun to delete what is not fetched".to_owned()
        }
        _ if ends.contains(&None) => "nothing is known to be lost".to_owned(),
        None => "nothing is lost so far".to_owned(),
        Some(end) => {
            let left = show_duration(end.since(now));
            format!("nothing is lost so far, Mimecast keeps the rest for {left} more")
        }
    }
}

fn events(events: u64) -> String {
    let s = if events == 1 { "" } else { "s" };
    format!("{} event{s}", show_count(events))
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn names(names: &BTreeSet<&str>) -> String {
    let mut shown: Vec<_> = names.iter().take(NAMES).copied().collect();
    let more = names.len().saturating_sub(NAMES);
    if more > 0 {
        return format!("{} and {more} more", shown.join(", "));
    }
    let Some(last) = shown.pop() else {
        return String::new();
    };
    if shown.is_empty() {
        last.to_owned()
    } else {
        format!("{} and {last}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{IntegrationId, OutputId, StreamId};
    use crate::status::Status;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    fn minutes(n: u64) -> Duration {
        Duration::from_mins(n)
    }

    fn condition(state: Phase, since: Duration) -> Condition {
        Condition {
            state,
            since: Some(NOW - since),
            ..Condition::default()
        }
    }

    /// Two integrations and an output, all well.
    fn status() -> Status {
        let status = Status::new(Path::new("/var/lib/x"), NOW);
        for name in ["acme-uk", "acme-us"] {
            let stream = StreamId::new(&IntegrationId::new(name).unwrap(), "audit", "");
            status.stream(&stream, |s| s.kept_until = Some(NOW + minutes(60 * 24 * 6)));
        }
        status.output(&OutputId::new("splunk").unwrap(), |o| o.backlog_events = 7);
        status
    }

    fn block(status: &Status, name: &str) {
        status.integration(&IntegrationId::new(name).unwrap(), |i| {
            i.condition = condition(Phase::Blocked, minutes(1));
        });
    }

    fn said(status: &Status) -> (Level, String) {
        let Summary { level, sentence } = status.report(NOW).summary;
        (level, sentence)
    }

    #[test]
    fn well_is_said_with_what_is_well() {
        let sentence = "no data is at risk; 2 integrations and 1 output are well";
        assert_eq!(said(&status()), (Level::Ok, sentence.to_owned()));
    }

    #[test]
    fn a_short_failure_is_no_call_and_a_long_one_is() {
        let (status, output) = (status(), OutputId::new("splunk").unwrap());
        let fail = |since| {
            status.output(&output, |o| o.condition = condition(Phase::Retrying, since));
            said(&status)
        };
        let sentence = "no data is at risk; what troubles splunk should pass by itself";
        assert_eq!(fail(minutes(14)), (Level::Ok, sentence.to_owned()));
        let sentence = "events do not reach splunk; nothing is lost so far, 7 events wait on disk";
        assert_eq!(fail(minutes(15)), (Level::Attention, sentence.to_owned()));
    }

    #[test]
    fn a_blocked_credential_says_how_much_time_there_is() {
        let status = status();
        block(&status, "acme-uk");
        let sentence = "not all logs of acme-uk are fetched; nothing is lost so far, Mimecast keeps the rest for 6 d more";
        assert_eq!(said(&status), (Level::Attention, sentence.to_owned()));
    }

    #[test]
    fn a_stream_that_falls_too_far_behind_is_no_good_news_however_healthy() {
        let status = status();
        let stream = StreamId::new(&IntegrationId::new("acme-uk").unwrap(), "audit", "");
        status.stream(&stream, |s| s.kept_until = Some(NOW + minutes(60)));
        let sentence = "not all logs of acme-uk are fetched; nothing is lost so far, Mimecast keeps the rest for 1 h more";
        assert_eq!(said(&status), (Level::Critical, sentence.to_owned()));
        status.stream(&stream, |s| s.kept_until = Some(NOW));
        let sentence = "not all logs of acme-uk are fetched; Mimecast may have begun to delete what is not fetched";
        assert_eq!(said(&status).1, sentence);
    }

    #[test]
    fn what_is_not_known_is_not_promised() {
        let status = status();
        block(&status, "acme-uk");
        let stream = StreamId::new(&IntegrationId::new("acme-uk").unwrap(), "siem-cg", "av");
        status.stream(&stream, |_| {});
        let sentence = "not all logs of acme-uk are fetched; nothing is known to be lost";
        assert_eq!(said(&status).1, sentence);
    }

    #[test]
    fn books_that_do_not_balance_are_no_good_news_however_healthy_all_is() {
        let status = status();
        let ledger = |differences| LedgerReport::of(NOW, "x".to_owned(), differences, Vec::new());
        status.ledger(ledger(Vec::new()));
        assert_eq!(said(&status).0, Level::Ok);
        status.ledger(ledger(vec!["one event too few".to_owned()]));
        let sentence =
            "not all that came in is accounted for; mimecast-collector ledger says what differs";
        assert_eq!(said(&status), (Level::Attention, sentence.to_owned()));
    }

    #[test]
    fn a_full_disk_stops_polling_and_is_the_first_thing_said() {
        let status = status();
        let spool = |disk_full| {
            status.spool(SpoolReport {
                disk_full,
                ..SpoolReport::default()
            });
            said(&status)
        };
        let sentence = "the disk of state_dir is full, and polling pauses until it has room; nothing is lost so far, Mimecast keeps the \
             rest for 6 d more";
        assert_eq!(spool(true), (Level::Attention, sentence.to_owned()));
        assert_eq!(spool(false).0, Level::Ok);
    }

    #[test]
    fn a_node_without_a_lease_is_no_good_news_and_one_that_etcd_left_a_moment_ago_is() {
        let status = status();
        let cluster = |lease_left_s| ClusterReport {
            lease_left_s,
            ..ClusterReport::default()
        };
        status.cluster(cluster(3));
        assert_eq!(said(&status).0, Level::Ok);
        status.cluster(cluster(0));
        let sentence = "this node has no lease and collects nothing; nothing is lost so far";
        assert_eq!(said(&status), (Level::Attention, sentence.to_owned()));
    }

    #[test]
    fn many_names_are_counted() {
        let status = status();
        for name in ["a", "b", "c", "d", "e"] {
            block(&status, name);
        }
        assert!(said(&status).1.contains("of a, b, c and 2 more are"));
    }
}
