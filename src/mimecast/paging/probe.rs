//! The cheapest question that a log type can be asked: one record of the shortest span. Nothing is stored and no cursor moves.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Deserialize;

use super::envelope::{Listing, members};
use super::feed::{self, Feed};
use super::place::Place;
use super::siem_files;
use crate::http::read_prefix;
use crate::mimecast::client::{Answer, Ask, Client, refuse};
use crate::mimecast::link::Link;
use crate::mimecast::log_types::{Log, Paging};
use crate::mimecast::{FetchError, Gate};
use crate::model::Timestamp;

/// Bytes of an answer that are looked at: an envelope of one record, or the beginning of a file.
const LOOKED_AT: usize = 1 << 20;
/// What a question asks for, where it asks for a span of time.
const SPAN: Duration = Duration::from_secs(60);

/// What an answer that is no refusal tells besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Calls of this function that are left, and in all, where Mimecast says so.
    pub calls_left: Option<(u64, u64)>,
    /// The hosts that files come from, where there was one to be listed.
    pub hosts: BTreeSet<String>,
    /// The id by which the vendor's support finds the request.
    pub request_id: Option<String>,
}

impl Client {
    /// Asks a log type for as little as it gives.
    ///
    /// # Errors
    /// The refusal, or what broke.
    pub async fn probe<G: Gate>(
        &self,
        gate: &G,
        log: &Log,
        event_type: &str,
    ) -> Result<Probed, FetchError> {
        let now = self.corrected_wall();
        let path = log.paging.each().map_or(&*log.path, |each| each.path);
        let question = question(log, event_type, now);
        let ask = match &question {
            Question::Query(query) => Ask::Query(query),
            Question::Json(json) => Ask::Json(json),
        };
        let Answer {
            head,
            response,
            permit: _permit,
        } = self.send(gate, path, ask).await?;
        let body = read_prefix(response, LOOKED_AT).await;
        // A feed without news says so as if it were a failure.
        let without_news = matches!(log.paging, Paging::Feed { .. }) && feed::is_empty(&body);
        if !without_news && let Some(failure) = head.refusal(&body) {
            return Err(refuse(gate, failure));
        }
        let number = |name: &str| head.header(name)?.parse().ok();
        Ok(Probed {
            calls_left: number("x-ratelimit-remaining").zip(number("x-ratelimit-limit")),
            hosts: hosts(&body),
            request_id: head.header("x-mc-req-id").map(str::to_owned),
        })
    }
}

enum Question {
    Query(Vec<(&'static str, String)>),
    Json(String),
}

fn question(log: &Log, event_type: &str, now: Timestamp) -> Question {
    let span = (now - SPAN, now);
    match log.paging {
        Paging::BatchFiles => Question::Query(vec![
            ("type", event_type.to_owned()),
            ("pageSize", "1".to_owned()),
            (
                "dateRangeStartsAt",
                now.calendar().strftime("%Y-%m-%d").to_string(),
            ),
        ]),
        Paging::Stream => Question::Query(vec![
            ("types", event_type.to_owned()),
            ("pageSize", "1".to_owned()),
            ("dateRangeStartsAt", span.0.to_string()),
        ]),
        Paging::SiemFiles { .. } => Question::Json(siem_files::body(log, &Place::starting(None))),
        Paging::Feed { feed, format } => {
            let feed = Feed {
                path: &log.path,
                name: feed,
                format,
                span,
                max_pages: Some(1),
            };
            Question::Json(feed.request(None))
        }
        Paging::Window(envelope) | Paging::Snapshot(envelope, _) => {
            let listing = Listing {
                path: &log.path,
                envelope,
                ask: match log.paging.each() {
                    Some(_) => serde_json::Map::new(),
                    None => members(envelope, span),
                },
                page_size: 1,
                max_pages: Some(1),
            };
            Question::Json(listing.request(None))
        }
    }
}

/// The hosts of the links in a page of links; none of anything else.
fn hosts(body: &[u8]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Page {
        value: Vec<HashMap<String, serde_json::Value>>,
    }

    let Ok(page) = serde_json::from_slice::<Page>(body) else {
        return BTreeSet::new();
    };
    let links = page.value.iter().filter_map(|file| {
        let link = Link::parse(file.get("url")?.as_str()?)?;
        Some(link.host().to_owned())
    });
    links.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::log_types::LOG_TYPES;
    use crate::mimecast::testing::NOW;

    #[test]
    fn every_log_type_is_asked_for_one_record() {
        for row in LOG_TYPES {
            let asked = match question(&row.into(), "receipt", NOW) {
                Question::Query(query) => format!("{query:?}"),
                Question::Json(json) => json,
            };
            let smallest = match row.paging {
                Paging::SiemFiles { .. } => "\"type\":\"MTA\"",
                Paging::Feed { .. } => "\"end\":\"2026-01-06T09:08:07+0000\"",
                Paging::BatchFiles | Paging::Stream => "(\"pageSize\", \"1\")",
                Paging::Window(_) | Paging::Snapshot(..) => "\"pageSize\":1",
            };
            assert!(asked.contains(smallest), "{}: {asked}", row.name);
            assert!(!asked.contains("oken\""), "{}: {asked}", row.name);
        }
    }

    #[test]
    fn the_hosts_of_links_are_told_without_their_signatures() {
        let page =
            r#"{"value":[{"url":"https://b.s3.example/x?sig=s"},{"url":"https://a.s3.example/"}]}"#;
        let found: Vec<_> = hosts(page.as_bytes()).into_iter().collect();
        assert_eq!(found, ["a.s3.example", "b.s3.example"]);
        assert!(hosts(br#"{"value":[1.0,{"url":"https://x.example/"}]}"#).is_empty());
    }
}
