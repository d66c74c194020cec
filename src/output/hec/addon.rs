//! The add-on for Splunk (`packaging/splunk`) against what is delivered: it has the sourcetypes that arrive, and names no field that
//! nobody writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::preset::Preset;
use crate::model::Timestamp;
use crate::output::told;
use crate::simulator::samples;

const FORMATS: &str = include_str!("../../../docs/formats.md");

/// Fields that Splunk and the collector add to every event.
const ADDED: &[&str] = &["event_id", "integration", "account", "host", "_time"];

/// Fields that events of Cloud Integrated have, though no sample has them.
const SELDOM: &[&str] = &["senderIp"];

type Stanzas = BTreeMap<String, Vec<(String, String)>>;

fn read(name: &str) -> String {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/splunk/TA-mimecast-collector");
    fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn stanzas(name: &str) -> Stanzas {
    let mut found = Stanzas::new();
    let mut current = String::new();
    for line in read(&format!("default/{name}")).lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            name.clone_into(&mut current);
            assert!(
                found.insert(current.clone(), Vec::new()).is_none(),
                "{name} twice"
            );
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            let stanza = found.get_mut(&current).unwrap();
            stanza.push((key.to_owned(), value.to_owned()));
        }
    }
    found
}

/// The fields of the samples of each sourcetype, by the names that Splunk finds in their JSON.
fn delivered() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<_, BTreeSet<String>>::new();
    for (log, kind, record) in samples(Timestamp::from_millis(1_767_690_487_000)) {
        // A line of `key=value` is no JSON, and its sourcetype is that of the JSON of the same kind.
        if let Ok(record) = serde_json::from_str::<Value>(&record) {
            let sourcetype = Preset::Collector.sourcetype(log, &kind);
            name_fields("", &record, found.entry(sourcetype).or_default());
        }
    }
    let told = || told::NAMES.iter().map(|name| (*name).to_owned()).collect();
    for kind in ["alert", "heartbeat", "check"] {
        found.insert(Preset::Collector.sourcetype("collector", kind), told());
    }
    found
}

fn name_fields(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    if !path.is_empty() {
        found.insert(path.to_owned());
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                name_fields(&path, value, found);
            }
        }
        Value::Array(elements) => {
            found.insert(format!("{path}{{}}"));
            for element in elements {
                name_fields(&format!("{path}{{}}"), element, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields that an expression of eval names.
fn named(expression: &str) -> BTreeSet<String> {
    const WORDS: &[&str] = &["AND", "OR", "NOT"];
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        if c == '"' || c == '\'' {
            let (inner, after) = rest.split_at(1).1.split_once(c).unwrap();
            if c == '\'' {
                found.insert(inner.to_owned());
            }
            rest = after;
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            if !after.starts_with('(') && !WORDS.contains(&word) {
                found.insert(word.to_owned());
            }
            rest = after;
        } else {
            rest = rest.split_at(c.len_utf8()).1;
        }
    }
    found
}

/// Whether the vendor's names in the table of fields have it.
fn is_of_the_table(field: &str) -> bool {
    FORMATS.contains(&format!("`{field}`"))
}

/// A field of a list by its own name: what is a text here is a list in some events.
fn alone(field: &str) -> &str {
    field.trim_end_matches("{}")
}

#[test]
fn each_sourcetype_that_can_arrive_has_a_stanza_and_no_other() {
    let ours: Vec<_> = stanzas("props.conf").into_keys().collect();
    let theirs: Vec<_> = delivered().into_keys().collect();
    assert_eq!(ours, theirs);
}

#[test]
fn each_field_of_the_add_on_is_one_that_mimecast_or_the_collector_writes() {
    let delivered = delivered();
    let everywhere: BTreeSet<_> = delivered.values().flatten().map(String::as_str).collect();
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for (sourcetype, keys) in stanzas("props.conf") {
        let here = &delivered[&sourcetype];
        for (key, expression) in keys.iter().filter(|(key, _)| key.starts_with("EVAL-")) {
            let fields = named(expression);
            looked_at += fields.len();
            for field in fields.iter().map(String::as_str) {
                let is_known = everywhere.contains(alone(field)) || is_of_the_table(field);
                if !is_known && !ADDED.contains(&field) {
                    wrong.push(format!("{sourcetype} {key}: nobody writes {field}"));
                }
            }
            let mut names = fields.iter().map(String::as_str);
            let is_there = |field| {
                here.contains(alone(field)) || ADDED.contains(&field) || SELDOM.contains(&field)
            };
            if !fields.is_empty() && !names.any(is_there) {
                wrong.push(format!("{sourcetype} {key}: no event of it has {fields:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(looked_at > 300, "{looked_at}");
}

#[test]
fn each_event_type_has_its_tags_and_names_only_what_can_arrive() {
    let (types, tags, props) = (
        stanzas("eventtypes.conf"),
        stanzas("tags.conf"),
        stanzas("props.conf"),
    );
    let tagged: Vec<_> = tags
        .keys()
        .map(|name| name.strip_prefix("eventtype=").unwrap())
        .collect();
    assert_eq!(types.keys().collect::<Vec<_>>(), tagged);
    for (name, keys) in &types {
        let search = &keys[0].1;
        let named: Vec<_> = search.split("sourcetype=\"").skip(1).collect();
        assert!(!named.is_empty(), "{name}");
        for sourcetype in named {
            let sourcetype = sourcetype.split('"').next().unwrap();
            assert!(props.contains_key(sourcetype), "{name}: {sourcetype}");
        }
    }
}

#[test]
fn each_word_of_the_lookup_means_one_thing() {
    let lookup = read("lookups/mimecast_actions.csv");
    let mut words = BTreeSet::new();
    for line in lookup.lines().skip(1) {
        let (word, action) = line.split_once(',').unwrap();
        assert!(words.insert(word.to_lowercase()), "{word} twice");
        assert!(
            ["delivered", "blocked", "quarantined", "deleted"].contains(&action),
            "{line}"
        );
    }
    assert!(words.len() > 15);
}

#[test]
fn the_dashboard_asks_for_what_heartbeats_and_alerts_say() {
    let page = read("default/data/ui/views/mimecast_collector_health.xml");
    let mut asked = 0;
    for what in ["latest(", "max("] {
        for field in page.split(what).skip(1) {
            let field = field.split(')').next().unwrap().trim_end_matches("{}");
            let is_told =
                told::NAMES.contains(&field) || ["_time", "shown_severity"].contains(&field);
            assert!(is_told, "{field}");
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked}");
}
