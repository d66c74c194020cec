//! An output whose deliveries are timed and counted, for people to see; the output and its worker know nothing of it.

use std::time::Duration;

use crate::clock::Clock;
use crate::model::OutputId;
use crate::output::{Batch, BatchLimits, Delivery, Output, Receipt, Verdict, Window};
use crate::status::Status;

/// An output, and where its deliveries are told.
#[derive(Debug)]
pub struct Measured<O> {
    output: O,
    id: OutputId,
    clock: Clock,
    status: Status,
}

impl<O> Measured<O> {
    /// Measures what `id` delivers.
    pub const fn new(output: O, id: OutputId, clock: Clock, status: Status) -> Self {
        Self {
            output,
            id,
            clock,
            status,
        }
    }
}

impl<O: Output> Output for Measured<O> {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let flight = Flight::begin(self, batch);
        let delivery = self.output.deliver(batch).await;
        flight
            .measured
            .status
            .output(&self.id, |report| report.deliveries.note(flight.took()));
        delivery
    }

    fn limits(&self) -> BatchLimits {
        self.output.limits()
    }

    fn fitting(&self, batch: &Batch) -> usize {
        self.output.fitting(batch)
    }

    fn window(&self) -> Window {
        self.output.window()
    }

    async fn confirmations(&self, clock: &Clock) -> Vec<(Receipt, Verdict)> {
        self.output.confirmations(clock).await
    }
}

/// Events that are out; they are not any more when this is dropped, however it comes to that.
struct Flight<'a, O> {
    measured: &'a Measured<O>,
    events: u64,
    began: Duration,
}

impl<'a, O> Flight<'a, O> {
    fn begin(measured: &'a Measured<O>, batch: &Batch) -> Self {
        let events = batch.len() as u64;
        measured
            .status
            .output(&measured.id, |report| report.in_flight += events);
        Self {
            measured,
            events,
            began: measured.clock.monotonic(),
        }
    }

    fn took(&self) -> Duration {
        self.measured.clock.monotonic().saturating_sub(self.began)
    }
}

impl<O> Drop for Flight<'_, O> {
    fn drop(&mut self) {
        self.measured.status.output(&self.measured.id, |report| {
            report.in_flight = report.in_flight.saturating_sub(self.events);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{LaneId, Timestamp};

    struct Slow(Option<Duration>);

    impl Output for Slow {
        async fn deliver(&self, batch: &Batch) -> Delivery {
            match self.0 {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
            Delivery::accepted(batch.len())
        }

        fn limits(&self) -> BatchLimits {
            BatchLimits {
                bytes: 1,
                events: 1,
            }
        }

        fn fitting(&self, _batch: &Batch) -> usize {
            7
        }

        fn window(&self) -> Window {
            Window {
                lane: 7,
                ..Window::default()
            }
        }

        async fn confirmations(&self, _clock: &Clock) -> Vec<(Receipt, Verdict)> {
            vec![(Receipt(7), Verdict::Accepted)]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_timed_and_one_that_is_dropped_is_not_out_for_ever() {
        let now = Timestamp::from_millis(0);
        let status = Status::new(Path::new("/x"), now);
        let id = OutputId::new("splunk").unwrap();
        let measured = |wait| {
            let clock = Clock::starting_at(now);
            Measured::new(Slow(wait), id.clone(), clock, status.clone())
        };
        let record = crate::model::Record {
            id: crate::model::EventId([1; 16]),
            time: now,
            form: crate::model::Form::Json,
            kind: "audit".into(),
            body: "{}".to_owned().into(),
        };
        let batch = Batch::new(LaneId::from_text("acme/audit"), vec![record]);
        let told = || status.report(now).outputs[0].clone();
        {
            let hangs = measured(None);
            let mut delivery = Box::pin(hangs.deliver(&batch));
            assert!(futures_util::poll!(&mut delivery).is_pending());
            assert_eq!(told().in_flight, 1);
        }
        assert_eq!((told().in_flight, told().deliveries.count), (0, 0));
        measured(Some(Duration::from_millis(300)))
            .deliver(&batch)
            .await;
        assert_eq!(told().in_flight, 0);
        assert_eq!(
            (told().deliveries.count, told().deliveries.sum_ms),
            (1, 300)
        );
        // What it is asked besides, the output answers.
        let whole = measured(None);
        assert_eq!((whole.fitting(&batch), whole.window().lane), (7, 7));
        let clock = Clock::starting_at(now);
        let confirmed = whole.confirmations(&clock).await;
        assert_eq!(confirmed, [(Receipt(7), Verdict::Accepted)]);
    }
}
