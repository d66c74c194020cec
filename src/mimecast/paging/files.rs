//! What both styles of files share: reading one from the network to the store, in parts, with its place.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::joined;
use super::place::{FileKey, Moved, Place};
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::transport_failure;
use crate::mimecast::client::{Answer, Client, refuse};
use crate::mimecast::decode::copied::{Copied, Kept};
use crate::mimecast::decode::pipe::{Feed, Pipe, pipe};
use crate::mimecast::decode::recorder::{self, Recorder};
use crate::mimecast::decode::{DecodeError, Records};
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Counted, Sink, SinkError, Timestamp};

/// Uncompressed bytes of events that are committed at once.
const PART: u64 = 32 << 20;
/// A part is not kept waiting longer, or outputs would.
const PART_TIME: Duration = Duration::from_millis(500);
/// How often a file that cannot be read is fetched again, each time after the wait that health prescribes,
/// before it is put aside: one damaged file must not hold up its stream for ever.
const TRIES: u32 = 5;
/// A file that is not there is waited for by time: the vendor may list it before it can be fetched.
const MISSING_TRIES: u32 = 3;
const MISSING_FOR: Duration = Duration::from_hours(1);

/// A stream's sink with the place in the stream, moved together to blocking threads and back.
pub(super) struct Desk<S> {
    pub(super) sink: S,
    pub(super) place: Place,
    pub(super) job: Job,
    clock: Clock,
}

/// Why a file was not read.
pub(super) enum ReadError {
    /// It came whole and cannot be read, or is not there: trying again may not help. With what was kept of it, if this was the last try.
    Lost(Failure, Kept),
    /// Anything else.
    Fetch(FetchError),
}

impl<S: Sink> Desk<S> {
    pub(super) fn new(client: &Client, job: Job, place: Place, sink: S) -> Self {
        let clock = client.clock().clone();
        Self {
            sink,
            place,
            job,
            clock,
        }
    }

    /// Commits what was pushed with the present place.
    pub(super) fn commit(&mut self) -> Result<(), SinkError> {
        let cursor = self.place.cursor()?;
        self.sink.commit(&cursor)
    }

    /// Takes note of the files that a page lists.
    pub(super) fn list(&mut self, files: impl Iterator<Item = FileKey>) {
        let new: BTreeSet<_> = files.filter(|file| !self.place.is_done(*file)).collect();
        self.sink.listed(new.len() as u64);
    }

    /// Turns to a file that no page listed; another one that was begun is given up for it.
    pub(super) fn begin(&mut self, file: FileKey) {
        if !self.place.is_at(file) {
            self.sink.listed(0);
        }
        self.sink.listed(1);
        self.place.begin(file);
    }

    /// The current file is read to its end.
    pub(super) fn finish(&mut self) {
        self.place.finish();
        self.sink.count(Counted::FileFetched);
    }

    /// Turns the page: commits if anything changed, for an empty poll writes nothing.
    pub(super) fn turn(&mut self, token: Option<String>) -> Result<Moved, SinkError> {
        self.sink.listed(0);
        let moved = self.place.turn(token);
        let cursor = self.place.cursor()?;
        if self.sink.uncommitted() > 0 || self.job.cursor.as_ref() != Some(&cursor) {
            self.sink.commit(&cursor)?;
        }
        Ok(moved)
    }

    /// Where to keep the file that is read next, as it comes: if it is damaged once more, that was its last try.
    pub(super) fn keeps_in(&self, client: &Client) -> Option<PathBuf> {
        let last = self.place.tries() + 1 >= TRIES;
        last.then(|| client.limits().folder().to_owned())
    }

    /// Stores the records of a file that are not stored yet, in parts, and finishes it.
    ///
    /// If the file turns out to be damaged, the place is behind the last record that came before the damage.
    pub(super) fn store<R: Records>(
        &mut self,
        mut records: R,
        origin: recorder::Origin<'_>,
    ) -> Result<(), DecodeError> {
        let stored = self.place.records();
        let mut recorder = Recorder::new(&mut self.sink, origin);
        let mut committed = self.clock.monotonic();
        let mut seen = 0;
        while let Some(record) = records.next()? {
            seen += 1;
            if seen <= stored {
                continue;
            }
            recorder.take(record)?;
            self.place.reach(seen);
            let part = recorder.sink.uncommitted();
            let waited = || self.clock.monotonic().saturating_sub(committed) >= PART_TIME;
            if part >= PART || (part > 0 && waited()) {
                recorder.sink.commit(&self.place.cursor()?)?;
                committed = self.clock.monotonic();
            }
        }
        drop(recorder);
        self.finish();
        self.commit()?;
        Ok(())
    }

    /// Decides about the current file, which cannot be read to its end: tried again later, or put aside after so
    /// many tries with all that is needed to ask for it, and whole if it came. What stands before the damage is stored.
    pub(super) fn lost<G: Gate>(
        &mut self,
        gate: &G,
        (name, size): (&str, Option<u64>),
        (failure, kept): (Failure, Kept),
    ) -> Result<(), FetchError> {
        let strikes = self.place.strike(self.clock.now());
        let given_up = if failure.origin == Origin::ObjectStore {
            strikes.tries >= MISSING_TRIES && strikes.over >= MISSING_FOR
        } else {
            strikes.tries >= TRIES
        };
        if !given_up {
            self.commit()?;
            return Err(refuse(gate, failure));
        }
        tracing::error!(stream = %self.job.stream, file = name, %failure, "a file is given up");
        let tries = strikes.tries;
        let fate = match kept {
            Kept::Nothing => "",
            Kept::Whole(_) => ", and is kept as it came",
            Kept::TooLarge => ", and is not kept: it has more than 64 MiB",
        };
        let reason = format!("the file could not be read in {tries} tries{fate}: {failure}");
        let token = self.place.token();
        let record = serde_json::json!({"file": name, "size": size, "token": token});
        // Lines of it that were put aside are so by themselves: what is kept belongs to this record.
        self.commit()?;
        let kind = kind(&self.job);
        self.sink
            .quarantine(kind, record.to_string().as_bytes(), &reason)?;
        if let Kept::Whole(mut file) = kept {
            self.sink.keep(&mut file)?;
        }
        self.sink.count(Counted::FileQuarantined);
        self.place.finish();
        self.commit()?;
        Ok(())
    }
}

/// The record type of a stream that has but one.
pub(super) fn kind(job: &Job) -> &str {
    match &*job.stream.event_type {
        "" => &job.stream.log,
        event_type => event_type,
    }
}

/// A body as it arrives.
pub(super) type Body = Copied<Pipe>;

/// Runs a decoder over a body as it arrives; `begun` is what was read of it already. A body that is damaged is kept in the folder `keeps_in`,
/// if there is one.
pub(super) async fn decode<G, W, T>(
    gate: &G,
    answer: Answer<G::Permit>,
    begun: Bytes,
    (slot, keeps_in): (OwnedSemaphorePermit, Option<PathBuf>),
    mut on: W,
    work: impl FnOnce(&mut Body, &mut W) -> Result<T, DecodeError> + Send + 'static,
) -> (W, Result<T, ReadError>)
where
    G: Gate,
    W: Send + 'static,
    T: Send + 'static,
{
    let (feed, pipe) = pipe();
    let decoder = tokio::task::spawn_blocking(move || {
        let result = match keeps_in {
            Some(folder) => Copied::into_folder(pipe, &folder),
            None => Ok(Copied::not(pipe)),
        };
        let result = result.map_err(|error| (error, Kept::Nothing));
        let result = result.and_then(|mut body| {
            work(&mut body, &mut on).map_err(|error| match error {
                DecodeError::Damaged(why) => match body.rest() {
                    Ok(kept) => (DecodeError::Damaged(why), kept),
                    Err(error) => (error, Kept::Nothing),
                },
                DecodeError::Local(_) | DecodeError::Sink(_) => (error, Kept::Nothing),
            })
        });
        drop(slot);
        (on, result)
    });
    let Answer {
        head,
        response,
        permit,
    } = answer;
    let download = async {
        let result = pump(response, begun, feed, &head.endpoint).await;
        drop(permit);
        result
    };
    let (downloaded, decoded) = tokio::join!(download, decoder);
    let (on, decoded) = joined(decoded).await;
    let result = decoded.map_err(|(error, kept)| match (error, downloaded) {
        (DecodeError::Sink(error), _) => ReadError::Fetch(error.into()),
        (DecodeError::Local(error), _) => ReadError::Fetch(local(gate, &error)),
        // The decoder could not know why its input broke off.
        (DecodeError::Damaged(_), Err(failure)) => ReadError::Fetch(refuse(gate, failure)),
        (DecodeError::Damaged(why), Ok(())) => {
            let failure = Failure::new(Origin::Transport, 0, "body", &head.endpoint);
            ReadError::Lost(failure.with_detail(&format!("a damaged file: {why}")), kept)
        }
    });
    (on, result)
}

async fn pump(
    mut response: reqwest::Response,
    begun: Bytes,
    feed: Feed,
    endpoint: &str,
) -> Result<(), Failure> {
    let mut piece = Some(begun);
    while let Some(bytes) = piece {
        if !feed.push(bytes).await {
            return Ok(());
        }
        piece = response
            .chunk()
            .await
            .map_err(|error| transport_failure(&error, endpoint))?;
    }
    feed.end().await;
    Ok(())
}

fn local<G: Gate>(gate: &G, error: &io::Error) -> FetchError {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded) {
        return FetchError::Sink(SinkError::Full);
    }
    let place = "the folder for temporary files";
    let failure = Failure::new(Origin::Local, 0, "temporary-file", place);
    refuse(gate, failure.with_detail(&error.to_string()))
}

/// The time in a file's name, `process_20260106090807123.json`.
pub(super) fn time_of_name(name: &str) -> Option<Timestamp> {
    let digits = name
        .split(|c: char| !c.is_ascii_digit())
        .find(|digits| digits.len() == 14 || digits.len() == 17)?;
    let (seconds, millis) = digits.split_at_checked(14)?;
    let time = jiff::fmt::strtime::parse("%Y%m%d%H%M%S%z", format!("{seconds}+0000")).ok()?;
    let time = Timestamp::from_millis(time.to_timestamp().ok()?.as_millisecond());
    Some(time + Duration::from_millis(millis.parse().unwrap_or(0)))
}

/// The last part of a path, which is all of it that is looked at.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The first byte of a file that is not white space; a byte order mark and what stands before it are read away.
pub(super) fn first_byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        let Some(&byte) = buffer.first() else {
            return Ok(None);
        };
        if !byte.is_ascii_whitespace() && !matches!(byte, 0xef | 0xbb | 0xbf) {
            return Ok(Some(byte));
        }
        input.consume(1);
    }
}

/// A page is read: what that means for the poll.
pub(super) fn progress(moved: Moved, caught_up: bool) -> Progress {
    match moved {
        Moved::On if !caught_up => Progress::More,
        Moved::On | Moved::Nowhere => Progress::CaughtUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::decode::lines::{Ends, Lines};
    use crate::mimecast::testing::{Memory, client, job, v1};
    use crate::model::{Cursor, Form};

    #[test]
    fn the_time_in_a_name_is_read_if_it_is_one() {
        let read = |name: &str| time_of_name(name).map(|time| time.to_string());
        assert_eq!(
            read("process_20260106090807123.json").unwrap(),
            "2026-01-06T09:08:07.123Z"
        );
        assert_eq!(
            read("a_20260106090807").unwrap(),
            "2026-01-06T09:08:07.000Z"
        );
        for without in ["", "a.json", "99999999999999999", "2026-01-06-0900.json.gz"] {
            assert_eq!(read(without), None, "{without}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_committed_with_the_records_it_holds() {
        let job = job("siem-cg", "receipt");
        let mut place = Place::default();
        place.begin(super::super::place::FileKey::new("a", None));
        let client = client("http://127.0.0.1:1", v1());
        let mut desk = Desk::new(&client, job.clone(), place, Memory::default());
        let origin = recorder::Origin {
            stream: &job.stream,
            log: job.log.row,
            kind: "receipt",
            form: Form::Json,
            time: Timestamp::from_millis(0),
        };
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 19)).repeat(130);
        desk.store(Lines::new(long.as_bytes(), Ends::LineFeed), origin)
            .unwrap();
        let commits = desk.sink.commits.clone();
        assert_eq!(
            commits.iter().map(|c| c.1).collect::<Vec<_>>(),
            [64, 128, 130]
        );
        let first = Place::read(&Cursor::new(commits[0].0.clone()).unwrap()).unwrap();
        assert_eq!(first.records(), 64);
    }
}
