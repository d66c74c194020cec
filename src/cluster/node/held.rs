//! What this node still has of integrations that are another's: kept until the other has delivered as much, and delivered here if Mimecast
//! will soon have it no more.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Halt, Holdings, Host, Node};
use crate::cluster::registry::Registry;
use crate::model::{LaneId, StreamId};
use crate::units::show_duration;

/// From one look to the next.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// As long as Mimecast is taken to keep a log that the configuration has no more.
const SHORTEST: Duration = Duration::from_hours(24);

/// Lanes of an earlier ownership.
#[derive(Debug, Default)]
pub(super) struct Held {
    looked: Option<Duration>,
    lanes: u64,
    passed_over: u64,
    released: BTreeSet<LaneId>,
}

impl Held {
    /// How many lanes wait.
    pub(super) const fn lanes(&self) -> u64 {
        self.lanes
    }

    /// How many were passed over.
    pub(super) const fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl<R: Registry, H: Host> Node<R, H> {
    /// Looks once a minute at what waits here and is another's.
    pub(super) async fn look_at_held(&self, holdings: &mut Holdings) -> Result<(), Halt> {
        let now = self.clock.monotonic();
        let looked = holdings.held.looked;
        if looked.is_some_and(|at| now.saturating_sub(at) < LOOK_AGAIN) {
            return Ok(());
        }
        let wanted = self.wanted.borrow().integrations.clone();
        let others = wanted
            .into_iter()
            .filter(|id| !holdings.owned.contains_key(id));
        let portraits = self.host.portraits(others.collect()).await?;
        let mut lanes = 0;
        for (id, portrait) in portraits {
            if portrait.is_delivered() {
                continue;
            }
            let shared = self.shared(&id).await?.map(|(shared, _)| shared);
            for (stream, waiting) in portrait.waiting() {
                let lane = LaneId::stream(stream);
                let covers =
                    |of: &crate::cluster::record::Shared| of.covers(stream, portrait.fence);
                if shared.as_ref().is_some_and(covers) {
                    let events = self.host.pass_over(&lane).await?;
                    holdings.held.passed_over += 1;
                    tracing::info!(lane = %lane, events, "passed over what was fetched here: its new owner has delivered it");
                    continue;
                }
                lanes += 1;
                let oldest = self.host.time_of(&lane, waiting.at).await;
                let age = oldest.map(|oldest| self.clock.wall().since(oldest));
                let kept = self.kept(stream);
                if age.is_some_and(|age| age >= kept / 10 * 9)
                    && holdings.held.released.insert(lane.clone())
                {
                    let kept = show_duration(kept);
                    tracing::warn!(
                        lane = %lane, events = waiting.events,
                        "Mimecast keeps this log for {kept}, and what was fetched of it here is nearly as old and not known to be delivered: it \
                         is delivered from here, and may arrive twice"
                    );
                    self.tenure.release(&lane);
                }
            }
        }
        holdings.held.lanes = lanes;
        holdings.held.looked = Some(now);
        Ok(())
    }

    /// For how long Mimecast keeps a stream's log.
    fn kept(&self, stream: &StreamId) -> Duration {
        let key = format!("{}/{}", stream.integration, stream.log);
        let wanted = self.wanted.borrow();
        wanted.kept.get(&key).copied().unwrap_or(SHORTEST)
    }
}
