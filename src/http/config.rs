//! What the configuration says of servers and of the way to them. URLs may hold passwords, so none is quoted.

use std::net::IpAddr;

use reqwest::Url;

use super::{Connection, Proxy};
use crate::secret::Secret;
use crate::settings::{Item, Setting, Table, Wrong};

impl Connection {
    /// Reads `ca_file` and `proxy`; `proxy` is the default of the latter.
    pub fn read(table: &mut Table<'_>, proxy: Proxy) -> Self {
        Self {
            ca_file: table.optional("ca_file"),
            proxy: table.optional("proxy").unwrap_or(proxy),
        }
    }
}

impl Setting for Proxy {
    const EXPECTED: &'static str =
        "\"none\", \"environment\" or a URL such as \"http://proxy.example.com:3128\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let text = item.text()?;
        let is_proxy = |url: &Url| {
            url.has_host() && matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")
        };
        match text {
            "none" => Ok(Self::None),
            "environment" => Ok(Self::Environment),
            _ if Url::parse(text).is_ok_and(|url| is_proxy(&url)) => {
                Ok(Self::Url(Secret::new(text.to_owned())))
            }
            _ => Err(Wrong::Value(format!(
                "is not a proxy; expected {} (schemes http, https, socks5, socks5h)",
                Self::EXPECTED
            ))),
        }
    }
}

/// A server: scheme, host and port, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// `https://api.example.com` or `https://api.example.com:8443`.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether what is sent to it can be read on the way: neither TLS nor this machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.0.scheme() != "https" && !self.is_loopback()
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        on_this_machine(&self.0)
    }
}

/// Whether the URL's host is this machine, where a simulator may be.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| on_this_machine(&url))
}

fn on_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']);
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Setting for BaseUrl {
    const EXPECTED: &'static str = "a URL such as \"https://server.example.com:8088\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let wrong = |what: &str| {
            Wrong::Value(format!(
                "{what}; expected scheme, host and port only, such as \"https://server.example.com:8088\""
            ))
        };
        let url = Url::parse(item.text()?).map_err(|e| wrong(&format!("is not a URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("is not a URL of http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user name or a password"));
        }
        if url.path() != "/" {
            return Err(wrong("has a path, which the program adds itself"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a query or a fragment"));
        }
        Ok(Self(url))
    }
}

/// One server, or several that stand in for one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls(pub Vec<BaseUrl>);

impl Setting for BaseUrls {
    const EXPECTED: &'static str =
        "a URL such as \"https://server.example.com:8088\", or a list of them";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let Some(elements) = item.elements() else {
            return BaseUrl::read(item).map(|url| Self(vec![url]));
        };
        if elements.is_empty() {
            return Err("is empty; name one server at least".into());
        }
        let urls: Vec<_> = elements.iter().filter_map(Item::read).collect();
        if urls.len() < elements.len() {
            return Err(Wrong::Told);
        }
        Ok(Self(urls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_trusted_without_tls() {
        for (url, is_loopback, is_exposed) in [
            ("http://127.0.0.1:8080", true, false),
            ("http://127.9.9.9", true, false),
            ("http://[::1]:8080", true, false),
            ("http://localhost", true, false),
            ("https://localhost", true, false),
            ("http://localhost.example.com", false, true),
            ("http://10.0.0.1", false, true),
            ("https://10.0.0.1", false, false),
        ] {
            let url = BaseUrl(Url::parse(url).unwrap());
            let found = (url.is_loopback(), url.is_exposed());
            assert_eq!(found, (is_loopback, is_exposed), "{}", url.text());
        }
    }

    #[test]
    fn a_base_url_is_written_in_one_way() {
        let text = |url| BaseUrl(Url::parse(url).unwrap()).text();
        assert_eq!(
            text("HTTPS://API.example.com:443/"),
            "https://api.example.com"
        );
        assert_eq!(text("http://[::1]:8080"), "http://[::1]:8080");
    }
}
