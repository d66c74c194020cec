use proptest::prelude::*;

use super::*;
use crate::model::{EventId, Form, Timestamp};
use crate::simulator::samples;

const AT: Timestamp = Timestamp::from_millis(1_767_690_487_000);

const VERSION: &str = concat!("|", env!("CARGO_PKG_VERSION"), "|");

const ALL: [Format; 5] = [
    Format::Json,
    Format::KeyValue,
    Format::Cef,
    Format::Leef,
    Format::Leef2,
];

fn record(kind: &str, form: Form, body: &str) -> Record {
    Record {
        id: EventId([0xab; 16]),
        time: AT,
        form,
        kind: kind.into(),
        body: body.to_owned().into(),
    }
}

fn shown_within(format: &Format, log: &str, record: &Record, limit: usize) -> (String, bool) {
    let body = record.body_str();
    let mut out = Vec::new();
    let cut = format.write(&mut out, &Event::new("acme-uk", log, record, &body), limit);
    (String::from_utf8(out).unwrap(), cut)
}

fn shown(format: &Format, log: &str, record: &Record) -> String {
    shown_within(format, log, record, usize::MAX).0
}

/// A record of every type of every log, and the collector's own.
fn records() -> Vec<(&'static str, Record)> {
    let mut records = Vec::new();
    for (log, kind, body) in samples(AT) {
        match kind.strip_suffix('=') {
            Some(kind) => records.push((log, record(kind, Form::Text, &body))),
            None => records.push((log, record(&kind, Form::Json, &body))),
        }
    }
    let alert = r#"{"event":"alert","alert":"raised","severity":"high","subject":"credential acme-uk","integration":"acme-uk","code":"401/0010","what":"Login Locked Out","state":"blocked","time":"2026-01-06T09:08:07.000Z"}"#;
    let heartbeat = r#"{"event":"heartbeat","integration":"acme-uk","tags":{"tenant":"acme"},"state":"healthy","streams":3,"behind_seconds":null,"time":"2026-01-06T09:08:07.000Z"}"#;
    records.push(("collector", record("alert", Form::Json, alert)));
    records.push(("collector", record("heartbeat", Form::Json, heartbeat)));
    records
}

fn page(format: &Format) -> String {
    let lines = records().into_iter().map(|(log, record)| {
        let line = shown(format, log, &record).replacen(VERSION, "|<version>|", 1);
        format!("{log}/{}: {line}\n", record.kind)
    });
    lines.collect()
}

#[test]
fn every_log_type_in_cef() {
    insta::assert_snapshot!("cef", page(&Format::Cef));
}

#[test]
fn every_log_type_in_leef() {
    insta::assert_snapshot!("leef", page(&Format::Leef));
}

#[test]
fn every_log_type_in_key_value() {
    insta::assert_snapshot!("key_value", page(&Format::KeyValue));
}

/// Splits at a character that no backslash stands before.
fn split(text: &str, at: char) -> Vec<String> {
    let (mut parts, mut escaped) = (vec![String::new()], false);
    for c in text.chars() {
        if c == at && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        parts.last_mut().unwrap().push(c);
    }
    parts
}

/// Resolves the escapes that a strict reader allows, and fails at any other.
fn unescape(text: &str, allowed: &[(char, char)]) -> String {
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c == '\\' {
            let escape = chars.next().expect("an escape is cut");
            let found = allowed.iter().find(|(from, _)| *from == escape);
            plain.push(found.unwrap_or_else(|| panic!("\\{escape}: {text}")).1);
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A strict reader of CEF: seven parts of a header, then keys of letters and digits.
fn read_cef(line: &str) -> Vec<(String, String)> {
    let parts = split(line, '|');
    assert_eq!(parts.len().min(8), 8, "{line}");
    assert_eq!(parts[0], "CEF:0");
    let severity: u8 = parts[6].parse().unwrap();
    assert!(severity <= 10);
    let extension = parts[7..].join("|");
    let pieces = split(&extension, '=');
    let mut pairs = Vec::new();
    let mut key = pieces[0].clone();
    for (i, piece) in pieces.iter().enumerate().skip(1) {
        let (value, next) = if i + 1 == pieces.len() {
            (piece.as_str(), "")
        } else {
            piece.rsplit_once(' ').unwrap()
        };
        assert!(
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric()),
            "{key}: {line}"
        );
        let value = unescape(value, &[('\\', '\\'), ('=', '='), ('n', '\n'), ('r', '\r')]);
        pairs.push((key, value));
        key = next.to_owned();
    }
    pairs
}

/// A strict reader of LEEF: its header, then pairs between tabs.
fn read_leef(line: &str) -> Vec<(String, String)> {
    let header = if line.starts_with("LEEF:2.0|") { 6 } else { 5 };
    let parts: Vec<_> = line.splitn(header + 1, '|').collect();
    assert!(matches!(parts[0], "LEEF:1.0" | "LEEF:2.0"), "{line}");
    assert!(header == 5 || parts[5] == "x09");
    let pairs = parts[header]
        .split('\t')
        .map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn read_key_value(line: &str) -> Vec<(String, String)> {
    let pair = |part: String| {
        let (key, value) = part.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    };
    split(line, '|').into_iter().map(pair).collect()
}

/// Whether there is a control character but for the tabs that LEEF is made of.
fn has_unsafe(format: &Format, line: &str) -> bool {
    let tabs = matches!(format, Format::Leef | Format::Leef2);
    line.chars()
        .any(|c| escape::is_unsafe(c) && !(tabs && c == '\t'))
}

fn visible(text: &str) -> String {
    let mut out = Vec::new();
    escape::write_plain(&mut out, text);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_field_of_every_log_type_is_read_back() {
    for (log, record) in records() {
        let body = record.body_str();
        let fields = fields::of(record.form, &body);
        assert!(!fields.is_empty());
        let cef = read_cef(&shown(&Format::Cef, log, &record));
        let key_value = read_key_value(&shown(&Format::KeyValue, log, &record));
        let leef = read_leef(&shown(&Format::Leef, log, &record));
        assert_eq!(leef, read_leef(&shown(&Format::Leef2, log, &record)));
        for field in &fields {
            let what = format!("{log}/{}: {}={}", record.kind, field.name, field.value);
            let row = map::find(&record.kind, &field.name);
            // CEF has escapes for backslashes, so the one of a control character's is read back as a backslash.
            let value = visible(&field.value.replace(['\n', '\r'], "\u{fffe}"));
            let value = value.replace("\u{fffe}", "");
            let has = |pairs: &[(String, String)], keys: &[String], value: &str| {
                pairs
                    .iter()
                    .any(|(key, found)| keys.contains(key) && found == value)
            };
            let mut keys = vec![cef::own_key(&field.name)];
            let mut expected = vec![value.clone()];
            if let Some(row) = row {
                keys.push(row.cef.to_owned());
                expected.extend(
                    row.cef_value(&field.value)
                        .map(|value| visible(&value.replace(['\n', '\r'], ""))),
                );
            }
            let flat: Vec<_> = cef
                .iter()
                .map(|(k, v)| (k.clone(), v.replace(['\n', '\r'], "")))
                .collect();
            assert!(
                expected.iter().any(|value| has(&flat, &keys, value)),
                "CEF: {what}"
            );
            let mut keys = vec![field.name.to_string(), format!("mc.{}", field.name)];
            keys.extend(row.map(|row| row.leef.to_owned()));
            assert!(has(&leef, &keys, &visible(&field.value)), "LEEF: {what}");
            let own_name = format!("mc.{}", field.name);
            let written = visible(&field.value);
            let read = |value: &str| match record.form {
                Form::Json => value.replace("\\|", "|").replace("\\\\", "\\"),
                Form::Text => value.to_owned(),
            };
            let found = key_value.iter().any(|(key, value)| {
                (*key == field.name || *key == own_name) && read(value) == read(&written)
            });
            assert!(found, "key_value: {what}");
        }
        for pairs in [&cef, &leef, &key_value] {
            let mut keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
            let all = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), all, "{log}/{}: a key stands twice", record.kind);
        }
    }
}

#[test]
fn an_event_that_is_shortened_says_so_and_loses_long_values_first() {
    let body = format!(
        r#"{{"senderEnvelope":"bob@example.net","subject":"{}","url":"http://x/{}","numbers":17}}"#,
        "日".repeat(400),
        "é".repeat(2_000)
    );
    let record = record("receipt", Form::Json, &body);
    for format in ALL {
        let (text, cut) = shown_within(&format, "siem-cg", &record, 1_024);
        assert!(cut && text.len() <= 1_024, "{text}");
        for kept in ["bob@example.net", "17", "truncated", "日日日日"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
    let (text, _) = shown_within(&Format::Json, "siem-cg", &record, 1_024);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["numbers"], 17);
    assert_eq!(value["truncated"], true);
}

#[test]
fn a_template_shows_the_events_fields_and_the_collectors() {
    let template = Template::parse(
        "{time} {integration}/{log}/{type} {event_id} {signature} {severity}: {{{from.emailAddress}}} [{nothing}] {event}",
    );
    let format = Format::Template(template.unwrap());
    let record = record(
        "dlp",
        Form::Json,
        "{\"from\": {\"emailAddress\":\"b\\n=|c\"}}",
    );
    insta::assert_snapshot!(
        shown(&format, "dlp", &record),
        @r#"2026-01-06T09:08:07.000Z acme-uk/dlp/dlp abababababababababababababababab dlp 7: {b\n=|c} [] {"from": {"emailAddress":"b\n=|c"}}"#
    );
}

/// Text with what may break a reader.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\r\n<13>1 - - - - - - forged".to_owned()),
        Just("\0".to_owned()),
        Just("\u{1b}[31m".to_owned()),
        Just("\\".to_owned()),
        Just("=|\t]\"".to_owned()),
        Just("|CEF:0|a|b|".to_owned()),
        Just("\u{fffd}\u{85}\u{2028}".to_owned()),
        Just("🚀日本".repeat(50)),
        ".{0,20}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_content_breaks_a_line_or_a_field(
        name in hostile(),
        value in hostile(),
        more in prop::collection::vec(hostile(), 0..40),
        limit in 400_usize..6_000,
        text in any::<bool>(),
    ) {
        let record = if text {
            record("receipt", Form::Text, &format!("acc={value}|Subject={name}|{}", more.join("|x=")))
        } else {
            let body = serde_json::json!({ "subject": value, name: more, "acc": "C1" });
            record("receipt", Form::Json, &body.to_string())
        };
        for format in ALL {
            for limit in [limit, usize::MAX] {
                let (line, cut) = shown_within(&format, "siem", &record, limit);
                prop_assert!(line.len() <= limit);
                prop_assert!(!has_unsafe(&format, &line), "{line:?}");
                match format {
                    Format::Json => prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}"),
                    Format::KeyValue | Format::Template(_) => {}
                    Format::Cef => prop_assert_eq!(cut, read_cef(&line).contains(&("truncated".into(), "true".into()))),
                    Format::Leef | Format::Leef2 => {
                        prop_assert_eq!(cut, read_leef(&line).contains(&("truncated".into(), "true".into())));
                    }
                }
            }
        }
    }
}

#[test]
fn a_megabyte_fits_any_limit() {
    let body = serde_json::json!({ "subject": "\n\u{0}é=|".repeat(200_000), "x": "y" }).to_string();
    let record = record("receipt", Form::Json, &body);
    for format in ALL {
        let (line, cut) = shown_within(&format, "siem-cg", &record, 2_048);
        assert!(cut && line.len() <= 2_048);
        assert!(!has_unsafe(&format, &line));
    }
}

#[cfg(feature = "system-tests")]
mod third_party;
