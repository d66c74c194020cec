//! Every log type of the table, from the simulator through the real client into the real store: each record once.

use std::collections::{BTreeMap, BTreeSet};
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
    Account, Answer, Form, Handle, Key, Options, Publication, Simulator, Target,
};
use mimecast_collector::store::{Store, StoreError};
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
