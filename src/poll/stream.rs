//! One stream as its poller knows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::config::LogConfig;
use super::purse::Purse;
use super::urgency;
use crate::mimecast::budget::Share;
use crate::model::{StreamId, Timestamp};
use crate::store::{PollRecord, StoreError};
use crate::subject::{Context, Subject};

/// What is read once more when a cursor is lost: files can hold events that are older than those of the files before.
const READ_AGAIN: Duration = Duration::from_secs(3600);

/// A stream of an integration.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) config: LogConfig,
    pub(super) poll: Option<PollRecord>,
    /// The step before succeeded and there is more, or the same attempt goes on.
    pub(super) fresh: bool,
    pub(super) running: bool,
    pub(super) last_success: Option<Timestamp>,
    /// By the wall clock, up to where it is known to have been fetched.
    pub(super) reached: Option<Timestamp>,
    pub(super) subject: Subject,
}

impl Stream {
    /// Whether its last call is an interval ago, so that it comes before those that only have more.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        let last = self.poll.map(|poll| poll.attempted);
        !self.fresh || last.is_none_or(|last| now.since(last) >= self.config.interval)
    }

    pub(super) fn retention_left(&self, now: Timestamp, wall: Timestamp) -> Duration {
        let look_back = self.config.log.look_back;
        urgency::retention_left(self.poll.as_ref(), self.reached, look_back, (now, wall))
    }

    /// The vendor does not know the cursor any more: the stream begins again a little before the newest event that is stored.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn read_by_time(&self, context: &Context) -> Result<(), StoreError> {
        let store = &context.store;
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
        interval: Some(log.interval),
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
