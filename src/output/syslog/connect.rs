//! Ways to a receiver, and names for what stands in them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::host_and_port;
use super::link::{Link, Reader, Stream, Wire, Writer};
use super::queue::Ends;
use super::{SyslogConfig, Transport};
use crate::health::{Failure, Origin};
use crate::http::{self, HttpError};
use crate::secret::Secret;

/// Until a connection stands, names and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is needed to reach the servers of an output.
pub(super) struct Connector {
    servers: Vec<String>,
    way: Way,
}

enum Way {
    Tls(TlsConnector),
    Tcp,
    Udp,
    Unix,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(
        config: &SyslogConfig,
        client_key: Option<&Secret>,
    ) -> Result<Self, HttpError> {
        let way = match config.transport {
            Transport::Tls => {
                let identity = config.client_cert.as_deref().zip(client_key);
                let tls = http::tls(config.ca_file.as_deref(), identity)?;
                Way::Tls(TlsConnector::from(Arc::new(tls)))
            }
            Transport::Tcp => Way::Tcp,
            Transport::Udp => Way::Udp,
            Transport::Unix => Way::Unix,
        };
        Ok(Self {
            servers: config.servers.clone(),
            way,
        })
    }

    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Connects to a server by its place in the list; the second is the half of a stream that is read.
    pub(super) async fn connect(&self, place: usize) -> Result<(Link, Option<Reader>), Failure> {
        let Some(server) = self.servers.get(place) else {
            return Err(failure("connect", "no server", ""));
        };
        let (wire, read, ends) = match timeout(CONNECT_TIMEOUT, self.wire(server)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(failure("timeout", server, "no connection within 10 s")),
        };
        let link = Link {
            wire,
            server: server.clone(),
            ends,
            number: 0,
        };
        Ok((link, read))
    }

    async fn wire(&self, server: &str) -> Result<(Wire, Option<Reader>, Option<Ends>), Failure> {
        let told = |error: io::Error| failure_of(&error, server);
        match &self.way {
            Way::Tls(connector) => {
                let host = host_and_port(server).map_or(server, |(host, _)| host);
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|e| failure("tls_name", server, &e.to_string()))?;
                let tcp = tcp(server).await?;
                let ends = ends(&tcp);
                let tls = connector.connect(name, tcp).await.map_err(told)?;
                Ok(halves(Box::new(tls), Wire::Stream, ends))
            }
            Way::Tcp => {
                let tcp = tcp(server).await?;
                let ends = ends(&tcp);
                Ok(halves(Box::new(tcp), Wire::Stream, ends))
            }
            Way::Udp => {
                // Names are looked up anew for each connection.
                let address = resolve(server).await?;
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).await.map_err(told)?;
                socket.connect(address).await.map_err(told)?;
                Ok((Wire::Udp(socket), None, None))
            }
            Way::Unix => {
                let socket = UnixDatagram::unbound().map_err(told)?;
                match socket.connect(server) {
                    Ok(()) => Ok((Wire::Unix(socket), None, None)),
                    Err(error) if is_a_stream(&error) => {
                        let stream = UnixStream::connect(server).await.map_err(told)?;
                        Ok(halves(Box::new(stream), Wire::Lines, None))
                    }
                    Err(error) => Err(told(error)),
                }
            }
        }
    }
}

/// The halves of a stream.
fn halves(
    stream: Box<dyn Stream>,
    wire: fn(Writer) -> Wire,
    ends: Option<Ends>,
) -> (Wire, Option<Reader>, Option<Ends>) {
    let (read, write) = tokio::io::split(stream);
    (wire(write), Some(read), ends)
}

fn ends(tcp: &TcpStream) -> Option<Ends> {
    let (local, peer) = (tcp.local_addr().ok()?, tcp.peer_addr().ok()?);
    Some(Ends { local, peer })
}

/// Whether the socket is one of a stream: EPROTOTYPE on Linux.
fn is_a_stream(error: &io::Error) -> bool {
    error.raw_os_error() == Some(91)
}

async fn tcp(server: &str) -> Result<TcpStream, Failure> {
    let (host, port) =
        host_and_port(server).ok_or_else(|| failure("dns", server, "no host and port"))?;
    let addresses = lookup_host((host, port)).await;
    let mut last = failure("dns", server, "the name has no address");
    for address in addresses.map_err(|e| failure("dns", server, &e.to_string()))? {
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = failure_of(&error, server),
        }
    }
    Err(last)
}

async fn resolve(server: &str) -> Result<std::net::SocketAddr, Failure> {
    let (host, port) =
        host_and_port(server).ok_or_else(|| failure("dns", server, "no host and port"))?;
    let addresses = lookup_host((host, port)).await;
    let mut addresses = addresses.map_err(|e| failure("dns", server, &e.to_string()))?;
    addresses
        .next()
        .ok_or_else(|| failure("dns", server, "the name has no address"))
}

pub(super) fn failure(code: &str, server: &str, detail: &str) -> Failure {
    Failure::new(Origin::Syslog, 0, code, server).with_detail(detail)
}

/// Names what went wrong on a connection.
pub(super) fn failure_of(error: &io::Error, server: &str) -> Failure {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(tls) => failure(http::tls_code(tls), server, &tls.to_string()),
        None => failure(io_code(error.kind()), server, &error.to_string()),
    }
}

fn io_code(kind: io::ErrorKind) -> &'static str {
    const CODES: [(io::ErrorKind, &str); 7] = [
        (io::ErrorKind::ConnectionRefused, "connect"),
        (io::ErrorKind::HostUnreachable, "connect"),
        (io::ErrorKind::NetworkUnreachable, "connect"),
        (io::ErrorKind::AddrNotAvailable, "connect"),
        (io::ErrorKind::NotFound, "connect"),
        (io::ErrorKind::PermissionDenied, "connect"),
        (io::ErrorKind::TimedOut, "timeout"),
    ];
    CODES
        .iter()
        .find(|row| row.0 == kind)
        .map_or("reset", |row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_tls_is_found_inside_the_error_of_the_socket() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(
            failure_of(&io::Error::other(alert), "x").key(),
            "syslog/tls_refused"
        );
    }
}
