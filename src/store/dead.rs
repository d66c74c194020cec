//! Dead letters: what was put aside, read back, sent again or thrown away when a person says so.
//!
//! Sending again appends the events, under the ids they had, to a lane of their own for the output that refused them, and marks the
//! record, in one transaction: a crash leaves them sent or waiting, never both or neither. The file stays until it is discarded.

use std::collections::BTreeSet;
use std::path::Path;

use super::command::Command;
use super::segment::FIRST;
use super::transaction::{Changed, Engine};
use super::{Aside, AsideRecord, Store, StoreError, blocking, frame, segment};
use crate::model::{Event, EventId, Form, LaneId, OutputId, Position, Timestamp};

/// An event that is to be sent again.
#[derive(Debug)]
pub(super) struct Again {
    id: EventId,
    time: Timestamp,
    form: Form,
    kind: String,
    body: String,
}

impl AsideRecord {
    /// The output that refused the records, and the lane they came by; `None` for what no output refused.
    #[must_use]
    pub fn refused_by(&self) -> Option<(OutputId, LaneId)> {
        let (output, lane) = self.owner.split_once(' ')?;
        Some((OutputId::new(output).ok()?, LaneId::from_text(lane)))
    }

    /// Whether the records have a file of their own.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.file.starts_with("quarantine/")
    }

    /// The files that are its own, below the state directory.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let file = Some(self.file.as_str()).filter(|_| self.has_file());
        file.into_iter().chain(self.kept.as_deref())
    }
}

impl Store {
    /// The records that were put aside under a number; `None` if there is no such number.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or that the file cannot be read.
    pub async fn dead_letter(
        &self,
        number: u64,
    ) -> Result<Option<(AsideRecord, Vec<Aside>)>, StoreError> {
        let mut asides = self.snapshot().await?.asides;
        let Some(record) = asides.remove(&number) else {
            return Ok(None);
        };
        if !record.has_file() {
            return Ok(Some((record, Vec::new())));
        }
        let path = self.root.join(&record.file);
        let records = blocking(move || read(&path)).await?;
        Ok(Some((record, records)))
    }

    /// Sends the events of a dead letter again to the output that refused them; `false` if that was done before, or there is none.
    ///
    /// # Errors
    /// [`StoreError::Closed`], that the file cannot be read or holds no events, or that the disk is full: then nothing is sent.
    pub async fn send_again(&self, number: u64) -> Result<bool, StoreError> {
        let Some((_, asides)) = self.dead_letter(number).await? else {
            return Ok(false);
        };
        let unfit = || StoreError::Value(format!("dead letter {number} holds no events"));
        let events = asides.into_iter().map(|aside| {
            let event = aside.event?;
            Some(Again {
                id: EventId::parse(&aside.what)?,
                time: event.time,
                form: if event.text { Form::Text } else { Form::Json },
                kind: event.kind,
                body: aside.record,
            })
        });
        let events: Option<Vec<_>> = events.collect();
        let events = events
            .filter(|events| !events.is_empty())
            .ok_or_else(unfit)?;
        self.ask(|reply| Command::Again {
            number,
            events,
            reply,
        })
        .await
    }

    /// Throws a dead letter away, its file too; answers what it was.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn discard(&self, number: u64) -> Result<Option<AsideRecord>, StoreError> {
        self.ask(|reply| Command::Discard { number, reply }).await
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<Aside>, StoreError> {
    let text = std::fs::read_to_string(path).map_err(StoreError::io("read", path))?;
    let lines = text.lines().map(serde_json::from_str);
    let records: Result<_, _> = lines.collect();
    records.map_err(|e| StoreError::Value(format!("{}: {e}", path.display())))
}

impl Engine {
    pub(super) fn send_again(
        &mut self,
        number: u64,
        events: &[Again],
        changed: &mut BTreeSet<Changed>,
    ) -> Result<bool, StoreError> {
        let aside = self.records.asides.get(&number);
        let waiting = aside.filter(|aside| aside.sent_again.is_none());
        let Some((output, from)) = waiting.and_then(AsideRecord::refused_by) else {
            return Ok(false);
        };
        let id = from.again(&output);
        let lane = self.records.lanes.get(&id).map(|lane| &lane.record);
        let (mut end, mut ordinal) = lane.map_or((FIRST, 0), |lane| (lane.end, lane.events));
        if end.offset >= segment::SEGMENT_BYTES {
            end = Position::start_of(end.segment + 1);
        }
        let mut frames = Vec::new();
        for again in events {
            let event = Event {
                body: &again.body,
                time: again.time,
                id: again.id,
            };
            let frame = frame::of_one(&again.kind, again.form, id.as_str(), &event, ordinal);
            let frame = frame.map_err(|_| StoreError::Value("an event of a dead letter".into()))?;
            frames.extend_from_slice(&frame);
            ordinal += 1;
        }
        let folder = self.outbox.folder(&id);
        segment::append(&folder, end, &frames)?;
        end.offset += frames.len() as u64;
        let lane = self.lane(&id, changed);
        lane.end = end;
        lane.events = ordinal;
        let now = self.clock.now();
        if let Some(aside) = self.records.asides.get_mut(&number) {
            aside.sent_again = Some(now);
            changed.insert(Changed::Aside(number));
        }
        Ok(true)
    }

    /// Deletes, once the transaction is durable, the files of a dead letter that is gone.
    pub(super) fn remove_aside(&self, gone: Option<&AsideRecord>) -> impl FnOnce() + Send + use<> {
        let files = gone.into_iter().flat_map(AsideRecord::files);
        let paths: Vec<_> = files.map(|file| self.root.join(file)).collect();
        let outbox = self.outbox.clone();
        move || {
            for path in paths {
                let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
                if let Err(error) = segment::remove(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot delete a dead letter that was thrown away");
                    continue;
                }
                outbox.take_from_aside(bytes);
            }
        }
    }
}
