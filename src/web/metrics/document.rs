//! `docs/metrics.md`, printed from the table.

use std::fmt::Write as _;

use super::table::{Kind, METRICS};

impl Kind {
    /// The word of both formats.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const HEAD: &str = "\
# Metrics

Answered at `/metrics` of the status endpoint (`[status] listen` in the configuration): OpenMetrics 1.0 for a client that accepts
`application/openmetrics-text`, as Prometheus does, and Prometheus's text format 0.0.4 for all others. This page is printed from the
table in `src/web/metrics/table.rs`; a test compares.

A scrape job:

```yaml
scrape_configs:
  - job_name: mimecast-collector
    static_configs:
      - targets: [\"127.0.0.1:9464\"]
    # authorization: { credentials_file: /etc/prometheus/mimecast-collector-token }
```

[packaging/prometheus/alerts.yml](../packaging/prometheus/alerts.yml) has alert rules,
[packaging/grafana/mimecast-collector.json](../packaging/grafana/mimecast-collector.json) a dashboard.

| Name | Type | Labels | Says |
| ---- | ---- | ------ | ---- |
";

const FOOT: &str = "
`event_type` is empty for a log type that has none. Counters \"since the state directory began\" go on after a restart; the others
begin at 0 with the program.

**How many series.** With S log types of all integrations together (an event type of `siem-cg` or `siem-ci` counts as one), I
integrations, R functions of the API that these ask (at most two for each log type) and O outputs: at most
35 S + 2 I + 2 R + 25 O + 23, of which 21 S are codes of failures that really came: the first 20 of a log type have a series each, all
further ones are counted as `code=\"other\"`. All other labels come from the configuration; nothing of an event
becomes one.
";

/// The page's text.
#[must_use]
pub fn document() -> String {
    let mut page = HEAD.to_owned();
    for metric in METRICS {
        let name = match metric.kind {
            Kind::Counter => format!("{}_total", metric.name),
            Kind::Gauge | Kind::Histogram => metric.name.to_owned(),
        };
        let labels: Vec<_> = metric
            .values
            .labels()
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        let kind = metric.kind.as_str();
        // A string takes whatever is written to it.
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", metric.help).ok();
    }
    page.push_str(FOOT);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::metrics::table::Values;

    #[test]
    fn the_page_is_what_the_table_says() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let new = root.join("target/metrics.md");
        std::fs::write(&new, document()).unwrap();
        let page = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap_or_default();
        assert!(
            page == document(),
            "docs/metrics.md lags behind: cp target/metrics.md docs/"
        );
    }

    #[test]
    fn the_number_of_series_is_as_the_page_says() {
        let count = |is: fn(&Values) -> bool| METRICS.iter().filter(|m| is(&m.values)).count();
        let streams = count(|values| matches!(values, Values::Stream(_)));
        let integrations = count(|values| matches!(values, Values::Integration(_)));
        let buckets = crate::status::Latency::BOUNDS_MS.len() + 3;
        let rates = count(|values| matches!(values, Values::Rate(_)));
        let outputs = count(|values| matches!(values, Values::Output(_))) + buckets;
        let alone = METRICS.len() - streams - integrations - rates - (outputs - buckets) - 2;
        let told = format!(
            "{} S + {integrations} I + {rates} R + {outputs} O + {alone},",
            streams + 21
        );
        assert!(FOOT.contains(&told), "{told}");
    }
}
