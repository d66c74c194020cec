//! Who may ask.
//!
//! What is expected is kept as MACs under a key of this process, so the secrets themselves are not kept, and what comes is compared in
//! a time that says nothing of it, not even its length.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What `Authorization` may say; whatever it likes if nothing was admitted.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    key: [u8; 16],
    expected: Vec<Vec<u8>>,
    /// Whether people may log in, so that a browser should ask for a name.
    login: bool,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has no credential, or a wrong one.
    Unauthorized,
    /// It was sent to a name that is not this machine's: a page elsewhere may have led a browser here.
    Misdirected,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            key: *uuid::Uuid::new_v4().as_bytes(),
            expected: Vec::new(),
            login: false,
        }
    }
}

impl Guard {
    pub(super) fn admit_login(&mut self, name: &str, password: &Secret) {
        let pair = Zeroizing::new(format!("{name}:{}", password.expose()));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        self.admit("basic", &encoded);
        self.login = true;
    }

    pub(super) fn admit_token(&mut self, token: &Secret) {
        self.admit("bearer", token.expose());
    }

    fn admit(&mut self, scheme: &str, credential: &str) {
        if let Some(mac) = self.mac(scheme, credential) {
            self.expected.push(mac.finalize().into_bytes().to_vec());
        }
    }

    fn mac(&self, scheme: &str, credential: &str) -> Option<Hmac<sha2::Sha256>> {
        // A key of any length is taken.
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(scheme.to_ascii_lowercase().as_bytes());
        mac.update(b" ");
        mac.update(credential.as_bytes());
        Some(mac)
    }

    /// Looks at a request's headers.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.expected.is_empty() {
            // Without a credential nothing else tells the operator's browser from one that follows another page's name.
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            let ours = host.is_none_or(is_this_machine);
            return if ours {
                Ok(())
            } else {
                Err(Refusal::Misdirected)
            };
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|given| given.to_str().ok());
        let (scheme, credential) = given
            .and_then(|given| given.split_once(' '))
            .unwrap_or_default();
        let mut admitted = false;
        for expected in &self.expected {
            let mac = self.mac(scheme, credential.trim());
            admitted |= mac.is_some_and(|mac| mac.verify_slice(expected).is_ok());
        }
        if admitted {
            Ok(())
        } else {
            Err(Refusal::Unauthorized)
        }
    }

    /// What a client without a credential is told to bring.
    pub(super) const fn challenge(&self) -> &'static str {
        if self.login {
            "Basic realm=\"mimecast-collector\", charset=\"UTF-8\""
        } else {
            "Bearer realm=\"mimecast-collector\""
        }
    }
}

/// Whether a `Host` names an address or `localhost`, which no other page's name can be.
fn is_this_machine(host: &str) -> bool {
    let port = |text: &str| text.is_empty() || text.strip_prefix(':').is_some_and(is_number);
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address.parse::<IpAddr>().is_ok() && port(rest);
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn only_the_right_credential_is_admitted_and_none_is_kept() {
        let mut guard = Guard::default();
        guard.admit_login("anna", &secret("hunter2"));
        guard.admit_token(&secret("t0ken"));
        let check = |value: &str| guard.check(&headers(AUTHORIZATION, value));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(check(&basic("anna:hunter2")), Ok(()));
        assert_eq!(check("Bearer t0ken"), Ok(()));
        assert_eq!(check("bearer t0ken"), Ok(()));
        for wrong in [
            "",
            "Bearer",
            "Bearer t0ke",
            "Bearer t0ken2",
            "Basic t0ken",
            "t0ken",
        ] {
            assert_eq!(check(wrong), Err(Refusal::Unauthorized), "{wrong}");
        }
        for wrong in ["anna:hunter", "anna:", "anne:hunter2", "hunter2"] {
            assert_eq!(check(&basic(wrong)), Err(Refusal::Unauthorized), "{wrong}");
        }
        assert_eq!(guard.check(&HeaderMap::new()), Err(Refusal::Unauthorized));
        assert!(!format!("{guard:?}").contains("t0ken"));
    }

    #[test]
    fn a_page_elsewhere_cannot_lead_a_browser_to_an_open_endpoint() {
        let guard = Guard::default();
        for host in [
            "127.0.0.1:9464",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9464",
            "[::1]",
            "10.0.0.1",
        ] {
            assert_eq!(guard.check(&headers(HOST, host)), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:9464",
            "localhost.evil.example",
            "[::1].evil.example",
            "",
        ] {
            let refused = Err(Refusal::Misdirected);
            assert_eq!(guard.check(&headers(HOST, host)), refused, "{host}");
        }
    }
}
