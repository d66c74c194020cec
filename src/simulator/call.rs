//! A request as it came, before anyone judged it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{HeaderMap, Method};

use crate::mimecast::log_types::Api;

/// Which of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Mimecast's API, both versions, and its token endpoint.
    Api,
    /// The store of batch files.
    Objects,
    /// The event collector.
    Hec,
}

/// What a request showed to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthKind {
    /// No `Authorization`.
    None,
    /// `MC key:signature`.
    Signed,
    /// `Bearer token`.
    Bearer,
    /// `Basic …`.
    Basic,
    /// `Splunk token`.
    Splunk,
    /// Something else.
    Other,
}

/// The path of the token endpoint.
pub(super) const TOKEN_PATH: &str = "/oauth/token";

pub(super) struct Call {
    pub(super) service: Service,
    pub(super) method: Method,
    pub(super) path: String,
    /// Decoded pairs; `None` if the query cannot be decoded.
    pub(super) query: Option<Vec<(String, String)>>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The authorisation's scheme and what follows it.
    pub(super) fn authorization(&self) -> (AuthKind, &str) {
        let Some(value) = self.headers.get("authorization") else {
            return (AuthKind::None, "");
        };
        let value = value.to_str().unwrap_or_default();
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let kind = match scheme {
            "MC" => AuthKind::Signed,
            "Bearer" => AuthKind::Bearer,
            "Basic" => AuthKind::Basic,
            "Splunk" => AuthKind::Splunk,
            _ => AuthKind::Other,
        };
        (kind, rest)
    }

    /// The version whose manners the answer has: told by the authorisation, else by the path.
    pub(super) fn api(&self) -> Api {
        match self.authorization().0 {
            AuthKind::Signed => Api::V1,
            AuthKind::Bearer | AuthKind::Basic => Api::V2,
            AuthKind::None | AuthKind::Splunk | AuthKind::Other => {
                if self.path.starts_with("/api/") {
                    Api::V1
                } else {
                    Api::V2
                }
            }
        }
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        pair(self.query.as_deref()?, name)
    }

    /// The client's id and secret in a request to the token endpoint, from HTTP Basic or the form.
    pub(super) fn client(&self) -> Option<(String, String)> {
        match self.authorization() {
            (AuthKind::Basic, encoded) => {
                let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
                let (id, secret) = text.split_once(':')?;
                Some((decode(id)?, decode(secret)?))
            }
            (
                AuthKind::None
                | AuthKind::Signed
                | AuthKind::Bearer
                | AuthKind::Splunk
                | AuthKind::Other,
                _,
            ) => {
                let form = self.form()?;
                let id = pair(&form, "client_id")?.to_owned();
                Some((id, pair(&form, "client_secret")?.to_owned()))
            }
        }
    }

    /// The body as a form.
    pub(super) fn form(&self) -> Option<Vec<(String, String)>> {
        pairs(std::str::from_utf8(&self.body).ok()?)
    }
}

pub(super) fn pair<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = pairs.iter().find(|(key, _)| key == name)?;
    Some(value)
}

/// Reads `a=b&c=d`; `None` if an escape is not one.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_a_broken_one_refused() {
        let decoded = pairs("type=url%20protect&a+b=c%3D&empty").unwrap();
        assert_eq!(pair(&decoded, "type"), Some("url protect"));
        assert_eq!(pair(&decoded, "a b"), Some("c="));
        assert_eq!(pair(&decoded, "empty"), Some(""));
        assert_eq!(pairs("a=%zz"), None);
        assert_eq!(pairs("a=%2"), None);
    }
}
