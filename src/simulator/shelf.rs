//! What there is to collect: files in the order they were published, and listed records.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::records::{Dirt, MTA_KINDS, Recipe, Record};
use crate::mimecast::log_types::{self, Each, LOG_TYPES, LogType, Paging};
use crate::model::Timestamp;

/// Records to be published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// For whom.
    pub account: String,
    /// The log type.
    pub log: String,
    /// The event type; for `siem` the beginning of the files' names; empty for all types in turn.
    pub event_type: String,
    /// How many records.
    pub count: usize,
    /// The time of the newest one; `None` for now.
    pub at: Option<Timestamp>,
    /// How much older the oldest one is.
    pub spread: Duration,
    /// Records in a file; `None` for the simulator's option.
    pub per_file: Option<usize>,
    /// What is wrong with them.
    pub dirt: Vec<Dirt>,
    /// Bytes by which each is made longer.
    pub padding: usize,
}

impl Publication {
    /// Clean records of now.
    #[must_use]
    pub fn new(account: &str, log: &str, event_type: &str, count: usize) -> Self {
        Self {
            account: account.to_owned(),
            log: log.to_owned(),
            event_type: event_type.to_owned(),
            count,
            at: None,
            spread: Duration::ZERO,
            per_file: None,
            dirt: Vec::new(),
            padding: 0,
        }
    }
}

/// Why nothing could be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No such account.
    #[error("the simulator has no account '{0}'")]
    Account(String),
    /// No such log type, or not for the account's version.
    #[error("the simulator does not offer the log type '{0}' to this account")]
    Log(String),
    /// No such event type.
    #[error("the log type has no event type '{0}'")]
    EventType(String),
}

/// The form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Json,
    /// `key=value|key=value`: API 1.0 only.
    KeyValue,
    /// A JSON object as API 2.0 spells it when it lists events and not files.
    Event,
}

/// Records that were published together.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) kind: String,
    log: &'static LogType,
    seed: u64,
    account: String,
    /// The number of the first.
    first: u64,
    count: usize,
    at: Timestamp,
    spread: Duration,
    dirt: Vec<Dirt>,
    padding: usize,
}

impl Batch {
    /// The records as events, with their times.
    pub(super) fn events(&self) -> impl Iterator<Item = (Timestamp, Vec<u8>)> + '_ {
        (0..self.count).map(|i| {
            let (at, record) = self.record(i);
            (at, record.event())
        })
    }

    pub(super) fn records(&self, form: Form) -> impl Iterator<Item = Vec<u8>> + '_ {
        (0..self.count).map(move |i| {
            let (_, record) = self.record(i);
            match form {
                Form::Json => record.json(),
                Form::KeyValue => record.key_value(),
                Form::Event => record.event(),
            }
        })
    }

    /// The lines of a file, with the dirt that stands between records.
    pub(super) fn lines(&self, form: Form) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.records(form).enumerate().map(|(i, mut line)| {
            let dirt = self.dirt_of(i);
            if dirt == Some(Dirt::CrLf) {
                line.push(b'\r');
            }
            line.push(b'\n');
            if dirt == Some(Dirt::BlankLine) {
                line.extend(b" \n\n");
            }
            line
        })
    }

    fn record(&self, mut i: usize) -> (Timestamp, Record) {
        while self.dirt_of(i) == Some(Dirt::Repeated) && i > 0 {
            i -= 1;
        }
        // The last is the newest.
        let newer = u32::try_from(self.count - i - 1).unwrap_or(u32::MAX);
        let step = self.spread / u32::try_from(self.count).unwrap_or(u32::MAX).max(1);
        let at = self.at - step.saturating_mul(newer);
        let recipe = Recipe {
            log: self.log,
            kind: &self.kind,
            seed: self.seed,
            account: &self.account,
            number: self.first + i as u64,
            at,
            dirt: self.dirt_of(i),
            padding: self.padding,
        };
        (at, recipe.make())
    }

    fn dirt_of(&self, i: usize) -> Option<Dirt> {
        self.dirt.get(i % (self.dirt.len() + 1)).copied()
    }
}

/// A file of records of one type.
pub(super) struct File {
    pub(super) batch: Batch,
    /// In its name; no two of a list have the same.
    pub(super) named: Timestamp,
    /// Its path in the object store, for types that are listed by links.
    pub(super) path: String,
    pub(super) size: usize,
}

/// A record that is listed by its time.
pub(super) struct Listed {
    pub(super) at: Timestamp,
    pub(super) body: Vec<u8>,
    /// The id of the record whose list it is in, for lists of lists.
    pub(super) owner: Option<String>,
    /// Of a queue, and no longer in it.
    pub(super) gone: bool,
}

/// How a log type's records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Files of all record types in one chain.
    Chain,
    /// Files and events, apart for each event type.
    Batches,
    /// Records by their time.
    Span,
    /// Records that are there now.
    Queue,
    /// Records by their time, in documents.
    Feed,
}

impl Kept {
    pub(super) const fn of(log: &LogType) -> Self {
        match log.paging {
            Paging::SiemFiles { .. } => Self::Chain,
            Paging::BatchFiles | Paging::Stream => Self::Batches,
            Paging::Window(_) => Self::Span,
            Paging::Snapshot(..) => Self::Queue,
            Paging::Feed { .. } => Self::Feed,
        }
    }
}

/// All that there is for one account.
#[derive(Default)]
pub(super) struct Shelf {
    /// By log type and, where each event type has a list of its own, event type.
    files: BTreeMap<(&'static str, String), Vec<File>>,
    /// In the order of their publication.
    listed: BTreeMap<&'static str, Vec<Listed>>,
    /// Gzip bodies by path.
    pub(super) objects: BTreeMap<String, Bytes>,
    /// Records published, by log type and record type.
    published: BTreeMap<(&'static str, String), u64>,
    /// Where zips ended, by where they began: the same token gives the same zip.
    pub(super) zips: BTreeMap<usize, usize>,
}

impl Shelf {
    pub(super) fn files(&self, log: &'static LogType, event_type: &str) -> &[File] {
        let key = (log.name, event_type.to_owned());
        self.files.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn listed(&self, log: &'static LogType) -> &[Listed] {
        self.listed.get(log.name).map_or(&[], Vec::as_slice)
    }

    /// The records of a type, or of all types for an empty one, as they were published.
    pub(super) fn published(
        &self,
        log: &'static LogType,
        event_type: &str,
        form: Form,
    ) -> Vec<Vec<u8>> {
        let files = self.files.iter().filter(|((name, _), _)| *name == log.name);
        let batches = files
            .flat_map(|(_, files)| files)
            .map(|file| &file.batch)
            .filter(|batch| event_type.is_empty() || batch.kind == event_type);
        let member = log.paging.each().map_or("", |each| each.member);
        let listed = self.listed(log).iter().map(|record| match &record.owner {
            Some(owner) => {
                let rest = record.body.get(1..).unwrap_or_default();
                [format!("{{\"{member}\":\"{owner}\",").as_bytes(), rest].concat()
            }
            None => record.body.clone(),
        });
        batches
            .flat_map(|batch| batch.records(form))
            .chain(listed)
            .collect()
    }

    /// How many records all types have.
    pub(super) fn total(&self) -> u64 {
        self.published.values().sum()
    }

    pub(super) fn publish(
        &mut self,
        publication: &Publication,
        seed: u64,
        wall: Timestamp,
        per_file: usize,
    ) -> Result<(), PublishError> {
        let log = log_types::find(&publication.log)
            .ok_or_else(|| PublishError::Log(publication.log.clone()))?;
        let kept = Kept::of(log);
        if let Some(each) = log.paging.each() {
            self.publish_owners(each, publication, seed, wall)?;
        }
        let offered: &[&str] = match kept {
            Kept::Chain => MTA_KINDS,
            Kept::Batches => log.event_types,
            Kept::Span | Kept::Queue | Kept::Feed => &[log.name],
        };
        let wanted = publication.event_type.as_str();
        let kinds: Vec<&str> = match kept {
            Kept::Batches if !wanted.is_empty() && !offered.contains(&wanted) => {
                return Err(PublishError::EventType(wanted.to_owned()));
            }
            // The vendor's own list of file names is not complete: others may be published.
            Kept::Chain | Kept::Batches if !wanted.is_empty() => vec![wanted],
            Kept::Chain | Kept::Batches | Kept::Span | Kept::Queue | Kept::Feed => offered.to_vec(),
        };
        for (i, kind) in kinds.iter().enumerate() {
            let share =
                publication.count / kinds.len() + usize::from(i < publication.count % kinds.len());
            let mut left = share;
            while left > 0 {
                let count = match kept {
                    Kept::Chain | Kept::Batches => left.min(per_file.max(1)),
                    Kept::Span | Kept::Queue | Kept::Feed => left,
                };
                left -= count;
                let numbered = self.published.entry((log.name, (*kind).to_owned()));
                let first = numbered.or_default();
                let batch = Batch {
                    kind: (*kind).to_owned(),
                    log,
                    seed,
                    account: publication.account.clone(),
                    first: *first,
                    count,
                    at: publication.at.unwrap_or(wall),
                    spread: publication.spread,
                    dirt: publication.dirt.clone(),
                    padding: publication.padding,
                };
                *first += count as u64;
                self.add(log, batch, wall);
            }
        }
        Ok(())
    }

    /// A list of lists needs lists: makes two if there are none.
    fn publish_owners(
        &mut self,
        each: Each,
        publication: &Publication,
        seed: u64,
        wall: Timestamp,
    ) -> Result<(), PublishError> {
        let owner = LOG_TYPES.iter().find(|log| log.path == each.path);
        match owner.filter(|owner| self.listed(owner).is_empty()) {
            Some(owner) => {
                let owners = Publication::new(&publication.account, owner.name, "", 2);
                self.publish(&owners, seed, wall, 1)
            }
            None => Ok(()),
        }
    }

    /// The ids of the lists that a list of lists has.
    fn owners(&self, log: &LogType) -> Vec<String> {
        let Some(each) = log.paging.each() else {
            return Vec::new();
        };
        let owner = LOG_TYPES.iter().find(|log| log.path == each.path);
        let records = owner.map_or(&[][..], |owner| self.listed(owner));
        let id = |record: &Listed| {
            let record: serde_json::Value = serde_json::from_slice(&record.body).ok()?;
            Some(record.get("id")?.as_str()?.to_owned())
        };
        records.iter().filter_map(id).collect()
    }

    /// Takes the oldest records out of a queue.
    pub(super) fn withdraw(&mut self, log: &LogType, count: usize) {
        let listed = self.listed.get_mut(log.name).into_iter().flatten();
        for record in listed.filter(|record| !record.gone).take(count) {
            record.gone = true;
        }
    }

    fn add(&mut self, log: &'static LogType, batch: Batch, wall: Timestamp) {
        let list = match Kept::of(log) {
            Kept::Span | Kept::Queue | Kept::Feed => {
                let owners = self.owners(log);
                let listed = self.listed.entry(log.name).or_default();
                listed.extend((0..batch.count).map(|i| {
                    let (at, record) = batch.record(i);
                    Listed {
                        at,
                        body: record.json(),
                        owner: owners.get(i % owners.len().max(1)).cloned(),
                        gone: false,
                    }
                }));
                return;
            }
            Kept::Chain => String::new(),
            Kept::Batches => batch.kind.clone(),
        };
        let files = self.files.entry((log.name, list)).or_default();
        let named = files
            .last()
            .map_or(wall, |last| wall.max(last.named + Duration::from_millis(1)));
        let mut file = File {
            batch,
            named,
            path: String::new(),
            size: 0,
        };
        if Kept::of(log) == Kept::Batches {
            file.path = format!(
                "/{}/{}/{}/{}.json.gz",
                file.batch.account,
                log.name,
                file.batch.kind.replace(' ', "-"),
                file_time(named)
            );
            let body = gzip(file.batch.lines(Form::Json));
            file.size = body.len();
            self.objects.insert(file.path.clone(), body);
        }
        files.push(file);
    }
}

/// A moment as file names have it: `yyyyMMddHHmmssSSS`.
pub(super) fn file_time(moment: Timestamp) -> String {
    moment.calendar().strftime("%Y%m%d%H%M%S%3f").to_string()
}

fn gzip(lines: impl Iterator<Item = Vec<u8>>) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut written = Ok(());
    for line in lines {
        written = written.and_then(|()| encoder.write_all(&line));
    }
    // Writing to memory does not fail.
    let body = written.and_then(|()| encoder.finish());
    body.unwrap_or_default().into()
}
