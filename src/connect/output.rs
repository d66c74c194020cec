//! An output: the way to the receiver, and whether it takes an event.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::finding::{Finding, Part, Verdict};
use super::server;
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::{HttpError, Purpose, client, client_as};
use crate::output::config::{OutputConfig, OutputKind};
use crate::output::exec::{ExecConfig, unfit};
use crate::output::file::FileConfig;
use crate::output::hec::{AckMode, HecConfig, probe};
use crate::output::http::{Http, HttpConfig};
use crate::output::syslog::{Syslog, SyslogConfig, Transport};
use crate::output::webhook::{Webhook, WebhookConfig};
use crate::secret::SecretSource;

pub(super) async fn look(output: &OutputConfig, clock: &Clock) -> Part {
    let findings = match &output.kind {
        OutputKind::SplunkHec(config) => hec(config, clock).await,
        OutputKind::Syslog(config) => syslog(config).await,
        OutputKind::Http(config) => http(config, clock).await,
        OutputKind::File(config) => vec![file(config)],
        OutputKind::Stdout => vec![Finding::ok(
            "receiver",
            "standard output; there is nothing to reach",
        )],
        OutputKind::Webhook(config) => webhook(config, clock).await,
        OutputKind::Exec(config) => vec![exec(config)],
    };
    Part {
        subject: format!("Output {} ({})", output.id, output.kind.as_str()),
        findings,
    }
}

/// Whether files can be begun and renamed in the folder, and the present one written; makes none.
fn file(config: &FileConfig) -> Finding {
    let path = &config.path;
    let shown = path.display();
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let into = access(folder, Access::WRITE_OK | Access::EXEC_OK);
    let looked = into.and_then(|()| match access(path, Access::WRITE_OK) {
        Err(Errno::NOENT) => Ok(()),
        looked => looked,
    });
    match looked {
        Ok(()) => Finding::ok("receiver", format!("{shown} can be written")),
        Err(error) => {
            let detail = format!("{shown} cannot be written: {error}");
            let advice = "Make its folder, writable for the collector's user; under systemd, name it in ReadWritePaths.";
            Finding::new("receiver", Verdict::Failure, detail, advice)
        }
    }
}

fn unusable_client(error: &HttpError) -> Vec<Finding> {
    let advice = "Correct ca_file or proxy.";
    let detail = error.to_string();
    vec![Finding::new("client", Verdict::Failure, detail, advice)]
}

/// The way to a webhook. It is told nothing: whoever reads its messages would think that something is wrong.
async fn webhook(config: &WebhookConfig, clock: &Clock) -> Vec<Finding> {
    let client = match client(&config.connection, Purpose::Api) {
        Ok(client) => client,
        Err(error) => return unusable_client(&error),
    };
    let webhook = match Webhook::new(config, client.clone()) {
        Ok(webhook) => webhook,
        Err(error) => {
            let advice = "Put the secret in place, readable by the collector's user alone.";
            let detail = error.to_string();
            return vec![Finding::new("secrets", Verdict::Failure, detail, advice)];
        }
    };
    let mut findings = server::walk(&webhook.base(), &config.connection, &client, clock).await;
    let detail = "none was sent: whether the receiver takes one is seen with the first alert";
    findings.push(Finding::ok("message", detail));
    findings
}

/// Whether a program may be started; it is not.
fn exec(config: &ExecConfig) -> Finding {
    let shown = config.program.display();
    match unfit(&config.program) {
        None => Finding::ok("program", format!("{shown} can be started; it was not")),
        Some(why) => {
            let advice = "Put the program in place, executable, and writable for its owner alone, like its folder.";
            Finding::new("program", Verdict::Failure, why, advice)
        }
    }
}

async fn hec(config: &HecConfig, clock: &Clock) -> Vec<Finding> {
    let client = match client(&config.connection, Purpose::Api) {
        Ok(client) => client,
        Err(error) => return unusable_client(&error),
    };
    let mut findings = Vec::new();
    for url in &config.urls {
        findings.extend(hec_at(url, config, &client, clock).await);
    }
    findings
}

async fn hec_at(
    url: &str,
    config: &HecConfig,
    client: &reqwest::Client,
    clock: &Clock,
) -> Vec<Finding> {
    let mut findings = server::walk(url, &config.connection, client, clock).await;
    if findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Failure && finding.what != "clock")
    {
        let detail = "not shown, since the server is not reached";
        findings.push(Finding::new("token", Verdict::Skipped, detail, ""));
        return findings;
    }
    let token = match config.token.read() {
        Ok(token) => token,
        Err(error) => {
            let advice = "Put the token in place, readable by the collector's user alone.";
            findings.push(Finding::new(
                "token",
                Verdict::Failure,
                error.to_string(),
                advice,
            ));
            return findings;
        }
    };
    let probed = probe(config, url, &token, client).await;
    findings.push(match probed.health {
        Ok(()) => Finding::ok("health", "the collector is healthy"),
        Err(failure) => Finding::failed("health", &failure),
    });
    match probed.event {
        Ok(is_acknowledged) => {
            let index = config.labels.own_index("check");
            let index = index.as_deref().unwrap_or("of the token's own");
            findings.push(match (is_acknowledged, config.ack) {
                (true, AckMode::Auto | AckMode::On) => {
                    Finding::ok("token", "accepted, with acknowledgement")
                }
                (true, AckMode::Off) => Finding::ok(
                    "token",
                    "accepted; its acknowledgement is not asked for, as ack says",
                ),
                (false, AckMode::Auto | AckMode::Off) => {
                    Finding::ok("token", "accepted, without acknowledgement")
                }
                (false, AckMode::On) => {
                    Finding::failed("token", &Failure::new(Origin::Hec, 0, "14", url))
                }
            });
            findings.push(Finding::ok(
                "index",
                format!("{index}: an event of sourcetype mimecast:collector:check was taken"),
            ));
        }
        // HEC's codes that mean the index, and a channel that did not arrive.
        Err(failure) => {
            let what = match failure.code.as_str() {
                "7" => "index",
                "10" | "11" => "acknowledgement",
                _ => "token",
            };
            findings.push(Finding::failed(what, &failure));
        }
    }
    findings
}

/// A body without events shows whether the receiver lets us in, and stores nothing.
async fn http(config: &HttpConfig, clock: &Clock) -> Vec<Finding> {
    let unusable = |what: &str, error: String, advice: &str| {
        vec![Finding::new(what, Verdict::Failure, error, advice)]
    };
    let key = match config.identity().map(|(_, key)| key.read()).transpose() {
        Ok(key) => key,
        Err(error) => {
            let advice = "Put the key in place, readable by the collector's user alone.";
            return unusable("client_key", error.to_string(), advice);
        }
    };
    let identity = config.client_cert.as_deref().zip(key.as_ref());
    let client = match client_as(&config.connection, Purpose::Api, identity) {
        Ok(client) => client,
        Err(error) => {
            let advice = "Correct ca_file, proxy, client_cert or client_key.";
            return unusable("client", error.to_string(), advice);
        }
    };
    let http = match Http::new(config, client.clone()) {
        Ok(http) => http,
        Err(error) => {
            let advice = "Put the secrets in place, readable by the collector's user alone.";
            return unusable("secrets", error.to_string(), advice);
        }
    };
    let mut findings = Vec::new();
    for (place, probed) in config.urls.iter().zip(http.probe().await) {
        findings.extend(server::walk(&place.base(), &config.connection, &client, clock).await);
        findings.push(match probed {
            Ok(()) => Finding::ok(
                "receiver",
                format!("{} answers a body without events", place.endpoint()),
            ),
            Err(failure) => Finding::failed("receiver", &failure),
        });
    }
    findings
}

/// Syslog answers nothing, so a connection that stands is all that can be seen from here.
async fn syslog(config: &SyslogConfig) -> Vec<Finding> {
    let unusable = |what: &str, error: String| {
        let advice = "Correct ca_file, client_cert or client_key.";
        vec![Finding::new(what, Verdict::Failure, error, advice)]
    };
    let key = match config
        .client_key
        .as_ref()
        .map(SecretSource::read)
        .transpose()
    {
        Ok(key) => key,
        Err(error) => return unusable("client_key", error.to_string()),
    };
    let syslog = match Syslog::new(config, key) {
        Ok(syslog) => syslog,
        Err(error) => return unusable("client", error.to_string()),
    };
    let probed = syslog.probe().await;
    let servers = config.servers.iter().zip(probed);
    let judge = |(server, probed): (&String, Result<(), Failure>)| match probed {
        Ok(()) => reached(config.transport, server),
        Err(failure) => Finding::failed("receiver", &failure),
    };
    servers.map(judge).collect()
}

fn reached(transport: Transport, server: &str) -> Finding {
    const WHAT: &str = "receiver";
    match transport {
        Transport::Tls => Finding::ok(
            WHAT,
            format!("{server} is connected; its certificate is trusted and fits the name"),
        ),
        Transport::Tcp => Finding::ok(WHAT, format!("{server} is connected, without TLS")),
        Transport::Unix => Finding::ok(WHAT, format!("{server} is connected")),
        Transport::Udp => Finding::new(
            WHAT,
            Verdict::Warning,
            format!(
                "{server} is a name or address that can be sent to; whether anything arrives cannot be known over UDP"
            ),
            "Look for the events at the receiver, or use transport = \"tcp\" or \"tls\".",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::batching::Oversized;
    use crate::output::format::Format;

    #[test]
    fn a_file_whose_folder_is_missing_is_a_failure_and_none_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| FileConfig {
            path: dir.path().join(name),
            format: Format::Json,
            rotate_bytes: 1,
            rotate_every: Duration::from_hours(1),
            keep: None,
            oversized: Oversized::default(),
        };
        assert_eq!(file(&at("events")).verdict, Verdict::Ok);
        assert_eq!(file(&at("no/events")).verdict, Verdict::Failure);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
