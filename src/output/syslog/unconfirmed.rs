//! Batches that were written to a connection and do not count yet. Pure: time is an argument.
//!
//! A batch counts a while after it was written, unless its connection broke before; then all that waits is lost at once. A lane that lost
//! something goes on there and nowhere else, or events behind it would arrive before it: until the worker has been told, and may have a
//! later batch on its way still, a batch that begins elsewhere is refused.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::health::Failure;
use crate::model::{EventId, LaneId, Timestamp};
use crate::output::{Receipt, Verdict};

/// The number of a connection.
pub(super) type Number = u64;

/// What waits on the connection of the moment, and what was lost on those before.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    receipts: u64,
    connection: Number,
    /// Bytes that were written to the connection.
    written: u64,
    /// What the receiver's system had not acknowledged at the last look, and at how many before that it was the same.
    stuck: (u64, u32),
    /// Why nothing more can be written to the connection, if so.
    broken: Option<Failure>,
    has_lost: bool,
    waiting: VecDeque<Waiting>,
    lost: Vec<(Receipt, Failure)>,
    /// With which event the lanes that lost something go on.
    resume: BTreeMap<LaneId, EventId>,
    /// Whether the worker may not know yet of what was lost.
    is_telling: bool,
}

#[derive(Debug)]
struct Waiting {
    receipt: Receipt,
    lane: LaneId,
    first: EventId,
    /// Bytes that were written to the connection up to its end.
    end: u64,
    /// `None` until the time of its writing is known.
    counts_at: Option<Timestamp>,
}

impl Unconfirmed {
    /// Begins a connection. What waited on the one before is lost.
    pub(super) fn connected(&mut self, given_up: &Failure) -> Number {
        self.give_up(given_up);
        self.broken = None;
        self.has_lost = false;
        (self.written, self.stuck) = (0, (0, 0));
        self.connection += 1;
        self.connection
    }

    /// Ends the connection of the moment, unless it is over already.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        self.broke(self.connection, failure);
    }

    /// Whether something was lost with the connection of the moment.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Why the connection of the moment cannot be written to, if so.
    pub(super) fn broken(&self) -> Option<&Failure> {
        self.broken.as_ref()
    }

    /// Whether a batch that begins with `first` keeps its lane in order.
    pub(super) fn may_go(&mut self, lane: &LaneId, first: EventId) -> bool {
        let Some(resume) = self.resume.get(lane) else {
            return true;
        };
        let goes = *resume == first;
        // A lane has one batch out at a time, so once the worker knows, one at most can still be from before. If a second one begins
        // elsewhere, the lane goes on there: what was lost is damaged, or not for this output any more.
        if goes || !self.is_telling {
            self.resume.remove(lane);
        }
        goes
    }

    /// Notes a batch as written to a connection; `None` if that has broken meanwhile.
    pub(super) fn wrote(
        &mut self,
        connection: Number,
        lane: &LaneId,
        first: EventId,
        bytes: u64,
    ) -> Option<Receipt> {
        if connection != self.connection || self.broken.is_some() {
            return None;
        }
        self.written += bytes;
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        self.waiting.push_back(Waiting {
            receipt,
            lane: lane.clone(),
            first,
            end: self.written,
            counts_at: None,
        });
        Some(receipt)
    }

    /// Notes the end of a connection, unless it is over already: all that waits on it is lost.
    pub(super) fn broke(&mut self, connection: Number, failure: &Failure) {
        if connection != self.connection || self.broken.is_some() {
            return;
        }
        self.broken = Some(failure.clone());
        for batch in self.waiting.drain(..) {
            self.resume.entry(batch.lane).or_insert(batch.first);
            self.lost.push((batch.receipt, failure.clone()));
            self.is_telling = true;
            self.has_lost = true;
        }
    }

    /// When the next batch counts. What was written since the last look was so by now, and counts `after` that.
    pub(super) fn next(&mut self, now: Timestamp, after: Duration) -> Option<Timestamp> {
        for batch in self.waiting.iter_mut().rev() {
            if batch.counts_at.is_some() {
                break;
            }
            batch.counts_at = Some(now + after);
        }
        self.waiting.front()?.counts_at
    }

    /// What was lost.
    pub(super) fn lost(&mut self) -> Vec<(Receipt, Verdict)> {
        let lost = std::mem::take(&mut self.lost).into_iter();
        lost.map(|(receipt, failure)| (receipt, Verdict::Lost(failure)))
            .collect()
    }

    /// Bytes that were written to the connection of the moment.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What counts by now: what is old enough, and lies ahead of the last `unacknowledged` of the bytes that were `written` before that was
    /// looked up. Over TLS more bytes are sent than are written, so that this errs on the side of waiting.
    pub(super) fn accepted(
        &mut self,
        now: Timestamp,
        written: u64,
        unacknowledged: u64,
    ) -> Vec<(Receipt, Verdict)> {
        let arrived = written.saturating_sub(unacknowledged);
        let is_old = |batch: &Waiting| batch.counts_at.is_some_and(|at| at <= now);
        let counts = |batch: &&Waiting| is_old(batch) && batch.end <= arrived;
        let n = self.waiting.iter().take_while(counts).count();
        let accepted = self.waiting.drain(..n);
        accepted
            .map(|batch| (batch.receipt, Verdict::Accepted))
            .collect()
    }

    /// Notes a look at which nothing counted because of what is unacknowledged; whether it has been the same for so many looks that the
    /// receiver must stand still.
    pub(super) fn stands_still(&mut self, unacknowledged: u64, looks: u32) -> bool {
        let (before, times) = self.stuck;
        let times = if before == unacknowledged {
            times + 1
        } else {
            0
        };
        self.stuck = (unacknowledged, times);
        times >= looks
    }

    /// Notes that the worker has acted on every verdict so far.
    pub(super) fn told(&mut self) {
        self.is_telling = !self.lost.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::Origin;

    const AFTER: Duration = Duration::from_secs(5);

    fn reset() -> Failure {
        Failure::new(Origin::Syslog, 0, "reset", "siem")
    }

    fn lane(name: &str) -> LaneId {
        LaneId::from_text(name)
    }

    fn id(n: u8) -> EventId {
        EventId([n; 16])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn connected() -> (Unconfirmed, Number) {
        let mut unconfirmed = Unconfirmed::default();
        let connection = unconfirmed.connected(&reset());
        (unconfirmed, connection)
    }

    #[test]
    fn a_batch_counts_five_seconds_after_it_was_written_and_not_before() {
        let (mut unconfirmed, connection) = connected();
        let one = unconfirmed
            .wrote(connection, &lane("a"), id(1), 10)
            .unwrap();
        assert_eq!(unconfirmed.next(at(0), AFTER), Some(at(5_000)));
        let two = unconfirmed
            .wrote(connection, &lane("b"), id(2), 10)
            .unwrap();
        assert_eq!(unconfirmed.next(at(300), AFTER), Some(at(5_000)));
        assert_eq!(unconfirmed.accepted(at(4_999), u64::MAX, 0), []);
        assert_eq!(
            unconfirmed.accepted(at(5_000), u64::MAX, 0),
            [(one, Verdict::Accepted)]
        );
        assert_eq!(unconfirmed.next(at(5_000), AFTER), Some(at(5_300)));
        assert_eq!(
            unconfirmed.accepted(at(5_300), u64::MAX, 0),
            [(two, Verdict::Accepted)]
        );
        assert_eq!(unconfirmed.next(at(5_300), AFTER), None);
    }

    #[test]
    fn what_the_receivers_system_has_not_acknowledged_does_not_count_however_old_it_is() {
        let (mut unconfirmed, connection) = connected();
        let receipts = [1, 2, 3].map(|n| {
            let written = unconfirmed.wrote(connection, &lane("a"), id(n), 10);
            written.unwrap()
        });
        unconfirmed.next(at(0), AFTER);
        let counted = |unconfirmed: &mut Unconfirmed, unacknowledged| {
            let written = unconfirmed.written();
            let accepted = unconfirmed.accepted(at(90_000), written, unacknowledged);
            accepted
                .into_iter()
                .map(|(receipt, _)| receipt)
                .collect::<Vec<_>>()
        };
        assert_eq!(counted(&mut unconfirmed, 30), []);
        // Bytes of a batch that is being written are unacknowledged too.
        assert_eq!(counted(&mut unconfirmed, 99), []);
        assert_eq!(counted(&mut unconfirmed, 11), [receipts[0]]);
        assert_eq!(counted(&mut unconfirmed, 10), [receipts[1]]);
        assert_eq!(counted(&mut unconfirmed, 0), [receipts[2]]);
    }

    #[test]
    fn a_receiver_stands_still_when_look_after_look_it_has_taken_nothing() {
        let (mut unconfirmed, _) = connected();
        let looks = [50, 50, 50, 40, 40, 40, 40];
        let still = looks.map(|bytes| unconfirmed.stands_still(bytes, 3));
        assert_eq!(still, [false, false, false, false, false, false, true]);
        unconfirmed.connected(&reset());
        assert!(!unconfirmed.stands_still(40, 3));
    }

    #[test]
    fn a_break_loses_what_waits_and_nothing_that_counts() {
        let (mut unconfirmed, connection) = connected();
        let mut write = |n| {
            unconfirmed
                .wrote(connection, &lane("a"), id(n), 10)
                .unwrap()
        };
        let (two, three) = {
            write(1);
            (write(2), write(3))
        };
        unconfirmed.waiting[0].counts_at = Some(at(1));
        assert_eq!(unconfirmed.accepted(at(1), u64::MAX, 0).len(), 1);
        unconfirmed.broke(connection, &reset());
        assert_eq!(unconfirmed.wrote(connection, &lane("a"), id(4), 10), None);
        let lost = Verdict::Lost(reset());
        assert_eq!(unconfirmed.lost(), [(two, lost.clone()), (three, lost)]);
        assert_eq!(unconfirmed.accepted(at(i64::MAX), u64::MAX, 0), []);
        // A late word of an older connection says nothing about the next one.
        let next = unconfirmed.connected(&reset());
        unconfirmed.broke(connection, &reset());
        assert!(unconfirmed.broken().is_none() && next > connection);
    }

    #[test]
    fn a_lane_goes_on_with_what_it_lost_and_others_go_on_at_once() {
        let (mut unconfirmed, connection) = connected();
        for n in [1, 2] {
            unconfirmed
                .wrote(connection, &lane("a"), id(n), 10)
                .unwrap();
        }
        unconfirmed.broke(connection, &reset());
        assert!(unconfirmed.may_go(&lane("b"), id(9)));
        // However often it is offered before the worker knows.
        assert!(!unconfirmed.may_go(&lane("a"), id(3)));
        assert_eq!(unconfirmed.lost().len(), 2);
        assert!(!unconfirmed.may_go(&lane("a"), id(3)));
        unconfirmed.told();
        assert!(unconfirmed.may_go(&lane("a"), id(1)));
        assert!(unconfirmed.may_go(&lane("a"), id(2)));
    }

    #[test]
    fn a_lane_whose_lost_events_are_gone_is_held_up_once() {
        let (mut unconfirmed, connection) = connected();
        unconfirmed
            .wrote(connection, &lane("a"), id(1), 10)
            .unwrap();
        unconfirmed.broke(connection, &reset());
        unconfirmed.lost();
        unconfirmed.told();
        assert!(!unconfirmed.may_go(&lane("a"), id(7)));
        assert!(unconfirmed.may_go(&lane("a"), id(7)));
    }

    proptest! {
        /// A worker with several lanes that learns late of what was lost, and a receiver that keeps all that was written.
        #[test]
        fn each_event_arrives_in_the_order_of_its_lane_and_each_receipt_is_decided_once(
            steps in prop::collection::vec((0_u8..8, 0_usize..3), 1..300),
        ) {
            let mut unconfirmed = Unconfirmed::default();
            let mut connection = 0;
            // By lane: events whose fate is known, the next to offer, receipts by event, the first time that each arrived.
            let mut next = [0_u8; 3];
            let mut sent: BTreeMap<Receipt, (usize, u8)> = BTreeMap::new();
            let mut stale: [Option<u8>; 3] = [None; 3];
            let mut arrived: [Vec<u8>; 3] = Default::default();
            let mut handed = Vec::new();
            let mut now = 0;
            for (step, i) in steps {
                let name = lane(&i.to_string());
                match step {
                    // The worker offers; the attempt begins later.
                    0 | 1 if stale[i].is_none() && next[i] < 200 => {
                        stale[i] = Some(next[i]);
                        next[i] += 1;
                    }
                    2..=4 => if let Some(event) = stale[i].take() {
                        if connection == 0 || unconfirmed.broken().is_some() {
                            connection = unconfirmed.connected(&reset());
                        }
                        let receipt = unconfirmed
                            .may_go(&name, id(event))
                            .then(|| unconfirmed.wrote(connection, &name, id(event), 10).unwrap());
                        match receipt {
                            Some(receipt) => {
                                let first_time = !arrived[i].contains(&event);
                                let in_order = arrived[i].iter().all(|before| *before < event);
                                prop_assert!(!first_time || in_order, "{event} after {:?}", arrived[i]);
                                arrived[i].push(event);
                                sent.insert(receipt, (i, event));
                            }
                            None => next[i] = next[i].min(event),
                        }
                    },
                    // The connection breaks: of what waits the receiver may have got nothing.
                    5 => {
                        unconfirmed.broke(connection, &reset());
                        for (lane, event) in unconfirmed.lost.iter().map(|(receipt, _)| sent[receipt]) {
                            arrived[lane].retain(|arrived| *arrived != event);
                        }
                    }
                    6 if handed.is_empty() => {
                        now += 1_000;
                        unconfirmed.next(at(now), AFTER);
                        handed = unconfirmed.lost();
                        handed.extend(unconfirmed.accepted(at(now), u64::MAX, 0));
                    }
                    // The worker acts on the verdicts, and asks again.
                    _ => {
                        for (receipt, verdict) in handed.drain(..) {
                            let (lane, event) = sent.remove(&receipt).unwrap();
                            if verdict != Verdict::Accepted {
                                next[lane] = next[lane].min(event);
                            }
                        }
                        unconfirmed.told();
                    }
                }
            }
        }
    }
}
