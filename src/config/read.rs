//! Reads the root of the configuration and checks its parts against each other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Log, Spool};
use crate::cluster::config::ClusterConfig;
use crate::logging::Format;
use crate::model::{IntegrationId, LaneId, OutputId};
use crate::output::config::OutputConfig;
use crate::output::route::{Known, KnownIntegration};
use crate::poll::config::IntegrationConfig;
use crate::secret::SecretSource;
use crate::settings::{Size, Table};
use crate::units::show_size;
use crate::web::WebConfig;

const STATE_DIR: &str = "/var/lib/mimecast-collector";
const MAX_BYTES: u64 = 10 << 30;
/// Less would stop polling all the time.
const MIN_BYTES: u64 = 1 << 20;

const FORMATS: &[(&str, Format)] = &[
    ("auto", Format::Auto),
    ("text", Format::Text),
    ("json", Format::Json),
];

const LEVELS: &[(&str, tracing::Level)] = &[
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

/// What was read; usable if no error was noted.
pub(super) struct Parts {
    pub(super) state_dir: PathBuf,
    pub(super) log: Log,
    pub(super) spool: Spool,
    pub(super) status: WebConfig,
    pub(super) cluster: Option<ClusterConfig>,
    pub(super) integrations: Vec<IntegrationConfig>,
    pub(super) outputs: Vec<OutputConfig>,
}

/// Reads everything; what is wrong is noted by the time this returns.
pub(super) fn parts(mut root: Table<'_>) -> Parts {
    let state_dir = root
        .optional("state_dir")
        .unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let log = log(root.table("log"));
    let spool = spool(root.table("spool"));
    let status = WebConfig::read(root.table("status"));
    let cluster = ClusterConfig::read(root.table("cluster"));
    let mut defaults = root.table("defaults");
    let (integrations, whole) =
        integrations(&mut root, defaults.table("integration").as_defaults());
    let outputs = outputs(
        &mut root,
        defaults.table("output").as_defaults(),
        &Known {
            integrations: integrations.iter().map(integration).collect(),
            whole,
        },
        &integrations,
    );
    Parts {
        state_dir,
        log,
        spool,
        status,
        cluster,
        integrations,
        outputs,
    }
}

fn log(mut table: Table<'_>) -> Log {
    Log {
        format: table.one_of("format", FORMATS).unwrap_or(Format::Auto),
        level: table
            .one_of("level", LEVELS)
            .unwrap_or(tracing::Level::INFO),
    }
}

fn spool(mut table: Table<'_>) -> Spool {
    let Size(max_bytes) = table.optional("max_bytes").unwrap_or(Size(MAX_BYTES));
    let quarter = Size(max_bytes / 4);
    let Size(integration_max_bytes) = table.optional("integration_max_bytes").unwrap_or(quarter);
    let disk_low = table.optional("disk_low").map(|Size(bytes)| bytes);
    for (key, bytes) in [
        ("max_bytes", max_bytes),
        ("integration_max_bytes", integration_max_bytes),
    ] {
        if bytes < MIN_BYTES {
            table.reject(
                key,
                format!("is too small; expected at least {}", show_size(MIN_BYTES)),
            );
        }
    }
    if integration_max_bytes > max_bytes {
        let text = format!("is more than max_bytes, which is {}", show_size(max_bytes));
        table.reject("integration_max_bytes", text);
    }
    Spool {
        max_bytes,
        integration_max_bytes,
        disk_low,
    }
}

/// The integrations, and whether all of them could be read.
fn integrations<'a>(
    root: &mut Table<'a>,
    mut defaults: Table<'a>,
) -> (Vec<IntegrationConfig>, bool) {
    let mut tables = entries(root, "integration", &defaults, "what is fetched");
    let integrations: Vec<_> = tables
        .iter_mut()
        .filter_map(IntegrationConfig::read)
        .collect();
    let whole = !tables.is_empty() && integrations.len() == tables.len();
    IntegrationConfig::read(&mut defaults);
    let why = "an integration's state is kept under its name: choose another";
    Table::distinct::<IntegrationId>(&tables, "name", why);
    let why = "each integration needs a credential of its own: list the logs in one integration, or register another application";
    Table::distinct::<String>(&tables, "client_id", why);
    Table::distinct::<SecretSource>(&tables, "access_key", why);
    (integrations, whole)
}

fn outputs<'a>(
    root: &mut Table<'a>,
    mut defaults: Table<'a>,
    known: &Known,
    integrations: &[IntegrationConfig],
) -> Vec<OutputConfig> {
    let mut tables = entries(root, "output", &defaults, "where it goes");
    let mut outputs = Vec::new();
    for table in &mut tables {
        if let Some(output) = OutputConfig::read(table, known) {
            look_for_tags(table, &output, integrations);
            outputs.push(output);
        }
    }
    OutputConfig::read_defaults(&mut defaults, known);
    let why = "an output's positions are kept under its name: choose another";
    Table::distinct::<OutputId>(&tables, "name", why);
    // What could not be read may be what carries the rest.
    if known.whole && outputs.len() == tables.len() && !outputs.is_empty() {
        for log in not_carried(integrations, &outputs) {
            let text = format!(
                "no output takes {log}: add it to the integrations or logs of one, or do not fetch it"
            );
            root.complain("output", text);
        }
    }
    outputs
}

fn integration(integration: &IntegrationConfig) -> KnownIntegration {
    let logs = integration.logs.iter();
    KnownIntegration {
        id: integration.id.clone(),
        tags: integration.tags.clone(),
        logs: logs.map(|log| log.log.row.name.to_owned()).collect(),
    }
}

/// The logs, as `acme/audit`, that go to no output.
fn not_carried(integrations: &[IntegrationConfig], outputs: &[OutputConfig]) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    for integration in integrations {
        let streams = integration.logs.iter();
        for stream in streams.flat_map(|log| log.streams(&integration.id)) {
            let lane = LaneId::stream(&stream);
            if !outputs.iter().any(|output| output.route.takes(&lane)) {
                lost.insert(format!("{}/{}", stream.integration, stream.log));
            }
        }
    }
    lost
}

/// What an integration has no value for is left out of its events: that may be meant, but is worth a word.
fn look_for_tags(table: &mut Table<'_>, output: &OutputConfig, integrations: &[IntegrationConfig]) {
    for (key, tag) in output.kind.tags() {
        let lacking = |integration: &&IntegrationConfig| !integration.tags.contains_key(tag);
        if let Some(integration) = integrations.iter().find(lacking) {
            let name = &integration.id;
            let text =
                format!("integration '{name}' has no tag '{tag}': the default is used for it");
            table.warn(key, &text);
        }
    }
}

fn entries<'a>(
    root: &mut Table<'a>,
    key: &'static str,
    defaults: &Table<'a>,
    what: &str,
) -> Vec<Table<'a>> {
    let tables = root.tables(key);
    if !root.has(key) {
        root.missing(key, &format!("at least one [[{key}]], which says {what}"));
    }
    tables
        .into_iter()
        .map(|table| table.with_defaults(defaults))
        .collect()
}
