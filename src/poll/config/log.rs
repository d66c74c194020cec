//! Reads `[integration.log.TYPE]`: what one log type of the integration above has otherwise.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::LogConfig;
use super::read::{Server, interval};
use crate::mimecast::budget::Quota;
use crate::mimecast::log_types::{LOG_TYPES, Log, LogType, Paging};
use crate::settings::{Item, Setting, Table, Wrong, did_you_mean, quoted};
use crate::units::{parse_duration, show_duration};

/// The calls of a quota; each is remembered for its window.
const QUOTA_CALLS: RangeInclusive<u32> = 1..=10_000;
const QUOTA_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// What the integration says for all its logs.
pub(super) struct Common<'s> {
    pub(super) server: Option<&'s Server>,
    pub(super) interval: Duration,
    pub(super) start: Duration,
}

/// Reads the tables of the chosen types; `None` for an integration whose `logs` could not be read, and for defaults.
pub(super) fn read(
    table: &mut Table<'_>,
    chosen: Option<&[&'static LogType]>,
    common: &Common<'_>,
) -> Vec<LogConfig> {
    let mut tables = table.part("log", "log");
    let mut logs = Vec::new();
    for row in LOG_TYPES {
        if chosen.is_none_or(|chosen| chosen.contains(&row)) {
            logs.extend(log(tables.part(row.name, "TYPE"), row, common));
        } else {
            let why = "is none of this integration's logs; add it to logs, or remove the table";
            tables.refuse(row.name, why);
        }
    }
    // As the integration lists them.
    if let Some(chosen) = chosen {
        logs.sort_by_key(|log| chosen.iter().position(|row| *row == log.log.row));
    }
    logs
}

/// Reads one table; `None` for a type that is left out.
fn log(mut table: Table<'_>, row: &'static LogType, common: &Common<'_>) -> Option<LogConfig> {
    let enabled = table.optional("enabled").unwrap_or(true);
    let mut config = LogConfig::from(row);
    if row.stream.is_some() {
        let modes = &[("batch", false), ("stream", true)];
        let streams = table.one_of("mode", modes) == Some(true);
        if let Some(log) = Log::streaming(row).filter(|_| streams) {
            config.log = log;
        }
    }
    // A type that changes slowly is not asked for as often as the others.
    let usual = row
        .interval
        .map_or(common.interval, |slow| slow.max(common.interval));
    config.interval = interval(&mut table, common.server, usual);
    let start = table.optional("start").unwrap_or(common.start);
    config.start = start.min(config.log.look_back);
    if table.has("start") && config.start < start {
        let kept = show_duration(config.start);
        let text =
            format!("Mimecast keeps this log for {kept}: the first poll goes back no further");
        table.warn("start", &text);
    }
    if row.page_size > 0 {
        config.log.page_size = page_size(&mut table, row);
    }
    if let Some(path) = path(&mut table) {
        config.log.path = path.into();
    }
    config.log.quota = quota(&mut table, common.server, config.log.quota);
    if !row.event_types.is_empty() {
        config.event_types = types(&mut table, row);
    }
    let formats = row.paging.formats().iter();
    let formats: Vec<_> = formats.map(|format| (format.as_str(), *format)).collect();
    match &mut config.log.paging {
        Paging::SiemFiles { format, compress } => {
            *format = table.one_of("file_format", &formats).unwrap_or(*format);
            *compress = table.optional("compress").unwrap_or(*compress);
        }
        Paging::Feed { format, .. } => {
            *format = table.one_of("file_format", &formats).unwrap_or(*format);
        }
        Paging::BatchFiles | Paging::Stream | Paging::Window(_) | Paging::Snapshot(..) => {}
    }
    enabled.then_some(config)
}

fn page_size(table: &mut Table<'_>, row: &LogType) -> u32 {
    let size = table.optional("page_size").unwrap_or(row.page_size);
    if !(1..=row.page_size).contains(&size) {
        let text = format!("must be from 1 to {}", row.page_size);
        table.reject("page_size", text);
    }
    size
}

/// Nobody counts the calls of a simulator, unless the configuration says so.
fn quota(table: &mut Table<'_>, server: Option<&Server>, usual: Option<Quota>) -> Option<Quota> {
    let is_simulated = server.is_some_and(|server| server.is_loopback);
    table
        .optional("quota")
        .or_else(|| usual.filter(|_| !is_simulated))
}

impl Setting for Quota {
    const EXPECTED: &'static str = "a number of calls and a time, such as \"50/15m\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let text = item.text()?;
        let (calls, window) = text.split_once('/').ok_or(Wrong::Kind)?;
        let calls = calls.trim().parse().map_err(|_| Wrong::Kind)?;
        let window = parse_duration(window)?;
        if !QUOTA_CALLS.contains(&calls) || !QUOTA_WINDOW.contains(&window) {
            let text = "must be from 1 to 10000 calls, in a time from 1s to 1d";
            return Err(text.into());
        }
        Ok(Self { calls, window })
    }
}

fn path(table: &mut Table<'_>) -> Option<String> {
    let path: String = table.optional("path")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if !path.starts_with('/') || path.ends_with('/') || !path.chars().all(plain) {
        let text = "is not a path; expected one such as \"/api/audit/get-audit-events\", without a slash at its end";
        table.reject("path", text.to_owned());
    }
    Some(path)
}

fn types(table: &mut Table<'_>, row: &'static LogType) -> Vec<&'static str> {
    let all = || row.event_types.iter().copied();
    let Some(item) = table.find("types") else {
        return all().collect();
    };
    let Some(elements) = item.elements().filter(|elements| !elements.is_empty()) else {
        item.reject(format!(
            "expected a list of event types; there are {}",
            quoted(all())
        ));
        return Vec::new();
    };
    let mut types = Vec::new();
    for element in elements {
        let Some(name) = element.read::<String>() else {
            continue;
        };
        match all().find(|event_type| *event_type == name) {
            Some(event_type) if types.contains(&event_type) => {
                element.reject(format!("\"{name}\" stands here twice; once is enough"));
            }
            Some(event_type) => types.push(event_type),
            None => element.reject(format!(
                "unknown event type {name:?}{}; there are {}",
                did_you_mean(&name, all()),
                quoted(all())
            )),
        }
    }
    types
}
