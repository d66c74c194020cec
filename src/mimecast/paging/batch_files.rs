//! API 2.0, `/siem/v1/batch/events/…`: pages of signed links to gzip files of NDJSON.
//!
//! One step is one page with all its files. A page can list a file twice, and its links expire; the token of the
//! next page comes also when there is nothing more for now.

use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::files::{self, Body, Desk, ReadError};
use super::place::{FileKey, Place};
use super::{blocking, foreign_cursor, is_object, token_refused};
use crate::health::{Failure, Origin};
use crate::mimecast::client::{Answer, Ask, Client, refuse, unreadable};
use crate::mimecast::decode::BUFFER;
use crate::mimecast::decode::copied::Kept;
use crate::mimecast::decode::gzip::Inflated;
use crate::mimecast::decode::lines::{Ends, Lines};
use crate::mimecast::decode::recorder;
use crate::mimecast::link::Link;
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Form, Sink, Timestamp};

/// Bytes of a page: a hundred links of a few kilobytes each, and room.
const MAX_PAGE: usize = 8 << 20;

/// From an event to the file that has it, and room: for the last day of a span that ends.
const LISTED_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// A page of links.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) files: Vec<Listed>,
    pub(super) next: Option<String>,
    caught_up: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) key: FileKey,
    pub(super) link: Arc<Link>,
    /// Compressed bytes.
    size: Option<u64>,
}

/// Where a stream that has no cursor begins: on the day of the start.
fn start(job: &Job) -> Place {
    Place::starting(Some(day(job.start)))
}

fn day(time: Timestamp) -> String {
    time.calendar().strftime("%Y-%m-%d").to_string()
}

/// The request for the page at a place.
fn query(job: &Job, place: &Place, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("type", job.stream.event_type.to_string()),
        ("pageSize", job.log.page_size.to_string()),
    ];
    // A token makes the range superfluous, and a range that is too old is an error.
    match place.token() {
        Some(token) => query.push(("nextPage", token.to_owned())),
        None => {
            let oldest = day(now - job.log.look_back);
            let since = place.since().unwrap_or(&oldest);
            query.push(("dateRangeStartsAt", since.max(&oldest).to_owned()));
            if let Some(until) = job.until {
                let end = day((until + LISTED_WITHIN).min(now).max(job.start));
                query.push(("dateRangeEndsAt", end.max(since.max(&oldest).to_owned())));
            }
        }
    }
    query
}

impl Page {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            value: Option<Vec<File>>,
            #[serde(default, rename = "@nextPage")]
            next: Option<String>,
            #[serde(default, rename = "isCaughtUp")]
            caught_up: Option<bool>,
        }

        #[derive(Deserialize)]
        struct File {
            url: String,
            #[serde(default)]
            size: serde_json::Value,
        }

        if !is_object(body) {
            return Err("no page of links".to_owned());
        }
        // The body holds signed links, so the error tells the place and no more.
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|e| format!("no page of links at column {}", e.column()))?;
        if wire.value.is_none() && wire.next.is_none() && wire.caught_up.is_none() {
            return Err("no page of links".to_owned());
        }
        let listed = |file: File| {
            let link = Link::parse(&file.url).ok_or("a link that is no URL")?;
            let size = file.size.as_u64();
            Ok(Listed {
                key: FileKey::new(link.path(), size),
                size,
                link: Arc::new(link),
            })
        };
        let files = wire.value.unwrap_or_default().into_iter().map(listed);
        Ok(Self {
            files: files.collect::<Result<_, &str>>()?,
            next: wire.next.filter(|next| !next.is_empty()),
            caught_up: wire.caught_up.unwrap_or(false),
        })
    }

    pub(super) fn link(&self, key: FileKey) -> Option<&Arc<Link>> {
        let listed = self.files.iter().find(|listed| listed.key == key)?;
        Some(&listed.link)
    }
}

/// Takes one step: a page with all its files.
pub(in crate::mimecast) async fn fetch<S: Sink, G: Gate>(
    client: &Client,
    job: Job,
    sink: S,
    gate: G,
) -> Result<Progress, FetchError> {
    let place = match &job.cursor {
        Some(cursor) => Place::read(cursor).map_err(|why| foreign_cursor(&job.stream, why))?,
        None => start(&job),
    };
    let page = list(client, &gate, &job, &place).await?;
    let mut links = Links {
        client,
        gate: &gate,
        fresh: None,
    };
    let mut desk = Desk::new(client, job, place, sink);
    desk.list(page.files.iter().map(|listed| listed.key));
    for listed in &page.files {
        if desk.place.is_done(listed.key) {
            continue;
        }
        desk.place.begin(listed.key);
        let (back, result) = Box::pin(read(&mut links, listed, desk)).await;
        desk = back;
        if let Err(error) = result {
            let lost = match error {
                ReadError::Fetch(error) => return Err(error),
                ReadError::Lost(failure, kept) => (failure, kept),
            };
            let (name, size) = (listed.link.path().to_owned(), listed.size);
            let gate = gate.clone();
            let (back, result) =
                blocking(desk, move |desk| desk.lost(&gate, (&name, size), lost)).await;
            result?;
            desk = back;
        }
    }
    let Page {
        next, caught_up, ..
    } = page;
    let (_, moved) = blocking(desk, |desk| desk.turn(next)).await;
    Ok(files::progress(moved?, caught_up))
}

async fn list<G: Gate>(
    client: &Client,
    gate: &G,
    job: &Job,
    place: &Place,
) -> Result<Page, FetchError> {
    let query = query(job, place, client.corrected_wall());
    let ask = Ask::Query(&query);
    let asked = client.json(gate, &job.log.path, ask, MAX_PAGE).await;
    let (head, body) = match (asked, place.token()) {
        (Ok(answer), _) => answer,
        (Err(error), Some(_)) => return Err(token_refused(error, "invalid_cursor")),
        (Err(error), None) => return Err(error),
    };
    Page::read(&body).map_err(|what| refuse(gate, unreadable(&head, what)))
}

/// Reads a file from its link into the store.
async fn read<S: Sink, G: Gate>(
    links: &mut Links<'_, G>,
    listed: &Listed,
    desk: Desk<S>,
) -> (Desk<S>, Result<(), ReadError>) {
    let slot = match links.client.limits().decoder().await {
        Ok(slot) => slot,
        Err(error) => return (desk, Err(ReadError::Fetch(error))),
    };
    let answer = match links.open(listed, &desk.job, &desk.place).await {
        Ok(answer) => answer,
        Err(error) => return (desk, Err(error)),
    };
    let name = listed.link.path().to_owned();
    let now = links.client.clock().wall();
    let keeps_in = desk.keeps_in(links.client);
    let work = move |body: &mut Body, desk: &mut Desk<S>| {
        let job = desk.job.clone();
        let origin = recorder::Origin {
            stream: &job.stream,
            log: job.log.row,
            kind: files::kind(&job),
            form: Form::Json,
            time: files::time_of_name(files::base_name(&name)).unwrap_or(now),
        };
        let mut input = BufReader::with_capacity(BUFFER, Inflated::new(body)?);
        files::first_byte(&mut input)?;
        desk.store(Lines::new(input, Ends::LineFeed), origin)
    };
    let slot = (slot, keeps_in);
    files::decode(links.gate, answer, Bytes::new(), slot, desk, work).await
}

/// Opens links, and once a step lists the page again for fresh ones.
struct Links<'a, G> {
    client: &'a Client,
    gate: &'a G,
    fresh: Option<Page>,
}

impl<G: Gate> Links<'_, G> {
    async fn open(
        &mut self,
        listed: &Listed,
        job: &Job,
        place: &Place,
    ) -> Result<Answer<G::Permit>, ReadError> {
        let relisted = self.fresh.as_ref().and_then(|page| page.link(listed.key));
        let link = Arc::clone(relisted.unwrap_or(&listed.link));
        let failure = match self.client.object(self.gate, &link).await {
            Ok(answer) => return Ok(answer),
            Err(FetchError::Failed(failure)) => *failure,
            Err(error) => return Err(ReadError::Fetch(error)),
        };
        if self.fresh.is_some() || !may_have_expired(&failure) {
            return Err(self.refused(failure));
        }
        let page = list(self.client, self.gate, job, place)
            .await
            .map_err(ReadError::Fetch)?;
        let page = self.fresh.insert(page);
        let Some(link) = page.link(listed.key).map(Arc::clone) else {
            return Err(self.refused(failure));
        };
        match self.client.object(self.gate, &link).await {
            Ok(answer) => Ok(answer),
            Err(FetchError::Failed(failure)) => Err(self.refused(*failure)),
            Err(error) => Err(ReadError::Fetch(error)),
        }
    }

    /// An object that is not there is lost at last. A refusal is not: it may be a firewall's.
    fn refused(&self, failure: Failure) -> ReadError {
        match (failure.origin, failure.status) {
            (Origin::ObjectStore, 404 | 410) => ReadError::Lost(failure, Kept::Nothing),
            _ => ReadError::Fetch(refuse(self.gate, failure)),
        }
    }
}

fn may_have_expired(failure: &Failure) -> bool {
    failure.origin == Origin::ObjectStore && matches!(failure.status, 403 | 404 | 410)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::mimecast::Source as _;
    use crate::mimecast::testing::{NOW, Open, Server, Shared, client, http, job, v2};
    use crate::model::Cursor;

    fn gzip(text: &str) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_page_is_asked_for_by_its_token_or_by_the_first_day() {
        let mut job = job("siem-cg", "url protect");
        let ask = |job: &Job, place: &Place| {
            let query = query(job, place, NOW);
            let text = |(name, value): &(&str, String)| format!("{name}={value}");
            query.iter().map(text).collect::<Vec<_>>().join("&")
        };
        let mut place = start(&job);
        assert_eq!(
            ask(&job, &place),
            "type=url protect&pageSize=100&dateRangeStartsAt=2026-01-03"
        );
        // What the vendor has not kept it must not be asked for.
        job.start = NOW - std::time::Duration::from_secs(30 * 86_400);
        let old = start(&job);
        assert!(ask(&job, &old).ends_with("dateRangeStartsAt=2025-12-30"));
        place.turn(Some("MTp0+/=".to_owned()));
        assert_eq!(
            ask(&job, &place),
            "type=url protect&pageSize=100&nextPage=MTp0+/="
        );
    }

    #[test]
    fn a_page_is_read_leniently_but_no_link_is_passed_over() {
        let page = Page::read(
            br#"{"value":[{"url":"https://b/x/1.gz?sig=s","expiry":"2026-01-06T11:50:06.389Z","size":489},{"url":"https://b/x/2.gz"}],"@nextPage":"NDc6","isCaughtUp":false}"#,
        );
        let page = page.unwrap();
        assert_eq!(page.files.len(), 2);
        assert_eq!(page.files[0].key, FileKey::new("/x/1.gz", Some(489)));
        assert!(!format!("{page:?}").contains("sig="));
        assert_eq!(
            (page.next.as_deref(), page.caught_up),
            (Some("NDc6"), false)
        );
        for empty in [
            r#"{"value":[],"isCaughtUp":true}"#,
            r#"{"value":null,"@nextPage":"","isCaughtUp":true}"#,
        ] {
            let page = Page::read(empty.as_bytes()).unwrap();
            assert!(page.files.is_empty() && page.next.is_none() && page.caught_up);
        }
        for bad in [
            r#"[[],"t",true]"#,
            "",
            "[]",
            "{}",
            r#"{"value":[{}]}"#,
            r#"{"value":[{"url":"x"}]}"#,
        ] {
            assert!(Page::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// A vendor with one page of two files, one of them listed twice, and an empty page after it.
    fn vendor(base: &str, request: &str) -> Vec<u8> {
        let path = request.split(' ').nth(1).unwrap();
        if path == "/oauth/token" {
            return http(200, "", r#"{"access_token":"tok","expires_in":"1799"}"#);
        }
        if path.starts_with("/siem/") {
            assert!(
                request.contains("authorization: Bearer tok\r\n"),
                "{request}"
            );
            return if path.contains("nextPage=one") {
                http(
                    200,
                    "",
                    r#"{"value":[],"@nextPage":"one","isCaughtUp":true}"#,
                )
            } else {
                let file = |name| format!(r#"{{"url":"{base}/{name}.gz?sig=s","size":1}}"#);
                let (a, b) = (file("a"), file("b"));
                let page =
                    format!(r#"{{"value":[{a},{b},{a}],"@nextPage":"one","isCaughtUp":false}}"#);
                http(200, "", page)
            };
        }
        assert!(
            !request.to_lowercase().contains("authorization"),
            "{request}"
        );
        let lines = match path {
            "/a.gz?sig=s" => "{\"timestamp\":1,\"n\":1}\n{\"timestamp\":2,\"n\":2}\n",
            _ => "{\"timestamp\":3,\"n\":3}\nnot json\n",
        };
        http(200, "", gzip(lines))
    }

    async fn step(
        server: &Server,
        sink: &Shared,
        cursor: Option<Cursor>,
    ) -> (Result<Progress, FetchError>, Vec<String>) {
        let gate = Open::default();
        let mut job = job("siem-cg", "receipt");
        job.cursor = cursor;
        let client = client(&server.url, v2());
        let result = client.fetch(job, sink.clone(), gate.clone()).await;
        let failures = gate.0.lock().unwrap().clone();
        (result, failures)
    }

    #[tokio::test]
    async fn a_page_is_read_once_and_the_next_one_is_empty() {
        let server = Server::start(vendor).await;
        let sink = Shared::default();
        let (result, _) = step(&server, &sink, None).await;
        assert_eq!(result.unwrap(), Progress::More);
        assert_eq!(sink.bodies().len(), 3, "{:?}", sink.bodies());
        assert_eq!(sink.0.lock().unwrap().pushed[0].kind, "receipt");
        assert_eq!(sink.0.lock().unwrap().quarantined.len(), 1);
        assert_eq!(sink.cursor().unwrap().as_str(), r#"{"v":1,"token":"one"}"#);
        let commits = sink.0.lock().unwrap().commits.len();
        let (result, _) = step(&server, &sink, sink.cursor()).await;
        assert_eq!(result.unwrap(), Progress::CaughtUp);
        assert_eq!(
            sink.0.lock().unwrap().commits.len(),
            commits,
            "an empty poll writes"
        );
    }

    #[tokio::test]
    async fn a_step_that_was_cut_short_goes_on_where_it_was() {
        let server = Server::start(vendor).await;
        let sink = Shared::default();
        let mut place = start(&job("siem-cg", "receipt"));
        place.begin(FileKey::new("/b.gz", Some(1)));
        place.finish();
        place.begin(FileKey::new("/a.gz", Some(1)));
        place.reach(1);
        let (result, _) = step(&server, &sink, Some(place.cursor().unwrap())).await;
        result.unwrap();
        assert_eq!(sink.bodies(), [r#"{"timestamp":2,"n":2}"#]);
    }

    #[tokio::test]
    async fn an_expired_link_is_listed_again_once() {
        let server = Server::start(|base, request| {
            if request.contains("sig=s ") {
                return http(403, "", "<Error><Code>AccessDenied</Code></Error>");
            }
            let listed = vendor(base, &request.replace("sig=t", "sig=s"));
            String::from_utf8(listed.clone()).map_or(listed, String::into_bytes)
        })
        .await;
        let sink = Shared::default();
        let (result, failures) = step(&server, &sink, None).await;
        let FetchError::Failed(failure) = result.unwrap_err() else {
            panic!("no failure");
        };
        assert_eq!(
            (failure.key().as_str(), failure.origin),
            ("403", Origin::ObjectStore)
        );
        assert_eq!(failures, ["403"]);
        assert!(!failure.to_string().contains("sig="));
        let mut lists = server.asked();
        lists.retain(|line| line.contains("/siem/"));
        assert_eq!(lists.len(), 2);
        assert_eq!(lists[0], lists[1], "listed again from another place");
    }

    #[tokio::test]
    async fn an_expired_link_is_listed_again_with_the_same_token() {
        let lists = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(move |base, request| {
            if request.contains("/siem/") {
                let n = lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let file = format!(r#"{{"url":"{base}/a.gz?n={n}"}}"#);
                let page = format!(r#"{{"value":[{file}],"@nextPage":"next","isCaughtUp":true}}"#);
                return http(200, "", page);
            }
            match request.split(' ').nth(1).unwrap() {
                "/oauth/token" => vendor(base, request),
                "/a.gz?n=0" => http(403, "", ""),
                _ => http(200, "", "{\"plain\":true}"),
            }
        })
        .await;
        let sink = Shared::default();
        let cursor = Cursor::new(r#"{"v":1,"token":"MTp0+/="}"#.to_owned()).unwrap();
        let (result, _) = step(&server, &sink, Some(cursor)).await;
        assert_eq!(result.unwrap(), Progress::CaughtUp);
        assert_eq!(sink.bodies(), [r#"{"plain":true}"#]);
        let mut lists = server.asked();
        lists.retain(|line| line.contains("/siem/"));
        assert_eq!(lists.len(), 2);
        assert!(
            lists
                .iter()
                .all(|line| line.contains("nextPage=MTp0%2B%2F%3D")),
            "{lists:?}"
        );
    }

    #[tokio::test]
    async fn records_that_share_a_mails_ids_and_equal_ones_are_all_delivered() {
        let mail = r#""aggregateId":"J5Jw","processingId":"hP5f","messageId":"<1@example.com>""#;
        let lines = format!(
            "{{{mail},\"action\":\"Acc\"}}\n{{{mail},\"action\":\"Hld\"}}\n{{{mail},\"action\":\"Hld\"}}\n"
        );
        let served = lines.clone();
        let server = Server::start(
            move |base, request| match request.split(' ').nth(1).unwrap() {
                "/a.gz?sig=s" => http(200, "", gzip(&served)),
                "/b.gz?sig=s" => http(200, "", gzip("")),
                _ => vendor(base, request),
            },
        )
        .await;
        let sink = Shared::default();
        step(&server, &sink, None).await.0.unwrap();
        assert_eq!(sink.bodies(), lines.lines().collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_fresh_link_serves_in_place_of_an_expired_one() {
        let lists = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(move |base, request| {
            if request.contains("/siem/") {
                let n = lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let page = format!(r#"{{"value":[{{"url":"{base}/a.gz?n={n}"}}]}}"#);
                return http(200, "", page);
            }
            match request.split(' ').nth(1).unwrap() {
                "/oauth/token" => vendor(base, request),
                "/a.gz?n=0" => http(403, "", ""),
                _ => http(200, "", "{\"plain\":true}"),
            }
        })
        .await;
        let sink = Shared::default();
        let (result, failures) = step(&server, &sink, None).await;
        assert_eq!(result.unwrap(), Progress::CaughtUp);
        assert_eq!(sink.bodies(), [r#"{"plain":true}"#]);
        assert_eq!(failures, [""; 0]);
        // The page may grow, for its token has not come: its file is remembered.
        step(&server, &sink, sink.cursor()).await.0.unwrap();
        assert_eq!(sink.bodies().len(), 1);
    }

    #[tokio::test]
    async fn a_damaged_file_is_tried_again_and_given_up_at_last() {
        let server = Server::start(|base, request| {
            let whole = gzip("{\"n\":1}\n{\"n\":2}\n");
            match request.split(' ').nth(1).unwrap() {
                "/a.gz?sig=s" => http(200, "", &whole[..whole.len() - 4]),
                _ => vendor(base, request),
            }
        })
        .await;
        let sink = Shared::default();
        let mut cursor = None;
        for _ in 1..5 {
            let (result, failures) = step(&server, &sink, cursor).await;
            assert!(result.is_err());
            assert_eq!(failures, ["transport/body"]);
            cursor = sink.cursor();
        }
        assert!(sink.0.lock().unwrap().kept.is_empty());
        let (result, _) = step(&server, &sink, cursor).await;
        assert_eq!(result.unwrap(), Progress::More);
        let quarantined = sink.0.lock().unwrap().quarantined.clone();
        assert!(
            quarantined
                .iter()
                .any(|q| q.contains("5 tries, and is kept as it came")),
            "{quarantined:?}"
        );
        let whole = gzip("{\"n\":1}\n{\"n\":2}\n");
        let kept = sink.0.lock().unwrap().kept.clone();
        assert_eq!(kept, [&whole[..whole.len() - 4]]);
        assert!(
            sink.bodies()
                .contains(&r#"{"timestamp":3,"n":3}"#.to_owned())
        );
    }

    #[tokio::test]
    async fn a_file_that_stays_missing_for_an_hour_is_put_aside_as_a_record_and_the_stream_goes_on()
    {
        let server = Server::start(|base, request| match request.split(' ').nth(1).unwrap() {
            "/a.gz?sig=s" => http(404, "", "<Error><Code>NoSuchKey</Code></Error>"),
            _ => vendor(base, request),
        })
        .await;
        let sink = Shared::default();
        let client = client(&server.url, v2());
        let mut job = job("siem-cg", "receipt");
        // As health waits: 1, 2, 4, 8 and then each 15 minutes.
        for minutes in [1, 2, 4, 8, 15, 15, 15] {
            let result = client
                .fetch(job.clone(), sink.clone(), Open::default())
                .await;
            let FetchError::Failed(failure) = result.unwrap_err() else {
                panic!("no failure");
            };
            assert_eq!((failure.origin, failure.status), (Origin::ObjectStore, 404));
            assert!(sink.0.lock().unwrap().quarantined.is_empty());
            job.cursor = sink.cursor();
            let wait = std::time::Duration::from_mins(minutes);
            client.clock().advance(wait);
        }
        let result = client.fetch(job, sink.clone(), Open::default()).await;
        assert_eq!(result.unwrap(), Progress::More);
        let memory = sink.0.lock().unwrap();
        let missing = memory.quarantined.iter().filter(|q| q.contains("8 tries"));
        assert_eq!(missing.count(), 1, "{:?}", memory.quarantined);
        let named = r#"{"file":"/a.gz","size":1,"token":null}"#;
        assert!(
            memory.aside.iter().any(|record| record == named),
            "{:?}",
            memory.aside
        );
        assert!(memory.kept.is_empty(), "there is nothing to keep");
        assert_eq!(memory.pushed.len(), 1, "the file after it");
    }
}
