use std::time::Duration;

use super::*;
use crate::model::OutputId;
use crate::store::{Books, Tally};

const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

fn ledger() -> Ledger {
    let stream = |stream: &str, tally| StreamBooks {
        stream: stream.to_owned(),
        books: Books {
            opened: NOW,
            before: 0,
            tally,
            waiting: 0,
            set_back: 0,
            rescued: None,
        },
    };
    let cg = Tally {
        read: 123_456_789_012,
        stored: 123_456_789_000,
        known: 0,
        quarantined: 12,
        files_listed: 96_000,
        files_fetched: 95_999,
        ..Tally::default()
    };
    let audit = Tally {
        read: 1204,
        stored: 1200,
        known: 4,
        ..Tally::default()
    };
    let lane = |output: &str, stream: &str, waiting| OutputBooks {
        output: OutputId::new(output).unwrap(),
        stream: stream.to_owned(),
        accepted: 1200,
        rejected: 0,
        withheld: 0,
        filtered: waiting / 10,
        skipped: 0,
        waiting,
        reaches_to: Some(NOW - Duration::from_mins(5)),
    };
    Ledger {
        version: Ledger::VERSION,
        now: NOW,
        balances: true,
        sentence: "balances: of 1 204 records read, 1 200 were stored, 4 known already, 0 put aside; of the stored, 7 wait for an output".to_owned(),
        differences: Vec::new(),
        notes: vec!["acme-uk/audit: went back 1 time and fetched again what is after that place; repeats have their old event_id".to_owned()],
        streams: vec![
            stream("acme-uk/audit", audit),
            stream("acme-uk/siem-cg/impersonation protect", cg),
        ],
        outputs: vec![
            lane("archive", "acme-uk/audit", 7),
            lane("splunk", "@collector", 0),
            lane("splunk", "acme-uk/audit", 123_456_789),
        ],
    }
}

fn shown(ledger: &Ledger) -> String {
    let look = Look {
        width: 80,
        colours: false,
    };
    let mut out = Vec::new();
    render(ledger, look, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_answer_comes_first_and_every_line_has_80_columns_at_most() {
    let shown = shown(&ledger());
    assert!(shown.lines().all(|line| line.chars().count() <= 80));
    insta::assert_snapshot!(shown, @"
    The ledger balances: of 1 204 records read, 1 200 were stored, 4 known already,
      0 put aside; of the stored, 7 wait for an output.

    acme-uk                          FILES       READ     STORED      KNOWN    ASIDE
    audit                                -      1 204      1 200          4        0
    siem-cg/impersonation pro… 95999/96000  123 456 M  123 456 M          0       12

    acme-uk to archive           ACCEPTED REFUSED FILTERED  WAITING REACHES TO (UTC)
    audit                           1 200       0        0        7 2026-01-06 09:03

    @collector to splunk         ACCEPTED REFUSED FILTERED  WAITING REACHES TO (UTC)
    alerts, heartbeats              1 200       0        0        0 2026-01-06 09:03

    acme-uk to splunk            ACCEPTED REFUSED FILTERED  WAITING REACHES TO (UTC)
    audit                           1 200       0     12 M    123 M 2026-01-06 09:03

    acme-uk/audit: went back 1 time and fetched again what is after that place;
      repeats have their old event_id.
    ");
}

#[test]
fn what_does_not_balance_is_said_line_by_line() {
    let mut ledger = ledger();
    ledger.balances = false;
    ledger.differences = vec![
        "a: read 1, stored 2, a difference of 1".to_owned(),
        "b".to_owned(),
    ];
    ledger.sentence =
        "does not balance: a: read 1, stored 2, a difference of 1; and 1 more".to_owned();
    let shown = shown(&ledger);
    assert!(shown.starts_with("The ledger does not balance: a: read 1, stored 2, a difference of 1; and 1 more.\n  b.\n\n"), "{shown}");
}
