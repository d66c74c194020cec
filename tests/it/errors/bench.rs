//! A collector of many accounts without outputs, and the simulator that it asks: one store, all at once, by a schedule that runs 900
//! times as fast as the sockets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::http::Connection;
use mimecast_collector::mimecast::Source;
use mimecast_collector::mimecast::auth::Credential;
use mimecast_collector::mimecast::client::{Client, Http, Limits};
use mimecast_collector::mimecast::log_types::{self, Api};
use mimecast_collector::model::{Cursor, IntegrationId, LaneId, OutputId, Position, StreamId};
use mimecast_collector::poll::config::{CredentialSource, IntegrationConfig, LogConfig};
use mimecast_collector::poll::{BEAT, Budgets, Command, Poller, Room, Shared, Turns};
use mimecast_collector::secret::{Fingerprint, Secret, SecretSource};
use mimecast_collector::simulator::{Account, Fault, Handle, Key, Options, Simulator};
use mimecast_collector::status::{IntegrationReport, Phase, Status};
use mimecast_collector::store::{Store, StoreError};
use mimecast_collector::subject::Context;
use mimecast_collector::watchdog::Watchdog;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) const SCALE: u32 = 900;
/// Real time for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(180);

/// An integration, with what is special about it.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) account: Account,
    /// In place of the simulator's.
    pub(super) base_url: Option<String>,
    pub(super) connection: Connection,
    /// Where files are unpacked.
    pub(super) folder: PathBuf,
    /// What another version left of the audit log.
    pub(super) cursor: Option<&'static str>,
    /// The log that is polled beside the audit log.
    pub(super) other: &'static str,
}

impl Seat {
    pub(super) fn of(account: Account) -> Self {
        let other = match account.api() {
            Api::V1 => "siem",
            Api::V2 => "ttp-url",
        };
        Self {
            account,
            base_url: None,
            connection: Connection::default(),
            folder: std::env::temp_dir(),
            cursor: None,
            other,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.account.name
    }

    fn config(&self, api_url: String) -> IntegrationConfig {
        let log = |name: &str, minutes| LogConfig {
            interval: Duration::from_mins(minutes),
            start: Duration::from_mins(60),
            ..LogConfig::from(log_types::find(name).unwrap())
        };
        IntegrationConfig {
            id: IntegrationId::new(self.name()).unwrap(),
            // Read by nobody here: the credential is given.
            credential: CredentialSource::V2 {
                client_id: "id".to_owned(),
                client_secret: SecretSource::Literal(secret("secret")),
            },
            base_url: self.base_url.clone().unwrap_or(api_url),
            logs: vec![log("audit", 5), log(self.other, 30)],
            tags: BTreeMap::from([("account_code".to_owned(), format!("C-{}", self.name()))]),
            connection: self.connection.clone(),
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

/// A running poller.
struct Running {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), StoreError>>,
}

pub(super) struct Bench {
    pub(super) simulator: Simulator,
    pub(super) handle: Handle,
    pub(super) clock: Clock,
    pub(super) context: Context,
    pollers: BTreeMap<String, Running>,
    store: JoinSet<Result<(), StoreError>>,
    pub(super) folder: TempDir,
}

impl Bench {
    /// With a clock in fast motion.
    pub(super) async fn start(seats: &[Seat], faults: Vec<Fault>, options: Options) -> Self {
        let clock = Clock::scaled(Clock::system().wall(), SCALE);
        Self::by(clock, seats, faults, options).await
    }

    pub(super) async fn by(
        clock: Clock,
        seats: &[Seat],
        faults: Vec<Fault>,
        options: Options,
    ) -> Self {
        let simulator = Simulator::start(Options {
            clock: clock.clone(),
            accounts: seats.iter().map(|seat| seat.account.clone()).collect(),
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
            tenure: mimecast_collector::tenure::Tenure::unlimited(),
            status: Status::new(folder.path(), clock.now()),
            store,
            clock: clock.clone(),
            watchdog: Watchdog::new(clock.clone()),
        };
        Self {
            handle: simulator.handle(),
            simulator,
            clock,
            context,
            pollers: BTreeMap::new(),
            store: tasks,
            folder,
        }
    }

    /// Lets the collector poll an account.
    pub(super) async fn poll(&mut self, seat: &Seat) {
        if let Some(cursor) = seat.cursor {
            let cursor = Cursor::new(cursor.to_owned()).unwrap();
            let stream = audit(seat);
            let store = &self.context.store;
            store.reset(&stream, Some(cursor), None).await.unwrap();
        }
        let config = seat.config(self.simulator.api_url());
        let credential = credential(&seat.account);
        let install = self.context.store.install_id();
        let fingerprint = credential.fingerprint(install.as_bytes());
        let source = Client::new(
            &config.base_url,
            credential,
            Http::new(&config.connection).unwrap(),
            self.clock.clone(),
            Limits::new(seat.folder.clone()),
        );
        self.poll_from(seat, source, fingerprint).await;
    }

    /// The same from a scripted source.
    pub(super) async fn poll_from<S: Source>(
        &mut self,
        seat: &Seat,
        source: S,
        fingerprint: Fingerprint,
    ) {
        let config = seat.config(self.simulator.api_url());
        let (commands, inbox) = mpsc::channel(4);
        let shared = Shared {
            context: self.context.clone(),
            requests: Arc::new(Semaphore::new(4)),
            budgets: Budgets::default(),
            turns: Turns::default(),
            beat: BEAT,
        };
        let room = Room::new(1 << 30, 1 << 30);
        let stored = self.context.store.snapshot().await.unwrap();
        let poller = Poller::new(&config, source, fingerprint, shared, room, &stored, inbox);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(poller.run(stop.clone()));
        let running = Running {
            commands,
            stop,
            tasks,
        };
        let before = self.pollers.insert(seat.name().to_owned(), running);
        assert!(before.is_none(), "{} is polled twice", seat.name());
    }

    /// Stops to poll an account, as a reload does with a configuration that has changed.
    pub(super) async fn stop(&mut self, seat: &Seat) {
        let mut running = self.pollers.remove(seat.name()).unwrap();
        running.stop.cancel();
        while let Some(ended) = running.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    pub(super) async fn command(&self, seat: &Seat, command: Command) {
        let running = self.pollers.get(seat.name()).unwrap();
        running.commands.send(command).await.unwrap();
    }

    /// The alerts so far.
    pub(super) async fn alerts(&self) -> Vec<Value> {
        alerts(&self.context.store).await
    }

    /// Waits until `condition`, which is looked at each simulated minute.
    pub(super) async fn until(
        &mut self,
        what: &str,
        mut condition: impl AsyncFnMut(&Self) -> bool,
    ) {
        let began = self.clock.monotonic();
        while !condition(self).await {
            assert!(
                self.clock.monotonic() - began < PATIENCE,
                "gave up waiting for {what}"
            );
            let pollers = self.pollers.values_mut();
            let tasks = pollers.map(|running| &mut running.tasks);
            for tasks in tasks.chain([&mut self.store]) {
                let ended = tasks.try_join_next();
                assert!(ended.is_none(), "a task ended: {ended:?}");
            }
            self.clock
                .sleep_until(self.clock.now() + Duration::from_mins(1))
                .await;
        }
    }

    /// Whether all that is known of these accounts is well.
    pub(super) fn is_healthy(&self, of: impl Fn(&IntegrationReport) -> bool) -> bool {
        let report = self.context.status.report(self.clock.now());
        let mut integrations = report.integrations.iter().filter(|report| of(report));
        integrations.all(|integration| {
            let streams = integration.streams.iter().map(|stream| &stream.condition);
            let mut all = streams
                .chain(integration.resources.values())
                .chain([&integration.condition]);
            all.all(|condition| condition.state == Phase::Healthy)
        })
    }

    /// How often a failure of this key was met for an account.
    pub(super) fn failures(&self, account: &str, key: &str) -> u64 {
        let report = self.context.status.report(self.clock.now());
        let of_it = |report: &&IntegrationReport| report.name.as_str() == account;
        let streams = report.integrations.iter().filter(of_it);
        let streams = streams.flat_map(|integration| &integration.streams);
        streams.filter_map(|stream| stream.failures.get(key)).sum()
    }

    /// When an account asked, in simulated time since it first asked for anything of this kind.
    pub(super) fn asked(&self, account: &str, is_it: impl Fn(&str) -> bool) -> Vec<Duration> {
        let mut times = Vec::new();
        let mut first = None;
        for request in self.handle.requests() {
            if request.account.as_deref() == Some(account) && is_it(&request.path) {
                let at = request.since_start * SCALE;
                times.push(at.saturating_sub(*first.get_or_insert(at)));
            }
        }
        times
    }
}

/// The stream of the audit log.
pub(super) fn audit(seat: &Seat) -> StreamId {
    StreamId::parse(&format!("{}/audit", seat.name())).unwrap()
}

/// The alerts that a store holds.
pub(super) async fn alerts(store: &Store) -> Vec<Value> {
    let (lane, mut from) = (LaneId::collector(), Position::start_of(1));
    let mut alerts = Vec::new();
    loop {
        let outbox = store.outbox();
        let chunk = outbox.read(&lane, from, 1 << 20, 1_000).await.unwrap();
        if chunk.records.is_empty() {
            return alerts;
        }
        from = chunk.position_after(chunk.records.len());
        let told = chunk
            .records
            .iter()
            .filter(|record| &*record.kind == "alert");
        alerts.extend(told.map(|record| serde_json::from_slice::<Value>(&record.body).unwrap()));
    }
}
