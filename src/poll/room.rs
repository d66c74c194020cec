//! How much may wait for the outputs. Back-pressure is to not ask: Mimecast keeps the logs meanwhile, and nothing is ever dropped to
//! make room.

use std::time::Duration;

use crate::health::Failure;
use crate::model::{IntegrationId, SinkError};
use crate::store::Outbox;

/// Until a stream that the disk had no room for is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The limits of the spool for one integration, and whether they were met.
#[derive(Debug)]
pub struct Room {
    /// Bytes of all lanes and of the quarantine.
    max_bytes: u64,
    /// Bytes of one integration's lanes.
    integration_max_bytes: u64,
    /// Told once; polling goes on when a tenth is free.
    full: bool,
}

impl Room {
    /// How often a poller that waits for room looks again.
    pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

    /// Limits in bytes: for all lanes, and for one integration's.
    #[must_use]
    pub const fn new(max_bytes: u64, integration_max_bytes: u64) -> Self {
        Self {
            max_bytes,
            integration_max_bytes,
            full: false,
        }
    }

    /// Notes a disk that had no room for a step: nobody is asked before it has, and its stream then soon. Where there is room for all
    /// but this step, the stream waits ever longer.
    #[must_use]
    pub fn lacking(outbox: &Outbox, error: &SinkError, failure: Failure) -> Failure {
        if !matches!(error, SinkError::Full) || !outbox.found_no_room(error) {
            return failure;
        }
        Failure {
            retry_after: Some(TRY_AGAIN),
            ..failure
        }
    }

    /// Whether an integration must not be asked now.
    pub fn is_full(&mut self, outbox: &Outbox, integration: &IntegrationId) -> bool {
        if outbox.is_disk_full() {
            // The store has told.
            return true;
        }
        let was = self.full;
        let over = |bytes: u64, max: u64| bytes >= if was { max - max / 10 } else { max };
        let own = outbox.bytes_of(integration);
        let full = over(own, self.integration_max_bytes) || over(outbox.bytes(), self.max_bytes);
        if full != was {
            self.full = full;
            if full {
                tracing::error!(
                    integration = %integration, bytes = own, limit = self.integration_max_bytes,
                    "polling pauses: what waits for the outputs, with the quarantine, has reached the spool's limit; nothing is \
                     lost while Mimecast keeps the logs: bring the outputs back, empty the quarantine, or raise spool.max_bytes"
                );
            } else {
                tracing::info!(integration = %integration, "polling goes on: the spool has room again");
            }
        }
        full
    }
}
