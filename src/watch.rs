//! A condition that no request fails by, and that people should hear of: told once, reminded of daily, cleared once, across kills.
//!
//! It is a [`Subject`] like any other, so its state and the alert are one transaction; what it finds has a row in the table of errors.

use crate::alert::About;
use crate::health::machine::Attempt;
use crate::health::{Cause, Failure, Origin, Outcome, Policy, Seed};
use crate::model::Timestamp;
use crate::store::{Snapshot, Store, StoreError};
use crate::subject::Subject;

/// One watched condition.
#[derive(Debug)]
pub struct Watch {
    subject: Subject,
    /// What is watched, in the event of the alert.
    place: String,
}

/// That the condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its code in the table, a row of [`Origin::Watch`].
    pub code: &'static str,
    /// The figures.
    pub detail: String,
}

impl Watch {
    /// Takes up the watch over `what` where `stored` says that it stands. `about` says in alerts whose it is.
    #[must_use]
    pub fn load(what: &str, about: About, stored: &Snapshot, now: Timestamp) -> Self {
        let name = format!("watch {what}");
        let policy = Policy::source(Seed::of(b"watch", &name));
        Self {
            subject: Subject::load(name, about, policy, stored, now),
            place: what.to_owned(),
        }
    }

    /// Notes whether the condition holds, and tells people when that is due.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(
        &mut self,
        store: &Store,
        found: Option<Finding>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_due = self.subject.next_tick().is_some_and(|at| at <= now);
        let Some(finding) = found else {
            if !self.subject.is_healthy() || is_due {
                self.subject.judge(store, &Outcome::Success, now).await?;
            }
            return Ok(());
        };
        let known = self.subject.state().cause().map(Cause::key);
        let failure =
            Failure::new(Origin::Watch, 0, finding.code, &self.place).with_detail(&finding.detail);
        // What is known is written again only to be told again, with figures that are of now.
        if known.as_ref() == Some(&failure.key()) && !is_due {
            return Ok(());
        }
        let outcome = Outcome::Failed(Attempt {
            failure: &failure,
            credential: None,
            wall: now,
        });
        self.subject.judge(store, &outcome, now).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::model::{LaneId, OutputId, Position};

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    /// The alerts so far: what, of which code, with which figures.
    async fn told(store: &Store) -> Vec<(String, String, String)> {
        let (lane, from) = (LaneId::collector(), Position::start_of(1));
        let chunk = store.outbox().read(&lane, from, 1 << 20, 100).await;
        let read = |record: &crate::model::Record| {
            let event: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            (text("alert"), text("code"), text("said"))
        };
        chunk.unwrap().records.iter().map(read).collect()
    }

    /// Looks each five minutes for so long, with a kill and a new start after each look.
    async fn spend(root: &std::path::Path, from: Duration, hours: u64, found: Option<&Finding>) {
        for minutes in (5..=hours * 60).step_by(5) {
            let now = NOW + from + Duration::from_mins(minutes);
            let (store, task) = Store::open(root, Clock::manual(now)).unwrap();
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(task.run(stop.clone()));
            let outputs = vec![OutputId::new("splunk").unwrap()];
            store.route(outputs).await.unwrap();
            let stored = store.snapshot().await.unwrap();
            let mut watch = Watch::load("disk", About::default(), &stored, now);
            watch.look(&store, found.cloned(), now).await.unwrap();
            drop(store);
            stop.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }

    #[tokio::test]
    async fn a_watch_is_told_once_reminded_of_daily_and_cleared_once_across_kills() {
        let dir = tempfile::tempdir().unwrap();
        let finding = |code, detail: &str| Finding {
            code,
            detail: detail.to_owned(),
        };
        let hours = Duration::from_hours;
        spend(
            dir.path(),
            hours(0),
            1,
            Some(&finding("retention_low", "a")),
        )
        .await;
        // Worse is told at once, the same again after a day with the figures of that time.
        spend(
            dir.path(),
            hours(1),
            1,
            Some(&finding("retention_critical", "b")),
        )
        .await;
        spend(
            dir.path(),
            hours(25),
            1,
            Some(&finding("retention_critical", "c")),
        )
        .await;
        spend(dir.path(), hours(26), 1, None).await;
        let (store, _task) = Store::open(dir.path(), Clock::manual(NOW)).unwrap();
        let told = told(&store).await;
        let told: Vec<_> = told
            .iter()
            .map(|(alert, code, said)| format!("{alert} {code} {said}"))
            .collect();
        assert_eq!(
            told,
            [
                "raised watch/retention_low a",
                "reminder watch/retention_critical b",
                "reminder watch/retention_critical c",
                "cleared watch/retention_critical ",
            ]
        );
    }
}
