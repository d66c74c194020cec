//! API 2.0, `/siem/v1/events/…`: pages of the events themselves, of the last 24 hours.
//!
//! One step is one page. The cursor is `{"stream":1,"next":"…"}`, or `{"stream":1,"since":1767690487000}` while there is no token.
//! A page can repeat events of the page before, so that page's multiset is the stream's memo.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::overlap::{Listing, Overlap};
use super::{blocking, files, foreign_cursor, is_object, token_refused};
use crate::mimecast::client::{Ask, Client, refuse, unreadable};
use crate::mimecast::decode::Raw;
use crate::mimecast::decode::recorder::{self, Recorder};
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Cursor, Form, Sink, SinkError, Timestamp};

/// Bytes of a page: a hundred events, and room for long ones.
const MAX_PAGE: usize = 64 << 20;
const VERSION: u32 = 1;
/// A range that begins as long ago as Mimecast keeps events may be refused by the time it arrives.
const MARGIN: Duration = Duration::from_secs(300);

/// Where a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
struct Place {
    stream: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Milliseconds of Unix time, while there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
}

impl Place {
    fn starting(start: Timestamp) -> Self {
        Self {
            stream: VERSION,
            next: None,
            since: Some(start.as_millis()),
        }
    }

    fn read(cursor: &Cursor) -> Result<Self, String> {
        let place: Self = serde_json::from_str(cursor.as_str()).map_err(|e| e.to_string())?;
        match place.stream {
            VERSION => Ok(place),
            other => Err(format!("its version is {other}")),
        }
    }

    fn cursor(&self) -> Result<Cursor, SinkError> {
        let text = serde_json::to_string(self).map_err(|e| SinkError::Unfit(e.to_string()))?;
        Cursor::new(text).map_err(|e| SinkError::Unfit(e.to_string()))
    }

    /// The request for the page here.
    fn query(&self, job: &Job, now: Timestamp) -> Vec<(&'static str, String)> {
        let mut query = vec![
            ("types", job.stream.event_type.to_string()),
            ("pageSize", job.log.page_size.to_string()),
        ];
        match &self.next {
            Some(token) => query.push(("nextPage", token.clone())),
            None => {
                let oldest = now - job.log.look_back + MARGIN;
                let since = self.since.map_or(oldest, Timestamp::from_millis);
                query.push(("dateRangeStartsAt", since.max(oldest).to_string()));
            }
        }
        query
    }
}

/// Whether a token says that nothing was read of any partition: one that is asked with brings nothing for ever.
fn is_all_zero(token: &str) -> bool {
    let padded = format!("{token:=<width$}", width = token.len().next_multiple_of(4));
    let Ok(bytes) = STANDARD.decode(padded) else {
        return false;
    };
    let text = crate::model::text(&bytes);
    let inside = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    inside.is_some_and(|(offsets, _)| {
        let mut offsets = offsets.split(',');
        offsets.all(|offset| offset.trim_end().ends_with("=0-0"))
    })
}

/// A page of events as they are written.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default, borrow)]
    value: Option<Vec<&'a RawValue>>,
    #[serde(default, rename = "@nextPage")]
    next: Option<String>,
    #[serde(default, rename = "isCaughtUp")]
    caught_up: Option<bool>,
}

impl<'a> Page<'a> {
    pub(super) fn read(body: &'a str) -> Result<Self, String> {
        if !is_object(body.as_bytes()) {
            return Err("no page of events".to_owned());
        }
        let page: Self = serde_json::from_str(body).map_err(|e| e.to_string())?;
        if page.value.is_none() && page.next.is_none() && page.caught_up.is_none() {
            return Err("no page of events".to_owned());
        }
        Ok(page)
    }

    /// The token to go on with, if it is one.
    pub(super) fn token(&self) -> Option<&str> {
        let next = self.next.as_deref()?;
        (!next.is_empty() && !is_all_zero(next)).then_some(next)
    }
}

/// What a page is stored with.
struct Desk<S> {
    sink: S,
    job: Job,
    now: Timestamp,
    place: Place,
}

/// Why a page was not stored.
enum PageError {
    Unreadable(String),
    Sink(SinkError),
}

impl From<SinkError> for PageError {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl<S: Sink> Desk<S> {
    fn store(&mut self, body: &[u8]) -> Result<Progress, PageError> {
        let body = crate::model::text(body);
        let page = Page::read(&body).map_err(PageError::Unreadable)?;
        let memo = self.sink.memo().filter(|_| self.job.cursor.is_some());
        let before = memo.and_then(|memo| Overlap::decode(&memo));
        let mut listing = before.unwrap_or_default().listing();
        for event in page.value.iter().flatten() {
            self.take(event.get(), &mut listing)?;
        }
        let moved = page
            .token()
            .filter(|token| Some(*token) != self.place.next.as_deref());
        if let Some(token) = moved {
            self.place.next = Some(token.to_owned());
            self.place.since = None;
        }
        // An empty poll writes nothing.
        if moved.is_some() || self.sink.uncommitted() > 0 {
            let memo = listing.page();
            self.sink
                .commit_with(&self.place.cursor()?, memo.as_deref())?;
        }
        Ok(match moved {
            Some(_) if page.caught_up == Some(false) => Progress::More,
            Some(_) | None => Progress::CaughtUp,
        })
    }

    fn take(&mut self, event: &str, listing: &mut Listing) -> Result<(), SinkError> {
        let origin = recorder::Origin {
            stream: &self.job.stream,
            log: self.job.log.row,
            kind: files::kind(&self.job),
            form: Form::Json,
            time: self.now,
        };
        Recorder::new(&mut self.sink, origin).take_new(Raw::new(event.as_bytes()), |id, time| {
            listing.take(id, time).map(|n| id.ordinal(n))
        })
    }
}

/// Takes one step: a page.
pub(in crate::mimecast) async fn fetch<S: Sink, G: Gate>(
    client: &Client,
    job: Job,
    sink: S,
    gate: G,
) -> Result<Progress, FetchError> {
    let place = match &job.cursor {
        Some(cursor) => Place::read(cursor).map_err(|why| foreign_cursor(&job.stream, why))?,
        None => Place::starting(job.start),
    };
    // A span that begins a moment too early is refused, and our clock may be wrong by more than that.
    client.sign_in(&gate).await?;
    let now = client.corrected_wall();
    let query = place.query(&job, now);
    let asked = client.json(&gate, &job.log.path, Ask::Query(&query), MAX_PAGE);
    let (head, body) = match (asked.await, &place.next) {
        (Ok(answer), _) => answer,
        (Err(error), Some(_)) => return Err(token_refused(error, "invalid_cursor")),
        (Err(error), None) => return Err(error),
    };
    let desk = Desk {
        sink,
        job,
        now,
        place,
    };
    let (_, stored) = blocking(desk, move |desk| desk.store(&body)).await;
    stored.map_err(|error| match error {
        PageError::Sink(error) => error.into(),
        PageError::Unreadable(what) => refuse(&gate, unreadable(&head, what)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mimecast::Source as _;
    use crate::mimecast::log_types::{Log, find};
    use crate::mimecast::testing::{NOW, Open, Server, Shared, client, http, job, v2};

    fn streaming() -> Job {
        Job {
            log: Log::streaming(find("siem-cg").unwrap()).unwrap(),
            ..job("siem-cg", "receipt")
        }
    }

    #[test]
    fn a_page_is_asked_for_by_its_token_or_within_the_last_day() {
        let job = streaming();
        let ask = |place: &Place| {
            let query = place.query(&job, NOW);
            let text = |(name, value): &(&str, String)| format!("{name}={value}");
            query.iter().map(text).collect::<Vec<_>>().join("&")
        };
        let mut place = Place::starting(NOW - Duration::from_secs(3 * 86_400));
        assert_eq!(
            ask(&place),
            "types=receipt&pageSize=100&dateRangeStartsAt=2026-01-05T09:13:07.000Z"
        );
        place.next = Some("W3I9".to_owned());
        assert_eq!(ask(&place), "types=receipt&pageSize=100&nextPage=W3I9");
    }

    #[test]
    fn a_stored_all_zero_cursor_is_what_stops_a_stream_for_good_so_it_is_told() {
        for (text, expected) in [
            ("[attachment_protect=0-0, av=0-0]:1:null", true),
            ("[receipt=0-0]:1:null", true),
            ("[receipt=0-12]:1:null", false),
            ("[av=0-0, receipt=0-10]:1:null", false),
            ("46:null", false),
        ] {
            let token = STANDARD.encode(text);
            assert_eq!(is_all_zero(&token), expected, "{text}");
            assert_eq!(is_all_zero(token.trim_end_matches('=')), expected, "{text}");
        }
        assert!(!is_all_zero("no base64 at all!"));
    }

    #[test]
    fn a_cursor_of_the_other_mode_is_told() {
        for text in [r#"{"v":1,"token":"one"}"#, r#"{"stream":2}"#, ""] {
            assert!(Place::read(&Cursor::new(text.to_owned()).unwrap()).is_err());
        }
        let place = Place::starting(NOW);
        assert_eq!(Place::read(&place.cursor().unwrap()).unwrap(), place);
        assert!(super::super::place::Place::read(&place.cursor().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn no_page_and_no_token_makes_reading_panic(body in "[\\[\\]{}:,\"@a-z0-9 ]{0,80}", token in ".{0,40}") {
            drop(Page::read(&body));
            is_all_zero(&token);
        }
    }

    #[tokio::test]
    async fn events_repeated_by_the_next_page_arrive_once_and_equal_ones_as_often_as_they_are_there()
     {
        let zero = STANDARD.encode("[receipt=0-0]:1:null");
        let server = Server::start(move |_, request| {
            let path = request.split(' ').nth(1).unwrap();
            let page = |events: &str, next: &str, caught_up: bool| {
                let body = format!(
                    r#"{{"value":[{events}],"@nextPage":"{next}","isCaughtUp":{caught_up}}}"#
                );
                http(200, "", body)
            };
            let a = r#"{"eventType":"receipt","timestamp":1}"#;
            let b = r#"{"eventType":"receipt","timestamp":2}"#;
            match path {
                "/oauth/token" => http(200, "", r#"{"access_token":"tok","expires_in":1799}"#),
                _ if path.contains("nextPage=one") => page(&format!("{a},{b}"), &zero, true),
                _ => page(&format!("{a},{a}"), "one", false),
            }
        })
        .await;
        let sink = Shared::default();
        let client = client(&server.url, v2());
        let mut job = streaming();
        for (progress, bodies) in [
            (Progress::More, 2),
            (Progress::CaughtUp, 3),
            (Progress::CaughtUp, 3),
        ] {
            let result = client
                .fetch(job.clone(), sink.clone(), Open::default())
                .await;
            assert_eq!(result.unwrap(), progress);
            assert_eq!(sink.bodies().len(), bodies, "{:?}", sink.bodies());
            assert_eq!(
                sink.cursor().unwrap().as_str(),
                r#"{"stream":1,"next":"one"}"#
            );
            job.cursor = sink.cursor();
        }
        let memory = sink.0.lock().unwrap();
        assert_ne!(memory.pushed[0].id, memory.pushed[1].id);
    }
}
