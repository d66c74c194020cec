//! Wiring and shutdown: what a configuration becomes, and how it ends.

mod cluster;
mod dead;
mod drain;
mod face;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::cluster::etcd::EtcdError;
use crate::config::Config;
use crate::control::{ControlError, Handler, Request, Server, socket_path, state_socket};
use crate::mimecast::client::Limits;
use crate::model::{LaneId, StreamId};
use crate::poll::{BEAT, Budgets, Shared, Turns};
use crate::settings::{Problem, Problems};
use crate::signals::Signal;
use crate::status::{ReplayReport, Report, Status};
use crate::store::{Snapshot, Store, StoreError};
use crate::subject::Context;
use crate::supervisor::{Order, PrepareError, ReplayWish, Supervisor, flatten, prepare};
use crate::systemd::Manager;
use crate::tenure::Tenure;
use crate::upkeep::Upkeep;
use crate::watchdog::Watchdog;
use crate::web::{self, WebError};
use cluster::Membership;
pub use drain::Draining;
use face::Face;

/// Requests to Mimecast that may be out at once, over all integrations.
const REQUESTS: usize = 64;
/// From one line of status in the log to the next.
const STATUS_LINE: Duration = Duration::from_secs(60);

/// Why the program cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] Problems),
    /// Something that the configuration names cannot be used.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The state directory cannot be used, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A reload named another state directory.
    #[error("state_dir is now {0}: that needs a restart")]
    StateDirChanged(PathBuf),
    /// A reload named another cluster, or another place in it.
    #[error("[cluster] has changed: that needs a restart")]
    ClusterChanged,
    /// etcd cannot be used as configured.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The status endpoint cannot be served.
    #[error(transparent)]
    Web(#[from] WebError),
}

/// Runs `config` until a signal says to stop; on a reload, what `load` gives then. `draining` hears of what is out when it stops.
///
/// # Errors
/// What kept it from starting, or the store's failure. All state is durable at any moment.
pub async fn run(
    config: Config,
    clock: Clock,
    mut signals: mpsc::Receiver<Signal>,
    load: impl Fn() -> Result<Config, Problems>,
    draining: impl FnMut(&Draining),
) -> Result<(), AppError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for warning in config.check_secrets()? {
        tracing::warn!("{warning}");
    }
    let prepared = prepare(&config, &clock)?;
    let etcd = cluster::prepare(&config)?;
    let page = web::prepare(&config.status)?;
    let (store, store_task) = open_store(config.state_dir.clone(), clock.clone()).await?;
    let control = Server::bind(&socket_path(&config.state_dir))?
        .linked_at(&state_socket(&config.state_dir))?;
    let context = Context {
        status: Status::new(&config.state_dir, clock.now()),
        store,
        watchdog: Watchdog::new(clock.clone()),
        tenure: match config.cluster {
            Some(_) => Tenure::leased(clock.clone()),
            None => Tenure::unlimited(),
        },
        clock,
    };
    let shared = Shared {
        context: context.clone(),
        requests: Arc::new(Semaphore::new(REQUESTS)),
        budgets: Budgets::default(),
        turns: Turns::default(),
        beat: BEAT,
    };

    let mut services: JoinSet<Result<(), StoreError>> = JoinSet::new();
    let (store_stop, control_stop) = (CancellationToken::new(), CancellationToken::new());
    services.spawn(store_task.run(store_stop.clone()));
    let mut membership = Membership::begin(&config, etcd, &context);
    let (asks, mut asked) = mpsc::channel(1);
    let desk = Desk {
        context: context.clone(),
        budgets: shared.budgets.clone(),
        spool_limit: config.spool.max_bytes,
        asks,
        drain: membership.drain(),
    };
    let mut face = Face::new(desk.clone());
    let plan = face.plan(page)?;
    face.apply(plan).await;
    let (listening, stop) = (desk.clone(), control_stop.clone());
    services.spawn(async move {
        control.run(listening, stop).await;
        Ok(())
    });
    let (remembering, stop) = (desk.clone(), control_stop.clone());
    services.spawn(async move {
        face::remember(remembering, stop).await;
        Ok(())
    });

    let mut supervisor =
        Supervisor::new(shared, Limits::new(config.state_dir.clone()), config.spool);
    if config.cluster.is_some() {
        supervisor = supervisor.sharing();
    }
    supervisor.apply(prepared).await?;
    face.set_ready(true);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        state_dir = %config.state_dir.display(),
        integrations = config.integrations.len(),
        outputs = config.outputs.len(),
        "running"
    );
    let (state_dir, disk_low) = (&config.state_dir, config.spool.disk_low);
    let mut upkeep = {
        // A copy of all records, which is not kept.
        let stored = context.store.snapshot().await?;
        Upkeep::load(state_dir, disk_low, &stored, context.clock.now())
    };
    let manager = Manager::from_environment();
    manager.ready();
    let mut watchdog = tokio::time::interval(manager.watchdog().unwrap_or(STATUS_LINE));
    let mut minute = context.clock.now() + STATUS_LINE;
    let result = loop {
        tokio::select! {
            biased;
            signal = signals.recv() => match signal {
                Some(Signal::Stop | Signal::StopNow) | None => break Ok(()),
                Some(Signal::Reload) => {
                    manager.reloading();
                    let told = (config.state_dir.as_path(), &membership);
                    reload(&mut supervisor, &mut face, told, &context.clock, &load).await?;
                    manager.ready();
                }
            },
            ended = supervisor.ended() => match ended {
                // Stopped by a reload.
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            Some(ended) = services.join_next() => break flatten(ended),
            call = membership.call() => match call {
                Ok(call) => call.obey(&mut supervisor).await?,
                Err(error) => break Err(error),
            },
            () = face.ended() => {}
            Some(Ask { order, reply }) = asked.recv() => {
                let done = supervisor.obey(order).await?;
                // An asker that has gone away needs no answer.
                drop(reply.send(done));
            }
            () = context.clock.sleep_until(minute) => {
                minute = context.clock.now() + STATUS_LINE;
                supervisor.look_at_secrets().await?;
                upkeep.look(&context).await?;
                supervisor.look_at_left().await?;
                manager.status(&log_status(&desk).await?);
            }
            _ = watchdog.tick() => match context.watchdog.overdue().filter(|_| !context.store.outbox().is_stalled()) {
                None => manager.alive(),
                Some(task) => tracing::error!(task, "stuck: the service manager is not told that all is well, and will restart the program"),
            },
        }
    };
    manager.stopping();
    face.set_ready(false);
    tracing::info!("stopping");
    control_stop.cancel();
    membership.stop();
    face.stop().await;
    let stopping = supervisor.stop();
    if !drain::drain(&context, &manager, stopping, &mut signals, draining).await {
        tracing::warn!(
            "stopped before the batches that were out were answered: they are sent again at the next start"
        );
    }
    if result.is_ok() {
        membership.leave().await?;
    }
    store_stop.cancel();
    while let Some(ended) = services.join_next().await {
        flatten(ended)?;
    }
    tracing::info!("stopped");
    Ok(result?)
}

/// Does what a start does before anything is sent or written: reads the secrets, builds the clients. Gives what is doubtful about the
/// secrets' places.
///
/// # Errors
/// The first thing that cannot be used.
pub fn check(config: &Config) -> Result<Vec<Problem>, AppError> {
    let doubts = config.check_secrets()?;
    prepare(config, &Clock::system())?;
    cluster::prepare(config)?;
    web::prepare(&config.status)?;
    Ok(doubts)
}

async fn open_store(
    root: PathBuf,
    clock: Clock,
) -> Result<(Store, crate::store::StoreTask), StoreError> {
    let open = move || Store::open(&root, clock);
    flatten(tokio::task::spawn_blocking(open).await)
}

/// Takes up the configuration as it is now; a wrong one changes nothing.
async fn reload(
    supervisor: &mut Supervisor,
    face: &mut Face,
    (state_dir, membership): (&Path, &Membership),
    clock: &Clock,
    load: &impl Fn() -> Result<Config, Problems>,
) -> Result<(), StoreError> {
    let prepared = load().map_err(AppError::from).and_then(|config| {
        let doubts = config.check_secrets()?;
        if config.state_dir != state_dir {
            return Err(AppError::StateDirChanged(config.state_dir));
        }
        if !membership.is(&config) {
            return Err(AppError::ClusterChanged);
        }
        for warning in config.warnings.iter().chain(&doubts) {
            tracing::warn!("{warning}");
        }
        let prepared = prepare(&config, clock)?;
        // Last, for it takes an address.
        let plan = face.plan(web::prepare(&config.status)?)?;
        Ok((config, prepared, plan))
    });
    match prepared {
        Ok((config, prepared, plan)) => {
            supervisor.apply(prepared).await?;
            membership.want(&config);
            face.apply(plan).await;
            tracing::info!("the configuration was read again");
        }
        Err(error) => {
            for line in error.to_string().lines() {
                tracing::error!("reload refused, nothing has changed: {line}");
            }
        }
    }
    Ok(())
}

/// What is asked of the loop that owns the supervisor.
#[derive(Debug)]
struct Ask {
    order: Order,
    reply: oneshot::Sender<Result<serde_json::Value, String>>,
}

/// Answers the control socket.
#[derive(Clone, Debug)]
struct Desk {
    context: Context,
    budgets: Budgets,
    spool_limit: u64,
    asks: mpsc::Sender<Ask>,
    /// How to drain this node; `None` for a collector by itself.
    drain: Option<watch::Sender<bool>>,
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Result<serde_json::Value, String> {
        match request {
            Request::Status => {
                serde_json::to_value(self.report().await?).map_err(|e| e.to_string())
            }
            Request::Ledger => {
                let drawn_up = report::draw_up(&self.context).await;
                let ledger = drawn_up.map_err(|_| STOPPING.to_owned())?;
                serde_json::to_value(ledger).map_err(|e| e.to_string())
            }
            Request::Forget { name, sure } => self.order(Order::Forget { name, sure }).await,
            Request::DeadLetters => dead::list(&self.context.store).await,
            Request::DeadLetter { number } => dead::show(&self.context.store, number).await,
            Request::SendAgain { number } => dead::send_again(&self.context, number).await,
            Request::Discard { number } => dead::discard(&self.context.store, number).await,
            Request::Resume { name } => self.order(Order::Resume { name }).await,
            Request::Pause { name, seconds } => {
                let duration = seconds.map(Duration::from_secs);
                self.order(Order::Pause { name, duration }).await
            }
            Request::Replay {
                integration,
                log,
                from,
                to,
                output,
                dry_run,
            } => {
                let wish = ReplayWish {
                    integration,
                    log,
                    from,
                    to,
                    output,
                    dry_run,
                };
                self.order(Order::Replay(wish)).await
            }
            Request::Replays => {
                let stored = self.context.store.snapshot().await;
                let stored = stored.map_err(|_| STOPPING.to_owned())?;
                serde_json::to_value(replays(&stored)).map_err(|e| e.to_string())
            }
            Request::Drain { undo } => {
                cluster::drain(self.drain.as_ref(), undo).map(serde_json::Value::from)
            }
            Request::CancelReplay { number } => self.order(Order::CancelReplay { number }).await,
        }
    }
}

const STOPPING: &str = "the collector is stopping";

impl Desk {
    async fn report(&self) -> Result<Report, String> {
        let stored = self.context.store.snapshot().await;
        let stored = stored.map_err(|_| STOPPING.to_owned())?;
        let (context, budgets) = (&self.context, &self.budgets);
        Ok(report::report(context, budgets, &stored, self.spool_limit))
    }

    async fn order(&self, order: Order) -> Result<serde_json::Value, String> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asks.send(Ask { order, reply }).await;
        asked.map_err(|_| STOPPING.to_owned())?;
        answer.await.map_err(|_| STOPPING.to_owned())?
    }
}

/// The replays that are not over, the streams of one together.
fn replays(stored: &Snapshot) -> Vec<ReplayReport> {
    let mut replays: BTreeMap<u64, (ReplayReport, u64)> = BTreeMap::new();
    for (key, record) in &stored.streams {
        let Some(stream) = StreamId::parse(key) else {
            continue;
        };
        let (Some(number), Some(replay)) = (stream.replay, &record.replay) else {
            continue;
        };
        let fetched = match record.newest {
            _ if record.poll.is_some_and(|poll| poll.done) => 100,
            Some(newest) => {
                let span = replay.to.since(replay.from).as_secs().max(1);
                (newest.since(replay.from).as_secs().saturating_mul(100) / span).min(99)
            }
            None => 0,
        };
        let lane = LaneId::stream(&stream);
        let stored_events = stored.lanes.get(&lane).map_or(0, |lane| lane.events);
        let positions = stored.positions.iter();
        let positions = positions.filter(|((_, of), _)| *of == lane);
        let behind = positions.map(|(_, at)| stored_events.saturating_sub(at.passed));
        let new = ReplayReport {
            number,
            integration: stream.integration,
            log: stream.log.to_string(),
            from: replay.from,
            to: replay.to,
            output: replay.output.clone(),
            fetched_percent: 0,
            events: 0,
            backlog: 0,
        };
        let (report, streams) = replays.entry(number).or_insert((new, 0));
        // The mean, kept as a sum until all are there.
        report.fetched_percent += fetched;
        report.events += record.events;
        report.backlog += behind.max().unwrap_or(0);
        *streams += 1;
    }
    let mean = |(mut report, streams): (ReplayReport, u64)| {
        report.fetched_percent /= streams.max(1);
        report
    };
    replays.into_values().map(mean).collect()
}

/// The line a minute by which a reader of the log sees that all is well, or what is not; gives its sentence.
async fn log_status(desk: &Desk) -> Result<String, StoreError> {
    let stored = desk.context.store.snapshot().await?;
    let report = report::report(&desk.context, &desk.budgets, &stored, desk.spool_limit);
    let stored_events: u64 = stored.streams.values().map(|stream| stream.events).sum();
    let backlog: u64 = report
        .outputs
        .iter()
        .map(|output| output.backlog_events)
        .sum();
    tracing::info!(
        stored_events,
        backlog,
        spool_bytes = stored.spool_bytes,
        put_aside = report.quarantined,
        "{}",
        report.summary.sentence
    );
    Ok(report.summary.sentence)
}
