//! Threat intelligence: documents of CSV or STIX, continued by a token in a header.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Asked, Refused};
use super::articles::envelope_fail;
use super::call::Call;
use super::reply::Reply;
use super::shelf::Listed;
use super::world::State;
use crate::mimecast::log_types::{LogType, Paging};
use crate::model::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    data: [Ask; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ask {
    feed_type: String,
    file_type: Option<String>,
    compress: Option<bool>,
    start: Option<String>,
    end: Option<String>,
    token: Option<String>,
}

/// Records in a document.
const PAGE: usize = 25;

/// Whether a request is for this log type, where it is a feed.
pub(super) fn names(call: &Call, log: &LogType) -> bool {
    let Paging::Feed { feed, .. } = log.paging else {
        return true;
    };
    serde_json::from_slice::<Body>(&call.body).is_ok_and(|body| body.data[0].feed_type == feed)
}

pub(super) fn serve(asked: &Asked<'_>, state: &mut State) -> Result<Reply, Refused> {
    let body: Body = serde_json::from_slice(&asked.call.body)
        .map_err(|error| Refused::unreadable(asked.call, error.to_string()))?;
    let [ask] = &body.data;
    if ask.compress == Some(true) {
        let what = "is not served here";
        return Err(Refused::value(asked.call, "compress", what));
    }
    let (span, skip) = place(asked, ask)?;
    let member = state.accounts.get(asked.account);
    let listed: &[Listed] = member.map_or(&[], |member| member.shelf.listed(asked.log));
    let found = listed
        .iter()
        .filter(|record| (span.0..=span.1).contains(&(record.at.as_millis().div_euclid(1000))));
    let found: Vec<&[u8]> = found.map(|record| record.body.as_slice()).collect();
    let page: Vec<&[u8]> = found.iter().skip(skip).take(PAGE).copied().collect();
    if page.is_empty() {
        let message = "No results were found for the requested feed";
        let body = envelope_fail(200, "err_threat_intel_no_results", message, None);
        return Err(Refused::fair(Reply::json(200, &body)));
    }
    let document = match ask.file_type.as_deref() {
        Some("stix") => stix(&page),
        Some("csv") | None => csv(&page),
        Some(_) => {
            let what = "must be csv or stix";
            return Err(Refused::value(asked.call, "fileType", what));
        }
    };
    let reply = Reply::new(200, "application/octet-stream", document);
    let next = skip + page.len();
    if next == found.len() {
        return Ok(reply);
    }
    let payload = format!("{}|{}|{}|{next}", of(asked), span.0, span.1);
    Ok(reply.with(
        "x-mc-threat-feed-next-token",
        asked.world.seal("feed", &payload),
    ))
}

fn of(asked: &Asked<'_>) -> String {
    format!("{}:{}", asked.account, asked.log.name)
}

/// The seconds that are asked for, and how many records of them have been read.
fn place(asked: &Asked<'_>, ask: &Ask) -> Result<((i64, i64), usize), Refused> {
    let wrong = |name: &str| Refused::value(asked.call, name, "is not understood");
    if let Some(token) = &ask.token {
        if ask.start.is_some() || ask.end.is_some() {
            return Err(wrong("start"));
        }
        let payload = asked.world.unseal("feed", token);
        let payload = payload.ok_or_else(|| wrong("token"))?;
        let mut parts = payload.split('|');
        if parts.next() != Some(&of(asked)) {
            return Err(wrong("token"));
        }
        let mut number = || parts.next()?.parse::<i64>().ok();
        let place = number().zip(number()).zip(number());
        let place = place.and_then(|(span, skip)| Some((span, usize::try_from(skip).ok()?)));
        return place.ok_or_else(|| wrong("token"));
    }
    let seconds = |text: &Option<String>, name| {
        let time = text.as_deref().and_then(Timestamp::parse);
        let time = time.ok_or_else(|| wrong(name))?;
        Ok(time.as_millis().div_euclid(1000))
    };
    Ok((
        (seconds(&ask.start, "start")?, seconds(&ask.end, "end")?),
        0,
    ))
}

fn stix(page: &[&[u8]]) -> Vec<u8> {
    let mut document = br#"{"type":"bundle","spec_version":"2.0","objects":["#.to_vec();
    document.extend(page.join(&b','));
    document.extend(b"]}");
    document
}

fn csv(page: &[&[u8]]) -> Vec<u8> {
    let quoted = |value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| json!(value).to_string(), str::to_owned);
        format!("\"{}\"", text.replace('"', "\"\""))
    };
    let mut text = String::new();
    for record in page {
        // The records were made here.
        let record: Map<String, Value> = serde_json::from_slice(record).unwrap_or_default();
        if text.is_empty() {
            let names: Vec<_> = record.keys().cloned().collect();
            text = names.join("|") + "\n";
        }
        let values: Vec<_> = record.values().map(quoted).collect();
        text = text + &values.join("|") + "\n";
    }
    text.into_bytes()
}
