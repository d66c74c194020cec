//! A program that is told of alerts: JSON on its standard input, and its exit code is the answer.
//!
//! ```json
//! {"version":1,"count":1,"title":"Mimecast collector: 1 raised","text":"raised (high): …","alerts":[{"event_id":"…",…}],"secrets":{}}
//! ```
//! It gets nothing else of ours: no shell, an environment of two variables, no open descriptor, `/` as its folder, a process group of its
//! own, and a time in which to end. Exit code 0 takes all alerts it was told; anything else is a failure, and they are told again, with
//! the same event ids.

mod child;
mod config;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use child::unfit;
pub use config::ExecConfig;
use serde_json::json;

use self::child::{End, Job};
use super::redact::Redactor;
use super::told::{Told, of_all};
use super::webhook::{LIMITS, WINDOW};
use super::{Batch, BatchLimits, Delivery, Output, Window};
use crate::health::{Failure, Origin};
use crate::secret::{Fingerprint, Secret, SecretError};

/// A program, ready to be told.
#[derive(Debug)]
pub struct Exec {
    program: PathBuf,
    args: Vec<String>,
    secrets: BTreeMap<String, Secret>,
    redactor: Redactor,
    max_alerts: usize,
    timeout: Duration,
}

impl Exec {
    /// Reads the secrets. Starts nothing.
    ///
    /// # Errors
    /// The name of a secret that cannot be read, and why.
    pub fn new(config: &ExecConfig) -> Result<Self, (String, SecretError)> {
        let mut secrets = BTreeMap::new();
        for (name, source) in &config.secrets {
            let secret = source.read().map_err(|e| (name.clone(), e))?;
            secrets.insert(name.clone(), secret);
        }
        Ok(Self {
            program: config.program.clone(),
            args: config.args.clone(),
            redactor: Redactor::new(secrets.values()),
            secrets,
            max_alerts: config.max_alerts.unwrap_or(usize::MAX),
            timeout: config.timeout,
        })
    }

    /// What its secrets can be told by, under the install id `key`; `None` if it has none.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<Fingerprint> {
        let parts: Vec<_> = self.secrets.values().map(Secret::expose).collect();
        (!parts.is_empty()).then(|| Fingerprint::of(key, &parts))
    }

    fn input(&self, told: &[Told]) -> Secret {
        let secrets: BTreeMap<_, _> = self
            .secrets
            .iter()
            .map(|(name, secret)| (name, secret.expose()))
            .collect();
        let say = |name| of_all(told, name);
        let input = json!({
            "version": 1,
            "count": say("count"),
            "title": say("title"),
            "text": say("text"),
            "alerts": say("objects"),
            "secrets": secrets,
        });
        Secret::new(format!("{input}\n"))
    }

    fn failure(&self, end: End) -> Option<Failure> {
        let (code, detail) = match end {
            End::Done => return None,
            End::Unfit(why) => ("exec_unfit", why),
            End::NotStarted(error) => ("exec_start", error.to_string()),
            End::Failed(status, said) => ("exec_status", format!("{status}: {}", said.trim())),
            End::TimedOut(said) => (
                "exec_timeout",
                format!("killed after {} s: {}", self.timeout.as_secs(), said.trim()),
            ),
        };
        let program = self.program.display().to_string();
        let detail = self.redactor.hide(detail.trim_end_matches([':', ' ']));
        Some(Failure::new(Origin::Local, 0, code, &program).with_detail(&detail))
    }
}

impl Output for Exec {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let records = batch.records().iter().take(self.max_alerts);
        let told: Vec<_> = records.map(Told::of).collect();
        let job = Job {
            program: &self.program,
            args: &self.args,
            input: self.input(&told),
            timeout: self.timeout,
        };
        match self.failure(job.run().await) {
            Some(failure) => Delivery::failed(failure),
            None => Delivery::accepted(told.len()),
        }
    }

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn window(&self) -> Window {
        WINDOW
    }
}

#[cfg(test)]
mod tests;
