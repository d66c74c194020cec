//! What the configuration says of the status endpoint.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret::SecretSource;
use crate::settings::{Item, Setting, Table, Wrong};

/// The table `[status]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// Where it listens; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// The PEM files of a certificate chain and its key; `None` for HTTP in the clear.
    pub tls: Option<TlsFiles>,
    /// A name and its password, for people.
    pub login: Option<(String, SecretSource)>,
    /// A bearer token, for programs.
    pub token: Option<SecretSource>,
}

/// A certificate and its key, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an address and a port such as \"127.0.0.1:9464\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let address = item.text()?.parse();
        address.map_err(|_| Wrong::Value(format!("expected {}", Self::EXPECTED)))
    }
}

impl WebConfig {
    /// Reads `[status]`; what is wrong with it is noted.
    pub fn read(mut table: Table<'_>) -> Self {
        let listen = table.optional::<SocketAddr>("listen");
        let certificate = table.optional("cert_file");
        let key = table.optional("key_file");
        let username = table.optional::<String>("username");
        let password = table.optional("password");
        let token = table.optional("token");
        if username.as_ref().is_some_and(|name| name.contains(':')) {
            let text = "must not contain \":\", which ends it in a request";
            table.reject("username", text.to_owned());
        }
        for (one, other, both) in [
            (
                "cert_file",
                "key_file",
                [certificate.is_some(), key.is_some()],
            ),
            (
                "username",
                "password",
                [username.is_some(), table.has("password")],
            ),
        ] {
            match both {
                [true, false] => table.reject(one, format!("needs {other} beside it")),
                [false, true] => table.reject(other, format!("needs {one} beside it")),
                [true, true] | [false, false] => {}
            }
        }
        let guarded = token.is_some() || password.is_some();
        if listen.is_some_and(|address| !address.ip().is_loopback()) {
            if !guarded {
                let text = "is not on loopback, so others could read the status: set username and password, or token, or listen \
                            on 127.0.0.1";
                table.reject("listen", text.to_owned());
            } else if certificate.is_none() {
                let text = "passwords and tokens go over the network in the clear; set cert_file and key_file";
                table.warn("listen", text);
            }
        }
        Self {
            listen,
            tls: certificate
                .zip(key)
                .map(|(certificate, key)| TlsFiles { certificate, key }),
            login: username.zip(password),
            token,
        }
    }
}
