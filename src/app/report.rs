//! The report: what the tasks say of themselves, with what the store and the budgets count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::{self, Ledger};
use crate::model::{IntegrationId, OutputId, StreamId, Timestamp};
use crate::poll::Budgets;
use crate::status::{
    Counts, DeadLetter, DeadLetters, IntegrationReport, LedgerReport, OutputReport, Report,
    SpoolReport,
};
use crate::store::{AsideRecord, Books, PositionRecord, Snapshot, StoreError};
use crate::subject::Context;

/// Everything as it stands.
pub(super) fn report(
    context: &Context,
    budgets: &Budgets,
    stored: &Snapshot,
    spool_limit: u64,
) -> Report {
    let status = &context.status;
    status.spool(SpoolReport {
        bytes: stored.spool_bytes,
        limit: spool_limit,
        disk_full: context.store.outbox().is_disk_full(),
    });
    let asides = stored.asides.values();
    let waiting = asides.filter(|aside| aside.sent_again.is_none());
    status.quarantined(waiting.map(|aside| aside.records).sum());
    let now = context.clock.now();
    let mut report = status.report(now);
    let mut rates = budgets.left(now);
    let backlogs = backlogs(stored);
    for integration in &mut report.integrations {
        let backlog = backlogs.get(&integration.name);
        integration.backlog_events = backlog.copied().unwrap_or(0);
        integration.rates = rates.remove(&integration.name).unwrap_or_default();
        count_streams(integration, stored, report.now);
    }
    let positions = positions(stored);
    for output in &mut report.outputs {
        if let Some(sums) = positions.get(&output.name) {
            sums.tell(output);
        }
    }
    report.dead_letters = dead_letters(stored);
    status.complete(&mut report);
    report
}

/// Draws up the ledger, and says in the status what it is.
pub(super) async fn draw_up(context: &Context) -> Result<Ledger, StoreError> {
    let (store, clock) = (&context.store, &context.clock);
    let mut ledger = ledger::draw_up(store, clock.now()).await?;
    if !ledger.balances {
        // What differs for good differs at a second look too.
        ledger = ledger::draw_up(store, clock.now()).await?;
    }
    context.status.ledger(LedgerReport::of(
        ledger.now,
        ledger.sentence.clone(),
        ledger.differences.clone(),
        ledger.notes.clone(),
    ));
    Ok(ledger)
}

/// The events of each integration that wait for the output that has the most of them to take.
fn backlogs(stored: &Snapshot) -> BTreeMap<IntegrationId, u64> {
    let mut waiting: BTreeMap<(IntegrationId, &OutputId), u64> = BTreeMap::new();
    for ((output, lane), at) in &stored.positions {
        let is_left = stored.left_behind.contains(&(output.clone(), lane.clone()));
        if let Some(stream) = lane.source().filter(|_| !is_left) {
            let events = stored.lanes.get(lane).map_or(0, |lane| lane.events);
            let sum = waiting.entry((stream.integration, output)).or_default();
            *sum += events.saturating_sub(at.passed);
        }
    }
    let mut most = BTreeMap::new();
    for ((integration, _), events) in waiting {
        let known: &mut u64 = most.entry(integration).or_default();
        *known = events.max(*known);
    }
    most
}

fn count_streams(integration: &mut IntegrationReport, stored: &Snapshot, now: Timestamp) {
    for stream in &mut integration.streams {
        let id = StreamId::new(&integration.name, &stream.log, &stream.event_type);
        if let Some(record) = stored.streams.get(&id.to_string()) {
            stream.events = record.events;
            stream.bytes = record.bytes;
            stream.quarantined = record.quarantined;
            stream.newest = record.newest;
            let kept = stream.retention_seconds.map(Duration::from_secs);
            let since = record.unfetched_since(now);
            stream.kept_until = since.zip(kept).map(|(since, kept)| since + kept);
            stream.counts = record.books.as_ref().map(counts).unwrap_or_default();
        }
    }
}

const fn counts(books: &Books) -> Counts {
    let tally = &books.tally;
    Counts {
        read: tally.read,
        stored: tally.stored,
        known: tally.known,
        quarantined: tally.quarantined,
        files_listed: tally.files_listed,
        files_fetched: tally.files_fetched,
        files_quarantined: tally.files_quarantined,
        files_withdrawn: tally.files_withdrawn,
        files_waiting: books.waiting,
    }
}

/// An output's positions in all its lanes together.
#[derive(Debug, Default)]
struct Sums {
    position: PositionRecord,
    backlog: u64,
    resending: u64,
}

impl Sums {
    const fn tell(&self, output: &mut OutputReport) {
        output.accepted = self.position.accepted;
        output.rejected = self.position.rejected;
        output.withheld = self.position.withheld;
        output.filtered = self.position.filtered;
        output.skipped = self.position.skipped;
        output.backlog_events = self.backlog;
        output.resending = self.resending;
    }
}

fn positions(stored: &Snapshot) -> BTreeMap<&OutputId, Sums> {
    let mut outputs: BTreeMap<_, Sums> = BTreeMap::new();
    for ((id, lane), at) in &stored.positions {
        let sums = outputs.entry(id).or_default();
        sums.position.accepted += at.accepted;
        sums.position.rejected += at.rejected;
        sums.position.withheld += at.withheld;
        sums.position.filtered += at.filtered;
        sums.position.skipped += at.skipped;
        if !stored.left_behind.contains(&(id.clone(), lane.clone())) {
            let events = stored.lanes.get(lane).map_or(0, |lane| lane.events);
            let waiting = events.saturating_sub(at.passed);
            sums.backlog += waiting;
            if lane.again_for().is_some() {
                sums.resending += waiting;
            }
        }
    }
    outputs
}

fn dead_letters(stored: &Snapshot) -> DeadLetters {
    let mut letters = DeadLetters::default();
    for (number, aside) in &stored.asides {
        letters.note(dead_letter(*number, aside));
    }
    letters
}

fn dead_letter(number: u64, aside: &AsideRecord) -> DeadLetter {
    let (output, lane) = match aside.refused_by() {
        Some((output, lane)) => (Some(output), lane.as_str().to_owned()),
        None => (None, aside.owner.clone()),
    };
    DeadLetter {
        number,
        at: aside.at,
        output,
        lane,
        records: aside.records,
        reason: aside.reason.clone(),
        sent_again: aside.sent_again,
    }
}
