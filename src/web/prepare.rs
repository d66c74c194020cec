//! Everything that can fail before the endpoint serves: secrets, certificates, the address.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::{TlsFiles, WebConfig};
use super::guard::Guard;
use crate::secret::SecretError;

/// Why the endpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The password or the token cannot be read.
    #[error("[status]: {0}")]
    Secret(#[from] SecretError),
    /// A file of the certificate or key is of no use.
    #[error("[status]: cannot use {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit, or the TLS library refused them.
    #[error("[status]: cannot use cert_file with key_file: {0}")]
    Tls(#[from] rustls::Error),
    /// The address is taken, or not of this machine.
    #[error("[status]: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// How requests are received; all that differs between two configurations with one address.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) guard: Guard,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// An endpoint whose files and secrets are read.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) address: SocketAddr,
    pub(super) manner: Arc<Manner>,
}

/// Reads the secrets and files; `None` if there is to be no endpoint.
///
/// # Errors
/// What cannot be used.
pub fn prepare(config: &WebConfig) -> Result<Option<Prepared>, WebError> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let mut guard = Guard::default();
    if let Some((name, password)) = &config.login {
        guard.admit_login(name, &password.read()?);
    }
    if let Some(token) = &config.token {
        guard.admit_token(&token.read()?);
    }
    let tls = match &config.tls {
        Some(files) => Some(Arc::new(tls(files)?)),
        None => None,
    };
    let manner = Arc::new(Manner { guard, tls });
    Ok(Some(Prepared { address, manner }))
}

impl Prepared {
    /// Takes the address.
    pub(super) fn listen(&self) -> Result<StdListener, WebError> {
        let listen = || {
            let listener = StdListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        listen().map_err(|source| WebError::Listen {
            address: self.address,
            source,
        })
    }
}

fn tls(files: &TlsFiles) -> Result<ServerConfig, WebError> {
    let failed = |path: &PathBuf, reason: String| WebError::File {
        path: path.clone(),
        reason,
    };
    let certificate = &files.certificate;
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| failed(certificate, e.to_string()))?;
    if chain.is_empty() {
        let reason = "it holds no certificate in PEM form".to_owned();
        return Err(failed(certificate, reason));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| failed(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
