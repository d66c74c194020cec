//! A subject of health in the daemon: its state is stepped by the pure machine, made durable, logged when it changes, and shown.
//!
//! The poller and the output workers hold their subjects themselves; nobody else changes a state.

use std::time::Duration;

use crate::alert::{About, Renewal};
use crate::clock::Clock;
use crate::health::{
    Action, Alert, Cause, Class, Level, Outcome, Policy, Raised, Standing, State, step,
};
use crate::model::{IntegrationId, OutputId, Timestamp};
use crate::secret::Fingerprint;
use crate::status::{Condition, Phase, Status};
use crate::store::{Notice, Snapshot, Store, StoreError};
use crate::tenure::Tenure;
use crate::units::show_duration;
use crate::watchdog::Watchdog;

/// What all pollers and workers share; clones are one.
#[derive(Clone, Debug)]
pub struct Context {
    /// Cursors, states and events.
    pub store: Store,
    /// The time that everything is scheduled by.
    pub clock: Clock,
    /// Where people look.
    pub status: Status,
    /// Where loops say that they are alive.
    pub watchdog: Watchdog,
    /// What may be asked and delivered.
    pub tenure: Tenure,
}

/// Something that may fail, wait and recover on its own: a credential, a resource, a stream, an output, a lane of an output.
#[derive(Debug)]
pub struct Subject {
    name: String,
    about: About,
    policy: Policy,
    standing: Standing,
    /// No tick before this: the disk had no room for an alert.
    hold: Option<Timestamp>,
}

/// Before an alert that the disk had no room for is tried again.
const NO_ROOM: Duration = Duration::from_mins(1);

impl Subject {
    /// Takes up the state that was stored under `name`; a time further ahead than the policy ever waits is cut. `about` says in
    /// alerts what it is.
    #[must_use]
    pub fn load(
        name: String,
        about: About,
        policy: Policy,
        stored: &Snapshot,
        now: Timestamp,
    ) -> Self {
        let mut standing = stored.health.get(&name).map_or(Standing::default(), |stored| {
            serde_json::from_value(stored.clone()).unwrap_or_else(|error| {
                // Better one probe than a stream that is silent for a reason nobody can read.
                tracing::warn!(subject = %name, %error, "a stored state cannot be read, and is taken as healthy");
                Standing::default()
            })
        });
        standing.state = standing.state.clamp(now, &policy);
        Self {
            name,
            about,
            policy,
            standing,
            hold: None,
        }
    }

    /// Says how a new secret would be taken up.
    pub fn renewed_by(&mut self, renewal: Renewal) {
        self.about.renewal = renewal;
    }

    /// Says whether the account may lack what this is about, so that a refusal of it is no alert.
    pub const fn may_lack(&mut self, may: bool) {
        self.policy.may_lack = may;
    }

    /// How it is doing.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.standing.state
    }

    /// Milliseconds to add to our clock for signatures.
    #[must_use]
    pub fn clock_ahead_ms(&self) -> i64 {
        self.standing.clock_ahead_ms()
    }

    /// When [`Subject::tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        if self.is_expected() {
            return None;
        }
        self.standing
            .tick()
            .max(self.standing.tick().and(self.hold))
    }

    /// Tells people what the passing of time has made worth telling.
    ///
    /// # Errors
    /// The store's.
    pub async fn tick(&mut self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        if self.next_tick().is_some_and(|at| at <= now) {
            self.judge(store, &Outcome::Tick, now).await?;
        }
        Ok(())
    }

    fn is_expected(&self) -> bool {
        self.standing.raised.is_none() && self.policy.expects(&self.standing.state)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        matches!(self.standing.state, State::Healthy)
    }

    /// Steps the machine and makes the new state durable before it returns.
    ///
    /// # Errors
    /// The store's.
    pub async fn judge(
        &mut self,
        store: &Store,
        outcome: &Outcome<'_>,
        now: Timestamp,
    ) -> Result<Action, StoreError> {
        if let Outcome::Failed(attempt) = outcome {
            let line = self.about.evidence(&self.name, attempt);
            store.note_failure(line).await?;
        }
        let before = self.standing.clone();
        let stepped = step(&self.policy, before.clone(), outcome, now);
        let change = (&before, &stepped.standing);
        let told = stepped
            .alert
            .map(|alert| (alert, self.about.notice(&self.name, alert, change, now)));
        if stepped.standing != before {
            self.standing = stepped.standing;
            self.keep(store, before.raised, told, now).await?;
            if let Some(alert) = stepped.alert.filter(|_| self.hold.is_none()) {
                self.log_alert(alert, stepped.changed, now);
            }
        }
        if stepped.changed {
            self.log_change(&before.state, now);
        } else if let (Outcome::Failed(attempt), Some(until)) = (outcome, self.until()) {
            let failure = attempt.failure;
            tracing::debug!(subject = %self.name, code = %failure.key(), %until, "failed again: {failure}");
        }
        Ok(stepped.action)
    }

    /// Makes the state durable, and what people are told of it in the same transaction. On a full disk the state alone: it must
    /// not be lost for want of room for an alert, which is told later.
    async fn keep(
        &mut self,
        store: &Store,
        raised: Option<Raised>,
        told: Option<(Alert, Notice)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (alert, notice) = told.unzip();
        let stored = store
            .put_health(self.name.clone(), self.stored()?, notice)
            .await;
        match (stored, alert) {
            (Err(error), Some(_)) if error.is_full() => {
                tracing::error!(subject = %self.name, %error, "an alert cannot be stored, and is told in a minute");
                self.standing.raised = raised;
                self.hold = Some(now + NO_ROOM);
                let stored = self.stored()?;
                store.put_health(self.name.clone(), stored, None).await
            }
            (Ok(()), Some(_)) => {
                self.hold = None;
                Ok(())
            }
            (stored, _) => stored,
        }
    }

    fn stored(&self) -> Result<serde_json::Value, StoreError> {
        serde_json::to_value(&self.standing).map_err(|e| StoreError::Value(e.to_string()))
    }

    /// One line for an alert; none for one that is raised by the change of state that the next line tells in full.
    fn log_alert(&self, alert: Alert, changed: bool, now: Timestamp) {
        let (Alert::Raise | Alert::Remind, Some(cause)) = (alert, self.standing.state.cause())
        else {
            tracing::info!(subject = %self.name, "alert cleared");
            return;
        };
        if changed {
            return;
        }
        let since = self.standing.state.since().unwrap_or(now);
        tracing::error!(
            subject = %self.name,
            code = %cause.key(),
            since = %since,
            endpoint = %cause.endpoint,
            request_id = cause.request_id.as_deref().unwrap_or("-"),
            advice = cause.row().advice,
            integration = self.about.integration.as_ref().map(IntegrationId::as_str),
            log = self.about.log.as_deref(),
            output = self.about.output.as_ref().map(OutputId::as_str),
            "a person should look: {} for {}",
            cause.row().title,
            show_duration(now.since(since))
        );
    }

    /// Lifts a block that was for another credential than `credential`.
    ///
    /// # Errors
    /// The store's.
    pub async fn lift(
        &mut self,
        store: &Store,
        credential: Option<&Fingerprint>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.standing.state.is_lifted_by(credential) {
            tracing::info!(subject = %self.name, "the credential has changed: trying again");
            self.judge(store, &Outcome::Resumed, now).await?;
        }
        Ok(())
    }

    /// What people are shown of it.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let mut condition = Condition {
            state: phase(&self.standing.state),
            since: self.standing.state.since(),
            until: self.until(),
            attempts: self.standing.state.attempts(),
            expected: self.is_expected(),
            ..Condition::default()
        };
        if let Some(cause) = self.standing.state.cause() {
            condition.key = Some(cause.key());
            condition.title = cause.row().title.to_owned();
            condition.detail.clone_from(&cause.detail);
            condition.advice = self.about.to_do(cause.row());
            condition.request_id.clone_from(&cause.request_id);
            condition.endpoint = Some(cause.endpoint.clone());
        }
        condition
    }

    fn until(&self) -> Option<Timestamp> {
        match &self.standing.state {
            State::Healthy | State::Renewing { .. } => None,
            State::Retrying { until, .. } | State::Throttled { until, .. } => Some(*until),
            State::Blocked { until, .. } => *until,
        }
    }

    /// One line for a change: what, where, why, until when, and what to do.
    fn log_change(&self, before: &State, now: Timestamp) {
        let Some(cause) = self.standing.state.cause() else {
            let down = before.since().map_or(Duration::ZERO, |at| now.since(at));
            let was = before.cause().map(Cause::key).unwrap_or_default();
            let down = show_duration(down);
            tracing::info!(subject = %self.name, was, %down, "recovered");
            return;
        };
        let row = cause.row();
        let request_id = cause.request_id.as_deref().unwrap_or("-");
        let until = match self.until() {
            Some(until) => format!("{until} (in {})", show_duration(until.since(now))),
            None if matches!(self.standing.state, State::Renewing { .. }) => "now".to_owned(),
            None if row.class == Class::Watched => "it is over".to_owned(),
            None => "a person acts".to_owned(),
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    subject = %self.name,
                    code = %cause.key(),
                    class = ?row.class,
                    state = self.standing.state.as_str(),
                    until,
                    attempts = self.standing.state.attempts(),
                    endpoint = %cause.endpoint,
                    request_id,
                    detail = %cause.detail,
                    advice = self.about.to_do(row),
                    listed = cause.is_listed(),
                    integration = self.about.integration.as_ref().map(IntegrationId::as_str),
                    log = self.about.log.as_deref(),
                    output = self.about.output.as_ref().map(OutputId::as_str),
                    "{}", row.title
                )
            };
        }
        match self.standing.state.level().min(row.level) {
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error => line!(error),
        }
    }
}

const fn phase(state: &State) -> Phase {
    match state {
        State::Healthy => Phase::Healthy,
        State::Renewing { .. } => Phase::Renewing,
        State::Retrying { .. } => Phase::Retrying,
        State::Throttled { .. } => Phase::Throttled,
        State::Blocked { .. } => Phase::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::health::machine::Attempt;
    use crate::health::{Failure, Origin, Seed};
    use crate::model::{LaneId, Position};

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    /// The events of the collector's own lane, each as JSON.
    async fn told(store: &Store) -> Vec<serde_json::Value> {
        let (lane, from) = (LaneId::collector(), Position::start_of(1));
        let chunk = store.outbox().read(&lane, from, 1 << 20, 100).await;
        let records = chunk.unwrap().records;
        let json = |record: &crate::model::Record| serde_json::from_slice(&record.body).unwrap();
        records.iter().map(json).collect()
    }

    #[tokio::test]
    async fn a_lock_out_and_its_alert_survive_a_kill_and_are_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let policy = || Policy::source(Seed::of(b"install", "x"));
        let mut failure = Failure::new(Origin::Mimecast, 401, "0010", "POST /api/x");
        failure.request_id = Some("r1".to_owned());
        for round in 0..4_u64 {
            let now = NOW + Duration::from_mins(round);
            let clock = Clock::manual(now);
            let (store, task) = Store::open(dir.path(), clock).unwrap();
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(task.run(stop.clone()));
            store
                .route(vec![OutputId::new("splunk").unwrap()])
                .await
                .unwrap();
            let stored = store.snapshot().await.unwrap();
            let name = "credential acme".to_owned();
            let mut subject = Subject::load(name, About::default(), policy(), &stored, now);
            if round == 0 {
                let attempt = Attempt {
                    failure: &failure,
                    credential: None,
                    wall: now,
                };
                let action = subject.judge(&store, &Outcome::Failed(attempt), now).await;
                assert_eq!(action.unwrap(), Action::Wait);
            }
            subject.tick(&store, now).await.unwrap();
            let until = NOW + Duration::from_mins(30);
            assert_eq!(subject.state().next_allowed(now), Some(until));
            let alerts = told(&store).await;
            assert_eq!(alerts.len(), 1, "round {round}");
            assert_eq!(alerts[0]["alert"], "raised");
            assert_eq!(alerts[0]["code"], "401/0010");
            assert_eq!(alerts[0]["severity"], "high");
            assert_eq!(alerts[0]["request_ids"][0], "r1");
            assert_eq!(
                (&alerts[0]["method"], &alerts[0]["endpoint"]),
                (&"POST".into(), &"/api/x".into())
            );
            assert_eq!(alerts[0]["next_attempt"], until.to_string());
            drop(store);
            // What the store had answered is on disk; nothing more is done in order.
            stop.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }
}
