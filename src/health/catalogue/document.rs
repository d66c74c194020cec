//! The table as a page for people: `docs/errors.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, Impact, Row, Scope, Status, TABLES, UNLISTED};
use crate::health::machine::Attempt;
use crate::health::{Cause, Failure, Origin, Outcome, Policy, Seed, State, step};
use crate::model::Timestamp;
use crate::units::show_duration;

const HEAD: &str = "\
# Errors

<!-- Printed from src/health/catalogue; a test compares. Do not edit by hand. -->

What can go wrong, what the collector does by itself, and what a person can do. `resume` stands for
`mimecast-collector resume NAME`, which allows a stopped part its next try at once; a stopped integration also goes on when
its credential becomes another one. Impact is High (nothing arrives), Medium (degraded) or Low (cosmetic or soon resolved).
Another name of a code stands in brackets.
";

/// The text of `docs/errors.md`.
#[must_use]
pub fn errors_md() -> String {
    let mut page = HEAD.to_owned();
    for table in TABLES {
        if let Some(first) = table.first() {
            section(&mut page, title(first.origin), table);
        }
    }
    section(&mut page, "Anything else", std::slice::from_ref(&UNLISTED));
    page.push_str(&diagram());
    page
}

const DIAGRAM: &str = "
## From state to state

Each credential, resource, stream and output, and each stream at an output, has one of five states. Drawn by asking the machine
what each kind of failure makes of each state when its time has come; a success leads from everywhere to `healthy`, `resume` from
`blocked` to `retrying`.

";

/// The states and what leads from one to the other, as the machine answers when it is asked.
fn diagram() -> String {
    let policy = Policy::source(Seed::of(b"docs", "diagram"));
    let now = Timestamp::from_millis(1_767_690_487_000);
    let fail = |state: &State, row: &Row| {
        let status = match row.status {
            Status::Is(status) => status,
            Status::Any | Status::Family(_) => 0,
        };
        let mut failure = Failure::new(row.origin, status, row.code, "-");
        // So that a refused signature is the clock's fault.
        failure.server_time = Some(Timestamp::from_millis(0));
        let outcome = Outcome::Failed(Attempt {
            failure: &failure,
            credential: None,
            wall: now,
        });
        let due = state.next_allowed(now).unwrap_or(now);
        step(&policy, state.clone().into(), &outcome, due)
            .standing
            .state
    };
    // A row of each class; where several do, the first.
    let mut rows: BTreeMap<String, &Row> = BTreeMap::new();
    // A watched condition is of no request, and leads nowhere else.
    for row in super::all().filter(|row| row.class != Class::Watched) {
        rows.entry(format!("{:?}", row.class)).or_insert(row);
    }
    let mut states = vec![State::Healthy];
    let mut edges: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    // What a state is told apart by here: a few failures in a row count, more make no difference.
    let known = |state: &State| {
        (
            state.as_str(),
            state.cause().map(Cause::row),
            state.attempts().min(4),
        )
    };
    let mut next = 0;
    while let Some(state) = states.get(next).cloned() {
        next += 1;
        for (class, row) in &rows {
            let to = fail(&state, row);
            edges
                .entry((state.as_str(), to.as_str()))
                .or_default()
                .insert(class);
            if states.iter().all(|state| known(state) != known(&to)) {
                states.push(to);
            }
        }
    }
    let mut text = format!("{DIAGRAM}```mermaid\nstateDiagram-v2\n    [*] --> healthy\n");
    for ((from, to), classes) in edges {
        let classes: Vec<_> = classes.into_iter().collect();
        text.push_str(&format!("    {from} --> {to}: {}\n", classes.join(", ")));
    }
    text.push_str("```\n");
    text
}

const fn title(origin: Origin) -> &'static str {
    match origin {
        Origin::Mimecast => "Mimecast, log endpoints (API 1.0 and 2.0)",
        Origin::Token => "Mimecast, token endpoint (API 2.0)",
        Origin::ObjectStore => "Object store of batch files",
        Origin::Hec => "Splunk HTTP Event Collector",
        Origin::Http => "Receivers over HTTP",
        Origin::Webhook => "Webhooks",
        Origin::Syslog => "Syslog receivers",
        Origin::Transport => "Network",
        Origin::Local => "Local files, programs and standard output",
        Origin::Watch => "What the collector watches",
    }
}

fn section(page: &mut String, title: &str, rows: &[Row]) {
    page.push_str(&format!(
        "\n## {title}\n\n| Code | Meaning | What the collector does | What you do | Impact | Source |\n\
         | ---- | ------- | ----------------------- | ----------- | ------ | ------ |\n"
    ));
    for row in rows {
        let cells = [
            codes(row),
            row.title.to_owned(),
            what_we_do(row),
            row.guidance(),
            impact(row.impact).to_owned(),
            row.source.to_owned(),
        ];
        for cell in cells {
            // Mimecast writes the ways through its console with the sign that ends a cell.
            page.push_str("| ");
            page.push_str(&cell.replace('|', "\\|"));
            page.push(' ');
        }
        page.push_str("|\n");
    }
}

fn codes(row: &Row) -> String {
    let mut codes = format!("`{}`", row.key());
    for (i, alias) in row.aliases.iter().enumerate() {
        let before = if i == 0 { " (" } else { ", " };
        codes.push_str(&format!("{before}`{alias}`"));
    }
    if !row.aliases.is_empty() {
        codes.push(')');
    }
    codes
}

const fn impact(impact: Impact) -> &'static str {
    match impact {
        Impact::Low => "Low",
        Impact::Medium => "Medium",
        Impact::High => "High",
    }
}

/// What the collector does by itself, in a sentence.
#[must_use]
pub fn what_we_do(row: &Row) -> String {
    let whom = match (row.scope, row.origin) {
        (Scope::Credential, Origin::Transport) => "the integration or output",
        (Scope::Stream, Origin::Transport) => "the stream or output",
        (Scope::Credential, _) => "the integration",
        (Scope::Resource, _) => "requests of this kind",
        (Scope::Stream, _) => "the stream",
        (Scope::Output, _) => "the output",
        (Scope::Lane, _) => "the stream at this output",
    };
    let again = match row.recheck {
        Some(after) => format!("tries again every {}", show_duration(after)),
        None => "does not try again by itself".to_owned(),
    };
    match row.class {
        Class::CredentialStale => format!(
            "Gets a new token and repeats the request once; then tries three times, 5 min apart; then stops {whom} and {again}."
        ),
        Class::ClockSkewed => format!(
            "If the answer's date is more than 60 s off, corrects the time of its signatures and repeats the request once. Else stops \
             {whom} and {again}."
        ),
        Class::LockedOut => format!(
            "Stops {whom}; tries once after {}, then after 1 h, 2 h and each 4 h, never sooner.",
            row.recheck.map(show_duration).unwrap_or_default()
        ),
        Class::CredentialRejected if row.recheck.is_none() => {
            format!("Stops {whom}; {again}, only with another credential or by `resume`.")
        }
        Class::CredentialRejected | Class::Forbidden | Class::RequestInvalid => {
            format!("Stops {whom}; {again}, or at once by `resume`.")
        }
        Class::Transient => {
            format!("Holds {whom} and tries again, ever more slowly, at most 15 min apart.")
        }
        Class::Throttled => {
            format!(
                "Holds {whom} as long as the server asks, at most 15 min; ever longer if it does not say."
            )
        }
        Class::CursorInvalid => format!(
            "Starts {whom} again by time and logs the span that may be missing or repeated."
        ),
        Class::RecordRejected => {
            "Puts the record into quarantine with the reason, and goes on.".to_owned()
        }
        Class::Watched => {
            "Raises an alert, reminds of it daily, and clears it when it has been over for 15 min. Nothing is stopped by it.".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_errors_is_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = errors_md();
        if fs::read_to_string(root.join("docs/errors.md")).is_ok_and(|found| found == page) {
            return;
        }
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("target/errors.md"), page).unwrap();
        panic!("docs/errors.md is not what the table says: cp target/errors.md docs/errors.md");
    }
}
