//! The tables as a page for people: `docs/formats.md`.

use super::map::{Holds, LONG, ROWS};
use super::signature::{OTHER, SIGNATURES, Signature};
use super::{Event, Format};
use crate::model::{EventId, Form, Record, Timestamp};

const HEAD: &str = "\
# Formats

<!-- Printed from src/output/format; a test compares. Do not edit by hand. -->

How `format` of an output writes an event. All are one line of UTF-8, whose only control character is the tab
between the fields of LEEF.

| `format` | What it is | Escapes |
| -------- | ---------- | ------- |
| `json` | the event as stored; a line of API 1.0 as a JSON string | those of JSON |
| `key_value` | `event_id=…\\|integration=…\\|log=…\\|type=…\\|key=value\\|…`; a line of API 1.0 as it came behind the first four | `\\\\|`, `\\\\` and control characters; lines of API 1.0: control characters only |
| `cef` | ArcSight's CEF 0 | header and keys are fixed; values: `\\\\`, `\\=`, `\\n`, `\\r` |
| `leef` | QRadar's LEEF 1.0, separated by tabs | none exist in LEEF; control characters are made visible |
| `leef2` | QRadar's LEEF 2.0, separated by tabs (`x09`) | likewise |
| `template` | a text with places: `{time} {senderEnvelope}`; `{{` and `}}` for braces | control characters |

A control character is written as `\\n`, `\\r`, `\\t` or `\\u001b`; what was not UTF-8 is U+FFFD.

**Fields.** Members of an object within are called `from.emailAddress`; values of a list are joined by `, `. A field that is `null`
or empty is left out of all formats but `json`. In `template`, `{integration}`, `{log}`, `{type}`, `{event_id}`, `{time}`,
`{severity}`, `{signature}`, `{category}` and `{event}` (the event as JSON) are the collector's; any other name is the event's field, and is
empty if the event has none.

**What has no row below** keeps its value: in CEF under `mc` and its name (`mcSpamDetectionLevel`), in LEEF under its own name, or `mc.` and
that if the name is one of the table's. In `key_value`, fields called `type` and the like become `mc.type`, too. So does a second field of one event with the same key, and a value that the key of CEF cannot
hold, such as an IPv6 address in `src`.

**Too long for `max_bytes`?** First these are shortened, then all values, then the last fields go; `truncated=true` says so. A character or
an escape is never cut. A shortened event in `json` is an object of its fields.
";

/// The text of `docs/formats.md`.
#[must_use]
pub fn formats_md() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&format!(
        "\nShortened first: {}, `spamProcessingDetail`.\n\n",
        code_list(LONG)
    ));
    page.push_str("## Fields\n\n| Mimecast 2.0 and listings | Files of 1.0 | CEF | LEEF |\n| --- | --- | --- | --- |\n");
    page.push_str(
        "| the event's time | the event's time | `rt` (ms) | `devTime`, `devTimeFormat` |\n",
    );
    page.push_str("| kind of event | kind of event | signature id, `cat` | event id, `cat` |\n");
    page.push_str("| event id, integration, log, record type | the same | `mcEventId`, `mcIntegration`, `mcLog`, `mcType` | `eventId`, `integration`, `log`, `type` |\n");
    for row in ROWS {
        let only = if row.kind.is_empty() {
            String::new()
        } else {
            format!(" (of `{}`)", row.kind)
        };
        let label = if row.label.is_empty() {
            String::new()
        } else {
            format!(" (label `{}`)", row.label)
        };
        let holds = match row.holds {
            Holds::Text => "",
            Holds::Number => ", numbers",
            Holds::Ip => ", IPv4",
            Holds::Direction => ", 0 inbound, 1 outbound",
        };
        page.push_str(&format!(
            "| {}{only} | {} | `{}`{label}{holds} | `{}` |\n",
            code_list(row.names),
            code_list(row.old_names),
            row.cef,
            row.leef
        ));
    }
    page.push_str(
        "\n## Kinds of event\n\nFew, stable and never translated. Severity is two more if the mail was stopped (blocked, held, \
         rejected, quarantined, deleted, bounced); that of an alert is 9, 6, 4 or 3 by its own. In syslog, 0 to 3 is `info`, 4 and 5 `notice`, 6 and 7 `warning`, 8 \
         to 10 `err`.\n\n| Event id | Name | `cat` | Severity | Logs | Record types |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in SIGNATURES.iter().chain([&OTHER]) {
        page.push_str(&format!(
            "| `{}` | {} | `{}` | {} | {} | {} |\n",
            row.id,
            row.name,
            row.category,
            row.severity,
            code_list(row.logs),
            code_list(row.kinds)
        ));
    }
    page.push_str("\n## A sample of each event id in LEEF\n\nTabs are shown as `<tab>`. For QRadar's map of event ids (QID).\n\n```\n");
    let mut shown: Vec<&str> = Vec::new();
    for row in SIGNATURES.iter().chain([&OTHER]) {
        if !shown.contains(&row.id) {
            shown.push(row.id);
            page.push_str(&sample(row));
        }
    }
    page.push_str("```\n");
    page
}

fn sample(row: &Signature) -> String {
    let (log, kind) = match (row.logs.first(), row.kinds.first()) {
        (Some(log), _) => (*log, *log),
        (None, Some(kind)) if row.category == "collector" => ("collector", *kind),
        (None, Some(kind)) if matches!(*kind, "entities" | "mailflow" | "urlclick") => {
            ("siem-ci", *kind)
        }
        (None, Some(kind)) => ("siem-cg", *kind),
        (None, None) => ("new-log", "new-log"),
    };
    let body = r#"{"senderEnvelope":"bob@example.net","recipients":"ann@example.com","subject":"Invoice","action":"Acc"}"#;
    let record = Record {
        id: EventId([0xab; 16]),
        time: Timestamp::from_millis(1_767_690_487_000),
        form: Form::Json,
        kind: kind.into(),
        body: body.to_owned().into(),
    };
    let mut out = Vec::new();
    let event = Event::new("acme-uk", log, &record, body);
    Format::Leef.write(&mut out, &event, usize::MAX);
    let version = format!("|{}|", env!("CARGO_PKG_VERSION"));
    let text = String::from_utf8_lossy(&out).replace('\t', "<tab>");
    format!("{}\n", text.replacen(&version, "|<version>|", 1))
}

fn code_list(names: &[&str]) -> String {
    if names.is_empty() {
        return "–".to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::cef;
    use super::*;

    #[test]
    fn the_page_of_formats_is_the_tables() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = formats_md();
        if fs::read_to_string(root.join("docs/formats.md")).is_ok_and(|found| found == page) {
            return;
        }
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("target/formats.md"), page).unwrap();
        panic!("docs/formats.md is not what the tables say: cp target/formats.md docs/formats.md");
    }

    #[test]
    fn a_field_of_no_row_has_a_key_of_its_own_in_cef() {
        assert_eq!(cef::own_key("spamDetectionLevel"), "mcSpamDetectionLevel");
        assert_eq!(cef::own_key("from.display-name"), "mcFromDisplayName");
        assert_eq!(
            [cef::own_key("type"), cef::own_key("日本")],
            ["mcTypeField", "mcField"]
        );
    }
}
