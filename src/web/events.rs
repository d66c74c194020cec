//! Server-sent events: each second, and at once when a state has changed, the word that there is something new to ask for.
//!
//! The events carry no data. A page shows a part of a report that may be megabytes long, and knows which part; what it asks for then
//! is the same that it asks for where a proxy lets no events through.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// Pages that are told at a time; the others ask by themselves.
pub(super) const VIEWERS: usize = 16;
/// From one event to the next while nothing changes but the counts.
const BEAT: Duration = Duration::from_secs(1);
/// A burst of changes is one event.
const BURST: Duration = Duration::from_millis(100);

struct Viewer {
    beat: Interval,
    changes: watch::Receiver<u64>,
    told: u64,
    /// Given back when the connection ends.
    _place: OwnedSemaphorePermit,
}

/// The endless body of an answer; `None` if all places are taken.
pub(super) fn body(
    changes: watch::Receiver<u64>,
    viewers: &Arc<Semaphore>,
) -> Option<UnsyncBoxBody<Bytes, Infallible>> {
    let place = Arc::clone(viewers).try_acquire_owned().ok()?;
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let viewer = Viewer {
        beat,
        changes,
        told: 0,
        _place: place,
    };
    let events = stream::unfold(viewer, |mut viewer| async {
        tokio::select! {
            _ = viewer.beat.tick() => {}
            // An error means that the program ends, which ends this too.
            Ok(()) = viewer.changes.changed() => {
                tokio::time::sleep(BURST).await;
                viewer.changes.mark_unchanged();
            }
        }
        viewer.told += 1;
        let retry = if viewer.told == 1 {
            "retry: 2000\n"
        } else {
            ""
        };
        let event = format!("{retry}event: news\ndata: {}\n\n", viewer.told);
        Some((Ok(Frame::data(Bytes::from(event))), viewer))
    });
    Some(StreamBody::new(events).boxed_unsync())
}
