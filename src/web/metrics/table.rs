//! THE table of metrics.

use super::Process;
use crate::model::Timestamp;
use crate::status::{
    Condition, IntegrationReport, Level, OutputReport, Phase, Report, StreamReport,
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
    Stream(fn(&StreamReport, Timestamp) -> Option<Number>),
    /// Failures of a stream, by code.
    Failures,
    Output(fn(&OutputReport, Timestamp) -> Option<Number>),
    /// Deliveries of an output, by the time they took.
    Deliveries,
}

impl Values {
    /// The labels that each sample has.
    pub(super) const fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Version => &["version"],
            Self::Process(_) | Self::Whole(_) => &[],
            Self::Integration(_) => &["integration"],
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
