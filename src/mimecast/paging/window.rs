//! Logs that are listed by time, in slices; within a slice in pages, newest first.
//!
//! One step is one slice with all its pages, committed at once: newest first, a page alone would leave a hole
//! behind it. The cursor, `{"v":1,"to":1767690487}`, is the end of the last slice by the server's clock, and the
//! next slice begins one overlap earlier; which of the records listed again are new, [`super::overlap`] tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::envelope::{self, Listing};
use super::feed::Feed;
use super::overlap::{self, Overlap};
use super::{blocking, files, foreign_cursor};
use crate::mimecast::client::Client;
use crate::mimecast::decode::Raw;
use crate::mimecast::decode::recorder::{self, Recorder};
use crate::mimecast::log_types::Paging;
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Cursor, Form, Sink, SinkError, Timestamp};

const VERSION: u32 = 1;

/// Pages of a slice after which a shorter one is asked for: a step should not last for hours, nor hold back what it found.
const MAX_PAGES: u32 = 50;
/// A slice that is not made shorter.
const SHORTEST: Duration = Duration::from_secs(60);

/// A span of time to ask for, both ends included, in whole seconds as requests have them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    from: Timestamp,
    to: Timestamp,
    /// Where the stream stands: it never goes back behind this.
    base: Timestamp,
    /// Whether the slice ends now.
    progress: Progress,
}

impl Slice {
    /// The slice after the one that ended at `end`.
    fn next(job: &Job, end: Option<Timestamp>, now: Timestamp) -> Self {
        let oldest = now - job.log.look_back;
        let base = seconds(end.unwrap_or(job.start)).max(seconds(oldest));
        let overlap = end.map_or(Duration::ZERO, |_| job.log.row.overlap);
        let longest = base + job.slice.max(Duration::from_secs(1));
        // What happens in the last second of a span is asked for with the next one.
        let until = job
            .until
            .map(|until| seconds(until + Duration::from_millis(999)));
        let now = seconds(until.map_or(now, |until| until.min(now)));
        Self {
            from: seconds(base - overlap),
            // If our clock is behind, what was listed is listed again: the answer tells the time.
            to: longest.min(now).max(base),
            base,
            progress: if longest < now {
                Progress::More
            } else {
                Progress::CaughtUp
            },
        }
    }

    /// Where the stream stands when the slice is stored, if its first answer came at this time of the server:
    /// nothing later than that can have been listed, whatever our clock says.
    fn end(&self, answered: Option<Timestamp>) -> Timestamp {
        let end = answered.map_or(self.to, |answered| answered.min(self.to));
        seconds(end).max(self.base)
    }
}

/// The time without the part of its second.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_euclid(1000) * 1000)
}

#[derive(Deserialize, Serialize)]
struct Wire {
    v: u32,
    to: i64,
}

fn read_cursor(cursor: &Cursor) -> Result<Timestamp, String> {
    let wire: Wire = serde_json::from_str(cursor.as_str()).map_err(|e| e.to_string())?;
    if wire.v != VERSION {
        return Err(format!("its version is {}", wire.v));
    }
    Ok(Timestamp::from_millis(wire.to.saturating_mul(1000)))
}

fn write_cursor(end: Timestamp) -> Result<Cursor, SinkError> {
    let wire = Wire {
        v: VERSION,
        to: end.as_millis().div_euclid(1000),
    };
    let text = serde_json::to_string(&wire).map_err(|e| SinkError::Unfit(e.to_string()))?;
    Cursor::new(text).map_err(|e| SinkError::Unfit(e.to_string()))
}

/// What a slice is stored with, moved to blocking threads and back.
struct Desk<S> {
    sink: S,
    job: Job,
    /// The time of a record that has none.
    now: Timestamp,
    listing: overlap::Listing,
}

impl<S: Sink> Desk<S> {
    /// Pushes a record if it is new.
    fn take(&mut self, record: &str) -> Result<(), SinkError> {
        let origin = recorder::Origin {
            stream: &self.job.stream,
            log: self.job.log.row,
            kind: files::kind(&self.job),
            form: Form::Json,
            time: self.now,
        };
        let record = Raw::new(record.as_bytes());
        Recorder::new(&mut self.sink, origin).take_new(record, |id, time| {
            self.listing.take(id, time).map(|n| id.ordinal(n))
        })
    }

    fn commit(&mut self, end: Timestamp) -> Result<(), SinkError> {
        let memo = self.listing.memo(end - self.job.log.row.overlap);
        self.sink.commit_with(&write_cursor(end)?, memo.as_deref())
    }
}

/// Takes one step: a slice with all its pages.
pub(in crate::mimecast) async fn fetch<S: Sink, G: Gate>(
    client: &Client,
    job: Job,
    sink: S,
    gate: G,
) -> Result<Progress, FetchError> {
    let end = job.cursor.as_ref().map(read_cursor).transpose();
    let end = end.map_err(|why| foreign_cursor(&job.stream, why))?;
    let now = client.corrected_wall();
    let slice = Slice::next(&job, end, now);
    let (log, stream) = (job.log.clone(), job.stream.clone());
    let is_shortest = job.slice <= SHORTEST;
    // Without a cursor the stream begins anew, and what it once stored is forgotten.
    let remembers = end.is_some();
    let (sink, stored) = blocking(sink, move |sink| {
        let memo = sink.memo().filter(|_| remembers)?;
        let stored = Overlap::decode(&memo);
        if stored.is_none() {
            tracing::warn!(%stream, "unreadable memo: the records of one overlap are sent again");
        }
        stored
    })
    .await;
    let desk = Desk {
        sink,
        job,
        now,
        listing: stored.unwrap_or_default().listing(),
    };
    let span = (slice.from, slice.to);
    let max_pages = (!is_shortest).then_some(MAX_PAGES);
    let (desk, read) = if let Paging::Feed { feed, format } = log.paging {
        let feed = Feed {
            path: &log.path,
            name: feed,
            format,
            span,
            max_pages,
        };
        feed.read(client, &gate, desk, Desk::take).await?
    } else {
        let envelope = log.paging.envelope();
        let listing = Listing {
            path: &log.path,
            envelope,
            ask: envelope::members(envelope, span),
            page_size: log.page_size,
            max_pages,
        };
        listing.read(client, &gate, desk, Desk::take).await?
    };
    if !read.whole {
        return Ok(Progress::Halve);
    }
    let end = slice.end(read.answered);
    let (_, result) = blocking(desk, move |desk| desk.commit(end)).await;
    result?;
    Ok(slice.progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::Source as _;
    use crate::mimecast::testing::{NOW, Open, Server, Shared, client, http, job, v1};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn span(slice: &Slice) -> (String, String, Progress) {
        let date = envelope::date;
        (date(slice.from), date(slice.to), slice.progress)
    }

    #[test]
    fn a_span_that_ends_is_asked_for_up_to_its_end() {
        let mut job = job("audit", "");
        job.start = at("2026-01-04T00:00:00Z");
        job.until = Some(at("2026-01-05T12:00:00.001Z"));
        let first = Slice::next(&job, None, NOW);
        assert_eq!(first.progress, Progress::More);
        let last = Slice::next(&job, Some(first.to), NOW);
        assert_eq!(
            (last.to, last.progress),
            (at("2026-01-05T12:00:01Z"), Progress::CaughtUp)
        );
    }

    #[test]
    fn slices_follow_each_other_with_an_overlap_until_now() {
        let job = job("audit", "");
        let first = Slice::next(&job, None, NOW);
        assert_eq!(
            span(&first),
            (
                "2026-01-03T09:08:07+0000".into(),
                "2026-01-04T09:08:07+0000".into(),
                Progress::More
            )
        );
        let second = Slice::next(&job, Some(first.to), NOW);
        assert_eq!(second.from, first.to - job.log.row.overlap);
        let last = Slice::next(&job, Some(at("2026-01-06T09:00:00Z")), NOW);
        assert_eq!(
            span(&last),
            (
                "2026-01-06T08:45:00+0000".into(),
                "2026-01-06T09:08:07+0000".into(),
                Progress::CaughtUp
            )
        );
        // What the vendor does not keep is not asked for.
        let stale = Slice::next(&job, Some(at("2025-01-01T00:00:00Z")), NOW);
        assert_eq!(stale.base, seconds(NOW - job.log.look_back));
    }

    #[test]
    fn a_slice_ends_by_the_servers_clock_and_never_goes_back() {
        let job = job("audit", "");
        let slice = Slice::next(&job, Some(at("2026-01-06T09:00:00Z")), NOW);
        let server = at("2026-01-06T09:05:00Z");
        assert_eq!(slice.end(Some(server)), server);
        assert_eq!(slice.end(Some(NOW + Duration::from_secs(60))), slice.to);
        assert_eq!(slice.end(Some(at("2026-01-06T08:00:00Z"))), slice.base);
        assert_eq!(slice.end(None), slice.to);
        // A clock far behind: the request goes out all the same, for its answer tells the time.
        let behind = Slice::next(&job, Some(NOW + Duration::from_secs(7200)), NOW);
        assert_eq!(
            (behind.to, behind.progress),
            (behind.base, Progress::CaughtUp)
        );
    }

    #[test]
    fn the_request_is_in_the_vendors_form() {
        let job = job("rejections", "");
        let slice = Slice::next(&job, None, NOW);
        let Paging::Window(envelope) = job.log.paging else {
            panic!("not listed by time");
        };
        let listing = Listing {
            path: &job.log.path,
            envelope,
            ask: envelope::members(envelope, (slice.from, slice.to)),
            page_size: 500,
            max_pages: None,
        };
        assert_eq!(
            listing.request(Some("eNo\"")),
            r#"{"data":[{"admin":true,"end":"2026-01-04T09:08:07+0000","start":"2026-01-03T09:08:07+0000"}],"meta":{"pagination":{"pageSize":500,"pageToken":"eNo\""}}}"#
        );
    }

    /// Two pages, the second of which grows by a late record once the slice is asked for again.
    fn vendor(_: &str, request: &str) -> Vec<u8> {
        let event = |id: u32, time: &str| {
            format!(r#"{{"id":"{id}","eventTime":"2026-01-06T{time}+0000"}}"#)
        };
        let (page, next) = if request.contains(r#""pageToken":"p2""#) {
            let again = request.contains("T08:");
            let late = if again {
                event(9, "08:59:59") + ","
            } else {
                String::new()
            };
            (late + &event(1, "08:59:00"), "")
        } else {
            (event(2, "09:07:00"), r#","pagination":{"next":"p2"}"#)
        };
        http(
            200,
            "",
            format!(r#"{{"meta":{{"status":200{next}}},"data":[{page}],"fail":[]}}"#),
        )
    }

    #[tokio::test]
    async fn a_slice_is_committed_once_and_its_overlap_brings_only_what_is_new() {
        let server = Server::start(vendor).await;
        let sink = Shared::default();
        let client = client(&server.url, v1());
        let mut job = job("audit", "");
        job.slice = Duration::from_secs(30 * 86_400);
        for (bodies, commits) in [(2, 1), (3, 2)] {
            let result = client
                .fetch(job.clone(), sink.clone(), Open::default())
                .await;
            assert_eq!(result.unwrap(), Progress::CaughtUp);
            assert_eq!(sink.bodies().len(), bodies, "{:?}", sink.bodies());
            assert_eq!(sink.0.lock().unwrap().commits.len(), commits);
            assert_eq!(
                sink.cursor().unwrap().as_str(),
                r#"{"v":1,"to":1767690487}"#
            );
            job.cursor = sink.cursor();
        }
        assert!(sink.bodies()[2].contains(r#""id":"9""#));
        assert_eq!(sink.0.lock().unwrap().pushed[0].kind, "audit");
    }

    #[tokio::test]
    async fn a_slice_that_is_cut_short_commits_nothing() {
        let server = Server::start(|base, request| {
            if request.contains("pageToken") {
                return http(429, "X-RateLimit-Reset: 47210\r\n", "busy");
            }
            vendor(base, request)
        })
        .await;
        let sink = Shared::default();
        let gate = Open::default();
        let client = client(&server.url, v1());
        let result = client
            .fetch(job("audit", ""), sink.clone(), gate.clone())
            .await;
        let FetchError::Failed(failure) = result.unwrap_err() else {
            panic!("no failure");
        };
        assert_eq!(failure.retry_after, Some(Duration::from_millis(47_210)));
        assert_eq!(*gate.0.lock().unwrap(), ["429"]);
        assert_eq!(sink.cursor(), None);
    }
}
