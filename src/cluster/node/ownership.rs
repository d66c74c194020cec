//! What becomes of one integration: claimed, taken up, shared, handed over, lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Halt, Holdings, Host, Inheritance, Node, Owner, View};
use crate::cluster::assignment::assign;
use crate::cluster::record::{Found, Shared, Writer, memo_text};
use crate::cluster::registry::{Change, Compare, LeaseId, Registry, Revision};
use crate::model::{Cursor, IntegrationId, LaneId, Position, StreamId, Timestamp};
use crate::status::HeldBack;
use crate::store::Portrait;
use crate::units::show_count;

/// Integrations that are claimed, or taken up, in one round: what others are told of the rest must not wait for hundreds of them.
const AT_ONCE: usize = 16;
/// Something waits for an output for so long before people are told what that means for the others.
const HELD_BACK: Duration = Duration::from_mins(15);
/// From one such word to the next.
const TOLD_AGAIN: Duration = Duration::from_hours(6);

/// An integration of this node.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// The change that created the owner's key; `None` while it is kept without one, because the lease is over.
    pub(super) fence: Option<Revision>,
    /// Whether the shared record has the fence: nobody else's word counts any more.
    is_stamped: bool,
    /// Whether its poller runs.
    pub(super) is_asked: bool,
    /// When it was taken up.
    taken: Option<Timestamp>,
    /// What is shared of it.
    shared: Option<Shared>,
    place: Place,
    pub(super) leaving: Option<Leaving>,
    pub(super) held_back: Option<HeldBack>,
    told: Option<Timestamp>,
    /// The cursor of the frame at a place, so that it is read once.
    fetched_from: BTreeMap<StreamId, (Position, Option<Cursor>)>,
    /// The numbers of the files of what sources remember, as far as it is shared.
    memos: BTreeMap<StreamId, u64>,
    /// How it stood when what is shared was drawn up; `None` if that was not the whole truth.
    drawn_up: Option<Portrait>,
}

/// Where the shared record is. Each one is written over the one before and no other: a transaction whose answer never came may be done
/// later, and would take back what was said since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nobody knows what became of the last transaction.
    #[default]
    Unknown,
    /// There is none.
    Nowhere,
    /// The change that put it.
    At(Revision),
}

/// It is being handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// By the monotonic clock.
    since: Duration,
    /// Whether it goes even if something is left to deliver. What was once sent to be released may be so at any time, and is asked no more.
    is_forced: bool,
}

impl Owned {
    fn claimed(fence: Revision) -> Self {
        Self {
            fence: Some(fence),
            ..Self::default()
        }
    }

    /// Whether it should be asked, and is not.
    pub(super) const fn may_be_asked(&self) -> bool {
        self.is_stamped && !self.is_asked && self.leaving.is_none() && self.fence.is_some()
    }
}

impl<R: Registry, H: Host> Node<R, H> {
    fn name(&self) -> &str {
        self.settings.node.as_str()
    }

    /// Gives up what is another's now, and takes note of what is ours without our knowing: the answer to a claim may be lost.
    pub(super) async fn reconcile(
        &self,
        holdings: &mut Holdings,
        view: &View,
        lease: LeaseId,
    ) -> Result<(), Halt> {
        let ours = |owner: &Owner| owner.node == self.name() && owner.lease == Some(lease);
        let is_lost = |id: &IntegrationId, owned: &Owned| match (view.owners.get(id), owned.fence) {
            (Some(owner), Some(fence)) => owner.fence != fence,
            (Some(owner), None) => !ours(owner),
            (None, Some(_)) => true,
            // Kept without a lease, and not claimed by anybody.
            (None, None) => false,
        };
        let lost = holdings.owned.iter();
        let lost = lost.filter(|(id, owned)| is_lost(id, owned));
        for id in lost.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.lose(holdings, &id).await?;
        }
        for (id, owner) in view.owners.iter().filter(|(_, owner)| ours(owner)) {
            let owned = holdings.owned.entry(id.clone()).or_default();
            if owned.fence != Some(owner.fence) {
                owned.fence = Some(owner.fence);
                owned.is_stamped = false;
            }
        }
        Ok(())
    }

    async fn lose(&self, holdings: &mut Holdings, id: &IntegrationId) -> Result<(), Halt> {
        self.tenure.disown(id);
        if let Some(owned) = holdings.owned.remove(id) {
            tracing::warn!(integration = %id, "this node has lost it: nothing more of it is asked and delivered here");
            holdings.counts.lost += 1;
            if owned.is_asked {
                self.host.stop(id).await?;
            }
        }
        Ok(())
    }

    /// Who should own what.
    fn target<'v>(
        &self,
        nodes: &'v BTreeSet<String>,
        view: &View,
    ) -> BTreeMap<IntegrationId, &'v str> {
        let owners = view.owners.iter();
        let owners = owners.map(|(id, owner)| (id.clone(), owner.node.clone()));
        assign(&self.wanted.borrow().integrations, nodes, &owners.collect())
    }

    /// Begins to hand over what should be another's, and goes on with what is being handed over.
    pub(super) async fn hand_over(&self, holdings: &mut Holdings, view: &View) -> Result<(), Halt> {
        let now = self.clock.monotonic();
        for (id, is_forced) in self.surplus(holdings, view) {
            if let Some(owned) = holdings.owned.get_mut(&id) {
                tracing::info!(integration = %id, "is handed over to another node");
                self.tenure.stop_asking(&id);
                owned.leaving = Some(Leaving {
                    since: now,
                    is_forced,
                });
                if std::mem::take(&mut owned.is_asked) {
                    self.host.stop(&id).await?;
                }
            }
        }
        let leaving = holdings.owned.iter();
        let leaving = leaving.filter_map(|(id, owned)| Some((id.clone(), owned.leaving?)));
        for (id, leaving) in leaving.collect::<Vec<_>>() {
            let portrait = self.portrait(&id).await?;
            let is_over = now.saturating_sub(leaving.since) > self.settings.lease * 2;
            if portrait.is_delivered() || (is_over && leaving.is_forced) {
                self.release(holdings, &id).await?;
            } else if is_over && let Some(owned) = holdings.owned.get_mut(&id) {
                tracing::info!(integration = %id, "is kept: an output does not take what it has");
                owned.leaving = None;
                owned.taken = Some(self.clock.now());
                self.tenure.own(&id, holdings.term);
            }
        }
        Ok(())
    }

    /// What is to be handed over next, and whether whatever it has.
    fn surplus(&self, holdings: &Holdings, view: &View) -> Vec<(IntegrationId, bool)> {
        let wanted = self.wanted.borrow();
        let stays = holdings.owned.iter();
        let stays = stays.filter(|(_, owned)| owned.leaving.is_none() && owned.is_stamped);
        if *self.drain.borrow() {
            return stays.map(|(id, _)| (id.clone(), true)).collect();
        }
        let gone = |id: &IntegrationId| !wanted.integrations.contains(id);
        let mut surplus: Vec<_> = stays
            .clone()
            .filter(|(id, _)| gone(id))
            .map(|(id, _)| (id.clone(), true))
            .collect();
        // Another configuration may not have it.
        if view
            .nodes
            .values()
            .any(|member| member.config != wanted.config)
        {
            return surplus;
        }
        drop(wanted);
        let nodes = takers(view);
        let target = self.target(&nodes, view);
        let since = self.clock.now() - self.settings.lease;
        let too_many =
            stays.filter(|(id, _)| target.get(*id).is_some_and(|node| *node != self.name()));
        let too_many: Vec<_> = too_many.collect();
        let under_way = holdings
            .owned
            .values()
            .filter(|owned| owned.leaving.is_some());
        let places = (1 + too_many.len() / 8).saturating_sub(under_way.count());
        // What has nothing waiting goes quickly, and once.
        let quiet = too_many.into_iter().filter(|(_, owned)| {
            owned.held_back.is_none() && owned.taken.is_some_and(|taken| taken <= since)
        });
        surplus.extend(quiet.take(places).map(|(id, _)| (id.clone(), false)));
        surplus
    }

    /// The last record and the end of the ownership are one transaction.
    async fn release(&self, holdings: &mut Holdings, id: &IntegrationId) -> Result<(), Halt> {
        self.tenure.disown(id);
        let Some(owned) = holdings.owned.get_mut(id) else {
            return Ok(());
        };
        let Some(fence) = owned.fence.filter(|_| owned.is_stamped) else {
            holdings.owned.remove(id);
            return Ok(());
        };
        if let Some(leaving) = &mut owned.leaving {
            leaving.is_forced = true;
        }
        self.look_at_shared(id, owned).await?;
        let portrait = self.portrait(id).await?;
        let record = self.record(id, owned, &portrait).await;
        let last = Shared {
            released: true,
            ..record
        };
        let gone = Change::Delete(self.keys.owner(id));
        if self.write(id, owned, fence, last, Some(gone)).await? {
            holdings.owned.remove(id);
            holdings.counts.released += 1;
        }
        Ok(())
    }

    /// Claims what is free and should be ours, and takes up what is claimed; gives whether there is more of either.
    pub(super) async fn take(
        &self,
        holdings: &mut Holdings,
        view: &View,
        lease: LeaseId,
    ) -> Result<bool, Halt> {
        let claims = self.claims(holdings, view);
        for id in claims.iter().take(AT_ONCE) {
            let owner = self.keys.owner(id);
            let put = Change::Put {
                key: owner.clone(),
                value: self.name().as_bytes().to_vec(),
                lease: Some(lease),
            };
            let claimed = self.registry.txn(&[Compare::Absent(owner)], &[put]).await?;
            if let Some(fence) = claimed {
                let kept = holdings.owned.remove(id).unwrap_or_default();
                let owned = Owned {
                    is_asked: kept.is_asked,
                    ..Owned::claimed(fence)
                };
                holdings.owned.insert(id.clone(), owned);
                holdings.free.remove(id);
            }
        }
        let claimed = holdings.owned.iter();
        let claimed = claimed.filter(|(_, owned)| !owned.is_stamped && owned.fence.is_some());
        let claimed: Vec<_> = claimed.map(|(id, _)| id.clone()).collect();
        for id in claimed.iter().take(AT_ONCE) {
            self.take_up(holdings, id).await?;
        }
        Ok(claims.len() > AT_ONCE || claimed.len() > AT_ONCE)
    }

    /// What is free and should be ours, or has been free for so long that whoever should take it does not.
    fn claims(&self, holdings: &mut Holdings, view: &View) -> Vec<IntegrationId> {
        let now = self.clock.monotonic();
        let wanted = &self.wanted.borrow().integrations;
        let free: BTreeSet<_> = wanted
            .iter()
            .filter(|id| !view.owners.contains_key(*id))
            .collect();
        holdings.free.retain(|id, _| free.contains(id));
        for id in &free {
            holdings.free.entry((*id).clone()).or_insert(now);
        }
        // Nodes that start together see each other before the first of them has everything.
        let is_settled = holdings
            .joined
            .is_some_and(|joined| now.saturating_sub(joined) >= self.settings.lease / 2);
        if !is_settled || *self.drain.borrow() {
            return Vec::new();
        }
        let nodes = takers(view);
        let target = self.target(&nodes, view);
        let is_ours = |id: &IntegrationId| target.get(id).is_some_and(|node| *node == self.name());
        let is_left = |since: Duration| now.saturating_sub(since) >= self.settings.lease * 2;
        let claims = holdings.free.iter();
        let claims = claims.filter(|(id, since)| {
            is_ours(id) || is_left(**since) || holdings.owned.contains_key(*id)
        });
        claims.map(|(id, _)| id.clone()).collect()
    }

    /// Goes on where the last owner was; that may have been this node itself, which is farther then than what it has shared.
    async fn take_up(&self, holdings: &mut Holdings, id: &IntegrationId) -> Result<(), Halt> {
        let term = holdings.term;
        let Some(owned) = holdings.owned.get_mut(id) else {
            return Ok(());
        };
        let Some(fence) = owned.fence else {
            return Ok(());
        };
        owned.place = Place::Unknown;
        self.look_at_shared(id, owned).await?;
        let portrait = self.portrait(id).await?;
        let foreign = owned.shared.clone();
        let foreign = foreign.filter(|shared| Some(shared.fence) != portrait.fence);
        let foreign = foreign.as_ref();
        if let Some(shared) = foreign {
            self.tenure.disown(id);
            if std::mem::take(&mut owned.is_asked) {
                self.host.stop(id).await?;
            }
            for (stream, _) in portrait.waiting() {
                if shared.covers(stream, portrait.fence) {
                    self.host.pass_over(&LaneId::stream(stream)).await?;
                }
            }
        }
        let left = foreign.map(|shared| Inheritance {
            left: shared.left(id),
            in_order: shared.released,
        });
        let from = foreign
            .map_or("itself", |shared| shared.node.as_str())
            .to_owned();
        self.host.take_up(id, fence.0, left).await?;
        owned.taken = Some(self.clock.now());
        let portrait = self.portrait(id).await?;
        let record = self.record(id, owned, &portrait).await;
        if !self.write(id, owned, fence, record, None).await? {
            return Ok(());
        }
        owned.is_stamped = true;
        holdings.counts.taken += 1;
        self.tenure.own(id, term);
        tracing::info!(integration = %id, fence = fence.0, from, "is taken up");
        if owned.may_be_asked()
            && self.tenure.lasts()
            && let Some(key) = &holdings.key
        {
            owned.is_asked = true;
            self.host.start(id, key).await?;
        }
        Ok(())
    }

    /// Shares how far the integrations are, where that has changed.
    pub(super) async fn share(&self, holdings: &mut Holdings) -> Result<(), Halt> {
        let ours = holdings.owned.iter();
        let ours = ours.filter(|(_, owned)| owned.is_stamped && owned.fence.is_some());
        let ours: Vec<_> = ours.map(|(id, _)| id.clone()).collect();
        for (id, portrait) in self.host.portraits(ours).await? {
            let Some(owned) = holdings.owned.get_mut(&id) else {
                continue;
            };
            let Some(fence) = owned.fence else {
                continue;
            };
            owned.look_at_what_waits(&id, &portrait, self.clock.now());
            let is_known = owned.place != Place::Unknown;
            if is_known && owned.drawn_up.as_ref() == Some(&portrait) {
                continue;
            }
            self.look_at_shared(&id, owned).await?;
            let record = self.record(&id, owned, &portrait).await;
            let known = owned.shared.as_ref();
            if !known.is_some_and(|known| record.says_the_same_as(known)) {
                self.write(&id, owned, fence, record, None).await?;
            }
        }
        Ok(())
    }

    /// Writes what is shared over what is known of it, and does `also`, if the ownership still holds; gives whether it was done. If not, the
    /// next round finds out why.
    async fn write(
        &self,
        id: &IntegrationId,
        owned: &mut Owned,
        fence: Revision,
        record: Shared,
        also: Option<Change>,
    ) -> Result<bool, Halt> {
        let key = self.keys.shared(id);
        let over = match std::mem::take(&mut owned.place) {
            Place::Unknown => return Ok(false),
            Place::Nowhere => Compare::Absent(key.clone()),
            Place::At(change) => Compare::Modified(key.clone(), change),
        };
        let put = Change::Put {
            key,
            value: super::json(&record)?,
            lease: None,
        };
        let when = [Compare::Created(self.keys.owner(id), fence), over];
        let then: Vec<_> = [put].into_iter().chain(also).collect();
        let done = self.registry.txn(&when, &then).await?;
        if let Some(change) = done {
            owned.place = Place::At(change);
            owned.shared = Some(record);
        }
        Ok(done.is_some())
    }

    /// Finds out what is shared, if that is not known.
    async fn look_at_shared(&self, id: &IntegrationId, owned: &mut Owned) -> Result<(), Halt> {
        if owned.place == Place::Unknown {
            let shared = self.shared(id).await?;
            let (record, change) = shared.unzip();
            owned.shared = record;
            // What was drawn up since may not be what is there.
            owned.memos.clear();
            owned.drawn_up = None;
            owned.place = change.map_or(Place::Nowhere, Place::At);
        }
        Ok(())
    }

    /// What is shared of an integration, by whomever, and the change that put it.
    pub(super) async fn shared(
        &self,
        id: &IntegrationId,
    ) -> Result<Option<(Shared, Revision)>, Halt> {
        let key = self.keys.shared(id);
        let Some(entry) = self.registry.get(&key).await? else {
            return Ok(None);
        };
        let wrong = |why: String| Halt::Wrong(format!("the key {key} cannot be used: {why}"));
        let record: Shared =
            serde_json::from_slice(&entry.value).map_err(|e| wrong(e.to_string()))?;
        if record.version > Shared::VERSION {
            let node = &record.node;
            return Err(wrong(format!(
                "the node {node} has a later version of this program: run that here too"
            )));
        }
        Ok(Some((record, entry.modified)))
    }

    async fn portrait(&self, id: &IntegrationId) -> Result<Portrait, Halt> {
        let mut portraits = self.host.portraits(vec![id.clone()]).await?;
        Ok(portraits.remove(id).unwrap_or_default())
    }

    async fn record(&self, id: &IntegrationId, owned: &mut Owned, portrait: &Portrait) -> Shared {
        let mut found = Found::default();
        let mut is_whole = true;
        for (stream, state) in &portrait.streams {
            match (&state.undelivered, state.memo) {
                (Some(waiting), _) if waiting.repair.is_some() => {
                    owned.memos.remove(stream);
                }
                (Some(waiting), _) => {
                    let at = Position {
                        event: 0,
                        ..waiting.at
                    };
                    let known = owned
                        .fetched_from
                        .get(stream)
                        .filter(|(place, _)| *place == at);
                    let cursor = match known {
                        Some((_, cursor)) => Some(cursor.clone()),
                        None => self.host.fetched_from(&LaneId::stream(stream), at).await,
                    };
                    is_whole &= cursor.is_some();
                    owned.memos.remove(stream);
                    if let Some(cursor) = cursor {
                        owned
                            .fetched_from
                            .insert(stream.clone(), (at, cursor.clone()));
                        found.fetched_from.insert(stream.clone(), cursor);
                    }
                }
                (None, Some(number)) => {
                    let memo = match owned.shared_memo(stream, number) {
                        Some(memo) => Some(memo),
                        None => {
                            let memo = self.host.memo(stream, number).await;
                            memo.map(|memo| memo_text(&memo))
                        }
                    };
                    is_whole &= memo.is_some();
                    if let Some(memo) = memo {
                        owned.memos.insert(stream.clone(), number);
                        found.memos.insert(stream.clone(), memo);
                    }
                }
                (None, None) => {}
            }
        }
        owned.drawn_up = is_whole.then(|| portrait.clone());
        let now = self.clock.now();
        let writer = Writer {
            node: self.name(),
            fence: owned.fence.map_or(0, |fence| fence.0),
            taken: owned.taken.unwrap_or(now),
            now,
        };
        tracing::trace!(integration = %id, fence = writer.fence, "what is shared is drawn up");
        Shared::of(portrait, &found, owned.shared.as_ref(), writer)
    }

    /// Gives up everything in order.
    pub(super) async fn leave(&self, holdings: &mut Holdings) -> Result<(), Halt> {
        if self.tenure.lasts() {
            for id in holdings.owned.keys().cloned().collect::<Vec<_>>() {
                self.release(holdings, &id).await?;
            }
        }
        let lease = *self.lease.borrow();
        if let Some(lease) = lease {
            self.registry.revoke(lease).await?;
        }
        Ok(())
    }
}

impl Owned {
    /// What is shared of what a source remembers, if it is of the file of this number.
    fn shared_memo(&self, stream: &StreamId, number: u64) -> Option<String> {
        self.memos.get(stream).filter(|of| **of == number)?;
        let shared = self.shared.as_ref()?;
        shared.streams.get(&stream.log_and_type())?.memo.clone()
    }

    /// Remembers since when something waits, and tells people what that means.
    fn look_at_what_waits(&mut self, id: &IntegrationId, portrait: &Portrait, now: Timestamp) {
        let longest = portrait.waiting().max_by_key(|(_, waiting)| waiting.events);
        let Some((_, waiting)) = longest else {
            (self.held_back, self.told) = (None, None);
            return;
        };
        let since = self.held_back.as_ref().map_or(now, |known| known.since);
        self.held_back = Some(HeldBack {
            output: waiting.output.to_string(),
            since,
            events: waiting.events,
        });
        let is_due = self.told.is_none_or(|told| now.since(told) >= TOLD_AGAIN);
        if now.since(since) >= HELD_BACK && is_due {
            self.told = Some(now);
            let (output, events) = (&waiting.output, show_count(waiting.events));
            tracing::warn!(
                integration = %id, output = %output, events = waiting.events,
                "{events} events wait for output {output}: if another node took {id} over now, it would fetch them again, and deliver them \
                 again to every other output, at most as much as spool.integration_max_bytes. Mend the output, or take it out of the configuration"
            );
        }
    }
}

/// The nodes that take integrations.
fn takers(view: &View) -> BTreeSet<String> {
    let takers = view.nodes.iter().filter(|(_, member)| !member.draining);
    takers.map(|(name, _)| name.clone()).collect()
}
