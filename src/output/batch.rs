//! Events on their way out: which of them go together.
//!
//! A batch is a view of a run of records, so to cut, halve or clone it copies no event.

use std::ops::Range;
use std::sync::Arc;

use crate::model::{LaneId, Record, StreamId};

/// A run of events of one lane, in its order.
#[derive(Clone, Debug)]
pub struct Batch {
    lane: LaneId,
    stream: Option<StreamId>,
    records: Arc<[Record]>,
    /// Lies within `records`.
    range: Range<usize>,
}

/// How much goes into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of event bodies.
    pub bytes: usize,
    /// Events.
    pub events: usize,
}

impl Batch {
    /// All of these records, which lie one after another in the lane.
    #[must_use]
    pub fn new(lane: LaneId, records: Vec<Record>) -> Self {
        Self {
            stream: lane.source(),
            lane,
            range: 0..records.len(),
            records: records.into(),
        }
    }

    /// The lane that the events come from.
    #[must_use]
    pub fn lane(&self) -> &LaneId {
        &self.lane
    }

    /// The integration's name; that of the lane itself (`@collector`) for what no integration fetched, which
    /// no integration can be called.
    #[must_use]
    pub fn integration(&self) -> &str {
        match &self.stream {
            Some(stream) => stream.integration.as_str(),
            None => self.lane.origin(),
        }
    }

    /// Whether the events are the collector's own: alerts and heartbeats.
    #[must_use]
    pub fn own(&self) -> bool {
        self.stream.is_none()
    }

    /// The log type's name; `collector` for what no integration fetched.
    #[must_use]
    pub fn log(&self) -> &str {
        self.stream
            .as_ref()
            .map_or("collector", |stream| &stream.log)
    }

    /// Whether an integration fetched the events; if not, the collector says them of itself.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether a person had the events fetched again.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.replay.is_some())
    }

    /// The events.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        self.records.get(self.range.clone()).unwrap_or_default()
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Bytes of the events' bodies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records().iter().map(|record| record.body.len()).sum()
    }

    /// The events of a range of this batch, as far as there are any.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let at = |i: usize| self.range.start.saturating_add(i).min(self.range.end);
        Self {
            range: at(range.start)..at(range.end),
            ..self.clone()
        }
    }

    /// As many events from the front as the limits allow, and always one: an event over the limit goes alone.
    #[must_use]
    pub fn first(&self, limits: BatchLimits) -> Self {
        let mut bytes = 0_usize;
        let fitting = self
            .records()
            .iter()
            .take(limits.events)
            .take_while(|record| {
                bytes = bytes.saturating_add(record.body.len());
                bytes <= limits.bytes
            })
            .count();
        self.slice(0..fitting.max(1))
    }

    /// Both halves; `None` for a batch that cannot be halved.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        let middle = self.len() / 2;
        (middle > 0).then(|| (self.slice(0..middle), self.slice(middle..self.len())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{batch, numbered, record};
    use super::*;
    use crate::model::Form;

    fn of_lengths(lengths: &[usize]) -> Batch {
        let event = |n: &usize| record("audit", Form::Text, &"x".repeat(*n));
        batch("acme-uk/audit", lengths.iter().map(event).collect())
    }

    #[test]
    fn a_batch_is_labelled_by_its_lane() {
        let mail = batch("acme-uk/siem-cg/url protect", Vec::new());
        assert_eq!((mail.integration(), mail.log()), ("acme-uk", "siem-cg"));
        let own = batch("@collector", Vec::new());
        assert_eq!((own.integration(), own.log()), ("@collector", "collector"));
    }

    #[test]
    fn limits_cut_by_events_and_by_bytes_but_never_to_nothing() {
        let first = |bytes, events| {
            of_lengths(&[10, 10, 50])
                .first(BatchLimits { bytes, events })
                .len()
        };
        assert_eq!(
            [first(100, 2), first(20, 9), first(19, 9), first(70, 9)],
            [2, 2, 1, 3]
        );
        assert_eq!([first(5, 9), first(100, 0)], [1, 1]);
        assert_eq!(
            of_lengths(&[])
                .first(BatchLimits {
                    bytes: 1,
                    events: 1
                })
                .len(),
            0
        );
    }

    #[test]
    fn one_event_cannot_be_halved() {
        assert!(numbered(1).halves().is_none());
        assert!(numbered(0).halves().is_none());
    }

    proptest! {
        #[test]
        fn halves_are_the_whole_in_order(n in 2_usize..200, from in 0_usize..50) {
            let whole = numbered(n).slice(from..n);
            prop_assert_eq!(whole.len(), n.saturating_sub(from));
            if let Some((left, right)) = whole.halves() {
                prop_assert!(!left.is_empty() && !right.is_empty());
                let both: Vec<_> = left.records().iter().chain(right.records()).collect();
                prop_assert_eq!(both, whole.records().iter().collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_cut_batch_is_the_longest_within_the_limits(
            lengths in prop::collection::vec(0_usize..40, 1..30),
            bytes in 0_usize..400,
            events in 0_usize..30,
        ) {
            let whole = of_lengths(&lengths);
            let limits = BatchLimits { bytes, events };
            let cut = whole.first(limits);
            prop_assert!(cut.len() == 1 || (cut.bytes() <= bytes && cut.len() <= events));
            let longer = whole.slice(0..cut.len() + 1);
            prop_assert!(longer.len() == cut.len() || longer.bytes() > bytes || longer.len() > events);
        }
    }
}
