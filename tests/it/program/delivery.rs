//! Nothing is lost, and what is repeated can be counted.

use std::time::Duration;

use mimecast_collector::simulator::{
    Account, Action, Answer, Fault, Handle, Options, Service, Target,
};

use super::harness::Bench;

/// Every log of both versions of the API, several event types of the one that has them.
const LOGS: [(&str, &str, &[&str]); 4] = [
    (
        "two",
        "siem-cg",
        &["receipt", "delivery", "url protect", "av"],
    ),
    ("two", "audit", &[""]),
    ("one", "siem", &[""]),
    ("one", "audit", &[""]),
];

const PUBLISHED: [(&str, &str); 4] = [
    ("two", "siem-cg"),
    ("two", "audit"),
    ("one", "siem"),
    ("one", "audit"),
];

/// Publishes `count` events of each type.
fn publish(handle: &Handle, count: usize) {
    for (account, log, types) in LOGS {
        for event_type in types {
            handle.publish(account, log, event_type, count).unwrap();
        }
    }
}

/// An integration for each version of the API.
fn configure(bench: &Bench, output: &str) {
    let integrations = [
        bench.integration(&Account::v1("one"), "\"all\""),
        bench.integration(&Account::v2("two"), "\"all\""),
    ];
    bench.configure(&integrations, output);
}

fn lost_and_repeated(bench: &Bench) -> (u64, u64) {
    let hec = bench.handle.hec();
    let published = bench.handle.published_total();
    assert_eq!(hec.without_id(), 0);
    (published - hec.distinct(), hec.duplicates())
}

#[tokio::test]
async fn every_event_of_every_log_arrives_once_and_as_it_was_published() {
    let bench = Bench::new().await;
    configure(&bench, "");
    publish(&bench.handle, 250);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    publish(&bench.handle, 30);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(lost_and_repeated(&bench), (0, 0));
    bench.assert_equal_bodies(&PUBLISHED);
    bench.assert_no_violations();
}

/// Bytes of a request to the receiver, and the least that an event takes of them: what surrounds it is longer.
const BATCH: u64 = 4 << 10;
const SMALLEST: u64 = 256;
/// Four batches of each lane are out at a time, so this is what a kill can repeat.
const REPEATED_BY_A_KILL: u64 = 4 * 7 * BATCH / SMALLEST;

#[tokio::test]
async fn after_a_kill_9_in_the_middle_nothing_is_lost_and_a_window_is_repeated_at_most() {
    let bench = Bench::new().await;
    configure(&bench, &format!("batch_bytes = \"{BATCH}B\""));
    publish(&bench.handle, 500);
    let collector = bench.run(600);
    let half = bench.handle.published_total() / 2;
    let some = |handle: &Handle| handle.hec().distinct() >= half;
    bench.until("half of the events", some).await;
    collector.kill_9();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    let (lost, repeated) = lost_and_repeated(&bench);
    println!(
        "1 kill, {} events, {repeated} repeated",
        bench.handle.published_total()
    );
    assert_eq!(lost, 0);
    assert!(repeated <= REPEATED_BY_A_KILL, "{repeated} repeated");
    bench.assert_no_violations();
}

/// Real time for the test of many kills, and the kills that it must reach in it.
const BOX: Duration = Duration::from_secs(60);
const KILLS: u32 = 50;
/// Kills that are wanted instead of so much time; `.ci/full` asks for them.
fn kills_wanted() -> Option<u32> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("KILLS");
    wanted.ok().map(|wanted| wanted.parse().unwrap())
}

/// A process lives so long at most: from within its start to several polls and deliveries.
const LONGEST_LIFE: u64 = 900;

/// Numbers without order, the same for the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What goes wrong, for a request each, while processes are killed.
fn trouble(number: u64) -> Fault {
    let short = Duration::from_millis(20);
    let slow = Action::Slow {
        bytes: 200,
        pause: short,
    };
    match number {
        0 => Fault::new(Target::Hec, Action::Reset),
        1 => Fault::answer(Target::Hec, Answer::hec(9)),
        2 => Fault::answer(Target::Hec, Answer::html(502)),
        3 => Fault::new(Target::Hec, Action::Stall(Some(short * 10))),
        4 => Fault::new(Target::Hec, Action::LoseReply),
        5 => Fault::new(Target::Objects, slow),
        6 => Fault::new(Target::Objects, Action::ResetMidBody { after: 500 }),
        7 => Fault::new(Target::Api, slow),
        8 => Fault::answer(Target::Api, Answer::server_error(503)),
        _ => Fault::answer(Target::Objects, Answer::expired_link()),
    }
}

#[tokio::test]
async fn kills_at_any_instant_lose_nothing_and_repeat_a_window_each_at_most() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    let clock = mimecast_collector::clock::Clock::system();
    let bench = Bench::with(Options {
        records_per_file: 7,
        files_per_page: 3,
        ..Options::default()
    })
    .await;
    configure(&bench, &format!("batch_bytes = \"{BATCH}B\""));
    let (mut kills, mut most, mut before) = (0, 0, 0);
    let wanted = kills_wanted();
    let goes_on = |kills| wanted.map_or(clock.monotonic() < BOX, |wanted| kills < wanted);
    while goes_on(kills) {
        publish(&bench.handle, 10);
        bench.handle.script(trouble(numbers.below(10)).once());
        bench
            .handle
            .script(trouble(numbers.below(10)).after(3).once());
        let collector = bench.run(600);
        tokio::time::sleep(Duration::from_millis(numbers.below(LONGEST_LIFE))).await;
        collector.kill_9();
        kills += 1;
        let repeated = bench.handle.hec().duplicates();
        most = most.max(repeated - before);
        before = repeated;
    }
    bench.handle.clear_faults();
    let collector = bench.run(600);
    // However much has piled up while hardly anything lived long enough to deliver it.
    let mut arrived = 0;
    while arrived < bench.handle.published_total() {
        let further = |handle: &Handle| handle.hec().distinct() > arrived;
        bench.until("further events", further).await;
        arrived = bench.handle.hec().distinct();
    }
    collector.stop().await;

    let (lost, repeated) = lost_and_repeated(&bench);
    let requests = bench.handle.requests();
    let sent = requests
        .iter()
        .filter(|request| request.service == Service::Hec);
    let unanswered = sent
        .filter(|request| request.fault == Some("lose-reply"))
        .count();
    println!(
        "{kills} kills, {unanswered} lost replies, {} events: {lost} lost, {repeated} repeated, {most} between two kills at most",
        bench.handle.published_total()
    );
    assert!(kills >= KILLS, "too slow a machine for this test");
    assert_eq!(lost, 0);
    let bound = (u64::from(kills) + unanswered as u64) * REPEATED_BY_A_KILL;
    assert!(repeated <= bound, "{repeated} repeated, {bound} allowed");
    bench.assert_no_violations();
}
