//! An integration: the way to Mimecast, whether the credential is taken, and which logs it may read.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::finding::{Finding, Part, Verdict};
use super::server;
use crate::clock::Clock;
use crate::health::{Class, Failure, Scope, lookup};
use crate::http::{Purpose, client, is_loopback};
use crate::mimecast::client::{Client, Http, Limits};
use crate::mimecast::log_types::Api;
use crate::mimecast::{FetchError, Gate, Probed};
use crate::poll::config::{IntegrationConfig, LogConfig};
use crate::status::{Condition, Phase, Report};
use crate::supervisor::credential;

const CREDENTIAL: &str = "credential";
/// The host of API 2.0 and its regional names.
const HOST_2: &str = "api.services.mimecast.com";
/// What the hosts of API 1.0 end in.
const HOSTS_1: [&str; 2] = ["-api.mimecast.com", "-api.mimecast-pscom-us.com"];

pub(super) async fn look(
    integration: &IntegrationConfig,
    state_dir: &Path,
    running: Option<&Report>,
    clock: &Clock,
) -> Part {
    let api = integration.credential.api();
    Part {
        subject: format!("Integration {} (API {})", integration.id, api.as_str()),
        findings: findings(integration, state_dir, running, clock).await,
    }
}

async fn findings(
    integration: &IntegrationConfig,
    state_dir: &Path,
    running: Option<&Report>,
    clock: &Clock,
) -> Vec<Finding> {
    let base_url = &integration.base_url;
    let connection = &integration.connection;
    let mut findings = vec![host(base_url, integration.credential.api())];
    let way = match client(connection, Purpose::Api) {
        Ok(client) => server::walk(base_url, connection, &client, clock).await,
        Err(error) => {
            let advice = "Correct ca_file or proxy.";
            vec![Finding::new(
                "client",
                Verdict::Failure,
                error.to_string(),
                advice,
            )]
        }
    };
    let reached = way
        .iter()
        .all(|finding| finding.verdict < Verdict::Failure || finding.what == "clock");
    findings.extend(way);
    if !reached {
        let detail = "not shown, since the server is not reached";
        findings.push(Finding::new(CREDENTIAL, Verdict::Skipped, detail, ""));
        return findings;
    }
    if let Some(blocked) = running.and_then(|report| blocked(integration, report)) {
        findings.push(blocked);
        return findings;
    }
    let source = credential(integration).map_err(|e| e.to_string());
    let source = source.and_then(|credential| {
        let http = Http::new(connection).map_err(|e| e.to_string())?;
        let limits = Limits::new(state_dir.to_owned());
        Ok(Client::new(
            base_url,
            credential,
            http,
            clock.clone(),
            limits,
        ))
    });
    match source {
        Ok(source) => findings.extend(ask(integration, &source).await),
        Err(why) => {
            let advice = "Put the secret in place, readable by the collector's user alone.";
            findings.push(Finding::new(CREDENTIAL, Verdict::Failure, why, advice));
        }
    }
    findings
}

/// Whether the host is one of the API version's.
fn host(base_url: &str, api: Api) -> Finding {
    const WHAT: &str = "base_url";
    let Some((host, _)) = server::place(base_url) else {
        return Finding::new(WHAT, Verdict::Failure, "it has no host", "Correct it.");
    };
    let is_2 = host == HOST_2 || host.ends_with(&format!("-{HOST_2}"));
    let is_1 = HOSTS_1.iter().any(|end| host.ends_with(end));
    if is_loopback(base_url) {
        return Finding::ok(WHAT, format!("{base_url}, a simulator on this machine"));
    }
    match api {
        Api::V1 if is_1 => Finding::ok(
            WHAT,
            format!("{host} is a host of API 1.0; the account must be of its region"),
        ),
        Api::V2 if is_2 => Finding::ok(WHAT, format!("{host} is a host of API 2.0")),
        Api::V1 if is_2 => {
            let detail = format!("{host} is a host of API 2.0, and the credential is of API 1.0");
            Finding::new(
                WHAT,
                Verdict::Failure,
                detail,
                "Give the region of the account.",
            )
        }
        Api::V2 if is_1 => {
            let detail = format!("{host} is a host of API 1.0, and the credential is of API 2.0");
            let advice = "Leave base_url out.";
            Finding::new(WHAT, Verdict::Failure, detail, advice)
        }
        Api::V1 | Api::V2 => {
            let detail = format!("{host} is not a host of Mimecast's that this version knows");
            let advice =
                "Leave base_url out, unless Mimecast has named this host for your account.";
            Finding::new(WHAT, Verdict::Warning, detail, advice)
        }
    }
}

/// What a running collector says of the credential, if nothing may be asked with it now.
fn blocked(integration: &IntegrationConfig, report: &Report) -> Option<Finding> {
    let mut all = report.integrations.iter();
    let found = all.find(|found| found.name == integration.id)?;
    let condition = &found.condition;
    (condition.state == Phase::Blocked).then(|| {
        let detail = format!(
            "nothing was asked: the running collector says {}",
            told(condition)
        );
        Finding::new(
            CREDENTIAL,
            Verdict::Failure,
            detail,
            condition.advice.clone(),
        )
    })
}

fn told(condition: &Condition) -> String {
    let key = condition.key.as_deref().unwrap_or("blocked");
    let until = match condition.until {
        Some(until) => format!(", until {until}"),
        None => String::new(),
    };
    format!("{key} {}{until}", condition.title)
}

/// Asks each log type for one record, until the credential is refused.
async fn ask(integration: &IntegrationConfig, source: &Client) -> Vec<Finding> {
    let gate = FirstRefusal::default();
    let mut logs = Vec::new();
    let mut met = BTreeSet::new();
    met.extend(server::place(&integration.base_url).map(|(host, _)| host));
    let mut calls_left: Option<(u64, u64)> = None;
    let mut accepted = false;
    for config in &integration.logs {
        let name = config.log.row.name;
        match source.probe(&gate, &config.log, first_type(config)).await {
            Ok(Probed {
                calls_left: left,
                hosts,
                ..
            }) => {
                accepted = true;
                met.extend(hosts);
                calls_left = [calls_left, left].into_iter().flatten().min();
                logs.push((name, Finding::ok(format!("log {name}"), "it may be read")));
            }
            Err(FetchError::Failed(failure)) if gate.is_closed() => {
                let mut findings = vec![Finding::failed(CREDENTIAL, &failure)];
                findings.extend(logs.into_iter().map(|(_, finding)| finding));
                let detail = "the other logs were not asked for: one refusal is enough";
                findings.push(Finding::new("logs", Verdict::Skipped, detail, ""));
                return findings;
            }
            Err(FetchError::Failed(failure)) => {
                accepted |= lookup(&failure).class == Class::Forbidden;
                logs.push((name, Finding::failed(format!("log {name}"), &failure)));
            }
            Err(error @ (FetchError::Sink(_) | FetchError::GateClosed)) => {
                let finding = Finding::new(
                    format!("log {name}"),
                    Verdict::Skipped,
                    error.to_string(),
                    "",
                );
                logs.push((name, finding));
            }
        }
    }
    let mut findings = vec![if accepted {
        Finding::ok(CREDENTIAL, "accepted")
    } else {
        let advice = "See what the logs say below.";
        Finding::new(CREDENTIAL, Verdict::Warning, "not known to be good", advice)
    }];
    findings.push(account(&logs));
    findings.extend(logs.into_iter().map(|(_, finding)| finding));
    findings.push(rate(calls_left));
    let met: Vec<_> = met.into_iter().collect();
    findings.push(Finding::ok(
        "hosts met",
        format!("{}: the firewall must let them pass", met.join(", ")),
    ));
    findings
}

/// A log's event types share one permission, so the first speaks for all.
fn first_type(config: &LogConfig) -> &str {
    let types = config.log.row.event_types;
    types.first().copied().unwrap_or_default()
}

/// What kind of account it is, as far as its logs tell.
fn account(logs: &[(&str, Finding)]) -> Finding {
    const WHAT: &str = "account type";
    let reads = |log: &str| {
        logs.iter()
            .find(|(name, _)| *name == log)
            .map(|(_, found)| found.verdict == Verdict::Ok)
    };
    match (reads("siem-cg"), reads("siem-ci")) {
        (Some(true), Some(true)) => Finding::ok(WHAT, "Cloud Gateway and Cloud Integrated"),
        (Some(true), _) => Finding::ok(WHAT, "Cloud Gateway (Email Security MX)"),
        (_, Some(true)) => Finding::ok(WHAT, "Cloud Integrated (Email Security AP)"),
        (Some(false), _) => Finding::new(
            WHAT,
            Verdict::Warning,
            "siem-cg is refused: it may be Cloud Integrated",
            "An account of Cloud Integrated (Email Security AP) has siem-ci in place of siem-cg.",
        ),
        (None, Some(false)) => Finding::new(
            WHAT,
            Verdict::Warning,
            "siem-ci is refused: it may be Cloud Gateway",
            "An account of Cloud Gateway (Email Security MX) has siem-cg in place of siem-ci.",
        ),
        (None, None) => Finding::ok(WHAT, "not told by the logs that are configured"),
    }
}

fn rate(left: Option<(u64, u64)>) -> Finding {
    const WHAT: &str = "rate limit";
    match left {
        Some((left, all)) if left * 10 < all => Finding::new(
            WHAT,
            Verdict::Warning,
            format!("{left} of {all} calls left where there are fewest"),
            "Look for another program that uses this application, or lengthen interval.",
        ),
        Some((left, all)) => Finding::ok(
            WHAT,
            format!("{left} of {all} calls left where there are fewest"),
        ),
        None => Finding::ok(WHAT, "Mimecast does not say how many calls are left"),
    }
}

/// Lets requests pass until one is refused for the credential's sake.
#[derive(Clone, Debug, Default)]
struct FirstRefusal(Arc<Mutex<bool>>);

impl FirstRefusal {
    fn is_closed(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate for FirstRefusal {
    type Permit = ();

    async fn pass(&self) -> Result<(), FetchError> {
        if self.is_closed() {
            return Err(FetchError::GateClosed);
        }
        Ok(())
    }

    fn failed(&self, failure: &Failure) {
        if lookup(failure).scope == Scope::Credential {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_other_version_is_a_failure_and_an_unknown_one_a_warning() {
        for (url, api, verdict) in [
            ("https://api.services.mimecast.com", Api::V2, Verdict::Ok),
            ("https://uk-api.services.mimecast.com", Api::V2, Verdict::Ok),
            ("https://eu-api.mimecast.com", Api::V1, Verdict::Ok),
            (
                "https://uspcom-api.mimecast-pscom-us.com",
                Api::V1,
                Verdict::Ok,
            ),
            ("https://eu-api.mimecast.com", Api::V2, Verdict::Failure),
            (
                "https://api.services.mimecast.com",
                Api::V1,
                Verdict::Failure,
            ),
            (
                "https://evil-api.services.mimecast.com.example",
                Api::V2,
                Verdict::Warning,
            ),
            ("http://127.0.0.1:8901", Api::V1, Verdict::Ok),
        ] {
            let found = host(url, api);
            assert_eq!(found.verdict, verdict, "{url}: {found:?}");
        }
    }

    #[test]
    fn few_calls_left_are_a_warning() {
        assert_eq!(rate(Some((1, 20))).verdict, Verdict::Warning);
        assert_eq!(rate(Some((2, 20))).verdict, Verdict::Ok);
        assert_eq!(rate(None).verdict, Verdict::Ok);
    }
}
