//! Which records of an overlap are new: slices of time overlap, so that what is listed late is not missed,
//! and list again what was stored. Pure.
//!
//! A multiset of 128-bit names of stored records: of `k` equal records that are listed, `j` of which are stored,
//! `k − j` are new. Equal records have equal times, so a slice lists all of them or none. If the memo is lost, the records of
//! one overlap are delivered again.

use std::collections::BTreeMap;

use crate::model::{EventId, Timestamp};

const VERSION: u8 = 1;
/// Bytes of an entry: name, time, count.
const ENTRY: usize = 16 + 8 + 4;

/// The stored records that the next slice may list again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overlap(BTreeMap<EventId, Known>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    time: Timestamp,
    count: u32,
}

/// A slice while it is listed.
#[derive(Debug)]
pub(super) struct Listing {
    stored: Overlap,
    listed: BTreeMap<EventId, Known>,
}

impl Overlap {
    /// Begins a slice.
    pub(super) fn listing(self) -> Listing {
        Listing {
            stored: self,
            listed: BTreeMap::new(),
        }
    }

    /// The stream's memo.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * ENTRY);
        bytes.push(VERSION);
        for (id, known) in &self.0 {
            bytes.extend_from_slice(&id.0);
            bytes.extend_from_slice(&known.time.as_millis().to_be_bytes());
            bytes.extend_from_slice(&known.count.to_be_bytes());
        }
        bytes
    }

    /// Reads a memo; `None` if it is none of ours.
    pub(super) fn decode(memo: &[u8]) -> Option<Self> {
        let (&VERSION, entries) = memo.split_first()? else {
            return None;
        };
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        let read = |entry: &[u8; ENTRY]| {
            let (id, rest) = entry.split_first_chunk()?;
            let (time, count) = rest.split_first_chunk()?;
            let known = Known {
                time: Timestamp::from_millis(i64::from_be_bytes(*time)),
                count: u32::from_be_bytes(count.try_into().ok()?),
            };
            Some((EventId(*id), known))
        };
        rest.is_empty()
            .then(|| entries.iter().map(read).collect::<Option<_>>().map(Self))?
    }
}

impl Listing {
    /// Takes a listed record: its ordinal among equal ones if it is new, `None` if it is stored.
    pub(super) fn take(&mut self, id: EventId, time: Timestamp) -> Option<u32> {
        let known = self.listed.entry(id).or_insert(Known { time, count: 0 });
        let ordinal = known.count;
        known.count = known.count.saturating_add(1);
        let stored = self.stored.0.get(&id).map_or(0, |known| known.count);
        (ordinal >= stored).then_some(ordinal)
    }

    /// The memo after the slice, or `None` if it stays as it is.
    pub(super) fn memo(&self, from: Timestamp) -> Option<Vec<u8>> {
        let next = self.end(from);
        (next != self.stored).then(|| next.encode())
    }

    /// The memo that holds this page's records and no others; `None` if it has none, for then the page before is still that.
    pub(super) fn page(self) -> Option<Vec<u8>> {
        (!self.listed.is_empty()).then(|| Overlap(self.listed).encode())
    }

    /// What is stored when the slice is, without the records before `from`, where the next slice begins.
    fn end(&self, from: Timestamp) -> Overlap {
        let mut all = self.stored.0.clone();
        for (&id, &listed) in &self.listed {
            // A record that vanished for once and comes back is still stored.
            let known = all.entry(id).or_insert(listed);
            known.count = known.count.max(listed.count);
        }
        all.retain(|_, known| known.time >= from);
        Overlap(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> EventId {
        EventId([n; 16])
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Lists records `(name, time)` and gives the new ones with their ordinals.
    fn list(stored: &Overlap, records: &[(u8, i64)], from: i64) -> (Vec<(u8, u32)>, Overlap) {
        let mut listing = stored.clone().listing();
        let mut new = Vec::new();
        for (name, time) in records {
            if let Some(ordinal) = listing.take(id(*name), at(*time)) {
                new.push((*name, ordinal));
            }
        }
        (new, listing.end(at(from)))
    }

    #[test]
    fn of_equal_records_only_the_surplus_is_new() {
        let (new, stored) = list(&Overlap::default(), &[(1, 10), (1, 10), (2, 5)], 6);
        assert_eq!(new, [(1, 0), (1, 1), (2, 0)]);
        // The third copy of 1 is late; 2 lies before the overlap and is not listed again.
        let (new, stored) = list(&stored, &[(3, 12), (1, 10), (1, 10), (1, 10)], 6);
        assert_eq!(new, [(3, 0), (1, 2)]);
        // A record that vanishes for once is not new when it comes back.
        let (new, stored) = list(&stored, &[(3, 12)], 6);
        assert_eq!(new, []);
        let (new, _) = list(&stored, &[(1, 10), (1, 10), (1, 10)], 6);
        assert_eq!(new, []);
    }

    #[test]
    fn a_memo_that_is_none_of_ours_is_told() {
        for memo in [&b""[..], &[2], &[1, 0], &[1; 28]] {
            assert_eq!(Overlap::decode(memo), None, "{memo:?}");
        }
    }

    proptest! {
        #[test]
        fn slices_with_overlaps_deliver_each_record_once_and_with_its_own_ordinal(
            mut records in proptest::collection::vec((0_u8..4, 0_i64..100), 0..60),
            slice in 1_i64..40,
            overlap in 0_i64..30,
            late in proptest::collection::vec(any::<bool>(), 60),
        ) {
            // Equal records have equal times: the name follows from the time.
            for record in &mut records {
                record.0 = u8::try_from(record.1).unwrap();
            }
            let (mut stored, mut new) = (Overlap::default(), Vec::new());
            let mut to = 0;
            while to < 100 {
                let from = to - overlap;
                to += slice;
                // Late records are listed only once their time lies a slice back, but within the overlap.
                let late_by = overlap.min(slice);
                let listed: Vec<_> = records.iter().zip(&late)
                    .filter(|((_, time), late)| {
                        let visible = if **late { time + late_by <= to } else { true };
                        (from..=to).contains(time) && visible
                    })
                    .map(|(record, _)| *record)
                    .collect();
                let found;
                (found, stored) = list(&stored, &listed, to - overlap);
                stored = Overlap::decode(&stored.encode()).unwrap();
                new.extend(found);
            }
            // With what is still late at the end.
            let rest: Vec<_> = records.iter().filter(|(_, t)| *t >= to - overlap).copied().collect();
            new.extend(list(&stored, &rest, to).0);
            let mut expected = Vec::new();
            for (n, (name, _)) in records.iter().enumerate() {
                let before = records[..n].iter().filter(|(other, _)| other == name).count();
                expected.push((*name, u32::try_from(before).unwrap()));
            }
            expected.sort_unstable();
            new.sort_unstable();
            prop_assert_eq!(new, expected);
        }
    }
}
