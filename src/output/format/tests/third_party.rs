//! What others have written reads our formats: pycef (Python) takes CEF apart, the parsers of syslog-ng take LEEF apart.
//!
//! `pycef` may lie in `target/python`, syslog-ng in `target/syslog-ng`, as `.ci/run` puts them there. Each line is compared with what our
//! own strict reader finds in it, of which [`super::every_field_of_every_log_type_is_read_back`] shows that it is all of the event.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::*;

fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(name)
}

/// Runs a program with this on its standard input; what it prints.
fn piped(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} is not installed: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The events of all log types in a format, one a line.
fn lines(format: &Format) -> Vec<String> {
    let lines: Vec<_> = records()
        .iter()
        .map(|(log, record)| shown(format, log, record))
        .collect();
    assert!(lines.len() > 50, "{} events", lines.len());
    lines
}

/// The values of an object and of those within, by their path.
fn flat(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let path = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flat(&path, value, into);
            }
        }
        Value::String(text) => {
            into.insert(prefix.to_owned(), text.clone());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            panic!("{prefix} is no text: {value}")
        }
    }
}

#[test]
fn pycef_reads_back_every_field_of_cef() {
    const READ: &str = "import json, sys, pycef
sys.stdin.reconfigure(encoding='utf-8', newline='\\n')
for line in sys.stdin:
    print(json.dumps(pycef.parse(line.rstrip('\\n'))))";
    let lines = lines(&Format::Cef);
    let mut python = Command::new("python3");
    python
        .args(["-c", READ])
        .env("PYTHONPATH", target("python"));
    let read = piped(&mut python, &(lines.join("\n") + "\n"));
    let read: Vec<_> = read.lines().collect();
    assert_eq!(read.len(), lines.len());
    for (line, read) in lines.iter().zip(read) {
        let mut found = BTreeMap::new();
        flat("", &serde_json::from_str(read).unwrap(), &mut found);
        let pairs: BTreeMap<_, _> = read_cef(line).into_iter().collect();
        // A custom field stands under its label there, and escapes are left as they are.
        for (key, value) in &pairs {
            if key.ends_with("Label") {
                continue;
            }
            let name = pairs.get(&format!("{key}Label")).unwrap_or(key);
            let there = found
                .remove(name)
                .unwrap_or_else(|| panic!("{name}: {line}"));
            let there = unescape(
                &there,
                &[('\\', '\\'), ('=', '='), ('n', '\n'), ('r', '\r')],
            );
            assert_eq!(there, *value, "{name}: {line}");
        }
        let header: Vec<_> = line.split('|').collect();
        for (name, at) in [
            ("DeviceVendor", 1),
            ("DeviceProduct", 2),
            ("DeviceEventClassID", 4),
            ("Name", 5),
            ("Severity", 6),
        ] {
            assert_eq!(found.remove(name).unwrap(), header[at], "{line}");
        }
        let own = [
            "CEFVersion",
            "DeviceName",
            "DeviceSeverity",
            "DeviceVersion",
        ];
        assert!(found.keys().eq(own), "{found:?}: {line}");
    }
}

#[test]
fn syslog_ng_reads_back_every_field_of_leef() {
    let lines = lines(&Format::Leef);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let config = format!(
        r#"@version: 3.38
source s {{ stdin(flags(no-parse, no-hostname)); }};
parser header {{ csv-parser(columns("h.version", "h.vendor", "h.product", "h.release", "h.id", "attributes")
  delimiters("|") flags(greedy) quote-pairs("")); }};
parser pairs {{ kv-parser(template("${{attributes}}") pair-separator("{}") value-separator("=") prefix("kv.")); }};
destination d {{ file("{}" template("$(format-json --key kv.* --key h.*)\n")); }};
log {{ source(s); parser(header); parser(pairs); destination(d); }};
"#,
        '\t',
        file("out").display()
    );
    fs::write(file("conf"), config).unwrap();
    let unpacked = target("syslog-ng");
    let root = if unpacked.exists() {
        unpacked
    } else {
        PathBuf::from("/")
    };
    let library = root.join("usr/lib/syslog-ng");
    let modules = fs::read_dir(&library)
        .unwrap_or_else(|e| panic!("syslog-ng is not installed: {e}"))
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir());
    let mut syslog_ng = Command::new(root.join("usr/sbin/syslog-ng"));
    syslog_ng
        .env("LD_LIBRARY_PATH", &library)
        .args(["--foreground", "--no-caps", "--module-path"])
        .arg(modules.unwrap());
    for (option, name) in [
        ("-f", "conf"),
        ("-p", "pid"),
        ("-c", "control"),
        ("-R", "persist"),
    ] {
        syslog_ng.arg(option).arg(file(name));
    }
    piped(&mut syslog_ng, &(lines.join("\n") + "\n"));
    let read = fs::read_to_string(file("out")).unwrap();
    let read: Vec<_> = read.lines().collect();
    assert_eq!(read.len(), lines.len());
    for (line, read) in lines.iter().zip(read) {
        let value: Value = serde_json::from_str(read).unwrap();
        let mut found = BTreeMap::new();
        flat("", &value["kv"], &mut found);
        let mut pairs: BTreeMap<_, _> = read_leef(line).into_iter().collect();
        // LEEF has no quotes; this parser takes away those around a value all the same.
        for value in pairs.values_mut() {
            let within = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            if let Some(within) = within {
                *value = within.to_owned();
            }
        }
        assert_eq!(found, pairs, "{line}");
        let mut header = BTreeMap::new();
        flat("", &value["h"], &mut header);
        let parts: Vec<_> = line.split('|').collect();
        for (name, at) in [("version", 0), ("vendor", 1), ("product", 2), ("id", 4)] {
            assert_eq!(header[name], parts[at], "{line}");
        }
    }
}
