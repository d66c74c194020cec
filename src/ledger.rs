//! Whether the books balance: each record that was read, each file that was listed and each event that was stored is accounted
//! for, once, at every place that it passes.
//!
//! | What came in | Where it must be |
//! | ------------ | ---------------- |
//! | files listed | fetched + put aside + withdrawn + waiting |
//! | records read | stored + known already + put aside |
//! | events in the lane | stored + those from before the books |
//! | events that an output has passed | those before it was added + accepted + refused + withheld + filtered + skipped + delivered by another node |
//! | events before an output's place, as the frame there says | passed |
//!
//! The two sides are counted by different code. What makes them differ lawfully (a stream that went back, a damaged frame, a lost
//! database) has counts of its own, and is said beside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{LaneId, OutputId, Timestamp};
use crate::store::{Ahead, Books, LaneRecord, PositionRecord, Snapshot, Store, StoreError};
use crate::units::{show_count, show_duration};

/// The books of all streams and outputs. Its JSON form is read by scripts: members are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The version of this form.
    pub version: u32,
    /// When it was drawn up.
    pub now: Timestamp,
    /// Whether all sums agree.
    pub balances: bool,
    /// That in words.
    pub sentence: String,
    /// Each sum that does not agree, and by how much.
    pub differences: Vec<String>,
    /// What looks odd and is accounted for.
    pub notes: Vec<String>,
    /// Each stream that has had a commit.
    pub streams: Vec<StreamBooks>,
    /// Each lane at each output.
    pub outputs: Vec<OutputBooks>,
}

/// The counts of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBooks {
    /// `integration/log/type`.
    pub stream: String,
    /// Its counts.
    #[serde(flatten)]
    pub books: Books,
}

/// The counts of one lane at one output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputBooks {
    /// The output.
    pub output: OutputId,
    /// `integration/log/type`, or the collector's own lane.
    pub stream: String,
    /// Events that it accepted.
    pub accepted: u64,
    /// Events that it refused and that were put aside.
    pub rejected: u64,
    /// Events that it was not offered and that were put aside: too long, or not to be understood where something is to be hidden.
    #[serde(default)]
    pub withheld: u64,
    /// Events that it was not offered, because of its filter.
    #[serde(default)]
    pub filtered: u64,
    /// Events in damaged frames, which were stepped over and fetched again.
    pub skipped: u64,
    /// Events that wait for it.
    pub waiting: u64,
    /// The time of the newest event, or of the next one if some wait: everything before is passed.
    pub reaches_to: Option<Timestamp>,
}

/// The next event of each lane for each output, where there is one.
type Fronts = BTreeMap<(OutputId, LaneId), Ahead>;

/// What the store counts, drawn up.
///
/// # Errors
/// The store's.
pub async fn draw_up(store: &Store, now: Timestamp) -> Result<Ledger, StoreError> {
    let stored = store.snapshot().await?;
    let mut fronts = Fronts::new();
    for (key, at) in &stored.positions {
        let lane = stored.lanes.get(&key.1);
        if lane.is_none_or(|lane| lane.end == at.position) {
            // Nothing is ahead.
            continue;
        }
        if let Some(ahead) = store.outbox().ahead(&key.1, at.position).await {
            fronts.insert(key.clone(), ahead);
        }
    }
    // What an output passes meanwhile may be deleted under our eyes.
    let later = store.snapshot().await?;
    fronts.retain(|key, _| stands_still(key, &stored, &later));
    Ok(Ledger::of(&stored, &fronts, now))
}

fn stands_still(key: &(OutputId, LaneId), before: &Snapshot, after: &Snapshot) -> bool {
    let position = |stored: &Snapshot| stored.positions.get(key).map(|at| at.position);
    position(before) == position(after)
}

impl Ledger {
    /// The version of the JSON form.
    pub const VERSION: u32 = 1;

    fn of(stored: &Snapshot, fronts: &Fronts, now: Timestamp) -> Self {
        let mut found = Found::default();
        let mut streams = Vec::new();
        for (stream, record) in &stored.streams {
            if let Some(books) = &record.books {
                let lane = stored.lanes.get(&LaneId::from_text(stream));
                found.stream(stream, books, lane, now);
                let (stream, books) = (stream.clone(), books.clone());
                streams.push(StreamBooks { stream, books });
            }
        }
        let mut outputs = Vec::new();
        for (key, at) in &stored.positions {
            let Some(lane) = stored.lanes.get(&key.1) else {
                continue;
            };
            let damage = Damage::of(&key.1, stored);
            let ahead = fronts.get(key).copied();
            let pending = found.output(key, at, lane, &damage, ahead);
            let newest = stored.streams.get(key.1.as_str());
            outputs.push(OutputBooks {
                output: key.0.clone(),
                stream: key.1.as_str().to_owned(),
                accepted: at.accepted,
                rejected: at.rejected,
                withheld: at.withheld,
                filtered: at.filtered,
                skipped: at.skipped + pending,
                waiting: lane.events.saturating_sub(at.passed + pending),
                reaches_to: match ahead {
                    Some(ahead) => Some(ahead.time),
                    None => newest.and_then(|stream| stream.newest),
                },
            });
        }
        let Found { differences, notes } = found;
        Self {
            version: Self::VERSION,
            now,
            balances: differences.is_empty(),
            sentence: sentence(&differences, &streams, &outputs),
            differences,
            notes,
            streams,
            outputs,
        }
    }
}

/// The answer first: that it balances, or what does not and by how much.
fn sentence(differences: &[String], streams: &[StreamBooks], outputs: &[OutputBooks]) -> String {
    if let Some(first) = differences.first() {
        let more = match differences.len() {
            1 => String::new(),
            n => format!("; and {} more", n - 1),
        };
        return format!("does not balance: {first}{more}");
    }
    let sum = |of: fn(&Books) -> u64| {
        let sum: u64 = streams.iter().map(|stream| of(&stream.books)).sum();
        show_count(sum)
    };
    let waiting: u64 = outputs.iter().map(|lane| lane.waiting).sum();
    format!(
        "balances: of {} records read, {} were stored, {} known already, {} put aside; of the stored, {} wait for an output",
        sum(|books| books.tally.read),
        sum(|books| books.tally.stored),
        sum(|books| books.tally.known),
        sum(|books| books.tally.quarantined),
        show_count(waiting),
    )
}

fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", show_count(n), if n == 1 { "" } else { "s" })
}

/// What is known of damaged frames of a lane.
#[derive(Debug)]
struct Damage {
    frames: u64,
    /// Their events, if the headers of all could be read.
    events: Option<u64>,
}

impl Damage {
    fn of(lane: &LaneId, stored: &Snapshot) -> Self {
        let mut damage = Self {
            frames: 0,
            events: Some(0),
        };
        for aside in stored.asides.values() {
            if aside.owner == lane.as_str() && aside.file.starts_with("lanes/") {
                damage.frames += 1;
                let known = (aside.records > 0).then_some(aside.records);
                damage.events = damage.events.zip(known).map(|(sum, of)| sum + of);
            }
        }
        damage
    }

    /// Whether it explains that so many events were never seen.
    fn explains(&self, events: u64) -> bool {
        self.frames > 0 && self.events.is_none_or(|hidden| events <= hidden)
    }
}

#[derive(Debug, Default)]
struct Found {
    differences: Vec<String>,
    notes: Vec<String>,
}

impl Found {
    fn compare(&mut self, whose: &str, (left, is): (&str, u64), (right, sum): (&str, u64)) {
        let by = is.abs_diff(sum);
        if by > 0 {
            let (is, sum, by) = (show_count(is), show_count(sum), show_count(by));
            self.differences.push(format!(
                "{whose}: {left} {is}, {right} {sum}, a difference of {by}"
            ));
        }
    }

    fn stream(&mut self, name: &str, books: &Books, lane: Option<&LaneRecord>, now: Timestamp) {
        let tally = &books.tally;
        let gone = tally.files_fetched + tally.files_quarantined + tally.files_withdrawn;
        let files = "fetched, put aside, withdrawn and waiting";
        let listed = ("files listed", tally.files_listed);
        self.compare(name, listed, (files, gone + books.waiting));
        let records = "stored, known and put aside";
        let came = tally.stored + tally.known + tally.quarantined;
        self.compare(name, ("records read", tally.read), (records, came));
        let events = lane.map_or(0, |lane| lane.events);
        let sum = tally.stored.saturating_add_signed(books.before);
        let stored = ("stored, with those from before", sum);
        self.compare(name, ("events in the lane", events), stored);

        if let Some(at) = books.rescued {
            let ago = show_duration(now.since(at));
            self.notes.push(format!(
                "{name}: the database was lost {ago} ago; these counts are its copy's, and what was on disk was delivered again"
            ));
        }
        if books.set_back > 0 {
            let times = counted(books.set_back, "time");
            self.notes.push(format!(
                "{name}: went back {times} and fetched again what is after that place; repeats have their old event_id"
            ));
        }
        if tally.files_withdrawn > 0 {
            let files = counted(tally.files_withdrawn, "file");
            self.notes.push(format!(
                "{name}: {files} listed, and listed no more when the page was listed again before all of it was fetched"
            ));
        }
        if tally.files_quarantined > 0 {
            let files = counted(tally.files_quarantined, "file");
            self.notes
                .push(format!("{name}: {files} put aside that could not be read"));
        }
    }

    /// Answers how many events were stepped over that the output's record does not tell yet.
    fn output(
        &mut self,
        (output, lane_id): &(OutputId, LaneId),
        at: &PositionRecord,
        lane: &LaneRecord,
        damage: &Damage,
        ahead: Option<Ahead>,
    ) -> u64 {
        let name = format!("{lane_id} at {output}");
        let done =
            at.accepted + at.rejected + at.withheld + at.filtered + at.skipped + at.elsewhere;
        if let Some(began) = at.began {
            let sum = "accepted, refused, withheld, filtered and skipped, with those from before";
            self.compare(&name, ("events passed", at.passed), (sum, began + done));
        }
        if at.withheld > 0 {
            let events = counted(at.withheld, "event");
            self.notes.push(format!(
                "{name}: {events} not offered and put aside, as its settings say"
            ));
        }
        if at.elsewhere > 0 {
            let events = counted(at.elsewhere, "event");
            self.notes.push(format!(
                "{name}: {events} fetched here and delivered by another node"
            ));
        }
        let before = match ahead {
            Some(ahead) => ahead.before,
            None if at.position == lane.end => lane.events,
            // Nothing there can be read, so nothing can be compared.
            None => at.passed,
        };
        let pending = before.saturating_sub(at.passed);
        let skipped = at.skipped + pending;
        if skipped > 0 && damage.explains(skipped) {
            let events = counted(skipped, "event");
            self.notes.push(format!(
                "{name}: {events} in damaged frames stepped over, and fetched again"
            ));
            return pending;
        }
        if skipped > 0 {
            let events = counted(skipped, "event");
            self.differences.push(format!(
                "{name}: {events} passed, and neither accepted nor refused"
            ));
        }
        if before < at.passed {
            let place = ("events before its place on disk", before);
            self.compare(&name, place, ("passed", at.passed));
        }
        pending
    }
}

#[cfg(test)]
mod tests;
