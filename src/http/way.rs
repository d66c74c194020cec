//! Which way a request takes out of this network.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::{Connection, Proxy};

/// The way that a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// Straight to the server.
    Direct,
    /// By a proxy.
    Proxy {
        /// Its host and port; never its user and password.
        host: String,
        /// Its port.
        port: u16,
        /// Who says so: "the configuration" or "the environment".
        of: &'static str,
    },
}

impl Connection {
    /// The way that a request to `url` takes, by the same rules as the clients'.
    #[must_use]
    pub fn way_out(&self, url: &str) -> WayOut {
        let (matcher, of) = match &self.proxy {
            Proxy::None => return WayOut::Direct,
            Proxy::Environment => (Matcher::from_env(), "the environment"),
            Proxy::Url(url) => {
                let matcher = Matcher::builder().all(url.expose().to_owned()).build();
                (matcher, "the configuration")
            }
        };
        let proxy = url.parse().ok().and_then(|url: Uri| {
            let proxy = matcher.intercept(&url)?;
            let uri = proxy.uri();
            let default = match uri.scheme_str() {
                Some("https") => 443,
                Some("socks5" | "socks5h") => 1080,
                Some(_) | None => 80,
            };
            Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(default)))
        });
        match proxy {
            Some((host, port)) => WayOut::Proxy { host, port, of },
            None => WayOut::Direct,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_configured_proxy_is_named_without_its_password() {
        let connection = Connection {
            proxy: Proxy::Url(Secret::new(
                "http://user:hunter2@proxy.example:3128".to_owned(),
            )),
            ca_file: None,
        };
        let way = connection.way_out("https://api.services.mimecast.com");
        let expected = WayOut::Proxy {
            host: "proxy.example".to_owned(),
            port: 3128,
            of: "the configuration",
        };
        assert_eq!(way, expected);
        assert_eq!(
            Connection::default().way_out("https://splunk.example:8088"),
            WayOut::Direct
        );
    }
}
