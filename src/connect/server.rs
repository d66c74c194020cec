//! The way to a server: proxy, name, connection, TLS, and what time it is there. Nothing that is sent here has a credential in it.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::finding::{Finding, Verdict};
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::{Connection, WayOut, server_time, transport_failure};
use crate::units::show_duration;

/// A person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A clock that is off by more is worth a look; Mimecast refuses signatures from some minutes on.
const SKEW: Duration = Duration::from_secs(60);
const TOO_MUCH_SKEW: Duration = Duration::from_secs(300);

/// Walks to a server as far as the way goes.
pub(super) async fn walk(
    url: &str,
    connection: &Connection,
    client: &reqwest::Client,
    clock: &Clock,
) -> Vec<Finding> {
    let Some((host, port)) = place(url) else {
        return vec![Finding::new(
            "url",
            Verdict::Failure,
            "it has no host",
            "Correct it.",
        )];
    };
    let way = connection.way_out(url);
    let mut findings = vec![match &way {
        WayOut::Direct => Finding::ok("proxy", "none is used"),
        WayOut::Proxy { host, port, of } => Finding::ok("proxy", format!("{host}:{port}, of {of}")),
    }];
    let (host, port, whose) = match &way {
        WayOut::Direct => (host, port, ""),
        WayOut::Proxy { host, port, .. } => (host.clone(), *port, "the proxy "),
    };
    match addresses(&host, port).await {
        Ok(found) => {
            let shown: Vec<_> = found.iter().take(3).map(|at| at.ip().to_string()).collect();
            let detail = format!("{whose}{host} is {}", shown.join(", "));
            findings.push(Finding::ok("dns", detail));
            findings.push(egress(&found, &way).await);
        }
        Err(why) => {
            let failure = Failure::new(Origin::Transport, 0, "dns", &host).with_detail(&why);
            findings.push(Finding::failed("dns", &failure));
            return findings;
        }
    }
    findings.extend(knock(url, client, clock).await);
    findings
}

/// Host and port of a URL.
pub(super) fn place(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = match timeout(PATIENCE, lookup_host((host, port))).await {
        Ok(found) => found.map_err(|e| e.to_string())?,
        Err(_) => return Err("no answer of the name servers".to_owned()),
    };
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err("it has no address".to_owned());
    }
    Ok(found)
}

/// The address that requests leave this machine with. No packet is sent to find out.
async fn egress(to: &[SocketAddr], way: &WayOut) -> Finding {
    const WHAT: &str = "egress";
    let Some(to) = to.first() else {
        return Finding::ok(WHAT, "unknown");
    };
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let from = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(to).await?;
        socket.local_addr()
    };
    match (from.await, way) {
        (Ok(from), WayOut::Direct) => Finding::ok(
            WHAT,
            format!(
                "{}, unless the network translates it: an allow list needs what is seen outside",
                from.ip()
            ),
        ),
        (Ok(from), WayOut::Proxy { .. }) => Finding::ok(
            WHAT,
            format!(
                "{} to the proxy; outside, the proxy's own is seen",
                from.ip()
            ),
        ),
        (Err(error), _) => Finding::new(
            WHAT,
            Verdict::Failure,
            format!("there is no route to {}: {error}", to.ip()),
            "Check this machine's routes, and whether it has an address of that family.",
        ),
    }
}

/// Asks for the root, which any server answers with something: that there is an answer is what counts.
async fn knock(url: &str, client: &reqwest::Client, clock: &Clock) -> Vec<Finding> {
    let what = if url.starts_with("https:") {
        "tls"
    } else {
        "connection"
    };
    let answer = client.get(format!("{url}/")).timeout(PATIENCE).send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let failure = transport_failure(&error, url);
            let what = if failure.code.starts_with("tls") {
                "tls"
            } else {
                "connection"
            };
            return vec![Finding::failed(what, &failure)];
        }
    };
    let detail = match what {
        "tls" => "the certificate is trusted and fits the name",
        _ => "it answers; without TLS",
    };
    let mut findings = vec![Finding::ok(what, detail)];
    if let Some(theirs) = server_time(answer.headers()) {
        let ours = clock.wall();
        let off = theirs.since(ours).max(ours.since(theirs));
        findings.push(skew(off));
    }
    findings
}

fn skew(off: Duration) -> Finding {
    const WHAT: &str = "clock";
    let detail = format!("{} off the server's", show_duration(off));
    let advice = "Set this machine's clock: timedatectl set-ntp true. Signatures and spans of time depend on it.";
    if off > TOO_MUCH_SKEW {
        Finding::new(WHAT, Verdict::Failure, detail, advice)
    } else if off > SKEW {
        Finding::new(WHAT, Verdict::Warning, detail, advice)
    } else {
        Finding::ok(WHAT, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        for (seconds, verdict) in [
            (0, Verdict::Ok),
            (60, Verdict::Ok),
            (61, Verdict::Warning),
            (301, Verdict::Failure),
        ] {
            assert_eq!(
                skew(Duration::from_secs(seconds)).verdict,
                verdict,
                "{seconds}"
            );
        }
    }

    #[test]
    fn a_place_has_the_port_that_its_scheme_implies() {
        let of = |url| place(url).unwrap();
        assert_eq!(of("https://x.example"), ("x.example".to_owned(), 443));
        assert_eq!(of("http://[::1]:81"), ("::1".to_owned(), 81));
    }
}
