//! What the configuration says of a receiver over HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};

use crate::http::{Connection, Proxy, is_loopback};
use crate::output::batching::{Batching, Oversized};
use crate::output::format::Format;
use crate::output::hec::gzip_level;
use crate::secret::SecretSource;
use crate::settings::{Item, Setting, Table, Wrong};

/// Longer than a busy receiver takes for the largest body; an answer later than this is lost, and the batch repeated.
const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

/// What the program sets itself.
const OURS: [HeaderName; 5] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    HOST,
    TRANSFER_ENCODING,
];

/// A receiver of events over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where events are sent. The first is used until it fails.
    pub urls: Vec<Place>,
    /// How many events make a body.
    pub body: Body,
    /// How an event is written; as JSON, with its id and labels.
    pub format: Format,
    /// With what the program shows who it is.
    pub login: Login,
    /// What goes with each request besides.
    pub headers: Vec<(HeaderName, Header)>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// How hard, from 1 to 9.
    pub gzip_level: u32,
    /// From the beginning of a request to the end of its answer; up to 5 minutes.
    pub timeout: Duration,
    /// How many events go into a body.
    pub batching: Batching,
    /// What becomes of events that are too long.
    pub oversized: Oversized,
    /// PEM file of the certificate that is shown to the receiver, with those between it and its authority.
    pub client_cert: Option<PathBuf>,
    /// The private key of that, in PEM.
    pub client_key: Option<SecretSource>,
    /// How it is reached; by default without a proxy.
    pub connection: Connection,
}

/// How many events make a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A line each.
    Lines,
    /// The elements of one JSON array.
    Array,
}

/// With what the program shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    None,
    /// `Authorization: Bearer`.
    Bearer(SecretSource),
    /// `Authorization: Basic`.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: SecretSource,
    },
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// One that everybody may know.
    Text(String),
    /// One that nobody may see.
    Secret(SecretSource),
}

/// Where events are sent: a whole URL. What stands in its query may be a secret, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(Url);

const BODIES: &[(&str, Body)] = &[("ndjson", Body::Lines), ("json_array", Body::Array)];

impl HttpConfig {
    /// Reads the keys of the type `http`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let urls = table.required::<Places>("url").map(|Places(urls)| urls);
        if urls.iter().flatten().any(Place::is_exposed) {
            table.warn(
                "url",
                "all events, and any secret, go over the network in the clear; use https",
            );
        }
        let body = table.one_of("body", BODIES).unwrap_or(Body::Lines);
        let format = Format::read(table);
        if body == Body::Array && format.as_ref().is_some_and(|f| *f != Format::Json) {
            let text = "must be \"json\" for body = \"json_array\"";
            table.reject("format", text.to_owned());
        }
        let login = login(table);
        let headers = table.optional("headers").map(|Headers(headers)| headers);
        let headers = headers.unwrap_or_default();
        if login != Some(Login::None) && headers.iter().any(|(name, _)| *name == AUTHORIZATION) {
            let text = "has \"authorization\", which token or username and password set";
            table.reject("headers", text.to_owned());
        }
        let gzip = table.optional("gzip").unwrap_or(false);
        let gzip_level = gzip_level(table);
        let timeout = table.optional("timeout").unwrap_or(TIMEOUT);
        if !(Duration::from_secs(1)..=MAX_TIMEOUT).contains(&timeout) {
            table.reject("timeout", "must be from 1s to 5m".to_owned());
        }
        let batching = Batching::read(table);
        let oversized = Oversized::read(table);
        let client_cert = table.optional::<PathBuf>("client_cert");
        let client_key = table.optional("client_key");
        let (has_cert, has_key) = (table.has("client_cert"), table.has("client_key"));
        if has_cert && !has_key {
            table.reject("client_cert", "needs client_key beside it".to_owned());
        }
        if has_key && !has_cert {
            table.reject("client_key", "needs client_cert beside it".to_owned());
        }
        let connection = Connection::read(table, Proxy::None);
        Some(Self {
            urls: urls?,
            body,
            format: format?,
            login: login?,
            headers,
            gzip,
            gzip_level,
            timeout,
            batching,
            oversized,
            client_cert,
            client_key,
            connection,
        })
    }

    /// The secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let login = match &self.login {
            Login::None => None,
            Login::Bearer(secret)
            | Login::Basic {
                password: secret, ..
            } => Some(secret),
        };
        let headers = self.headers.iter().filter_map(|(_, value)| match value {
            Header::Text(_) => None,
            Header::Secret(secret) => Some(secret),
        });
        login.into_iter().chain(headers).chain(&self.client_key)
    }

    /// The certificate that is shown to the receiver and where its key is.
    #[must_use]
    pub fn identity(&self) -> Option<(&Path, &SecretSource)> {
        self.client_cert.as_deref().zip(self.client_key.as_ref())
    }
}

fn login(table: &mut Table<'_>) -> Option<Login> {
    let (has_token, has_name) = (table.has("token"), table.has("username"));
    let token = table.optional("token");
    let username = table.optional::<String>("username");
    let password = table.optional("password");
    if has_name != table.has("password") {
        let (there, missing) = if has_name {
            ("username", "password")
        } else {
            ("password", "username")
        };
        table.reject(there, format!("needs {missing} beside it"));
        return None;
    }
    if has_token && has_name {
        let text = "stands beside username and password; a request has one of the two";
        table.reject("token", text.to_owned());
        return None;
    }
    match (token, username, password) {
        (Some(token), _, _) => Some(Login::Bearer(token)),
        (None, Some(username), Some(password)) => Some(Login::Basic { username, password }),
        (None, _, _) => (!has_token && !has_name).then_some(Login::None),
    }
}

impl Body {
    /// What the body is called, unless a header of the configuration says otherwise.
    pub(super) fn media_type(self, format: &Format) -> &'static str {
        match (self, format) {
            (Self::Array, _) => "application/json",
            (Self::Lines, Format::Json) => "application/x-ndjson",
            (
                Self::Lines,
                Format::KeyValue | Format::Cef | Format::Leef | Format::Leef2 | Format::Template(_),
            ) => "text/plain; charset=utf-8",
        }
    }

    /// What stands before the first event, between two, and behind the last.
    pub(super) const fn around(self) -> (&'static [u8], &'static [u8], &'static [u8]) {
        match self {
            Self::Lines => (b"", b"\n", b"\n"),
            Self::Array => (b"[", b",\n", b"]"),
        }
    }

    /// A body without events.
    pub(super) const fn empty(self) -> &'static [u8] {
        match self {
            Self::Lines => b"",
            Self::Array => b"[]",
        }
    }
}

impl Place {
    #[cfg(test)]
    pub(super) fn new(url: Url) -> Self {
        Self(url)
    }

    /// The whole of it, for the request.
    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn base(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Method and place of a delivery, for messages.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port_or_known_default().unwrap_or_default();
        format!("POST {host}:{port}{}", self.0.path())
    }

    fn is_exposed(&self) -> bool {
        self.0.scheme() != "https" && !is_loopback(self.0.as_str())
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.endpoint())
    }
}

impl Setting for Place {
    const EXPECTED: &'static str = "a URL such as \"https://vector.example.com:8080/events\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let wrong = |what: &str| Wrong::Value(format!("{what}; expected {}", Self::EXPECTED));
        let url = Url::parse(item.text()?).map_err(|e| wrong(&format!("is not a URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("is not a URL of http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "holds a user name or a password; they belong into username and password".into(),
            );
        }
        if url.fragment().is_some() {
            return Err(wrong("has a fragment"));
        }
        Ok(Self(url))
    }
}

/// One place, or several.
struct Places(Vec<Place>);

impl Setting for Places {
    const EXPECTED: &'static str =
        "a URL such as \"https://vector.example.com:8080/events\", or a list of them";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let Some(elements) = item.elements() else {
            return Place::read(item).map(|place| Self(vec![place]));
        };
        if elements.is_empty() {
            return Err("is empty; name one server at least".into());
        }
        let places: Vec<_> = elements.iter().filter_map(Item::read).collect();
        if places.len() < elements.len() {
            return Err(Wrong::Told);
        }
        Ok(Self(places))
    }
}

struct Headers(Vec<(HeaderName, Header)>);

impl Setting for Headers {
    const EXPECTED: &'static str =
        "a table such as { X-Tenant = \"acme\", X-Api-Key = { credential = \"siem-key\" } }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let mut headers: Vec<(HeaderName, Header)> = Vec::new();
        for (name, item) in item.members()? {
            let Ok(name) = HeaderName::try_from(name) else {
                item.reject("is not the name of a header".to_owned());
                continue;
            };
            if OURS.contains(&name) || headers.iter().any(|(other, _)| *other == name) {
                item.reject("is set by the program, or stands here twice".to_owned());
                continue;
            }
            headers.extend(item.read().map(|value| (name, value)));
        }
        Ok(Self(headers))
    }
}

impl Setting for Header {
    const EXPECTED: &'static str = "a text, or for a secret { credential = \"NAME\" }, { file = \"PATH\" } or { env = \"VARIABLE\" }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        if item.text().is_err() {
            return <SecretSource as Setting>::read(item).map(Self::Secret);
        }
        let text = String::read(item)?;
        if HeaderValue::from_str(&text).is_err() {
            return Err("has characters that no header has".into());
        }
        Ok(Self::Text(text))
    }
}
