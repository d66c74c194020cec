//! What is different about a replay: which streams it is, and which of their events it keeps.
//!
//! Else it is a stream like any other, in a lane of its own, with an end in place of an interval.

use std::io::Read;
use std::time::Duration;

use super::config::{IntegrationConfig, LogConfig};
use crate::mimecast::log_types::Paging;
use crate::model::{Counted, Cursor, Event, Form, Sink, SinkError, StreamId, Timestamp};
use crate::store::Replay;
use crate::units::show_duration;

/// The longest span that one request of a log in slices of time asks for.
const SLICE: Duration = Duration::from_secs(24 * 3600);

/// A replay that can be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The streams that are fetched again.
    pub streams: Vec<StreamId>,
    /// What of them.
    pub replay: Replay,
    /// The least requests that it takes.
    pub requests: u64,
    /// What of the wish cannot be had, for people; empty if all of it can.
    pub reservation: String,
}

/// Plans a replay of the log `name`, by the wall clock `wall`.
///
/// # Errors
/// Why it cannot be, for people.
pub fn plan(
    config: &IntegrationConfig,
    name: &str,
    wish: Replay,
    wall: Timestamp,
) -> Result<Plan, String> {
    let logs = || config.logs.iter().map(|log| log.log.row.name);
    let Some(log) = config.logs.iter().find(|log| log.log.row.name == name) else {
        return Err(format!(
            "{} has no log '{name}'; it has: {}",
            config.id,
            logs().collect::<Vec<_>>().join(", ")
        ));
    };
    if matches!(log.log.paging, Paging::Snapshot(..)) {
        return Err(format!(
            "{name} lists what is there now and has no past: it cannot be replayed"
        ));
    }
    if wish.from >= wish.to {
        return Err("the span ends before it begins: --from must be before --to".to_owned());
    }
    if wish.from >= wall {
        return Err("the span has not begun yet".to_owned());
    }
    let kept = show_duration(log.log.look_back);
    let oldest = wall - log.log.look_back;
    if wish.to <= oldest {
        return Err(format!(
            "Mimecast keeps {name} for {kept}: nothing of that span is left"
        ));
    }
    let reservation = if wish.from < oldest {
        format!("Mimecast keeps {name} for {kept}: what is older than {oldest} is missing")
    } else {
        String::new()
    };
    let replay = Replay {
        from: wish.from.max(oldest),
        to: wish.to.min(wall),
        ..wish
    };
    let streams: Vec<_> = log.streams(&config.id).collect();
    let each = requests(log, &replay);
    Ok(Plan {
        requests: each.saturating_mul(streams.len() as u64),
        streams,
        replay,
        reservation,
    })
}

/// The least requests that a stream takes.
fn requests(log: &LogConfig, replay: &Replay) -> u64 {
    match log.log.paging {
        Paging::Window(_) | Paging::Feed { .. } => {
            let span = replay.to.since(replay.from).as_secs();
            span.div_ceil(SLICE.as_secs()).max(1)
        }
        Paging::SiemFiles { .. } | Paging::BatchFiles | Paging::Stream | Paging::Snapshot(..) => 1,
    }
}

/// A sink that keeps what lies within a span of time, if there is one.
///
/// Slices of time are asked for by their span, and a record of theirs may not say when it was.
#[derive(Debug)]
pub(super) struct Within<S> {
    /// A fetch moves it from one future to the next, each of which has room for it.
    sink: Box<S>,
    stream: StreamId,
    span: Option<(Timestamp, Timestamp)>,
    dropped: u64,
}

impl<S> Within<S> {
    /// Keeps what `replay` is to fetch; all if it is none, or if the log is asked for by time.
    pub(super) fn new(sink: S, stream: &StreamId, paging: Paging, replay: Option<&Replay>) -> Self {
        let by_time = matches!(paging, Paging::Window(_) | Paging::Feed { .. });
        let replay = replay.filter(|_| !by_time);
        Self {
            sink: Box::new(sink),
            stream: stream.clone(),
            span: replay.map(|replay| (replay.from, replay.to)),
            dropped: 0,
        }
    }
}

impl<S> Drop for Within<S> {
    fn drop(&mut self) {
        if self.dropped > 0 {
            tracing::info!(stream = %self.stream, events = self.dropped, "events outside the replay's span were left out");
        }
    }
}

impl<S: Sink> Sink for Within<S> {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        let outside = |(from, to): (Timestamp, Timestamp)| event.time < from || event.time >= to;
        if self.span.is_some_and(outside) {
            self.dropped += 1;
            self.sink.count(Counted::Known);
            return Ok(());
        }
        self.sink.push(kind, form, event)
    }

    fn quarantine(&mut self, kind: &str, record: &[u8], reason: &str) -> Result<(), SinkError> {
        self.sink.quarantine(kind, record, reason)
    }

    fn keep(&mut self, file: &mut dyn Read) -> Result<(), SinkError> {
        self.sink.keep(file)
    }

    fn count(&mut self, what: Counted) {
        self.sink.count(what);
    }

    fn listed(&mut self, files: u64) {
        self.sink.listed(files);
    }

    fn uncommitted(&self) -> u64 {
        self.sink.uncommitted()
    }

    fn memo(&self) -> Option<Vec<u8>> {
        self.sink.memo()
    }

    fn commit_with(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError> {
        self.sink.commit_with(next, memo)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::mimecast::log_types::find;
    use crate::model::{EventId, IntegrationId};

    /// The times of the events that it was given.
    #[derive(Clone, Default)]
    struct Times(Arc<Mutex<Vec<i64>>>);

    impl Sink for Times {
        fn push(&mut self, _: &str, _: Form, event: Event<'_>) -> Result<(), SinkError> {
            self.0.lock().unwrap().push(event.time.as_millis());
            Ok(())
        }

        fn quarantine(&mut self, _: &str, _: &[u8], _: &str) -> Result<(), SinkError> {
            Ok(())
        }

        fn keep(&mut self, _: &mut dyn Read) -> Result<(), SinkError> {
            Ok(())
        }

        fn count(&mut self, _: Counted) {}

        fn listed(&mut self, _: u64) {}

        fn uncommitted(&self) -> u64 {
            0
        }

        fn memo(&self) -> Option<Vec<u8>> {
            None
        }

        fn commit_with(&mut self, _: &Cursor, _: Option<&[u8]>) -> Result<(), SinkError> {
            Ok(())
        }
    }

    #[test]
    fn files_are_cut_to_the_span_and_slices_of_time_are_taken_as_they_come() {
        let replay = Replay {
            from: Timestamp::from_millis(10),
            to: Timestamp::from_millis(20),
            output: None,
            cancelled: false,
        };
        let taken = |log: &str, replay: Option<&Replay>| {
            let times = Times::default();
            let stream = StreamId::new(&IntegrationId::new("acme").unwrap(), log, "");
            let paging = find(log).unwrap().paging;
            let mut sink = Within::new(times.clone(), &stream, paging, replay);
            for time in [9, 10, 19, 20] {
                let event = Event {
                    body: "",
                    time: Timestamp::from_millis(time),
                    id: EventId([0; 16]),
                };
                sink.push("", Form::Json, event).unwrap();
            }
            times.0.lock().unwrap().clone()
        };
        assert_eq!(taken("siem-cg", Some(&replay)), [10, 19]);
        assert_eq!(taken("audit", Some(&replay)), [9, 10, 19, 20]);
        assert_eq!(taken("siem-cg", None), [9, 10, 19, 20]);
    }
}
