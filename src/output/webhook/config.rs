//! What the configuration says of a webhook.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderName;

use super::template::Template;
use crate::http::{Connection, Proxy, is_loopback};
use crate::secret::{Secret, SecretSource};
use crate::settings::{Item, Setting, Table, Wrong};

/// Longer than a chat takes to answer; a message whose answer is lost is sent again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A stop waits for what is out, 20 s at most.
const MAX_TIMEOUT: Duration = Duration::from_secs(20);

/// A receiver of messages about alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where messages go; it may hold a secret, so it is treated as one.
    pub url: SecretSource,
    /// Headers by their names; their values may be secrets.
    pub headers: BTreeMap<String, SecretSource>,
    /// Secrets that the template names.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The message.
    pub template: Template,
    /// Alerts of a message at most.
    pub max_alerts: Option<usize>,
    /// What an answer of success must contain; whatever it is, if absent.
    pub expect: Option<String>,
    /// Until an answer is there.
    pub timeout: Duration,
    /// How it is reached; by default as the environment says.
    pub connection: Connection,
}

impl WebhookConfig {
    /// Reads the keys of the type `webhook`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let url = table.required::<Address>("url");
        if let Some(Address(SecretSource::Literal(url))) = &url {
            judge(table, url);
        }
        let headers = table.optional("headers").map(|Headers(headers)| headers);
        let secrets: BTreeMap<String, SecretSource> = table.optional("secrets").unwrap_or_default();
        let max_alerts = max_alerts(table);
        let template = template(table, &secrets, max_alerts == Some(1));
        let expect = table.optional("expect");
        let timeout = timeout(table);
        let connection = Connection::read(table, Proxy::Environment);
        Some(Self {
            url: url?.0,
            headers: headers.unwrap_or_default(),
            secrets,
            template: template?,
            max_alerts,
            expect,
            timeout,
            connection,
        })
    }

    /// Every secret that is needed.
    pub fn all_secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let headers = self.headers.values();
        [&self.url]
            .into_iter()
            .chain(headers)
            .chain(self.secrets.values())
    }
}

/// `max_alerts`, which other types have too.
pub(in crate::output) fn max_alerts(table: &mut Table<'_>) -> Option<usize> {
    let max = table.optional::<u32>("max_alerts")?;
    if max == 0 {
        table.reject("max_alerts", "must be 1 at least".to_owned());
    }
    usize::try_from(max).ok()
}

/// `timeout`, which other types have too.
pub(in crate::output) fn timeout(table: &mut Table<'_>) -> Duration {
    let timeout = table.optional("timeout").unwrap_or(TIMEOUT);
    if !(Duration::from_secs(1)..=MAX_TIMEOUT).contains(&timeout) {
        let text = "must be from 1s to 20s: a stop waits for it";
        table.reject("timeout", text.to_owned());
    }
    timeout
}

fn template(
    table: &mut Table<'_>,
    secrets: &BTreeMap<String, SecretSource>,
    is_single: bool,
) -> Option<Template> {
    let Some(item) = table.find("template") else {
        return Some(Template::plain());
    };
    let Ok(text) = item.text() else {
        item.reject("expected a string of JSON such as '{\"text\": \"{text}\"}'".to_owned());
        return None;
    };
    let secrets: Vec<_> = secrets.keys().map(String::as_str).collect();
    match Template::parse(text, &secrets, is_single) {
        Ok(template) => Some(template),
        Err(why) => {
            item.reject(why);
            None
        }
    }
}

/// Says what is doubtful about an address that stands in the file.
fn judge(table: &mut Table<'_>, url: &Secret) {
    let Ok(url) = Url::parse(url.expose()) else {
        return;
    };
    if url.scheme() != "https" && !is_loopback(url.as_str()) {
        table.warn(
            "url",
            "alerts, and secrets that go with them, go over the network in the clear; use https",
        );
    }
    let mut pieces = url.path().split('/');
    if url.query().is_some() || pieces.any(|piece| piece.len() >= LIKE_A_KEY) {
        table.warn(
            "url",
            "it looks as if it held a key, by which anybody can send messages; { credential = \"NAME\" } or { file = \"PATH\" } keeps it \
             apart",
        );
    }
}

/// Words in addresses are shorter.
const LIKE_A_KEY: usize = 16;

/// An address by itself, or the place of one that is a secret.
struct Address(SecretSource);

impl Setting for Address {
    const EXPECTED: &'static str = "a URL such as \"https://alerts.example.com/hook\", or where one that is a secret is: \
                                    { credential = \"NAME\" }, { file = \"PATH\" }, { env = \"VARIABLE\" }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let Ok(text) = item.text() else {
            return <SecretSource as Setting>::read(item).map(Self);
        };
        address(text)?;
        Ok(Self(SecretSource::Literal(Secret::new(text.to_owned()))))
    }
}

/// A text as an address that can be sent to. What is wrong is told without it.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is not a URL of http or https".to_owned());
    }
    Ok(url)
}

/// Headers, whose values are texts or say where a secret is.
struct Headers(BTreeMap<String, SecretSource>);

/// A header's value.
struct Value(SecretSource);

impl Setting for Headers {
    const EXPECTED: &'static str =
        "a table such as { \"X-Team\" = \"secops\", Authorization = { file = \"PATH\" } }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let headers: BTreeMap<String, Value> = item.entries()?;
        for name in headers.keys() {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(Wrong::Value(format!("{name:?} is no name of a header")));
            }
        }
        let headers = headers
            .into_iter()
            .map(|(name, Value(value))| (name, value));
        Ok(Self(headers.collect()))
    }
}

impl Setting for Value {
    const EXPECTED: &'static str = "a string, or where a secret is: { credential = \"NAME\" }, { file = \"PATH\" }, { env = \"VARIABLE\" }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        if item.text().is_err() {
            return <SecretSource as Setting>::read(item).map(Self);
        }
        let text = String::read(item)?;
        Ok(Self(SecretSource::Literal(Secret::new(text))))
    }
}
