//! Every row of what receivers and this machine say to an output: through the real worker and store, from receivers that are scripted to
//! fail so; and on real sockets, which name the rows of syslog have. What a real event collector answers is in `program::hec`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Origin, Scope, lookup};
use mimecast_collector::model::{
    Carry, Cursor, Event, EventId, Form, LaneId, OutputId, Record, Route, Sink as _, StreamId,
    Timestamp,
};
use mimecast_collector::output::batching::Then;
use mimecast_collector::output::config::{OutputConfig, OutputKind};
use mimecast_collector::output::directory::Directory;
use mimecast_collector::output::filter::FilterConfig;
use mimecast_collector::output::format::Format;
use mimecast_collector::output::syslog::{Framing, Rfc, SyslogConfig, Transport};
use mimecast_collector::output::{
    Batch, BatchLimits, Command, Delivery, OpenError, Output, Target, Worker,
};
use mimecast_collector::status::Status;
use mimecast_collector::store::Store;
use mimecast_collector::subject::Context;
use mimecast_collector::watchdog::Watchdog;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bench::{SCALE, alerts};

const EVENTS: u64 = 20;
const WATCHED: Duration = Duration::from_mins(2 * 60);
/// Real time for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

struct Line {
    failure: (Origin, u16, &'static str),
    class: Class,
    scope: Scope,
    /// Within [`WATCHED`]. A busy machine is late, so there may be fewer than the table says; more there may not be.
    tries: RangeInclusive<usize>,
}

#[rustfmt::skip]
fn lines() -> Vec<Line> {
    use Class::{CredentialRejected, RequestInvalid, Throttled, Transient};
    use Origin::{Hec, Http, Local, Syslog, Webhook};
    use Scope::{Lane, Output};
    const QUARTERS: RangeInclusive<usize> = 4..=9;
    // From 1 s to 5 min apart; from 1 s to 15 min.
    const CURVE: RangeInclusive<usize> = 8..=60;
    const SLOWER: RangeInclusive<usize> = 5..=30;
    let mut lines = Vec::new();
    let mut all = |origin, codes: &[(u16, &'static str)], class, scope, tries: RangeInclusive<usize>| {
        let line = |&(status, code)| Line { failure: (origin, status, code), class, scope, tries: tries.clone() };
        lines.extend(codes.iter().map(line));
    };
    let tokens = [(403, "1"), (401, "2"), (401, "3"), (403, "4"), (400, "21"), (400, "22"), (401, ""), (403, "")];
    all(Hec, &tokens, CredentialRejected, Output, QUARTERS);
    let wrong = [(400, "5"), (400, "10"), (400, "11"), (400, "14"), (400, "16"), (302, ""), (402, "")];
    all(Hec, &wrong, RequestInvalid, Output, QUARTERS);
    all(Hec, &[(400, "7")], RequestInvalid, Lane, QUARTERS);
    let busy = [
        (500, "8"), (503, "9"), (503, "18"), (503, "19"), (503, "20"), (503, "23"), (0, "ack_timeout"), (0, "ack_off"), (0, "ack_collision"),
        (200, ""), (404, ""), (408, ""), (413, ""), (502, ""), (700, ""),
    ];
    all(Hec, &busy, Transient, Output, CURVE);
    all(Hec, &[(429, "26"), (429, "27"), (429, "")], Throttled, Output, SLOWER);
    all(Http, &[(401, ""), (403, ""), (407, "")], CredentialRejected, Output, QUARTERS);
    all(Http, &[(302, ""), (402, ""), (415, "")], RequestInvalid, Output, QUARTERS);
    all(Http, &[404, 408, 413, 425, 502, 700].map(|status| (status, "")), Transient, Output, CURVE);
    all(Webhook, &[(401, ""), (403, "")], CredentialRejected, Output, QUARTERS);
    all(Webhook, &[302, 400, 402, 404, 410].map(|status| (status, "")), RequestInvalid, Output, QUARTERS);
    let passing = [(200, "page"), (200, "unexpected"), (408, ""), (413, ""), (502, ""), (700, "")];
    all(Webhook, &passing, Transient, Output, CURVE);
    all(Http, &[(429, "")], Throttled, Output, SLOWER);
    all(Webhook, &[(429, "")], Throttled, Output, SLOWER);
    let names = ["dns", "connect", "timeout", "reset", "stalled", "tls", ""].map(|code| (0, code));
    all(Syslog, &names, Transient, Output, CURVE);
    let certificates = ["tls_name", "tls_expired", "tls_authority", "tls_version", "tls_refused"].map(|code| (0, code));
    all(Syslog, &certificates, RequestInvalid, Output, QUARTERS);
    all(Local, &[(0, "exec_unfit")], RequestInvalid, Output, QUARTERS);
    all(Local, &["exec_status", "exec_timeout", "exec_start"].map(|code| (0, code)), Transient, Output, CURVE);
    all(Local, &["enospc", "broken_pipe", "io", ""].map(|code| (0, code)), Transient, Output, CURVE);
    all(Local, &[(0, "segment")], Transient, Lane, CURVE);
    all(Local, &[(0, "all_refused")], RequestInvalid, Lane, QUARTERS);
    lines
}

/// What the tests here play, and by `program::hec` and `program::http`, in which it is an event that is put aside.
pub(super) fn played() -> impl Iterator<Item = (Origin, u16, &'static str)> {
    let aside = ["6", "12", "13", "15"].map(|code| (Origin::Hec, 400, code));
    let program = include_str!("../program/hec.rs");
    assert!(program.contains("[6, 12, 13, 15].map(|code| Answer::hec_at(code, 2))"));
    let program = include_str!("../program/http.rs");
    assert!(program.contains("[\"it is put aside\", \"http/422\"]"));
    let aside = aside
        .into_iter()
        .chain([400, 422].map(|status| (Origin::Http, status, "")));
    lines().into_iter().map(|line| line.failure).chain(aside)
}

/// Fails so until it is mended, and takes down when it was tried.
struct Scripted {
    failure: Failure,
    is_mended: Arc<AtomicBool>,
    tries: Arc<Mutex<Vec<Timestamp>>>,
    clock: Clock,
}

impl Output for Scripted {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        if self.is_mended.load(Ordering::Relaxed) {
            return Delivery::accepted(batch.len());
        }
        self.tries.lock().unwrap().push(self.clock.now());
        Delivery::failed(self.failure.clone())
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            bytes: 1 << 20,
            events: 100,
        }
    }
}

fn record(n: u64) -> (EventId, String) {
    let body = format!("{{\"n\":{n}}}");
    (EventId::own("test", &body), body)
}

/// Stores events of an audit log.
async fn store_events(store: &Store) {
    let stream = StreamId::parse("acme/audit").unwrap();
    let mut writer = store.writer(&stream).await.unwrap();
    let work = move || {
        for n in 0..EVENTS {
            let (id, body) = record(n);
            let time = Timestamp::from_millis(0);
            let event = Event {
                body: &body,
                time,
                id,
            };
            writer.push("audit", Form::Json, event).unwrap();
        }
        writer
            .commit(&Cursor::new("1".to_owned()).unwrap())
            .unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_an_output_is_tried_again_as_its_row_says_told_once_and_healed_once_mended() {
    let clock = Clock::scaled(Clock::system().wall(), SCALE);
    let folder = tempfile::tempdir().unwrap();
    let (store, task) = Store::open(folder.path(), clock.clone()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(CancellationToken::new()));
    let lines: Vec<_> = lines().into_iter().enumerate().collect();
    let id = |n: usize| OutputId::new(&format!("o{n}")).unwrap();
    let routes = lines.iter().map(|(n, _)| Route {
        carry: Carry {
            alerts: false,
            heartbeats: false,
            ..Carry::ALL
        },
        ..Route::all(id(*n))
    });
    // Holds what is told, for us to read.
    let nobody = Route::all(OutputId::new("nobody").unwrap());
    store.route(routes.chain([nobody]).collect()).await.unwrap();
    store_events(&store).await;
    let context = Context {
        tenure: mimecast_collector::tenure::Tenure::unlimited(),
        status: Status::new(folder.path(), clock.now()),
        store: store.clone(),
        clock: clock.clone(),
        watchdog: Watchdog::new(clock.clone()),
    };
    let stored = store.snapshot().await.unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let mut commands = Vec::new();
    let mut all_tries = BTreeMap::new();
    for (n, line) in &lines {
        let (origin, status, code) = line.failure;
        let tries = Arc::new(Mutex::new(Vec::new()));
        let output = Scripted {
            failure: Failure::new(origin, status, code, "POST /x"),
            is_mended: Arc::clone(&is_mended),
            tries: Arc::clone(&tries),
            clock: clock.clone(),
        };
        let (sender, inbox) = mpsc::channel(1);
        let worker = Worker::new(id(*n), output, None, context.clone(), &stored, inbox);
        tasks.spawn(worker.run(CancellationToken::new()));
        commands.push(sender);
        all_tries.insert(n, tries);
    }
    clock
        .sleep_until(clock.now() + WATCHED + Duration::from_mins(5))
        .await;
    let told = alerts(&store).await;
    for (n, line) in &lines {
        let (origin, status, code) = line.failure;
        let failure = Failure::new(origin, status, code, "");
        let row = lookup(&failure);
        let key = failure.key();
        assert_eq!((row.class, row.scope), (line.class, line.scope), "{key}");
        let tries = all_tries[n].lock().unwrap().clone();
        let first = *tries.first().unwrap();
        let within = tries.iter().filter(|at| at.since(first) < WATCHED).count();
        assert!(line.tries.contains(&within), "{key} was tried at {tries:?}");
        let output = format!("o{n}");
        let of_it: Vec<_> = told
            .iter()
            .filter(|alert| alert["output"] == *output)
            .collect();
        assert_eq!(of_it.len(), 1, "{key}: {of_it:#?}");
        let alert = of_it[0];
        assert_eq!(
            (&alert["alert"], &alert["code"]),
            (&"raised".into(), &key.clone().into())
        );
        assert_eq!(
            alert["severity"],
            format!("{:?}", row.impact).to_lowercase(),
            "{key}"
        );
        assert!(
            alert["to_do"].as_str().unwrap().contains(row.advice),
            "{key}"
        );
        let lane = alert.get("log").is_some();
        assert_eq!(lane, line.scope == Scope::Lane, "{key}: {alert:#}");
    }

    is_mended.store(true, Ordering::Relaxed);
    for sender in &commands {
        sender.send(Command::Resume).await.unwrap();
    }
    let deadline = Clock::system().wall() + PATIENCE;
    loop {
        let stored = store.snapshot().await.unwrap();
        let lane = LaneId::from_text("acme/audit");
        let mut positions = lines
            .iter()
            .map(|(n, _)| &stored.positions[&(id(*n), lane.clone())]);
        let delivered = positions.all(|at| at.accepted == EVENTS);
        let told = alerts(&store).await;
        let cleared = told
            .iter()
            .filter(|alert| alert["alert"] == "cleared")
            .count();
        if delivered && cleared == lines.len() {
            assert_eq!(told.len(), 2 * lines.len());
            break;
        }
        assert!(
            Clock::system().wall() < deadline,
            "{cleared} alerts cleared"
        );
        let ended = tasks.try_join_next();
        assert!(ended.is_none(), "a task ended: {ended:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn syslog(transport: Transport, server: String) -> Target {
    let id = OutputId::new("syslog").unwrap();
    let config = OutputConfig {
        route: Route::all(id.clone()),
        id,
        filter: FilterConfig::default(),
        kind: OutputKind::Syslog(SyslogConfig {
            servers: vec![server],
            transport,
            rfc: Rfc::Rfc5424,
            framing: Framing::OctetCounting,
            format: Format::Json,
            facility: 16,
            app_name: "mimecast-collector".to_owned(),
            hostname: None,
            max_bytes: 1 << 20,
            oversized: Then::Truncate,
            ca_file: None,
            client_cert: None,
            client_key: None,
        }),
    };
    let no_client = |_: &_| Err(OpenError::Client(config.id.clone(), "no HTTP here".into()));
    Target::open(&config, &Clock::system(), &Directory::default(), no_client).unwrap()
}

/// More than sockets hold that nobody reads from.
fn large_batch() -> Batch {
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(900_000));
    let record = |n| Record {
        id: EventId([n; 16]),
        time: Timestamp::from_millis(0),
        form: Form::Json,
        kind: "audit".into(),
        body: body.clone().into(),
    };
    Batch::new(
        LaneId::from_text("acme/audit"),
        (0..20).map(record).collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_receiver_that_is_not_found_silent_or_full_has_a_name_for_it() {
    let listener = || TcpListener::bind("127.0.0.1:0");
    let (silent, full) = (listener().await.unwrap(), listener().await.unwrap());
    let address = |listener: &TcpListener| {
        let port = listener.local_addr().unwrap().port();
        format!("localhost:{port}")
    };
    let gone = address(&listener().await.unwrap());
    let cases = [
        // A label this long is refused before any server of names is asked.
        (
            Transport::Tcp,
            format!("{}.invalid:514", "x".repeat(70)),
            "syslog/dns",
        ),
        (Transport::Tcp, gone, "syslog/connect"),
        (Transport::Tls, address(&silent), "syslog/timeout"),
        (Transport::Tcp, address(&full), "syslog/stalled"),
    ];
    let mut deliveries = JoinSet::new();
    for (transport, server, key) in cases {
        deliveries.spawn(async move {
            let delivery = syslog(transport, server).deliver(&large_batch()).await;
            (delivery, key)
        });
    }
    while let Some(ended) = deliveries.join_next().await {
        let (delivery, key) = ended.unwrap();
        assert_eq!(delivery.accepted, 0, "{key}");
        assert_eq!(delivery.failure.unwrap().key(), key);
    }
}
