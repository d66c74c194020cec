//! What the fuzzer throws at the reading of pages and cursors; see [`crate::mimecast::fuzz`].

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::overlap::Overlap;
use super::place::Place;
use super::{batch_files, envelope, feed, is_object, siem_files, stream};
use crate::mimecast::decode::{csv, stix};
use crate::model::{Cursor, EventId, Timestamp, text};

/// The body of an answer. The first byte says whose page it is taken for.
pub fn pages(data: &[u8]) {
    let Some((&whose, body)) = data.split_first() else {
        return;
    };
    match whose % 6 {
        0 => envelopes(body),
        1 => links(body),
        2 => events(body),
        3 => files(body),
        4 => feeds(body),
        _ => cursors(body),
    }
}

fn envelopes(body: &[u8]) {
    let body = text(body);
    for list in [None, Some("logs")] {
        let Ok(page) = envelope::Page::read(&body, list) else {
            continue;
        };
        assert!(is_object(body.as_bytes()));
        assert!(
            page.next.as_deref() != Some(""),
            "an empty token is followed"
        );
        assert!(
            page.next.is_none() || !page.records.is_empty(),
            "an empty page is followed"
        );
        // Records are the bytes that came, in their order.
        let mut rest = &*body;
        for record in &page.records {
            let (_, behind) = rest.split_once(record.get()).unwrap_or(("", "lost"));
            assert!(behind != "lost", "a record that the page does not have");
            rest = behind;
        }
    }
    let around = format!(
        r#"{{"meta":{{"pagination":{{"next":"t"}}}},"data":[{{"n":1}},{body}],"fail":[]}}"#
    );
    if let Ok(page) = envelope::Page::read(&around, None) {
        assert_eq!(
            page.records.first().map(|record| record.get()),
            Some(r#"{"n":1}"#)
        );
        assert_eq!(page.next.as_deref(), Some("t"));
    }
}

fn links(body: &[u8]) {
    let Ok(page) = batch_files::Page::read(body) else {
        return;
    };
    assert!(is_object(body));
    assert!(
        page.next.as_deref() != Some(""),
        "an empty token is followed"
    );
    for listed in &page.files {
        assert!(
            page.link(listed.key).is_some(),
            "a file that cannot be found again"
        );
        assert!(
            !format!("{:?}", listed.link).contains('?'),
            "a signature is shown"
        );
        assert!(!listed.link.host().is_empty());
    }
}

fn events(body: &[u8]) {
    let body = text(body);
    if let Ok(page) = stream::Page::read(&body) {
        assert!(is_object(body.as_bytes()));
        assert!(page.token() != Some(""), "an empty token is followed");
    }
    // A token of partitions at these offsets is taken, unless all of them are zero.
    let offsets: Vec<u8> = body.bytes().take(8).map(|byte| byte % 3).collect();
    let partitions: Vec<_> = offsets
        .iter()
        .enumerate()
        .map(|(n, at)| format!("p{n}=0-{at}"))
        .collect();
    let token = STANDARD.encode(format!("1:[{}]", partitions.join(",")));
    let page = serde_json::json!({"value": [], "@nextPage": token, "isCaughtUp": true}).to_string();
    let zero = !offsets.is_empty() && offsets.iter().all(|at| *at == 0);
    let read = stream::Page::read(&page);
    let taken = read.is_ok_and(|page| page.token().is_some());
    assert!(
        offsets.is_empty() || taken != zero,
        "{partitions:?} is taken: {taken}"
    );
}

fn files(body: &[u8]) {
    if siem_files::envelope(body).is_some() {
        assert!(is_object(body), "a file is taken for an envelope");
    }
}

fn feeds(body: &[u8]) {
    assert!(!feed::is_empty(body) || is_object(body));
    let body = String::from_utf8_lossy(body);
    for row in csv::objects(&body) {
        let row = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&row);
        assert!(row.is_ok(), "a row that is no object");
    }
    if let Ok(objects) = stix::objects(&body) {
        let bytes: usize = objects.iter().map(|object| object.get().len()).sum();
        assert!(bytes <= body.len(), "more objects than the bundle has");
    }
    // A quarter of the bytes as the fields of a table: all of them come back.
    let fields: Vec<String> = body
        .split('\u{1f}')
        .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
        .collect();
    let names = vec!["\"n\""; fields.len()].join("|");
    let table = format!("{names}\n{}\n", fields.join("|"));
    assert_eq!(csv::objects(&table).count(), 1, "one row is not one row");
}

fn cursors(body: &[u8]) {
    if let Some(memo) = Overlap::decode(body) {
        let mut listing = memo.listing();
        let id = EventId([7; 16]);
        let time = Timestamp::from_millis(0);
        let (first, second) = (listing.take(id, time), listing.take(id, time));
        assert!(
            first.is_none() || first < second,
            "equal records with equal ordinals"
        );
    }
    let Ok(cursor) = Cursor::new(text(body).into_owned()) else {
        return;
    };
    let Ok(mut place) = Place::read(&cursor) else {
        return;
    };
    let again = place.cursor().ok().map(|cursor| Place::read(&cursor));
    // One that fills a cursor forgets the oldest finished files.
    if body.len() < Cursor::MAX_LEN / 2 {
        assert_eq!(again, Some(Ok(place.clone())), "a place that moves");
    }
    let strikes = place.strike(Timestamp::from_millis(1_767_690_487_000));
    assert!(strikes.over <= Duration::from_secs(1_767_690_487));
}
