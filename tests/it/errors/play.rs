//! A line of a test's table: what goes wrong, what it is judged to be, how often it is asked again, and who is told.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use mimecast_collector::health::{Class, Failure, Origin, Row, Scope, lookup};
use mimecast_collector::mimecast::log_types::Api;
use mimecast_collector::poll::Command;
use mimecast_collector::simulator::{Account, Answer, Fault, Options, Target};
use serde_json::Value;

use super::bench::{Bench, Seat};
use crate::flawed::Flawed;

pub(super) const AUDIT: &str = "/api/audit/get-audit-events";
/// From an account's first request; long enough for the recheck of six hours, too short for the fifth try of a locked account.
const WATCHED: Duration = Duration::from_mins(7 * 60);
pub(super) const BOTH: &[Api] = &[Api::V1, Api::V2];
pub(super) const ONLY_V2: &[Api] = &[Api::V2];

/// What is counted of an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Its requests for logs.
    Requests,
    /// Of these, requests for the audit log.
    Audit,
    /// Its requests for tokens.
    Tokens,
    /// How often the collector met the failure, where nobody on the other side could count.
    Failures,
}

/// What people hear of a failure within the hours that are watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// That it is there.
    Once,
    /// That it is there, and that it is over.
    Over,
    /// The same, or more than once: of slices of time, those that are not concerned go on between.
    Again,
    /// Nothing.
    Never,
    /// Nothing, or on a machine that is too busy to heal it within a quarter of an hour, both.
    Hardly,
}

pub(super) struct Line {
    /// What the answer is to be taken for.
    pub(super) failure: (Origin, u16, &'static str),
    pub(super) class: Class,
    pub(super) scope: Scope,
    /// Within [`WATCHED`]. A busy machine is late, so there may be fewer than the table says; more there may not be.
    pub(super) requests: RangeInclusive<usize>,
    pub(super) counts: Counts,
    pub(super) told: Told,
    /// API 2.0 says the same without its number, which is another row with the same consequences.
    pub(super) unnumbered: Option<&'static str>,
    pub(super) apis: &'static [Api],
    pub(super) faults: Vec<Fault>,
    /// What tells its accounts from those of other lines for the same failure.
    pub(super) label: &'static str,
    /// What is special about its accounts.
    pub(super) seat: Option<fn(Seat, &Ways) -> Seat>,
    /// Puts something in the way before the first request.
    pub(super) hinder: Option<fn(&Bench, &Seat)>,
    /// Takes it out of the way.
    pub(super) mend: Option<fn(&Bench, &Seat)>,
}

/// Ways that lead nowhere, for settings that name them.
#[derive(Default)]
pub(super) struct Ways {
    /// Where nobody listens.
    pub(super) closed: String,
    /// Servers with which TLS cannot be, by what is wrong with them.
    pub(super) flawed: BTreeMap<&'static str, Flawed>,
    /// A proxy that wants a password.
    pub(super) proxy: String,
    /// A folder that is not there.
    pub(super) missing: PathBuf,
}

impl Line {
    pub(super) const fn new(
        failure: (Origin, u16, &'static str),
        class: Class,
        scope: Scope,
        requests: RangeInclusive<usize>,
    ) -> Self {
        let counts = match scope {
            Scope::Credential => Counts::Requests,
            Scope::Resource | Scope::Stream | Scope::Output | Scope::Lane => Counts::Audit,
        };
        Self {
            failure,
            class,
            scope,
            requests,
            counts,
            told: Told::Once,
            unnumbered: None,
            apis: BOTH,
            faults: Vec::new(),
            label: "",
            seat: None,
            hinder: None,
            mend: None,
        }
    }

    /// Everything that the failure is the trouble of is answered so.
    pub(super) fn answered(self, answer: Answer) -> Self {
        let target = match self.counts {
            Counts::Requests => Target::Api,
            Counts::Audit | Counts::Failures => Target::path(AUDIT),
            Counts::Tokens => Target::Token,
        };
        self.meeting(vec![Fault::answer(target, answer)])
    }

    pub(super) fn meeting(self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self }
    }

    pub(super) fn failure(&self) -> Failure {
        let (origin, status, code) = self.failure;
        Failure::new(origin, status, code, "")
    }

    /// The row of the table that it plays.
    pub(super) fn row(&self) -> &'static Row {
        lookup(&self.failure())
    }

    fn account(&self, api: Api) -> Account {
        let (_, status, code) = self.failure;
        let label = if self.label.is_empty() {
            String::new()
        } else {
            format!("-{}", self.label)
        };
        let origin = self.failure().origin.as_str();
        let name = format!(
            "-{origin}-{status}-{}{label}",
            if code.is_empty() { "none" } else { code }
        );
        match api {
            Api::V1 => Account::v1(&format!("v1{name}")),
            Api::V2 => Account::v2(&format!("v2{name}")),
        }
    }

    /// With how often it had `failed` when the time was over.
    fn check_requests(&self, bench: &Bench, name: &str, failed: u64) {
        let is_token = |path: &str| path.ends_with("/token");
        let times = match self.counts {
            Counts::Requests => bench.asked(name, |path| !is_token(path)),
            Counts::Audit => bench.asked(name, |path| path == AUDIT),
            Counts::Tokens => bench.asked(name, is_token),
            Counts::Failures => {
                let met = usize::try_from(failed).unwrap();
                assert!(self.requests.contains(&met), "{name} failed {met} times");
                return;
            }
        };
        let times: Vec<_> = times.into_iter().filter(|at| *at < WATCHED).collect();
        assert!(
            self.requests.contains(&times.len()),
            "{name} asked at {times:?}"
        );
        if self.class == Class::LockedOut {
            let gap = times.get(1).copied().unwrap_or_default();
            assert!(
                gap >= Duration::from_mins(29),
                "{name} asked while locked: {times:?}"
            );
        }
        if self.counts == Counts::Audit {
            let all = bench.asked(name, |path| !is_token(path)).len();
            assert!(all > times.len() + 3, "{name}: the other log was held up");
        }
    }

    fn check_alerts(&self, name: &str, alerts: &[Value]) {
        let of_it: Vec<_> = alerts
            .iter()
            .filter(|alert| alert["integration"] == name)
            .collect();
        let told: Vec<_> = of_it
            .iter()
            .map(|alert| alert["alert"].as_str().unwrap())
            .collect();
        let fits = match self.told {
            Told::Once => told == ["raised"],
            Told::Over => told == ["raised", "cleared"],
            Told::Again => {
                told.chunks(2)
                    .all(|pair| ["raised", "cleared"].starts_with(pair))
                    && !told.is_empty()
            }
            Told::Never => told.is_empty(),
            Told::Hardly => told.is_empty() || told == ["raised", "cleared"],
        };
        assert!(fits, "{name}: {of_it:#?}");
        if told.is_empty() {
            return;
        }
        let alert = of_it.first().unwrap();
        let found = lookup(&failure_of(alert["code"].as_str().unwrap(), self.failure.0));
        let row = match self.unnumbered.filter(|_| name.starts_with("v2")) {
            Some(code) => lookup(&Failure::new(self.failure.0, self.failure.1, code, "")),
            None => self.row(),
        };
        assert_eq!(found, row, "{name}: {alert:#}");
        assert_eq!(
            (found.class, found.scope),
            (self.class, self.scope),
            "{name}"
        );
        assert_eq!(alert["account_code"], format!("C-{name}"));
        assert!(alert["to_do"].as_str().unwrap().len() > 20, "{name}");
        assert!(!alert["endpoint"].as_str().unwrap().is_empty(), "{name}");
        let row = self.row();
        let at_mimecast = matches!(
            self.failure.0,
            Origin::Mimecast | Origin::Token | Origin::ObjectStore
        );
        let may_be_an_incident = row.class == Class::Transient
            && (at_mimecast && self.failure.1 >= 500 || self.failure.0 == Origin::Transport);
        // By the fifth failure in a row, unless this machine was too busy for so many tries.
        let attempts = alert["attempts"].as_u64().unwrap();
        assert_eq!(
            alert.get("status_page").is_some(),
            may_be_an_incident && attempts >= 5,
            "{name}: {alert:#}"
        );
        let has_answered = matches!(self.failure.0, Origin::Mimecast | Origin::Token);
        if may_be_an_incident && has_answered {
            let ids = alert["request_ids"].as_array().unwrap();
            assert_eq!(ids.len() as u64, attempts.min(5), "{name}: {alert:#}");
        }
        assert!(
            !has_answered || !alert["request_ids"].as_array().unwrap().is_empty(),
            "{name}: {alert:#}"
        );
    }
}

/// The failure that an alert's code names, of `origin` unless it says of which.
fn failure_of(code: &str, origin: Origin) -> Failure {
    let (head, rest) = code.split_once('/').unwrap_or((code, ""));
    match head.parse() {
        Ok(status) => Failure::new(origin, status, rest, ""),
        Err(_) => {
            let others = [Origin::Transport, Origin::Local, Origin::Watch];
            let named = others.into_iter().find(|origin| origin.as_str() == head);
            Failure::new(named.unwrap_or(origin), 0, rest, "")
        }
    }
}

/// Plays all lines at once for seven hours, then mends everything.
pub(super) async fn play(lines: &[Line], ways: &Ways) {
    let mut seats = Vec::new();
    let mut faults = Vec::new();
    for line in lines {
        for api in line.apis {
            let seat = Seat::of(line.account(*api));
            let seat = line.seat.map_or(seat.clone(), |of| of(seat, ways));
            let of_it = line.faults.iter().cloned();
            faults.extend(of_it.map(|fault| fault.of(seat.name())));
            seats.push((seat, line));
        }
    }
    let all: Vec<_> = seats.iter().map(|(seat, _)| seat.clone()).collect();
    let mut bench = Bench::start(&all, faults, Options::default()).await;
    for (seat, line) in &seats {
        if let Some(hinder) = line.hinder {
            hinder(&bench, seat);
        }
        bench.poll(seat).await;
    }
    let over = bench.clock.now() + WATCHED + Duration::from_mins(20);
    bench
        .until("seven hours", async |bench| bench.clock.now() >= over)
        .await;

    // At once: in this clock, hours pass while the rest is looked at.
    let failed = |(seat, line): &(Seat, &Line)| bench.failures(seat.name(), &line.failure().key());
    let failed: Vec<u64> = seats.iter().map(failed).collect();
    let alerts = bench.alerts().await;
    for ((seat, line), failed) in seats.iter().zip(failed) {
        line.check_requests(&bench, seat.name(), failed);
        line.check_alerts(seat.name(), &alerts);
    }

    bench.handle.clear_faults();
    for (seat, line) in &seats {
        if let Some(mend) = line.mend {
            mend(&bench, seat);
        }
        // What was wrong in the configuration is put right there.
        if seat.base_url.is_some() || seat.connection != Seat::of(seat.account.clone()).connection {
            bench.stop(seat).await;
            bench.poll(&Seat::of(seat.account.clone())).await;
        }
        bench.command(seat, Command::Resume).await;
    }
    bench
        .until("health", async |bench| bench.is_healthy(|_| true))
        .await;
    bench
        .until("all alerts to be cleared", async |bench| {
            let alerts = bench.alerts().await;
            let told = |what: &str| alerts.iter().filter(|alert| alert["alert"] == what).count();
            assert_eq!(told("raised") + told("cleared"), alerts.len());
            told("cleared") == told("raised")
        })
        .await;
    let expected =
        |(_, line): &&(Seat, &Line)| matches!(line.told, Told::Once | Told::Over | Told::Again);
    let raised = bench.alerts().await.len() / 2;
    assert!(
        raised >= seats.iter().filter(expected).count(),
        "{raised} alerts"
    );
    assert_eq!(bench.handle.violations(), Vec::<String>::new());
}
