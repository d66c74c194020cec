//! THE table of errors, row by row: what is judged, how often is asked again in the hours that follow, who is told, and that all goes on
//! once it is mended. A row that no test plays is found here.

mod bench;
mod clock;
mod mimecast;
mod outputs;
mod play;
mod ways;

use std::collections::BTreeSet;

use mimecast_collector::health::{Failure, Origin, Row, catalogue, lookup};

/// Rows of conditions that only the whole program watches, and the tests there that bring them about.
const BY_THE_PROGRAM: &[(&str, &str)] = &[
    ("retention_low", "half_of_the_time_and_all_but_a_tenth"),
    ("retention_critical", "half_of_the_time_and_all_but_a_tenth"),
    ("silent", "a_log_that_normally_has_events_and_has_none"),
    ("disk_low", "a_disk_that_is_nearly_full"),
    ("quarantine_growing", "records_put_aside_in_numbers"),
    ("events_damaged", "damage_to_what_is_stored"),
    ("database_lost", "damage_to_what_is_stored"),
];

fn name(row: &Row) -> String {
    format!("{} {}", row.origin.as_str(), row.key())
}

#[test]
fn every_row_of_the_table_is_played() {
    let lines = mimecast::lines().into_iter().chain(ways::lines());
    let mut played: BTreeSet<String> = lines.map(|line| name(line.row())).collect();
    let others = ways::ALSO.iter().copied().chain(outputs::played());
    played.extend(others.map(|(origin, status, code)| {
        let row = lookup(&Failure::new(origin, status, code, ""));
        name(row)
    }));
    let program = include_str!("../program/watches.rs");
    for (code, test) in BY_THE_PROGRAM {
        assert!(program.contains(&format!("async fn {test}")), "no {test}");
        let row = lookup(&Failure::new(Origin::Watch, 0, code, ""));
        assert_eq!(row.code, *code);
        played.insert(name(row));
    }
    let all: BTreeSet<String> = catalogue::all().map(name).collect();
    let missing: Vec<_> = all.difference(&played).collect();
    assert!(missing.is_empty(), "rows that no test plays: {missing:#?}");
}
