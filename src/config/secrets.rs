//! Checks that need the secrets themselves, and what else the configuration names on this machine.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Config;
use crate::poll::config::CredentialSource;
use crate::secret::{Secret, SecretSource};
use crate::settings::{Problem, Problems};

impl Config {
    /// Reads every secret that the configuration names and compares the credentials; what it gives works but should be looked at.
    ///
    /// # Errors
    /// Every secret that cannot be read, every `secret_key` that is no key, and every two integrations
    /// that turn out to have the same credential.
    pub fn check_secrets(&self) -> Result<Vec<Problem>, Problems> {
        let mut problems = BTreeSet::new();
        let mut warnings = BTreeSet::new();
        for used in &self.secrets {
            let said_here = |text| Problem {
                place: used.place.clone(),
                key: used.key.clone(),
                text,
            };
            match used.source.read() {
                Ok(_) => warnings.extend(used.source.doubt().map(said_here)),
                Err(e) => {
                    problems.insert(said_here(e.to_string()));
                }
            }
        }
        warnings.extend(self.doubtful_outputs());
        problems.extend(self.unfit_keys());
        problems.extend(self.shared_credentials());
        Problems::of(problems).map_or_else(|| Ok(warnings.into_iter().collect()), Err)
    }

    /// The secrets that this process can read.
    #[must_use]
    pub fn secrets_at_hand(&self) -> Vec<Secret> {
        let read = self.secrets.iter().map(|used| used.source.read());
        read.filter_map(Result::ok).collect()
    }

    fn doubtful_outputs(&self) -> impl Iterator<Item = Problem> {
        self.outputs.iter().filter_map(|output| {
            let (key, place, text) = output.kind.doubt()?;
            Some(Problem {
                place,
                key: format!("output[{}].{key}", output.id),
                text,
            })
        })
    }

    fn unfit_keys(&self) -> impl Iterator<Item = Problem> {
        self.integrations.iter().filter_map(|integration| {
            let CredentialSource::V1 { secret_key, .. } = &integration.credential else {
                return None;
            };
            let key = secret_key.read().ok()?;
            STANDARD.decode(key.expose()).err()?;
            self.problem_of(
                secret_key,
                format!("{secret_key} is not base64; copy the whole Secret Key that Mimecast shows, with any \"=\" at its end"),
            )
        })
    }

    /// Access keys that stand in two places and are the same; loading has found those that stand in one.
    fn shared_credentials(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen: Vec<(Secret, _)> = Vec::new();
        for integration in &self.integrations {
            let CredentialSource::V1 { access_key, .. } = &integration.credential else {
                continue;
            };
            let Ok(key) = access_key.read() else { continue };
            if let Some((_, other)) = seen.iter().find(|(other, _)| *other == key) {
                let text = format!(
                    "the integrations {other} and {} have the same access key; each integration needs a credential of its own",
                    integration.id
                );
                problems.extend(self.problem_of(access_key, text));
            } else {
                seen.push((key, &integration.id));
            }
        }
        problems
    }

    fn problem_of(&self, source: &SecretSource, text: String) -> Option<Problem> {
        let used = self.secrets.iter().find(|used| used.source == *source)?;
        Some(Problem {
            place: used.place.clone(),
            key: used.key.clone(),
            text,
        })
    }
}
