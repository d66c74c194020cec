//! What outputs make durable: how far they are, and what they refused.

use std::collections::BTreeSet;

use super::transaction::{Changed, Engine};
use super::{Ack, AsideRecord};

impl Engine {
    pub(super) fn ack(
        &mut self,
        ack: &Ack,
        aside: Option<AsideRecord>,
        changed: &mut BTreeSet<Changed>,
    ) {
        let put_aside = ack.rejected.len() as u64;
        let withheld = ack.rejected.iter().filter(|one| one.withheld).count() as u64;
        if let Some(aside) = aside {
            self.put_aside(aside, changed);
        }
        let Some(lane) = self.records.lanes.get_mut(&ack.lane) else {
            return;
        };
        changed.insert(Changed::Position(ack.lane.clone(), ack.output.clone()));
        let at = lane.positions.entry(ack.output.clone()).or_default();
        at.began.get_or_insert(
            at.passed.saturating_sub(
                at.accepted + at.rejected + at.withheld + at.filtered + at.elsewhere,
            ),
        );
        at.position = ack.position;
        at.accepted += ack.accepted;
        at.rejected += put_aside - withheld;
        at.withheld += withheld;
        at.filtered += ack.filtered;
        at.passed += ack.accepted + put_aside + ack.filtered;
        if at.position == lane.record.end {
            // A damaged frame may have hidden how many events it held.
            at.skipped += lane.record.events.saturating_sub(at.passed);
            at.passed = lane.record.events;
        }
    }

    pub(super) fn put_aside(&mut self, aside: AsideRecord, changed: &mut BTreeSet<Changed>) {
        for file in aside.files() {
            let written = std::fs::metadata(self.root.join(file));
            self.outbox.put_aside(written.map_or(0, |file| file.len()));
        }
        let last = self.records.asides.last_key_value();
        let number = last.map_or(1, |(number, _)| number + 1);
        changed.insert(Changed::Aside(number));
        self.records.asides.insert(number, aside);
    }
}
