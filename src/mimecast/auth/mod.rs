//! Who we are to Mimecast: the credential of an integration, and how each API wants it shown.

pub(super) mod oauth;
pub(super) mod signature;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::mimecast::log_types::Api;
use crate::secret::{Fingerprint, Secret};

/// A credential that can be used as it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// API 1.0: each request is signed.
    V1 {
        /// Names the registered application; no secret.
        application_id: String,
        /// Signed text.
        application_key: Secret,
        /// Names the binding of the service user.
        access_key: Secret,
        /// The key of the signature.
        secret_key: SigningKey,
    },
    /// API 2.0: OAuth 2.0 client credentials.
    V2 {
        /// Names the application; no secret.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
}

/// The decoded secret key of API 1.0, wiped from memory when it goes.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What is wrong with a credential; never the credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The secret key decodes to nothing.
    #[error(
        "the secret key is not base64: copy it anew from the Administration Console, with the '=' at its end"
    )]
    SecretKey,
    /// A part is missing, or goes into a header and has a character that cannot.
    #[error("the {0} is empty or has a character that is not visible ASCII: copy it anew")]
    Text(&'static str),
}

impl Credential {
    /// A credential of API 1.0.
    ///
    /// # Errors
    /// Which part is wrong, found here and not by the first request.
    pub fn v1(
        application_id: String,
        application_key: Secret,
        access_key: Secret,
        secret_key: &Secret,
    ) -> Result<Self, CredentialError> {
        check("application id", &application_id)?;
        check("application key", application_key.expose())?;
        check("access key", access_key.expose())?;
        let key = Zeroizing::new(STANDARD.decode(secret_key.expose()).unwrap_or_default());
        if key.is_empty() {
            return Err(CredentialError::SecretKey);
        }
        Ok(Self::V1 {
            application_id,
            application_key,
            access_key,
            secret_key: SigningKey(key),
        })
    }

    /// A credential of API 2.0.
    ///
    /// # Errors
    /// Which part is wrong.
    pub fn v2(client_id: String, client_secret: Secret) -> Result<Self, CredentialError> {
        // They go into a form, which takes any character.
        for (name, part) in [
            ("client id", client_id.as_str()),
            ("client secret", client_secret.expose()),
        ] {
            if part.is_empty() {
                return Err(CredentialError::Text(name));
            }
        }
        Ok(Self::V2 {
            client_id,
            client_secret,
        })
    }

    /// The version of the API that it is for.
    #[must_use]
    pub const fn api(&self) -> Api {
        match self {
            Self::V1 { .. } => Api::V1,
            Self::V2 { .. } => Api::V2,
        }
    }

    /// Names the credential by all its parts, under the install id `key`.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let api = self.api().as_str();
        match self {
            Self::V1 {
                application_id,
                application_key,
                access_key,
                secret_key,
            } => {
                let secret = Zeroizing::new(STANDARD.encode(&*secret_key.0));
                let (application, access) = (application_key.expose(), access_key.expose());
                Fingerprint::of(key, &[api, application_id, application, access, &secret])
            }
            Self::V2 {
                client_id,
                client_secret,
            } => Fingerprint::of(key, &[api, client_id, client_secret.expose()]),
        }
    }
}

fn check(name: &'static str, text: &str) -> Result<(), CredentialError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CredentialError::Text(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn v1(secret_key: &str) -> Result<Credential, CredentialError> {
        let id = "app-id".to_owned();
        Credential::v1(id, secret("app-key"), secret("access"), &secret(secret_key))
    }

    #[test]
    fn a_secret_key_that_does_not_decode_is_a_clear_error() {
        for bad in ["", "not base64!", "U2VjcmV0S2V5=", "U2VjcmV0S2V"] {
            let error = v1(bad).unwrap_err().to_string();
            assert!(error.contains("not base64"), "{bad}: {error}");
        }
        assert!(v1("U2VjcmV0S2V5").is_ok());
    }

    #[test]
    fn a_part_that_no_header_can_carry_is_refused_by_name() {
        let key = secret("U2VjcmV0S2V5");
        let error = Credential::v1("id".to_owned(), secret("a\nb"), secret("c"), &key);
        assert!(error.unwrap_err().to_string().contains("application key"));
        let error = Credential::v2("id".to_owned(), secret("")).unwrap_err();
        assert!(error.to_string().contains("client secret"));
    }

    #[test]
    fn no_secret_part_is_seen_in_debug_output() {
        let shown = format!("{:?}", v1("U2VjcmV0S2V5").unwrap());
        assert!(!shown.contains("app-key") && !shown.contains("access:"));
        assert!(!shown.contains("83, 101"), "{shown}");
    }

    #[test]
    fn each_part_changes_the_fingerprint() {
        let print = |c: Result<Credential, CredentialError>| c.unwrap().fingerprint(b"install");
        assert_eq!(print(v1("U2VjcmV0S2V5")), print(v1("U2VjcmV0S2V5")));
        assert_ne!(print(v1("U2VjcmV0S2V5")), print(v1("U2VjcmV0S2V6")));
    }
}
