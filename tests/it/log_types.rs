//! Every log type of the table, from the simulator through the real client into the real store: each record once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::health::{Class, Failure, Level, lookup};
use mimecast_collector::http::Connection;
use mimecast_collector::mimecast::auth::Credential;
use mimecast_collector::mimecast::client::{Client, Http, Limits};
use mimecast_collector::mimecast::log_types::{
    Api, FileFormat, LOG_TYPES, Log, LogType, Paging, find,
};
use mimecast_collector::mimecast::{FetchError, Gate, Job, Progress, Source};
use mimecast_collector::model::{
    Cursor, IntegrationId, LaneId, OutputId, Position, Record, Sink, StreamId, Timestamp,
};
use mimecast_collector::poll::config::LogConfig;
use mimecast_collector::secret::Secret;
use mimecast_collector::simulator::{
    Account, Action, Answer, Dirt, Fault, Form, Handle, Key, Options, Publication, Simulator,
    Target,
};
use mimecast_collector::store::{Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// 2026-01-06T09:08:07Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

/// Lets everything pass.
#[derive(Clone)]
struct Open;

impl Gate for Open {
    type Permit = ();

    async fn pass(&self) -> Result<(), FetchError> {
        Ok(())
    }

    fn failed(&self, _: &Failure) {}
}

/// A simulator, a client of one of its accounts, and a store.
struct Bench {
    api: Api,
    handle: Handle,
    clock: Clock,
    client: Client,
    store: Store,
    _simulator: Simulator,
    _tasks: JoinSet<Result<(), StoreError>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(api: Api) -> Self {
        Self::with(api, 0).await
    }

    /// A bench whose simulator's clock is ahead of ours.
    async fn with(api: Api, ahead_ms: i64) -> Self {
        let clock = Clock::manual(NOW);
        let simulator = Simulator::start(Options {
            clock: clock.clone(),
            clock_ahead_ms: ahead_ms,
            // Tokens grow old by the clock that tests move.
            token_lifetime: Duration::from_hours(24 * 365),
            records_per_file: 5,
            files_per_page: 3,
            ..Options::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (store, task) = Store::open(folder.path(), clock.clone()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(CancellationToken::new()));
        let output = OutputId::new("receiver").unwrap();
        store.route(vec![output]).await.unwrap();
        let http = Http::new(&Connection::default()).unwrap();
        let limits = Limits::new(folder.path().to_owned());
        let url = simulator.api_url();
        let client = Client::new(&url, credential(api), http, clock.clone(), limits);
        Self {
            api,
            handle: simulator.handle(),
            clock,
            client,
            store,
            _simulator: simulator,
            _tasks: tasks,
            _folder: folder,
        }
    }

    const fn account(&self) -> &'static str {
        match self.api {
            Api::V1 => "one",
            Api::V2 => "two",
        }
    }

    /// Publishes records, the newest of them so long ago and the oldest `spread` before that.
    fn publish(&self, log: &str, count: usize, ago: Duration, spread: Duration) {
        let mut publication = Publication::new(self.account(), log, "", count);
        // By the clock that both have, whatever the simulator says that it is.
        publication.at = Some(self.clock.wall() - ago);
        publication.spread = spread;
        self.handle.publish_as(&publication).unwrap();
    }

    async fn step(
        &self,
        config: &LogConfig,
        stream: &StreamId,
        slice: Duration,
    ) -> Result<Progress, FetchError> {
        self.step_through(config, stream, slice, Open).await
    }

    async fn step_through<G: Gate>(
        &self,
        config: &LogConfig,
        stream: &StreamId,
        slice: Duration,
        gate: G,
    ) -> Result<Progress, FetchError> {
        let sink = self.store.writer(stream).await.unwrap();
        let job = Job {
            stream: stream.clone(),
            log: config.log.clone(),
            cursor: sink.cursor().cloned(),
            start: self.clock.wall() - config.start,
            until: None,
            polled: self.clock.now(),
            slice,
        };
        self.client.fetch(job, sink, gate).await
    }

    /// Polls all streams until they are caught up; how often a slice was too large.
    async fn poll(&self, config: &LogConfig) -> u32 {
        let mut halved = 0;
        for stream in config.streams(&integration()) {
            let mut slice = Duration::from_secs(86_400);
            loop {
                match self.step(config, &stream, slice).await {
                    Ok(Progress::More) => {}
                    Ok(Progress::CaughtUp) => break,
                    Ok(Progress::Halve) => {
                        slice /= 2;
                        halved += 1;
                    }
                    Err(error) => panic!("{stream}: {error}"),
                }
            }
        }
        halved
    }

    /// All that is stored of a log type.
    async fn stored(&self, config: &LogConfig) -> Vec<Record> {
        let mut records = Vec::new();
        for stream in config.streams(&integration()) {
            let lane = LaneId::stream(&stream);
            let mut at = Position::start_of(1);
            loop {
                let chunk = self.store.outbox().read(&lane, at, 1 << 20, 1000).await;
                let Ok(chunk) = chunk else { break };
                if chunk.records.is_empty() {
                    break;
                }
                at = chunk.position_after(chunk.records.len());
                records.extend(chunk.records);
            }
        }
        records
    }

    /// Asserts that what was published is stored, each record once and under a name of its own.
    async fn assert_complete(&self, config: &LogConfig, form: Form, what: &str) {
        let name = config.log.row.name;
        let stored = self.stored(config).await;
        let ids: BTreeSet<_> = stored.iter().map(|record| record.id).collect();
        assert_eq!(ids.len(), stored.len(), "{name}, {what}: names repeat");
        self.assert_each_once(config, form, what).await;
    }

    /// Asserts that what was published is stored, equal records as often as they were published.
    async fn assert_each_once(&self, config: &LogConfig, form: Form, what: &str) {
        let name = config.log.row.name;
        let stored = self.stored(config).await;
        let mut bodies: Vec<_> = stored.iter().map(|record| record.body.to_vec()).collect();
        let mut published = self.handle.published_in(form, self.account(), name, "");
        bodies.sort();
        published.sort();
        let missing = published
            .iter()
            .filter(|body| !bodies.contains(body))
            .count();
        assert_eq!(missing, 0, "{name}, {what}: of {} missing", published.len());
        assert_eq!(
            bodies.len(),
            published.len(),
            "{name}, {what}: some come twice"
        );
        assert_eq!(
            self.handle.violations(),
            Vec::<String>::new(),
            "{name}, {what}"
        );
    }

    /// Two polls with new records between them, late ones among them, and one with nothing new.
    async fn exercise(&self, config: &LogConfig, form: Form) {
        let name = config.log.row.name;
        let streams = config.streams(&integration()).count();
        // Four files of each event type, of which a page has three.
        let count = if streams > 1 { 20 * streams } else { 60 };
        self.publish(name, count, Duration::ZERO, Duration::from_secs(3 * 3600));
        self.poll(config).await;
        self.assert_complete(config, form, "first poll").await;
        self.assert_several_pages(config, streams);
        self.clock.advance(Duration::from_secs(600));
        // Twelve minutes old, and so from before the first poll.
        self.publish(name, 20, Duration::from_secs(720), Duration::from_secs(60));
        self.publish(name, 30, Duration::ZERO, Duration::from_secs(300));
        self.poll(config).await;
        self.assert_complete(config, form, "second poll").await;
        self.clock.advance(Duration::from_secs(300));
        self.poll(config).await;
        self.assert_complete(config, form, "third poll").await;
    }

    /// Asserts that each stream was read in more than one page so far.
    fn assert_several_pages(&self, config: &LogConfig, streams: usize) {
        let mut pages: BTreeMap<Option<String>, BTreeSet<Option<String>>> = BTreeMap::new();
        for request in self.handle.requests() {
            if request.path != *config.log.path {
                continue;
            }
            let kind = request.parameter("type").or(request.parameter("types"));
            let kind = kind.map(str::to_owned);
            pages.entry(kind).or_default().insert(request.cursor);
        }
        let name = config.log.row.name;
        assert_eq!(pages.len(), streams, "{name}");
        for (kind, tokens) in pages {
            assert!(tokens.len() > 1, "{name} {kind:?}: all came in one page");
        }
    }
}

fn integration() -> IntegrationId {
    IntegrationId::new("acme").unwrap()
}

fn credential(api: Api) -> Credential {
    let secret = |text: &str| Secret::new(text.to_owned());
    let account = match api {
        Api::V1 => Account::v1("one"),
        Api::V2 => Account::v2("two"),
    };
    match account.key {
        Key::V1 {
            application_id,
            application_key,
            access_key,
            secret_key,
        } => Credential::v1(
            application_id,
            secret(&application_key),
            secret(&access_key),
            &secret(&secret_key),
        )
        .unwrap(),
        Key::V2 {
            client_id,
            client_secret,
        } => Credential::v2(client_id, secret(&client_secret)).unwrap(),
    }
}

/// A type in small pages, so that there are several.
fn small(row: &'static LogType) -> LogConfig {
    let mut config = LogConfig::from(row);
    config.log.page_size = config.log.page_size.min(7);
    config
}

fn streaming(name: &str) -> LogConfig {
    let mut config = small(find(name).unwrap());
    config.log = Log {
        page_size: 7,
        ..Log::streaming(config.log.row).unwrap()
    };
    config
}

#[tokio::test]
async fn every_log_type_of_both_versions_arrives_once_over_several_polls() {
    for row in LOG_TYPES {
        for api in row.apis {
            let bench = Bench::new(*api).await;
            bench.exercise(&small(row), Form::Json).await;
        }
    }
}

#[tokio::test]
async fn events_of_the_stream_mode_arrive_once_although_pages_repeat_some() {
    for name in ["siem-cg", "siem-ci"] {
        let bench = Bench::new(Api::V2).await;
        bench.exercise(&streaming(name), Form::Event).await;
    }
}

#[tokio::test]
async fn files_of_api_1_0_arrive_once_in_either_format_zipped_or_not() {
    for (file_format, form) in [
        (FileFormat::Json, Form::Json),
        (FileFormat::KeyValue, Form::KeyValue),
    ] {
        for zipped in [true, false] {
            let bench = Bench::new(Api::V1).await;
            let mut config = small(find("siem").unwrap());
            config.log.paging = Paging::SiemFiles {
                format: file_format,
                compress: zipped,
            };
            bench.exercise(&config, form).await;
        }
    }
}

#[tokio::test]
async fn objects_of_stix_arrive_once() {
    let bench = Bench::new(Api::V2).await;
    let mut config = small(find("threat-feed-grid").unwrap());
    config.log.paging = Paging::Feed {
        feed: "malware_grid",
        format: FileFormat::Stix,
    };
    bench.exercise(&config, Form::Json).await;
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_leaves_no_hole() {
    const HOUR_MS: i64 = 3_600_000;
    let logs = || {
        let rows = [
            "audit",
            "ttp-url",
            "siem-cg",
            "held-messages",
            "threat-feed-grid",
        ];
        rows.into_iter().map(|name| small(find(name).unwrap()))
    };
    for ahead_ms in [HOUR_MS, -HOUR_MS] {
        for config in logs() {
            let bench = Bench::with(Api::V2, ahead_ms).await;
            let name = config.log.row.name;
            // Records are stamped by the vendor's clock: what happened just now is an hour off for us.
            let hour = Duration::from_secs(3600);
            let publish = |count| {
                let mut publication = Publication::new("two", name, "", count);
                let wall = bench.clock.wall();
                publication.at = Some(if ahead_ms < 0 {
                    wall - hour
                } else {
                    wall + hour
                });
                publication.spread = Duration::from_secs(240);
                bench.handle.publish_as(&publication).unwrap();
            };
            for _ in 0..4 {
                publish(20);
                bench.poll(&config).await;
                bench.clock.advance(Duration::from_secs(300));
            }
            bench.poll(&config).await;
            bench
                .assert_complete(&config, Form::Json, &format!("{ahead_ms} ms ahead"))
                .await;
        }
    }
}

#[tokio::test]
async fn a_slice_of_more_than_fifty_pages_is_halved_until_it_fits() {
    let bench = Bench::new(Api::V2).await;
    let mut config = small(find("audit").unwrap());
    config.log.page_size = 1;
    bench.publish(
        "audit",
        130,
        Duration::from_secs(60),
        Duration::from_secs(20 * 3600),
    );
    let halved = bench.poll(&config).await;
    assert!(halved > 1, "halved {halved} times");
    bench.assert_complete(&config, Form::Json, "crowded").await;
}

#[tokio::test]
async fn what_left_a_queue_and_came_back_is_sent_again_and_what_stayed_is_not() {
    let bench = Bench::new(Api::V2).await;
    let config = small(find("held-messages").unwrap());
    bench.publish("held-messages", 20, Duration::ZERO, Duration::from_secs(60));
    bench.poll(&config).await;
    bench.handle.withdraw("two", "held-messages", 5);
    for _ in 0..3 {
        bench.clock.advance(Duration::from_secs(300));
        bench.poll(&config).await;
    }
    bench
        .assert_complete(&config, Form::Json, "after some left")
        .await;
}

/// The class of what a stream fails with that goes on from this cursor.
async fn fails_with(config: LogConfig, api: Api, cursor: &str) -> Class {
    let bench = Bench::new(api).await;
    let stream = config.streams(&integration()).next().unwrap();
    let mut writer = bench.store.writer(&stream).await.unwrap();
    let cursor = Cursor::new(cursor.to_owned()).unwrap();
    let work = move || writer.commit(&cursor);
    tokio::task::spawn_blocking(work).await.unwrap().unwrap();
    let slice = Duration::from_secs(86_400);
    let Err(FetchError::Failed(failure)) = bench.step(&config, &stream, slice).await else {
        panic!("the cursor was taken");
    };
    lookup(&failure).class
}

#[tokio::test]
async fn a_cursor_that_mimecast_does_not_know_any_more_is_told_from_a_wrong_request() {
    let batch = || small(find("siem-cg").unwrap());
    let token = r#"{"v":1,"token":"MTp0b2tlbg=="}"#;
    for (config, api, cursor) in [
        (batch(), Api::V2, token),
        (small(find("siem").unwrap()), Api::V1, token),
        (
            streaming("siem-cg"),
            Api::V2,
            r#"{"stream":1,"next":"MTp0b2tlbg=="}"#,
        ),
        // The mode was changed.
        (streaming("siem-cg"), Api::V2, token),
        (batch(), Api::V2, r#"{"stream":1,"next":"MTp0b2tlbg=="}"#),
    ] {
        let class = fails_with(config, api, cursor).await;
        assert_eq!(class, Class::CursorInvalid, "{cursor}");
    }
}

#[tokio::test]
async fn a_page_token_that_is_refused_begins_the_slice_anew_and_loses_nothing() {
    let bench = Bench::new(Api::V2).await;
    let config = small(find("ttp-url").unwrap());
    bench.publish("ttp-url", 30, Duration::ZERO, Duration::from_secs(60));
    let stream = config.streams(&integration()).next().unwrap();
    let slice = Duration::from_secs(86_400 * 8);
    let fault = mimecast_collector::simulator::Fault::answer(
        Target::path(&config.log.path),
        Answer::empty(400),
    );
    bench.handle.script(fault.after(2).once());
    let Err(FetchError::Failed(failure)) = bench.step(&config, &stream, slice).await else {
        panic!("the token was taken");
    };
    assert_eq!(lookup(&failure).class, Class::Transient, "{failure}");
    assert!(bench.stored(&config).await.is_empty());
    bench.poll(&config).await;
    bench.assert_complete(&config, Form::Json, "again").await;
}

#[test]
fn a_log_type_that_the_account_has_no_product_for_is_no_alarm() {
    use mimecast_collector::health::Origin;
    for code in ["0002", "app_forbidden", "err_xdk_forbidden"] {
        let row = lookup(&Failure::new(Origin::Mimecast, 403, code, "POST /x"));
        assert_eq!(row.class, Class::Forbidden, "{code}");
        assert_eq!(row.level, Level::Warn, "{code}");
        assert_eq!(row.recheck, Some(Duration::from_secs(3600)), "{code}");
    }
}

/// By which the vendor's clock may be ahead of ours, in milliseconds.
const ANY_CLOCK: &[i64] = &[0, 3_600_000, -3_600_000];

/// Lets so many requests pass; then the fetch is dropped, as a kill would.
#[derive(Clone)]
struct Cut {
    left: Arc<AtomicU64>,
    reached: Arc<Notify>,
}

impl Cut {
    fn after(requests: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(requests)),
            reached: Arc::new(Notify::new()),
        }
    }
}

impl Gate for Cut {
    type Permit = ();

    async fn pass(&self) -> Result<(), FetchError> {
        let take = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Relaxed, Relaxed, take).is_ok() {
            return Ok(());
        }
        self.reached.notify_one();
        std::future::pending().await
    }

    fn failed(&self, _: &Failure) {}
}

/// What may happen between and within polls.
#[derive(Clone, Debug)]
enum Happening {
    /// Records of the last minutes, equal ones among them.
    Published(usize),
    /// Minutes pass.
    Waited(u64),
    /// A poll to its end, or to a failure.
    Polled,
    /// A poll that is killed before that request.
    Killed(u64),
    /// The connection breaks so far into one of the next answers.
    Broken { skip: u32, after: usize },
    /// One of the next files comes cut off.
    CutOff { skip: u32 },
    /// Every file is listed twice, once.
    ListedTwice,
    /// All links that are out become void.
    LinksExpired,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1_usize..40).prop_map(Happening::Published),
        2 => (1_u64..9).prop_map(Happening::Waited),
        2 => Just(Happening::Polled),
        4 => (0_u64..8).prop_map(Happening::Killed),
        2 => (0_u32..4, 0_usize..900).prop_map(|(skip, after)| Happening::Broken { skip, after }),
        1 => (0_u32..3).prop_map(|skip| Happening::CutOff { skip }),
        1 => Just(Happening::ListedTwice),
        1 => Just(Happening::LinksExpired),
    ]
}

impl Bench {
    async fn happens(&self, config: &LogConfig, vendor_ahead_ms: i64, happening: Happening) {
        // A file by itself that is cut off has another size, and so is another file, whose records are all delivered.
        let is_of_files = matches!(
            config.log.paging,
            Paging::BatchFiles | Paging::SiemFiles { compress: true, .. }
        );
        let path = || Target::path(&config.log.path);
        let bodies = || match config.log.paging {
            Paging::BatchFiles => Target::Objects,
            Paging::SiemFiles { .. }
            | Paging::Stream
            | Paging::Window(_)
            | Paging::Feed { .. }
            | Paging::Snapshot(..) => path(),
        };
        let script = |fault: Fault| {
            self.handle.script(fault.once());
        };
        match happening {
            Happening::Published(count) => {
                let name = config.log.row.name;
                let mut publication = Publication::new(self.account(), name, "", count);
                let ahead = Duration::from_millis(vendor_ahead_ms.unsigned_abs());
                let wall = self.clock.wall();
                publication.at = Some(if vendor_ahead_ms < 0 {
                    wall - ahead
                } else {
                    wall + ahead
                });
                publication.spread = Duration::from_secs(240);
                // A queue holds no record twice, and a page of events may repeat the one before it.
                if !matches!(config.log.paging, Paging::Snapshot(..) | Paging::Stream) {
                    publication.dirt = vec![Dirt::Repeated, Dirt::Unicode];
                }
                self.handle.publish_as(&publication).unwrap();
            }
            Happening::Waited(minutes) => self.clock.advance(Duration::from_mins(minutes)),
            Happening::Polled => self.poll_until(config, None).await,
            Happening::Killed(requests) => self.poll_until(config, Some(requests)).await,
            Happening::Broken { skip, after } => {
                let action = Action::ResetMidBody { after };
                script(Fault::new(bodies(), action).after(skip));
            }
            // Cut off anywhere else, an answer is no JSON.
            Happening::CutOff { skip } if is_of_files => {
                script(Fault::new(bodies(), Action::Truncate).after(skip));
            }
            Happening::ListedTwice => script(Fault::new(path(), Action::RepeatedLinks)),
            Happening::CutOff { .. } => {}
            Happening::LinksExpired => self.handle.expire_links(),
        }
    }

    /// A poll of each stream until it is caught up, fails, or is killed before its so-manieth request.
    async fn poll_until(&self, config: &LogConfig, killed_at: Option<u64>) {
        for stream in config.streams(&integration()) {
            let gate = Cut::after(killed_at.unwrap_or(u64::MAX));
            let reached = Arc::clone(&gate.reached);
            loop {
                let slice = Duration::from_secs(86_400);
                let result = tokio::select! {
                    result = self.step_through(config, &stream, slice, gate.clone()) => result,
                    () = reached.notified() => break,
                };
                match result {
                    Ok(Progress::More) => {}
                    Ok(Progress::CaughtUp) | Err(FetchError::Failed(_)) => break,
                    other => panic!("{stream}: {other:?}"),
                }
            }
        }
    }
}

/// With the vendor's clock ahead of ours by any of these.
fn nothing_is_lost_or_repeated(
    config: &LogConfig,
    (api, form): (Api, Form),
    ahead_ms: &'static [i64],
) {
    let histories = (
        proptest::collection::vec(any_happening(), 1..24),
        proptest::sample::select(ahead_ms),
    );
    let config_of_runs = ProptestConfig {
        cases: 12,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let run = |(history, ahead_ms): (Vec<Happening>, i64)| {
        runtime.block_on(async {
            let bench = Bench::with(api, ahead_ms).await;
            bench.client.correct_clock(ahead_ms);
            for happening in history {
                bench.happens(config, ahead_ms, happening).await;
            }
            bench.handle.clear_faults();
            for _ in 0..3 {
                bench.clock.advance(Duration::from_mins(5));
                bench.poll(config).await;
            }
            bench.assert_each_once(config, form, "in the end").await;
        });
        Ok(())
    };
    TestRunner::new(config_of_runs)
        .run(&histories, run)
        .unwrap();
}

#[test]
fn whatever_happens_to_slices_of_time_nothing_is_lost_or_repeated() {
    nothing_is_lost_or_repeated(
        &small(find("ttp-url").unwrap()),
        (Api::V2, Form::Json),
        ANY_CLOCK,
    );
}

#[test]
fn whatever_happens_to_listings_of_a_queue_nothing_is_lost_or_repeated() {
    nothing_is_lost_or_repeated(
        &small(find("held-messages").unwrap()),
        (Api::V2, Form::Json),
        ANY_CLOCK,
    );
}

#[test]
fn whatever_happens_to_pages_of_events_nothing_is_lost_or_repeated() {
    nothing_is_lost_or_repeated(&streaming("siem-ci"), (Api::V2, Form::Event), ANY_CLOCK);
}

#[test]
fn whatever_happens_to_pages_of_links_nothing_is_lost_or_repeated() {
    nothing_is_lost_or_repeated(
        &small(find("siem-ci").unwrap()),
        (Api::V2, Form::Json),
        ANY_CLOCK,
    );
}

#[test]
fn whatever_happens_to_a_chain_of_files_nothing_is_lost_or_repeated() {
    for zipped in [true, false] {
        let mut config = small(find("siem").unwrap());
        config.log.paging = Paging::SiemFiles {
            format: FileFormat::Json,
            compress: zipped,
        };
        nothing_is_lost_or_repeated(&config, (Api::V1, Form::Json), ANY_CLOCK);
    }
}
