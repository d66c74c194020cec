//! API 2.0's pages of signed links to files, continued by `@nextPage`.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use sha1::Sha1;

use super::api::{Asked, Refused};
use super::fault::Action;
use super::reply::Reply;
use super::shelf::File;
use super::world::{State, World};
use crate::model::Timestamp;

const PARAMETERS: &[&str] = &[
    "type",
    "dateRangeStartsAt",
    "dateRangeEndsAt",
    "pageSize",
    "nextPage",
];

/// The most links in a page, and how many without a wish.
const PAGE: usize = 100;

/// How far back a range may begin.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn serve(asked: &Asked<'_>, state: &mut State) -> Result<Reply, Refused> {
    let query = asked.call.query.as_deref();
    let query = query
        .ok_or_else(|| Refused::unreadable(asked.call, "the query is not decodable".into()))?;
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in query {
        if !PARAMETERS.contains(&name.as_str()) || seen.contains(&name.as_str()) {
            let what = "is not a parameter, or stands there twice";
            return Err(Refused::value(asked.call, name, what));
        }
        seen.push(name);
    }
    let event_type = asked.call.parameter("type").unwrap_or_default();
    if !asked.log.event_types.contains(&event_type) {
        return Err(Refused::value(asked.call, "type", "is not an event type"));
    }
    let page = asked.page_size()?;
    let range = asked.range()?;
    let cursor = asked.position(event_type)?;

    let Some(member) = state.accounts.get(asked.account) else {
        return Ok(Reply::empty(404));
    };
    let files = member.shelf.files(asked.log, event_type);
    let position = cursor.unwrap_or_else(|| {
        let first = files.iter().position(|file| file.named >= range);
        first.unwrap_or(files.len())
    });
    let rest = files.get(position..).unwrap_or_default();
    let listed = rest.iter().take(page);
    let next = position + rest.len().min(page);
    let mut links: Vec<_> = listed.map(|file| asked.link(file)).collect();
    if matches!(asked.fault, Some(Action::RepeatedLinks)) {
        links = links
            .into_iter()
            .flat_map(|link| [link.clone(), link])
            .collect();
    }
    let payload = format!("{}:{event_type}:{next}", asked.account);
    Ok(Reply::json(
        200,
        &json!({
            "value": links,
            "@nextPage": asked.world.seal("batch", &payload),
            "isCaughtUp": next == files.len(),
        }),
    ))
}

impl Asked<'_> {
    fn page_size(&self) -> Result<usize, Refused> {
        let most = self.world.options.files_per_page;
        let Some(text) = self.call.parameter("pageSize") else {
            return Ok(PAGE.min(most));
        };
        match text.parse() {
            Ok(size @ 1..=PAGE) => Ok(size.min(most)),
            Ok(_) | Err(_) => Err(Refused::value(self.call, "pageSize", "must be 1 to 100")),
        }
    }

    /// Where the range of days begins; the beginning of time without one.
    fn range(&self) -> Result<Timestamp, Refused> {
        let start = self.day("dateRangeStartsAt")?;
        let end = self.day("dateRangeEndsAt")?;
        let Some(start) = start else {
            return Ok(Timestamp::from_millis(i64::MIN));
        };
        if end.is_some_and(|end| end < start) {
            let what = "lies before dateRangeStartsAt";
            return Err(Refused::value(self.call, "dateRangeEndsAt", what));
        }
        // The day on which the look-back ends counts whole.
        let oldest = (self.world.wall() - LOOK_BACK - Duration::from_secs(86_400)).as_millis();
        if start.as_millis() <= oldest {
            let what = "is older than 7 days";
            return Err(Refused::value(self.call, "dateRangeStartsAt", what));
        }
        Ok(start)
    }

    fn day(&self, name: &str) -> Result<Option<Timestamp>, Refused> {
        let Some(text) = self.call.parameter(name) else {
            return Ok(None);
        };
        let wrong = || Refused::value(self.call, name, "is not a date such as 2026-01-06");
        let date: Date = text.parse().map_err(|_| wrong())?;
        if date.to_string() != text {
            return Err(wrong());
        }
        let start = date.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
        let start = start.timestamp().as_millisecond();
        Ok(Some(Timestamp::from_millis(start)))
    }

    /// Where `nextPage` goes on; a wrong one is refused as the vendor does, without a word.
    fn position(&self, event_type: &str) -> Result<Option<usize>, Refused> {
        let Some(cursor) = self.call.parameter("nextPage") else {
            return Ok(None);
        };
        let payload = self.world.unseal("batch", cursor);
        let Some(payload) = payload else {
            return Err(Refused::fair(Reply::empty(400)));
        };
        let of = format!("{}:{event_type}:", self.account);
        let number = payload.strip_prefix(&of);
        let position = number.and_then(|number| number.parse().ok());
        position.map(Some).ok_or_else(|| {
            let what = "nextPage belongs to another event type or account".to_owned();
            Refused::with(Reply::empty(400), what)
        })
    }

    fn link(&self, file: &File) -> serde_json::Value {
        let world = self.world;
        let lifetime = match self.fault {
            Some(Action::ExpiredLinks) => Duration::ZERO,
            Some(_) | None => world.options.link_lifetime,
        };
        let issued = world.now();
        let signature = sign(world, &file.path, issued, lifetime);
        let url = format!(
            "{}{}?X-Amz-Date={}&X-Amz-Expires={}&X-Amz-Signature={signature}",
            world.objects_url,
            file.path,
            issued.as_millis(),
            lifetime.as_millis(),
        );
        let expiry = (world.wall() + lifetime).to_string();
        json!({"url": url, "expiry": expiry, "size": file.size})
    }
}

/// The signature of a link.
pub(super) fn sign(world: &World, path: &str, issued: Timestamp, lifetime: Duration) -> String {
    let key = world.options.seed.to_be_bytes();
    let text = format!("{path}\n{}\n{}", issued.as_millis(), lifetime.as_millis());
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&key) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
