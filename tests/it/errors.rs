//! Every row of Mimecast's table that the simulator can say, to both APIs, through the real client, poller and store: what it is
//! judged to be, how often it is asked again in the seven hours that follow, who is told, and that all goes on once it is mended.
//!
//! One simulator and one store, an account for each row, all at once: the schedule runs 900 times as fast as the sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Origin, Scope, lookup};
use mimecast_collector::http::Connection;
use mimecast_collector::mimecast::auth::Credential;
use mimecast_collector::mimecast::client::{Client, Http, Limits};
use mimecast_collector::mimecast::log_types::{self, Api};
use mimecast_collector::model::{IntegrationId, LaneId, OutputId, Position};
use mimecast_collector::pause::Pause;
use mimecast_collector::poll::config::{CredentialSource, IntegrationConfig, LogConfig};
use mimecast_collector::poll::{Budgets, Command, Poller, Room, Shared};
use mimecast_collector::secret::{Secret, SecretSource};
use mimecast_collector::simulator::{
    Account, Answer, Fault, Handle, Key, Options, Simulator, Target,
};
use mimecast_collector::status::{Phase, Status};
use mimecast_collector::store::{Store, StoreError};
use mimecast_collector::subject::Context;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SCALE: u32 = 900;
const AUDIT: &str = "/api/audit/get-audit-events";
/// From an account's first request; long enough for the recheck of six hours, too short for the fifth try of a locked account.
const WATCHED: Duration = Duration::from_mins(7 * 60);
/// Real time for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// A row, what it is judged to be, and the requests it allows in [`WATCHED`].
struct Row {
    status: u16,
    /// Its code; for an answer that has none, a name for it.
    code: &'static str,
    answer: fn(&Row) -> Answer,
    class: Class,
    scope: Scope,
    requests: std::ops::RangeInclusive<usize>,
}

const fn row(
    status: u16,
    code: &'static str,
    class: Class,
    scope: Scope,
    least: usize,
    most: usize,
) -> Row {
    Row {
        status,
        code,
        answer: |row| Answer::article(row.status, row.code),
        class,
        scope,
        requests: least..=most,
    }
}

/// What the simulator's table does not have.
const fn said(answer: fn(&Row) -> Answer, row: Row) -> Row {
    Row { answer, ..row }
}

/// A code in the form that functions of `/api/` have in both versions.
fn envelope(row: &Row) -> Answer {
    let body = serde_json::json!({
        "meta": {"status": row.status},
        "data": [],
        "fail": [{"errors": [{"code": "err_xdk_any", "message": format!("{} in words", row.code)}]}],
    });
    Answer::raw(row.status, "application/json", &body.to_string())
}

/// HTTP says that it went well, and the envelope that it did not.
fn under_success(row: &Row) -> Answer {
    Answer::ok_with_fail(row.code, "in words")
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Hourly, this log type alone. A busy machine is late, so there may be fewer requests; more there may not be.
    row(400, "", Class::RequestInvalid, Scope::Stream, 3, 8),
    row(400, "validation_error", Class::RequestInvalid, Scope::Stream, 3, 8),
    row(403, "0002", Class::Forbidden, Scope::Stream, 3, 8),
    row(403, "app_forbidden", Class::Forbidden, Scope::Stream, 3, 8),
    row(404, "", Class::RequestInvalid, Scope::Stream, 3, 8),
    row(405, "", Class::RequestInvalid, Scope::Stream, 3, 8),
    row(403, "", Class::Forbidden, Scope::Stream, 3, 8),
    // Never again with this credential.
    row(401, "0008", Class::CredentialRejected, Scope::Credential, 1, 1),
    row(401, "0012", Class::CredentialRejected, Scope::Credential, 1, 1),
    row(401, "0013", Class::CredentialRejected, Scope::Credential, 1, 1),
    row(418, "0001", Class::CredentialRejected, Scope::Credential, 1, 1),
    row(418, "", Class::CredentialRejected, Scope::Credential, 1, 1),
    // Once more after six hours.
    row(401, "0003", Class::CredentialRejected, Scope::Credential, 2, 2),
    row(401, "0004", Class::ClockSkewed, Scope::Credential, 2, 2),
    row(401, "err_developer_key", Class::CredentialRejected, Scope::Credential, 2, 2),
    row(403, "0009", Class::CredentialRejected, Scope::Credential, 2, 2),
    row(403, "0012", Class::CredentialRejected, Scope::Credential, 2, 2),
    // After 30 min, 1 h, 2 h; the fourth is four hours later.
    row(401, "0010", Class::LockedOut, Scope::Credential, 4, 4),
    // Renewed, three times 5 min, then each 30 min.
    row(401, "", Class::CredentialStale, Scope::Credential, 7, 19),
    row(401, "token_expired", Class::CredentialStale, Scope::Credential, 7, 19),
    row(401, "token_verification_failed", Class::CredentialStale, Scope::Credential, 7, 19),
    // By the curve: 1, 2, 4, 8, 15 min and so on.
    row(429, "", Class::Throttled, Scope::Resource, 9, 34),
    row(500, "", Class::Transient, Scope::Stream, 9, 34),
    row(502, "", Class::Transient, Scope::Stream, 9, 34),
    row(503, "", Class::Transient, Scope::Stream, 9, 34),
    row(504, "", Class::Transient, Scope::Stream, 9, 34),
    // What the article does not have: older codes, the wrong region, a success that is none, pages of gateways.
    said(envelope, row(400, "0001", Class::CredentialRejected, Scope::Credential, 2, 2)),
    said(envelope, row(401, "0001", Class::CredentialRejected, Scope::Credential, 2, 2)),
    said(envelope, row(403, "0003", Class::Forbidden, Scope::Stream, 3, 8)),
    said(under_success, row(200, "err_audit_log_incorrect_region", Class::RequestInvalid, Scope::Stream, 2, 2)),
    said(under_success, row(200, "err_xdk_forbidden", Class::Forbidden, Scope::Stream, 3, 8)),
    said(under_success, row(200, "err_nobody_knows", Class::Transient, Scope::Stream, 9, 34)),
    said(|_| Answer::html(200), row(200, "page", Class::Transient, Scope::Stream, 9, 34)),
    said(|_| Answer::empty(200), row(200, "nothing", Class::Transient, Scope::Stream, 9, 34)),
    said(|_| Answer::html(403), row(403, "page", Class::Forbidden, Scope::Stream, 3, 8)),
    said(|_| Answer::html(502), row(502, "page", Class::Transient, Scope::Stream, 9, 34)),
];

impl Row {
    fn target(&self) -> Target {
        match self.scope {
            Scope::Credential => Target::Api,
            Scope::Resource | Scope::Stream | Scope::Output | Scope::Lane => Target::path(AUDIT),
        }
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn credential(account: &Account) -> Credential {
    match &account.key {
        Key::V1 {
            application_id,
            application_key,
            access_key,
            secret_key,
        } => Credential::v1(
            application_id.clone(),
            secret(application_key),
            secret(access_key),
            &secret(secret_key),
        ),
        Key::V2 {
            client_id,
            client_secret,
        } => Credential::v2(client_id.clone(), secret(client_secret)),
    }
    .unwrap()
}

fn integration(account: &Account, base_url: &str) -> IntegrationConfig {
    let log = |name: &str, minutes| LogConfig {
        interval: Duration::from_mins(minutes),
        start: Duration::from_mins(60),
        ..LogConfig::from(log_types::find(name).unwrap())
    };
    let mail = match account.api() {
        Api::V1 => "siem",
        Api::V2 => "siem-cg",
    };
    IntegrationConfig {
        id: IntegrationId::new(&account.name).unwrap(),
        // Read by nobody here: the credential is given.
        credential: CredentialSource::V2 {
            client_id: "id".to_owned(),
            client_secret: SecretSource::Literal(secret("secret")),
        },
        base_url: base_url.to_owned(),
        logs: vec![log("audit", 5), log(mail, 60)],
        tags: BTreeMap::from([("account_code".to_owned(), format!("C-{}", account.name))]),
        connection: Connection::default(),
    }
}

/// A collector of many accounts without outputs, and the simulator it asks.
struct Bench {
    simulator: Simulator,
    handle: Handle,
    clock: Clock,
    context: Context,
    commands: Vec<mpsc::Sender<Command>>,
    tasks: JoinSet<Result<(), StoreError>>,
    _folder: TempDir,
}

impl Bench {
    async fn start(accounts: Vec<Account>, faults: Vec<Fault>, options: Options) -> Self {
        let clock = Clock::scaled(Clock::system().wall(), SCALE);
        let simulator = Simulator::start(Options {
            clock: clock.clone(),
            accounts: accounts.clone(),
            // In real time, which the token's holder goes by.
            token_lifetime: Options::default().token_lifetime * SCALE,
            ..options
        })
        .await
        .unwrap();
        // The script stands before the first request goes out.
        for fault in faults {
            simulator.handle().script(fault);
        }
        let folder = tempfile::tempdir().unwrap();
        let (store, task) = Store::open(folder.path(), clock.clone()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(CancellationToken::new()));
        store
            .route(vec![OutputId::new("nobody").unwrap()])
            .await
            .unwrap();
        let context = Context {
            status: Status::new(folder.path(), clock.now()),
            store,
            clock: clock.clone(),
            watchdog: mimecast_collector::watchdog::Watchdog::new(clock.clone()),
        };
        let mut bench = Self {
            handle: simulator.handle(),
            simulator,
            clock,
            context,
            commands: Vec::new(),
            tasks,
            _folder: folder,
        };
        for account in &accounts {
            bench.poll(account).await;
        }
        bench
    }

    async fn poll(&mut self, account: &Account) {
        let config = integration(account, &self.simulator.api_url());
        let credential = credential(account);
        let store = &self.context.store;
        let fingerprint = credential.fingerprint(store.install_id().as_bytes());
        let source = Client::new(
            &config.base_url,
            credential,
            Http::new(&config.connection).unwrap(),
            self.clock.clone(),
            Limits::new(std::env::temp_dir()),
        );
        let (commands, inbox) = mpsc::channel(4);
        let shared = Shared {
            context: self.context.clone(),
            requests: Arc::new(Semaphore::new(4)),
            budgets: Budgets::default(),
        };
        let room = Room::new(1 << 30, 1 << 30);
        let stored = store.snapshot().await.unwrap();
        let poller = Poller::new(&config, source, fingerprint, shared, room, &stored, inbox);
        self.commands.push(commands);
        self.tasks.spawn(poller.run(CancellationToken::new()));
    }

    /// The alerts of an account so far: what, and of which code.
    async fn alerts(&self) -> Vec<Value> {
        let (lane, mut from) = (LaneId::collector(), Position::start_of(1));
        let mut alerts = Vec::new();
        loop {
            let outbox = self.context.store.outbox();
            let chunk = outbox.read(&lane, from, 1 << 20, 1_000).await.unwrap();
            if chunk.records.is_empty() {
                return alerts;
            }
            from = chunk.position_after(chunk.records.len());
            let told = chunk
                .records
                .iter()
                .filter(|record| &*record.kind == "alert");
            alerts
                .extend(told.map(|record| serde_json::from_slice::<Value>(&record.body).unwrap()));
        }
    }

    /// Waits for `condition`, which is looked at each simulated minute.
    async fn until(&mut self, what: &str, mut condition: impl AsyncFnMut(&Self) -> bool) {
        let began = self.clock.monotonic();
        while !condition(self).await {
            assert!(
                self.clock.monotonic() - began < PATIENCE,
                "gave up waiting for {what}"
            );
            let ended = self.tasks.try_join_next();
            assert!(ended.is_none(), "a task ended: {ended:?}");
            self.clock
                .sleep_until(self.clock.now() + Duration::from_mins(1))
                .await;
        }
    }

    fn all_healthy(&self) -> bool {
        let report = self.context.status.report(self.clock.now());
        report.integrations.iter().all(|integration| {
            let streams = integration.streams.iter().map(|stream| &stream.condition);
            let mut all = streams
                .chain(integration.resources.values())
                .chain([&integration.condition]);
            all.all(|condition| condition.state == Phase::Healthy)
        })
    }
}

/// When an account asked for a log, in simulated time since it first asked for any.
fn asked(handle: &Handle, account: &str, path: Option<&str>) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut first = None;
    for request in handle.requests() {
        let is_token = request.path.ends_with("/token");
        if is_token || request.account.as_deref() != Some(account) {
            continue;
        }
        let at = request.since_start * SCALE;
        let since = at.saturating_sub(*first.get_or_insert(at));
        if path.is_none_or(|path| request.path == path) {
            times.push(since);
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_is_asked_again_as_its_row_says_told_once_and_healed_once_mended() {
    let mut accounts = Vec::new();
    let mut faults = Vec::new();
    for row in ROWS {
        let code = if row.code.is_empty() {
            "none"
        } else {
            row.code
        };
        let name = |api: &str| format!("{api}-{}-{code}", row.status);
        for account in [Account::v1(&name("v1")), Account::v2(&name("v2"))] {
            faults.push(Fault::answer(row.target(), (row.answer)(row)).of(&account.name));
            accounts.push((account, row));
        }
    }
    let names = accounts
        .iter()
        .map(|(account, _)| account.clone())
        .collect();
    let mut bench = Bench::start(names, faults, Options::default()).await;
    let began = bench.clock.now();
    let over = began + WATCHED + Duration::from_mins(20);
    bench
        .until("seven hours", async |bench| bench.clock.now() >= over)
        .await;

    let alerts = bench.alerts().await;
    for (account, row) in &accounts {
        let name = account.name.as_str();
        let path = (row.scope != Scope::Credential).then_some(AUDIT);
        let times = asked(&bench.handle, name, path);
        let times: Vec<_> = times.into_iter().filter(|at| *at < WATCHED).collect();
        assert!(
            row.requests.contains(&times.len()),
            "{name} asked at {times:?}"
        );
        if row.class == Class::LockedOut {
            let gap = times.get(1).copied().unwrap_or_default();
            assert!(
                gap >= Duration::from_mins(29),
                "{name} asked while locked: {times:?}"
            );
        }
        if row.scope == Scope::Stream || row.scope == Scope::Resource {
            let all = asked(&bench.handle, name, None).len();
            assert!(all > times.len() + 5, "{name}: the other log was held up");
        }
        let of_it: Vec<_> = alerts
            .iter()
            .filter(|alert| alert["integration"] == name)
            .collect();
        let told: Vec<_> = of_it
            .iter()
            .map(|alert| alert["alert"].as_str().unwrap())
            .collect();
        if row.class == Class::Forbidden {
            // The account never had this log.
            assert_eq!(told, [""; 0], "{name}: {of_it:#?}");
            continue;
        }
        assert_eq!(told, ["raised"], "{name}: {of_it:#?}");
        let alert = of_it.first().unwrap();
        let code = alert["code"].as_str().unwrap();
        let (head, code) = code.split_once('/').unwrap_or((code, ""));
        let failure = match head.parse() {
            Ok(status) => {
                assert_eq!(status, row.status, "{name}");
                Failure::new(Origin::Mimecast, status, code, "")
            }
            // An answer that is none.
            Err(_) => {
                assert_eq!(head, "transport", "{name}");
                Failure::new(Origin::Transport, 0, code, "")
            }
        };
        let found = lookup(&failure);
        assert_eq!((found.class, found.scope), (row.class, row.scope), "{name}");
        assert_eq!(alert["account_code"], format!("C-{name}"));
        assert!(
            !alert["request_ids"].as_array().unwrap().is_empty(),
            "{name}"
        );
        assert!(alert["to_do"].as_str().unwrap().len() > 20, "{name}");
    }

    bench.handle.clear_faults();
    for commands in &bench.commands {
        commands.send(Command::Resume).await.unwrap();
    }
    bench
        .until("health", async |bench| bench.all_healthy())
        .await;
    let alerted = accounts
        .iter()
        .filter(|(_, row)| row.class != Class::Forbidden);
    let cleared = alerted.count();
    bench
        .until("all alerts to be cleared", async |bench| {
            let alerts = bench.alerts().await;
            alerts
                .iter()
                .filter(|alert| alert["alert"] == "cleared")
                .count()
                >= cleared
        })
        .await;
    assert_eq!(bench.alerts().await.len(), 2 * cleared);
    assert_eq!(bench.handle.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_clock_is_wrong_signs_with_the_servers_time() {
    let account = Account::v1("skewed");
    let options = Options {
        clock_ahead_ms: 20 * 60 * 1_000,
        ..Options::default()
    };
    let mut bench = Bench::start(vec![account], Vec::new(), options).await;
    bench
        .until("an answer", async |bench| {
            let requests = bench.handle.requests();
            requests.iter().any(|request| request.status == Some(200)) && bench.all_healthy()
        })
        .await;
    let refused = bench.handle.requests();
    let refused = refused.iter().filter(|request| request.status == Some(401));
    assert_eq!(refused.count(), 1);
    let stored = bench.context.store.snapshot().await.unwrap();
    let ahead = stored.health.get("credential skewed").unwrap()["clock"]["ahead_ms"].as_i64();
    let ahead = ahead.unwrap();
    assert!((1_190_000..=1_210_000).contains(&ahead), "{ahead}");
    assert!(bench.alerts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_integration_asks_nothing_and_goes_on_by_itself() {
    let mut bench = Bench::start(vec![Account::v1("one")], Vec::new(), Options::default()).await;
    bench
        .until("the first polls", async |bench| {
            bench.handle.requests().len() > 4
        })
        .await;
    let since = bench.clock.now();
    let until = since + Duration::from_mins(120);
    let pause = Pause {
        since,
        until: Some(until),
    };
    let command = Command::Pause(pause);
    bench.commands.first().unwrap().send(command).await.unwrap();
    // One request may be out.
    bench
        .until("the pause", async |bench| {
            bench.clock.now() >= since + Duration::from_mins(10)
        })
        .await;
    let asked = bench.handle.requests().len();
    let report = bench.context.status.report(bench.clock.now());
    let condition = &report.integrations.first().unwrap().condition;
    assert_eq!(
        (condition.state, condition.until),
        (Phase::Paused, Some(until))
    );
    bench
        .until("its end", async |bench| {
            bench.clock.now() >= until - Duration::from_mins(10)
        })
        .await;
    assert_eq!(bench.handle.requests().len(), asked);
    bench
        .until("further polls", async |bench| {
            bench.handle.requests().len() > asked
        })
        .await;
    assert!(bench.clock.now() >= until);
}
