//! The last 24 hours, a point a minute, in memory: what the plots of the page are drawn from.
//!
//! A point is 12 bytes, so a series has 17 KiB at most; [`SERIES`] of them have 19 MiB. What comes beyond that is in the totals only.
//! A restart begins anew: the counts themselves are in the store, and monitoring that needs years has the metrics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IntegrationReport, OutputReport, Report};
use crate::model::Timestamp;

/// 24 hours.
const MINUTES: usize = 24 * 60;
/// A thousand integrations and what they are delivered to.
const SERIES: usize = 1_100;
const MINUTE_MS: i64 = 60_000;

/// Whose history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Of all integrations together: the sum of their events and backlogs, the longest lag.
    All,
    /// Of an integration, by its name.
    Integration(String),
    /// Of an output, by its name: the events that it took, the age and the number of those that wait.
    Output(String),
}

/// A day of something, the oldest minute first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When the last minute ended; `None` before the first one.
    pub end: Option<Timestamp>,
    /// Events in each minute; `None` where nobody counted.
    pub events: Vec<Option<u32>>,
    /// At the end of each minute, how far the hindmost is behind, in seconds.
    pub lag_s: Vec<Option<u32>>,
    /// At the end of each minute, how many events wait for delivery.
    pub backlog: Vec<Option<u32>>,
}

/// A number, or [`Known::NOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known(u32);

impl Known {
    const NOT: Self = Self(u32::MAX);

    fn number(number: u64) -> Self {
        Self(
            u32::try_from(number)
                .unwrap_or(u32::MAX - 1)
                .min(u32::MAX - 1),
        )
    }

    fn read(self) -> Option<u32> {
        (self != Self::NOT).then_some(self.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    events: Known,
    lag_s: Known,
    backlog: Known,
}

impl Point {
    const UNKNOWN: Self = Self {
        events: Known::NOT,
        lag_s: Known::NOT,
        backlog: Known::NOT,
    };
}

#[derive(Debug, Default)]
struct Series {
    /// The count of events at the end of the last minute.
    counted: Option<u64>,
    points: VecDeque<Point>,
}

impl Series {
    fn push(&mut self, point: Point) {
        if self.points.len() == MINUTES {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    fn note(&mut self, sample: Sample) {
        let events = self
            .counted
            .map(|before| sample.counted.saturating_sub(before));
        self.counted = Some(sample.counted);
        self.push(Point {
            events: events.map_or(Known::NOT, Known::number),
            lag_s: sample
                .lag
                .map_or(Known::NOT, |lag| Known::number(lag.as_secs())),
            backlog: Known::number(sample.backlog),
        });
    }
}

/// What is known of something at the end of a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    counted: u64,
    lag: Option<Duration>,
    backlog: u64,
}

impl Sample {
    fn of_integration(integration: &IntegrationReport, now: Timestamp) -> Self {
        let streams = &integration.streams;
        Self {
            counted: streams.iter().map(|stream| stream.events).sum(),
            lag: integration.behind(now),
            backlog: integration.backlog_events,
        }
    }

    fn of_output(output: &OutputReport) -> Self {
        Self {
            counted: output.accepted,
            // Where nothing waits, nothing has waited for long.
            lag: Some(Duration::from_secs(output.backlog_age_s.unwrap_or(0))),
            backlog: output.backlog_events,
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            counted: self.counted.saturating_add(other.counted),
            lag: self.lag.max(other.lag),
            backlog: self.backlog.saturating_add(other.backlog),
        }
    }
}

/// The rings of all series; they end at the same minute.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// The number of the last minute since 1970.
    minute: Option<i64>,
    series: BTreeMap<Whose, Series>,
}

impl Rings {
    /// Takes down the minute that a report ends; a second report of the same minute is not taken.
    pub(super) fn note(&mut self, report: &Report) {
        let minute = report.now.as_millis().div_euclid(MINUTE_MS);
        let passed = self.minute.map_or(1, |last| minute.saturating_sub(last));
        if passed < 1 {
            return;
        }
        self.minute = Some(minute);
        // The machine slept, or was too busy.
        let missed = usize::try_from(passed - 1).unwrap_or(MINUTES).min(MINUTES);
        for series in self.series.values_mut() {
            for _ in 0..missed {
                series.push(Point::UNKNOWN);
            }
        }
        let mut all = Sample::default();
        let mut samples = Vec::new();
        for integration in &report.integrations {
            let sample = Sample::of_integration(integration, report.now);
            all = all.with(sample);
            samples.push((Whose::Integration(integration.name.to_string()), sample));
        }
        for output in &report.outputs {
            let whose = Whose::Output(output.name.to_string());
            samples.push((whose, Sample::of_output(output)));
        }
        // The outputs first, when there are too many to keep: they are few.
        samples.push((Whose::All, all));
        samples.reverse();
        let named: BTreeSet<_> = samples.iter().map(|(whose, _)| whose).collect();
        self.series.retain(|whose, _| named.contains(whose));
        for (whose, sample) in samples {
            if self.series.len() < SERIES || self.series.contains_key(&whose) {
                self.series.entry(whose).or_default().note(sample);
            }
        }
    }

    /// What is remembered of one; `None` if nothing is.
    pub(super) fn of(&self, whose: &Whose) -> Option<History> {
        let series = self.series.get(whose)?;
        let all =
            |pick: fn(&Point) -> Known| series.points.iter().map(|p| pick(p).read()).collect();
        let end = |minute: i64| Timestamp::from_millis(minute.saturating_mul(MINUTE_MS));
        Some(History {
            end: self.minute.map(end),
            events: all(|point| point.events),
            lag_s: all(|point| point.lag_s),
            backlog: all(|point| point.backlog),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{IntegrationId, OutputId, StreamId};
    use crate::status::Status;

    const NOON: Timestamp = Timestamp::from_millis(1_767_700_800_000);

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn status(integrations: u64) -> Status {
        let status = Status::new(Path::new("/x"), NOON);
        for n in 0..integrations {
            set(&status, n, 0);
        }
        status.output(&OutputId::new("splunk").unwrap(), |_| {});
        status
    }

    fn set(status: &Status, n: u64, events: u64) {
        let id = IntegrationId::new(&format!("i{n}")).unwrap();
        status.stream(&StreamId::new(&id, "audit", ""), |stream| {
            stream.events = events;
            stream.last_success = Some(NOON);
        });
    }

    fn note(status: &Status, minute: u64) {
        status.remember(&status.report(NOON + minutes(minute)));
    }

    #[test]
    fn a_minute_has_its_own_events_and_a_gap_is_no_zero() {
        let status = status(2);
        note(&status, 0);
        set(&status, 0, 10);
        set(&status, 1, 5);
        note(&status, 1);
        note(&status, 1);
        set(&status, 0, 13);
        note(&status, 4);
        let history = status.history(&Whose::All).unwrap();
        assert_eq!(history.end, Some(NOON + minutes(4)));
        assert_eq!(history.events, [None, Some(15), None, None, Some(3)]);
        assert_eq!(history.lag_s, [Some(0), Some(60), None, None, Some(240)]);
        let one = status.history(&Whose::Integration("i1".to_owned()));
        assert_eq!(one.unwrap().events, [None, Some(5), None, None, Some(0)]);
        assert_eq!(status.history(&Whose::Integration("x".to_owned())), None);
    }

    #[test]
    fn a_day_is_kept_and_no_more_of_a_thousand_integrations_and_not_of_ten_thousand() {
        let status = status(3);
        for minute in 0..3_000 {
            note(&status, minute);
        }
        let history = status.history(&Whose::All).unwrap();
        assert_eq!(history.events.len(), MINUTES);
        let status = self::status(3_000);
        note(&status, 0);
        assert_eq!(status.board().history.series.len(), SERIES);
        assert!(status.history(&Whose::All).is_some());
        assert!(
            status
                .history(&Whose::Output("splunk".to_owned()))
                .is_some()
        );
        assert!(std::mem::size_of::<Point>() * MINUTES * SERIES < 20 << 20);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let status = status(2);
        note(&status, 0);
        status.remove_integration(&IntegrationId::new("i1").unwrap());
        note(&status, 1);
        assert_eq!(status.history(&Whose::Integration("i1".to_owned())), None);
    }
}
