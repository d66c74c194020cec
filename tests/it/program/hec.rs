//! Splunk's event collector over sockets: acknowledgement, a load balancer, servers that fail.

use mimecast_collector::simulator::{
    Account, Action, Answer, Confirms, Fault, HecAcks, Options, Target,
};

use super::harness::{Bench, look_until};

async fn bench(acks: Option<HecAcks>) -> Bench {
    Bench::with(Options {
        hec_acks: acks,
        ..Options::default()
    })
    .await
}

fn configure(bench: &Bench, output: &str) {
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]");
    bench.configure(&[integration], output);
}

fn publish(bench: &Bench, count: usize) {
    for (log, event_type) in [("siem-cg", "receipt"), ("siem-cg", "av"), ("audit", "")] {
        bench.handle.publish("two", log, event_type, count).unwrap();
    }
}

const fn acks(indexers: usize, confirms: Confirms) -> Option<HecAcks> {
    Some(HecAcks { indexers, confirms })
}

#[tokio::test]
async fn batches_over_a_load_balancer_with_three_indexers_are_confirmed_by_the_one_that_has_them() {
    let bench = bench(acks(3, Confirms::After(2))).await;
    configure(&bench, "batch_bytes = \"8KiB\"\nack = \"on\"");
    publish(&bench, 300);
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    bench
        .until("all questions answered", |handle| {
            handle.hec().unconfirmed() == 0
        })
        .await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    // What was confirmed is passed for good: a second run has nothing to send.
    let collector = bench.run(60);
    publish(&bench, 1);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

#[tokio::test]
async fn what_no_indexer_confirms_is_sent_again_with_the_same_ids_and_a_person_is_told() {
    for confirms in [Confirms::False, Confirms::Never] {
        let bench = bench(acks(1, confirms)).await;
        configure(&bench, "ack_timeout = \"10s\"");
        publish(&bench, 20);
        let collector = bench.run(600);
        bench.until_all_arrived().await;
        bench
            .until("a repeat", |handle| handle.hec().duplicates() >= 60)
            .await;
        collector.logged(&["hec/ack_timeout"]).await;
        collector.stop().await;
        bench.assert_no_violations();
    }
}

#[tokio::test]
async fn a_token_without_acknowledgement_blocks_an_output_that_insists_and_no_other() {
    let bench = bench(None).await;
    configure(&bench, "ack = \"on\"");
    publish(&bench, 20);
    let collector = bench.run(60);
    collector.logged(&["hec/14"]).await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().total(), 0);
    configure(&bench, "ack = \"auto\"");
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

#[tokio::test]
async fn an_answer_without_a_number_blocks_an_output_that_insists_and_repeats_its_batch_only_once()
{
    let bench = bench(acks(1, Confirms::After(0))).await;
    configure(&bench, "ack = \"on\"\ncarry = [\"events\"]");
    bench.handle.publish("two", "audit", "", 20).unwrap();
    // The question after numbers is answered, as for a token that has acknowledgement, but no batch gets one.
    let mute = bench.handle.answer(Target::Hec, Answer::hec(0));
    let collector = bench.run(6_000);
    collector.logged(&["hec/14", "blocked"]).await;
    // Each look at the output is one event of the collector's own, not the batch.
    bench
        .until("four looks, an hour long", |handle| {
            handle.hec().of_the_collector().len() >= 4
        })
        .await;
    assert_eq!(
        (bench.handle.hec().total(), bench.handle.hec().distinct()),
        (20, 20)
    );
    bench.handle.clear(mute);
    bench
        .until("the batch, with a number", |handle| {
            handle.hec().total() == 40
        })
        .await;
    bench.handle.publish("two", "audit", "", 5).unwrap();
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 20);
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_token_that_demands_a_channel_gets_one_though_acknowledgement_is_off() {
    let bench = bench(acks(1, Confirms::After(0))).await;
    configure(&bench, "ack = \"off\"");
    publish(&bench, 20);
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
}

#[tokio::test]
async fn a_reset_before_the_batch_was_taken_repeats_nothing_and_one_after_it_that_batch() {
    for acks in [None, acks(3, Confirms::After(1))] {
        for gzip in [true, false] {
            let bench = bench(acks).await;
            configure(&bench, &format!("gzip = {gzip}\nbatch_bytes = \"8KiB\""));
            publish(&bench, 100);
            bench
                .handle
                .script(Fault::new(Target::Hec, Action::Reset).once());
            let lost = Fault::new(Target::Hec, Action::LoseReply);
            bench.handle.script(lost.after(3).once());
            let collector = bench.run(60);
            bench.until_all_arrived().await;
            collector.stop().await;
            let repeated = bench.handle.hec().duplicates();
            assert!((1..=8192 / 200).contains(&repeated), "{repeated} repeated");
            bench.assert_no_violations();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_unwell_is_passed_over_for_the_next() {
    let bench = bench(None).await;
    configure(&bench, "");
    let url = bench.simulator.hec_url();
    // Nothing listens on the port of discarding, and what does not answer has taken nothing.
    let text = std::fs::read_to_string(bench.path("config.toml")).unwrap();
    let both = format!("url = [\"http://127.0.0.1:9\", \"{url}\"]");
    let text = text.replace(&format!("url = \"{url}\""), &both);
    bench.write("config.toml", &text);
    publish(&bench, 50);
    bench
        .handle
        .script(Fault::answer(Target::Hec, Answer::hec(23)).once());
    let collector = bench.run(60);
    bench.until_all_arrived().await;
    collector.logged(&["the next server is used"]).await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

#[tokio::test]
async fn every_code_of_hec_loses_nothing_and_repeats_nothing_that_was_taken() {
    let codes = [0, 8, 9, 18, 19, 20, 23, 24, 25, 26, 27];
    let bench = bench(None).await;
    configure(&bench, "batch_bytes = \"8KiB\"");
    for (n, code) in codes.into_iter().enumerate() {
        let fault = Fault::answer(Target::Hec, Answer::hec(code));
        bench
            .handle
            .script(fault.after(u32::try_from(n).unwrap()).once());
    }
    for answer in [Answer::html(404), Answer::html(502), Answer::html(413)] {
        bench
            .handle
            .script(Fault::answer(Target::Hec, answer).after(12).once());
    }
    publish(&bench, 200);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    bench.assert_no_violations();
}

/// A configuration of two tenants with these tags, each with an index of its own.
fn configure_tenants(bench: &Bench, customers: [&str; 2]) {
    let integrations = ["one", "two"].map(|name| {
        let account = match name {
            "one" => (Account::v1(name), "[\"siem\"]"),
            _ => (Account::v2(name), "[\"audit\"]"),
        };
        bench.integration(&account.0, account.1)
    });
    let tagged = integrations.iter().zip(customers).map(|(text, customer)| {
        format!("{text}tags = {{ customer = \"{customer}\", account_code = \"C1\" }}\n")
    });
    bench.configure(
        &tagged.collect::<Vec<_>>(),
        "index = \"m_{tag.customer}\"\npreset = \"vendor\"",
    );
}

#[tokio::test]
async fn a_wrong_index_stops_its_own_tenant_and_no_other() {
    let bench = Bench::with(Options {
        hec_indexes: vec!["m_acme".to_owned(), "m_globex".to_owned()],
        ..Options::default()
    })
    .await;
    configure_tenants(&bench, ["Acme", "Initech"]);
    bench.handle.publish("one", "siem", "receipt", 20).unwrap();
    bench.handle.publish("two", "audit", "", 20).unwrap();
    let collector = bench.run(600);
    collector.logged(&["hec/7", "two/audit"]).await;
    bench
        .until("the other tenant's events", |handle| {
            handle.hec().distinct() >= 20
        })
        .await;
    let index = |n: usize| bench.handle.hec().events()[n].index.clone().unwrap();
    assert_eq!(bench.handle.hec().distinct(), 20);
    assert_eq!(index(0), "m_acme");
    // A tag that has become another is taken up by a reload.
    configure_tenants(&bench, ["Acme", "Globex"]);
    collector.signal("HUP");
    bench.until_all_arrived().await;
    assert_eq!(index(20), "m_globex");
    let last = bench.handle.hec().events().pop().unwrap();
    assert_eq!(last.fields["account"], "C1");
    assert!(
        last.event()
            .starts_with("{\"mcType\":\"auditLog\",\"splunkAccountCode\":\"C1\","),
        "{}",
        last.event()
    );
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
}

#[tokio::test]
async fn a_refusal_of_any_code_loses_nothing_and_puts_aside_the_one_event_that_it_names() {
    let refusals = [1, 2, 3, 4, 5, 7, 10, 11, 14, 16, 17, 21, 22].map(Answer::hec);
    let unnamed = [6, 12, 13, 15].map(Answer::hec);
    let busy = [Answer::hec_at(9, 2)];
    let named = [6, 12, 13, 15].map(|code| Answer::hec_at(code, 2));
    for gzip in [true, false] {
        let bench = bench(None).await;
        configure(&bench, &format!("gzip = {gzip}"));
        let collector = bench.run(600);
        let aside = || {
            let lines = collector.lines(&["it is put aside"]).into_iter();
            lines.filter(|line| !line.contains("@collector")).count() as u64
        };
        let mut played = 0;
        let answers = refusals.iter().chain(&unnamed).chain(&busy);
        let answers = answers.map(|answer| (answer, 0));
        for (answer, puts_aside) in answers.chain(named.iter().map(|answer| (answer, 1))) {
            let expected = aside() + puts_aside;
            // An event of the collector's own may be the one that is met: then once more.
            loop {
                let fault = Fault::answer(Target::Hec, answer.clone());
                bench.handle.script(fault.once());
                played += 1;
                publish(&bench, 5);
                let published = bench.handle.published_total();
                look_until(&format!("all events after {answer:?}"), || {
                    let requests = bench.handle.requests();
                    let met = requests
                        .iter()
                        .filter(|r| r.fault == Some("answer"))
                        .count();
                    let arrived = bench.handle.hec().distinct() + aside();
                    (met == played && arrived == published).then_some(())
                })
                .await;
                if aside() >= expected {
                    break;
                }
                assert!(played < 200, "no event was put aside after {answer:?}");
            }
        }
        // Of code 9 it is not published from where its number counts: read as from 1, one event may be sent twice.
        let repeated = bench.handle.hec().duplicates();
        assert!(repeated <= 1, "{repeated} repeated");
        collector.stop().await;
        bench.assert_no_violations();
    }
}
