//! What this process may ask for and deliver, and until when.
//!
//! A collector by itself may do everything for ever. One of several owns some of the integrations under a lease, and may act for them while
//! the lease is sure to last. That is looked up at each request and at each batch, by the monotonic clock: a process that was stopped, and
//! wakes up when its lease is over, sends nothing more, whatever its other tasks find out later.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::{IntegrationId, LaneId};

/// The right to act for integrations; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tenure(Option<Arc<Leased>>);

/// The changes of a tenure; none where nothing is limited.
#[derive(Debug)]
pub struct Changes(Option<watch::Receiver<u64>>);

#[derive(Debug)]
struct Leased {
    clock: Clock,
    board: Mutex<Board>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Board {
    /// By the monotonic clock.
    until: Duration,
    /// How often a lease has ended.
    term: u64,
    owned: BTreeSet<IntegrationId>,
    /// The names of those whose events may be delivered. Text, as lanes are told by it many times a second.
    delivered: BTreeSet<String>,
    /// Lanes that are delivered whoever owns them.
    released: BTreeSet<LaneId>,
}

impl Tenure {
    /// Everything, for ever.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// Nothing, until something is owned and the lease is said to last.
    #[must_use]
    pub fn leased(clock: Clock) -> Self {
        Self(Some(Arc::new(Leased {
            clock,
            board: Mutex::default(),
            changes: watch::Sender::new(0),
        })))
    }

    /// Whether requests of an integration may go out now.
    #[must_use]
    pub fn may_ask(&self, integration: &IntegrationId) -> bool {
        self.0.as_ref().is_none_or(|leased| {
            let board = leased.board();
            leased.lasts(&board) && board.owned.contains(integration)
        })
    }

    /// Whether a lane may be delivered now. The collector's own events, and those that a person has sent again, are no other node's.
    #[must_use]
    pub fn may_deliver(&self, lane: &LaneId) -> bool {
        let Some(leased) = &self.0 else {
            return true;
        };
        let Some(integration) = integration(lane) else {
            return true;
        };
        let board = leased.board();
        let owned = board.delivered.contains(integration) && leased.lasts(&board);
        owned || board.released.contains(lane)
    }

    /// Hears of each change from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.0.as_ref().map(|leased| leased.changes.subscribe()))
    }

    /// Whether the lease is sure to last.
    #[must_use]
    pub fn lasts(&self) -> bool {
        let leased = self.0.as_ref();
        leased.is_none_or(|leased| leased.lasts(&leased.board()))
    }

    /// For how long it is sure to last.
    #[must_use]
    pub(crate) fn left(&self) -> Duration {
        let left = |leased: &Arc<Leased>| {
            let until = leased.board().until;
            until.saturating_sub(leased.clock.monotonic())
        };
        self.0.as_ref().map_or(Duration::MAX, left)
    }

    /// The number of the present term, which ends with the lease.
    pub(crate) fn term(&self) -> u64 {
        self.0.as_ref().map_or(0, |leased| leased.board().term)
    }

    /// The lease lasts until then, by the monotonic clock of the process. It never becomes shorter by this.
    pub(crate) fn extend(&self, until: Duration) {
        self.change(|board| board.until = board.until.max(until));
    }

    /// The lease is over: nothing is owned any more.
    pub(crate) fn end(&self) {
        self.change(|board| {
            board.until = Duration::ZERO;
            board.term += 1;
            board.owned.clear();
            board.delivered.clear();
        });
    }

    /// An integration is owned: it is asked, and what comes is delivered. What was owned in a term that is over is not.
    pub(crate) fn own(&self, integration: &IntegrationId, term: u64) {
        self.change(|board| {
            if term != board.term {
                return;
            }
            board.owned.insert(integration.clone());
            board.delivered.insert(integration.as_str().to_owned());
        });
    }

    /// An integration is to be handed over: what came of it is still delivered.
    pub(crate) fn stop_asking(&self, integration: &IntegrationId) {
        self.change(|board| {
            board.owned.remove(integration);
        });
    }

    /// An integration is another node's, or nobody's.
    pub(crate) fn disown(&self, integration: &IntegrationId) {
        self.change(|board| {
            board.owned.remove(integration);
            board.delivered.remove(integration.as_str());
        });
    }

    /// A lane is delivered whoever owns its integration, because Mimecast will soon have its events no more.
    pub(crate) fn release(&self, lane: &LaneId) {
        self.change(|board| {
            board.released.insert(lane.clone());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Board)) {
        if let Some(leased) = &self.0 {
            change(&mut leased.board());
            leased.changes.send_modify(|changes| *changes += 1);
        }
    }
}

impl Changes {
    /// Waits for a change since the last one that was heard of. Dropping it loses none.
    pub async fn next(&mut self) {
        let next = match &mut self.0 {
            Some(changes) => changes.changed().await.ok(),
            None => None,
        };
        if next.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Leased {
    fn lasts(&self, board: &Board) -> bool {
        self.clock.monotonic() < board.until
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Each change is whole after each statement, so a panic elsewhere leaves nothing half done.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The integration that a lane is of, in the first part of its name; `None` for lanes of another kind, whose names begin with `@`.
fn integration(lane: &LaneId) -> Option<&str> {
    let first = lane.as_str().split('/').next()?;
    (!first.starts_with('@')).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn acme() -> IntegrationId {
        IntegrationId::new("acme").unwrap()
    }

    fn may(tenure: &Tenure) -> [bool; 5] {
        let lanes = [
            "acme/audit",
            "beta/audit",
            "@collector",
            "@again/splunk/acme/audit",
        ];
        let [ours, other, own, again] =
            lanes.map(|lane| tenure.may_deliver(&LaneId::from_text(lane)));
        [tenure.may_ask(&acme()), ours, other, own, again]
    }

    #[test]
    fn a_single_collector_may_do_everything() {
        assert_eq!(may(&Tenure::unlimited()), [true; 5]);
        assert!(Tenure::unlimited().lasts());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owned_is_asked_and_delivered_while_the_lease_lasts_and_not_a_moment_longer() {
        let clock = Clock::starting_at(Timestamp::from_millis(0));
        let tenure = Tenure::leased(clock.clone());
        let nothing = [false, false, false, true, true];
        assert_eq!(may(&tenure), nothing);
        tenure.own(&acme(), tenure.term());
        assert_eq!(may(&tenure), nothing, "without a lease");
        tenure.extend(Duration::from_secs(7));
        assert_eq!(may(&tenure), [true, true, false, true, true]);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(may(&tenure), [true, true, false, true, true]);
        // As a process that was stopped finds it.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(may(&tenure), nothing);
        tenure.extend(Duration::from_secs(14));
        assert_eq!(may(&tenure), [true, true, false, true, true]);
        tenure.stop_asking(&acme());
        assert_eq!(may(&tenure), [false, true, false, true, true]);
        tenure.disown(&acme());
        assert_eq!(may(&tenure), nothing);
        let term = tenure.term();
        tenure.end();
        tenure.extend(Duration::from_mins(1));
        tenure.own(&acme(), term);
        assert_eq!(may(&tenure), nothing, "it was owned before the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_released_needs_no_lease() {
        let tenure = Tenure::leased(Clock::starting_at(Timestamp::from_millis(0)));
        let mut changes = tenure.changes();
        assert!(futures_util::poll!(Box::pin(changes.next())).is_pending());
        tenure.release(&LaneId::from_text("beta/audit"));
        changes.next().await;
        assert_eq!(may(&tenure), [false, false, true, true, true]);
    }
}
