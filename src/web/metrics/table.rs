//! THE table of metrics.

use super::Process;
use crate::model::Timestamp;
use crate::status::{
    ClusterReport, Condition, IntegrationReport, Level, OutputReport, Phase, RateReport, Report,
    StreamReport,
};

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, without the suffix `_total` that counters have.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// Its unit, which its name ends with; empty for plain counts.
    pub unit: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Where its values come from.
    pub(super) values: Values,
}

/// What the values of a metric do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Whole(u64),
    /// Thousandths.
    Thousandths(u64),
}

/// Where the values of a metric come from; what gives `None` has no sample.
#[derive(Debug)]
pub(super) enum Values {
    /// The program's version, as a label.
    Version,
    Process(fn(&Process) -> Option<Number>),
    Whole(fn(&Report) -> Option<Number>),
    Integration(fn(&IntegrationReport, Timestamp) -> Option<Number>),
    /// How often a function may be called for an integration.
    Rate(fn(&RateReport) -> Option<Number>),
    Stream(fn(&StreamReport, Timestamp) -> Option<Number>),
    /// Failures of a stream, by code.
    Failures,
    Output(fn(&OutputReport, Timestamp) -> Option<Number>),
    /// Deliveries of an output, by the time they took.
    Deliveries,
    /// Of several collectors; no sample of one by itself.
    Cluster(fn(&ClusterReport) -> Option<Number>),
}

impl Values {
    /// The labels that each sample has.
    pub(super) const fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Version => &["version"],
            Self::Process(_) | Self::Whole(_) | Self::Cluster(_) => &[],
            Self::Integration(_) => &["integration"],
            Self::Rate(_) => &["integration", "resource"],
            Self::Stream(_) => &["integration", "log", "event_type"],
            Self::Failures => &["integration", "log", "event_type", "code"],
            Self::Output(_) => &["output"],
            Self::Deliveries => &["output", "le"],
        }
    }
}

const fn whole(number: u64) -> Option<Number> {
    Some(Number::Whole(number))
}

fn ago(then: Option<Timestamp>, now: Timestamp) -> Option<Number> {
    let millis = now.since(then?).as_millis();
    Some(Number::Thousandths(
        u64::try_from(millis).unwrap_or(u64::MAX),
    ))
}

const fn of_files(stream: &StreamReport, count: u64) -> Option<Number> {
    if stream.counts.files_listed == 0 {
        return None;
    }
    whole(count)
}

const fn state(condition: &Condition) -> Option<Number> {
    whole(match condition.state {
        Phase::Healthy => 0,
        Phase::Renewing => 1,
        Phase::Throttled => 2,
        Phase::Retrying => 3,
        Phase::Paused => 4,
        Phase::Blocked => 5,
    })
}

fn drifting(cluster: &ClusterReport) -> u64 {
    cluster.nodes.iter().filter(|node| node.drifts).count() as u64
}

/// How many integrations this node owns, or nobody.
fn owned(cluster: &ClusterReport, by_us: bool) -> u64 {
    let owner = by_us.then_some(&cluster.node);
    let owners = cluster.integrations.iter().map(|i| i.owner.as_ref());
    owners.filter(|found| *found == owner).count() as u64
}

fn held_back(cluster: &ClusterReport) -> u64 {
    let held_back = cluster.integrations.iter().flat_map(|i| &i.held_back);
    held_back.map(|held_back| held_back.events).sum()
}

/// Every metric, in the order in which they are answered.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "mimecast_collector_health",
        kind: Kind::Gauge,
        unit: "",
        help: "Whether data is at risk: 0 no, 1 a person should look, 2 Mimecast deletes what is not fetched within a day.",
        values: Values::Whole(|report| {
            whole(match report.summary.level {
                Level::Ok => 0,
                Level::Attention => 1,
                Level::Critical => 2,
            })
        }),
    },
    Metric {
        name: "mimecast_collector_build",
        kind: Kind::Gauge,
        unit: "",
        help: "1, with the version of the program.",
        values: Values::Version,
    },
    Metric {
        name: "mimecast_collector_uptime_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Time since the start of the program.",
        values: Values::Whole(|report| ago(Some(report.started), report.now)),
    },
    Metric {
        name: "mimecast_collector_state_changes",
        kind: Kind::Counter,
        unit: "",
        help: "Changes of state of credentials, functions, log types and outputs since the start of the program.",
        values: Values::Whole(|report| whole(report.changes_count)),
    },
    Metric {
        name: "mimecast_collector_ledger_balances",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if all that came in is accounted for, 0 if a sum of the ledger differs; absent in the first moments of the program.",
        values: Values::Whole(|report| {
            report
                .ledger
                .balances
                .map(|balances| Number::Whole(balances.into()))
        }),
    },
    Metric {
        name: "mimecast_collector_credential_state",
        kind: Kind::Gauge,
        unit: "",
        help: "How the credential of an integration is doing: 0 healthy, 1 renewing, 2 throttled, 3 retrying, 4 paused, 5 blocked.",
        values: Values::Integration(|integration, _| state(&integration.condition)),
    },
    Metric {
        name: "mimecast_collector_backlog_events",
        kind: Kind::Gauge,
        unit: "",
        help: "Events of an integration that wait for the output that has the most of them to take.",
        values: Values::Integration(|integration, _| whole(integration.backlog_events)),
    },
    Metric {
        name: "mimecast_collector_rate_limit_left_calls",
        kind: Kind::Gauge,
        unit: "",
        help: "Calls of a function that Mimecast still takes with the credential of an integration. Those with the same credential have the same.",
        values: Values::Rate(|rate| whole(rate.left.into())),
    },
    Metric {
        name: "mimecast_collector_rate_limit_calls",
        kind: Kind::Gauge,
        unit: "",
        help: "Calls of a function that Mimecast takes in a window; absent where it is not known.",
        values: Values::Rate(|rate| rate.limit.and_then(|limit| whole(limit.into()))),
    },
    Metric {
        name: "mimecast_collector_state",
        kind: Kind::Gauge,
        unit: "",
        help: "How a log type is doing by itself: 0 healthy, 1 renewing, 2 throttled, 3 retrying, 4 paused, 5 blocked.",
        values: Values::Stream(|stream, _| state(&stream.condition)),
    },
    Metric {
        name: "mimecast_collector_events",
        kind: Kind::Counter,
        unit: "",
        help: "Events stored since the state directory began.",
        values: Values::Stream(|stream, _| whole(stream.events)),
    },
    Metric {
        name: "mimecast_collector_event_bytes",
        kind: Kind::Counter,
        unit: "bytes",
        help: "Bytes of the events stored since the state directory began.",
        values: Values::Stream(|stream, _| whole(stream.bytes)),
    },
    Metric {
        name: "mimecast_collector_records_read",
        kind: Kind::Counter,
        unit: "",
        help: "Records read, since the log type is counted for the ledger.",
        values: Values::Stream(|stream, _| whole(stream.counts.read)),
    },
    Metric {
        name: "mimecast_collector_records_known",
        kind: Kind::Counter,
        unit: "",
        help: "Records read that were stored already.",
        values: Values::Stream(|stream, _| whole(stream.counts.known)),
    },
    Metric {
        name: "mimecast_collector_files_listed",
        kind: Kind::Counter,
        unit: "",
        help: "Files listed; absent for a log type without files.",
        values: Values::Stream(|stream, _| of_files(stream, stream.counts.files_listed)),
    },
    Metric {
        name: "mimecast_collector_files_fetched",
        kind: Kind::Counter,
        unit: "",
        help: "Files read to their end; absent for a log type without files.",
        values: Values::Stream(|stream, _| of_files(stream, stream.counts.files_fetched)),
    },
    Metric {
        name: "mimecast_collector_files_quarantined",
        kind: Kind::Counter,
        unit: "",
        help: "Files put aside; absent for a log type without files.",
        values: Values::Stream(|stream, _| of_files(stream, stream.counts.files_quarantined)),
    },
    Metric {
        name: "mimecast_collector_unreadable_records",
        kind: Kind::Counter,
        unit: "",
        help: "Records of Mimecast's that could not be read and were put aside, since the state directory began.",
        values: Values::Stream(|stream, _| whole(stream.quarantined)),
    },
    Metric {
        name: "mimecast_collector_polls",
        kind: Kind::Counter,
        unit: "",
        help: "Steps of polls (a page, a file, a span of time) since the start of the program.",
        values: Values::Stream(|stream, _| whole(stream.polls)),
    },
    Metric {
        name: "mimecast_collector_poll_failures",
        kind: Kind::Counter,
        unit: "",
        help: "Steps that failed, by the code of the failure, since the start of the program.",
        values: Values::Failures,
    },
    Metric {
        name: "mimecast_collector_since_success_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Time since Mimecast last answered a poll well; absent before the first time.",
        values: Values::Stream(|stream, now| ago(stream.last_success, now)),
    },
    Metric {
        name: "mimecast_collector_lag_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Age of the newest event; absent before the first one. Long where little happens: see since_success for trouble.",
        values: Values::Stream(|stream, now| ago(stream.newest, now)),
    },
    Metric {
        name: "mimecast_collector_retention_left_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long Mimecast still keeps what is not fetched yet, 0 if it has begun to delete it; absent before the first poll.",
        values: Values::Stream(|stream, now| {
            let left = stream.retention_left(now);
            left.and_then(|left| whole(left.as_secs()))
        }),
    },
    Metric {
        name: "mimecast_collector_retention_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long Mimecast keeps a log; absent for lists of what is there now.",
        values: Values::Stream(|stream, _| stream.retention_seconds.and_then(whole)),
    },
    Metric {
        name: "mimecast_collector_output_state",
        kind: Kind::Gauge,
        unit: "",
        help: "How an output is doing: 0 healthy, 1 renewing, 2 throttled, 3 retrying, 4 paused, 5 blocked.",
        values: Values::Output(|output, _| state(&output.condition)),
    },
    Metric {
        name: "mimecast_collector_output_accepted_events",
        kind: Kind::Counter,
        unit: "",
        help: "Events that an output took since the state directory began.",
        values: Values::Output(|output, _| whole(output.accepted)),
    },
    Metric {
        name: "mimecast_collector_output_rejected_events",
        kind: Kind::Counter,
        unit: "",
        help: "Events that an output refused and that were put aside, since the state directory began.",
        values: Values::Output(|output, _| whole(output.rejected)),
    },
    Metric {
        name: "mimecast_collector_output_filtered_events",
        kind: Kind::Counter,
        unit: "",
        help: "Events that an output was not offered, because its filter drops them or it does not carry their kind, since the state directory began.",
        values: Values::Output(|output, _| whole(output.filtered)),
    },
    Metric {
        name: "mimecast_collector_output_skipped_events",
        kind: Kind::Counter,
        unit: "",
        help: "Events in damaged frames that an output stepped over and that were fetched again, since the state directory began.",
        values: Values::Output(|output, _| whole(output.skipped)),
    },
    Metric {
        name: "mimecast_collector_output_dead_letters",
        kind: Kind::Gauge,
        unit: "",
        help: "Files of events that an output refused and that wait for a person.",
        values: Values::Output(|output, _| whole(output.dead_letters)),
    },
    Metric {
        name: "mimecast_collector_output_resending_events",
        kind: Kind::Gauge,
        unit: "",
        help: "Events of dead letters that are on their way to an output again.",
        values: Values::Output(|output, _| whole(output.resending)),
    },
    Metric {
        name: "mimecast_collector_output_in_flight_events",
        kind: Kind::Gauge,
        unit: "",
        help: "Events that were offered to an output and are not answered yet.",
        values: Values::Output(|output, _| whole(output.in_flight)),
    },
    Metric {
        name: "mimecast_collector_output_backlog_events",
        kind: Kind::Gauge,
        unit: "",
        help: "Events that wait for an output.",
        values: Values::Output(|output, _| whole(output.backlog_events)),
    },
    Metric {
        name: "mimecast_collector_output_backlog_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Bytes on disk of the events that wait for an output, whole segments counted in full.",
        values: Values::Output(|output, _| output.backlog_bytes.and_then(whole)),
    },
    Metric {
        name: "mimecast_collector_output_backlog_age_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long the oldest event has waited for an output, to the minute; 0 if none waits.",
        values: Values::Output(|output, _| whole(output.backlog_age_s.unwrap_or_default())),
    },
    Metric {
        name: "mimecast_collector_output_since_success_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Time since an output last took something; absent before the first time.",
        values: Values::Output(|output, now| ago(output.last_success, now)),
    },
    Metric {
        name: "mimecast_collector_output_delivery_seconds",
        kind: Kind::Histogram,
        unit: "seconds",
        help: "How long deliveries to an output take, failed ones included, since the start of the program.",
        values: Values::Deliveries,
    },
    Metric {
        name: "mimecast_collector_spool_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Disk space of the events that wait.",
        values: Values::Whole(|report| whole(report.spool.bytes)),
    },
    Metric {
        name: "mimecast_collector_spool_limit_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Disk space at which polling pauses.",
        values: Values::Whole(|report| whole(report.spool.limit)),
    },
    Metric {
        name: "mimecast_collector_quarantine_records",
        kind: Kind::Gauge,
        unit: "",
        help: "Records in quarantine: those that could not be read, and those that an output refused.",
        values: Values::Whole(|report| whole(report.quarantined)),
    },
    Metric {
        name: "mimecast_collector_cluster_lease_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long this node of a cluster may act without another renewal of its lease; 0 when it has stopped.",
        values: Values::Cluster(|cluster| whole(cluster.lease_left_s)),
    },
    Metric {
        name: "mimecast_collector_cluster_registry_up",
        kind: Kind::Gauge,
        unit: "",
        help: "Whether etcd's last answer to this node was good: 1 yes, 0 no.",
        values: Values::Cluster(|cluster| whole(cluster.trouble.is_none().into())),
    },
    Metric {
        name: "mimecast_collector_cluster_nodes",
        kind: Kind::Gauge,
        unit: "",
        help: "Nodes of the cluster.",
        values: Values::Cluster(|cluster| whole(cluster.nodes.len() as u64)),
    },
    Metric {
        name: "mimecast_collector_cluster_drifting_nodes",
        kind: Kind::Gauge,
        unit: "",
        help: "Nodes of the cluster whose integrations and outputs are configured in another way than this node's.",
        values: Values::Cluster(|cluster| whole(drifting(cluster))),
    },
    Metric {
        name: "mimecast_collector_cluster_integrations",
        kind: Kind::Gauge,
        unit: "",
        help: "Integrations of the cluster that this node owns.",
        values: Values::Cluster(|cluster| whole(owned(cluster, true))),
    },
    Metric {
        name: "mimecast_collector_cluster_free_integrations",
        kind: Kind::Gauge,
        unit: "",
        help: "Integrations of the cluster that no node owns.",
        values: Values::Cluster(|cluster| whole(owned(cluster, false))),
    },
    Metric {
        name: "mimecast_collector_cluster_held_back_events",
        kind: Kind::Gauge,
        unit: "",
        help: "Events that would be delivered again if another node took over, because an output keeps them waiting.",
        values: Values::Cluster(|cluster| whole(held_back(cluster))),
    },
    Metric {
        name: "mimecast_collector_cluster_held_logs",
        kind: Kind::Gauge,
        unit: "",
        help: "Log types with events on this node's disk from before another node took over, which wait until that has delivered as much.",
        values: Values::Cluster(|cluster| whole(cluster.held_lanes)),
    },
    Metric {
        name: "mimecast_collector_cluster_taken",
        kind: Kind::Counter,
        unit: "",
        help: "Integrations that this node took up since its start.",
        values: Values::Cluster(|cluster| whole(cluster.taken)),
    },
    Metric {
        name: "mimecast_collector_cluster_released",
        kind: Kind::Counter,
        unit: "",
        help: "Integrations that this node handed over in order since its start.",
        values: Values::Cluster(|cluster| whole(cluster.released)),
    },
    Metric {
        name: "mimecast_collector_cluster_lost",
        kind: Kind::Counter,
        unit: "",
        help: "Integrations that this node lost since its start because it could not renew its lease.",
        values: Values::Cluster(|cluster| whole(cluster.lost)),
    },
    Metric {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "Processor time of the program.",
        values: Values::Process(|process| process.cpu_ms.map(Number::Thousandths)),
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Memory of the program.",
        values: Values::Process(|process| process.resident_bytes.map(Number::Whole)),
    },
    Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "Open files and sockets of the program.",
        values: Values::Process(|process| process.open_fds.map(Number::Whole)),
    },
    Metric {
        name: "process_max_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "How many files and sockets the program may have open.",
        values: Values::Process(|process| process.max_fds.map(Number::Whole)),
    },
];
