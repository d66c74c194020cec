//! Reads an `[[integration]]`.

use std::time::Duration;

use super::log::{self, Common};
use super::region::REGIONS;
use super::{CredentialSource, DEFAULT_START, IntegrationConfig, LogConfig, POLL};
use crate::http::{BaseUrl, Connection, Proxy};
use crate::mimecast::log_types::{self, Api, LogType};
use crate::settings::{Item, Table, did_you_mean, quoted};
use crate::units::show_duration;

const APIS: &[(&str, Api)] = &[("2.0", Api::V2), ("1.0", Api::V1)];

/// The one host of API 2.0, which finds the region by itself.
const V2_URL: &str = "https://api.services.mimecast.com";

const V1_KEYS: [&str; 5] = [
    "application_id",
    "application_key",
    "access_key",
    "secret_key",
    "region",
];
const V2_KEYS: [&str; 2] = ["client_id", "client_secret"];

/// Far below the shortest time that Mimecast keeps logs, so that an outage leaves time for repair.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);

impl IntegrationConfig {
    /// Reads an `[[integration]]`; what is wrong with it is noted.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let id = table.required("name");
        let api = table
            .one_of("api", APIS)
            .unwrap_or_else(|| implied_api(table));
        let credential = credential(table, api);
        let server = server(table, api);
        let interval = interval(table, server.as_ref(), POLL);
        let start = table.optional("start").unwrap_or(DEFAULT_START);
        let chosen = logs(table, api);
        let tags = table.optional("tags").unwrap_or_default();
        let connection = Connection::read(table, Proxy::Environment);
        let common = Common {
            server: server.as_ref(),
            interval,
            start,
        };
        let logs = log::read(table, chosen.as_deref(), &common);
        warn_of_cut(table, start, &logs);
        if chosen.is_some() && logs.is_empty() {
            table.reject("logs", "has no log type that is enabled".to_owned());
        }
        Some(Self {
            id: id?,
            credential: credential?,
            base_url: server?.url,
            logs: chosen.map(|_| logs)?,
            tags,
            connection,
        })
    }
}

/// Says which logs Mimecast does not keep for as long as the first poll is to go back.
fn warn_of_cut(table: &mut Table<'_>, start: Duration, logs: &[LogConfig]) {
    let is_cut = |log: &&LogConfig| log.start < start && log.start == log.log.look_back;
    let kept = |log: &LogConfig| format!("{} for {}", log.log.row.name, show_duration(log.start));
    let cut: Vec<_> = logs.iter().filter(is_cut).map(kept).collect();
    if !cut.is_empty() {
        let logs = cut.join(", ");
        let text = format!("Mimecast keeps {logs}: their first poll goes back no further");
        table.warn("start", &text);
    }
}

/// The API that the credential is for, where the integration does not say or cannot be understood.
fn implied_api(table: &Table<'_>) -> Api {
    let has_any = |keys: &[&str]| keys.iter().any(|key| table.has(key));
    if has_any(&V1_KEYS) && !has_any(&V2_KEYS) {
        Api::V1
    } else {
        Api::V2
    }
}

fn credential(table: &mut Table<'_>, api: Api) -> Option<CredentialSource> {
    let (foreign, why): (&[_], _) = match api {
        Api::V1 => (
            &V2_KEYS,
            "belongs to API 2.0, but this integration uses API 1.0; remove it, or set api = \"2.0\"",
        ),
        Api::V2 => (
            &V1_KEYS,
            "belongs to API 1.0, but this integration uses API 2.0; remove it, or set api = \"1.0\"",
        ),
    };
    for key in foreign {
        table.refuse(key, why);
    }
    match api {
        Api::V1 => {
            let application_id = table.required("application_id");
            let application_key = table.required("application_key");
            let access_key = table.required("access_key");
            let secret_key = table.required("secret_key");
            Some(CredentialSource::V1 {
                application_id: application_id?,
                application_key: application_key?,
                access_key: access_key?,
                secret_key: secret_key?,
            })
        }
        Api::V2 => {
            let client_id = table.required("client_id");
            let client_secret = table.required("client_secret");
            Some(CredentialSource::V2 {
                client_id: client_id?,
                client_secret: client_secret?,
            })
        }
    }
}

/// The server to ask: what the integration says by `base_url` or `region`, else what the defaults say, else API 2.0's only one.
fn server(table: &mut Table<'_>, api: Api) -> Option<Server> {
    let item = table.find("base_url");
    let region = match api {
        Api::V1 => table.one_of("region", REGIONS),
        Api::V2 => None,
    };
    if table.has("base_url") && region.is_some() && table.has("region") {
        let text = "base_url names the server already; keep one of the two";
        table.reject("region", text.to_owned());
    }
    match (item, region) {
        (Some(item), None) => given_server(&item),
        (Some(item), Some(_)) if table.has("base_url") => given_server(&item),
        (_, Some(url)) => Some(Server::of_mimecast(url)),
        (None, None) if api == Api::V2 => Some(Server::of_mimecast(V2_URL)),
        (None, None) => {
            if table.find("region").is_none() {
                let names = quoted(REGIONS.iter().map(|(name, _)| *name));
                table.missing("region", &format!("one of {names}, or base_url"));
            }
            None
        }
    }
}

fn given_server(item: &Item<'_>) -> Option<Server> {
    let url: BaseUrl = item.read()?;
    if url.is_exposed() {
        item.reject("credentials go over https only; write https://".to_owned());
    }
    Some(Server {
        url: url.text(),
        is_loopback: url.is_loopback(),
    })
}

pub(super) struct Server {
    url: String,
    pub(super) is_loopback: bool,
}

impl Server {
    fn of_mimecast(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            is_loopback: false,
        }
    }
}

pub(super) fn interval(
    table: &mut Table<'_>,
    server: Option<&Server>,
    usual: Duration,
) -> Duration {
    let interval = table.optional("interval").unwrap_or(usual);
    // Only a simulator is asked more often; a server that could not be read is not judged twice.
    let min = match server {
        Some(server) if !server.is_loopback => POLL,
        Some(_) | None => Duration::from_millis(1),
    };
    let reason = if interval < min {
        format!(
            "too short; expected at least {} from one poll of a log to the next",
            show_duration(min)
        )
    } else if interval > MAX_INTERVAL {
        format!(
            "too long; expected at most {}, so that nothing expires at Mimecast before it is fetched",
            show_duration(MAX_INTERVAL)
        )
    } else {
        return interval;
    };
    table.reject(
        "interval",
        format!("{} is {reason}", show_duration(interval)),
    );
    interval
}

fn logs(table: &mut Table<'_>, api: Api) -> Option<Vec<&'static LogType>> {
    const EXPECTED: &str = "a list such as [\"siem-cg\", \"audit\"], or \"all\"";
    let Some(item) = table.find("logs") else {
        table.missing("logs", EXPECTED);
        return None;
    };
    let offered = || log_types::offered_by(api);
    if item.text().is_ok_and(|text| text == "all") {
        return Some(offered().collect());
    }
    let names = || offered().map(|log| log.name);
    let Some(elements) = item.elements().filter(|elements| !elements.is_empty()) else {
        item.reject(format!(
            "expected {EXPECTED}; API {} offers {}",
            api.as_str(),
            quoted(names())
        ));
        return None;
    };
    let mut logs = Vec::new();
    for element in elements {
        let Some(name) = element.read::<String>() else {
            continue;
        };
        match log_types::find(&name) {
            Some(log) if logs.contains(&log) => {
                element.reject(format!("\"{name}\" stands here twice; once is enough"));
            }
            Some(log) if log.apis.contains(&api) => logs.push(log),
            Some(_) => element.reject(format!(
                "API {} does not offer \"{name}\"; it offers {}",
                api.as_str(),
                quoted(names())
            )),
            None => {
                let meant = did_you_mean(&name, names());
                let all = match meant.as_str() {
                    "" => format!("; API {} offers {}", api.as_str(), quoted(names())),
                    _ => String::new(),
                };
                element.reject(format!("unknown log type {name:?}{meant}{all}"));
            }
        }
    }
    Some(logs)
}
