//! Every row of what stands between the collector and a log: the token endpoint, the store of files, the network, this machine.

use std::fs;
use std::net::TcpListener as Blocking;
use std::ops::RangeInclusive;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Origin, Scope};
use mimecast_collector::http::Proxy;
use mimecast_collector::mimecast::log_types::Api;
use mimecast_collector::mimecast::{FetchError, Gate, Job, Progress, Source};
use mimecast_collector::model::{Cursor, Event, EventId, Form, Sink, Timestamp};
use mimecast_collector::poll::Command;
use mimecast_collector::secret::{Fingerprint, Secret};
use mimecast_collector::simulator::{Account, Action, Answer, Fault, Options, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::flawed::{self, Flawed};

use super::bench::{Bench, Seat, audit};
use super::mimecast::CURVE;
use super::play::{AUDIT, Counts, Line, ONLY_V2, Told, Ways, play};

const ONCE: RangeInclusive<usize> = 1..=1;
const HOURLY: RangeInclusive<usize> = 2..=8;
const HALF_HOURLY: RangeInclusive<usize> = 5..=16;
/// The curve again, of what is counted for 20 min longer.
const FAILED: RangeInclusive<usize> = 3..=36;
/// Slices of time without the event are read between, and each begins the curve anew.
const INTERRUPTED: RangeInclusive<usize> = 3..=60;

fn token(status: u16, code: &'static str, class: Class, requests: RangeInclusive<usize>) -> Line {
    let body = match code {
        "" => String::new(),
        code => serde_json::json!({"fail": [{"code": code, "message": "in words"}]}).to_string(),
    };
    let kind = if body.is_empty() {
        ""
    } else {
        "application/json"
    };
    Line {
        counts: Counts::Tokens,
        apis: ONLY_V2,
        ..Line::new(
            (Origin::Token, status, code),
            class,
            Scope::Credential,
            requests,
        )
    }
    .answered(Answer::raw(status, kind, &body))
}

fn object(status: u16, answer: Answer) -> Line {
    let failure = (Origin::ObjectStore, status, "");
    Line {
        counts: Counts::Failures,
        apis: ONLY_V2,
        seat: Some(|seat, _| Seat {
            other: "siem-cg",
            ..seat
        }),
        hinder: Some(|bench, seat| {
            let published = bench.handle.publish(seat.name(), "siem-cg", "receipt", 3);
            published.unwrap();
        }),
        ..Line::new(failure, Class::Transient, Scope::Stream, FAILED)
    }
    .meeting(vec![Fault::answer(Target::Objects, answer)])
}

/// No connection stands, so there is nobody on the other side who could count.
fn unreachable(code: &'static str, seat: fn(Seat, &Ways) -> Seat) -> Line {
    let failure = (Origin::Transport, 0, code);
    Line {
        counts: Counts::Failures,
        seat: Some(seat),
        ..Line::new(failure, Class::Transient, Scope::Credential, FAILED)
    }
}

fn broken(label: &'static str, code: &'static str, action: Action) -> Line {
    Line {
        label,
        ..Line::new(
            (Origin::Transport, 0, code),
            Class::Transient,
            Scope::Stream,
            CURVE,
        )
    }
    .meeting(vec![Fault::new(Target::path(AUDIT), action)])
}

fn local(code: &'static str, class: Class, requests: RangeInclusive<usize>) -> Line {
    Line {
        counts: Counts::Failures,
        ..Line::new((Origin::Local, 0, code), class, Scope::Stream, requests)
    }
}

/// Asks the server of this flaw.
fn flawed(seat: Seat, ways: &Ways, flaw: &str) -> Seat {
    let server = ways.flawed.get(flaw).unwrap();
    let mut seat = Seat {
        base_url: Some(format!("https://{}", server.address)),
        ..seat
    };
    seat.connection.ca_file = Some(server.ca_file.clone());
    seat
}

/// The first file of the audit log's lane.
fn segment(bench: &Bench, seat: &Seat) -> PathBuf {
    let lane = bench.folder.path().join("lanes").join(seat.name());
    lane.join("audit").join("0000000000000001.seg")
}

#[rustfmt::skip]
pub(super) fn lines() -> Vec<Line> {
    use Class::{CredentialRejected, CursorInvalid, Forbidden, LockedOut, RequestInvalid, Throttled, Transient};
    vec![
        token(401, "InvalidClientIdentifier", CredentialRejected, 2..=2),
        token(401, "", CredentialRejected, HALF_HOURLY),
        token(403, "", Forbidden, HOURLY),
        token(404, "", RequestInvalid, HOURLY),
        token(408, "", Transient, CURVE),
        token(429, "", Throttled, CURVE),
        token(503, "", Transient, CURVE),
        token(302, "", Transient, CURVE),
        // The token endpoint has a credential's troubles in Mimecast's own words.
        token(401, "0010", LockedOut, 4..=4),
        object(403, Answer::expired_link()),
        // Given up after an hour, and put aside with its name.
        Line { told: Told::Over, requests: 3..=9, ..object(404, Answer::missing_object()) },
        object(500, Answer::html(500)),
        unreachable("dns", |seat, _| Seat {
            // A label this long is refused before any server of names is asked.
            base_url: Some(format!("http://{}.invalid", "x".repeat(70))),
            ..seat
        }),
        unreachable("connect", |seat, ways| Seat { base_url: Some(ways.closed.clone()), ..seat }),
        unreachable("tls_name", |seat, ways| flawed(seat, ways, "tls_name")),
        unreachable("tls_expired", |seat, ways| flawed(seat, ways, "tls_expired")),
        unreachable("tls_authority", |seat, ways| flawed(seat, ways, "tls_authority")),
        unreachable("tls_version", |seat, ways| flawed(seat, ways, "tls_version")),
        unreachable("tls_refused", |seat, ways| flawed(seat, ways, "tls_refused")),
        unreachable("tls", |seat, ways| flawed(seat, ways, "tls")),
        unreachable("proxy", |seat, ways| {
            let mut seat = flawed(seat, ways, "tls_name");
            seat.connection.proxy = Proxy::Url(Secret::new(ways.proxy.clone()));
            seat
        }),
        broken("before", "reset", Action::Reset),
        broken("after", "reset", Action::LoseReply),
        broken("within", "reset", Action::ResetMidBody { after: 10 }),
        // Half of a page that is said to be whole.
        broken("half", "body", Action::Truncate),
        broken("", "too_large", Action::Answer(Answer::swollen((64 << 20) + 1))),
        Line {
            // Healed at once, by beginning again.
            told: Told::Hardly,
            seat: Some(|seat, _| Seat { cursor: Some("9:of another version"), ..seat }),
            ..local("cursor", CursorInvalid, ONCE)
        },
        Line {
            hinder: Some(|bench, seat| {
                bench.handle.publish(seat.name(), "audit", "", 1).unwrap();
                let segment = segment(bench, seat);
                fs::create_dir_all(segment.parent().unwrap()).unwrap();
                // The kernel's own disk that is always full.
                symlink("/dev/full", segment).unwrap();
            }),
            mend: Some(|bench, seat| fs::remove_file(segment(bench, seat)).unwrap()),
            told: Told::Again,
            ..local("state_dir_full", Transient, INTERRUPTED)
        },
        Line {
            // Files of API 2.0 are unpacked as they come.
            apis: &[Api::V1],
            seat: Some(|seat, ways| Seat { folder: ways.missing.clone(), ..seat }),
            hinder: Some(|bench, seat| {
                bench.handle.publish(seat.name(), "siem", "receipt", 3).unwrap();
            }),
            mend: Some(|_, seat| fs::create_dir_all(&seat.folder).unwrap()),
            ..local("temporary-file", Transient, FAILED)
        },
    ]
}

/// A proxy that lets nobody through.
async fn proxy(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let n = socket.read(&mut request).await.unwrap();
            assert!(n > 0 && request.starts_with(b"CONNECT 127.0.0.1:"));
            let refusal =
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(refusal).await.unwrap();
        }
    });
    url
}

fn closed() -> String {
    let listener = Blocking::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_between_is_asked_again_as_its_row_says_told_once_and_healed_once_mended() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let ways = Ways {
        closed: closed(),
        flawed: flawed::all(folder.path(), &mut tasks).await,
        proxy: proxy(&mut tasks).await,
        missing: folder.path().join("missing"),
    };
    play(&lines(), &ways).await;
    ways.flawed.values().for_each(Flawed::assert_nothing_heard);
}

/// The failures that the tests below play.
pub(super) const ALSO: &[(Origin, u16, &str)] = &[
    (Origin::Transport, 0, "timeout"),
    (Origin::Local, 0, "unfit"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_holds_its_log_alone_and_is_told_and_cleared() {
    let seats = [Account::v1("one"), Account::v2("two")].map(Seat::of);
    // It stands still, as nobody waits half a minute of a clock in fast motion.
    let clock = Clock::manual(Clock::system().wall());
    let silent = Fault::new(Target::path(AUDIT), Action::Stall(None));
    let mut bench = Bench::by(clock.clone(), &seats, vec![silent], Options::default()).await;
    for seat in &seats {
        bench.poll(seat).await;
    }
    let all = |bench: &Bench, met: u64| {
        let of = |seat: &Seat| bench.failures(seat.name(), "transport/timeout") == met;
        seats.iter().all(of)
    };
    wait("the time-outs", || all(&bench, 1)).await;
    let asked = |bench: &Bench| {
        let of = |seat: &Seat| bench.asked(seat.name(), |path| path == AUDIT).len();
        seats.each_ref().map(of)
    };
    assert_eq!(asked(&bench), [1, 1]);
    let alone = |bench: &Bench| {
        let report = bench.context.status.report(bench.clock.now());
        let streams = report.integrations.iter().flat_map(|of| &of.streams);
        streams
            .filter(|stream| stream.condition.key.is_some())
            .count()
            == 2
    };
    wait("the states", || alone(&bench)).await;
    bench.handle.clear_faults();
    clock.advance(Duration::from_secs(20));
    assert_eq!(asked(&bench), [1, 1], "asked before its time");
    // The next try, and the alert, are both due by now.
    clock.advance(Duration::from_mins(21));
    wait("health", || bench.is_healthy(|_| true) && all(&bench, 1)).await;
    clock.advance(Duration::from_mins(16));
    let told = async |bench: &Bench| {
        let alerts = bench.alerts().await;
        let of = |alert: &serde_json::Value| {
            let text = |name: &str| alert[name].as_str().unwrap().to_owned();
            (text("alert"), text("integration"), text("code"))
        };
        let mut told: Vec<_> = alerts.iter().map(of).collect();
        told.sort();
        told
    };
    let deadline = clock_of_the_machine() + Duration::from_secs(60);
    while told(&bench).await.len() < 4 {
        assert!(
            clock_of_the_machine() < deadline,
            "{:?}",
            told(&bench).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let expected = ["cleared", "raised"].into_iter().flat_map(|alert| {
        let of = move |seat: &Seat| {
            let name = seat.name().to_owned();
            (alert.to_owned(), name, "transport/timeout".to_owned())
        };
        seats.each_ref().map(of)
    });
    assert_eq!(told(&bench).await, expected.collect::<Vec<_>>());
    bench.stop(&seats[0]).await;
    bench.stop(&seats[1]).await;
}

fn clock_of_the_machine() -> Timestamp {
    Clock::system().wall()
}

/// Waits in real time.
async fn wait(what: &str, condition: impl Fn() -> bool) {
    let deadline = clock_of_the_machine() + Duration::from_secs(120);
    while !condition() {
        assert!(
            clock_of_the_machine() < deadline,
            "gave up waiting for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A source that makes what no frame can hold, as none of ours should.
struct Unfit;

impl Source for Unfit {
    async fn fetch<S: Sink, G: Gate>(
        &self,
        _job: Job,
        mut sink: S,
        gate: G,
    ) -> Result<Progress, FetchError> {
        drop(gate.pass().await?);
        let push = move || {
            let event = Event {
                body: "{}",
                time: Timestamp::from_millis(0),
                id: EventId([1; 16]),
            };
            sink.push(&"x".repeat(300), Form::Json, event)?;
            sink.commit(&Cursor::new("1".to_owned()).unwrap())
        };
        tokio::task::spawn_blocking(push).await.unwrap()?;
        Ok(Progress::CaughtUp)
    }

    fn renew(&self) {}

    fn correct_clock(&self, _ahead_ms: i64) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_stored_stops_its_log_and_no_event_is_lost() {
    let seat = Seat::of(Account::v1("one"));
    let all = std::slice::from_ref(&seat);
    let mut bench = Bench::start(all, Vec::new(), Options::default()).await;
    let fingerprint = Fingerprint::of(b"install", &["one"]);
    bench.poll_from(&seat, Unfit, fingerprint).await;
    let over = bench.clock.now() + Duration::from_mins(4 * 60);
    bench
        .until("four hours", async |bench| bench.clock.now() >= over)
        .await;
    // Each log of it, hourly.
    let met = bench.failures("one", "local/unfit");
    assert!((4..=10).contains(&met), "{met}");
    let known = bench.context.store.stream(&audit(&seat)).await.unwrap();
    assert_eq!((known.cursor, known.events), (None, 0));
    let told = bench.alerts().await;
    let codes = told.iter().map(|alert| alert["code"].as_str().unwrap());
    assert_eq!(codes.collect::<Vec<_>>(), ["local/unfit"; 2]);
    bench.stop(&seat).await;
    bench.handle.publish("one", "audit", "", 3).unwrap();
    bench.poll(&seat).await;
    bench.command(&seat, Command::Resume).await;
    bench
        .until("health", async |bench| bench.is_healthy(|_| true))
        .await;
    bench
        .until("the events", async |bench| {
            let known = bench.context.store.stream(&audit(&seat)).await.unwrap();
            known.events == 3
        })
        .await;
}
