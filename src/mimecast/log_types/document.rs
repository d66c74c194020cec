//! The table as a page for people: `docs/log-types.md`.

use super::{LOG_TYPES, LogType, Paging};
use crate::units::show_duration;

const HEAD: &str = "\
# Log types

<!-- Printed from src/mimecast/log_types.rs; a test compares. Do not edit by hand. -->

What `logs` of an integration can name. A log type with event types is one stream for each of them, with a cursor of its own.
\"Kept\" is how far back Mimecast keeps the log, and so how far back a first poll can go and how long a collector may be down
before something is missing. Where slices of time overlap, the records of the overlap are compared with what is stored, and only new ones are
delivered.
\"Calls\" is how many calls of the path Mimecast takes in how long, as far as is known, and so how many are made at most; types with
the same path share them. With the mode stream they are 300 in 1 h. The option quota says otherwise.

| Log | API | What it is | How it is listed | Path | Time of the event | Kept | Overlap | Calls |
| --- | --- | ---------- | ---------------- | ---- | ----------------- | ---- | ------- | ----- |
";

/// The text of `docs/log-types.md`.
#[must_use]
pub fn log_types_md() -> String {
    let mut page = HEAD.to_owned();
    for log in LOG_TYPES {
        page.push_str(&row(log));
    }
    for log in LOG_TYPES {
        if !log.event_types.is_empty() {
            let types: Vec<_> = log.event_types.iter().map(|t| format!("`{t}`")).collect();
            page.push_str(&format!(
                "\n## Event types of `{}`\n\n{}\n",
                log.name,
                types.join(", ")
            ));
        }
    }
    page
}

fn row(log: &LogType) -> String {
    let apis: Vec<_> = log.apis.iter().map(|api| api.as_str()).collect();
    let overlap = if log.overlap.is_zero() {
        "–".to_owned()
    } else {
        show_duration(log.overlap)
    };
    format!(
        "| `{}` | {} | {} | {} | `{}` | `{}` | {} | {overlap} | {} in {} |\n",
        log.name,
        apis.join(", "),
        log.summary,
        listing(log.paging),
        log.path,
        log.time_field,
        show_duration(log.look_back),
        log.quota.calls,
        show_duration(log.quota.window),
    )
}

const fn listing(paging: Paging) -> &'static str {
    match paging {
        Paging::SiemFiles { .. } => "a chain of files, each naming the token of the next",
        Paging::BatchFiles => "pages of signed links to files",
        Paging::Stream => "pages of events",
        Paging::Window(_) => "slices of time, in pages",
        Paging::Feed { .. } => "slices of time, in documents",
        Paging::Snapshot(..) => "what is there now; new and changed records are sent",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_log_types_is_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = log_types_md();
        if fs::read_to_string(root.join("docs/log-types.md")).is_ok_and(|found| found == page) {
            return;
        }
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("target/log-types.md"), page).unwrap();
        panic!(
            "docs/log-types.md is not what the table says: cp target/log-types.md docs/log-types.md"
        );
    }
}
