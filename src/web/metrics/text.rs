//! Metrics as text: OpenMetrics 1.0 for who asks for it, Prometheus's text 0.0.4 for all others.

use std::fmt::{self, Write as _};

use super::Process;
use super::table::{Kind, METRICS, Metric, Number, Values};
use crate::status::{Latency, Report};

/// In which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4.
    Prometheus,
}

impl Format {
    /// The `Content-Type` of the text.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes every metric that has a value.
#[must_use]
pub fn write(report: &Report, process: &Process, format: Format) -> String {
    let mut text = String::with_capacity(64 << 10);
    for metric in METRICS {
        // A string takes whatever is written to it.
        head(&mut text, metric, format).ok();
        samples(&mut text, metric, report, process).ok();
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn head(text: &mut String, metric: &Metric, format: Format) -> fmt::Result {
    let name = match format {
        Format::OpenMetrics => metric.name.to_owned(),
        Format::Prometheus => sample_name(metric),
    };
    let kind = metric.kind.as_str();
    writeln!(text, "# TYPE {name} {kind}")?;
    if format == Format::OpenMetrics && !metric.unit.is_empty() {
        writeln!(text, "# UNIT {name} {}", metric.unit)?;
    }
    writeln!(text, "# HELP {name} {}", metric.help)
}

/// The name as it stands before values and in queries; a histogram's has further endings.
fn sample_name(metric: &Metric) -> String {
    let total = if metric.kind == Kind::Counter {
        "_total"
    } else {
        ""
    };
    format!("{}{total}", metric.name)
}

impl Metric {
    /// The names under which its values can be asked for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![sample_name(self)],
            Kind::Histogram => ["_bucket", "_count", "_sum"]
                .map(|ending| format!("{}{ending}", self.name))
                .to_vec(),
        }
    }
}

fn samples(text: &mut String, metric: &Metric, report: &Report, process: &Process) -> fmt::Result {
    let name = sample_name(metric);
    let now = report.now;
    let mut sample = |values: &[&str], number: Option<Number>| match number {
        Some(number) => line(text, &name, metric.values.labels(), values, number),
        None => Ok(()),
    };
    match &metric.values {
        Values::Version => sample(&[&report.program_version], Some(Number::Whole(1)))?,
        Values::Process(number) => sample(&[], number(process))?,
        Values::Whole(number) => sample(&[], number(report))?,
        Values::Cluster(number) => sample(&[], report.cluster.as_ref().and_then(number))?,
        Values::Integration(number) => {
            for integration in &report.integrations {
                sample(&[integration.name.as_str()], number(integration, now))?;
            }
        }
        Values::Rate(number) => {
            for integration in &report.integrations {
                for (resource, rate) in &integration.rates {
                    sample(&[integration.name.as_str(), resource], number(rate))?;
                }
            }
        }
        Values::Stream(number) => {
            for integration in &report.integrations {
                for stream in &integration.streams {
                    let labels = [integration.name.as_str(), &stream.log, &stream.event_type];
                    sample(&labels, number(stream, now))?;
                }
            }
        }
        Values::Failures => {
            for integration in &report.integrations {
                for stream in &integration.streams {
                    let (name, log, kind) =
                        (integration.name.as_str(), &stream.log, &stream.event_type);
                    for (code, count) in &stream.failures {
                        sample(&[name, log, kind, code], Some(Number::Whole(*count)))?;
                    }
                }
            }
        }
        Values::Output(number) => {
            for output in &report.outputs {
                sample(&[output.name.as_str()], number(output, now))?;
            }
        }
        Values::Deliveries => {
            for output in &report.outputs {
                buckets(text, &name, output.name.as_str(), &output.deliveries)?;
            }
        }
    }
    Ok(())
}

fn buckets(text: &mut String, name: &str, output: &str, latency: &Latency) -> fmt::Result {
    let bucket = format!("{name}_bucket");
    let mut count = 0;
    for (bound, more) in Latency::BOUNDS_MS.iter().zip(&latency.buckets) {
        count += more;
        let mut le = String::new();
        number(&mut le, Number::Thousandths(*bound))?;
        line(
            text,
            &bucket,
            &["output", "le"],
            &[output, &le],
            Number::Whole(count),
        )?;
    }
    let all = Number::Whole(latency.count);
    line(text, &bucket, &["output", "le"], &[output, "+Inf"], all)?;
    line(text, &format!("{name}_count"), &["output"], &[output], all)?;
    let sum = Number::Thousandths(latency.sum_ms);
    line(text, &format!("{name}_sum"), &["output"], &[output], sum)
}

fn line(
    text: &mut String,
    name: &str,
    labels: &[&str],
    values: &[&str],
    value: Number,
) -> fmt::Result {
    text.push_str(name);
    for (n, (label, value)) in labels.iter().zip(values).enumerate() {
        text.push(if n == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
    }
    text.push_str(if labels.is_empty() { " " } else { "} " });
    number(text, value)?;
    text.push('\n');
    Ok(())
}

fn escape(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        // Nearly always, and there can be hundreds of thousands.
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(c),
        }
    }
}

fn number(text: &mut String, number: Number) -> fmt::Result {
    match number {
        Number::Whole(number) => write!(text, "{number}"),
        Number::Thousandths(number) => write!(text, "{}.{:03}", number / 1000, number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::model::{IntegrationId, OutputId, StreamId, Timestamp};
    use crate::status::{Condition, LedgerReport, Phase, RateReport, Status};

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    fn status() -> Status {
        let status = Status::new(Path::new("/x"), NOW - Duration::from_secs(90));
        let id = IntegrationId::new("acme").unwrap();
        status.stream(&StreamId::new(&id, "siem-cg", "url protect"), |stream| {
            stream.events = 12;
            stream.newest = Some(NOW - Duration::from_millis(1_500));
            stream.polls = 3;
            stream.retention_seconds = Some(604_800);
            stream.kept_until = Some(NOW + Duration::from_secs(600_000));
            stream.counts.read = 14;
            stream.counts.files_listed = 2;
            stream.count_failure("a\"b\\c\nd");
        });
        status.output(&OutputId::new("splunk").unwrap(), |output| {
            output.condition = Condition {
                state: Phase::Retrying,
                since: Some(NOW),
                ..Condition::default()
            };
            output.deliveries.note(Duration::from_millis(20));
            output.deliveries.note(Duration::from_secs(60));
        });
        let rate = RateReport {
            left: 7,
            limit: None,
            window_s: None,
            more_at: None,
        };
        status.integration(&id, |integration| {
            integration.rates.insert("/a".to_owned(), rate);
        });
        status.ledger(LedgerReport::of(
            NOW,
            "balances".to_owned(),
            Vec::new(),
            Vec::new(),
        ));
        status
    }

    fn written(format: Format) -> String {
        write(&status().report(NOW), &Process::default(), format)
    }

    #[test]
    fn every_value_has_its_name_its_unit_and_its_labels_escaped() {
        let text = written(Format::OpenMetrics);
        for expected in [
            "# TYPE mimecast_collector_events counter\n# HELP mimecast_collector_events Events",
            "\nmimecast_collector_events_total{integration=\"acme\",log=\"siem-cg\",event_type=\"url protect\"} 12\n",
            "\n# UNIT mimecast_collector_lag_seconds seconds\n",
            "\nmimecast_collector_lag_seconds{integration=\"acme\",log=\"siem-cg\",event_type=\"url protect\"} 1.500\n",
            ",code=\"a\\\"b\\\\c\\nd\"} 1\n",
            "\nmimecast_collector_retention_left_seconds{integration=\"acme\",log=\"siem-cg\",event_type=\"url protect\"} 600000\n",
            "\nmimecast_collector_records_read_total{integration=\"acme\",log=\"siem-cg\",event_type=\"url protect\"} 14\n",
            "\nmimecast_collector_files_listed_total{integration=\"acme\",log=\"siem-cg\",event_type=\"url protect\"} 2\n",
            "\nmimecast_collector_rate_limit_left_calls{integration=\"acme\",resource=\"/a\"} 7\n",
            "\nmimecast_collector_ledger_balances 1\n",
            "\nmimecast_collector_output_dead_letters{output=\"splunk\"} 0\n",
            "\nmimecast_collector_output_state{output=\"splunk\"} 3\n",
            "\nmimecast_collector_output_delivery_seconds_bucket{output=\"splunk\",le=\"0.010\"} 0\n",
            "\nmimecast_collector_output_delivery_seconds_bucket{output=\"splunk\",le=\"0.025\"} 1\n",
            "\nmimecast_collector_output_delivery_seconds_bucket{output=\"splunk\",le=\"+Inf\"} 2\n",
            "\nmimecast_collector_output_delivery_seconds_sum{output=\"splunk\"} 60.020\n",
            "\nmimecast_collector_uptime_seconds 90.000\n",
            "\nmimecast_collector_health 0\n",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        // What is not known has no value.
        assert!(!text.contains("\nprocess_open_fds "));
        assert!(!text.contains("\nmimecast_collector_rate_limit_calls{"));
        assert!(!text.contains("\nmimecast_collector_since_success_seconds{"));
    }

    #[test]
    fn the_older_text_names_counters_by_what_is_asked_for() {
        let text = written(Format::Prometheus);
        assert!(text.contains("# TYPE mimecast_collector_events_total counter\n"));
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
    }

    #[test]
    fn names_end_with_their_unit_and_are_told_apart() {
        let mut names = std::collections::BTreeSet::new();
        for metric in METRICS {
            assert!(names.insert(metric.name), "{}", metric.name);
            assert!(metric.name.ends_with(metric.unit), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn a_server_that_invents_codes_cannot_fill_the_memory() {
        let status = status();
        let id = StreamId::new(&IntegrationId::new("acme").unwrap(), "audit", "");
        status.stream(&id, |stream| {
            for n in 0..1_000 {
                stream.count_failure(&format!("err_{n}"));
            }
        });
        let text = write(
            &status.report(NOW),
            &Process::default(),
            Format::OpenMetrics,
        );
        let rows = text.lines().filter(|line| {
            line.starts_with("mimecast_collector_poll_failures_total") && line.contains("audit")
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), 21);
        assert!(
            rows.iter().any(|row| row.ends_with("code=\"other\"} 980")),
            "{rows:?}"
        );
    }
}
