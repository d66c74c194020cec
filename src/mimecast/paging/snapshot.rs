//! Lists of what is there now, such as the queue of held mails: each poll reads all of it, and sends what is new or has changed.
//!
//! One step is one whole listing, committed at once. What was sent is remembered by the stream's memo; a record is forgotten after
//! two listings without it, for one that is missing once may be on its way from one page to another. If it comes back after that it
//! is news, so its name has the start of the poll in it. The cursor, `{"v":1}`, says no more than that there was a listing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::envelope::{self, Listing};
use super::{blocking, files, foreign_cursor};
use crate::mimecast::client::Client;
use crate::mimecast::decode::Raw;
use crate::mimecast::decode::recorder::{self, Recorder};
use crate::mimecast::log_types::{Each, Envelope};
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Cursor, EventId, Form, Sink, SinkError, Timestamp};

const CURSOR: &str = r#"{"v":1}"#;
const VERSION: u8 = 1;
/// Bytes of an entry of the memo: name, count, whether it was missed.
const ENTRY: usize = 16 + 4 + 1;

/// The records that were sent and are still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen(BTreeMap<EventId, Known>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// How many equal ones.
    count: u32,
    /// The last listing had fewer.
    missed: bool,
}

impl Seen {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * ENTRY);
        bytes.push(VERSION);
        for (id, known) in &self.0 {
            bytes.extend_from_slice(&id.0);
            bytes.extend_from_slice(&known.count.to_be_bytes());
            bytes.push(u8::from(known.missed));
        }
        bytes
    }

    /// Reads a memo; `None` if it is none of ours.
    fn decode(memo: &[u8]) -> Option<Self> {
        let (&VERSION, entries) = memo.split_first()? else {
            return None;
        };
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        let read = |entry: &[u8; ENTRY]| {
            let (id, rest) = entry.split_first_chunk()?;
            let (count, missed) = rest.split_first_chunk()?;
            let known = Known {
                count: u32::from_be_bytes(*count),
                missed: missed == [1],
            };
            Some((EventId(*id), known))
        };
        rest.is_empty()
            .then(|| entries.iter().map(read).collect::<Option<_>>().map(Self))?
    }

    /// What is known after a whole listing.
    fn after(&self, listed: &BTreeMap<EventId, u32>) -> Self {
        let new = listed.iter().map(|(id, count)| {
            let known = Known {
                count: *count,
                missed: false,
            };
            (*id, known)
        });
        let mut next: BTreeMap<_, _> = new.collect();
        for (id, known) in &self.0 {
            let fewer = listed.get(id).copied().unwrap_or(0) < known.count;
            if fewer && !known.missed {
                let missed = true;
                next.insert(*id, Known { missed, ..*known });
            }
        }
        Self(next)
    }
}

/// What a listing is stored with, moved to blocking threads and back.
struct Desk<S> {
    sink: S,
    job: Job,
    now: Timestamp,
    stored: Seen,
    listed: BTreeMap<EventId, u32>,
    /// A member that each record begins with: whose it is.
    owner: Option<String>,
}

impl<S: Sink> Desk<S> {
    /// Pushes a record if it is new.
    fn take(&mut self, record: &str) -> Result<(), SinkError> {
        let record = match &self.owner {
            Some(owner) => owned(record, owner),
            None => record.into(),
        };
        let origin = recorder::Origin {
            stream: &self.job.stream,
            log: self.job.log.row,
            kind: files::kind(&self.job),
            form: Form::Json,
            time: self.now,
        };
        let polled = self.job.polled;
        let record = Raw::new(record.as_bytes());
        Recorder::new(&mut self.sink, origin).take_new(record, |id, _| {
            let listed = self.listed.entry(id).or_default();
            let ordinal = *listed;
            *listed = listed.saturating_add(1);
            let stored = self.stored.0.get(&id).map_or(0, |known| known.count);
            (ordinal >= stored).then(|| id.seen_at(polled).ordinal(ordinal))
        })
    }

    /// Commits if anything changed.
    fn commit(&mut self) -> Result<(), SinkError> {
        let next = self.stored.after(&self.listed);
        if next == self.stored && self.sink.uncommitted() == 0 {
            return Ok(());
        }
        let cursor = Cursor::new(CURSOR.to_owned()).map_err(|e| SinkError::Unfit(e.to_string()))?;
        self.sink.commit_with(&cursor, Some(&next.encode()))
    }
}

/// The record with one more member, at its beginning.
fn owned(record: &str, owner: &str) -> String {
    match record.trim_start().strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => format!("{{{owner}{rest}"),
        Some(rest) => format!("{{{owner},{rest}"),
        None => record.to_owned(),
    }
}

/// Takes one step: a whole listing, or one for each record of another listing.
pub(in crate::mimecast) async fn fetch<S: Sink, G: Gate>(
    client: &Client,
    (envelope, each): (Envelope, Option<Each>),
    job: Job,
    sink: S,
    gate: G,
) -> Result<Progress, FetchError> {
    let remembers = match &job.cursor {
        Some(cursor) if cursor.as_str() == CURSOR => true,
        Some(_) => return Err(foreign_cursor(&job.stream, "it is not of a list")),
        None => false,
    };
    let (log, stream) = (job.log.clone(), job.stream.clone());
    let (sink, stored) = blocking(sink, move |sink| {
        let memo = sink.memo().filter(|_| remembers)?;
        let stored = Seen::decode(&memo);
        if stored.is_none() {
            tracing::warn!(%stream, "unreadable memo: the whole list is sent again");
        }
        stored
    })
    .await;
    let now = client.corrected_wall();
    let mut desk = Desk {
        sink,
        job,
        now,
        stored: stored.unwrap_or_default(),
        listed: BTreeMap::new(),
        owner: None,
    };
    // A minute more, so that a clock that is behind leaves nothing out.
    let span = (now - log.look_back, now + Duration::from_secs(60));
    let mut listing = Listing {
        path: &log.path,
        envelope,
        ask: envelope::members(envelope, span),
        page_size: log.page_size,
        max_pages: None,
    };
    match each {
        None => (desk, _) = listing.read(client, &gate, desk, Desk::take).await?,
        Some(each) => {
            for owner in owners(client, &gate, each, log.page_size).await? {
                desk.owner = Some(format!("\"{}\":{}", each.member, Value::from(&*owner)));
                listing.ask = Map::from_iter([("id".to_owned(), owner.into())]);
                (desk, _) = listing.read(client, &gate, desk, Desk::take).await?;
            }
        }
    }
    let (_, result) = blocking(desk, Desk::commit).await;
    result?;
    Ok(Progress::CaughtUp)
}

/// The ids of another listing, whose records each have a listing of their own.
async fn owners<G: Gate>(
    client: &Client,
    gate: &G,
    each: Each,
    page_size: u32,
) -> Result<Vec<String>, FetchError> {
    #[derive(Deserialize)]
    struct Owner {
        id: String,
    }

    let listing = Listing {
        path: each.path,
        envelope: Envelope::PLAIN,
        ask: Map::new(),
        page_size,
        max_pages: None,
    };
    let take = |owners: &mut Vec<String>, record: &str| {
        match serde_json::from_str::<Owner>(record) {
            Ok(owner) => owners.push(owner.id),
            Err(error) => tracing::warn!(%error, "a record without an id, so its list is not read"),
        }
        Ok(())
    };
    let (mut owners, _) = listing.read(client, gate, Vec::new(), take).await?;
    owners.sort_unstable();
    owners.dedup();
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mimecast::Source as _;
    use crate::mimecast::testing::{Open, Server, Shared, client, http, job, v1};

    fn id(n: u8) -> EventId {
        EventId([n; 16])
    }

    fn listed(ids: &[u8]) -> BTreeMap<EventId, u32> {
        let mut listed = BTreeMap::new();
        for n in ids {
            *listed.entry(id(*n)).or_default() += 1;
        }
        listed
    }

    #[test]
    fn a_record_is_forgotten_after_two_listings_without_it() {
        let first = Seen::default().after(&listed(&[1, 2, 2]));
        let missed = first.after(&listed(&[1, 2]));
        assert_eq!(missed.0[&id(2)].count, 2);
        assert_eq!(missed.after(&listed(&[1, 2, 2])), first);
        let forgotten = missed.after(&listed(&[2]));
        assert_eq!(forgotten.0[&id(2)].count, 1);
        assert!(forgotten.0[&id(1)].missed);
        assert!(!forgotten.after(&listed(&[2])).0.contains_key(&id(1)));
    }

    #[test]
    fn an_owner_is_the_first_member_of_its_records() {
        let owner = r#""campaignId":"a""#;
        assert_eq!(
            owned("{ \"b\":1}", owner),
            "{\"campaignId\":\"a\", \"b\":1}"
        );
        assert_eq!(owned("{ }", owner), "{\"campaignId\":\"a\" }");
    }

    proptest! {
        #[test]
        fn a_memo_is_read_as_it_was_written_and_a_listing_twice_changes_nothing(
            before in proptest::collection::vec(0_u8..9, 0..12),
            now in proptest::collection::vec(0_u8..9, 0..12),
        ) {
            let seen = Seen::default().after(&listed(&before)).after(&listed(&now));
            prop_assert_eq!(Seen::decode(&seen.encode()), Some(seen.clone()));
            let settled = seen.after(&listed(&now));
            prop_assert_eq!(settled.after(&listed(&now)), settled);
        }
    }

    #[tokio::test]
    async fn only_what_is_new_or_changed_is_sent_and_what_comes_back_is_news() {
        let round = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::start(move |_, request| {
            assert!(request.contains(r#""admin":true"#), "{request}");
            let lists = [
                "{\"id\":1}",
                "{\"id\":1},{\"id\":2}",
                "{\"id\":2}",
                "{\"id\":2}",
                "{\"id\":1}",
            ];
            let list = lists[round.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
            http(
                200,
                "",
                format!(r#"{{"meta":{{"status":200}},"data":[{list}]}}"#),
            )
        })
        .await;
        let sink = Shared::default();
        let client = client(&server.url, v1());
        let mut job = job("held-messages", "");
        for expected in [1, 2, 2, 2, 3] {
            job.polled = job.polled + Duration::from_secs(300);
            let result = client
                .fetch(job.clone(), sink.clone(), Open::default())
                .await;
            assert_eq!(result.unwrap(), Progress::CaughtUp);
            assert_eq!(sink.bodies().len(), expected, "{:?}", sink.bodies());
            job.cursor = sink.cursor();
        }
        let memory = sink.0.lock().unwrap();
        assert_eq!(memory.pushed[0].body, memory.pushed[2].body);
        assert_ne!(memory.pushed[0].id, memory.pushed[2].id);
    }
}
