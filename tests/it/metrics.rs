//! That the dashboard and the alert rules ask for metrics that exist, by labels that they have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mimecast_collector::web::metrics::METRICS;

/// The names of metrics in a text, and how often a name of ours stands there.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    let ours =
        |word: &&str| word.starts_with("mimecast_collector_") || word.starts_with("process_");
    words.filter(ours).collect()
}

#[test]
fn the_dashboard_and_the_rules_use_only_metrics_that_exist() {
    let known: BTreeSet<String> = METRICS.iter().flat_map(|metric| metric.names()).collect();
    for (file, least) in [
        ("packaging/grafana/mimecast-collector.json", 10),
        ("packaging/prometheus/alerts.yml", 8),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let asked = asked_for(&text);
        assert!(asked.len() >= least, "{file}: {asked:?}");
        for name in asked {
            assert!(
                known.contains(name),
                "{file} asks for {name}, which is not in docs/metrics.md"
            );
        }
    }
}

#[test]
fn the_dashboard_is_json_and_each_panel_has_a_query() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/grafana/mimecast-collector.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            assert!(!target["expr"].as_str().unwrap().is_empty(), "{panel}");
        }
    }
}
