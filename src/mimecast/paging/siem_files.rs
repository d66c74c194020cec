//! API 1.0, `/api/audit/get-siem-logs`: each answer is a log file or a zip of several, and a header names the
//! token of the next one.
//!
//! What an answer is, is told by its bytes: an envelope with `meta`, a zip by its magic, else a file. Record types
//! are told by the beginnings of file names.

use std::io::{BufReader, Read};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;

use super::files::{self, Body, Desk, ReadError, base_name};
use super::place::{FileKey, Place};
use super::{blocking, foreign_cursor, is_object, token_refused};
use crate::health::Failure;
use crate::http::transport_failure;
use crate::mimecast::client::{Answer, Ask, Client, refuse, unreadable};
use crate::mimecast::decode::lines::{Ends, Lines};
use crate::mimecast::decode::recorder;
use crate::mimecast::decode::siem_json::DataArray;
use crate::mimecast::decode::zip::{Archive, MAX_INFLATED};
use crate::mimecast::decode::{BUFFER, DecodeError};
use crate::mimecast::log_types::{Log, Paging};
use crate::mimecast::reply::Head;
use crate::mimecast::{FetchError, Gate, Job, Progress};
use crate::model::{Form, Sink, Timestamp};

const TOKEN: &str = "mc-siem-token";

/// Bytes to which an answer is looked at before it is taken for a file.
const MAX_ENVELOPE: usize = 64 << 10;

/// The record type by the beginning of the file's name; of two that fit, the longer one stands first.
const RECORD_TYPES: [(&str, &str); 12] = [
    ("spameventthread_", "spam event thread"),
    ("ttp_impersonation_", "impersonation protect"),
    ("impersonation_", "impersonation protect"),
    ("delivery_", "delivery"),
    ("receipt_", "receipt"),
    ("process_", "process"),
    ("ttp_url_", "url protect"),
    ("ttp_ap_", "attachment protect"),
    ("av_tse", "av"),
    ("jrnl_", "journal"),
    ("iep_", "internal email protect"),
    ("av_", "av"),
];

fn record_type(name: &str) -> &'static str {
    let name = base_name(name).to_ascii_lowercase();
    let row = RECORD_TYPES.iter().find(|row| name.starts_with(row.0));
    row.map_or("unknown", |row| row.1)
}

/// The request for the files at a place.
pub(super) fn body(log: &Log, place: &Place) -> String {
    let mut data = json!({"type": "MTA"});
    if let (Paging::SiemFiles { format, compress }, Some(members)) =
        (log.paging, data.as_object_mut())
    {
        members.insert("fileFormat".to_owned(), format.as_str().into());
        members.insert("compress".to_owned(), compress.into());
    }
    if let (Some(token), Some(members)) = (place.token(), data.as_object_mut()) {
        members.insert("token".to_owned(), token.into());
    }
    json!({ "data": [data] }).to_string()
}

/// What an answer with no file says.
#[derive(Debug, PartialEq)]
pub(super) struct Envelope {
    last_token: bool,
}

/// Reads an answer as an envelope; `None` for a file.
pub(super) fn envelope(body: &[u8]) -> Option<Envelope> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        meta: Option<Meta>,
        #[serde(default)]
        fail: Option<serde::de::IgnoredAny>,
    }

    #[derive(Deserialize)]
    struct Meta {
        #[serde(default, rename = "isLastToken")]
        last_token: Option<bool>,
    }

    if !is_object(body) {
        return None;
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let last = wire.meta.as_ref().and_then(|meta| meta.last_token);
    (wire.meta.is_some() || wire.fail.is_some()).then_some(Envelope {
        last_token: last.unwrap_or(false),
    })
}

/// The file's name, as the answer gives it.
fn file_name(head: &Head) -> Option<&str> {
    let (_, name) = head
        .header(CONTENT_DISPOSITION.as_str())?
        .split_once("filename=")?;
    let name = name.trim_start_matches('"').split(['"', ';']).next()?;
    Some(base_name(name.trim()))
}

/// Takes one step: one answer with all its files.
pub(in crate::mimecast) async fn fetch<S: Sink, G: Gate>(
    client: &Client,
    job: Job,
    sink: S,
    gate: G,
) -> Result<Progress, FetchError> {
    let place = match &job.cursor {
        Some(cursor) => Place::read(cursor).map_err(|why| foreign_cursor(&job.stream, why))?,
        None => Place::default(),
    };
    // Before the answer comes, so that no connection lies idle for want of a decoder.
    let slot = client.limits().decoder().await?;
    let json = body(&job.log, &place);
    let blame = |error| match place.token() {
        Some(_) => token_refused(error, "invalid_cursor"),
        None => error,
    };
    let mut answer = client
        .send(&gate, &job.log.path, Ask::Json(&json))
        .await
        .map_err(blame)?;
    let next = answer.head.header(TOKEN).map(str::to_owned);
    let begun = match look(&mut answer, next.is_some()).await {
        Ok(begun) => begun,
        Err(failure) => return Err(blame(refuse(&gate, failure))),
    };
    let mut desk = Desk::new(client, job, place, sink);
    let last = match begun {
        Begun::Envelope(envelope) => envelope.last_token,
        Begun::File(begun) => {
            let file = Answered::new(client, &answer.head, &begun);
            let (name, size, key) = (file.name.clone(), file.size, file.key);
            let slot = (slot, desk.keeps_in(client));
            let work = move |body: &mut Body, desk: &mut Desk<S>| file.store(body, desk);
            let (back, result) = files::decode(&gate, answer, begun, slot, desk, work).await;
            desk = back;
            if let Err(error) = result {
                let lost = match error {
                    ReadError::Fetch(error) => return Err(error),
                    ReadError::Lost(failure, kept) => (failure, kept),
                };
                let whole = desk.place.is_at(key);
                let (back, result) =
                    blocking(desk, move |desk| desk.lost(&gate, (&name, size), lost)).await;
                result?;
                if !whole {
                    // One file of an archive is given up: the archive is fetched again for the others.
                    return Ok(Progress::More);
                }
                desk = back;
            }
            false
        }
    };
    let (_, moved) = blocking(desk, move |desk| desk.turn(next)).await;
    Ok(files::progress(moved?, last))
}

enum Begun {
    Envelope(Envelope),
    /// With the bytes that were looked at.
    File(Bytes),
}

/// Looks at the beginning of a body to tell what it is.
async fn look<P>(answer: &mut Answer<P>, has_token: bool) -> Result<Begun, Failure> {
    let head = &answer.head;
    let mut begun = BytesMut::new();
    let mut complete = false;
    while begun.len() < MAX_ENVELOPE && !complete {
        let piece = answer.response.chunk().await;
        match piece.map_err(|error| transport_failure(&error, &head.endpoint))? {
            Some(piece) => begun.extend_from_slice(&piece),
            None => complete = true,
        }
    }
    let begun = begun.freeze();
    if complete {
        if let Some(failure) = head.refusal(&begun) {
            return Err(failure);
        }
        if let Some(envelope) = envelope(&begun) {
            return Ok(Begun::Envelope(envelope));
        }
    }
    let html = head
        .header(CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("text/html"));
    if html || (begun.is_empty() && !has_token) {
        let what = if html { "a web page" } else { "nothing" };
        return Err(unreadable(head, what));
    }
    Ok(Begun::File(begun))
}

/// A file that was answered.
struct Answered {
    name: String,
    size: Option<u64>,
    key: FileKey,
    is_zip: bool,
    folder: PathBuf,
    now: Timestamp,
}

impl Answered {
    fn new(client: &Client, head: &Head, begun: &[u8]) -> Self {
        let name = file_name(head)
            .unwrap_or("a file without a name")
            .to_owned();
        let size = head.header(CONTENT_LENGTH.as_str());
        let size = size.and_then(|size| size.parse().ok());
        Self {
            key: FileKey::new(&name, size),
            name,
            size,
            is_zip: begun.starts_with(b"PK"),
            folder: client.limits().folder().to_owned(),
            now: client.clock().wall(),
        }
    }

    fn store<S: Sink>(self, input: impl Read, desk: &mut Desk<S>) -> Result<(), DecodeError> {
        if !self.is_zip {
            return if desk.place.is_done(self.key) {
                Ok(())
            } else {
                desk.begin(self.key);
                self.store_file(input, &self.name, desk)
            };
        }
        // A strike must count against what is damaged, and not against a file that a former step left half read.
        let opened = Archive::spool(input, &self.folder, MAX_INFLATED);
        let mut archive = opened.inspect_err(|_| desk.begin(self.key))?;
        if desk.place.is_at(self.key) {
            // It was damaged before, and has come whole.
            desk.finish();
        }
        for number in 0..archive.len() {
            let unreadable = FileKey::new(&format!("entry {number}"), None);
            if desk.place.is_done(unreadable) {
                continue;
            }
            let entry = archive.entry(number);
            let Some(entry) = entry.inspect_err(|_| desk.begin(unreadable))? else {
                continue;
            };
            let key = FileKey::new(
                &format!("{} {:08x}", entry.name, entry.crc),
                Some(entry.size),
            );
            if !desk.place.is_done(key) {
                desk.begin(key);
                let name = entry.name.clone();
                self.store_file(entry, &name, desk)?;
            }
        }
        Ok(())
    }

    fn store_file<S: Sink>(
        &self,
        input: impl Read,
        name: &str,
        desk: &mut Desk<S>,
    ) -> Result<(), DecodeError> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let is_json = files::first_byte(&mut input)? == Some(b'{');
        let job = desk.job.clone();
        let origin = recorder::Origin {
            stream: &job.stream,
            log: job.log.row,
            kind: record_type(name),
            form: if is_json { Form::Json } else { Form::Text },
            time: files::time_of_name(base_name(name)).unwrap_or(self.now),
        };
        if is_json {
            desk.store(DataArray::new(input), origin)
        } else {
            desk.store(Lines::new(input, Ends::Either), origin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimecast::Source as _;
    use crate::mimecast::decode::zip::testing::zip;
    use crate::mimecast::testing::{Open, Server, Shared, client, http, job, v1};

    #[test]
    fn the_record_type_is_told_by_the_longest_beginning() {
        for (name, expected) in [
            ("receipt_20260106090807123.json", "receipt"),
            ("../x/TTP_Impersonation_1.siem", "impersonation protect"),
            ("av_tse_1.json", "av"),
            ("ttp_url_1.json", "url protect"),
            ("mystery_1.json", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(record_type(name), expected, "{name}");
        }
        // The table is searched from its top.
        for (n, (longer, _)) in RECORD_TYPES.iter().enumerate() {
            for (shorter, _) in &RECORD_TYPES[..n] {
                assert!(!longer.starts_with(shorter), "{longer} is never reached");
            }
        }
    }

    #[test]
    fn the_token_is_sent_once_there_is_one() {
        let log = job("siem", "").log;
        let mut place = Place::default();
        assert_eq!(
            body(&log, &place),
            r#"{"data":[{"compress":true,"fileFormat":"json","type":"MTA"}]}"#
        );
        place.turn(Some("tokA".to_owned()));
        assert!(body(&log, &place).contains(r#""token":"tokA""#));
    }

    #[test]
    fn a_file_is_told_from_an_envelope() {
        let read = |text: &str| envelope(text.as_bytes()).map(|e| e.last_token);
        assert_eq!(
            read(r#"{"meta":{"isLastToken":true,"status":200},"data":[],"fail":[]}"#),
            Some(true)
        );
        assert_eq!(read(r#"{"meta":{"status":200},"data":[]}"#), Some(false));
        assert_eq!(read(r#"{"fail":[{"code":"x"}]}"#), Some(false));
        assert_eq!(read(r#"{"type":"MTA","data":[{"meta":1}]}"#), None);
        assert_eq!(read("datetime=2026|acc=C"), None);
        assert_eq!(read(r#"[{"isLastToken":true},1]"#), None);
    }

    /// A zip, then a plain file of lines, then nothing more.
    fn vendor(_: &str, request: &str) -> Vec<u8> {
        assert!(request.starts_with("POST /api/audit/get-siem-logs HTTP/1.1"));
        assert!(
            request.contains("authorization: MC access-key:"),
            "{request}"
        );
        assert!(request.contains("x-mc-date: Tue, 06 Jan 2026 09:08:07 UTC\r\n"));
        if request.contains(r#""token":"tokC""#) {
            return http(
                200,
                "Content-Type: application/json\r\n",
                r#"{"meta":{"isLastToken":true,"status":200},"data":[],"fail":[]}"#,
            );
        }
        if request.contains(r#""token":"tokB""#) {
            return http(
                200,
                "mc-siem-token: tokC\r\nContent-Disposition: attachment; filename=\"jrnl_20260106090807123.siem\"\r\n",
                "acc=C|Dir=Inbound\racc=C|datetime=2026-01-06T10:08:07+0100\r\n",
            );
        }
        let archive = zip(&[
            (
                "receipt_20260106090807123.json",
                r#"{"type":"MTA","data":[{"n":1},{"n":2}]}"#,
            ),
            ("../process_1.json", r#"{"type":"MTA","data":[{"n":3}]}"#),
            ("empty.json", ""),
        ]);
        http(200, "mc-siem-token: tokB\r\n", archive)
    }

    async fn step(server: &Server, sink: &Shared) -> Result<Progress, FetchError> {
        let mut job = job("siem", "");
        job.cursor = sink.cursor();
        let client = client(&server.url, v1());
        client.fetch(job, sink.clone(), Open::default()).await
    }

    #[tokio::test]
    async fn a_chain_of_tokens_is_followed_to_its_end() {
        let server = Server::start(vendor).await;
        let sink = Shared::default();
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::More);
        assert_eq!(sink.cursor().unwrap().as_str(), r#"{"v":1,"token":"tokB"}"#);
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::More);
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::CaughtUp);
        let pushed = sink.0.lock().unwrap().pushed.clone();
        let kinds: Vec<_> = pushed.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["receipt", "receipt", "process", "journal", "journal"]
        );
        assert_eq!(pushed[0].time.to_string(), "2026-01-06T09:08:07.123Z");
        assert_eq!(pushed[4].body, "acc=C|datetime=2026-01-06T10:08:07+0100");
        assert_eq!((pushed[0].form, pushed[4].form), (Form::Json, Form::Text));
        assert_eq!(sink.cursor().unwrap().as_str(), r#"{"v":1,"token":"tokC"}"#);
    }

    #[tokio::test]
    async fn a_failure_under_http_200_is_a_failure() {
        let server = Server::start(|_, _| {
            http(200, "mc-siem-token: t\r\n", r#"{"meta":{"status":418},"fail":[{"errors":[{"code":"err_xdk_binding_expired","message":"0001 AccessKey Has Expired"}]}]}"#)
        })
        .await;
        let error = step(&server, &Shared::default()).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("418/0001 from POST /api/audit/get-siem-logs"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_web_page_is_not_taken_for_a_log_file() {
        let server = Server::start(|_, _| {
            http(
                200,
                "Content-Type: text/html\r\nmc-siem-token: t\r\n",
                "<p>log on</p>",
            )
        })
        .await;
        let sink = Shared::default();
        let error = step(&server, &sink).await.unwrap_err();
        assert!(error.to_string().starts_with("transport/body"), "{error}");
        assert_eq!(sink.cursor(), None);
    }

    #[tokio::test]
    async fn a_damaged_archive_does_not_block_the_chain_for_ever() {
        let server = Server::start(|_, request| {
            if request.contains("tokB") {
                return vendor("", request);
            }
            http(200, "mc-siem-token: tokB\r\n", "PK\u{3}\u{4} and no more")
        })
        .await;
        let sink = Shared::default();
        for _ in 1..5 {
            assert!(step(&server, &sink).await.is_err());
        }
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::More);
        assert_eq!(sink.cursor().unwrap().as_str(), r#"{"v":1,"token":"tokB"}"#);
        assert_eq!(sink.0.lock().unwrap().quarantined.len(), 1);
        let kept = sink.0.lock().unwrap().kept.clone();
        assert_eq!(kept, [b"PK\x03\x04 and no more"]);
    }

    #[tokio::test]
    async fn one_damaged_file_does_not_cost_its_neighbours() {
        let server = Server::start(|_, _| {
            let file = r#"{"type":"MTA","data":[{"n":1}]}"#;
            let mut archive = zip(&[("a.json", file), ("b.json", &file.replace('1', "2"))]);
            // Within the first entry's data, so that its checksum does not fit.
            archive[50] ^= 1;
            http(200, "mc-siem-token: tokB\r\n", archive)
        })
        .await;
        let sink = Shared::default();
        for _ in 1..5 {
            assert!(step(&server, &sink).await.is_err());
        }
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::More);
        assert_eq!(step(&server, &sink).await.unwrap(), Progress::More);
        // As it came: a part of an archive cannot be looked at alone.
        let kept = sink.0.lock().unwrap().kept.clone();
        assert!(kept.len() == 1 && kept[0].starts_with(b"PK"), "{kept:?}");
        // What came before the damage is stored, once.
        assert_eq!(sink.bodies(), [r#"{"n":1}"#, r#"{"n":2}"#]);
        assert_eq!(sink.cursor().unwrap().as_str(), r#"{"v":1,"token":"tokB"}"#);
    }
}
