//! What a poller makes of the time that Mimecast's answers tell.

use super::Poller;
use crate::health::Outcome;
use crate::mimecast::Source;
use crate::model::Timestamp;
use crate::store::StoreError;

impl<S: Source> Poller<S> {
    /// Signs with the server's time, after it refused ours.
    pub(super) fn correct_clock(&self) {
        let ahead_ms = self.credential.clock_ahead_ms();
        tracing::warn!(
            integration = %self.id,
            ahead_ms,
            "Mimecast refused a signature because of its date: signing with our clock moved by so much from now on; check \
             that this machine's clock follows NTP"
        );
        self.source.correct_clock(ahead_ms);
    }

    /// Signs with our own time again, once the date of an answer agrees with it.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn compare_clocks(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.credential.clock_ahead_ms() == 0 {
            return Ok(());
        }
        let dated = Outcome::Dated(self.source.server_ahead_ms());
        let store = &self.context.store;
        self.credential.judge(store, &dated, now).await?;
        if self.credential.clock_ahead_ms() == 0 {
            tracing::info!(integration = %self.id, "this machine's clock is right again: signing with it");
            self.source.correct_clock(0);
        }
        Ok(())
    }
}
