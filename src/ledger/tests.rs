use std::time::Duration;

use super::*;
use crate::model::Position;
use crate::store::{AsideRecord, StreamRecord, Tally};

const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);
const STREAM: &str = "acme/siem-cg/receipt";

fn splunk() -> OutputId {
    OutputId::new("splunk").unwrap()
}

fn lane() -> LaneId {
    LaneId::from_text(STREAM)
}

/// A stream that has read 12 records of 2 files; an output that has passed 6 of its 9 events, one of them refused.
fn stored() -> Snapshot {
    let books = Books {
        opened: NOW - Duration::from_hours(1),
        before: 0,
        tally: Tally {
            read: 12,
            stored: 9,
            known: 2,
            quarantined: 1,
            files_listed: 3,
            files_fetched: 2,
            ..Tally::default()
        },
        waiting: 1,
        set_back: 0,
        rescued: None,
    };
    let mut stored = Snapshot::default();
    let stream = StreamRecord {
        books: Some(books),
        newest: Some(NOW),
        ..StreamRecord::default()
    };
    stored.streams.insert(STREAM.to_owned(), stream);
    let end = Position {
        segment: 1,
        offset: 900,
        event: 0,
    };
    let lane_record = LaneRecord {
        end,
        events: 9,
        from: None,
    };
    stored.lanes.insert(lane(), lane_record);
    let at = PositionRecord {
        position: Position { offset: 600, ..end },
        passed: 6,
        accepted: 5,
        rejected: 1,
        began: Some(0),
        ..PositionRecord::default()
    };
    stored.positions.insert((splunk(), lane()), at);
    stored
}

fn draw(stored: &Snapshot, before: Option<u64>) -> Ledger {
    let ahead = before.map(|before| Ahead { before, time: NOW });
    let fronts = ahead.map(|ahead| ((splunk(), lane()), ahead));
    Ledger::of(stored, &fronts.into_iter().collect(), NOW)
}

fn differences(
    change: impl FnOnce(&mut StreamRecord, &mut LaneRecord, &mut PositionRecord),
) -> Vec<String> {
    let mut stored = stored();
    change(
        stored.streams.get_mut(STREAM).unwrap(),
        stored.lanes.get_mut(&lane()).unwrap(),
        stored.positions.get_mut(&(splunk(), lane())).unwrap(),
    );
    draw(&stored, Some(6)).differences
}

#[test]
fn books_that_balance_say_so_and_what_waits() {
    let ledger = draw(&stored(), Some(6));
    assert_eq!(
        ledger.sentence,
        "balances: of 12 records read, 9 were stored, 2 known already, 1 put aside; of the stored, 3 wait for an output"
    );
    assert!(ledger.balances && ledger.notes.is_empty());
    assert_eq!(ledger.outputs[0].waiting, 3);
}

#[test]
fn one_too_few_anywhere_is_said_with_its_place_and_size() {
    assert_eq!(
        differences(|stream, _, _| stream.books.as_mut().unwrap().tally.read += 1),
        [
            "acme/siem-cg/receipt: records read 13, stored, known and put aside 12, a difference of 1"
        ]
    );
    assert_eq!(
        differences(|stream, _, _| stream.books.as_mut().unwrap().waiting -= 1),
        [
            "acme/siem-cg/receipt: files listed 3, fetched, put aside, withdrawn and waiting 2, a difference of 1"
        ]
    );
    assert_eq!(
        differences(|_, lane, _| lane.events -= 2),
        [
            "acme/siem-cg/receipt: events in the lane 7, stored, with those from before 9, a difference of 2"
        ]
    );
    assert_eq!(
        differences(|_, _, at| at.accepted -= 1),
        [
            "acme/siem-cg/receipt at splunk: events passed 6, accepted, refused, withheld, filtered and skipped, with those from before 5, a difference of 1"
        ]
    );
    assert_eq!(
        differences(|_, _, at| (at.passed, at.accepted) = (7, 6)),
        [
            "acme/siem-cg/receipt at splunk: events before its place on disk 6, passed 7, a difference of 1"
        ]
    );
    assert_eq!(
        differences(|_, _, at| (at.passed, at.accepted) = (4, 3)),
        ["acme/siem-cg/receipt at splunk: 2 events passed, and neither accepted nor refused"]
    );
}

#[test]
fn what_a_filter_has_dropped_is_passed_and_not_missing() {
    let dropped = differences(|_, _, at| (at.accepted, at.filtered) = (3, 2));
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(differences(|_, _, at| at.filtered = 1).len(), 1);
}

#[test]
fn a_damaged_frame_explains_as_many_events_as_it_held_and_no_more() {
    let mut stored = stored();
    let aside = AsideRecord {
        at: NOW,
        owner: STREAM.to_owned(),
        file: "lanes/acme/siem-cg/receipt/0000000000000001.seg".to_owned(),
        records: 2,
        reason: "checksum".to_owned(),
        kept: None,
        withheld: false,
        sent_again: None,
    };
    stored.asides.insert(1, aside);
    let at = stored.positions.get_mut(&(splunk(), lane())).unwrap();
    (at.passed, at.accepted) = (4, 3);
    let ledger = draw(&stored, Some(6));
    assert_eq!(ledger.differences, Vec::<String>::new());
    assert_eq!(
        ledger.notes,
        [
            "acme/siem-cg/receipt at splunk: 2 events in damaged frames stepped over, and fetched again"
        ]
    );
    assert_eq!(
        (ledger.outputs[0].skipped, ledger.outputs[0].waiting),
        (2, 3)
    );
    let at = stored.positions.get_mut(&(splunk(), lane())).unwrap();
    (at.passed, at.accepted) = (3, 2);
    assert!(!draw(&stored, Some(6)).balances);
}

#[test]
fn what_is_odd_and_lawful_is_said_and_is_no_difference() {
    let mut stored = stored();
    let stream = stored.streams.get_mut(STREAM).unwrap();
    let books = stream.books.as_mut().unwrap();
    books.set_back = 1;
    books.rescued = Some(NOW - Duration::from_hours(2));
    books.tally.files_withdrawn = 1;
    books.tally.files_listed = 4;
    let ledger = draw(&stored, Some(6));
    assert!(ledger.balances, "{:?}", ledger.differences);
    assert_eq!(ledger.notes.len(), 3);
    assert!(ledger.notes[0].contains("the database was lost 2 h ago"));
}

#[test]
fn a_ledger_survives_the_way_through_the_socket() {
    let ledger = draw(&stored(), Some(6));
    let json = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
}
