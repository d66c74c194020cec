//! What the configuration says of an output.

use super::exec::{ExecConfig, unfit};
use super::file::FileConfig;
use super::filter::FilterConfig;
use super::hec::{HecConfig, Labels};
use super::http::HttpConfig;
use super::route::{Known, Way};
use super::syslog::SyslogConfig;
use super::webhook::WebhookConfig;
use crate::model::{Carry, OutputId, Route};
use crate::secret::SecretSource;
use crate::settings::{Place, Table};

/// An output by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// Its name; its positions are kept under it.
    pub id: OutputId,
    /// What goes to it.
    pub route: Route,
    /// What of that it is not offered, and which fields it does not see.
    pub filter: FilterConfig,
    /// What it is.
    pub kind: OutputKind,
}

/// The kinds of output, by the `type` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// `splunk_hec`: Splunk's HTTP Event Collector.
    SplunkHec(Box<HecConfig>),
    /// `syslog`: a syslog receiver.
    Syslog(SyslogConfig),
    /// `http`: batches of events by POST.
    Http(Box<HttpConfig>),
    /// `file`: one event a line, in a file.
    File(FileConfig),
    /// `stdout`: one JSON object a line.
    Stdout,
    /// `webhook`: messages about alerts.
    Webhook(Box<WebhookConfig>),
    /// `exec`: a program that is told of alerts.
    Exec(ExecConfig),
}

impl OutputKind {
    /// The `type` of the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SplunkHec(_) => "splunk_hec",
            Self::Syslog(_) => "syslog",
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Stdout => "stdout",
            Self::Webhook(_) => "webhook",
            Self::Exec(_) => "exec",
        }
    }
}

impl OutputKind {
    /// What it carries unless it is told.
    #[must_use]
    pub const fn carries(&self) -> Carry {
        match self {
            Self::SplunkHec(_) | Self::Syslog(_) | Self::Http(_) | Self::File(_) | Self::Stdout => {
                Carry::ALL
            }
            Self::Webhook(_) | Self::Exec(_) => Carry::ALERTS,
        }
    }

    /// Whether it can carry what integrations fetch.
    #[must_use]
    pub const fn takes_events(&self) -> bool {
        self.carries().events
    }

    /// What is doubtful about what it names on this machine, with the key and the place that name it.
    #[must_use]
    pub fn doubt(&self) -> Option<(&'static str, Place, String)> {
        match self {
            Self::Exec(exec) => {
                let why = unfit(&exec.program)?;
                Some(("program", exec.named.0.clone()?, why))
            }
            Self::SplunkHec(_)
            | Self::Syslog(_)
            | Self::Http(_)
            | Self::File(_)
            | Self::Stdout
            | Self::Webhook(_) => None,
        }
    }

    /// Where its secrets are.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match self {
            Self::SplunkHec(hec) => vec![&hec.token],
            Self::Syslog(syslog) => syslog.client_key.iter().collect(),
            Self::Http(http) => http.secrets().collect(),
            Self::File(_) | Self::Stdout => Vec::new(),
            Self::Webhook(webhook) => webhook.all_secrets().collect(),
            Self::Exec(exec) => exec.secrets.values().collect(),
        }
    }
}

impl OutputKind {
    /// Whether events go with what is known of their integrations.
    #[must_use]
    pub const fn shows_integrations(&self) -> bool {
        match self {
            Self::SplunkHec(_) => true,
            Self::Syslog(_)
            | Self::Http(_)
            | Self::File(_)
            | Self::Stdout
            | Self::Webhook(_)
            | Self::Exec(_) => false,
        }
    }

    /// The tags of integrations that it needs, by the keys that need them.
    pub fn tags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let labels = match self {
            Self::SplunkHec(hec) => Some(&hec.labels),
            Self::Syslog(_)
            | Self::Http(_)
            | Self::File(_)
            | Self::Stdout
            | Self::Webhook(_)
            | Self::Exec(_) => None,
        };
        labels.into_iter().flat_map(Labels::tags)
    }
}

/// Reads the keys that a type of output has of its own.
type Reader = fn(&mut Table<'_>) -> Option<OutputKind>;

/// The types of output, by the names that the configuration has for them.
const TYPES: &[(&str, Reader)] = &[
    ("splunk_hec", |table| {
        HecConfig::read(table).map(|hec| OutputKind::SplunkHec(Box::new(hec)))
    }),
    ("syslog", |table| {
        SyslogConfig::read(table).map(OutputKind::Syslog)
    }),
    ("http", |table| {
        HttpConfig::read(table).map(|http| OutputKind::Http(Box::new(http)))
    }),
    ("file", |table| {
        FileConfig::read(table).map(OutputKind::File)
    }),
    ("stdout", |_| Some(OutputKind::Stdout)),
    ("webhook", |table| {
        WebhookConfig::read(table).map(|webhook| OutputKind::Webhook(Box::new(webhook)))
    }),
    ("exec", |table| {
        ExecConfig::read(table).map(OutputKind::Exec)
    }),
];

impl OutputConfig {
    /// Reads an `[[output]]`; what is wrong with it is noted.
    pub fn read(table: &mut Table<'_>, known: &Known) -> Option<Self> {
        let id = table.required::<OutputId>("name");
        let way = Way::read(table, known);
        let filter = FilterConfig::read(table);
        let Some(read) = table.required_one_of("type", TYPES) else {
            table.ignore_rest();
            return None;
        };
        let kind = read(table);
        let (id, kind) = (id?, kind?);
        let route = way.to(id.clone(), kind.carries());
        if route.carry.events && !kind.takes_events() {
            let text = format!("a {} carries alerts and heartbeats only", kind.as_str());
            table.reject("carry", text);
        }
        Some(Self {
            route,
            id,
            filter,
            kind,
        })
    }

    /// Checks `[defaults.output]`, which may hold the keys of every type.
    pub fn read_defaults(table: &mut Table<'_>, known: &Known) {
        table.one_of("type", TYPES);
        Way::read(table, known);
        FilterConfig::read(table);
        for (_, read) in TYPES {
            read(table);
        }
    }
}
