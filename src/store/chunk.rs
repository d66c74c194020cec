//! Records of a lane as they were read, and the places between them.

use crate::model::{Position, Record};

/// Records read in order from one lane.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The records.
    pub records: Vec<Record>,
    spans: Vec<Span>,
    pub(super) start: Position,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Before the first record taken of this frame.
    start: Position,
    /// To the end of the frame.
    records: u32,
    /// The next frame.
    end: Position,
}

impl Chunk {
    /// Nothing yet, from here on.
    #[must_use]
    pub fn at(start: Position) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// The place before the first record.
    #[must_use]
    pub fn start(&self) -> Position {
        self.start
    }

    /// The place behind the first `records` records.
    #[must_use]
    pub fn position_after(&self, records: usize) -> Position {
        let mut left = records;
        let mut at = self.start;
        for span in &self.spans {
            let all = span.records as usize;
            if left < all {
                let taken = u32::try_from(left).unwrap_or(u32::MAX);
                return Position {
                    event: span.start.event + taken,
                    ..span.start
                };
            }
            left -= all;
            at = span.end;
        }
        at
    }

    /// The chunk without its first `taken` records; `records` are the others.
    #[must_use]
    pub fn behind(&self, taken: usize, records: Vec<Record>) -> Self {
        let mut left = u32::try_from(taken).unwrap_or(u32::MAX);
        let mut spans = self.spans.clone();
        spans.retain_mut(|span| {
            let gone = span.records.min(left);
            left -= gone;
            span.start.event += gone;
            span.records -= gone;
            span.records > 0
        });
        Self {
            records,
            spans,
            start: self.position_after(taken),
        }
    }

    /// The frame behind the last one.
    pub(super) fn end(&self) -> Position {
        self.spans.last().map_or(self.start, |span| span.end)
    }

    pub(super) fn bytes(&self) -> u64 {
        let lens = self.records.iter().map(|record| record.body.len() as u64);
        lens.sum()
    }

    /// Takes the records of the frame at `at` that lie behind this place.
    pub(super) fn take(&mut self, at: Position, end: Position, records: Vec<Record>) {
        let before = self.records.len();
        self.records
            .extend(records.into_iter().skip(at.event as usize));
        self.spans.push(Span {
            start: at,
            records: u32::try_from(self.records.len() - before).unwrap_or(u32::MAX),
            end,
        });
    }

    /// Leaves as many records as the limits allow, and one at least.
    pub(super) fn limit(&mut self, max_bytes: u64, max_records: usize) {
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.body.len() as u64;
            bytes <= max_bytes
        };
        let fitting = self.records.iter().take(max_records).take_while(fits);
        let fitting = fitting.count().max(1);
        self.records.truncate(fitting);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{EventId, Form, Timestamp};

    fn records(count: u32) -> Vec<Record> {
        let record = |n: u32| Record {
            id: EventId([0; 16]),
            time: Timestamp::from_millis(i64::from(n)),
            form: Form::Json,
            kind: "audit".into(),
            body: "{}".into(),
        };
        (0..count).map(record).collect()
    }

    proptest! {
        #[test]
        fn what_is_left_of_a_chunk_has_the_places_that_it_had_in_the_whole(
            frames in prop::collection::vec(1_u32..6, 1..6),
            skipped in 0_u32..5,
            taken in any::<prop::sample::Index>(),
        ) {
            let place = |offset, event| Position { segment: 1, offset, event };
            let skipped = skipped.min(frames[0] - 1);
            let mut whole = Chunk::at(place(0, skipped));
            for (offset, count) in (0..).zip(&frames) {
                let at = place(offset, if offset == 0 { skipped } else { 0 });
                whole.take(at, place(offset + 1, 0), records(*count));
            }
            let taken = taken.index(whole.records.len() + 1);
            let rest = whole.behind(taken, whole.records[taken..].to_vec());
            prop_assert_eq!(rest.start(), whole.position_after(taken));
            for more in 0..=rest.records.len() {
                prop_assert_eq!(rest.position_after(more), whole.position_after(taken + more));
            }
            if !rest.records.is_empty() {
                prop_assert_eq!(rest.end(), whole.end());
            }
        }
    }
}
