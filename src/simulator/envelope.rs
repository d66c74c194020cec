//! The POST endpoints with an envelope: a span of time, newest first, in pages, alike in both versions.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Asked, Refused};
use super::articles::envelope_fail;
use super::reply::Reply;
use super::shelf::Listed;
use super::world::State;
use crate::mimecast::log_types::Envelope;
use crate::model::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    meta: Meta,
    data: Vec<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Pagination {
    page_size: Option<usize>,
    page_token: Option<String>,
}

/// What the vendor lists without a wish, and at most.
const PAGE: (usize, usize) = (25, 500);

pub(super) fn serve(asked: &Asked<'_>, state: &mut State) -> Result<Reply, Refused> {
    let rules = asked.log.paging.envelope();
    let body: Body = serde_json::from_slice(&asked.call.body)
        .map_err(|error| Refused::unreadable(asked.call, error.to_string()))?;
    let nothing = Map::new();
    let data = match body.data.as_slice() {
        [] => &nothing,
        [data] => data,
        [..] => {
            return Err(Refused::value(
                asked.call,
                "data",
                "has more than one element",
            ));
        }
    };
    asked.check_members(data, rules)?;
    let span = asked.span(data, rules)?;
    let pagination = &body.meta.pagination;
    let size = pagination.page_size.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&size) {
        return Err(Refused::value(asked.call, "pageSize", "must be 1 to 500"));
    }
    let shelf = state.accounts.get(asked.account);
    let listed: &[Listed] = shelf.map_or(&[], |member| member.shelf.listed(asked.log));
    let owner = asked.owner(data)?;
    let of = format!(
        "{}:{}:{}:{}:{}",
        asked.account,
        asked.log.name,
        span.0,
        span.1,
        owner.unwrap_or_default()
    );
    let (upto, skip) = match &pagination.page_token {
        None => (listed.len(), 0),
        Some(token) => asked.page(token, &of)?,
    };

    // What is published while pages are read is not among them: the token holds the place.
    let mut found: Vec<&Listed> = listed
        .iter()
        .take(upto)
        .rev()
        .filter(|record| (span.0..=span.1).contains(&second(record.at)))
        .filter(|record| !record.gone && record.owner.as_deref() == owner)
        .collect();
    found.sort_by_key(|record| std::cmp::Reverse(second(record.at)));
    let page: Vec<&[u8]> = found
        .iter()
        .skip(skip)
        .take(size)
        .map(|record| record.body.as_slice())
        .collect();
    let mut pagination = json!({"pageSize": page.len()});
    let end = skip + page.len();
    if let (true, Some(members)) = (end < found.len(), pagination.as_object_mut()) {
        let token = asked.world.seal("page", &format!("{of}|{upto}|{end}"));
        members.insert("next".to_owned(), token.into());
    }
    let meta = json!({"status": 200, "pagination": pagination});
    let mut reply = format!("{{\"meta\":{meta},\"data\":[").into_bytes();
    // An empty list that is wrapped comes without its wrapper now and then; here, when a page was asked for by its token.
    let wrapper = rules.list.filter(|_| !page.is_empty() || skip == 0);
    if let Some(list) = wrapper {
        reply.extend(format!("{{\"{list}\":[").bytes());
    }
    reply.extend(page.join(&b','));
    if wrapper.is_some() {
        reply.extend(format!("],\"resultCount\":{}}}", page.len()).bytes());
    }
    reply.extend(b"],\"fail\":[]}");
    Ok(Reply::new(200, "application/json", reply))
}

/// What may narrow a list, beside the members that every request of the type has.
const FILTERS: [&str; 4] = ["query", "categories", "oldestFirst", "route"];

impl Asked<'_> {
    fn check_members(&self, data: &Map<String, Value>, rules: Envelope) -> Result<(), Refused> {
        let span = rules.span.map(|(from, to)| [from, to]);
        let known = || {
            FILTERS
                .iter()
                .chain(rules.flags)
                .chain(span.iter().flatten())
        };
        let is_owner = |key: &str| key == "id" && self.owned();
        let is_known = |key: &str| known().any(|known| *known == key) || is_owner(key);
        if let Some(unknown) = data.keys().find(|key| !is_known(key)) {
            return Err(Refused::value(self.call, unknown, "is not a member"));
        }
        let of_all = |flag: &&&str| data.get(**flag) != Some(&Value::Bool(true));
        if let Some(flag) = rules.flags.iter().find(of_all) {
            let what = "is not true, so that only one's own records are listed";
            return Err(Refused::value(self.call, flag, what));
        }
        Ok(())
    }

    /// Whether the type is a list of lists.
    fn owned(&self) -> bool {
        self.log.paging.each().is_some()
    }

    /// Which list of a list of lists is asked for.
    fn owner<'d>(&self, data: &'d Map<String, Value>) -> Result<Option<&'d str>, Refused> {
        match data.get("id").and_then(Value::as_str) {
            None if self.owned() => Err(nulls(&["id"])),
            id => Ok(id),
        }
    }

    /// The seconds that are asked for, both ends included; all of them for types without.
    fn span(&self, data: &Map<String, Value>, rules: Envelope) -> Result<(i64, i64), Refused> {
        let Some((from, to)) = rules.span else {
            return Ok((i64::MIN, i64::MAX));
        };
        let missing: Vec<&str> = [from, to]
            .into_iter()
            .filter(|name| data.get(*name).is_none_or(Value::is_null))
            .collect();
        if !missing.is_empty() {
            return Err(nulls(&missing));
        }
        let span = (self.seconds(data, from)?, self.seconds(data, to)?);
        if span.1 < span.0 {
            return Err(Refused::value(self.call, to, "lies before the beginning"));
        }
        Ok(span)
    }

    /// A member with a date, as seconds of Unix time.
    fn seconds(&self, data: &Map<String, Value>, name: &str) -> Result<i64, Refused> {
        let text = data.get(name).and_then(Value::as_str);
        let moment = text.filter(|text| is_date(text)).and_then(Timestamp::parse);
        moment.map(second).ok_or_else(|| {
            let what = "is not a date such as 2026-01-06T09:08:07+0000";
            Refused::value(self.call, name, what)
        })
    }

    /// How many records there were when the list began, and how many of it have been read.
    fn page(&self, token: &str, of: &str) -> Result<(usize, usize), Refused> {
        let wrong = || Refused::value(self.call, "pageToken", "is not of this list");
        let payload = self.world.unseal("page", token).ok_or_else(wrong)?;
        let mut parts = payload.split('|');
        if parts.next() != Some(of) {
            return Err(wrong());
        }
        let mut number = || parts.next()?.parse().ok();
        number().zip(number()).ok_or_else(wrong)
    }
}

/// The vendor's answer to required members that are not there: an error each.
fn nulls(missing: &[&str]) -> Refused {
    let mut errors = missing.iter().map(|name| {
        let body = envelope_fail(400, "err_validation_null", "must not be null", Some(name));
        body.pointer("/fail/0/errors/0").cloned()
    });
    let errors: Option<Vec<Value>> = errors.by_ref().collect();
    let fail = json!([{"errors": errors}]);
    let body = json!({"meta": {"status": 400}, "data": [], "fail": fail});
    Refused::with(
        Reply::json(400, &body),
        format!("no {}", missing.join(" and ")),
    )
}

fn second(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(1000)
}

/// Whether a text has the form `yyyy-MM-ddTHH:mm:ss` with `Z` or an offset without a colon.
fn is_date(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let zone = shape.strip_prefix("0000-00-00T00:00:00");
    zone.is_some_and(|zone| ["Z", "+0000", "-0000"].contains(&zone))
}
