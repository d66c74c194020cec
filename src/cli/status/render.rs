//! The report as a table: first the answer, then what each integration and output is doing, what is wrong and what to do.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::cluster;
use super::page::{Look, Page, Tone};
use super::problem::{show_condition, show_problem, show_time, tone};
use super::streams;
use crate::model::Timestamp;
use crate::status::{Condition, IntegrationReport, Level, OutputReport, Phase, RateReport, Report};
use crate::units::{show_count, show_duration, show_size};

/// Changes of state that are told.
const CHANGES: usize = 5;

/// Writes the report as a table.
///
/// # Errors
/// The writer's.
pub fn render(report: &Report, look: Look, out: &mut impl Write) -> io::Result<()> {
    write(report, look, Detail::Whole, out)
}

/// How much is told of what is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Every log type.
    Whole,
    /// A line an integration, and each trouble.
    Brief,
}

pub(super) fn write(
    report: &Report,
    look: Look,
    detail: Detail,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut page = Page::new(out, look);
    let (word, tone) = match report.summary.level {
        Level::Ok => ("OK", Tone::Good),
        Level::Attention => ("ATTENTION", Tone::Bad),
        Level::Critical => ("CRITICAL", Tone::Bad),
    };
    page.text(tone, 0, &format!("{word}: {}.", report.summary.sentence))?;
    if let Some(cluster) = &report.cluster {
        page.blank()?;
        cluster::show(&mut page, cluster, report.now)?;
    }
    let mut integrations: Vec<_> = report.integrations.iter().collect();
    if detail == Detail::Brief {
        integrations.sort_by_key(|integration| !integration.is_troubled());
        // What is in trouble stands first, outputs too: there may be no room for the rest.
        for output in report.outputs.iter().filter(|output| is_ill(output)) {
            page.blank()?;
            show_output(&mut page, output, report.now)?;
        }
    }
    for integration in integrations {
        if detail == Detail::Brief && !integration.is_troubled() {
            let behind = integration.behind_s.map(Duration::from_secs);
            let behind = behind.map_or_else(|| "unknown".to_owned(), show_duration);
            let text = format!("Integration {}: healthy, behind {behind}", integration.name);
            page.text(Tone::Good, 0, &text)?;
            continue;
        }
        page.blank()?;
        show_integration(&mut page, integration, detail, report.now)?;
    }
    for output in &report.outputs {
        if detail == Detail::Brief && is_ill(output) {
            continue;
        }
        page.blank()?;
        show_output(&mut page, output, report.now)?;
    }
    if detail == Detail::Whole {
        show_changes(&mut page, report)?;
    }
    page.blank()?;
    show_process(&mut page, report)
}

fn is_ill(output: &OutputReport) -> bool {
    output.condition.state != Phase::Healthy
}

fn show_integration<W: Write>(
    page: &mut Page<'_, W>,
    integration: &IntegrationReport,
    detail: Detail,
    now: Timestamp,
) -> io::Result<()> {
    let name = integration.name.as_str();
    let title = format!("Integration {name} (API {}), credential", integration.api);
    show_subject(page, 0, &title, &integration.condition, name, now)?;
    for (resource, condition) in &integration.resources {
        if condition.state != Phase::Healthy {
            show_subject(page, 2, resource, condition, name, now)?;
        }
    }
    // In brief, those that wait for the credential would hide the next trouble; those with a trouble of their own follow.
    if detail == Detail::Whole {
        streams::show_table(page, &integration.streams, &integration.condition, now)?;
    }
    if let Some((left, stream)) = streams::retention(&integration.streams, now) {
        let (tone, text) = (Tone::Plain, show_duration(left));
        page.text(tone, 2, &format!("retention left: {text} ({stream})"))?;
    }
    if let Some(text) = show_rate(&integration.rates, now) {
        page.text(Tone::Plain, 2, &text)?;
    }
    let requests = integration.streams.iter();
    let last = requests.filter_map(|stream| stream.last_request.as_ref());
    if let Some(last) = last.max_by_key(|request| request.at) {
        let ago = show_duration(now.since(last.at));
        page.text(
            Tone::Plain,
            2,
            &format!("last request: {} ({ago} ago)", last.id),
        )?;
    }
    for (streams, condition) in streams::problems(&integration.streams) {
        show_subject(page, 2, &streams.join(", "), condition, name, now)?;
    }
    Ok(())
}

/// What is left of the function that has the least left of its window.
fn show_rate(rates: &BTreeMap<String, RateReport>, now: Timestamp) -> Option<String> {
    let share = |rate: &RateReport| {
        let limit = u64::from(rate.limit.unwrap_or(rate.left).max(1));
        u64::from(rate.left) * 1_000_000 / limit
    };
    let (path, rate) = rates.iter().min_by_key(|(_, rate)| share(rate))?;
    let limit = match (rate.limit, rate.window_s) {
        (Some(limit), Some(window)) => {
            let window = show_duration(Duration::from_secs(window));
            format!(" of {} in {window}", show_count(limit.into()))
        }
        (Some(limit), None) => format!(" of {}", show_count(limit.into())),
        (None, _) => String::new(),
    };
    let more = match rate.more_at {
        Some(at) if rate.left == 0 && at > now => {
            format!(", more in {}", show_duration(at.since(now)))
        }
        Some(_) | None => String::new(),
    };
    let left = show_count(rate.left.into());
    Some(format!("calls left: {left}{limit}{more} ({path})"))
}

fn show_output<W: Write>(
    page: &mut Page<'_, W>,
    output: &OutputReport,
    now: Timestamp,
) -> io::Result<()> {
    let name = output.name.as_str();
    let title = format!("Output {name} ({})", output.kind);
    show_subject(page, 0, &title, &output.condition, name, now)?;
    let last = match output.last_success {
        Some(last) => format!(" ({} ago)", show_duration(now.since(last))),
        None => String::new(),
    };
    let size = match output.backlog_bytes {
        Some(bytes) => format!(" ({})", show_size(bytes)),
        None => String::new(),
    };
    let filtered = match output.filtered {
        0 => String::new(),
        events => format!(", filtered {}", show_count(events)),
    };
    let withheld = match output.withheld {
        0 => String::new(),
        events => format!(", not offered and put aside {}", show_count(events)),
    };
    let text = format!(
        "accepted {}{last}, refused {}{withheld}{filtered}, waiting {}{size}",
        show_count(output.accepted),
        show_count(output.rejected),
        show_count(output.backlog_events),
    );
    page.text(Tone::Plain, 2, &text)?;
    if output.dead_letters > 0 {
        let letters = match output.dead_letters {
            1 => "1 dead letter waits".to_owned(),
            n => format!("{} dead letters wait", show_count(n)),
        };
        let text = format!("{letters} for you: mimecast-collector dead-letters list");
        page.text(Tone::Passing, 2, &text)?;
    }
    if output.resending > 0 {
        let text = format!("sent again: {} wait", show_count(output.resending));
        page.text(Tone::Plain, 2, &text)?;
    }
    Ok(())
}

/// The newest changes of state.
fn show_changes<W: Write>(page: &mut Page<'_, W>, report: &Report) -> io::Result<()> {
    for (n, change) in report.changes.iter().take(CHANGES).enumerate() {
        if n == 0 {
            page.blank()?;
            page.line(Tone::Strong, "Recent changes")?;
        }
        let key = change.key.as_deref().unwrap_or_default();
        let why = format!("{key} {}", change.title);
        let what = match (change.to, why.trim()) {
            (Phase::Healthy, "") => "recovered".to_owned(),
            (Phase::Healthy, why) => format!("recovered from {why}"),
            (to, "") => to.as_str().to_owned(),
            (to, why) => format!("{}: {why}", to.as_str()),
        };
        let ago = show_duration(report.now.since(change.at));
        let text = format!("{ago} ago, {}: {what}", change.subject);
        page.text(tone(change.to), 2, &text)?;
    }
    Ok(())
}

fn show_process<W: Write>(page: &mut Page<'_, W>, report: &Report) -> io::Result<()> {
    if let Some(balances) = report.ledger.balances {
        let tone = if balances { Tone::Plain } else { Tone::Bad };
        page.text(tone, 0, &format!("The ledger {}.", report.ledger.sentence))?;
    }
    let text = format!(
        "Spool {} of {}, quarantine {} records, in {}",
        show_size(report.spool.bytes),
        show_size(report.spool.limit),
        show_count(report.quarantined),
        report.state_dir
    );
    page.text(Tone::Plain, 0, &text)?;
    let text = format!(
        "mimecast-collector {}, up {}, at {}",
        report.program_version,
        show_duration(report.now.since(report.started)),
        show_time(report.now)
    );
    page.text(Tone::Plain, 0, &text)
}

/// Writes how something is doing; `name` is what a person may resume if it is not well.
fn show_subject<W: Write>(
    page: &mut Page<'_, W>,
    indent: usize,
    title: &str,
    condition: &Condition,
    name: &str,
    now: Timestamp,
) -> io::Result<()> {
    let text = format!("{title}: {}", show_condition(condition, now));
    page.text(tone(condition.state), indent, &text)?;
    for line in show_problem(condition, name, now) {
        page.text(Tone::Plain, indent + 2, &line)?;
    }
    Ok(())
}
