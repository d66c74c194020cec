//! What every task is doing, in one place.
//!
//! Pollers and output workers write here, and nobody else does; the control socket and the web page read. Besides the
//! present it keeps a day of points for plots and the recent changes of state, all in bounded memory. The registry knows neither who feeds it
//! nor how: it keeps what it is told, in an order that does not change, and answers with a [`Report`]. Nothing
//! decides by it, so it may be a moment behind.

mod changes;
mod cluster;
mod dead;
mod history;
mod latency;
mod ledger;
mod replay;
mod report;
mod summary;
mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use changes::Change;
pub use cluster::{ClusterReport, HeldBack, NodeReport, OwnerReport, RegistryTrouble};
pub use dead::{DeadLetter, DeadLetters};
pub use history::{History, Whose};
pub use latency::Latency;
pub use ledger::{Counts, LedgerReport};
pub use replay::ReplayReport;
pub use report::{
    Condition, IntegrationReport, LastRequest, OutputReport, Phase, RateReport, Report,
    SpoolReport, StreamReport,
};
pub use summary::{Level, Summary};

use crate::model::{IntegrationId, OutputId, StreamId, Timestamp};

/// A handle to the registry; clones share it.
#[derive(Clone, Debug)]
pub struct Status {
    state_dir: Arc<PathBuf>,
    started: Timestamp,
    board: Arc<Mutex<Board>>,
    /// Counts changes of state.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Board {
    integrations: BTreeMap<IntegrationId, Integration>,
    outputs: BTreeMap<OutputId, OutputReport>,
    spool: SpoolReport,
    quarantined: u64,
    ledger: LedgerReport,
    cluster: Option<ClusterReport>,
    changes: changes::Changes,
    history: history::Rings,
    waiting: BTreeMap<OutputId, waiting::Marks>,
}

/// An integration's report, whose streams are kept by name until somebody asks.
#[derive(Debug)]
struct Integration {
    report: IntegrationReport,
    streams: BTreeMap<StreamId, StreamReport>,
}

impl Status {
    /// An empty registry of a process that uses `state_dir` and began at `started`.
    #[must_use]
    pub fn new(state_dir: &Path, started: Timestamp) -> Self {
        Self {
            state_dir: Arc::new(state_dir.to_owned()),
            started,
            board: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Changes what is said of an integration, its streams aside; one that is new is added. The closure
    /// runs under the registry's lock, so it only assigns.
    pub fn integration(&self, id: &IntegrationId, change: impl FnOnce(&mut IntegrationReport)) {
        let mut board = self.board();
        let report = &mut board.integration(id).report;
        let before = (report.condition.clone(), report.resources.clone());
        change(report);
        let after = (report.condition.clone(), report.resources.clone());
        let mut noted = board.changes.note(|| id.to_string(), &before.0, &after.0);
        let well = Condition::default();
        for (resource, condition) in &after.1 {
            let before = before.1.get(resource).unwrap_or(&well);
            let subject = || format!("{id} {resource}");
            noted |= board.changes.note(subject, before, condition);
        }
        drop(board);
        self.tell(noted);
    }

    /// Changes what is said of a stream; as [`Status::integration`].
    pub fn stream(&self, id: &StreamId, change: impl FnOnce(&mut StreamReport)) {
        let mut board = self.board();
        let streams = &mut board.integration(&id.integration).streams;
        let report = streams
            .entry(id.clone())
            .or_insert_with(|| StreamReport::new(id));
        let before = report.condition.clone();
        change(report);
        let after = report.condition.clone();
        let noted = board.changes.note(|| id.to_string(), &before, &after);
        drop(board);
        self.tell(noted);
    }

    /// Counts a step of a poll.
    pub fn polled(&self, id: &StreamId) {
        self.stream(id, |stream| stream.polls += 1);
    }

    /// Counts a step that failed, by the key of its failure.
    pub fn failed(&self, id: &StreamId, key: &str) {
        self.stream(id, |stream| stream.count_failure(key));
    }

    /// Changes what is said of an output; as [`Status::integration`].
    pub fn output(&self, id: &OutputId, change: impl FnOnce(&mut OutputReport)) {
        let mut board = self.board();
        let report = board
            .outputs
            .entry(id.clone())
            .or_insert_with(|| OutputReport::new(id));
        let before = report.condition.clone();
        change(report);
        let after = report.condition.clone();
        let subject = || format!("output {id}");
        let noted = board.changes.note(subject, &before, &after);
        drop(board);
        self.tell(noted);
    }

    fn tell(&self, noted: bool) {
        if noted {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Tells of each change of state from now on; who is told of one calls [`Status::stamp`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Dates the changes of state since the last call with `now`.
    pub fn stamp(&self, now: Timestamp) {
        self.board().changes.stamp(now);
    }

    /// Takes a report down as the end of its minute.
    pub fn remember(&self, report: &Report) {
        let mut board = self.board();
        board.history.note(report);
        let Board {
            waiting, outputs, ..
        } = &mut *board;
        waiting.retain(|id, _| outputs.contains_key(id));
        for output in &report.outputs {
            let marks = waiting.entry(output.name.clone()).or_default();
            marks.note(report.now, output);
        }
    }

    /// What is remembered of the last 24 hours; `None` if nothing is.
    #[must_use]
    pub fn history(&self, whose: &Whose) -> Option<History> {
        self.board().history.of(whose)
    }

    /// Fills in what follows from the counts of a report, when these are in: how far each integration is behind, how much time
    /// there is for each stream, the sums of the ledger, how long the oldest event has waited for each output, and what all of it
    /// comes to.
    pub fn complete(&self, report: &mut Report) {
        for integration in &mut report.integrations {
            let behind = integration.behind(report.now);
            integration.behind_s = behind.map(|behind| behind.as_secs());
            for stream in &mut integration.streams {
                let left = stream.retention_left(report.now);
                stream.retention_left_s = left.map(|left| left.as_secs());
                report.ledger.totals.add(&stream.counts);
            }
        }
        let board = self.board();
        for output in &mut report.outputs {
            output.dead_letters = report.dead_letters.waiting(&output.name);
            let since = match board.waiting.get(&output.name) {
                Some(marks) => marks.oldest(output),
                None => None,
            };
            output.backlog_age_s = (output.backlog_events > 0)
                .then(|| report.now.since(since.unwrap_or(self.started)).as_secs());
        }
        let (integrations, outputs) = (&report.integrations, &report.outputs);
        let (ledger, cluster) = (&report.ledger, report.cluster.as_ref());
        let spool = report.spool;
        report.summary = summary::of(integrations, outputs, ledger, spool, cluster, report.now);
    }

    /// Forgets an integration and its streams, once its task has ended.
    pub fn remove_integration(&self, id: &IntegrationId) {
        self.board().integrations.remove(id);
    }

    /// Forgets an output, once its task has ended.
    pub fn remove_output(&self, id: &OutputId) {
        self.board().outputs.remove(id);
    }

    /// Says how full the spool is.
    pub fn spool(&self, spool: SpoolReport) {
        self.board().spool = spool;
    }

    /// Says how many records lie in quarantine, of all streams and outputs together.
    pub fn quarantined(&self, records: u64) {
        self.board().quarantined = records;
    }

    /// Says whether the books balance.
    pub fn ledger(&self, ledger: LedgerReport) {
        self.board().ledger = ledger;
    }

    /// Says how the cluster is doing.
    pub fn cluster(&self, cluster: ClusterReport) {
        self.board().cluster = Some(cluster);
    }

    /// The outputs as they stand, for who asks of nothing else: a report of a thousand integrations has megabytes.
    #[must_use]
    pub fn outputs(&self) -> Vec<OutputReport> {
        self.board().outputs.values().cloned().collect()
    }

    /// Everything as it stands at `now`.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> Report {
        let mut board = self.board();
        board.changes.stamp(now);
        let integrations: Vec<_> = board
            .integrations
            .values()
            .map(|entry| IntegrationReport {
                streams: entry.streams.values().cloned().collect(),
                ..entry.report.clone()
            })
            .collect();
        let outputs: Vec<_> = board.outputs.values().cloned().collect();
        Report {
            version: Report::VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: self.state_dir.display().to_string(),
            started: self.started,
            now,
            summary: summary::of(
                &integrations,
                &outputs,
                &board.ledger,
                board.spool,
                board.cluster.as_ref(),
                now,
            ),
            integrations,
            outputs,
            spool: board.spool,
            quarantined: board.quarantined,
            changes: board.changes.newest_first(),
            changes_count: board.changes.count(),
            ledger: board.ledger.clone(),
            dead_letters: DeadLetters::default(),
            cluster: board.cluster.clone(),
        }
    }

    /// A writer that panicked leaves a report half changed, which is still the best there is.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn integration(&mut self, id: &IntegrationId) -> &mut Integration {
        self.integrations
            .entry(id.clone())
            .or_insert_with(|| Integration {
                report: IntegrationReport::new(id),
                streams: BTreeMap::new(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    fn status() -> Status {
        Status::new(Path::new("/var/lib/x"), NOW)
    }

    fn id(name: &str) -> IntegrationId {
        IntegrationId::new(name).unwrap()
    }

    #[test]
    fn the_sentence_says_how_much_waits() {
        let status = status();
        let output = OutputId::new("splunk").unwrap();
        let since = NOW - std::time::Duration::from_hours(1);
        status.output(&output, |output| {
            output.condition.state = Phase::Retrying;
            output.condition.since = Some(since);
        });
        let mut report = status.report(NOW);
        report.outputs[0].backlog_events = 7;
        status.complete(&mut report);
        let sentence = &report.summary.sentence;
        assert!(sentence.contains("7 events wait on disk"), "{sentence}");
    }

    #[test]
    fn a_report_is_in_the_order_of_names_whoever_wrote_first() {
        let status = status();
        for name in ["b", "a"] {
            for log in ["siem-cg", "audit"] {
                status.stream(&StreamId::new(&id(name), log, ""), |stream| {
                    stream.events += 1;
                });
            }
            status.output(&OutputId::new(name).unwrap(), |output| output.accepted += 1);
        }
        let report = status.report(NOW);
        let streams: Vec<_> = report
            .integrations
            .iter()
            .flat_map(|i| {
                i.streams
                    .iter()
                    .map(move |s| format!("{}/{}", i.name, s.log))
            })
            .collect();
        assert_eq!(streams, ["a/audit", "a/siem-cg", "b/audit", "b/siem-cg"]);
        let outputs: Vec<_> = report.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(outputs, ["a", "b"]);
    }

    #[test]
    fn what_was_removed_is_not_reported() {
        let status = status();
        status.stream(&StreamId::new(&id("a"), "audit", ""), |_| {});
        status.remove_integration(&id("a"));
        assert_eq!(status.report(NOW).integrations, []);
    }

    #[test]
    fn a_panic_of_one_writer_does_not_silence_the_others() {
        let status = status();
        let writer = status.clone();
        let panicked = std::thread::spawn(move || {
            writer.integration(&id("a"), |_| panic!("a bug"));
        });
        assert!(panicked.join().is_err());
        status.integration(&id("a"), |report| report.api = "2.0".to_owned());
        assert_eq!(status.report(NOW).integrations[0].api, "2.0");
    }

    #[test]
    fn the_first_sentence_knew_nothing_of_what_the_store_counts() {
        let status = status();
        status.stream(&StreamId::new(&id("a"), "audit", ""), |_| {});
        status.output(&OutputId::new("splunk").unwrap(), |output| {
            output.condition = Condition {
                state: Phase::Blocked,
                ..Condition::default()
            };
        });
        let mut report = status.report(NOW);
        report.outputs[0].backlog_events = 5;
        report.integrations[0].streams[0].kept_until = Some(NOW);
        status.complete(&mut report);
        let summary = &report.summary;
        assert_eq!(summary.level, Level::Critical);
        assert!(
            summary.sentence.ends_with("5 events wait on disk"),
            "{}",
            summary.sentence
        );
    }

    #[test]
    fn a_report_survives_the_way_through_the_socket() {
        let status = status();
        status.stream(&StreamId::new(&id("a"), "siem-cg", "av"), |stream| {
            stream.condition = Condition {
                state: Phase::Retrying,
                until: Some(NOW),
                key: Some("transport/timeout".to_owned()),
                ..Condition::default()
            };
        });
        let report = status.report(NOW);
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""condition":{"state":"retrying","until":1767690487000"#));
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
