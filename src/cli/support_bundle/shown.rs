//! The configuration as it may be shown: values of keys that there are, without secrets and without what a person has called things.
//!
//! It is read as TOML and shown as JSON. A text with a comment, a key that is misspelt or a secret where none belongs would show
//! what nobody meant to show; so keys are known by the example file, and the values of others are masked.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::alert::ACCOUNT_CODE;
use crate::redact::{Redactor, masked};

const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// How the value of a key may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// It is about the collector.
    Plain,
    /// Says where a secret is.
    Secret,
    /// Names that people gave.
    Names,
}

/// All files, by their paths; a file that is not TOML is not shown.
pub(super) fn configuration(files: &[PathBuf], redactor: &Redactor) -> Value {
    let keys = keys();
    let shown = files.iter().map(|path| {
        let value = match fs::read_to_string(path) {
            Ok(text) => match DeTable::parse(&text) {
                Ok(table) => of_table(table.get_ref(), &keys, Key::Plain, redactor),
                Err(error) => format!("not TOML, so not shown: {}", error.message()).into(),
            },
            Err(error) => format!("cannot be read: {error}").into(),
        };
        (path.display().to_string(), value)
    });
    Value::Object(shown.collect::<Map<_, _>>())
}

/// The keys of the example.
fn keys() -> BTreeMap<&'static str, Key> {
    let lines = EXAMPLE.lines();
    let pairs = lines.filter_map(|line| {
        let line = line.strip_prefix('#').unwrap_or(line);
        let (key, value) = line.split_once(" = ")?;
        let plain = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let kind = match key {
            "tags" => Key::Names,
            _ if value.starts_with('{') => Key::Secret,
            _ => Key::Plain,
        };
        plain.then_some((key, kind))
    });
    let mut keys = BTreeMap::new();
    for (key, kind) in pairs {
        // What is a secret of one kind of output, such as the address of a webhook, is taken for one of all.
        let known = keys.entry(key).or_insert(kind);
        if kind == Key::Secret {
            *known = kind;
        }
    }
    for table in [
        "integration",
        "output",
        "defaults",
        "log",
        "spool",
        "status",
    ] {
        keys.insert(table, Key::Plain);
    }
    keys
}

fn of_table(
    table: &DeTable<'_>,
    keys: &BTreeMap<&'static str, Key>,
    inside: Key,
    redactor: &Redactor,
) -> Value {
    let shown = table.iter().map(|(name, value)| {
        let name: &str = name.get_ref();
        let value = value.get_ref();
        let shown = match (inside, keys.get(name)) {
            (Key::Secret, _) if ["file", "env", "credential"].contains(&name) => {
                of_value(value, keys, Key::Plain, redactor)
            }
            (Key::Names, _) if name == ACCOUNT_CODE => of_value(value, keys, Key::Plain, redactor),
            (Key::Secret | Key::Names, _) => hidden(value),
            // Tables of log types, and of what is misspelt.
            (Key::Plain, None) => {
                if let DeValue::Table(table) = value {
                    of_table(table, keys, Key::Plain, redactor)
                } else {
                    hidden(value)
                }
            }
            (Key::Plain, Some(Key::Secret)) if !matches!(value, DeValue::Table(_)) => hidden(value),
            (Key::Plain, Some(kind)) => of_value(value, keys, *kind, redactor),
        };
        (redactor.text(name), shown)
    });
    Value::Object(shown.collect::<Map<_, _>>())
}

fn of_value(
    value: &DeValue<'_>,
    keys: &BTreeMap<&'static str, Key>,
    kind: Key,
    redactor: &Redactor,
) -> Value {
    match value {
        DeValue::String(text) => redactor.text(text).into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Integer(number) => number.as_str().into(),
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(list) => {
            let shown = list
                .iter()
                .map(|one| of_value(one.get_ref(), keys, kind, redactor));
            shown.collect()
        }
        DeValue::Table(table) => of_table(table, keys, kind, redactor),
    }
}

fn hidden(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => masked(text).into(),
        DeValue::Boolean(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => "[not shown]".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, text).unwrap();
        let shown = configuration(&[file], &Redactor::default());
        shown.as_object().unwrap().values().next().unwrap().clone()
    }

    #[test]
    fn the_example_is_shown_with_its_keys() {
        let shown = shown(EXAMPLE);
        assert_eq!(shown["integration"][0]["name"], "acme");
        assert_eq!(
            shown["integration"][0]["client_secret"]["credential"],
            "acme-client-secret"
        );
        assert_eq!(shown["output"][0]["type"], "splunk_hec");
        assert_eq!(shown["output"][0]["url"], "[text of 31 characters]");
        assert!(shown["integration"][0]["log"]["threat-feed-grid"].is_object());
    }

    #[test]
    fn a_secret_is_not_shown_wherever_somebody_has_put_it() {
        let text = r#"
            # canary1
            client_secert = "canary2"
            [[integration]]
            name = "acme"
            client_secret = "canary3"
            tags = { account_code = "CUSA1A1", note = "canary4" }
            [[output]]
            url = "https://user:canary5@splunk.example.com:8088"
            token = { literal = "canary6" }
            proxy = "http://proxy:canary7@proxy.example.com"
            password = ["canary8"]
        "#;
        let all = shown(text);
        let said = all.to_string();
        assert!(!said.contains("canary"), "{said}");
        assert!(said.contains("CUSA1A1"), "{said}");
        assert_eq!(
            all["output"][0]["token"]["literal"],
            "[text of 7 characters]"
        );
    }

    #[test]
    fn a_file_that_is_not_toml_is_not_shown() {
        let said = shown("client_secret = \"canary\nx").to_string();
        assert!(
            said.contains("not TOML") && !said.contains("canary"),
            "{said}"
        );
    }
}
