//! Not one request too many, by the log of the simulator: neither after kills and restarts, nor with a credential that was refused.

use std::collections::BTreeMap;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::mimecast::log_types::LOG_TYPES;
use mimecast_collector::simulator::{
    Account, Action, Answer, Fault, Handle, Options, Publication, Request, Target,
};

use super::harness::{Bench, Program, asks};

const TOKEN: &str = "/oauth/token";
/// From one poll of a stream to the next, and from an attempt that was cut short to the next, by the schedule's clock.
const INTERVAL: Duration = Duration::from_secs(300);
const CONTINUATION: Duration = Duration::from_secs(60);
const LOCK_OUT: Duration = Duration::from_secs(30 * 60);
/// Real time in which a request may still arrive that was sent before its sender knew better, or ended.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// The listings of each stream, in order, by the stream's name.
fn listings(requests: &[Request]) -> BTreeMap<String, Vec<&Request>> {
    let mut streams: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for request in requests
        .iter()
        .filter(|request| asks(request) && request.path != TOKEN)
    {
        let account = request.account.as_deref().unwrap_or("nobody");
        let log = LOG_TYPES.iter().find(|log| log.path == request.path);
        let log = log.map_or(request.path.as_str(), |log| log.name);
        let kind = request.parameter("type").map(|kind| format!("/{kind}"));
        let stream = format!("{account}/{log}{}", kind.unwrap_or_default());
        streams.entry(stream).or_default().push(request);
    }
    streams
}

fn is_of(request: &Request, account: &str) -> bool {
    request.account.as_deref() == Some(account)
}

/// How many requests so far are as `condition` wants them.
fn count(handle: &Handle, condition: impl Fn(&Request) -> bool) -> usize {
    let requests = handle.requests();
    requests.iter().filter(|request| condition(request)).count()
}

/// How the schedule's time is read from the simulator's log.
struct Judge {
    scale: u32,
    /// Real time by which a request may come early, because the one before it was late on its way.
    tolerance: Duration,
    /// How each process ended, in order.
    ends: Vec<End>,
}

/// The end of a process.
struct End {
    /// In real time since the simulator's start.
    at: Duration,
    /// How many steps of each stream it had finished, by its own log.
    done: BTreeMap<String, usize>,
}

impl End {
    /// What a process has done so far; to be called right before it is ended.
    fn of(collector: &Program, clock: &Clock) -> Self {
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        for line in collector.lines(&["step done"]) {
            let (_, stream) = line.split_once("stream=").unwrap();
            let (stream, _) = stream.split_once(" progress=").unwrap();
            *done.entry(stream.trim_matches('"').to_owned()).or_default() += 1;
        }
        Self {
            at: clock.monotonic(),
            done,
        }
    }
}

impl Judge {
    fn apart(&self, earlier: &Request, later: &Request) -> Duration {
        (later.since_start - earlier.since_start + self.tolerance) * self.scale
    }

    /// Whether a process ended between two listings. A request that it had sent may arrive after its end.
    fn ended_between(&self, listing: &Request, next: &Request) -> bool {
        let span = listing.since_start.saturating_sub(ON_ITS_WAY)..next.since_start;
        self.ends.iter().any(|end| span.contains(&end.at))
    }

    /// How many steps of a stream were finished by processes that ended before `request`.
    fn done_before(&self, stream: &str, request: &Request) -> usize {
        let ends = self.ends.iter().filter(|end| end.at < request.since_start);
        ends.filter_map(|end| end.done.get(stream)).sum()
    }

    /// What is wrong with the listings of a stream: a page that is asked for again within a minute, or a poll that begins within five
    /// minutes of the one before. A listing goes on with a poll while not all of the first poll's `pages` have been listed, or if the end
    /// of the process cut the step of the listing before it short; any other begins a poll.
    fn objections(&self, stream: &str, listings: &[&Request], pages: usize) -> Vec<String> {
        let mut objections = Vec::new();
        let Some((first, others)) = listings.split_first() else {
            return objections;
        };
        let (mut began, mut before) = (*first, *first);
        let mut listed = BTreeMap::from([(&first.cursor, *first)]);
        let mut cut_short = 0;
        for (earlier, listing) in (1..).zip(others) {
            let at = listing.since_start;
            let same = listed.get(&listing.cursor);
            if let Some(apart) = same.map(|same| self.apart(same, listing))
                && apart < CONTINUATION
            {
                objections.push(format!("{stream}: a page again after {apart:?}, at {at:?}"));
            }
            // Each listing is one step, which is done or was cut short.
            let ended = self.ended_between(before, listing);
            let unfinished = ended && earlier > self.done_before(stream, listing) + cut_short;
            cut_short += usize::from(unfinished);
            let goes_on = listed.len() < pages;
            if !goes_on && !unfinished {
                let apart = self.apart(began, listing);
                if apart < INTERVAL {
                    objections.push(format!("{stream}: a poll after {apart:?}, at {at:?}"));
                }
                began = listing;
            }
            listed.insert(&listing.cursor, listing);
            before = listing;
        }
        objections
    }
}

/// The pages that a stream without files has.
const IDLE: usize = 1;

/// Has the program log each step that it has done, for [`End::of`].
fn log_steps(bench: &Bench) {
    bench.write("conf.d/log.toml", "[log]\nlevel = \"debug\"\n");
}

/// A simulator whose clock the test can read, so that ends of processes stand in the same time as requests.
async fn bench(accounts: &[Account]) -> (Bench, Clock) {
    let clock = Clock::system();
    let bench = Bench::with(Options {
        clock: clock.clone(),
        accounts: accounts.to_vec(),
        records_per_file: 60,
        files_per_page: 2,
        ..Options::default()
    })
    .await;
    (bench, clock)
}

#[tokio::test]
async fn kills_in_mid_fetch_start_no_poll_too_early_and_ask_for_no_page_twice_in_a_minute() {
    // Two files in a page or zip. API 1.0 says only by an empty page that there are no more.
    const FILES: usize = 6;
    let pages = BTreeMap::from([
        ("one/siem", 4),
        ("two/siem-cg/receipt", 3),
        ("two/siem-cg/process", 3),
    ]);
    let accounts = [Account::v1("one"), Account::v2("two"), Account::v1("three")];
    let (bench, clock) = bench(&accounts).await;
    let mut judge = Judge {
        scale: 40,
        tolerance: Duration::from_millis(150),
        ends: Vec::new(),
    };
    let logs = ["[\"siem\"]", "[\"siem-cg\"]", "[\"siem\"]"];
    let integrations: Vec<_> = accounts
        .iter()
        .zip(logs)
        .map(|(account, logs)| bench.integration(account, logs))
        .collect();
    bench.configure(&integrations, "");
    log_steps(&bench);
    for (account, log, kind) in [
        ("one", "siem", "receipt"),
        ("two", "siem-cg", "receipt"),
        ("two", "siem-cg", "process"),
    ] {
        bench
            .handle
            .publish(account, log, kind, 60 * FILES)
            .unwrap();
    }
    bench.handle.script(
        Fault::answer(Target::Api, Answer::lock_out())
            .of("three")
            .once(),
    );
    let slow = Action::Slow {
        bytes: 400,
        pause: Duration::from_millis(50),
    };
    bench
        .handle
        .script(Fault::new(Target::Objects, slow.clone()));
    bench
        .handle
        .script(Fault::new(Target::path("/api/audit/get-siem-logs"), slow).of("one"));

    let slow_ones = |handle: &Handle| count(handle, |request| request.fault == Some("slow"));
    const KILLS: u32 = 30;
    for kill in 0..KILLS {
        let seen = slow_ones(&bench.handle);
        let collector = bench.run(judge.scale);
        // After the last file there is nothing to be slow with; from then on any requests will do.
        let listed = bench.handle.requests().len();
        let begun =
            |handle: &Handle| slow_ones(handle) > seen || handle.requests().len() > listed + 20;
        bench.until("a slow answer", begun).await;
        if kill == 0 {
            // A refusal that the process did not live to write down cannot be known to the next one.
            collector.logged(&["credential three", "401/0010"]).await;
        }
        // Most within the file, some behind it.
        let delay = Duration::from_millis(u64::from(kill * 37 % 10) * 60);
        tokio::time::sleep(delay).await;
        judge.ends.push(End::of(&collector, &clock));
        collector.kill_9();
    }
    bench.handle.clear_faults();
    let collector = bench.run(judge.scale);
    bench.until_all_arrived().await;
    let probed = |handle: &Handle| count(handle, |request| is_of(request, "three")) > 1;
    bench.until("the probe after the lock-out", probed).await;
    collector.stop().await;

    let requests = bench.handle.requests();
    let mut objections = Vec::new();
    for (stream, listings) in listings(&requests) {
        let pages = pages.get(stream.as_str()).unwrap_or(&IDLE);
        objections.extend(judge.objections(&stream, &listings, *pages));
    }
    let listed: usize = listings(&requests).values().map(Vec::len).sum();
    let hec = bench.handle.hec();
    println!(
        "{KILLS} kills, {listed} listings, {} events, {} repeated",
        hec.distinct(),
        hec.duplicates()
    );
    assert_eq!(objections, Vec::<String>::new());
    after_silence(&bench, "three", &judge);
    bench.assert_no_violations();
}

/// That a lock-out was followed by half an hour without a request of that account; gives the requests from the first after it on.
fn after_silence(bench: &Bench, account: &str, judge: &Judge) -> Vec<Request> {
    let mut requests = bench.requests_of(account);
    let locked = requests.iter().find(|request| request.status == Some(401));
    let locked = locked.unwrap().clone();
    requests.retain(|request| request.since_start > locked.since_start + ON_ITS_WAY);
    let silence = judge.apart(&locked, requests.first().unwrap());
    assert!(silence >= LOCK_OUT, "asked {silence:?} after a lock-out");
    requests
}

#[tokio::test]
async fn a_locked_out_credential_rests_half_an_hour_also_over_a_kill_then_probes_once_while_others_go_on()
 {
    let (bench, _) = bench(&[Account::v1("one"), Account::v2("two")]).await;
    let judge = Judge {
        scale: 200,
        tolerance: Duration::from_millis(10),
        ends: Vec::new(),
    };
    let integrations = [
        bench.integration(&Account::v1("one"), "\"all\""),
        bench.integration(&Account::v2("two"), "[\"siem-cg\"]"),
    ];
    bench.configure(&integrations, "");
    let collector = bench.run(judge.scale);
    let both = |handle: &Handle| {
        let answered = |name| {
            count(handle, |request| {
                is_of(request, name) && request.status.is_some()
            })
        };
        answered("one") >= 2 && answered("two") >= 2
    };
    bench.until("the first polls", both).await;
    let siem = || Target::path("/api/audit/get-siem-logs");
    let lock = Fault::answer(siem(), Answer::lock_out()).of("one");
    bench.handle.script(lock.once());
    // The probe, which is for the first log, is held up, so that a second request beside it would be seen.
    const HELD: Duration = Duration::from_millis(500);
    let hold = Fault::new(siem(), Action::Stall(Some(HELD))).of("one");
    bench.handle.script(hold.once());
    let line = collector.logged(&["ERROR", "401/0010"]).await;
    for word in [
        "credential one",
        "request_id=",
        "advice=",
        "unlock",
        "until=",
    ] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    // Others go on, before the kill and after it.
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 10)
        .unwrap();
    bench.until_all_arrived().await;
    collector.kill_9();
    let collector = bench.run(judge.scale);
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 10)
        .unwrap();
    bench.until_all_arrived().await;
    let probe = |handle: &Handle| {
        handle
            .requests()
            .iter()
            .any(|request| request.fault == Some("stall") && request.status.is_some())
    };
    bench.until("the answer to the probe", probe).await;
    collector.logged(&["credential one", "recovered"]).await;
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    bench.until_all_arrived().await;
    collector.stop().await;

    let after = after_silence(&bench, "one", &judge);
    assert_eq!(after[0].fault, Some("stall"), "the probe was not the first");
    let answered = after[0].since_start + HELD;
    assert!(
        after[1].since_start >= answered,
        "a request beside the probe"
    );
}

#[tokio::test]
async fn an_expired_key_is_not_tried_again_until_it_changes_and_then_heals_by_itself() {
    let (bench, _) = bench(&[Account::v1("one"), Account::v2("two")]).await;
    let integrations = [
        bench.integration(&Account::v1("one"), "\"all\""),
        bench.integration(&Account::v2("two"), "[\"siem-cg\"]"),
    ];
    bench.configure(&integrations, "");
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    let expired = bench.handle.script(expired);
    let collector = bench.run(1200);
    let line = collector.logged(&["ERROR", "418/0001"]).await;
    for word in [
        "credential one",
        "until=\"a person acts\"",
        "advice=\"Generate new access and secret keys",
    ] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    let id = line.split("request_id=").nth(1).unwrap();
    assert!(
        id.len() > 36 && id.as_bytes()[8] == b'-',
        "no request id in {line}"
    );

    let polls = |handle: &Handle| count(handle, |request| request.parameter("type") == Some("av"));
    // Half an hour and more in which the other integration polls; then the same after a restart.
    bench
        .until("polls of the other", |handle| polls(handle) > 8)
        .await;
    // A reload with the same key is no reason to try it.
    collector.signal("HUP");
    collector.logged(&["read again"]).await;
    bench
        .until("polls of the other", |handle| polls(handle) > 10)
        .await;
    assert_eq!(
        collector.lines(&["418/0001"]).len(),
        1,
        "{}",
        collector.log()
    );
    collector.stop().await;
    assert_eq!(bench.requests_of("one").len(), 1);
    let collector = bench.run(1200);
    bench
        .until("polls of the other", |handle| polls(handle) > 14)
        .await;
    assert_eq!(
        bench.requests_of("one").len(),
        1,
        "tried again after a restart"
    );

    let secret = "bmV3IGtleSBvZiBvbmU=";
    bench.handle.replace_secret("one", secret);
    bench.handle.clear(expired);
    bench.write("secrets/one-secret_key", secret);
    collector.signal("HUP");
    collector
        .logged(&["credential one", "the credential has changed"])
        .await;
    collector
        .logged(&["credential one", "recovered", "418/0001"])
        .await;
    bench.until_all_arrived().await;
    collector.stop().await;
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_new_key_that_a_restart_finds_heals_an_expired_one_without_a_word_from_anyone() {
    let (bench, _) = bench(&[Account::v1("one")]).await;
    let integration = bench.integration(&Account::v1("one"), "\"all\"");
    bench.configure(&[integration], "");
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    let expired = bench.handle.script(expired);
    let collector = bench.run(60);
    collector.logged(&["ERROR", "418/0001"]).await;
    collector.stop().await;
    let secret = "bmV3IGtleSBvZiBvbmU=";
    bench.handle.replace_secret("one", secret);
    bench.handle.clear(expired);
    bench.write("secrets/one-secret_key", secret);
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    collector
        .logged(&["credential one", "recovered", "418/0001"])
        .await;
    collector.stop().await;
}

#[tokio::test]
async fn ten_restarts_in_a_row_cause_no_poll_that_was_not_due() {
    let accounts = [Account::v1("one"), Account::v2("two")];
    let (bench, clock) = bench(&accounts).await;
    let mut judge = Judge {
        scale: 60,
        tolerance: Duration::from_millis(100),
        ends: Vec::new(),
    };
    // One slice of time, so that each poll of the audit log is one listing.
    let integrations = [(0, r#"["siem", "audit"]"#), (1, r#"["siem-cg", "audit"]"#)]
        .map(|(n, logs)| bench.integration(&accounts[n], logs) + "start = \"1h\"\n");
    bench.configure(&integrations, "");
    log_steps(&bench);
    for account in ["one", "two"] {
        bench
            .handle
            .publish_as(&Publication::new(account, "audit", "", 20))
            .unwrap();
    }
    let mut collector = bench.run(judge.scale);
    bench.until_all_arrived().await;
    for _ in 0..10 {
        judge.ends.push(End::of(&collector, &clock));
        collector.stop().await;
        collector = bench.run(judge.scale);
        collector.logged(&["INFO", "running"]).await;
    }
    let streams = 13;
    let thrice = |handle: &Handle| {
        let requests = handle.requests();
        let listings = listings(&requests);
        listings.len() == streams && listings.values().all(|listings| listings.len() >= 3)
    };
    bench.until("three polls of each stream", thrice).await;
    collector.stop().await;
    let objections: Vec<_> = listings(&bench.handle.requests())
        .iter()
        .flat_map(|(stream, listings)| judge.objections(stream, listings, IDLE))
        .collect();
    assert_eq!(objections, Vec::<String>::new());
    let hec = bench.handle.hec();
    assert_eq!((hec.distinct(), hec.duplicates()), (40, 0));
}
