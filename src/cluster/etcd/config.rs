//! What the configuration says of etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::http::{BaseUrl, BaseUrls, Connection, Proxy};
use crate::secret::SecretSource;
use crate::settings::Table;

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Its servers: scheme, host and port, without a slash at the end. The first is used until it fails.
    pub endpoints: Vec<String>,
    /// The user of etcd, and where the password is.
    pub login: Option<(String, SecretSource)>,
    /// PEM file of the certificate that is shown to etcd, with those between it and its authority.
    pub client_cert: Option<PathBuf>,
    /// The private key of that, in PEM.
    pub client_key: Option<SecretSource>,
    /// PEM file of authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl EtcdConfig {
    /// Reads the keys of `[cluster]` that say how etcd is reached.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let endpoints = table.required::<BaseUrls>("endpoints");
        let endpoints = endpoints.map(|BaseUrls(urls)| urls);
        if endpoints.iter().flatten().any(BaseUrl::is_exposed) {
            table.warn(
                "endpoints",
                "the password, and who owns what, go over the network in the clear, where anybody may change them; use https",
            );
        }
        let login = login(table);
        let client_cert = table.optional::<PathBuf>("client_cert");
        let client_key = table.optional("client_key");
        beside(table, "client_cert", "client_key");
        beside(table, "client_key", "client_cert");
        let ca_file = table.optional("ca_file");
        Some(Self {
            endpoints: endpoints?.iter().map(BaseUrl::text).collect(),
            login,
            client_cert,
            client_key,
            ca_file,
        })
    }

    /// The way to its servers; never through a proxy, which would be one more thing between a node and its lease.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection {
            ca_file: self.ca_file.clone(),
            proxy: Proxy::None,
        }
    }

    /// The certificate that is shown to etcd, and where its key is.
    #[must_use]
    pub fn identity(&self) -> Option<(&Path, &SecretSource)> {
        self.client_cert.as_deref().zip(self.client_key.as_ref())
    }
}

fn login(table: &mut Table<'_>) -> Option<(String, SecretSource)> {
    let username = table.optional::<String>("username");
    let password = table.optional("password");
    beside(table, "username", "password");
    beside(table, "password", "username");
    username.zip(password)
}

/// Notes that a key is of no use without another.
fn beside(table: &mut Table<'_>, key: &'static str, other: &str) {
    if table.has(key) && !table.has(other) {
        table.reject(key, format!("needs {other} beside it"));
    }
}

/// How long a call may take, over all servers: a sixth of the lease, so that a renewal that comes to nothing leaves time for another before
/// half of the lease is over.
#[must_use]
pub fn timeout(lease: Duration) -> Duration {
    lease / 6
}
