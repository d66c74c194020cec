//! One batch from the lane to the receiver, and what became of it back to the lane.

use super::Worker;
use super::under_way::{Attempted, Committed};
use super::window::{Fate, Part, Settled, Ticket};
use crate::health::machine::Attempt;
use crate::health::{Class, Failure, Origin, Outcome, Scope, lookup};
use crate::model::{Form, LaneId, Position};
use crate::output::{Batch, BatchLimits, Delivery, Judge, Output, Receipt, Rejection, Verdict};
use crate::store::{Ack, Aside, AsideEvent, Chunk, ReadError, StoreError};

/// So many events refused in a row mean that the requests are wrong, not the events: better to stop than to divert a whole stream.
const REFUSED_IN_A_ROW: u32 = 10;

/// Lanes of which something is kept that was read for one batch and goes with the next: a frame or two of each.
const AHEAD: usize = 4;

impl<O: Output> Worker<O> {
    /// Reads one batch of a lane and sends it on its way.
    pub(super) async fn serve(&mut self, id: &LaneId) -> Result<(), StoreError> {
        let others = self.lanes.iter().filter(|(other, _)| *other != id);
        let keeping = others.filter(|(_, lane)| lane.ahead.is_some()).count();
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(());
        };
        let BatchLimits { bytes, events } = self.output.limits();
        let due = lane.window.due();
        let (from, events) = due.map_or((lane.window.next(), events), |(from, due)| {
            (from, due.min(events))
        });
        // Only what is read on is read ahead of: what is offered again lies before it.
        let ahead = lane.ahead.take_if(|_| due.is_none());
        let ahead = ahead.filter(|ahead| ahead.start() == from);
        let ahead = ahead.unwrap_or_else(|| Chunk::at(from));
        let outbox = self.context.store.outbox().clone();
        let mut chunk = match outbox.read_on(id, ahead, bytes as u64, events).await {
            Ok(chunk) => chunk,
            Err(ReadError::Damaged { at, reason, .. }) => {
                return self.step_over(id, at, &reason).await;
            }
            Err(error @ ReadError::Io { .. }) => {
                let failure = Failure::new(Origin::Local, 0, "segment", id.as_str())
                    .with_detail(&error.to_string());
                return self.failed(id, Ticket::MAX, &failure).await;
            }
        };
        let all = Batch::new(id.clone(), std::mem::take(&mut chunk.records));
        if all.is_empty() {
            let next = chunk.position_after(0);
            match due {
                Some(_) => lane.window.jump(next, 0),
                None => lane.window.skip_to(next),
            }
            return Ok(());
        }
        let limited = all.first(BatchLimits { bytes, events });
        let batch = limited.slice(0..self.output.fitting(&limited).max(1));
        if due.is_none() && batch.len() < all.len() && keeping < AHEAD {
            let rest = all.slice(batch.len()..all.len()).records().to_vec();
            lane.ahead = Some(chunk.behind(batch.len(), rest));
        }
        self.ticket += 1;
        let ticket = self.ticket;
        lane.waiting = None;
        lane.window
            .begin(ticket, chunk.position_after(batch.len()), batch.len());
        self.under_way.offer(&self.output, ticket, chunk, batch);
        Ok(())
    }

    /// Does what the table of [`crate::output::Delivery`] says.
    pub(super) async fn settle(&mut self, attempted: Attempted) -> Result<(), StoreError> {
        let Attempted {
            ticket,
            chunk,
            batch,
            delivery,
        } = attempted;
        let id = batch.lane();
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(());
        };
        let mut cut = Cut::new(&batch, &delivery);
        if delivery.accepted > cut.refused.len() + delivery.filtered {
            lane.refused_in_a_row = 0;
        }
        let mut all_refused = None;
        if delivery.accepted == 0 {
            for (index, aside) in std::mem::take(&mut cut.refused) {
                // What is not offered says nothing of the requests.
                lane.refused_in_a_row += u32::from(!aside.withheld);
                if lane.refused_in_a_row > REFUSED_IN_A_ROW {
                    all_refused = Some(aside.reason);
                    break;
                }
                cut.refused.push((index, aside));
            }
        }
        for (_, aside) in &cut.refused {
            let (event_id, reason) = (&aside.what, &aside.reason);
            if aside.withheld {
                tracing::warn!(output = %self.id, lane = %id, event_id, reason, "an event is put aside");
            } else {
                tracing::warn!(output = %self.id, lane = %id, event_id, reason,
                    "the receiver refused an event: it is put aside");
            }
        }
        let says_nothing = delivery.accepted == 0 && delivery.rejected.is_empty();
        let mut filtered = delivery.filtered;
        let parts = cut.parts(delivery.accepted, delivery.pending);
        let parts = parts.into_iter().map(|(end, events, fate)| {
            // Which they were does not matter: what was passed of a batch is passed at once.
            let here = match fate {
                Fate::Taken | Fate::Unconfirmed(_) => filtered.min(events),
                Fate::Due | Fate::Out | Fate::Refused(_) => 0,
            };
            filtered -= here;
            Part {
                end: chunk.position_after(end),
                events,
                filtered: here,
                fate,
            }
        });
        if !lane.window.settle(ticket, parts.collect()) {
            return Ok(());
        }
        let failure = match (delivery.failure, all_refused) {
            (_, Some(reason)) => {
                let failure = Failure::new(Origin::Local, 0, "all_refused", id.as_str());
                failure.with_detail(&reason)
            }
            (Some(failure), None) if cut.is_halved => {
                tracing::debug!(output = %self.id, lane = %id, events = batch.len(), "offered again in halves: {failure}");
                return Ok(());
            }
            (Some(failure), None) => failure,
            // Offered again at once it would be offered for ever.
            (None, None) if says_nothing => {
                let failure = Failure::new(Origin::Local, 0, "", id.as_str());
                failure.with_detail("the output took nothing, and did not say why")
            }
            (None, None) => return Ok(()),
        };
        self.failed(id, ticket, &failure).await
    }

    /// Takes what the receiver has confirmed, and offers again what it has lost.
    pub(super) async fn confirm(
        &mut self,
        verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<(), StoreError> {
        for (receipt, verdict) in verdicts {
            let taken = verdict == Verdict::Accepted;
            let found = self.lanes.iter_mut().find_map(|(id, lane)| {
                let ticket = lane.window.confirm(receipt, taken)?;
                Some((id.clone(), ticket))
            });
            match (found, verdict) {
                (Some((id, ticket)), Verdict::Lost(failure)) => {
                    self.failed(&id, ticket, &failure).await?;
                }
                (Some(_), Verdict::Accepted) => {}
                // It has overtaken the delivery it belongs to.
                (None, verdict) => self.early.push((receipt, verdict)),
            }
        }
        Ok(())
    }

    /// Makes durable how far the lanes are passed. While a commit of a lane is under way, more gathers for its next one.
    pub(super) fn commit(&mut self) {
        let now = self.context.clock.now();
        let credential = self.fingerprint.as_ref();
        let may_try = self.subject.state().allows(now, credential);
        for (id, lane) in &mut self.lanes {
            if lane.is_stuck && !may_try {
                continue;
            }
            let Some(settled) = lane.window.begin_commit() else {
                continue;
            };
            let Settled {
                position,
                accepted,
                filtered,
                refused,
                ticket,
            } = settled;
            let ack = Ack {
                output: self.id.clone(),
                lane: id.clone(),
                position,
                accepted,
                rejected: refused,
                filtered,
            };
            self.under_way.commit(&self.context.store, ticket, ack);
        }
    }

    /// Goes on from a commit. A receiver counts as well by what is durable of it; if the disk had no room, nothing has moved.
    pub(super) async fn committed(&mut self, committed: Committed) -> Result<(), StoreError> {
        let Committed {
            lane: id,
            ticket,
            result,
        } = committed;
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Ok(());
        };
        lane.window.end_commit(result.is_ok());
        lane.is_stuck = result.is_err();
        match result {
            Ok(()) => self.answered(&id, ticket).await,
            Err(error) if error.is_full() => {
                let failure = Failure::new(Origin::Local, 0, "enospc", id.as_str())
                    .with_detail(&error.to_string());
                self.failed(&id, Ticket::MAX, &failure).await
            }
            Err(error) => Err(error),
        }
    }

    /// The receiver is well, unless it has failed since the attempt began.
    async fn answered(&mut self, id: &LaneId, ticket: Ticket) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let store = &self.context.store;
        if ticket > self.judged {
            self.last_success = Some(now);
            self.subject.judge(store, &Outcome::Success, now).await?;
        }
        if let Some(lane) = self.lanes.get_mut(id).filter(|lane| ticket > lane.judged) {
            lane.subject.judge(store, &Outcome::Success, now).await?;
        }
        Ok(())
    }

    /// Takes a failure to health. Of attempts that were out together, the first that fails for a while speaks for all: a window of them
    /// must not make an outage look as if it had been tried as often. `Ticket::MAX` is for what no attempt has met.
    async fn failed(
        &mut self,
        id: &LaneId,
        ticket: Ticket,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        let outcome = Outcome::Failed(Attempt {
            failure,
            credential: self.fingerprint.as_ref(),
            wall: self.context.clock.wall(),
        });
        let row = lookup(failure);
        let (subject, judged) = match (row.scope, self.lanes.get_mut(id)) {
            (Scope::Lane, Some(lane)) => (&mut lane.subject, &mut lane.judged),
            (
                Scope::Credential | Scope::Resource | Scope::Stream | Scope::Output | Scope::Lane,
                _,
            ) => (&mut self.subject, &mut self.judged),
        };
        let passes = matches!(row.class, Class::Transient | Class::Throttled);
        if passes && ticket <= *judged {
            tracing::debug!(output = %self.id, lane = %id, "failed together with others: {failure}");
            return Ok(());
        }
        *judged = self.ticket;
        subject.judge(&self.context.store, &outcome, now).await?;
        Ok(())
    }

    /// Gets past a damaged frame; the first output that finds it sends its stream back to fetch the events again.
    async fn step_over(
        &mut self,
        id: &LaneId,
        at: Position,
        reason: &str,
    ) -> Result<(), StoreError> {
        let detour = self
            .context
            .store
            .damaged(id, at, reason.to_owned())
            .await?;
        let cursor = detour.cursor.as_ref().map_or("its start", |c| c.as_str());
        let repeats_from = detour.repeats_from.map(tracing::field::display);
        if detour.new {
            tracing::error!(output = %self.id, lane = %id, %at, reason, events = detour.events, cursor, repeats_from,
                "stored events are damaged: their stream is fetched again from the place before them; events after them may be delivered twice");
        }
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.window.jump(detour.next, 0);
        }
        Ok(())
    }
}

/// What became of each event of a batch.
struct Cut {
    events: usize,
    /// By index, in order, each once.
    refused: Vec<(usize, Aside)>,
    /// Whether the rest is offered in two.
    is_halved: bool,
}

impl Cut {
    fn new(batch: &Batch, delivery: &Delivery) -> Self {
        let counts = |index: usize| delivery.accepted == 0 || index < delivery.accepted;
        let mut refused: Vec<_> = delivery
            .rejected
            .iter()
            .filter(|rejection| counts(rejection.index))
            .filter_map(|rejection| Some((rejection.index, aside(batch, rejection)?)))
            .collect();
        refused.sort_by_key(|(index, _)| *index);
        refused.dedup_by_key(|(index, _)| *index);
        Self {
            events: batch.len(),
            refused,
            is_halved: delivery.split && batch.len() > 1,
        }
    }

    /// Runs of events by the index behind them, how many they are, and what became of them.
    fn parts(&mut self, accepted: usize, pending: Option<Receipt>) -> Vec<(usize, usize, Fate)> {
        let accepted = accepted.min(self.events);
        let passed = pending.map_or(Fate::Taken, Fate::Unconfirmed);
        let middle = accepted + (self.events - accepted) / 2;
        let mut ends = vec![accepted, self.events];
        if self.is_halved {
            ends.insert(1, middle);
        }
        let mut parts = Vec::new();
        let mut from = 0;
        let mut add = |end: usize, fate: Fate| {
            if end > from {
                parts.push((end, end - from, fate));
                from = end;
            }
        };
        let mut refused = std::mem::take(&mut self.refused).into_iter().peekable();
        for end in ends {
            let fate = || {
                if end <= accepted {
                    passed.clone()
                } else {
                    Fate::Due
                }
            };
            while let Some((index, aside)) = refused.next_if(|(index, _)| *index < end) {
                add(index, fate());
                add(index + 1, Fate::Refused(Box::new(aside)));
            }
            add(end, fate());
        }
        parts
    }
}

/// A refused event as it is put aside.
fn aside(batch: &Batch, rejection: &Rejection) -> Option<Aside> {
    let record = batch.records().get(rejection.index)?;
    Some(Aside {
        what: record.id.to_string(),
        reason: rejection.reason.clone(),
        record: record.body_str().into_owned(),
        withheld: rejection.judge == Judge::Collector,
        event: Some(AsideEvent {
            time: record.time,
            kind: record.kind.to_string(),
            text: record.form == Form::Text,
        }),
    })
}
