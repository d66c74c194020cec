//! One stream as its poller knows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::config::LogConfig;
use super::purse::Purse;
use super::{schedule, urgency};
use crate::mimecast::budget::Share;
use crate::model::{IntegrationId, StreamId, Timestamp};
use crate::store::{PollRecord, Replay, Snapshot, StoreError};
use crate::subject::{Context, Subject};

/// What is read once more when a cursor is lost: files can hold events that are older than those of the files before.
const READ_AGAIN: Duration = Duration::from_secs(3600);

/// A stream of an integration.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) config: Arc<LogConfig>,
    pub(super) poll: Option<PollRecord>,
    /// Its integration's turn, if it was due when that was taken up.
    turn: Option<Timestamp>,
    /// The step before succeeded and there is more, or the same attempt goes on.
    pub(super) fresh: bool,
    pub(super) running: bool,
    pub(super) last_success: Option<Timestamp>,
    /// By the wall clock, up to where it is known to have been fetched.
    pub(super) reached: Option<Timestamp>,
    /// What is to be fetched again; `None` for a live stream.
    pub(super) replay: Option<Replay>,
    /// A replay that is over, and forgotten by the store.
    pub(super) gone: bool,
    pub(super) subject: Subject,
}

impl Stream {
    /// Takes up a stream where `stored` says that it stands; a poll that began later than `now`, by a clock that was ahead then, began now.
    pub(super) fn load(
        id: StreamId,
        config: &Arc<LogConfig>,
        subject: Subject,
        stored: &Snapshot,
        now: Timestamp,
    ) -> Self {
        let record = stored.streams.get(&id.to_string());
        Self {
            poll: record.and_then(|record| Some(record.poll?.clamp(now))),
            reached: record.and_then(|record| record.newest.or(record.origin)),
            turn: None,
            replay: record.and_then(|record| record.replay.clone()),
            gone: false,
            subject,
            id,
            config: Arc::clone(config),
            fresh: false,
            running: false,
            last_success: None,
        }
    }

    /// When the next step is due, whatever the states of health say; `None` if nothing is to be asked any more.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let poll = self.poll.as_ref();
        if let Some(replay) = &self.replay
            && (self.gone || replay.cancelled || poll.is_some_and(|poll| poll.done))
        {
            return None;
        }
        let due = schedule::due(poll, self.config.interval, self.fresh, now);
        Some(self.turn.map_or(due, |turn| due.max(turn)))
    }

    /// What is due already waits for its integration's turn.
    pub(super) fn wait_for(&mut self, turn: Timestamp, now: Timestamp) {
        if self.due(now).is_some_and(|due| due <= now) {
            self.turn = Some(turn);
        }
    }

    /// Whether a replay waits to be forgotten.
    pub(super) fn is_ending(&self, now: Timestamp) -> bool {
        self.replay.is_some() && !self.gone && !self.running && self.due(now).is_none()
    }

    /// Whether its last call is an interval ago, so that it comes before those that only have more.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        if self.replay.is_some() {
            return false;
        }
        let last = self.poll.map(|poll| poll.attempted);
        !self.fresh || last.is_none_or(|last| now.since(last) >= self.config.interval)
    }

    pub(super) fn retention_left(&self, now: Timestamp, wall: Timestamp) -> Duration {
        if self.replay.is_some() {
            // Live streams come first.
            return Duration::MAX;
        }
        let look_back = self.config.log.look_back;
        urgency::retention_left(self.poll.as_ref(), self.reached, look_back, (now, wall))
    }

    /// The vendor does not know the cursor any more: the stream begins again a little before the newest event that is stored.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn read_by_time(&self, context: &Context) -> Result<(), StoreError> {
        let store = &context.store;
        if let Some(replay) = &self.replay {
            tracing::warn!(stream = %self.id, "Mimecast no longer knows the replay's cursor: it begins again, and some arrive twice");
            return store.reset(&self.id, None, Some(replay.from)).await;
        }
        let known = store.stream(&self.id).await?;
        let look_back = context.clock.wall() - self.config.log.look_back;
        let newest = known.newest.map(|at| at - READ_AGAIN);
        let from = newest.or(known.origin).unwrap_or(look_back);
        let from = from.max(look_back);
        store.reset(&self.id, None, Some(from)).await?;
        tracing::error!(
            stream = %self.id,
            newest_stored = %known.newest.map_or_else(|| "none".to_owned(), |at| at.to_string()),
            reading_again_from = %from,
            "Mimecast no longer knows the cursor: events from this time on may be delivered twice, events before it that \
             were not yet fetched are missing"
        );
        Ok(())
    }
}

/// Gives a stream its share of each function that it asks.
pub(super) fn share(purse: &Purse, log: &LogConfig, stream: &StreamId) {
    let share = Share {
        quota: log.log.quota,
        // One call a window is a replay's share.
        interval: stream.replay.is_none().then_some(log.interval),
    };
    let each = log.log.paging.each().map(|each| Arc::from(each.path));
    for path in [Some(Arc::clone(&log.log.path)), each]
        .into_iter()
        .flatten()
    {
        purse.share(&path, stream, share);
    }
}

/// Counts what was called before a restart: of each function, what the last record of it says.
pub(super) fn restore(purse: &Purse, streams: &[Stream], now: Timestamp) {
    let mut last = BTreeMap::new();
    for stream in streams {
        if let Some(calls) = stream.poll.and_then(|poll| poll.calls) {
            let known = last.entry(&stream.config.log.path).or_insert(calls);
            if (calls.last, calls.used) > (known.last, known.used) {
                *known = calls;
            }
        }
    }
    for (path, calls) in last {
        purse.restore(path, calls, now);
    }
}

/// The replays of these logs that are not over.
pub(super) fn replays<'l>(
    logs: &'l [Arc<LogConfig>],
    integration: &IntegrationId,
    stored: &Snapshot,
) -> Vec<(StreamId, &'l Arc<LogConfig>)> {
    let mut found = Vec::new();
    for key in stored.streams.keys() {
        let stream = StreamId::parse(key)
            .filter(|stream| stream.replay.is_some() && stream.integration == *integration);
        let Some(stream) = stream else { continue };
        let log = logs.iter().find(|log| *log.log.row.name == *stream.log);
        found.extend(log.map(|log| (stream, log)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::About;
    use crate::health::{Policy, Seed};
    use crate::mimecast::log_types;
    use crate::store::StreamRecord;

    #[test]
    fn a_poll_by_a_clock_that_was_years_ahead_is_followed_an_interval_after_the_restart() {
        let now = Timestamp::from_millis(1_767_690_487_000);
        let ahead = now + Duration::from_hours(24 * 3_650);
        let id = StreamId::new(&IntegrationId::new("acme").unwrap(), "audit", "");
        let config = Arc::new(LogConfig::from(log_types::find("audit").unwrap()));
        for done in [true, false] {
            let record = StreamRecord {
                poll: Some(PollRecord {
                    started: ahead,
                    attempted: ahead,
                    attempts: 0,
                    done,
                    calls: None,
                }),
                ..StreamRecord::default()
            };
            let mut stored = Snapshot::default();
            stored.streams.insert(id.to_string(), record);
            let policy = Policy::source(Seed::of(&[], ""));
            let subject = Subject::load(String::new(), About::default(), policy, &stored, now);
            let stream = Stream::load(id.clone(), &config, subject, &stored, now);
            // It does not move away as time goes on.
            let later = now + config.interval + Duration::from_secs(2);
            assert!(stream.due(later).is_some_and(|due| due <= later), "{done}");
        }
    }
}
