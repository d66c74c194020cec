//! What the fuzzer throws at the decoders and at the reading of answers, and what must hold whatever it throws.
//!
//! Each function takes any bytes and panics if a promise is broken; `fuzz/fuzz_targets` calls it, and a test calls it with the seeds.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use super::paging::fuzz::pages;

use super::budget::{Budget, Quota, Share};
use super::decode::gzip::Inflated;
use super::decode::lines::{Ends, Lines};
use super::decode::recorder::{self, Recorder};
use super::decode::siem_json::DataArray;
use super::decode::zip::Archive;
use super::decode::{KEPT, MAX_RECORD, Raw, Records};
use super::log_types;
use super::reply::Head;
use crate::health::Origin;
use crate::http;
use crate::model::{
    Counted, Cursor, Event, Form, IntegrationId, Sink, SinkError, StreamId, Timestamp,
};
use crate::secret::Secret;

/// Inflated bytes that are looked at, so that a bomb takes its time once and not at every try.
const INFLATED: u64 = 4 << 20;

/// A log file as it is downloaded. The first byte says what is taken for and in pieces of what size it comes.
pub fn files(data: &[u8]) {
    let Some((&how, file)) = data.split_first() else {
        return;
    };
    let piece = usize::from(how >> 2) + 1;
    match how & 3 {
        0 => lines(file, piece, Ends::LineFeed, Form::Json),
        1 => lines(file, piece, Ends::Either, Form::Text),
        2 => document(file, piece),
        _ => gzip(file, piece),
    }
}

/// A record as it was found: its bytes, or why it is none.
type Found = Result<Vec<u8>, (Vec<u8>, &'static str)>;

/// All records, and whether the file was read to its end.
fn all(mut records: impl Records) -> (Vec<Found>, bool) {
    let mut found = Vec::new();
    loop {
        match records.next() {
            Ok(Some(Raw::Whole(record))) => {
                assert!(record.len() <= MAX_RECORD);
                found.push(Ok(record.to_vec()));
            }
            Ok(Some(Raw::Unfit(record, why))) => {
                assert!(record.len() <= KEPT);
                found.push(Err((record.to_vec(), why)));
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

fn lines(file: &[u8], piece: usize, ends: Ends, form: Form) {
    let found = all(Lines::new(file, ends));
    let in_pieces = BufReader::with_capacity(piece, file);
    assert_eq!(
        found,
        all(Lines::new(in_pieces, ends)),
        "pieces change records"
    );
    // Whatever a file holds, the lines before and behind it are as good as alone.
    let (first, last) = (&b"{\"n\":1}"[..], &b"{\"n\":2}"[..]);
    let between = [first, b"\n", file, b"\n", last].concat();
    let (around, whole) = all(Lines::new(&*between, ends));
    assert!(whole && around.len() == found.0.len() + 2);
    assert_eq!(around.first(), Some(&Ok(first.to_vec())));
    assert_eq!(around.last(), Some(&Ok(last.to_vec())));
    recorded(Lines::new(file, ends), form);
}

fn document(file: &[u8], piece: usize) {
    let in_pieces = BufReader::with_capacity(piece, file);
    assert_eq!(
        all(DataArray::new(file)),
        all(DataArray::new(in_pieces)),
        "pieces change records"
    );
    recorded(DataArray::new(file), Form::Json);
    // The record before the damage is there.
    let begun = [&br#"{"type":"MTA","data":[{"n":1},"#[..], file].concat();
    let (found, _) = all(DataArray::new(&*begun));
    assert_eq!(found.first(), Some(&Ok(br#"{"n":1}"#.to_vec())));
    // Where another parser finds records, the same ones are found here.
    let array = [b"[", file, b"]"].concat();
    if let Ok(records) = serde_json::from_slice::<Vec<&RawValue>>(&array) {
        let whole = [&br#"{"type":"MTA","data":"#[..], &array, b"}"].concat();
        let (found, read) = all(DataArray::new(&*whole));
        assert!(read);
        let texts = records
            .iter()
            .map(|record| Ok(record.get().trim().as_bytes().to_vec()));
        assert!(found.into_iter().eq(texts), "other records than there are");
    }
}

fn gzip(file: &[u8], piece: usize) {
    let read = |file: &[u8]| -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let inflated = Inflated::new(BufReader::with_capacity(piece, file))?;
        inflated.take(INFLATED).read_to_end(&mut plain)?;
        Ok(plain)
    };
    if file.starts_with(&[0x1f, 0x8b]) {
        let inflated = Inflated::new(file).map(|inflated| inflated.take(INFLATED));
        if let Ok(inflated) = inflated {
            let input = BufReader::with_capacity(64 << 10, inflated);
            recorded(Lines::new(input, Ends::LineFeed), Form::Json);
        }
        drop(read(file));
        return;
    }
    let packed = packed(file);
    assert_eq!(
        read(file).ok().as_deref(),
        Some(file),
        "plain bytes are not plain"
    );
    assert_eq!(
        read(&packed).ok().as_deref(),
        Some(file),
        "packed bytes differ"
    );
    // What is cut off is never taken for the whole.
    let cut = packed.len() - 1 - file.len() % (packed.len() - 2).min(16);
    assert!(packed.get(..cut).is_none_or(|cut| read(cut).is_err()));
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let packed = writer.write_all(plain).and_then(|()| writer.finish());
    packed.unwrap_or_default()
}

/// Makes events of the records, and looks at all that reaches the store.
fn recorded(mut records: impl Records, form: Form) {
    let Some(stream) = stream("siem-cg", "receipt") else {
        return;
    };
    let Some(log) = log_types::find("siem") else {
        return;
    };
    let mut sink = Strict::default();
    let origin = recorder::Origin {
        stream: &stream,
        log,
        kind: "receipt",
        form,
        time: Timestamp::from_millis(0),
    };
    let mut recorder = Recorder::new(&mut sink, origin);
    let mut seen = 0;
    while let Ok(Some(record)) = records.next() {
        seen += 1;
        assert!(recorder.take(record).is_ok());
    }
    drop(recorder);
    assert_eq!(sink.read, seen);
    assert_eq!(sink.pushed + sink.aside, seen, "a record is neither");
}

fn stream(log: &str, event_type: &str) -> Option<StreamId> {
    let integration = IntegrationId::new("acme").ok()?;
    Some(StreamId::new(&integration, log, event_type))
}

/// A sink that holds its events to what every output relies on.
#[derive(Default)]
struct Strict {
    pushed: u64,
    aside: u64,
    read: u64,
}

impl Sink for Strict {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        assert!(kind.len() <= 64);
        assert!(event.body.len() <= MAX_RECORD);
        assert!(!event.body.contains(['\n', '\r']), "an event of two lines");
        if form == Form::Json {
            assert!(event.body.starts_with('{') && event.body.ends_with('}'));
            let json = serde_json::from_str::<IgnoredAny>(event.body);
            assert!(json.is_ok(), "an event that is no JSON");
        }
        self.pushed += 1;
        Ok(())
    }

    fn quarantine(&mut self, _: &str, record: &[u8], reason: &str) -> Result<(), SinkError> {
        assert!(record.len() <= MAX_RECORD);
        assert!(!reason.is_empty() && reason.len() < 1_000);
        self.aside += 1;
        Ok(())
    }

    fn keep(&mut self, _: &mut dyn io::Read) -> Result<(), SinkError> {
        Ok(())
    }

    fn count(&mut self, what: Counted) {
        match what {
            Counted::Read => self.read += 1,
            Counted::Known | Counted::FileFetched | Counted::FileQuarantined => {}
        }
    }

    fn listed(&mut self, _: u64) {}

    fn uncommitted(&self) -> u64 {
        0
    }

    fn memo(&self) -> Option<Vec<u8>> {
        None
    }

    fn commit_with(&mut self, _: &Cursor, _: Option<&[u8]>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// An archive as it is downloaded.
pub fn archives(data: &[u8]) {
    const CAP: u64 = 256 << 10;
    let Ok(mut archive) = Archive::spool(data, &std::env::temp_dir(), CAP) else {
        return;
    };
    assert!(
        archive.len() <= data.len(),
        "more files than the archive has bytes"
    );
    let mut inflated = 0;
    for number in 0..archive.len() {
        let Ok(Some(entry)) = archive.entry(number) else {
            continue;
        };
        let mut input = BufReader::with_capacity(4 << 10, entry);
        while let Ok(piece @ [_, ..]) = input.fill_buf() {
            let read = piece.len();
            inflated += read as u64;
            input.consume(read);
        }
    }
    assert!(inflated <= CAP, "{inflated} bytes under a cap of {CAP}");
}

/// An answer of Mimecast's: a line with the status, lines of headers, an empty line, the body.
pub fn answers(data: &[u8]) {
    const SECRET: &str = "fuzzed-secret-value";
    let Some((status, headers, body)) = http::fuzz::answer(data) else {
        return;
    };
    let now = Timestamp::from_millis(1_767_690_487_000);
    let head = Head {
        origin: Origin::Mimecast,
        endpoint: "POST /x".to_owned(),
        status,
        headers,
        sent_id: Some("sent".to_owned()),
        received: now,
        secrets: vec![Secret::new(SECRET.to_owned())],
    };
    let failure = head.refusal(body);
    let fails = serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| {
        body.get("fail")
            .and_then(serde_json::Value::as_array)
            .is_some_and(|fail| !fail.is_empty())
    });
    let says_no = fails && body.trim_ascii_start().first() == Some(&b'{');
    assert!(
        failure.is_some() || ((200..300).contains(&status) && !says_no),
        "a failure counts as success"
    );
    if let Some(failure) = failure {
        let shown = format!("{failure} {failure:?}");
        assert!(!shown.contains(SECRET), "a secret is shown");
        assert!(failure.detail.len() <= 500 + '…'.len_utf8() && failure.code.len() <= 70);
        assert!(!failure.to_string().contains(char::is_control));
        let believed = Duration::from_secs(1)..=Duration::from_secs(900);
        assert!(
            failure
                .retry_after
                .is_none_or(|wait| believed.contains(&wait))
        );
    }
    let Some(stream) = stream("audit", "") else {
        return;
    };
    // Whatever the headers say, nobody is silent for longer than is believed and a window lasts.
    let mut budget = Budget::default();
    let quota = Quota {
        calls: 3,
        window: Duration::from_secs(60),
    };
    let share = Share {
        quota: Some(quota),
        interval: None,
    };
    budget.share(&stream, share);
    budget.tell(head.allowance(), now);
    for _ in 0..5 {
        let next = budget.next(&stream, now);
        assert!(next >= now && next.since(now) <= Duration::from_secs(900 + 61));
        if budget.take(&stream, now).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds::seeds;

    #[test]
    fn every_seed_keeps_what_is_promised_of_files_archives_pages_and_answers() {
        seeds("files").iter().for_each(|seed| files(seed));
        seeds("archives").iter().for_each(|seed| archives(seed));
        seeds("pages").iter().for_each(|seed| pages(seed));
        let answers_of_mimecast = seeds("answers").into_iter().filter(|seed| seed[0] != b'h');
        answers_of_mimecast.for_each(|seed| answers(&seed));
    }
}
