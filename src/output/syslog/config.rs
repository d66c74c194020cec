//! What the configuration says of a syslog output.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::output::batching::Then;
use crate::output::format::Format;
use crate::secret::SecretSource;
use crate::settings::{Item, Setting, Size, Table, Wrong};
use crate::units::show_size;

/// 8 KiB: RFC 5425 wants receivers to take it, and it is rsyslog's default.
const STREAM_BYTES: u64 = 8 << 10;
/// 2 KiB: RFC 5424 wants receivers to take it.
const DATAGRAM_BYTES: u64 = 2 << 10;
/// The classic limit of RFC 3164.
const OLD_DATAGRAM_BYTES: u64 = 1 << 10;
/// 480 B: what RFC 5424 obliges every receiver to take. Header and the shortest event fit in it.
const MIN_BYTES: u64 = 480;
const MAX_BYTES: u64 = 1 << 20;
/// What an IPv4 datagram can hold.
const MAX_DATAGRAM_BYTES: u64 = 65_507;

/// A syslog receiver, or several that stand in for one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogConfig {
    /// Where it is: `host:port`, or a path for a Unix socket. At least one.
    pub servers: Vec<String>,
    /// How it is reached.
    pub transport: Transport,
    /// The form of the header.
    pub rfc: Rfc,
    /// What tells messages of a stream apart.
    pub framing: Framing,
    /// The form of the body.
    pub format: Format,
    /// The facility's number.
    pub facility: u8,
    /// The name of the program in the header.
    pub app_name: String,
    /// The name of the host in the header; this machine's if absent.
    pub hostname: Option<String>,
    /// Bytes of a message at most, with its header and without its frame.
    pub max_bytes: usize,
    /// What becomes of longer ones.
    pub oversized: Then,
    /// PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that is shown to the receiver, with those between it and its authority.
    pub client_cert: Option<PathBuf>,
    /// The private key of that, in PEM.
    pub client_key: Option<SecretSource>,
}

/// How a receiver is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS over TCP, RFC 5425.
    Tls,
    /// TCP, RFC 6587.
    Tcp,
    /// UDP, RFC 5426.
    Udp,
    /// A Unix socket of datagrams, or else of a stream.
    Unix,
}

/// The form of a message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rfc {
    /// RFC 5424: time with zone, structured data.
    Rfc5424,
    /// RFC 3164: neither year nor zone.
    Rfc3164,
}

/// What tells messages of a stream apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The length stands before each message.
    OctetCounting,
    /// A line feed stands behind each message.
    Lf,
}

const TRANSPORTS: &[(&str, Transport)] = &[
    ("tls", Transport::Tls),
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("unix", Transport::Unix),
];
const RFCS: &[(&str, Rfc)] = &[("5424", Rfc::Rfc5424), ("3164", Rfc::Rfc3164)];
const FRAMINGS: &[(&str, Framing)] = &[
    ("octet-counting", Framing::OctetCounting),
    ("lf", Framing::Lf),
];
const FACILITIES: &[(&str, u8)] = &[
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("audit", 13),
    ("alert", 14),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl SyslogConfig {
    /// Reads the keys of the type `syslog`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let transport = table
            .one_of("transport", TRANSPORTS)
            .unwrap_or(Transport::Tls);
        let servers = table
            .required::<Servers>("address")
            .map(|Servers(servers)| servers);
        if let Some(servers) = &servers {
            check(table, transport, servers);
        }
        let rfc = table.one_of("rfc", RFCS).unwrap_or(Rfc::Rfc5424);
        let framing = framing(table, transport);
        let format = Format::read(table);
        let facility = table.one_of("facility", FACILITIES).unwrap_or(16);
        let app_name = table.optional::<HeaderText>("app_name");
        let hostname = table.optional::<HeaderText>("hostname");
        let max_bytes = max_bytes(table, transport, rfc);
        let oversized = Then::read(table);
        let ca_file = table.optional("ca_file");
        let client_cert = table.optional::<PathBuf>("client_cert");
        let client_key = table.optional("client_key");
        if table.has("client_cert") != table.has("client_key") {
            let (there, missing) = if table.has("client_cert") {
                ("client_cert", "client_key")
            } else {
                ("client_key", "client_cert")
            };
            table.reject(there, format!("needs {missing} beside it"));
        }
        for key in ["ca_file", "client_cert", "client_key"] {
            if transport != Transport::Tls && table.has(key) {
                table.reject(key, "is for transport = \"tls\" only".to_owned());
            }
        }
        Some(Self {
            servers: servers?,
            transport,
            rfc,
            framing,
            format: format?,
            facility,
            app_name: app_name
                .map_or_else(|| "mimecast-collector".to_owned(), |HeaderText(text)| text),
            hostname: hostname.map(|HeaderText(text)| text),
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            oversized,
            ca_file,
            client_cert,
            client_key,
        })
    }
}

fn framing(table: &mut Table<'_>, transport: Transport) -> Framing {
    let framing = table.one_of("framing", FRAMINGS);
    match (transport, framing) {
        (Transport::Tls, Some(Framing::Lf)) => table.warn(
            "framing",
            "RFC 5425 has messages over TLS counted; this is for a receiver that does not know how",
        ),
        (Transport::Udp, Some(_)) => table.reject(
            "framing",
            "a datagram is one message, without a frame".to_owned(),
        ),
        (Transport::Tls | Transport::Tcp | Transport::Unix | Transport::Udp, _) => {}
    }
    framing.unwrap_or(match transport {
        Transport::Tls => Framing::OctetCounting,
        Transport::Tcp | Transport::Udp | Transport::Unix => Framing::Lf,
    })
}

fn max_bytes(table: &mut Table<'_>, transport: Transport, rfc: Rfc) -> u64 {
    let (default, most) = match (transport, rfc) {
        (Transport::Udp, Rfc::Rfc5424) => (DATAGRAM_BYTES, MAX_DATAGRAM_BYTES),
        (Transport::Udp, Rfc::Rfc3164) => (OLD_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES),
        (Transport::Tls | Transport::Tcp, _) => (STREAM_BYTES, MAX_BYTES),
        (Transport::Unix, _) => (STREAM_BYTES, MAX_DATAGRAM_BYTES),
    };
    let Size(bytes) = table.optional("max_bytes").unwrap_or(Size(default));
    if !(MIN_BYTES..=most).contains(&bytes) {
        let text = format!(
            "must be from {} to {}",
            show_size(MIN_BYTES),
            show_size(most)
        );
        table.reject("max_bytes", text);
    }
    bytes
}

fn check(table: &mut Table<'_>, transport: Transport, servers: &[String]) {
    for server in servers {
        let wrong = match (transport, host_and_port(server)) {
            (Transport::Unix, _) if server.starts_with('/') => None,
            (Transport::Unix, _) => Some("expected a path that begins with \"/\""),
            (Transport::Tls, Some((host, _)))
                if rustls::pki_types::ServerName::try_from(host).is_err() =>
            {
                Some("has no host name that a certificate could be for")
            }
            (Transport::Tls | Transport::Tcp | Transport::Udp, Some(_)) => None,
            (Transport::Tls | Transport::Tcp | Transport::Udp, None) => {
                Some("expected host and port, such as \"siem.example.com:6514\"")
            }
        };
        if let Some(wrong) = wrong {
            table.reject("address", format!("{server:?}: {wrong}"));
        }
    }
    let exposed =
        |server: &String| !host_and_port(server).is_some_and(|(host, _)| on_this_machine(host));
    if matches!(transport, Transport::Tcp | Transport::Udp) && servers.iter().any(exposed) {
        table.warn(
            "transport",
            "all events go over the network in the clear; use tls",
        );
    }
}

fn on_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Takes `host:port` or `[ipv6]:port` apart.
pub(super) fn host_and_port(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

/// One address, or a list of them.
struct Servers(Vec<String>);

impl Setting for Servers {
    const EXPECTED: &'static str =
        "an address such as \"siem.example.com:6514\", or a list of them";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let Some(elements) = item.elements() else {
            return Ok(Self(vec![item.text()?.to_owned()]));
        };
        if elements.is_empty() {
            return Err("names no server".into());
        }
        let mut servers = Vec::new();
        for element in elements {
            let server = element.text()?.to_owned();
            if servers.contains(&server) {
                return Err(format!("{server:?} stands here twice; once is enough").into());
            }
            servers.push(server);
        }
        Ok(Self(servers))
    }
}

/// A part of a syslog header.
struct HeaderText(String);

impl Setting for HeaderText {
    const EXPECTED: &'static str = "a text without spaces";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let text = item.text()?;
        if text.is_empty() || text.len() > 48 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must be 1 to 48 printable ASCII characters without a space".into());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        for (server, expected) in [
            ("siem.example.com:6514", Some(("siem.example.com", 6514))),
            ("[2001:db8::1]:514", Some(("2001:db8::1", 514))),
            ("2001:db8::1:514", None),
            ("siem.example.com", None),
            ("siem.example.com:0", None),
            (":514", None),
        ] {
            assert_eq!(host_and_port(server), expected, "{server}");
        }
    }
}
