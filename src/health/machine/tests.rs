use proptest::prelude::*;

use super::*;
use crate::health::{Origin, Seed, catalogue};

const START: Timestamp = Timestamp::from_millis(1_767_690_487_000);

fn policy() -> Policy {
    Policy::source(Seed::of(b"install", "acme-uk"))
}

fn key(name: &str) -> Fingerprint {
    Fingerprint::of(b"install", &[name])
}

/// A subject and its time, stepped by what its source answers.
struct Subject {
    policy: Policy,
    state: State,
    standing: Standing,
    now: Timestamp,
    credential: Fingerprint,
    alerts: Vec<Alert>,
}

impl Subject {
    fn new() -> Self {
        Self {
            policy: policy(),
            state: State::Healthy,
            standing: Standing::default(),
            now: START,
            credential: key("one"),
            alerts: Vec::new(),
        }
    }

    fn fails_with(&mut self, failure: &Failure) -> Action {
        let credential = self.credential.clone();
        self.steps(&Outcome::Failed(Attempt {
            failure,
            credential: Some(&credential),
            wall: self.now,
        }))
    }

    fn fails(&mut self, status: u16, code: &str) -> Action {
        self.fails_with(&Failure::new(Origin::Mimecast, status, code, "POST /x"))
    }

    fn steps(&mut self, outcome: &Outcome<'_>) -> Action {
        let stepped = step(&self.policy, self.standing.clone(), outcome, self.now);
        self.standing = stepped.standing;
        self.state = self.standing.state.clone();
        self.alerts.extend(stepped.alert);
        stepped.action
    }

    /// Lets time pass, tick by tick, with this outcome each minute.
    fn spends(&mut self, minutes: u64, outcome: &Outcome<'_>) {
        for _ in 0..minutes {
            self.now = self.now + Duration::from_mins(1);
            if self.standing.tick().is_some_and(|at| at <= self.now) {
                self.steps(&Outcome::Tick);
            }
            self.steps(outcome);
        }
    }

    /// How long the state makes it wait; `None` for ever.
    fn waits(&self) -> Option<Duration> {
        self.state
            .next_allowed(self.now)
            .map(|at| at.since(self.now))
    }

    fn wait(&mut self) {
        self.now = self.state.next_allowed(self.now).unwrap();
    }
}

fn minutes(minutes: u64) -> Option<Duration> {
    Some(Duration::from_mins(minutes))
}

#[test]
fn a_locked_account_is_tried_once_a_period_and_ever_more_rarely() {
    let mut subject = Subject::new();
    for expected in [30, 60, 120, 240, 240] {
        assert_eq!(subject.fails(401, "0010"), Action::Wait);
        assert_eq!(subject.waits(), minutes(expected));
        subject.credential = key("another does not help");
        assert!(!subject.state.allows(subject.now, Some(&subject.credential)));
        subject.wait();
    }
    // A failed connection says nothing about the lock.
    assert_eq!(subject.fails(503, ""), Action::Wait);
    assert_eq!(subject.waits(), minutes(30));
    assert_eq!(
        subject.state.cause().map(Cause::key).as_deref(),
        Some("401/0010")
    );
    subject.wait();
    subject.fails(401, "0010");
    assert_eq!(subject.waits(), minutes(240));
}

#[test]
fn answers_still_on_their_way_neither_shorten_nor_lengthen_a_lock_out() {
    let mut subject = Subject::new();
    for expected in [30, 60, 120, 240] {
        for _ in 0..4 {
            assert_eq!(subject.fails(401, "0010"), Action::Wait);
            assert_eq!(subject.waits(), minutes(expected));
        }
        if expected < 240 {
            subject.wait();
        }
    }
    subject.fails(503, "");
    assert_eq!(subject.waits(), minutes(240));
}

#[test]
fn a_dead_key_waits_for_another_one() {
    let mut subject = Subject::new();
    subject.fails(418, "0001");
    assert_eq!(subject.waits(), None);
    subject.credential = key("two");
    assert!(subject.state.allows(subject.now, Some(&subject.credential)));
    // The new key has had no answer yet: it is tried by the curve, neither blocked nor at once.
    assert_eq!(subject.fails(503, ""), Action::Wait);
    assert_eq!(subject.state.as_str(), "retrying");
    assert!(!subject.state.allows(subject.now, Some(&subject.credential)));
    assert_eq!(subject.fails(418, "0001"), Action::Wait);
    assert!(!subject.state.allows(subject.now, Some(&subject.credential)));
    assert_eq!(subject.waits(), None);
}

#[test]
fn a_person_resumes_a_block_but_not_a_servers_wish() {
    let mut subject = Subject::new();
    subject.fails(401, "0013");
    assert_eq!(subject.steps(&Outcome::Resumed), Action::Proceed);
    assert_eq!(subject.waits(), minutes(0));
    subject.fails(401, "0013");
    assert_eq!(subject.waits(), None);
    subject.steps(&Outcome::Success);
    subject.fails(429, "");
    assert_eq!(subject.steps(&Outcome::Resumed), Action::Wait);
    assert!(subject.waits() >= minutes(1));
}

#[test]
fn a_refusal_without_a_reason_renews_once_then_tries_three_times_then_stops() {
    let mut subject = Subject::new();
    for _ in 0..2 {
        assert_eq!(subject.fails(401, ""), Action::RenewCredential);
        assert_eq!(subject.waits(), minutes(0));
        for _ in 0..3 {
            assert_eq!(subject.fails(401, ""), Action::Wait);
            assert_eq!(subject.waits(), minutes(5));
            subject.wait();
        }
        for _ in 0..3 {
            assert_eq!(subject.fails(401, ""), Action::Wait);
            assert_eq!(
                (subject.state.as_str(), subject.waits()),
                ("blocked", minutes(30))
            );
            subject.wait();
        }
        subject.steps(&Outcome::Resumed);
    }
}

#[test]
fn a_refused_signature_corrects_a_wrong_clock_once() {
    let mut refused = Failure::new(Origin::Mimecast, 401, "0004", "POST /x");
    let mut subject = Subject::new();
    refused.server_time = Some(START + Duration::from_secs(61));
    assert_eq!(subject.fails_with(&refused), Action::CorrectClock);
    assert_eq!(subject.waits(), minutes(0));
    assert_eq!(subject.fails_with(&refused), Action::Wait);
    assert_eq!(subject.waits(), minutes(360));

    // For an hour the same credential is not given another date; a key made anew is.
    let mut farther = refused.clone();
    farther.server_time = Some(START + Duration::from_mins(10));
    assert_eq!(subject.fails_with(&farther), Action::Wait);
    subject.credential = key("two");
    assert_eq!(subject.fails_with(&farther), Action::CorrectClock);
    assert_eq!(subject.standing.clock_ahead_ms(), 600_000);

    for right in [None, Some(START), Some(START - Duration::from_mins(1))] {
        let mut subject = Subject::new();
        refused.server_time = right;
        assert_eq!(subject.fails_with(&refused), Action::Wait);
        assert_eq!(subject.waits(), minutes(360));
    }
}

#[test]
fn a_correction_outlives_success_and_goes_when_the_clocks_agree_again() {
    let mut refused = Failure::new(Origin::Mimecast, 401, "0004", "POST /x");
    let mut subject = Subject::new();
    refused.server_time = Some(START - Duration::from_mins(20));
    assert_eq!(subject.fails_with(&refused), Action::CorrectClock);
    subject.steps(&Outcome::Success);
    assert_eq!(subject.standing.clock_ahead_ms(), -1_200_000);
    // NTP has mended our clock, and now the corrected date is the wrong one, be the hour over or not.
    subject.now = START + Duration::from_mins(5);
    refused.server_time = Some(subject.now);
    assert_eq!(subject.fails_with(&refused), Action::CorrectClock);
    assert_eq!(subject.standing.clock_ahead_ms(), 0);
    assert_eq!(subject.fails_with(&refused), Action::Wait);
    assert_eq!(subject.waits(), minutes(360));
}

#[test]
fn a_correction_goes_with_the_first_date_that_agrees_again() {
    let mut refused = Failure::new(Origin::Mimecast, 401, "0004", "POST /x");
    let mut subject = Subject::new();
    refused.server_time = Some(START + Duration::from_mins(20));
    subject.fails_with(&refused);
    subject.steps(&Outcome::Success);
    subject.steps(&Outcome::Dated(1_199_000));
    assert_eq!(subject.standing.clock_ahead_ms(), 1_200_000);
    subject.steps(&Outcome::Dated(-59_000));
    assert_eq!(subject.standing.clock_ahead_ms(), 0);
    assert_eq!(subject.state, State::Healthy);
}

#[test]
fn a_locked_account_is_told_at_once_and_once() {
    let mut subject = Subject::new();
    for _ in 0..3 {
        subject.fails(401, "0010");
        subject.wait();
    }
    assert_eq!(subject.alerts, [Alert::Raise]);
    subject.spends(14, &Outcome::Success);
    subject.fails(500, "");
    subject.spends(15, &Outcome::Success);
    assert_eq!(subject.alerts, [Alert::Raise], "it came and went");
    subject.spends(1, &Outcome::Success);
    assert_eq!(subject.alerts, [Alert::Raise, Alert::Clear]);
}

#[test]
fn what_passes_within_a_quarter_of_an_hour_is_not_told() {
    let mut subject = Subject::new();
    subject.fails(429, "");
    subject.spends(14, &Outcome::Tick);
    subject.steps(&Outcome::Success);
    assert_eq!((subject.alerts.len(), subject.standing.tick()), (0, None));
    subject.fails(429, "");
    assert_eq!(
        subject.standing.tick(),
        Some(subject.now + Duration::from_mins(15))
    );
    subject.spends(15, &Outcome::Tick);
    assert_eq!(subject.alerts, [Alert::Raise]);
}

#[test]
fn what_may_be_an_incident_is_told_with_the_fifth_failure_in_a_row() {
    let mut subject = Subject::new();
    for _ in 1..5 {
        subject.fails(503, "");
        subject.wait();
    }
    assert!(subject.now >= START + Duration::from_mins(15));
    subject.steps(&Outcome::Tick);
    assert_eq!(subject.alerts, []);
    subject.fails(503, "");
    assert_eq!(subject.alerts, [Alert::Raise]);
    assert!(subject.now <= START + Duration::from_mins(18));
    // A server that asks for long waits does not put it off.
    let mut slow = Failure::new(Origin::Mimecast, 503, "", "POST /x");
    slow.retry_after = Some(Duration::from_mins(15));
    let mut subject = Subject::new();
    subject.fails_with(&slow);
    subject.spends(19, &Outcome::Tick);
    assert_eq!(subject.alerts, []);
    subject.spends(1, &Outcome::Tick);
    assert_eq!(subject.alerts, [Alert::Raise]);
}

#[test]
fn people_are_reminded_daily_and_when_something_worse_comes() {
    let mut subject = Subject::new();
    subject.fails(418, "0001");
    subject.spends(24 * 60 * 2 + 1, &Outcome::Tick);
    assert_eq!(subject.alerts, [Alert::Raise, Alert::Remind, Alert::Remind]);
    subject.fails(401, "0013");
    subject.fails(401, "0013");
    assert_eq!(subject.alerts.len(), 4);
    assert_eq!(
        subject
            .standing
            .raised
            .as_ref()
            .map(|raised| raised.code.as_str()),
        Some("401/0013")
    );
}

#[test]
fn a_renewed_token_is_nobodys_business() {
    let mut subject = Subject::new();
    for _ in 0..100 {
        subject.fails(401, "token_expired");
        subject.spends(5, &Outcome::Success);
    }
    assert!(subject.alerts.is_empty());
}

#[test]
fn the_request_ids_of_five_failures_are_kept_for_support() {
    let mut subject = Subject::new();
    for n in 0..9 {
        let mut failure = Failure::new(Origin::Mimecast, 500, "", "POST /x");
        failure.request_id = Some(format!("r{n}"));
        subject.fails_with(&failure);
    }
    let cause = subject.state.cause().unwrap();
    assert_eq!(cause.request_id.as_deref(), Some("r8"));
    assert_eq!(cause.earlier, ["r7", "r6", "r5", "r4"]);
}

#[test]
fn a_servers_wish_is_kept_within_reason() {
    let mut failure = Failure::new(Origin::Mimecast, 429, "", "POST /x");
    for (wish, expected) in [(0, 1), (47, 47), (86_400, 900)] {
        for status in [429, 503] {
            let mut subject = Subject::new();
            failure.status = status;
            failure.retry_after = Some(Duration::from_secs(wish));
            assert_eq!(subject.fails_with(&failure), Action::Wait);
            assert_eq!(subject.waits(), Some(Duration::from_secs(expected)));
        }
    }
}

#[test]
fn what_was_out_when_a_rate_limit_hit_never_shortens_the_wait() {
    let mut subject = Subject::new();
    let mut failure = Failure::new(Origin::Mimecast, 429, "", "POST /x");
    failure.retry_after = Some(Duration::from_mins(10));
    subject.fails_with(&failure);
    subject.now = subject.now + Duration::from_secs(2);
    for status in [429, 500, 429, 503] {
        assert_eq!(subject.fails(status, ""), Action::Wait);
        assert_eq!(subject.waits(), Some(Duration::from_secs(598)));
        assert_eq!(subject.state.attempts(), 1);
    }
    failure.retry_after = Some(Duration::from_mins(12));
    subject.fails_with(&failure);
    assert_eq!(subject.waits(), Some(Duration::from_mins(12)));
}

#[test]
fn troubles_that_take_turns_still_wait_ever_longer() {
    let mut subject = Subject::new();
    let mut last = Duration::ZERO;
    for status in [500, 502, 429, 503, 500] {
        subject.fails(status, "");
        assert!(subject.waits() > Some(last), "{:?}", subject.state);
        last = subject.waits().unwrap();
        assert_eq!(subject.state.since(), Some(START));
        subject.wait();
    }
    assert_eq!(last, Duration::from_mins(15));
}

#[test]
fn a_refused_cursor_is_reset_and_a_refused_record_put_aside() {
    let mut subject = Subject::new();
    assert_eq!(subject.fails(400, "invalid_cursor"), Action::ResetCursor);
    assert_eq!(subject.state.as_str(), "retrying");
    let record = Failure::new(Origin::Hec, 400, "6", "POST /services/collector/event");
    assert_eq!(subject.fails_with(&record), Action::Quarantine);
    assert_eq!(subject.state, State::Healthy);
}

#[test]
fn a_change_is_told_once() {
    let policy = policy();
    let mut state = Standing::default();
    let changes: Vec<bool> = [500, 500, 503, 429, 429]
        .map(|status| {
            let failure = Failure::new(Origin::Mimecast, status, "", "POST /x");
            let attempt = Attempt {
                failure: &failure,
                credential: None,
                wall: START,
            };
            let stepped = step(&policy, state.clone(), &Outcome::Failed(attempt), START);
            state = stepped.standing;
            stepped.changed
        })
        .into();
    assert_eq!(changes, [true, false, true, true, false]);
}

/// What may happen: listed failures and others, with any wish, at any time, with several credentials.
#[derive(Clone, Debug)]
enum Event {
    Success,
    Resumed,
    Tick,
    Failed {
        failure: Failure,
        credential: Option<u8>,
    },
    Restarted,
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let listed = (0..catalogue::all().count()).prop_map(|i| {
        let row = catalogue::all().nth(i).unwrap();
        let status = match row.status {
            catalogue::Status::Any => 0,
            catalogue::Status::Is(status) => status,
            catalogue::Status::Family(digit) => digit * 100 + 77,
        };
        Failure::new(row.origin, status, row.code, "POST /x")
    });
    let other = (any::<u16>(), any::<String>())
        .prop_map(|(status, code)| Failure::new(Origin::Mimecast, status, &code, "POST /x"));
    let wish = proptest::option::of((0..u64::MAX).prop_map(Duration::from_millis));
    let date = proptest::option::of(any::<i64>().prop_map(Timestamp::from_millis));
    (prop_oneof![8 => listed, 1 => other], wish, date).prop_map(|(mut failure, wish, date)| {
        failure.retry_after = wish;
        failure.server_time = date;
        failure
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let failed =
        (any_failure(), proptest::option::of(0..3_u8)).prop_map(|(failure, credential)| {
            Event::Failed {
                failure,
                credential,
            }
        });
    prop_oneof![
        1 => Just(Event::Success),
        1 => Just(Event::Resumed),
        2 => Just(Event::Tick),
        1 => Just(Event::Restarted),
        8 => failed,
    ]
}

/// What the promises about trying again are checked on.
struct Was {
    state: State,
    action: Action,
}

/// The end of time has no later moment.
fn can_wait(now: Timestamp) -> bool {
    now < now + Duration::from_hours(1_000)
}

/// Mostly forward by minutes, sometimes anywhere.
fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0..20_000_000_i64).prop_map(|ahead| START.as_millis() + ahead),
        1 => any::<i64>(),
    ]
}

type History = Vec<(Event, i64)>;

/// What holds after each step, whatever came before.
fn keeps_its_promises(history: History, output: bool) -> Result<(), TestCaseError> {
    let seed = Seed::of(b"install", "acme-uk");
    let policy = if output {
        Policy::output(seed)
    } else {
        Policy::source(seed)
    };
    let keys = [key("0"), key("1"), key("2")];
    let mut state = Standing::default();
    let mut told = false;
    for (event, now) in history {
        let now = Timestamp::from_millis(now);
        let credential = match &event {
            Event::Failed { credential, .. } => credential.map(|i| &keys[usize::from(i)]),
            Event::Success | Event::Resumed | Event::Tick | Event::Restarted => None,
        };
        let outcome = match &event {
            Event::Success => Outcome::Success,
            Event::Resumed => Outcome::Resumed,
            Event::Tick => Outcome::Tick,
            Event::Failed { failure, .. } => Outcome::Failed(Attempt {
                failure,
                credential,
                wall: now,
            }),
            Event::Restarted => {
                let json = serde_json::to_string(&state).unwrap();
                prop_assert!(json.len() < 8_192);
                prop_assert_eq!(&serde_json::from_str::<Standing>(&json).unwrap(), &state);
                continue;
            }
        };
        let stepped = step(&policy, state.clone(), &outcome, now);

        prop_assert_eq!(&stepped, &step(&policy, state.clone(), &outcome, now));
        match stepped.alert {
            Some(Alert::Raise) => prop_assert!(!std::mem::replace(&mut told, true)),
            Some(Alert::Remind) => prop_assert!(told),
            Some(Alert::Clear) => {
                prop_assert!(std::mem::replace(&mut told, false));
                prop_assert_eq!(&stepped.standing.state, &State::Healthy);
            }
            None => {}
        }
        prop_assert_eq!(told, stepped.standing.raised.is_some());
        // What is due is told, so nobody looks for it in a loop.
        prop_assert!(
            stepped
                .standing
                .tick()
                .is_none_or(|at| at > now || !can_wait(now))
        );
        state = stepped.standing.clone();
        let stepped = Was {
            state: stepped.standing.state,
            action: stepped.action,
        };
        prop_assert_eq!(&stepped.state, &stepped.state.clone().clamp(now, &policy));
        if let Some(at) = stepped.state.next_allowed(now) {
            prop_assert!(at >= now && at <= now + policy.longest());
        }
        if matches!(event, Event::Success) {
            prop_assert_eq!(&stepped.state, &State::Healthy);
        }
        // Whoever must wait is not allowed now; the end of time has no later moment.
        if matches!(event, Event::Failed { .. }) && can_wait(now) {
            let waits = matches!(stepped.action, Action::Wait | Action::ResetCursor);
            prop_assert_eq!(!stepped.state.allows(now, credential), waits);
        }
        // A block is left before its time by a success, a person or another credential only.
        if let State::Blocked { until, cause, .. } = &stepped.state {
            let before = until.map_or(Timestamp::from_millis(i64::MAX), |at| {
                at - Duration::from_millis(1)
            });
            prop_assert!(!stepped.state.allows(before, None));
            if cause.row().class == Class::LockedOut {
                prop_assert!(
                    keys.iter()
                        .all(|key| !stepped.state.allows(before, Some(key)))
                );
            }
        }
    }
    Ok(())
}

fn any_history(steps: std::ops::Range<usize>) -> impl Strategy<Value = History> {
    proptest::collection::vec((any_event(), any_time()), steps)
}

proptest! {
    #[test]
    fn the_machine_keeps_its_promises_over_any_history(
        history in any_history(1..80),
        output: bool,
    ) {
        keeps_its_promises(history, output)?;
    }
}

proptest! {
    // A long history is not worth making much smaller: the test above finds what is short.
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_keeps_its_promises_over_ten_thousand_steps(
        history in any_history(10_000..10_001),
        output: bool,
    ) {
        keeps_its_promises(history, output)?;
    }
}
