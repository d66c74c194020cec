//! How a poller starts the fetches that are due.

use std::sync::Arc;

use super::{Done, Poller};
use crate::mimecast::{Job, Source};
use crate::model::Timestamp;
use crate::poll::replay::Within;
use crate::poll::schedule;
use crate::store::{Asked, PollRecord, StoreError};

impl<S: Source> Poller<S> {
    /// Makes the attempts durable, in one transaction, then lets them go out.
    pub(super) async fn start_what_is_due(&mut self) -> Result<(), StoreError> {
        if self.pause.is_some() {
            return Ok(());
        }
        let now = self.context.clock.now();
        let due = self.due(now);
        let outbox = self.context.store.outbox();
        if due.is_empty() || self.room.is_full(outbox, &self.id) {
            return Ok(());
        }
        // A block may have come to its end.
        self.set_gate(now);
        let places = self.places().saturating_sub(self.fetches.len());
        let (mut begun, mut asked) = (Vec::new(), Vec::new());
        for index in due {
            if begun.len() >= places {
                break;
            }
            if self.begin(index, now, &mut asked) {
                begun.push(index);
            }
        }
        self.context.store.asked(asked).await?;
        for index in begun {
            self.send_out(index, now).await?;
        }
        Ok(())
    }

    /// Streams that may be asked now, the most urgent first.
    fn due(&self, now: Timestamp) -> Vec<usize> {
        let wall = self.context.clock.wall();
        let mut due = Vec::new();
        for (index, stream) in self.streams.iter().enumerate() {
            let ready = self.ready(stream, now).filter(|at| *at <= now);
            if let Some(at) = ready.filter(|_| !stream.running) {
                let left = stream.retention_left(now, wall);
                due.push((!stream.is_late(now), left, at, index));
            }
        }
        due.sort_unstable();
        due.into_iter().map(|(_, _, _, index)| index).collect()
    }

    /// Begins an attempt, or the next step of one, unless one that was begun before it took the last call.
    fn begin(&mut self, index: usize, now: Timestamp, asked: &mut Vec<Asked>) -> bool {
        let Some(stream) = self.streams.get_mut(index) else {
            return false;
        };
        let path = &stream.config.log.path;
        if self.purse.take(path, &stream.id, now).is_err() {
            return false;
        }
        let calls = self.purse.calls(path, now);
        let record = schedule::next_record(stream.poll.as_ref(), stream.fresh, now);
        // What is counted is durable before the call goes out.
        let record = record.or(stream.poll.filter(|_| calls.is_some()));
        if let Some(record) = record {
            let record = PollRecord { calls, ..record };
            let origin = self.context.clock.wall() - stream.config.start;
            asked.push(Asked::new(&stream.id, record, origin));
            stream.poll = Some(record);
        }
        stream.fresh = false;
        stream.running = true;
        true
    }

    async fn send_out(&mut self, index: usize, now: Timestamp) -> Result<(), StoreError> {
        let store = &self.context.store;
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        self.context.status.polled(&stream.id);
        let known = store.stream(&stream.id).await?;
        stream.reached = known.newest.or(known.origin);
        let sink = store.writer(&stream.id).await?;
        let replay = stream.replay.as_ref();
        let begin = self.context.clock.wall() - stream.config.start;
        let job = Job {
            until: replay.map(|replay| replay.to),
            stream: stream.id.clone(),
            log: stream.config.log.clone(),
            cursor: sink.cursor().cloned(),
            start: known.origin.unwrap_or(begin),
            polled: stream.poll.map_or(now, |poll| poll.started),
            slice: schedule::slice(stream.poll.as_ref()),
        };
        let sink = Within::new(sink, &stream.id, job.log.paging, replay);
        let path = &stream.config.log.path;
        let gate = self.gate.for_fetch(&stream.id, Some(path));
        let (source, epoch) = (Arc::clone(&self.source), self.epoch);
        self.fetches.spawn(async move {
            let result = source.fetch(job, sink, gate.clone()).await;
            Done {
                stream: index,
                epoch,
                gate,
                result,
            }
        });
        Ok(())
    }
}
