use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;

use super::super::fixture::{batch, record};
use super::*;
use crate::health::{Failure, Origin};
use crate::model::{Form, IntegrationId, OutputId};

/// Answers as it is told, and keeps what it was offered.
struct Scripted {
    answer: fn(usize) -> Delivery,
    offered: Mutex<Vec<String>>,
}

impl Output for Scripted {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let bodies = batch.records().iter().map(|r| r.body_str().into_owned());
        self.offered.lock().unwrap().extend(bodies);
        (self.answer)(batch.len())
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1,
            events: 1,
        }
    }
}

fn route() -> Route {
    Route::all(OutputId::new("splunk").unwrap())
}

fn filtered(
    route: Route,
    config: FilterConfig,
    answer: fn(usize) -> Delivery,
) -> Filtered<Scripted> {
    let inner = Scripted {
        answer,
        offered: Mutex::default(),
    };
    Filtered::new(inner, route, config, b"install")
}

fn rule(field: &str, values: &[&str], then: Then) -> Rule {
    Rule {
        field: field.to_owned(),
        test: Test::In(values.iter().map(|v| (*v).to_owned()).collect()),
        then,
    }
}

fn dropping_odd() -> FilterConfig {
    FilterConfig {
        rules: vec![rule("n", &["1", "3", "5"], Then::Drop)],
        ..FilterConfig::default()
    }
}

async fn offer(output: &Filtered<Scripted>, batch: &Batch) -> (Delivery, Vec<String>) {
    let delivery = output.deliver(batch).await;
    let offered = std::mem::take(&mut *output.inner.offered.lock().unwrap());
    (delivery, offered)
}

#[tokio::test]
async fn what_is_dropped_is_counted_and_passed_with_its_neighbours() {
    let output = filtered(route(), dropping_odd(), Delivery::accepted);
    let (delivery, offered) = offer(&output, &super::super::fixture::numbered(6)).await;
    assert_eq!(offered, [r#"{"n":0}"#, r#"{"n":2}"#, r#"{"n":4}"#]);
    assert_eq!((delivery.accepted, delivery.filtered), (6, 3));
}

#[tokio::test]
async fn a_batch_of_which_nothing_stays_is_passed_without_asking_the_receiver() {
    let config = FilterConfig {
        rules: vec![rule("n", &["9"], Then::Keep)],
        ..FilterConfig::default()
    };
    let output = filtered(route(), config, |_| panic!("asked"));
    let (delivery, _) = offer(&output, &super::super::fixture::numbered(3)).await;
    assert_eq!((delivery.accepted, delivery.filtered), (3, 3));
    assert_eq!(delivery.failure, None);
}

#[tokio::test]
async fn a_refusal_names_the_event_of_the_whole_batch() {
    let output = filtered(route(), dropping_odd(), |_| {
        Delivery::rejected(1, "no".to_owned())
    });
    let (delivery, _) = offer(&output, &super::super::fixture::numbered(6)).await;
    assert_eq!((delivery.accepted, delivery.rejected[0].index), (0, 2));
}

#[tokio::test]
async fn a_refusal_counts_at_once_although_what_is_ahead_of_it_was_dropped() {
    let config = FilterConfig {
        rules: vec![rule("n", &["0", "1"], Then::Drop)],
        ..FilterConfig::default()
    };
    let output = filtered(route(), config, |_| Delivery::rejected(0, "no".to_owned()));
    let (delivery, _) = offer(&output, &super::super::fixture::numbered(4)).await;
    assert_eq!((delivery.accepted, delivery.rejected[0].index), (0, 2));
}

#[tokio::test]
async fn a_receipt_covers_what_was_dropped_beside_what_was_sent() {
    let output = filtered(route(), dropping_odd(), |n| {
        Delivery::pending(n, Receipt(7))
    });
    let (delivery, _) = offer(&output, &super::super::fixture::numbered(4)).await;
    assert_eq!((delivery.accepted, delivery.filtered), (4, 2));
    assert_eq!(delivery.pending, Some(Receipt(7)));
    let output = filtered(route(), dropping_odd(), |_| {
        let failure = Failure::new(Origin::Local, 0, "io", "x");
        Delivery::failed(failure)
    });
    let (delivery, _) = offer(&output, &super::super::fixture::numbered(4)).await;
    assert_eq!(delivery.pending, None);
}

#[tokio::test]
async fn rules_that_keep_leave_only_what_one_of_them_fits() {
    let matching = Rule {
        field: "subject".to_owned(),
        test: Test::Matches(Regex::new("(?i)^urgent").unwrap()),
        then: Then::Keep,
    };
    let config = FilterConfig {
        rules: vec![
            matching,
            rule("dir", &["out"], Then::Keep),
            rule("act", &["Acc"], Then::Drop),
        ],
        ..FilterConfig::default()
    };
    let output = filtered(route(), config, Delivery::accepted);
    let bodies = [
        r#"{"subject":"URGENT"}"#,
        r#"{"dir":["in","out"]}"#,
        r#"{"dir":"out","act":"Acc"}"#,
        r#"{"dir":"in"}"#,
    ];
    let records = bodies.map(|body| record("receipt", Form::Json, body));
    let (_, offered) = offer(&output, &batch("acme/audit", records.to_vec())).await;
    assert_eq!(offered, bodies[..2]);
}

#[tokio::test]
async fn an_event_that_cannot_be_understood_is_put_aside_where_fields_are_hidden() {
    let config = FilterConfig {
        drop_fields: vec!["subject".to_owned()],
        ..FilterConfig::default()
    };
    let output = filtered(route(), config, Delivery::accepted);
    let odd = || record("receipt", Form::Json, r#"["subject"]"#);
    let good = record("receipt", Form::Json, r#"{"subject":1,"a":2}"#);
    let mail = batch("acme/audit", vec![good, odd()]);
    let (delivery, offered) = offer(&output, &mail).await;
    assert_eq!(
        (delivery.accepted, offered),
        (1, vec![r#"{"a":2}"#.to_owned()])
    );
    let (delivery, offered) = offer(&output, &batch("acme/audit", vec![odd()])).await;
    assert_eq!(offered, Vec::<String>::new());
    let judges: Vec<_> = delivery.rejected.iter().map(|one| one.judge).collect();
    assert_eq!(judges, [Judge::Collector]);
}

#[tokio::test]
async fn alerts_of_another_tenant_and_kinds_that_are_not_carried_stay_here() {
    let own = |kind, body| record(kind, Form::Json, body);
    let alerts = batch(
        "@collector",
        vec![
            own("alert", r#"{"integration":"acme","output":"other"}"#),
            own("alert", r#"{"integration":"beta"}"#),
            own("alert", r#"{"output":"splunk"}"#),
            own("alert", r#"{"output":"other"}"#),
            own("heartbeat", r#"{"integration":"acme"}"#),
        ],
    );
    let tenant = Route {
        integrations: Some(BTreeSet::from([IntegrationId::new("acme").unwrap()])),
        carry: Carry {
            heartbeats: false,
            ..Carry::ALL
        },
        ..route()
    };
    // The rules are for events, which alerts are not.
    let config = FilterConfig {
        rules: vec![rule("dir", &["out"], Then::Keep)],
        ..FilterConfig::default()
    };
    let output = filtered(tenant, config, Delivery::accepted);
    let (delivery, offered) = offer(&output, &alerts).await;
    let expected = [
        r#"{"integration":"acme","output":"other"}"#,
        r#"{"output":"splunk"}"#,
    ];
    assert_eq!(offered, expected);
    assert_eq!((delivery.accepted, delivery.filtered), (5, 3));
}

proptest! {
    #[test]
    fn whatever_is_answered_nothing_that_was_offered_is_passed_over(
        fits in prop::collection::vec(any::<bool>(), 1..12), taken in 0_usize..12, failed: bool,
    ) {
        let n = fits.len();
        let places: Vec<_> = (0..n).filter(|i| fits[*i]).collect();
        let sifted = Sifted {
            offered: Vec::new(),
            places: places.clone(),
            looked_at: n,
            unclear: false,
        };
        let failure = failed.then(|| Failure::new(Origin::Local, 0, "io", "x"));
        let answer = Delivery { accepted: taken, failure, ..Delivery::default() };
        let read = sifted.read_back(answer);
        let passed = places.iter().filter(|place| **place < read.accepted).count();
        prop_assert_eq!(passed, taken.min(places.len()));
        prop_assert_eq!(read.filtered + passed, read.accepted);
        prop_assert!(taken < places.len() || read.accepted == n);
    }
}
