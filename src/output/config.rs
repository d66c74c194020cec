//! What the configuration says of an output.

use super::hec::HecConfig;
use super::syslog::SyslogConfig;
use crate::model::OutputId;
use crate::secret::SecretSource;
use crate::settings::Table;

/// An output by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// Its name; its positions are kept under it.
    pub id: OutputId,
    /// What it is.
    pub kind: OutputKind,
}

/// The kinds of output, by the `type` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// `splunk_hec`: Splunk's HTTP Event Collector.
    SplunkHec(HecConfig),
    /// `syslog`: a syslog receiver.
    Syslog(SyslogConfig),
    /// `stdout`: one JSON object a line.
    Stdout,
}

impl OutputKind {
    /// The `type` of the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SplunkHec(_) => "splunk_hec",
            Self::Syslog(_) => "syslog",
            Self::Stdout => "stdout",
        }
    }
}

impl OutputKind {
    /// Where its secret is, if it has one.
    #[must_use]
    pub const fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::SplunkHec(hec) => Some(&hec.token),
            Self::Syslog(syslog) => syslog.client_key.as_ref(),
            Self::Stdout => None,
        }
    }
}

/// Reads the keys that a type of output has of its own.
type Reader = fn(&mut Table<'_>) -> Option<OutputKind>;

/// The types of output, by the names that the configuration has for them.
const TYPES: &[(&str, Reader)] = &[
    ("splunk_hec", |table| {
        HecConfig::read(table).map(OutputKind::SplunkHec)
    }),
    ("syslog", |table| {
        SyslogConfig::read(table).map(OutputKind::Syslog)
    }),
    ("stdout", |_| Some(OutputKind::Stdout)),
];

impl OutputConfig {
    /// Reads an `[[output]]`; what is wrong with it is noted.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let id = table.required("name");
        let Some(read) = table.required_one_of("type", TYPES) else {
            table.ignore_rest();
            return None;
        };
        let kind = read(table);
        Some(Self {
            id: id?,
            kind: kind?,
        })
    }

    /// Checks `[defaults.output]`, which may hold the keys of every type.
    pub fn read_defaults(table: &mut Table<'_>) {
        table.one_of("type", TYPES);
        for (_, read) in TYPES {
            read(table);
        }
    }
}
