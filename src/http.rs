//! HTTP clients, one per distinct way to connect, and the names of what can go wrong below HTTP.
//!
//! A client speaks HTTP/1.1, follows no redirect, has a time-out for each wait and none for the whole of a
//! transfer. TLS is rustls with ring, trusting the system's authorities and those of `ca_file`; a system
//! without authorities is noticed by the request that needs one, not before.

mod config;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod way;

pub use config::{BaseUrl, BaseUrls, is_loopback};
pub use way::WayOut;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::health::{Failure, Origin};
use crate::model::Timestamp;
use crate::secret::Secret;

/// Until a connection stands, names and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The way out.
    pub proxy: Proxy,
}

/// The way out of this network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// None, whatever the environment says.
    #[default]
    None,
    /// What `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Environment,
    /// This URL, which may hold a password.
    Url(Secret),
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Requests to an API; bodies of answers may come compressed and are handed out plain.
    Api,
    /// Files from an object store; bodies are handed out as they come.
    Objects,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file of authorities is of no use.
    #[error("cannot use the certificate authorities in {path}: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client's own certificate is of no use.
    #[error("cannot use the client's certificate in {path}: {reason}")]
    ClientCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client's private key is none.
    #[error("the client's key is no private key in PEM form")]
    ClientKey,
    /// The proxy's URL is none; its text may hold a password and is not repeated.
    #[error("the proxy is not a URL such as \"http://proxy.example.com:3128\"")]
    Proxy,
    /// The TLS library refused its settings.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refused its settings.
    #[error("cannot set up HTTP")]
    Client(#[from] reqwest::Error),
}

/// Makes a client; clones of it share their connections, so one per distinct [`Connection`] is enough.
///
/// # Errors
/// [`HttpError`], which names the part of the configuration that is wrong.
pub fn client(connection: &Connection, purpose: Purpose) -> Result<reqwest::Client, HttpError> {
    client_as(connection, purpose, None)
}

/// As [`client`], for one that proves itself by a certificate: the file of it, and its private key.
///
/// # Errors
/// As for [`client`], or a certificate or key that is of no use.
pub fn client_as(
    connection: &Connection,
    purpose: Purpose,
    identity: Option<(&Path, &Secret)>,
) -> Result<reqwest::Client, HttpError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where clients are built"
    )]
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(connection.ca_file.as_deref(), identity)?)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("mimecast-collector/", env!("CARGO_PKG_VERSION")));
    let builder = match &connection.proxy {
        Proxy::None => builder.no_proxy(),
        Proxy::Environment => builder,
        Proxy::Url(url) => {
            builder.proxy(reqwest::Proxy::all(url.expose()).map_err(|_| HttpError::Proxy)?)
        }
    };
    let builder = match purpose {
        Purpose::Api => builder,
        Purpose::Objects => builder.no_gzip(),
    };
    Ok(builder.build()?)
}

/// What a client of TLS trusts, and with what it proves itself: the file of its certificates and the private key of the first.
///
/// # Errors
/// A file, or the key, that is of no use.
pub fn tls(
    ca_file: Option<&Path>,
    identity: Option<(&Path, &Secret)>,
) -> Result<rustls::ClientConfig, HttpError> {
    let mut roots = rustls::RootCertStore::empty();
    // One unreadable file among the system's is no reason to trust none of them.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add_authorities(&mut roots, path).map_err(|reason| HttpError::CaFile {
            path: path.to_owned(),
            reason,
        })?;
    }
    // Given here and not installed for the process: a library has no business to do that.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((path, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let wrong = |reason| HttpError::ClientCertificate {
        path: path.to_owned(),
        reason,
    };
    let chain = certificates(path).map_err(wrong)?;
    // The error says what kind of text it is, not which.
    let key =
        PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| HttpError::ClientKey)?;
    let config = builder.with_client_auth_cert(chain, key);
    config.map_err(|e| wrong(e.to_string()))
}

/// The certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let found: Result<Vec<_>, _> = found.collect();
    match found.map_err(|e| e.to_string())? {
        none if none.is_empty() => Err("it holds no certificate in PEM form".to_owned()),
        some => Ok(some),
    }
}

fn add_authorities(roots: &mut rustls::RootCertStore, path: &Path) -> Result<(), String> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Names what went wrong below HTTP. The URL is not repeated: a signed one is a secret.
#[must_use]
pub fn transport_failure(error: &reqwest::Error, endpoint: &str) -> Failure {
    let mut causes: Vec<String> = Vec::new();
    let mut code = None;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        next = cause.source();
        code = code.or_else(|| code_of(cause));
        // The library's own errors show the URL; what lies below them does not know it.
        if !cause.is::<reqwest::Error>() {
            causes.push(cause.to_string());
        }
    }
    causes.dedup();
    let detail = causes.join(": ");
    let code = match code {
        _ if error.is_timeout() => "timeout",
        Some(code) => code,
        None if error.is_connect() => "connect",
        None => "body",
    };
    Failure::new(Origin::Transport, 0, code, endpoint).with_detail(&detail)
}

fn code_of(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(io) = cause.downcast_ref::<io::Error>() {
        // An io::Error hides what it carries from `source()`.
        return io
            .get_ref()
            .and_then(|inner| code_of(inner))
            .or_else(|| io_code(io.kind()));
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls_code(tls));
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>()
        && (http.is_incomplete_message() || http.is_closed() || http.is_canceled())
    {
        return Some("reset");
    }
    // The connectors' error types are private; their texts are all there is.
    match cause.to_string().as_str() {
        "dns error" | "error resolving for socks proxy" => Some("dns"),
        "error connecting to socks proxy" => Some("proxy"),
        text if text.starts_with("tunnel error") => Some("proxy"),
        _ => None,
    }
}

/// Names what stands in the way of TLS, by who can mend it. There is no way around it.
#[must_use]
pub fn tls_code(error: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, PeerIncompatible};
    use rustls::{AlertDescription, CertificateError as Wrong, PeerIncompatible as Peer};
    let is_name = matches!(
        error,
        InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. })
    );
    let is_expired = matches!(
        error,
        InvalidCertificate(
            Wrong::Expired
                | Wrong::ExpiredContext { .. }
                | Wrong::NotValidYet
                | Wrong::NotValidYetContext { .. }
        )
    );
    // A bad signature is that of an authority which has the name of one that is trusted, and another key.
    let is_unknown = matches!(
        error,
        InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature)
    );
    let is_old = matches!(
        error,
        AlertReceived(AlertDescription::ProtocolVersion)
            | PeerIncompatible(
                Peer::ServerDoesNotSupportTls12Or13 | Peer::ServerTlsVersionIsDisabledByOurConfig
            )
    );
    let codes = [
        ("tls_name", is_name),
        ("tls_expired", is_expired),
        ("tls_authority", is_unknown),
        ("tls_version", is_old),
        ("tls_refused", matches!(error, AlertReceived(_))),
    ];
    codes.iter().find(|row| row.1).map_or("tls", |row| row.0)
}

fn io_code(kind: io::ErrorKind) -> Option<&'static str> {
    const CODES: [(io::ErrorKind, &str); 9] = [
        (io::ErrorKind::ConnectionRefused, "connect"),
        (io::ErrorKind::HostUnreachable, "connect"),
        (io::ErrorKind::NetworkUnreachable, "connect"),
        (io::ErrorKind::AddrNotAvailable, "connect"),
        (io::ErrorKind::TimedOut, "timeout"),
        (io::ErrorKind::ConnectionReset, "reset"),
        (io::ErrorKind::ConnectionAborted, "reset"),
        (io::ErrorKind::BrokenPipe, "reset"),
        (io::ErrorKind::UnexpectedEof, "reset"),
    ];
    CODES.iter().find(|row| row.0 == kind).map(|row| row.1)
}

/// Reads a body of at most `cap` bytes.
///
/// # Errors
/// `transport/too_large` for a longer one, else what [`transport_failure`] says.
pub async fn read_capped(
    mut response: reqwest::Response,
    cap: usize,
    endpoint: &str,
) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|e| transport_failure(&e, endpoint))?
    {
        if body.len() + piece.len() > cap {
            return Err(
                Failure::new(Origin::Transport, 0, "too_large", endpoint).with_detail(&format!(
                    "the answer is longer than the {cap} bytes allowed"
                )),
            );
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Reads the beginning of a body that explains a failure: `cap` bytes, or fewer if it breaks off.
pub async fn read_prefix(mut response: reqwest::Response, cap: usize) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < cap
        && let Ok(Some(piece)) = response.chunk().await
    {
        body.extend_from_slice(&piece);
    }
    body.truncate(cap);
    body.freeze()
}

/// The answer's `Date`: what time the server thinks it is.
#[must_use]
pub fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    date(headers.get(DATE)?.to_str().ok()?)
}

/// How long the server wants to be left alone: seconds, or a date, which is told from the answer's own as our clock may differ.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(date(text)?.since(server_time(headers)?)),
    }
}

fn date(text: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up_while_connecting() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", silent.local_addr().unwrap());
        let client = client(&Connection::default(), Purpose::Api).unwrap();
        let given_up = client.get(url).send().await.unwrap_err();
        assert!(
            given_up.is_connect() && given_up.is_timeout(),
            "{given_up:?}"
        );
    }

    /// Serves one connection with these bytes, whatever is asked.
    async fn answering(answer: &'static [u8]) -> (String, tokio::task::JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?secret=1", listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            socket.write_all(answer).await.unwrap();
        });
        (url, tasks)
    }

    fn api() -> reqwest::Client {
        client(&Connection::default(), Purpose::Api).unwrap()
    }

    async fn body_of(answer: &'static [u8]) -> Result<Bytes, Failure> {
        let (url, _server) = answering(answer).await;
        let response = api().get(&url).send().await;
        match response {
            Ok(response) => read_capped(response, 10, "GET /x").await,
            Err(error) => Err(transport_failure(&error, "GET /x")),
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_cap() {
        let whole = body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd").await;
        assert_eq!(whole.unwrap(), "abcd");
        let long = body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk").await;
        assert_eq!(long.unwrap_err().key(), "transport/too_large");
    }

    #[tokio::test]
    async fn what_breaks_below_http_has_a_name_and_no_url() {
        let table: [(&[u8], &str); 4] = [
            (b"", "transport/reset"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                "transport/reset",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
                "transport/body",
            ),
            (b"SMTP hello\r\n\r\n", "transport/body"),
        ];
        for (answer, key) in table {
            let failure = body_of(answer).await.unwrap_err();
            assert_eq!(failure.key(), key, "{answer:?}: {failure}");
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_from_a_name_that_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = api().get(&url).send().await.unwrap_err();
        assert_eq!(transport_failure(&error, "").key(), "transport/connect");
        // A label this long is refused before any server of names is asked.
        let url = format!("http://{}.invalid/", "x".repeat(70));
        let error = api().get(url).send().await.unwrap_err();
        assert_eq!(transport_failure(&error, "").key(), "transport/dns");
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_is_a_failure_of_tls() {
        let (url, _server) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let url = url.replace("http:", "https:");
        let error = api().get(&url).send().await.unwrap_err();
        assert_eq!(
            transport_failure(&error, "").key(),
            "transport/tls",
            "{error:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_certificate_or_the_server_has_a_code_of_its_own() {
        use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
        for (wrong, code) in [
            (CertificateError::NotValidForName, "tls_name"),
            (CertificateError::Expired, "tls_expired"),
            (CertificateError::NotValidYet, "tls_expired"),
            (CertificateError::UnknownIssuer, "tls_authority"),
            (CertificateError::BadSignature, "tls_authority"),
            (CertificateError::BadEncoding, "tls"),
        ] {
            assert_eq!(tls_code(&Error::InvalidCertificate(wrong)), code);
        }
        for (alert, code) in [
            (AlertDescription::ProtocolVersion, "tls_version"),
            (AlertDescription::CertificateRequired, "tls_refused"),
        ] {
            assert_eq!(tls_code(&Error::AlertReceived(alert)), code);
        }
        let old = PeerIncompatible::ServerDoesNotSupportTls12Or13;
        assert_eq!(tls_code(&Error::PeerIncompatible(old)), "tls_version");
        assert_eq!(tls_code(&Error::DecryptError), "tls");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_or_is_not_there_is_told_from_the_server_behind_it() {
        let (refusing, _server) =
            answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone_at = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        for proxy in [
            refusing,
            gone_at.clone(),
            gone_at.replace("http", "socks5h"),
        ] {
            let connection = Connection {
                ca_file: None,
                proxy: Proxy::Url(Secret::new(proxy.clone())),
            };
            let client = client(&connection, Purpose::Api).unwrap();
            let sent = client.get("https://api.example.com/?secret=1").send().await;
            let failure = transport_failure(&sent.unwrap_err(), "GET /");
            assert_eq!(failure.key(), "transport/proxy", "{proxy}: {failure}");
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
    }

    #[test]
    fn a_useless_file_of_authorities_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        let connection = Connection {
            ca_file: Some(path),
            proxy: Proxy::None,
        };
        let error = client(&connection, Purpose::Objects).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }

    #[test]
    fn a_wrong_proxy_is_refused_without_showing_its_password() {
        let connection = Connection {
            ca_file: None,
            proxy: Proxy::Url(Secret::new("http://user:hunter2@[".to_owned())),
        };
        let error = client(&connection, Purpose::Api).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
