//! The envelope of the POST endpoints: `{"meta":{"pagination":…},"data":[…]}` in both directions, in pages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{blocking, is_object, token_refused};
use crate::mimecast::client::{Ask, Client, refuse, unreadable};
use crate::mimecast::log_types::Envelope;
use crate::mimecast::{FetchError, Gate};
use crate::model::{SinkError, Timestamp};

/// Bytes of a page: hundreds of records of a few kilobytes each, and room for some very long ones.
const MAX_PAGE: usize = 64 << 20;

/// A listing to be read from its first page to its last.
#[derive(Clone, Debug)]
pub(super) struct Listing<'a> {
    pub(super) path: &'a str,
    pub(super) envelope: Envelope,
    /// The one element of the request's `data`; none if it has no members.
    pub(super) ask: serde_json::Map<String, Value>,
    pub(super) page_size: u32,
    /// Pages after which it is given up.
    pub(super) max_pages: Option<u32>,
}

/// How a listing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// When its first page was answered, by the server's clock.
    pub(super) answered: Option<Timestamp>,
    /// Whether the last page was reached.
    pub(super) whole: bool,
}

/// What each request of a listing asks for.
pub(super) fn members(
    envelope: Envelope,
    span: (Timestamp, Timestamp),
) -> serde_json::Map<String, Value> {
    let flags = envelope.flags.iter().map(|flag| (*flag, Value::Bool(true)));
    let span = envelope
        .span
        .map(|(from, to)| [(from, date(span.0).into()), (to, date(span.1).into())]);
    let all = flags.chain(span.into_iter().flatten());
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Mimecast's form of a date, which all endpoints of the envelope take.
pub(super) fn date(time: Timestamp) -> String {
    time.calendar()
        .strftime("%Y-%m-%dT%H:%M:%S+0000")
        .to_string()
}

impl Listing<'_> {
    pub(super) fn request(&self, token: Option<&str>) -> String {
        let mut pagination = serde_json::Map::new();
        pagination.insert("pageSize".to_owned(), self.page_size.into());
        if let Some(token) = token {
            pagination.insert("pageToken".to_owned(), token.into());
        }
        let data: &[_] = if self.ask.is_empty() {
            &[]
        } else {
            std::slice::from_ref(&self.ask)
        };
        serde_json::json!({"meta": {"pagination": pagination}, "data": data}).to_string()
    }

    /// Reads all pages, and hands each record as it is written to `take`, on a blocking thread.
    pub(super) async fn read<G: Gate, W: Send + 'static>(
        &self,
        client: &Client,
        gate: &G,
        mut desk: W,
        take: impl Fn(&mut W, &str) -> Result<(), SinkError> + Copy + Send + 'static,
    ) -> Result<(W, Read), FetchError> {
        let mut token: Option<String> = None;
        let mut answered = None;
        let mut pages = 0;
        loop {
            if self.max_pages.is_some_and(|most| pages >= most) {
                let whole = false;
                return Ok((desk, Read { answered, whole }));
            }
            let request = self.request(token.as_deref());
            let asked = client.json(gate, self.path, Ask::Json(&request), MAX_PAGE);
            let (head, body) = match (asked.await, &token) {
                (Ok(answer), _) => answer,
                (Err(error), Some(_)) => return Err(token_refused(error, "page_token")),
                (Err(error), None) => return Err(error),
            };
            if token.is_none() {
                answered = head.server_time();
            }
            pages += 1;
            let list = self.envelope.list;
            let work = move |desk: &mut W| store(&body, list, |record| take(desk, record));
            let (back, stored) = blocking(desk, work).await;
            desk = back;
            let unreadable = |what: String| refuse(gate, unreadable(&head, what));
            match stored {
                Ok(None) => {
                    let whole = true;
                    return Ok((desk, Read { answered, whole }));
                }
                Ok(next) if next == token => {
                    let what = "the token of the next page is this page's";
                    return Err(unreadable(what.to_owned()));
                }
                Ok(next) => token = next,
                Err(PageError::Sink(error)) => return Err(error.into()),
                Err(PageError::Unreadable(what)) => return Err(unreadable(what)),
            }
        }
    }
}

/// Why a page was not stored.
enum PageError {
    Unreadable(String),
    Sink(SinkError),
}

/// Stores the records of a page, and gives the token of the next one.
fn store(
    body: &[u8],
    list: Option<&str>,
    mut take: impl FnMut(&str) -> Result<(), SinkError>,
) -> Result<Option<String>, PageError> {
    let body = crate::model::text(body);
    if let Cow::Owned(_) = body {
        tracing::warn!("a page with invalid UTF-8, replaced by U+FFFD");
    }
    let page = Page::read(&body, list).map_err(PageError::Unreadable)?;
    for record in page.records {
        take(record.get()).map_err(PageError::Sink)?;
    }
    Ok(page.next)
}

/// A page: its records as they are written, and the token of the next one.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) records: Vec<&'a RawValue>,
    pub(super) next: Option<String>,
}

impl<'a> Page<'a> {
    pub(super) fn read(body: &'a str, list: Option<&str>) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(default)]
            meta: Option<Meta>,
            #[serde(default, borrow)]
            data: Option<Vec<&'a RawValue>>,
        }

        #[derive(Default, Deserialize)]
        struct Meta {
            #[serde(default)]
            pagination: Option<Pagination>,
        }

        #[derive(Deserialize)]
        struct Pagination {
            #[serde(default)]
            next: Option<String>,
        }

        if !is_object(body.as_bytes()) {
            return Err("no JSON object".to_owned());
        }
        let wire: Wire<'_> = serde_json::from_str(body).map_err(|e| e.to_string())?;
        if wire.meta.is_none() && wire.data.is_none() {
            return Err("neither meta nor data".to_owned());
        }
        let data = wire.data.unwrap_or_default();
        let records = match list {
            None => data,
            Some(list) => unwrap(&data, list)?,
        };
        let pagination = wire.meta.and_then(|meta| meta.pagination);
        // A page without records is the last one, whatever it says.
        let next = pagination
            .and_then(|pagination| pagination.next)
            .filter(|next| !next.is_empty() && !records.is_empty());
        Ok(Self { records, next })
    }
}

/// The records that are listed one level down.
fn unwrap<'a>(data: &[&'a RawValue], list: &str) -> Result<Vec<&'a RawValue>, String> {
    let mut records = Vec::new();
    for wrapper in data {
        let members: BTreeMap<Cow<'_, str>, &'a RawValue> =
            serde_json::from_str(wrapper.get()).map_err(|e| e.to_string())?;
        let listed = members
            .get(list)
            .ok_or_else(|| format!("no member {list} in data"))?;
        let listed: Vec<&RawValue> =
            serde_json::from_str(listed.get()).map_err(|e| e.to_string())?;
        records.extend(listed);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(body: &str, list: Option<&str>) -> Result<(Vec<String>, Option<String>), String> {
        let page = Page::read(body, list)?;
        let texts = page.records.iter().map(|record| record.get().to_owned());
        Ok((texts.collect(), page.next))
    }

    #[test]
    fn pages_are_read_flat_and_wrapped_with_their_records_verbatim() {
        let flat = r#"{"meta":{"pagination":{"pageSize":1,"next":"t"},"status":200},"data":[{"b" : 1.0,
 "a":2}],"fail":[]}"#;
        let expected = vec!["{\"b\" : 1.0,\n \"a\":2}".to_owned()];
        assert_eq!(
            records(flat, None).unwrap(),
            (expected, Some("t".to_owned()))
        );
        let wrapped =
            r#"{"data":[{"clickLogs":[{"a":1},{"a":2}],"resultCount":2},{"clickLogs":[]}]}"#;
        assert_eq!(records(wrapped, Some("clickLogs")).unwrap().0.len(), 2);
        assert!(records(wrapped, Some("dlpLogs")).is_err());
    }

    #[test]
    fn the_last_page_is_told_by_a_missing_token_or_missing_records() {
        for (body, list) in [
            (r#"{"meta":{"status":200},"data":[]}"#, None),
            (r#"{"meta":{"pagination":{"next":"t"}},"data":[]}"#, None),
            (
                r#"{"meta":{"pagination":{"next":"t"}},"data":[]}"#,
                Some("logs"),
            ),
            (
                r#"{"meta":{"pagination":{"next":"t"}},"data":[{"logs":[]}]}"#,
                Some("logs"),
            ),
            (
                r#"{"meta":{"pagination":{"next":null}},"data":[1],"fail":null}"#,
                None,
            ),
        ] {
            assert_eq!(records(body, list).unwrap().1, None, "{body}");
        }
        for bad in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"meta":{},"data":{}}"#,
            "[null,[1]]",
        ] {
            assert!(records(bad, None).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_reading_panic(body in "[\\[\\]{}:,\"a-z0-9 ]{0,80}", wrapped: bool) {
            drop(Page::read(&body, wrapped.then_some("a")));
        }

        #[test]
        fn records_come_in_their_order_however_they_are_wrapped(
            pages in proptest::collection::vec(0_u32..100, 0..20),
            wrapped: bool,
        ) {
            let texts: Vec<_> = pages.iter().map(|n| format!("{{ \"n\":{n}}}")).collect();
            let list = texts.join(",");
            let data = if wrapped { format!("{{\"x\":1,\"logs\":[{list}]}}") } else { list };
            let body = format!("{{\"meta\":{{\"pagination\":{{\"next\":\"t\"}}}},\"data\":[{data}]}}");
            let (found, next) = records(&body, wrapped.then_some("logs")).unwrap();
            prop_assert_eq!(next.is_some(), !texts.is_empty());
            prop_assert_eq!(found, texts);
        }
    }
}
