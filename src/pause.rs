//! A person's wish that an integration is not polled, or an output not served, for a while or until further notice. It is kept in the
//! store, so it outlives a restart.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::status::{Condition, Phase};
use crate::store::{Snapshot, Store, StoreError};

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// An integration: nothing is asked.
    Integration,
    /// An output: nothing is delivered.
    Output,
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself; `None` waits for `resume`.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// The pause that is stored, if there is one.
    #[must_use]
    pub fn load(stored: &Snapshot, what: Paused, name: &str) -> Option<Self> {
        let stored = stored.health.get(&key(what, name))?;
        serde_json::from_value(stored.clone()).unwrap_or_else(|error| {
            tracing::error!(name, %error, "a stored pause cannot be read, and is taken as over");
            None
        })
    }

    /// Makes a pause durable, or the end of one.
    ///
    /// # Errors
    /// The store's.
    pub async fn store(
        pause: Option<Self>,
        store: &Store,
        what: Paused,
        name: &str,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_value(pause);
        let value = value.map_err(|e| StoreError::Value(e.to_string()))?;
        store.put_health(key(what, name), value, None).await
    }

    /// Whether it has come to its end.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// What people are shown of it.
    #[must_use]
    pub fn condition(&self, name: &str) -> Condition {
        Condition {
            state: Phase::Paused,
            since: Some(self.since),
            until: self.until,
            title: "Paused by a person".to_owned(),
            advice: format!("To go on before that: mimecast-collector resume {name}"),
            ..Condition::default()
        }
    }
}

fn key(what: Paused, name: &str) -> String {
    match what {
        Paused::Integration => format!("pause integration {name}"),
        Paused::Output => format!("pause output {name}"),
    }
}
