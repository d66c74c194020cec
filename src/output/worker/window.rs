//! What of a lane is under way: the ranges between its durable position and the place where it is read next. Pure.
//!
//! ```text
//!  position                                                            next
//!     │ taken │ refused │ out │ due │ unconfirmed │ taken │ unconfirmed │
//!     └── can be committed ─┘
//! ```
//! The ranges follow each other without a gap. An attempt cuts its range into what became of its parts; what is due is read again from
//! the lane, so a range costs some words, however many events it holds. The position follows the settled ranges at the front.

use std::collections::VecDeque;

use crate::model::Position;
use crate::output::Receipt;
use crate::store::Aside;

/// The number of an attempt; later attempts have higher ones.
pub(super) type Ticket = u64;

/// The ranges of a lane.
#[derive(Debug)]
pub(super) struct Window {
    /// Durable: before the first range.
    position: Position,
    ranges: VecDeque<Range>,
    /// So many ranges from the front are being committed.
    committing: usize,
}

/// A run of events.
#[derive(Debug)]
struct Range {
    start: Position,
    end: Position,
    events: usize,
    /// How many of these were not offered; of events that were passed.
    filtered: usize,
    /// Of the last attempt that it was part of.
    ticket: Ticket,
    fate: Fate,
}

/// What has become of a run of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// To be offered, again.
    Due,
    /// On its way to the receiver.
    Out,
    /// Sent, and to be counted when that is confirmed.
    Unconfirmed(Receipt),
    /// The receiver has taken responsibility.
    Taken,
    /// The receiver will never take it: one event, as it is put aside.
    Refused(Box<Aside>),
}

/// A part of what an attempt offered, from where the part before it ends.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) end: Position,
    pub(super) events: usize,
    /// How many of these were not offered.
    pub(super) filtered: usize,
    pub(super) fate: Fate,
}

/// What can be made durable.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) position: Position,
    pub(super) accepted: u64,
    /// Passed too, and not offered.
    pub(super) filtered: u64,
    pub(super) refused: Vec<Aside>,
    /// The latest attempt that is part of it and says something of the receiver.
    pub(super) ticket: Ticket,
}

impl Window {
    pub(super) const fn at(position: Position) -> Self {
        Self {
            position,
            ranges: VecDeque::new(),
            committing: 0,
        }
    }

    /// Up to where it is durable what became of the events.
    pub(super) const fn position(&self) -> Position {
        self.position
    }

    /// Where the lane is read next, if nothing is due.
    pub(super) fn next(&self) -> Position {
        self.ranges.back().map_or(self.position, |range| range.end)
    }

    /// The first range that is to be offered again: where it begins, and its events.
    pub(super) fn due(&self) -> Option<(Position, usize)> {
        let due = self.ranges.iter().find(|range| range.fate == Fate::Due)?;
        Some((due.start, due.events))
    }

    /// Attempts and commits that are under way. A commit counts so that with a window of 1 nothing is offered before it is known to be durable
    /// what became of the batch before.
    pub(super) fn busy(&self) -> usize {
        let out = self.ranges.iter().filter(|range| range.fate == Fate::Out);
        out.count() + usize::from(self.committing > 0)
    }

    /// Ranges that await a confirmation.
    pub(super) fn unconfirmed(&self) -> usize {
        let is = |range: &&Range| matches!(range.fate, Fate::Unconfirmed(_));
        self.ranges.iter().filter(is).count()
    }

    /// Moves on where there is nothing to deliver, as from the end of one segment to the start of the next.
    pub(super) fn skip_to(&mut self, position: Position) {
        match self.ranges.back_mut() {
            Some(last) => last.end = position,
            None => self.position = position,
        }
    }

    /// Begins an attempt with `events` that end at `end`: the front of the first range that is due, or what is read next.
    pub(super) fn begin(&mut self, ticket: Ticket, end: Position, events: usize) {
        let mut out = Range {
            start: self.next(),
            end,
            events,
            filtered: 0,
            ticket,
            fate: Fate::Out,
        };
        let due = self.ranges.iter().position(|range| range.fate == Fate::Due);
        let Some(at) = due else {
            self.ranges.push_back(out);
            return;
        };
        if let Some(due) = self.ranges.get_mut(at) {
            out.start = due.start;
            if due.events > events {
                due.start = end;
                due.events -= events;
                self.ranges.insert(at, out);
            } else {
                out.end = due.end;
                *due = out;
            }
        }
    }

    /// Cuts the range of an attempt into what became of its parts; `false` if it is not awaited any more.
    pub(super) fn settle(&mut self, ticket: Ticket, parts: Vec<Part>) -> bool {
        let is_its = |range: &Range| range.ticket == ticket && range.fate == Fate::Out;
        let Some(at) = self.ranges.iter().position(is_its) else {
            return false;
        };
        let tail = self.ranges.split_off(at);
        let mut rest = tail.into_iter();
        let Some(whole) = rest.next() else {
            return false;
        };
        let mut start = whole.start;
        for part in parts {
            let Part {
                end,
                events,
                filtered,
                fate,
            } = part;
            let range = Range {
                start,
                end,
                events,
                filtered,
                ticket,
                fate,
            };
            self.ranges.push_back(range);
            start = end;
        }
        self.ranges.extend(rest);
        true
    }

    /// What was sent under the receipt is taken, or due again; the latest attempt it was part of, if it is still awaited.
    pub(super) fn confirm(&mut self, receipt: Receipt, taken: bool) -> Option<Ticket> {
        let mut ticket = None;
        let sent = Fate::Unconfirmed(receipt);
        for range in self.ranges.iter_mut().filter(|range| range.fate == sent) {
            if taken {
                range.fate = Fate::Taken;
            } else {
                (range.fate, range.filtered) = (Fate::Due, 0);
            }
            ticket = ticket.max(Some(range.ticket));
        }
        ticket
    }

    /// Takes the settled ranges at the front up for a commit, unless one is under way or there is none.
    pub(super) fn begin_commit(&mut self) -> Option<Settled> {
        if self.committing > 0 {
            return None;
        }
        let mut settled = Settled {
            position: self.position,
            accepted: 0,
            filtered: 0,
            refused: Vec::new(),
            ticket: 0,
        };
        for range in &self.ranges {
            match &range.fate {
                Fate::Taken => {
                    let offered = range.events.saturating_sub(range.filtered);
                    settled.accepted += offered as u64;
                    settled.filtered += range.filtered as u64;
                }
                Fate::Refused(aside) => settled.refused.push(Aside::clone(aside)),
                Fate::Due | Fate::Out | Fate::Unconfirmed(_) => break,
            }
            settled.position = range.end;
            // What was not offered says nothing.
            if range.filtered == 0 || range.filtered < range.events {
                settled.ticket = settled.ticket.max(range.ticket);
            }
            self.committing += 1;
        }
        (self.committing > 0).then_some(settled)
    }

    /// Ends a commit: what it was of is durable, or is to be committed again.
    pub(super) fn end_commit(&mut self, is_durable: bool) {
        let committed = std::mem::take(&mut self.committing);
        if is_durable {
            for range in self.ranges.drain(..committed.min(self.ranges.len())) {
                self.position = range.end;
            }
        }
    }

    /// Forgets the first range that is due and all behind it, because the lane is damaged there: reading goes on at `next`, and the
    /// answers that are out count for nothing.
    pub(super) fn jump(&mut self, next: Position, ticket: Ticket) {
        let due = self.ranges.iter().position(|range| range.fate == Fate::Due);
        self.ranges.truncate(due.unwrap_or(self.ranges.len()));
        // Nothing of it is delivered, so it is taken: all 0 events of it.
        self.ranges.push_back(Range {
            start: self.next(),
            end: next,
            events: 0,
            filtered: 0,
            ticket,
            fate: Fate::Taken,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(event: u32) -> Position {
        Position {
            event,
            ..Position::start_of(1)
        }
    }

    fn part(end: u32, events: usize, fate: Fate) -> Part {
        Part {
            end: at(end),
            events,
            filtered: 0,
            fate,
        }
    }

    #[test]
    fn what_was_not_offered_is_passed_with_the_rest_and_says_nothing_of_the_receiver() {
        let mut window = Window::at(at(0));
        let receipt = Fate::Unconfirmed(Receipt(7));
        let filtered = |filtered, part: Part| Part { filtered, ..part };
        window.begin(1, at(4), 4);
        window.settle(1, vec![filtered(4, part(4, 4, Fate::Taken))]);
        let settled = window.begin_commit().unwrap();
        assert_eq!((settled.accepted, settled.filtered), (0, 4));
        assert_eq!(settled.ticket, 0);
        window.end_commit(true);

        window.begin(2, at(8), 4);
        window.settle(2, vec![filtered(3, part(8, 4, receipt.clone()))]);
        assert_eq!(window.confirm(Receipt(7), false), Some(2));
        window.begin(3, at(8), 4);
        window.settle(3, vec![filtered(1, part(8, 4, receipt))]);
        assert_eq!(window.confirm(Receipt(7), true), Some(3));
        let settled = window.begin_commit().unwrap();
        assert_eq!((settled.accepted, settled.filtered), (3, 1));
        assert_eq!(settled.ticket, 3);
    }

    #[test]
    fn the_position_waits_for_the_slowest_and_then_passes_all_at_once() {
        let mut window = Window::at(at(0));
        window.begin(1, at(4), 4);
        window.begin(2, at(8), 4);
        window.begin(3, at(9), 1);
        assert!(window.settle(2, vec![part(8, 4, Fate::Taken)]));
        assert!(window.settle(3, vec![part(9, 1, Fate::Unconfirmed(Receipt(7)))]));
        assert!(window.begin_commit().is_none());
        assert!(window.settle(1, vec![part(1, 1, Fate::Taken), part(4, 3, Fate::Due)]));
        let settled = window.begin_commit().unwrap();
        assert_eq!((settled.position, settled.accepted), (at(1), 1));
        window.end_commit(true);
        assert_eq!(window.due(), Some((at(1), 3)));
        window.begin(4, at(4), 3);
        assert!(window.settle(4, vec![part(4, 3, Fate::Taken)]));
        assert_eq!(window.confirm(Receipt(7), true), Some(3));
        let settled = window.begin_commit().unwrap();
        assert_eq!((settled.position, settled.accepted), (at(9), 8));
        assert_eq!(settled.ticket, 4);
    }

    #[test]
    fn a_commit_that_failed_is_made_again() {
        let mut window = Window::at(at(0));
        window.begin(1, at(4), 4);
        window.settle(1, vec![part(4, 4, Fate::Taken)]);
        assert!(window.begin_commit().is_some());
        assert!(window.begin_commit().is_none());
        assert_eq!(window.busy(), 1);
        window.end_commit(false);
        assert_eq!(window.begin_commit().unwrap().accepted, 4);
        window.end_commit(true);
        assert_eq!((window.next(), window.busy()), (at(4), 0));
    }

    #[test]
    fn damage_forgets_what_lies_behind_it_and_nothing_before() {
        let mut window = Window::at(at(0));
        window.begin(1, at(4), 4);
        window.begin(2, at(8), 4);
        window.begin(3, at(12), 4);
        window.settle(2, vec![part(8, 4, Fate::Due)]);
        window.jump(at(9), 4);
        assert_eq!(window.next(), at(9));
        assert!(!window.settle(3, vec![part(12, 4, Fate::Taken)]));
        window.settle(1, vec![part(4, 4, Fate::Taken)]);
        let settled = window.begin_commit().unwrap();
        assert_eq!((settled.position, settled.accepted), (at(9), 4));
    }

    proptest! {
        #[test]
        fn ranges_have_no_gap_and_every_event_is_accepted_once(
            steps in prop::collection::vec((0_u8..6, 1_u32..5, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut window = Window::at(at(0));
            let (mut out, mut receipts) = (Vec::new(), Vec::new());
            let (mut ticket, mut accepted) = (0, 0);
            for (step, n, index) in steps {
                match step {
                    0 | 1 => {
                        ticket += 1;
                        let (start, events) = window.due().unwrap_or((window.next(), usize::MAX));
                        let events = events.min(n as usize);
                        let end = at(start.event + u32::try_from(events).unwrap());
                        window.begin(ticket, end, events);
                        out.push((ticket, start.event, end.event));
                    }
                    2 | 3 if !out.is_empty() => {
                        let (ticket, start, end) = out.swap_remove(index.index(out.len()));
                        let middle = (start + n).min(end);
                        let fate = if step == 2 { Fate::Taken } else { Fate::Unconfirmed(Receipt(ticket)) };
                        receipts.push(ticket);
                        let mut parts = vec![part(middle, (middle - start) as usize, fate)];
                        if middle < end {
                            parts.push(part(end, (end - middle) as usize, Fate::Due));
                        }
                        prop_assert!(window.settle(ticket, parts));
                    }
                    4 if !receipts.is_empty() => {
                        let receipt = receipts.swap_remove(index.index(receipts.len()));
                        window.confirm(Receipt(receipt), n > 2);
                    }
                    _ => if let Some(settled) = window.begin_commit() {
                        let durable = n > 2;
                        if durable {
                            accepted += settled.accepted;
                        }
                        window.end_commit(durable);
                    }
                }
                let mut start = window.position;
                for range in &window.ranges {
                    prop_assert_eq!(range.start, start);
                    prop_assert_eq!((range.end.event - start.event) as usize, range.events);
                    start = range.end;
                }
                prop_assert_eq!(u64::from(window.position.event), accepted);
            }
        }
    }
}
