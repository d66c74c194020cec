//! Reading the secrets of what is to run.

use std::fmt::Display;

use super::PrepareError;
use crate::mimecast::auth::Credential;
use crate::poll::config::{CredentialSource, IntegrationConfig};
use crate::secret_watch::SecretWatch;

/// What could be read of a running entry's secrets. Why one could not is told: whoever put it there waits for it to be taken up.
pub(super) fn readable<T, E: Display>(read: Result<T, E>, secrets: &mut SecretWatch) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(error) => {
            let complaint = error.to_string();
            if secrets.is_news(complaint.clone()) {
                tracing::warn!(
                    "a secret cannot be taken up, what it was before stays in use: {complaint}"
                );
            }
            None
        }
    }
}

/// Reads the secrets of an integration's credential.
///
/// # Errors
/// Which secret cannot be read, or which part cannot be used.
pub fn credential(integration: &IntegrationConfig) -> Result<Credential, PrepareError> {
    let secret = |e| PrepareError::Secret(integration.id.clone(), e);
    let credential = match &integration.credential {
        CredentialSource::V1 {
            application_id,
            application_key,
            access_key,
            secret_key,
        } => Credential::v1(
            application_id.clone(),
            application_key.read().map_err(secret)?,
            access_key.read().map_err(secret)?,
            &secret_key.read().map_err(secret)?,
        ),
        CredentialSource::V2 {
            client_id,
            client_secret,
        } => Credential::v2(client_id.clone(), client_secret.read().map_err(secret)?),
    };
    credential.map_err(|e| PrepareError::Credential(integration.id.clone(), e))
}
