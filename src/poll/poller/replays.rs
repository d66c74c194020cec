//! How a poller begins and ends replays.

use std::time::Duration;

use super::Poller;
use crate::alert::About;
use crate::health::{Policy, Seed};
use crate::mimecast::Source;
use crate::model::Timestamp;
use crate::poll::stream::{Stream, replays, share};
use crate::store::StoreError;
use crate::subject::Subject;

/// From one look at a replay that is being delivered to the next.
pub(super) const ENDED_WITHIN: Duration = Duration::from_secs(1);

impl<S: Source> Poller<S> {
    /// Begins what replays there are that it does not know, and ends those that are cancelled.
    pub(super) async fn take_up_replays(&mut self) -> Result<(), StoreError> {
        let stored = self.context.store.snapshot().await?;
        for (stream, log) in replays(&self.logs, &self.id, &stored) {
            let known = self.streams.iter_mut().find(|known| known.id == stream);
            let record = stored.streams.get(&stream.to_string());
            if let Some(known) = known {
                known.replay = record.and_then(|record| record.replay.clone());
                continue;
            }
            share(&self.purse, log, &stream);
            let name = format!("stream {stream}");
            let about = About {
                integration: Some(self.id.clone()),
                log: Some(stream.log_and_type()),
                ..About::default()
            };
            let seed = Seed::of(self.context.store.install_id().as_bytes(), &name);
            let now = self.context.clock.now();
            let subject = Subject::load(name, about, Policy::source(seed), &stored, now);
            self.streams
                .push(Stream::load(stream, log, subject, &stored, now));
        }
        Ok(())
    }

    /// Forgets replays that are delivered or cancelled.
    pub(super) async fn end_replays(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let store = &self.context.store;
        for stream in &mut self.streams {
            if !stream.is_ending(now) {
                continue;
            }
            if store.forget_replay(&stream.id).await? {
                tracing::info!(stream = %stream.id, "the replay is over");
                self.purse.forget(&stream.id);
                stream.gone = true;
            } else {
                // It may have been set back for damage.
                stream.poll = store.stream(&stream.id).await?.poll;
            }
        }
        // Fetches name their streams by place.
        if self.fetches.is_empty() {
            self.streams.retain(|stream| !stream.gone);
        }
        Ok(())
    }
}
