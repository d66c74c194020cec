//! What an operator does: start, stop, reload, ask; and what the program says when something about that is wrong.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mimecast_collector::clock::Clock;
use mimecast_collector::simulator::{
    Account, Action, Answer, Fault, Handle, HecEvent, Request, Target,
};
use serde_json::Value;

use super::harness::{Bench, Program, folder, look_until};

const OK: Option<i32> = Some(0);
const USAGE: Option<i32> = Some(64);
const WARNING: Option<i32> = Some(1);
const UNKNOWN: Option<i32> = Some(3);
const UNAVAILABLE: Option<i32> = Some(69);
const STORE: Option<i32> = Some(74);
const PERMISSION: Option<i32> = Some(77);
const CONFIG: Option<i32> = Some(78);

/// A bench with a configuration for both accounts that the simulator has.
async fn configured() -> Bench {
    let bench = Bench::new().await;
    bench.configure(&both(&bench), "");
    bench
}

fn both(bench: &Bench) -> [String; 2] {
    [
        bench.integration(&Account::v1("one"), "\"all\""),
        bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]"),
    ]
}

/// The integration as it would be against Mimecast itself, or another server that is not this machine.
fn elsewhere(integration: &str, bench: &Bench) -> String {
    integration.replace(&bench.simulator.api_url(), "https://api.example.invalid")
}

#[tokio::test]
async fn an_interval_below_five_minutes_ends_run_and_check_with_78_and_names_file_line_and_key() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "\"all\"");
    let integration = elsewhere(&integration, &bench) + "interval = \"299s\"\n";
    bench.configure(&[integration], "");
    let text = std::fs::read_to_string(bench.path("config.toml")).unwrap();
    let line = 1 + text
        .lines()
        .position(|line| line.starts_with("interval"))
        .unwrap();
    for command in ["run", "check"] {
        let ended = bench.ended(&[command]).await;
        assert_eq!(ended.code, CONFIG, "{ended:?}");
        for word in [
            &format!("config.toml:{line}:"),
            "integration[two].interval",
            "at least 5 min",
        ] {
            assert!(ended.err.contains(word), "no {word} in {}", ended.err);
        }
    }
    assert_eq!(bench.handle.requests().len(), 0);
}

#[tokio::test]
async fn fast_motion_is_refused_for_a_server_that_is_not_on_this_machine() {
    let bench = Bench::new().await;
    let integration = bench.integration(&Account::v2("two"), "\"all\"");
    bench.configure(&[elsewhere(&integration, &bench)], "");
    let ended = bench.ended(&["run", "--time-scale", "2"]).await;
    assert_eq!(ended.code, CONFIG);
    for word in ["--time-scale", "'two'", "simulator"] {
        assert!(ended.err.contains(word), "no {word} in {}", ended.err);
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_64_and_shows_the_right_one() {
    let folder = folder();
    for arguments in [
        &["fly"][..],
        &[],
        &["run", "--time-scale", "0"],
        &["resume"],
    ] {
        let mut program = Program::start(arguments, folder.path());
        assert_eq!(program.code().await, USAGE, "{arguments:?}");
        assert!(
            program.log().contains("--help") || program.log().contains("Usage"),
            "{}",
            program.log()
        );
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_state_directory_ends_with_74_and_leaves_the_first_alone() {
    let bench = configured().await;
    let first = bench.run(60);
    first.logged(&["INFO", "running"]).await;
    let second = bench.ended(&["run"]).await;
    assert_eq!(second.code, STORE);
    let state_dir = bench.state_dir();
    for word in ["in use by another process", state_dir.to_str().unwrap()] {
        assert!(second.err.contains(word), "no {word} in {}", second.err);
    }
    // The socket of the first is still its own.
    let status = bench.ended(&["status"]).await;
    assert_eq!(status.code, OK, "{}", status.err);
    first.stop().await;
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_ends_with_74_and_is_named() {
    let bench = configured().await;
    // What the superuser may not do either.
    bench.write("state", "a file");
    for scale in ["1", "60"] {
        let ended = bench.ended(&["run", "--time-scale", scale]).await;
        assert_eq!(ended.code, STORE, "{ended:?}");
        let state_dir = bench.state_dir();
        assert!(
            ended.err.contains(state_dir.to_str().unwrap()),
            "{}",
            ended.err
        );
        // The cause was told twice once.
        assert_eq!(ended.err.matches("os error").count(), 1, "{}", ended.err);
    }
}

#[tokio::test]
async fn a_state_directory_that_may_not_be_used_ends_with_77() {
    let bench = configured().await;
    let state_dir = bench.state_dir();
    std::fs::create_dir(&state_dir).unwrap();
    std::fs::set_permissions(&state_dir, Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&state_dir).is_ok() {
        println!("not tried: the superuser may use every folder");
        return;
    }
    for scale in ["1", "60"] {
        let ended = bench.ended(&["run", "--time-scale", scale]).await;
        assert_eq!(ended.code, PERMISSION, "{ended:?}");
        assert!(
            ended.err.contains(state_dir.to_str().unwrap()),
            "{}",
            ended.err
        );
    }
    // So that the folder can be taken away.
    std::fs::set_permissions(&state_dir, Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn five_mistakes_in_two_files_are_told_at_once_each_with_its_line() {
    let bench = configured().await;
    bench.write(
        "config.toml",
        "state_dir = 5\n\
         [[integration]]\n\
         name = \"two\"\n\
         client_id = \"id\"\n\
         client_secret = { fil = \"x\" }\n\
         logs = [\"siem-cg\", \"audits\"]\n",
    );
    bench.write(
        "conf.d/x.toml",
        "[[output]]\n\
         name = \"splunk\"\n\
         type = \"splunk_hec\"\n\
         url = \"ftp://splunk\"\n\
         token = { file = \"secrets/hec\" }\n\
         batch_bytes = \"3GiB\"\n",
    );
    for command in ["run", "check"] {
        let ended = bench.ended(&[command]).await;
        assert_eq!(ended.code, CONFIG);
        for place in [
            "config.toml:1:",
            "config.toml:5:",
            "config.toml:6:",
            "x.toml:4:",
            "x.toml:6:",
            "5 problems in 2 files",
        ] {
            assert!(ended.err.contains(place), "no {place} in {}", ended.err);
        }
    }
}

#[tokio::test]
async fn two_integrations_whose_files_hold_the_same_credential_are_refused_by_name() {
    let bench = Bench::new().await;
    let mut twin = Account::v1("one");
    twin.name = "twin".to_owned();
    let integrations = [
        bench.integration(&Account::v1("one"), "[\"siem\"]"),
        bench.integration(&twin, "[\"audit\"]"),
    ];
    bench.configure(&integrations, "");
    for command in ["run", "check"] {
        let ended = bench.ended(&[command]).await;
        assert_eq!(ended.code, CONFIG);
        for name in ["one", "twin", "same access key"] {
            assert!(ended.err.contains(name), "no {name} in {}", ended.err);
        }
    }
}

#[tokio::test]
async fn term_and_int_stop_within_seconds_with_code_0_and_nothing_is_lost_or_repeated() {
    let bench = configured().await;
    let clock = Clock::system();
    let stalled = |handle: &Handle| {
        let requests = handle.requests();
        let stalled = |request: &&Request| request.fault == Some("stall");
        requests.iter().filter(stalled).count()
    };
    for signal in ["TERM", "INT", "TERM"] {
        // A file on its way and a batch without an answer do not keep it.
        let slow = Action::Slow {
            bytes: 50,
            pause: Duration::from_millis(50),
        };
        bench.handle.script(Fault::new(Target::Objects, slow));
        let wait = Action::Stall(Some(Duration::from_millis(300)));
        bench.handle.script(Fault::new(Target::Hec, wait));
        bench
            .handle
            .publish("two", "siem-cg", "receipt", 100)
            .unwrap();
        bench.handle.publish("one", "siem", "receipt", 100).unwrap();
        let before = stalled(&bench.handle);
        let mut collector = bench.run(600);
        let sending = |handle: &Handle| stalled(handle) > before;
        bench.until("a batch on its way", sending).await;
        collector.logged(&["INFO", "running"]).await;
        let asked = clock.monotonic();
        collector.signal(signal);
        assert_eq!(collector.code().await, OK, "{}", collector.log());
        let took = clock.monotonic() - asked;
        assert!(took < Duration::from_secs(5), "{signal} took {took:?}");
        collector.lines(&["stopped"]).first().unwrap();
        bench.handle.clear_faults();
    }
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_equal_bodies(&[("one", "siem"), ("two", "siem-cg")]);
}

#[tokio::test]
async fn a_reload_takes_up_a_new_integration_and_another_index_and_leaves_the_rest_running() {
    let bench = Bench::new().await;
    let [one, two] = both(&bench);
    bench.configure(std::slice::from_ref(&one), "index = \"first\"");
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    bench.configure(&[one, two], "index = \"second\"");
    collector.signal("HUP");
    collector
        .logged(&["INFO", "the configuration was read again"])
        .await;
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 10)
        .unwrap();
    bench.until_all_arrived().await;
    assert_eq!(
        collector
            .lines(&["integration starts", "integration=one"])
            .len(),
        1
    );
    assert_eq!(
        collector
            .lines(&["integration starts", "integration=two"])
            .len(),
        1
    );
    collector.stop().await;
    let events = bench.handle.hec().events();
    let index = |event: &HecEvent| event.index.clone().unwrap();
    assert!(events[..10].iter().all(|event| index(event) == "first"));
    assert!(events[10..].iter().all(|event| index(event) == "second"));
    assert_eq!(bench.handle.hec().duplicates(), 0);
}

#[tokio::test]
async fn a_reload_of_a_wrong_file_changes_nothing_and_says_so() {
    let bench = configured().await;
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    let right = std::fs::read_to_string(bench.path("config.toml")).unwrap();
    let moved = right.replace("/state\"", "/other\"");
    for (wrong, why) in [
        (right.clone() + "nonsense = 1\n", "nonsense"),
        (moved, "needs a restart"),
        (right.replace("one-secret_key", "none"), "none"),
    ] {
        bench.write("config.toml", &wrong);
        collector.signal("HUP");
        collector
            .logged(&["ERROR", "reload refused, nothing has changed", why])
            .await;
    }
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    bench.handle.publish("two", "siem-cg", "av", 10).unwrap();
    bench.until_all_arrived().await;
    assert_eq!(collector.lines(&["integration starts"]).len(), 2);
    collector.stop().await;
}

#[tokio::test]
async fn a_secret_file_that_everybody_can_read_is_refused_at_a_start_a_reload_and_a_check() {
    let bench = configured().await;
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    let file = bench.path("secrets/two-client_secret");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let words = ["two-client_secret", "0644", "chmod 0640 "];
    collector.signal("HUP");
    collector
        .logged(&[["ERROR", "reload refused"].as_slice(), &words].concat())
        .await;
    // The minute's look at files for new secrets says it too, and not each minute.
    collector
        .logged(&[["WARN", "cannot be taken up"].as_slice(), &words].concat())
        .await;
    collector.stop().await;
    for command in ["run", "check"] {
        let ended = bench.ended(&[command]).await;
        assert_eq!(ended.code, CONFIG, "{ended:?}");
        for word in words {
            assert!(ended.err.contains(word), "no {word} in {}", ended.err);
        }
    }
}

#[tokio::test]
async fn status_tells_people_and_programs_how_the_daemon_is_doing() {
    let bench = configured().await;
    bench.handle.publish("one", "siem", "receipt", 10).unwrap();
    let denied = Fault::answer(Target::Api, Answer::expired_key()).of("two");
    bench.handle.script(denied);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.logged(&["418/0001"]).await;
    let page = bench.ended(&["status"]).await;
    assert_eq!(page.code, WARNING, "{}", page.err);
    for word in [
        "one",
        "two",
        "splunk",
        "418/0001",
        "Generate new access and secret keys",
    ] {
        assert!(page.out.contains(word), "no {word} in {}", page.out);
    }
    let asked = bench.ended(&["status", "--json"]).await;
    assert_eq!(asked.code, WARNING, "{}", asked.err);
    let report: Value = serde_json::from_str(&asked.out).unwrap();
    let blocked = &report["integrations"][1];
    assert_eq!(blocked["name"], "two");
    assert_eq!(blocked["condition"]["state"], "blocked");
    assert_eq!(blocked["condition"]["key"], "418/0001");
    assert_eq!(report["outputs"][0]["name"], "splunk");
    collector.stop().await;
}

#[tokio::test]
async fn resume_after_a_block_makes_one_probe_and_names_who_there_is_for_a_wrong_name() {
    let bench = configured().await;
    let denied = Fault::answer(Target::Api, Answer::expired_key()).of("one");
    bench.handle.script(denied);
    let collector = bench.run(60);
    collector.logged(&["credential one", "418/0001"]).await;
    assert_eq!(bench.requests_of("one").len(), 1);
    for probes in 2..4 {
        let resumed = bench.ended(&["resume", "one"]).await;
        assert_eq!(resumed.code, OK, "{}", resumed.err);
        assert!(
            resumed.out.contains("one is tried again now"),
            "{}",
            resumed.out
        );
        let refused = |handle: &Handle| {
            let requests = handle.requests();
            requests
                .iter()
                .filter(|request| request.status == Some(418))
                .count()
                == probes
        };
        bench.until("the answer to the probe", refused).await;
        look_until("the block again", || {
            (collector.lines(&["ERROR", "418/0001"]).len() == probes).then_some(())
        })
        .await;
    }
    let wrong = bench.ended(&["resume", "nobody"]).await;
    assert_eq!(wrong.code, USAGE);
    for name in ["'nobody'", "one", "two", "splunk"] {
        assert!(wrong.err.contains(name), "no {name} in {}", wrong.err);
    }
    collector.stop().await;
    assert_eq!(
        bench.requests_of("one").len(),
        3,
        "more than a probe for each resume"
    );
}

#[tokio::test]
async fn a_paused_integration_asks_nothing_also_after_a_kill_until_it_is_resumed_or_its_time_is_over()
 {
    const SCALE: u32 = 600;
    let bench = configured().await;
    let collector = bench.run(SCALE);
    let asked = |handle: &Handle| {
        let requests = handle.requests().into_iter();
        requests
            .filter(|request| request.account.as_deref() == Some("one"))
            .count()
    };
    bench
        .until("the first polls", |handle| asked(handle) > 5)
        .await;
    let paused = bench.ended(&["pause", "one"]).await;
    assert_eq!(paused.code, OK, "{}", paused.err);
    // By the other integration's requests, hours pass.
    let others = |handle: &Handle| {
        let requests = handle.requests().into_iter();
        let of_it = requests.filter(|request| request.account.as_deref() == Some("two"));
        of_it.count()
    };
    let spend = async |polls: usize| {
        let seen = others(&bench.handle);
        let enough = |handle: &Handle| others(handle) > seen + polls;
        bench.until("the other's polls", enough).await;
    };
    let rests = async |handle: &Handle| {
        // What was out when it was paused arrives.
        spend(20).await;
        let before = asked(handle);
        spend(60).await;
        assert_eq!(asked(handle), before, "asked while it was paused");
    };
    rests(&bench.handle).await;
    collector.kill_9();
    let collector = bench.run(SCALE);
    rests(&bench.handle).await;
    let resumed = bench.ended(&["resume", "one"]).await;
    assert_eq!(resumed.code, OK, "{}", resumed.err);
    let before = asked(&bench.handle);
    let polled = |handle: &Handle| asked(handle) > before + 5;
    bench.until("further polls", polled).await;

    // Two hours are over in a moment, perhaps before the command has ended. `resume` has ended the first pause.
    let ended = || collector.lines(&["the pause is over"]).len();
    assert_eq!(ended(), 1);
    let before = bench.requests_of("one").len();
    let paused = bench.ended(&["pause", "one", "--for", "2h"]).await;
    assert_eq!(paused.code, OK, "{}", paused.err);
    look_until("the end of the two hours", || (ended() == 2).then_some(())).await;
    let over = asked(&bench.handle);
    let polled = |handle: &Handle| asked(handle) > over + 5;
    bench.until("polls after the pause", polled).await;
    collector.stop().await;
    let requests = bench.requests_of("one");
    let rested = requests
        .iter()
        .skip(before.saturating_sub(1))
        .map(|r| r.since_start);
    let rested: Vec<_> = rested.collect();
    let longest = rested
        .windows(2)
        .filter_map(|pair| pair[1].checked_sub(pair[0]));
    let longest = longest.max().unwrap() * SCALE;
    // The simulator takes a request down a moment after it was sent, and a moment here is a second there.
    assert!(longest >= Duration::from_mins(119), "{longest:?}");
    bench.assert_no_violations();
}

#[tokio::test]
async fn without_a_daemon_status_ends_with_3_and_resume_with_69_and_both_say_how_to_start_one() {
    let bench = configured().await;
    for (command, code) in [
        (&["status"][..], UNKNOWN),
        (&["status", "--json"], UNKNOWN),
        (&["resume", "one"], UNAVAILABLE),
    ] {
        let ended = bench.ended(command).await;
        assert_eq!(ended.code, code);
        assert!(
            ended.err.contains("no collector is running"),
            "{}",
            ended.err
        );
        assert!(
            ended.err.contains("mimecast-collector run"),
            "{}",
            ended.err
        );
    }
    // Nor after one that was killed and left its socket.
    let collector = bench.run(60);
    collector.logged(&["INFO", "running"]).await;
    collector.kill_9();
    let ended = bench.ended(&["status"]).await;
    assert_eq!(ended.code, UNKNOWN, "{}", ended.err);
}

#[tokio::test]
async fn the_demo_loses_nothing_and_says_so() {
    let folder = folder();
    let mut demo = Program::start(&["demo", "--events", "30"], folder.path());
    assert_eq!(demo.code().await, OK, "{}", demo.log());
    let summary: Vec<_> = demo
        .log()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in ["served by Mimecast 30", "lost 0", "duplicates 0"] {
        assert!(
            summary.iter().any(|told| told == line),
            "no '{line}' in {}",
            demo.log()
        );
    }
    // What the collector says of itself goes out beside the events.
    let out = demo.out();
    let events = out
        .lines()
        .filter(|line| !line.contains(r#""integration":"@collector""#));
    assert_eq!(events.count(), 30);
}

#[tokio::test]
async fn what_simulate_prints_is_a_configuration_that_check_accepts_and_run_works_with() {
    let bench = Bench::new().await;
    let ports = ["--port", "0", "--objects-port", "0", "--hec-port", "0"];
    let mut simulator = Program::start(&[&["simulate"][..], &ports].concat(), bench.folder.path());
    let printed = || Some(simulator.out()).filter(|text| text.contains("type = \"stdout\""));
    let config = look_until("the configuration", printed).await;
    let own = bench.state_dir();
    let moved: Vec<_> = config
        .lines()
        .map(|line| {
            if line.starts_with("state_dir") {
                format!("state_dir = {own:?}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    bench.write("config.toml", &moved.join("\n"));
    let check = bench.ended(&["check"]).await;
    assert_eq!(check.code, OK, "{}", check.err);
    let collector = bench.run(600);
    let events = || (collector.out().lines().count() > 20).then_some(());
    look_until("events on standard output", events).await;
    collector.stop().await;
    simulator.signal("INT");
    assert_eq!(simulator.code().await, OK, "{}", simulator.log());
    let end = simulator.out();
    assert!(
        end.contains("(0 twice)") && !end.contains("objection"),
        "{end}"
    );
}

#[tokio::test]
async fn a_trouble_that_lasts_is_one_line_in_the_log_however_often_it_is_met() {
    let bench = configured().await;
    let down = Fault::answer(Target::Hec, Answer::server_error(503));
    bench.handle.script(down);
    bench.handle.publish("one", "siem", "receipt", 5).unwrap();
    let collector = bench.run(600);
    let refused = |handle: &Handle| {
        let requests = handle.requests();
        let refused = |request: &&Request| request.status == Some(503);
        requests.iter().filter(refused).count()
    };
    bench
        .until("many refusals", |handle| refused(handle) >= 6)
        .await;
    bench.handle.clear_faults();
    collector
        .logged(&["INFO", "recovered", "output splunk"])
        .await;
    let told = collector.lines(&["WARN", "output splunk", "state=retrying"]);
    assert_eq!(told.len(), 1, "{}", collector.log());
    let asked = collector.lines(&["no indexer acknowledgement"]);
    assert!(asked.len() <= 1, "{}", collector.log());
    collector.stop().await;
}
