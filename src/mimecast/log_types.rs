//! THE table of log types: one row each, and nothing else to write for a type of a known paging style.

mod document;

use std::sync::Arc;
use std::time::Duration;

use super::budget::Quota;

pub use document::log_types_md;

/// A version of Mimecast's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// API 1.0: regional hosts, signed requests.
    V1,
    /// API 2.0: one global host, bearer tokens.
    V2,
}

impl Api {
    /// As the configuration writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

/// How the records of a log type are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// API 1.0: each reply is a file, its successor is named by the header `mc-siem-token`.
    SiemFiles {
        /// How records are written in a file.
        format: FileFormat,
        /// Whether an answer is a zip of several files, or one file.
        compress: bool,
    },
    /// API 2.0: pages of signed links to gzip files of NDJSON, continued by `@nextPage`.
    BatchFiles,
    /// API 2.0: pages of the events themselves, continued by `@nextPage`.
    Stream,
    /// The envelope of the POST endpoints: slices of time, pages within each, newest first.
    Window(Envelope),
    /// Documents of threat intelligence: slices of time, continued by the header `x-mc-threat-feed-next-token`.
    Feed {
        /// The vendor's name of the feed.
        feed: &'static str,
        /// How a document is written.
        format: FileFormat,
    },
    /// The envelope of the POST endpoints: all that is there now, or a list for each record of another list.
    Snapshot(Envelope, Option<Each>),
}

/// How records are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// JSON objects.
    Json,
    /// `key=value` joined by `|`.
    KeyValue,
    /// Values separated by `|` under a header row.
    Csv,
    /// STIX 2.0 bundles.
    Stix,
}

impl FileFormat {
    /// As Mimecast and the configuration write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::KeyValue => "key_value",
            Self::Csv => "csv",
            Self::Stix => "stix",
        }
    }
}

/// What the requests and replies of the POST endpoints name differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The request's members for the beginning and the end of a span of time, if it takes one.
    pub span: Option<(&'static str, &'static str)>,
    /// Members of the request that are `true`.
    pub flags: &'static [&'static str],
    /// The member of `data[0]` that lists the records, where they are not listed in `data` itself.
    pub list: Option<&'static str>,
}

impl Paging {
    /// What the requests and replies of an envelope name; for styles without one, what all envelopes have.
    #[must_use]
    pub const fn envelope(self) -> Envelope {
        match self {
            Self::Window(envelope) | Self::Snapshot(envelope, _) => envelope,
            Self::SiemFiles { .. } | Self::BatchFiles | Self::Stream | Self::Feed { .. } => {
                Envelope::PLAIN
            }
        }
    }

    /// The list of lists that it has records of, if it is one.
    #[must_use]
    pub const fn each(self) -> Option<Each> {
        match self {
            Self::Snapshot(_, each) => each,
            Self::SiemFiles { .. }
            | Self::BatchFiles
            | Self::Stream
            | Self::Window(_)
            | Self::Feed { .. } => None,
        }
    }

    /// The formats that its files can be asked for in.
    #[must_use]
    pub const fn formats(self) -> &'static [FileFormat] {
        match self {
            Self::SiemFiles { .. } => &[FileFormat::Json, FileFormat::KeyValue],
            Self::Feed { .. } => &[FileFormat::Csv, FileFormat::Stix],
            Self::BatchFiles | Self::Stream | Self::Window(_) | Self::Snapshot(..) => &[],
        }
    }
}

/// A list whose records each have a list of their own, which is asked for by their `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Each {
    /// Path of the list of lists.
    pub path: &'static str,
    /// The member that is added to each record, with that `id`.
    pub member: &'static str,
}

impl Envelope {
    /// No span, no wrapped list.
    pub const PLAIN: Self = Self {
        span: None,
        flags: &[],
        list: None,
    };

    const fn of(from: &'static str, to: &'static str) -> Self {
        Self {
            span: Some((from, to)),
            ..Self::PLAIN
        }
    }

    const fn list(self, list: &'static str) -> Self {
        Self {
            list: Some(list),
            ..self
        }
    }

    const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct LogType {
    /// The name in the configuration, in stream names and in the store.
    pub name: &'static str,
    /// The versions of the API that offer it.
    pub apis: &'static [Api],
    /// Path below the base URL; also the resource: what Mimecast counts calls of.
    pub path: &'static str,
    /// How many calls of it Mimecast takes, as far as is known.
    pub quota: Quota,
    /// How its records are listed.
    pub paging: Paging,
    /// The vendor's names of its event types, each a stream of its own; empty for one stream.
    pub event_types: &'static [&'static str],
    /// The records' member with the time of the event.
    pub time_field: &'static str,
    /// Records asked for in one page, at most what the vendor accepts; zero where there is no choice.
    pub page_size: u32,
    /// The path that has the events of the last 24 hours themselves, where there is one.
    pub stream: Option<&'static str>,
    /// From poll start to poll start, for types that change too slowly to be polled as often as others.
    pub interval: Option<Duration>,
    /// How far back the vendor keeps them.
    pub look_back: Duration,
    /// How far slices of time overlap, for records that are listed late; zero for types without slices.
    pub overlap: Duration,
    /// What it is, for documents.
    pub summary: &'static str,
}

const MINUTE: u64 = 60;
const DAY: Duration = Duration::from_secs(1440 * MINUTE);
const BOTH: &[Api] = &[Api::V1, Api::V2];

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY.as_secs())
}

const fn quota(calls: u32, window: u64) -> Quota {
    Quota {
        calls,
        window: Duration::from_secs(window),
    }
}

/// What most types of the envelope have in common: 500 is the largest page seen in use, and Mimecast lists most records within minutes.
const WINDOW: LogType = LogType {
    name: "",
    apis: BOTH,
    path: "",
    quota: quota(20, MINUTE),
    paging: Paging::Window(Envelope::of("from", "to")),
    event_types: &[],
    time_field: "eventTime",
    page_size: 500,
    stream: None,
    interval: None,
    look_back: days(60),
    overlap: Duration::from_secs(15 * MINUTE),
    summary: "",
};

/// What lists of what is there now have in common: they are not kept, so they reach back as far as anyone asks.
const SNAPSHOT: LogType = LogType {
    paging: Paging::Snapshot(Envelope::PLAIN, None),
    time_field: "",
    look_back: days(365),
    overlap: Duration::ZERO,
    ..WINDOW
};

/// Awareness training changes slowly, and its lists are as long as the list of employees.
const AWARENESS: LogType = LogType {
    interval: Some(DAY),
    ..SNAPSHOT
};

const CAMPAIGNS: &str = "/api/awareness-training/phishing/campaign/get-campaign";

/// API 2.0's files and events of mail, and those of one product.
const SIEM: LogType = LogType {
    apis: &[Api::V2],
    quota: quota(50, 15 * MINUTE),
    paging: Paging::BatchFiles,
    time_field: "timestamp",
    page_size: 100,
    look_back: days(7),
    overlap: Duration::ZERO,
    ..WINDOW
};

/// Documents of the last seven days, for accounts with threat intelligence.
const FEED: LogType = LogType {
    path: "/api/ttp/threat-intel/get-feed",
    time_field: "created",
    page_size: 0,
    look_back: days(7),
    ..WINDOW
};

/// All log types, in the order of the documents.
pub const LOG_TYPES: &[LogType] = &[
    LogType {
        name: "siem-cg",
        path: "/siem/v1/batch/events/cg",
        stream: Some("/siem/v1/events/cg"),
        event_types: &[
            "attachment protect",
            "av",
            "delivery",
            "impersonation protect",
            "internal email protect",
            "journal",
            "process",
            "receipt",
            "spam",
            "url protect",
        ],
        summary: "Mail flow and threats of the Cloud Gateway",
        ..SIEM
    },
    LogType {
        name: "siem-ci",
        path: "/siem/v1/batch/events/ci",
        stream: Some("/siem/v1/events/ci"),
        event_types: &["entities", "mailflow", "urlclick"],
        summary: "Mail flow and threats of Cloud Integrated",
        ..SIEM
    },
    LogType {
        name: "siem",
        apis: &[Api::V1],
        path: "/api/audit/get-siem-logs",
        paging: Paging::SiemFiles {
            format: FileFormat::Json,
            compress: true,
        },
        time_field: "datetime",
        page_size: 0,
        look_back: days(7),
        overlap: Duration::ZERO,
        summary: "Mail flow and threats of the gateway (MTA logs)",
        ..WINDOW
    },
    LogType {
        name: "audit",
        path: "/api/audit/get-audit-events",
        paging: Paging::Window(Envelope::of("startDateTime", "endDateTime")),
        summary: "Log-ons and changes in the administration console",
        ..WINDOW
    },
    LogType {
        name: "ttp-url",
        path: "/api/ttp/url/get-logs",
        paging: Paging::Window(Envelope::of("from", "to").list("clickLogs")),
        time_field: "date",
        summary: "Clicks on links that URL Protection has rewritten, and its verdicts",
        ..WINDOW
    },
    LogType {
        name: "ttp-attachment",
        path: "/api/ttp/attachment/get-logs",
        paging: Paging::Window(Envelope::of("from", "to").list("attachmentLogs")),
        time_field: "date",
        summary: "Attachments that Attachment Protection has checked, and its verdicts",
        ..WINDOW
    },
    LogType {
        name: "ttp-impersonation",
        path: "/api/ttp/impersonation/get-logs",
        paging: Paging::Window(Envelope::of("from", "to").list("impersonationLogs")),
        summary: "Mails that Impersonation Protection has found suspicious",
        ..WINDOW
    },
    LogType {
        name: "dlp",
        path: "/api/dlp/get-logs",
        paging: Paging::Window(Envelope::of("from", "to").list("dlpLogs")),
        summary: "Mails that a data leak prevention or content policy has acted on",
        ..WINDOW
    },
    LogType {
        name: "held-release",
        path: "/api/gateway/get-held-release-logs",
        paging: Paging::Window(Envelope::of("start", "end").list("heldReleaseLogs")),
        time_field: "released",
        look_back: days(30),
        summary: "Held mails that were released or rejected, and by whom",
        ..WINDOW
    },
    LogType {
        name: "rejections",
        path: "/api/gateway/get-rejections",
        paging: Paging::Window(
            Envelope::of("start", "end")
                .list("rejections")
                .flags(&["admin"]),
        ),
        time_field: "created",
        look_back: days(30),
        summary: "Connections and mails that the gateway has rejected",
        ..WINDOW
    },
    LogType {
        name: "archive-search",
        path: "/api/archive/get-archive-search-logs",
        paging: Paging::Window(Envelope::of("start", "end").list("logs")),
        time_field: "createTime",
        summary: "Searches in the archive, and their reasons",
        ..WINDOW
    },
    LogType {
        name: "archive-view",
        path: "/api/archive/get-view-logs",
        paging: Paging::Window(Envelope::of("start", "end")),
        time_field: "viewed",
        summary: "Mails in the archive that were looked at, and by whom",
        ..WINDOW
    },
    LogType {
        name: "held-messages",
        path: "/api/gateway/get-hold-message-list",
        paging: Paging::Snapshot(Envelope::of("start", "end").flags(&["admin"]), None),
        time_field: "dateReceived",
        look_back: days(30),
        summary: "The queue of held mails: each that is new or has changed",
        ..SNAPSHOT
    },
    LogType {
        name: "held-summary",
        path: "/api/gateway/get-hold-summary-list",
        summary: "How many mails each policy holds, when the number changes",
        ..SNAPSHOT
    },
    LogType {
        name: "awareness-performance",
        path: "/api/awareness-training/company/get-performance-details",
        summary: "Awareness training: answers of each employee, when they change",
        ..AWARENESS
    },
    LogType {
        name: "awareness-watchlist",
        path: "/api/awareness-training/company/get-watchlist-details",
        summary: "Awareness training: employees on the watch list, when they change",
        ..AWARENESS
    },
    LogType {
        name: "awareness-safe-score",
        path: "/api/awareness-training/company/get-safe-score-details",
        summary: "Awareness training: the score of each employee, when it changes",
        ..AWARENESS
    },
    LogType {
        name: "awareness-campaigns",
        path: CAMPAIGNS,
        summary: "Phishing campaigns of the awareness training and their counts, when they change",
        ..AWARENESS
    },
    LogType {
        name: "awareness-campaign-users",
        path: "/api/awareness-training/phishing/campaign/get-user-data",
        paging: Paging::Snapshot(
            Envelope::PLAIN.list("items"),
            Some(Each {
                path: CAMPAIGNS,
                member: "campaignId",
            }),
        ),
        summary: "What each employee did with a phishing campaign, when it changes",
        ..AWARENESS
    },
    LogType {
        name: "awareness-training",
        path: "/api/awareness-training/user/get-training-details",
        summary: "Awareness training: courses of each employee, when they change",
        ..AWARENESS
    },
    LogType {
        name: "threat-feed-customer",
        paging: Paging::Feed {
            feed: "malware_customer",
            format: FileFormat::Csv,
        },
        summary: "Threat intelligence: malware that was sent to the account",
        ..FEED
    },
    LogType {
        name: "threat-feed-grid",
        paging: Paging::Feed {
            feed: "malware_grid",
            format: FileFormat::Csv,
        },
        summary: "Threat intelligence: malware that was sent to all customers of the grid",
        ..FEED
    },
];

/// A log type as one integration fetches it: its row, and what the configuration may have otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its row.
    pub row: &'static LogType,
    /// How its records are listed.
    pub paging: Paging,
    /// Path below the base URL; also what Mimecast counts calls of.
    pub path: Arc<str>,
    /// How many calls of the path there may be; `None` for as many as a server takes.
    pub quota: Option<Quota>,
    /// Records, or files, asked for in one page.
    pub page_size: u32,
    /// How far back records can be asked for.
    pub look_back: Duration,
}

impl From<&'static LogType> for Log {
    fn from(row: &'static LogType) -> Self {
        Self {
            row,
            paging: row.paging,
            path: row.path.into(),
            quota: Some(row.quota),
            page_size: row.page_size,
            look_back: row.look_back,
        }
    }
}

impl Log {
    /// The type by its endpoint of events, if it has one; they are kept for 24 hours.
    #[must_use]
    pub fn streaming(row: &'static LogType) -> Option<Self> {
        Some(Self {
            paging: Paging::Stream,
            path: row.stream?.into(),
            quota: Some(quota(300, 60 * MINUTE)),
            look_back: DAY,
            ..row.into()
        })
    }

    /// For how long Mimecast keeps what is listed; `None` for lists of what is there now.
    #[must_use]
    pub const fn kept(&self) -> Option<Duration> {
        match self.paging {
            Paging::Snapshot(..) => None,
            Paging::SiemFiles { .. }
            | Paging::BatchFiles
            | Paging::Stream
            | Paging::Window(_)
            | Paging::Feed { .. } => Some(self.look_back),
        }
    }
}

/// A row is itself alone: two are equal if they are the same row.
impl PartialEq for LogType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LogType {}

/// The row of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static LogType> {
    LOG_TYPES.iter().find(|log| log.name == name)
}

/// The rows that an API version offers.
pub fn offered_by(api: Api) -> impl Iterator<Item = &'static LogType> {
    LOG_TYPES.iter().filter(move |log| log.apis.contains(&api))
}
