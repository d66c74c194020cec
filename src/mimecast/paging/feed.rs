//! Threat intelligence, `/api/ttp/threat-intel/get-feed`: a span of time as documents of CSV or STIX, each naming the token of the
//! next one in a header.

use bytes::Bytes;
use serde_json::{Value, json};

use super::envelope::{Read, date};
use super::{blocking, token_refused};
use crate::mimecast::client::{Ask, Client, refuse, unreadable};
use crate::mimecast::decode::{csv, stix};
use crate::mimecast::log_types::FileFormat;
use crate::mimecast::{FetchError, Gate};
use crate::model::{SinkError, Timestamp};

const TOKEN: &str = "x-mc-threat-feed-next-token";
/// Bytes of a document.
const MAX_DOCUMENT: usize = 64 << 20;

/// A feed to be read from its first document to its last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed<'a> {
    pub(super) path: &'a str,
    /// The vendor's name of it.
    pub(super) name: &'static str,
    pub(super) format: FileFormat,
    pub(super) span: (Timestamp, Timestamp),
    /// Documents after which it is given up.
    pub(super) max_pages: Option<u32>,
}

impl Feed<'_> {
    pub(super) fn request(&self, token: Option<&str>) -> String {
        let mut data = json!({
            "feedType": self.name,
            "fileType": self.format.as_str(),
            "compress": false,
        });
        let place = match token {
            Some(token) => vec![("token", token.to_owned())],
            None => vec![("start", date(self.span.0)), ("end", date(self.span.1))],
        };
        if let Some(members) = data.as_object_mut() {
            let place = place.into_iter();
            members.extend(place.map(|(name, value)| (name.to_owned(), value.into())));
        }
        json!({ "data": [data] }).to_string()
    }

    /// Reads all documents, and hands each record to `take`, on a blocking thread.
    pub(super) async fn read<G: Gate, W: Send + 'static>(
        &self,
        client: &Client,
        gate: &G,
        mut desk: W,
        take: impl Fn(&mut W, &str) -> Result<(), SinkError> + Copy + Send + 'static,
    ) -> Result<(W, Read), FetchError> {
        let mut token: Option<String> = None;
        let mut answered = None;
        for page in 0.. {
            if self.max_pages.is_some_and(|most| page >= most) {
                let whole = false;
                return Ok((desk, Read { answered, whole }));
            }
            let request = self.request(token.as_deref());
            let asked = client.body(gate, self.path, Ask::Json(&request), MAX_DOCUMENT);
            let (head, body) = match (asked.await, &token) {
                (Ok(answer), _) => answer,
                (Err(error), Some(_)) => return Err(token_refused(error, "page_token")),
                (Err(error), None) => return Err(error),
            };
            if token.is_none() {
                answered = head.server_time();
            }
            if let Some(failure) = head.refusal(&body) {
                if !is_empty(&body) {
                    return Err(refuse(gate, failure));
                }
                break;
            }
            let next = head.header(TOKEN).filter(|next| !next.is_empty());
            let next = next.map(str::to_owned);
            let work = move |desk: &mut W| store(&body, |record| take(desk, record));
            let (back, stored) = blocking(desk, work).await;
            desk = back;
            match stored {
                Ok(()) => {}
                Err(Wrong::Sink(error)) => return Err(error.into()),
                Err(Wrong::Unreadable(what)) => {
                    return Err(refuse(gate, unreadable(&head, what)));
                }
            }
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
        let whole = true;
        Ok((desk, Read { answered, whole }))
    }
}

/// Whether a refusal only says that there is nothing: the vendor calls that a failure, also when what was not there could not be
/// compressed.
pub(super) fn is_empty(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let errors = body.get("fail").and_then(Value::as_array);
    let errors = errors.into_iter().flatten().flat_map(|fail| {
        let errors = fail.get("errors").and_then(Value::as_array);
        errors.map_or(std::slice::from_ref(fail), Vec::as_slice)
    });
    let mut messages = errors.filter_map(|error| error.get("message")?.as_str());
    messages.any(|message| {
        let message = message.to_lowercase();
        message.contains("no results") || message.contains("compress")
    })
}

/// Why a document was not stored.
enum Wrong {
    Unreadable(String),
    Sink(SinkError),
}

/// Stores the records of a document; what it is, is told by its first character.
fn store(body: &Bytes, mut take: impl FnMut(&str) -> Result<(), SinkError>) -> Result<(), Wrong> {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('{') {
        let objects = stix::objects(&text).map_err(Wrong::Unreadable)?;
        return objects
            .iter()
            .try_for_each(|object| take(object.get()))
            .map_err(Wrong::Sink);
    }
    if text.trim_start().starts_with('<') {
        return Err(Wrong::Unreadable("a web page".to_owned()));
    }
    csv::objects(&text)
        .try_for_each(|row| take(&row))
        .map_err(Wrong::Sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::testing::NOW;

    #[test]
    fn a_token_takes_the_place_of_the_span() {
        let feed = Feed {
            path: "/x",
            name: "malware_grid",
            format: FileFormat::Stix,
            span: (NOW, NOW),
            max_pages: None,
        };
        let first = feed.request(None);
        assert!(first.contains(r#""start":"2026-01-06T09:08:07+0000""#));
        assert_eq!(
            feed.request(Some("t")),
            r#"{"data":[{"compress":false,"feedType":"malware_grid","fileType":"stix","token":"t"}]}"#
        );
    }

    #[test]
    fn a_feed_without_results_is_no_failure() {
        let said = |message: &str| {
            let body = json!({"meta": {"status": 200}, "fail": [{"errors": [{"code": "err_x", "message": message}]}]});
            is_empty(body.to_string().as_bytes())
        };
        assert!(said("No results were found for the feed"));
        assert!(said("Feeds could not be compressed"));
        assert!(!said("0002 Forbidden To Perform Operation"));
        assert!(!is_empty(b"busy"));
    }
}
