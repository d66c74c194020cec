//! API 2.0's pages of events themselves: the last 24 hours, continued by a cursor that names offsets.
//!
//! Each page begins with the last event of the page before, as the vendor's do now and then. A cursor without any offset brings
//! nothing for ever, as the vendor's does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::api::{Asked, Refused};
use super::reply::Reply;
use super::world::State;
use crate::model::Timestamp;

const PARAMETERS: &[&str] = &[
    "types",
    "dateRangeStartsAt",
    "dateRangeEndsAt",
    "pageSize",
    "nextPage",
];

/// The most events in a page.
const PAGE: usize = 100;

const LOOK_BACK: Duration = Duration::from_secs(86_400);

pub(super) fn serve(asked: &Asked<'_>, state: &mut State) -> Result<Reply, Refused> {
    let call = asked.call;
    let query = call.query.as_deref();
    let query =
        query.ok_or_else(|| Refused::unreadable(call, "the query is not decodable".into()))?;
    if let Some((name, _)) = query
        .iter()
        .find(|(name, _)| !PARAMETERS.contains(&&**name))
    {
        return Err(Refused::value(call, name, "is not a parameter"));
    }
    let event_type = call.parameter("types").unwrap_or_default();
    if !asked.log.event_types.contains(&event_type) {
        return Err(Refused::value(call, "types", "is not an event type"));
    }
    let size = match call.parameter("pageSize").map(str::parse) {
        Some(Ok(size @ 1..=PAGE)) => size,
        None => PAGE,
        Some(_) => return Err(Refused::value(call, "pageSize", "must be 1 to 100")),
    };
    let member = state.accounts.get(asked.account);
    let files = member.map_or(&[][..], |member| member.shelf.files(asked.log, event_type));
    let events: Vec<_> = files.iter().flat_map(|file| file.batch.events()).collect();
    let start = asked.start()?;
    let (from, repeated) = match asked.offset(event_type)? {
        Some(0) => {
            state.violation(
                call,
                "a cursor without offsets, which brings nothing for ever",
            );
            let page =
                json!({"value": [], "@nextPage": asked.cursor(event_type, 0), "isCaughtUp": true});
            return Ok(Reply::json(200, &page));
        }
        Some(offset) => (offset.min(events.len()), 1),
        None => {
            let first = events.iter().position(|(at, _)| *at >= start);
            (first.unwrap_or(events.len()), 0)
        }
    };
    let next = events.len().min(from + size - repeated);
    let begin = if next > from { from - repeated } else { from };
    let page = events.get(begin..next).unwrap_or_default();
    let page: Vec<&[u8]> = page.iter().map(|(_, event)| event.as_slice()).collect();
    let cursor = asked.cursor(event_type, next);
    let caught_up = next == events.len();
    let mut reply = b"{\"value\":[".to_vec();
    reply.extend(page.join(&b','));
    let end = format!("],\"@nextPage\":\"{cursor}\",\"isCaughtUp\":{caught_up}}}");
    reply.extend(end.bytes());
    Ok(Reply::new(200, "application/json", reply))
}

impl Asked<'_> {
    /// Where the range begins.
    fn start(&self) -> Result<Timestamp, Refused> {
        let wrong = |what| Refused::value(self.call, "dateRangeStartsAt", what);
        let oldest = self.world.wall() - LOOK_BACK;
        let Some(text) = self.call.parameter("dateRangeStartsAt") else {
            return Ok(oldest);
        };
        let start = Timestamp::parse(text).filter(|start| start.to_string() == text);
        let start =
            start.ok_or_else(|| wrong("is not a moment such as 2026-01-06T09:00:00.000Z"))?;
        if start < oldest {
            return Err(wrong("is older than 24 hours"));
        }
        Ok(start)
    }

    fn cursor(&self, event_type: &str, offset: usize) -> String {
        let name = event_type.replace(' ', "_");
        let proof = self
            .world
            .seal("stream", &format!("{}:{event_type}:{offset}", self.account));
        STANDARD.encode(format!("[{name}=0-{offset}]:1:{proof}"))
    }

    /// The offset that the cursor names; a wrong one is refused without a word.
    fn offset(&self, event_type: &str) -> Result<Option<usize>, Refused> {
        let Some(cursor) = self.call.parameter("nextPage") else {
            return Ok(None);
        };
        let wrong = || Refused::fair(Reply::empty(400));
        let text = STANDARD.decode(cursor).ok();
        let text = text.and_then(|text| String::from_utf8(text).ok());
        let text = text.ok_or_else(wrong)?;
        let (_, proof) = text.rsplit_once(':').ok_or_else(wrong)?;
        let payload = self.world.unseal("stream", proof).ok_or_else(wrong)?;
        let of = format!("{}:{event_type}:", self.account);
        let offset = payload
            .strip_prefix(&of)
            .and_then(|offset| offset.parse().ok());
        offset.map(Some).ok_or_else(wrong)
    }
}
