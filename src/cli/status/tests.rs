use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::watch::{Screen, frame};
use super::{Look, render};
use crate::mimecast::log_types;
use crate::model::{IntegrationId, OutputId, StreamId, Timestamp};
use crate::status::{
    ClusterReport, Condition, HeldBack, LastRequest, LedgerReport, NodeReport, OwnerReport, Phase,
    RateReport, RegistryTrouble, Report, SpoolReport, Status,
};

const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

const PLAIN: Look = Look {
    width: 80,
    colours: false,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn shown(report: &Report, look: Look) -> String {
    let mut out = Vec::new();
    render(report, look, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    if !look.colours {
        for line in text.lines() {
            assert!(line.chars().count() <= look.width, "{line}");
        }
    }
    text
}

fn integration(name: &str) -> IntegrationId {
    IntegrationId::new(name).unwrap()
}

fn splunk() -> OutputId {
    OutputId::new("splunk").unwrap()
}

/// Two integrations with three log types, and an output, all well.
fn well() -> Status {
    let status = Status::new(
        Path::new("/var/lib/mimecast-collector"),
        NOW - seconds(273_600),
    );
    for (name, api, logs) in [
        ("acme-uk", "2.0", &["siem-cg", "audit"][..]),
        ("globex", "1.0", &["siem"]),
    ] {
        status.integration(&integration(name), |i| i.api = api.to_owned());
        for log in logs {
            let types = log_types::find(log).unwrap().event_types;
            let types = if types.is_empty() { &[""][..] } else { types };
            for kind in types {
                status.stream(&StreamId::new(&integration(name), log, kind), |s| {
                    s.caught_up = true;
                    s.last_success = Some(NOW - seconds(72));
                    s.next = Some(NOW + seconds(228));
                    s.kept_until = Some(NOW + seconds(600_000));
                    s.newest = Some(NOW - seconds(4_000));
                    s.events = 123_456;
                });
            }
        }
    }
    status.output(&splunk(), |o| {
        o.kind = "splunk_hec".to_owned();
        o.accepted = 1_481_470;
        o.backlog_events = 2;
        o.backlog_bytes = Some(1_536);
        o.last_success = Some(NOW - seconds(3));
    });
    status.spool(SpoolReport {
        bytes: 12 << 20,
        limit: 10 << 30,
        disk_full: false,
    });
    status
}

fn locked_out() -> Condition {
    Condition {
        state: Phase::Blocked,
        since: Some(NOW - seconds(131)),
        until: Some(NOW + seconds(1_752)),
        expected: false,
        attempts: 1,
        key: Some("401/0010".to_owned()),
        title: "Login locked out".to_owned(),
        detail: "Account is locked".to_owned(),
        advice: "Wait for the lock to end, about 30 minutes, or unlock the service user in the \
                 Administration Console. Look for another program that uses this user with wrong keys."
            .to_owned(),
        request_id: Some("5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11".to_owned()),
        endpoint: Some("POST /api/audit/get-siem-logs".to_owned()),
    }
}

fn timed_out() -> Condition {
    Condition {
        state: Phase::Retrying,
        since: Some(NOW - seconds(400)),
        until: Some(NOW + seconds(61)),
        expected: false,
        attempts: 3,
        key: Some("transport/timeout".to_owned()),
        title: "No answer in time".to_owned(),
        advice: "Nothing, if it passes.".to_owned(),
        endpoint: Some("splunk.example:8088".to_owned()),
        ..Condition::default()
    }
}

#[test]
fn all_is_well() {
    insta::assert_snapshot!(shown(&well().report(NOW), PLAIN), @r"
    OK: no data is at risk; 2 integrations and 1 output are well.

    Integration acme-uk (API 2.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      audit                       healthy     3 min 48 s        123 456   1 min 12 s
      siem-cg (10 types)          healthy     3 min 48 s      1 234 560   1 min 12 s

    Integration globex (API 1.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      siem                        healthy     3 min 48 s        123 456   1 min 12 s

    Output splunk (splunk_hec): healthy
      accepted 1 481 470 (3 s ago), refused 0, waiting 2 (1.5 KiB)

    Spool 12 MiB of 10 GiB, quarantine 0 records, in /var/lib/mimecast-collector
    mimecast-collector 0.1.0, up 3 d 4 h, at 2026-01-06 09:08:07 UTC
    ");
}

#[test]
fn a_locked_out_integration_says_when_and_what_to_do() {
    let status = well();
    status.integration(&integration("globex"), |i| i.condition = locked_out());
    insta::assert_snapshot!(shown(&status.report(NOW), PLAIN), @r#"
    ATTENTION: not all logs of globex are fetched; nothing is lost so far, Mimecast
      keeps the rest for 6 d 22 h more.

    Integration acme-uk (API 2.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      audit                       healthy     3 min 48 s        123 456   1 min 12 s
      siem-cg (10 types)          healthy     3 min 48 s      1 234 560   1 min 12 s

    Integration globex (API 1.0), credential: blocked for 2 min 11 s
      401/0010 Login locked out: "Account is locked"
      Next attempt in 29 min 12 s, at 2026-01-06 09:37:19 UTC, after 1 failure.
      To do: Wait for the lock to end, about 30 minutes, or unlock the service user
        in the Administration Console. Look for another program that uses this user
        with wrong keys.
      At POST /api/audit/get-siem-logs, request id
        5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      siem                        waiting    29 min 12 s        123 456   1 min 12 s

    Output splunk (splunk_hec): healthy
      accepted 1 481 470 (3 s ago), refused 0, waiting 2 (1.5 KiB)

    Recent changes
      0 ms ago, globex: blocked: 401/0010 Login locked out

    Spool 12 MiB of 10 GiB, quarantine 0 records, in /var/lib/mimecast-collector
    mimecast-collector 0.1.0, up 3 d 4 h, at 2026-01-06 09:08:07 UTC
    "#);
}

#[test]
fn an_output_that_is_down_shows_its_backlog() {
    let status = well();
    status.output(&splunk(), |o| {
        o.condition = Condition {
            since: Some(NOW - seconds(7_500)),
            expected: false,
            attempts: 31,
            ..timed_out()
        };
        o.backlog_events = 1_204_233;
        o.backlog_bytes = Some(700 << 20);
        o.last_success = Some(NOW - seconds(7_500));
    });
    insta::assert_snapshot!(shown(&status.report(NOW), PLAIN), @r"
    ATTENTION: events do not reach splunk; nothing is lost so far, 1 204 233 events
      wait on disk.

    Integration acme-uk (API 2.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      audit                       healthy     3 min 48 s        123 456   1 min 12 s
      siem-cg (10 types)          healthy     3 min 48 s      1 234 560   1 min 12 s

    Integration globex (API 1.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      siem                        healthy     3 min 48 s        123 456   1 min 12 s

    Output splunk (splunk_hec): retrying for 2 h 5 min
      transport/timeout No answer in time
      Next attempt in 1 min 1 s, at 2026-01-06 09:09:08 UTC, after 31 failures.
      To do: Nothing, if it passes.
      At splunk.example:8088
      accepted 1 481 470 (2 h 5 min ago), refused 0, waiting 1 204 233 (700 MiB)

    Recent changes
      0 ms ago, output splunk: retrying: transport/timeout No answer in time

    Spool 12 MiB of 10 GiB, quarantine 0 records, in /var/lib/mimecast-collector
    mimecast-collector 0.1.0, up 3 d 4 h, at 2026-01-06 09:08:07 UTC
    ");
}

#[test]
fn event_types_that_differ_have_lines_of_their_own() {
    let status = well();
    let stream = |kind: &str| StreamId::new(&integration("acme-uk"), "siem-cg", kind);
    for kind in ["av", "journal"] {
        status.stream(&stream(kind), |s| s.condition = timed_out());
    }
    status.stream(&stream("url protect"), |s| {
        s.condition = Condition {
            until: None,
            since: Some(NOW - seconds(90_000)),
            key: Some("403/0002".to_owned()),
            title: "Forbidden to perform operation".to_owned(),
            ..locked_out()
        };
    });
    status.stream(&stream("spam"), |s| {
        s.polling = true;
        s.caught_up = false;
    });
    insta::assert_snapshot!(shown(&status.report(NOW), PLAIN), @r#"
    ATTENTION: not all logs of acme-uk are fetched; nothing is lost so far, Mimecast
      keeps the rest for 6 d 22 h more.

    Integration acme-uk (API 2.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      audit                       healthy     3 min 48 s        123 456   1 min 12 s
      siem-cg (7 of 10 types)     healthy        running        864 192   1 min 12 s
        av                        retrying    3 min 48 s        123 456   1 min 12 s
        journal                   retrying    3 min 48 s        123 456   1 min 12 s
        url protect               blocked              -        123 456   1 min 12 s
      av, journal: retrying for 6 min 40 s
        transport/timeout No answer in time
        Next attempt in 1 min 1 s, at 2026-01-06 09:09:08 UTC, after 3 failures.
        To do: Nothing, if it passes.
        At splunk.example:8088
      url protect: blocked for 1 d 1 h
        403/0002 Forbidden to perform operation: "Account is locked"
        Not tried again by itself. Once mended: mimecast-collector resume acme-uk
        To do: Wait for the lock to end, about 30 minutes, or unlock the service
          user in the Administration Console. Look for another program that uses
          this user with wrong keys.
        At POST /api/audit/get-siem-logs, request id
          5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11

    Integration globex (API 1.0), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      siem                        healthy     3 min 48 s        123 456   1 min 12 s

    Output splunk (splunk_hec): healthy
      accepted 1 481 470 (3 s ago), refused 0, waiting 2 (1.5 KiB)

    Recent changes
      0 ms ago, acme-uk/siem-cg/url protect: blocked: 403/0002 Forbidden to perform
        operation
      0 ms ago, acme-uk/siem-cg/journal: retrying: transport/timeout No answer in
        time
      0 ms ago, acme-uk/siem-cg/av: retrying: transport/timeout No answer in time

    Spool 12 MiB of 10 GiB, quarantine 0 records, in /var/lib/mimecast-collector
    mimecast-collector 0.1.0, up 3 d 4 h, at 2026-01-06 09:08:07 UTC
    "#);
}

#[test]
fn a_fresh_start_makes_nothing_up() {
    let status = Status::new(Path::new("/tmp/x"), NOW);
    status.stream(&StreamId::new(&integration("a"), "audit", ""), |_| {});
    status.output(&splunk(), |_| {});
    insta::assert_snapshot!(shown(&status.report(NOW), PLAIN), @r"
    OK: no data is at risk; 1 integration and 1 output are well.

    Integration a (API ), credential: healthy
      LOG TYPE                    STATE        NEXT POLL         EVENTS       BEHIND
      audit                       healthy              -              0      unknown

    Output splunk (): healthy
      accepted 0, refused 0, waiting 0

    Spool 0 B of 0 B, quarantine 0 records, in /tmp/x
    mimecast-collector 0.1.0, up 0 ms, at 2026-01-06 09:08:07 UTC
    ");
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let report = well().report(NOW);
    let coloured = Look {
        colours: true,
        ..PLAIN
    };
    assert!(!shown(&report, PLAIN).contains('\u{1b}'));
    assert!(shown(&report, coloured).starts_with("\u{1b}[32mOK: "));
}

#[test]
fn a_report_cannot_command_the_terminal() {
    let status = well();
    status.output(&splunk(), |o| {
        o.condition = Condition {
            detail: "\u{1b}[2J\r\n".to_owned(),
            ..timed_out()
        };
    });
    let text = shown(&status.report(NOW), PLAIN);
    assert!(!text.contains(['\u{1b}', '\r']), "{text}");
}

prop_compose! {
    fn conditions()(
        state in prop_oneof![
            Just(Phase::Healthy),
            Just(Phase::Throttled),
            Just(Phase::Retrying),
            Just(Phase::Paused),
            Just(Phase::Blocked),
        ],
        times in any::<[Option<i64>; 2]>(),
        attempts in any::<u32>(),
        texts in prop::array::uniform3("([a-z/é]{0,120} ?){0,9}"),
    ) -> Condition {
        let [since, until] = times.map(|time| time.map(Timestamp::from_millis));
        let [key, title, advice] = texts;
        Condition {
            state, since, until, attempts, expected: false,
            key: Some(key.clone()),
            title,
            advice,
            detail: key.clone(),
            request_id: Some(key.clone()),
            endpoint: Some(key),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_line_fits(
        conditions in prop::collection::vec(conditions(), 12),
        name in "[a-z]{64}",
        numbers in any::<[u64; 4]>(),
        time in any::<i64>(),
        width in 60..130_usize,
    ) {
        let status = Status::new(Path::new(&format!("/{name}/{name}")), NOW);
        let [a, b, c, d] = numbers;
        let id = integration(&name);
        let mut conditions = conditions.into_iter();
        status.integration(&id, |i| {
            i.condition = conditions.next().unwrap();
            i.resources.insert(name.clone(), conditions.next().unwrap());
        });
        status.output(&OutputId::new(&name).unwrap(), |o| {
            o.condition = conditions.next().unwrap();
            (o.accepted, o.rejected, o.backlog_events, o.backlog_bytes) = (a, b, c, Some(d));
        });
        for (i, condition) in conditions.enumerate() {
            status.stream(&StreamId::new(&id, "siem-cg", &format!("{name}{i}")), |s| {
                s.condition = condition;
                s.events = a >> 8;
                s.newest = Some(Timestamp::from_millis(time));
                s.next = s.newest;
                s.kept_until = s.newest;
            });
        }
        // Checks each line.
        shown(&status.report(NOW), Look { width, colours: false });
    }
}

#[test]
fn the_least_time_that_is_left_is_said_with_its_stream() {
    let status = Status::new(Path::new("/var/lib/x"), NOW);
    let stream = |log: &str, kept: u64| {
        let id = StreamId::new(&IntegrationId::new("acme").unwrap(), log, "");
        status.stream(&id, |s| {
            s.retention_seconds = Some(604_800);
            s.kept_until = Some(NOW + seconds(kept));
        });
    };
    stream("siem", 604_000);
    stream("audit", 400_000);
    let text = shown(&status.report(NOW), PLAIN);
    assert!(
        text.contains("\n  retention left: 4 d 15 h (audit)\n"),
        "{text}"
    );
    assert!(text.starts_with("OK: "), "{text}");
    // Half of the time is gone.
    stream("audit", 300_000);
    let text = shown(&status.report(NOW), PLAIN);
    assert!(text.starts_with("ATTENTION: "), "{text}");
}

#[test]
fn calls_left_the_last_request_dead_letters_and_the_ledger_are_said_where_they_belong() {
    let status = well();
    let request = |seconds_ago: u64, id: &str| {
        Some(LastRequest {
            at: NOW - seconds(seconds_ago),
            id: id.to_owned(),
        })
    };
    for (log, ago, id) in [("siem-cg", 72, "r1"), ("audit", 75, "r0")] {
        let id_of = StreamId::new(
            &integration("acme-uk"),
            log,
            if log == "audit" { "" } else { "av" },
        );
        status.stream(&id_of, |s| s.last_request = request(ago, id));
    }
    status.integration(&integration("acme-uk"), |i| {
        i.condition = locked_out();
    });
    status.integration(&integration("acme-uk"), |i| {
        i.condition = Condition::default()
    });
    let sentence = "balances: of 12 records read, 9 were stored";
    let ledger = LedgerReport::of(NOW, sentence.to_owned(), Vec::new(), Vec::new());
    status.ledger(ledger);
    status.stamp(NOW);
    let mut report = status.report(NOW + seconds(60));
    let rate = |left, limit, more: u64| RateReport {
        left,
        limit: Some(limit),
        window_s: Some(900),
        more_at: Some(NOW + seconds(more)),
    };
    let rates = [("/b", rate(20, 50, 70)), ("/a", rate(0, 50, 120))];
    report.integrations[0].rates = rates.map(|(path, rate)| (path.to_owned(), rate)).into();
    report.outputs[0].dead_letters = 2;
    report.outputs[0].resending = 7;
    let text = shown(&report, PLAIN);
    for expected in [
        "\n  calls left: 0 of 50 in 15 min, more in 1 min (/a)\n",
        "\n  last request: r1 (2 min 12 s ago)\n",
        "\n  2 dead letters wait for you: mimecast-collector dead-letters list\n",
        "\n  sent again: 7 wait\n",
        "\nRecent changes\n  1 min ago, acme-uk: recovered from 401/0010 Login locked out\n  1 min ago, acme-uk: blocked: 401/0010 Login locked out\n",
        "\nThe ledger balances: of 12 records read, 9 were stored.\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn what_is_watched_fits_the_terminal_and_shows_trouble_first() {
    let status = well();
    for n in 0..40 {
        let id = integration(&format!("tenant-{n:02}"));
        status.stream(&StreamId::new(&id, "audit", ""), |_| {});
    }
    // A credential with all of its log types waiting hides no other trouble.
    for name in ["acme-uk", "globex"] {
        status.integration(&integration(name), |i| i.condition = locked_out());
    }
    status.output(&splunk(), |o| o.condition = timed_out());
    let report = status.report(NOW);
    for (width, height) in [(80, 24), (200, 50), (60, 10)] {
        let text = frame(&report, Screen { width, height }, false).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), height, "{text}");
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= width.max(60))
        );
        assert!(lines[0].starts_with("ATTENTION: "), "{text}");
        assert!(lines[height - 1].contains(" more lines"), "{text}");
        assert!(
            text.contains("Output splunk (splunk_hec): retrying"),
            "{text}"
        );
        if height >= 24 {
            assert!(text.contains("401/0010 Login locked out"), "{text}");
            for name in ["acme-uk", "globex"] {
                let title = format!("Integration {name} ");
                assert!(text.contains(&title), "{name} has no room\n{text}");
            }
        }
    }
    let small = frame(
        &well().report(NOW),
        Screen {
            width: 80,
            height: 24,
        },
        false,
    )
    .unwrap();
    assert_eq!(small, shown(&well().report(NOW), PLAIN));
}

fn owner(name: &str, node: Option<&str>, events: u64) -> OwnerReport {
    OwnerReport {
        integration: integration(name),
        owner: node.map(str::to_owned),
        fence: node.map(|_| 7),
        leaving: false,
        held_back: (events > 0).then(|| HeldBack {
            output: "splunk".to_owned(),
            since: NOW - seconds(7_200),
            events,
        }),
    }
}

fn node(name: &str, config: &str) -> NodeReport {
    NodeReport {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        since: NOW - seconds(3_600),
        draining: false,
        config: config.to_owned(),
        drifts: config != "1a2b3c4d",
        integrations: 1,
    }
}

fn cluster() -> ClusterReport {
    ClusterReport {
        node: "a".to_owned(),
        joined: true,
        lease_left_s: 6,
        config: "1a2b3c4d".to_owned(),
        nodes: vec![node("a", "1a2b3c4d"), node("b", "99999999")],
        integrations: vec![
            owner("acme-uk", Some("a"), 40),
            owner("acme-us", Some("a"), 2),
            owner("globex", None, 0),
        ],
        taken: 3,
        released: 1,
        held_lanes: 2,
        ..ClusterReport::default()
    }
}

/// What the page says of the cluster.
fn of_cluster(cluster: ClusterReport) -> String {
    let status = well();
    status.cluster(cluster);
    let look = Look {
        width: 300,
        ..PLAIN
    };
    let text = shown(&status.report(NOW), look);
    let (_, text) = text.split_once("\nCluster: ").unwrap();
    text.split_once("\n\n").unwrap().0.to_owned()
}

#[test]
fn a_cluster_is_told_with_its_nodes_and_what_would_come_twice() {
    insta::assert_snapshot!(of_cluster(cluster()), @"
    a is one of 2 nodes and has 2 of 3 integrations; its lease is sure for 6 s
      a: 1 integration, version 0.1.0, here for 1 h
      b: 1 integration, version 0.1.0, here for 1 h; its configuration is another one (99999999, here 1a2b3c4d)
      nobody has globex
      output splunk has kept events waiting for 2 h: what is shared of acme-uk, acme-us stays before them, and about 42 would come again if another node took over
      taken 3, handed over 1, lost 0, 2 logs with events of before, which wait until their owner has delivered as much
    ");
}

#[test]
fn a_node_that_has_stopped_says_so_and_why() {
    let trouble = RegistryTrouble {
        since: NOW - seconds(90),
        error: "etcd cannot be reached: no answer of POST https://etcd1:2379/v3/lease/keepalive in 1250 ms".to_owned(),
    };
    let stopped = ClusterReport {
        lease_left_s: 0,
        trouble: Some(trouble),
        ..ClusterReport {
            node: "a".to_owned(),
            ..ClusterReport::default()
        }
    };
    insta::assert_snapshot!(of_cluster(stopped.clone()), @"
    a has no lease, so it asks for nothing and delivers nothing
      etcd, for 1 min 30 s: etcd cannot be reached: no answer of POST https://etcd1:2379/v3/lease/keepalive in 1250 ms
      taken 0, handed over 0, lost 0
    ");
    let goes_on = ClusterReport {
        keeps_assignment: true,
        ..stopped
    };
    assert!(of_cluster(goes_on).contains("goes on with what it had"));
}
