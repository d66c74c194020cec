//! The event collector.

use std::io::Write as _;

use super::*;

fn event(id: u32) -> String {
    json!({
        "time": 1_767_690_487.25,
        "sourcetype": "mimecast:siem",
        "event": {"n": id},
        "fields": {"event_id": format!("{id:032x}")},
    })
    .to_string()
}

fn send(bench: &Bench, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let url = bench.simulator.hec_url() + "/services/collector/event";
    let token = Options::default().hec_token;
    let request = bench.http.post(url).body(body);
    request.header("authorization", format!("Splunk {token}"))
}

async fn code(request: RequestBuilder) -> (u16, Value) {
    let reply = request.send().await.unwrap();
    (
        reply.status().as_u16(),
        json_of(reply).await["code"].clone(),
    )
}

#[tokio::test]
async fn events_are_taken_plain_or_compressed_and_counted_by_id() {
    let bench = Bench::new().await;
    let success = (200, json!(0));
    let body = event(1) + &event(2) + "\n" + r#"{"event":"no id"}"#;
    assert_eq!(code(send(&bench, body)).await, success);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all((event(2) + &event(3)).as_bytes()).unwrap();
    let request = send(&bench, gzip.finish().unwrap());
    assert_eq!(
        code(request.header("content-encoding", "gzip")).await,
        success
    );
    let hec = bench.handle.hec();
    let counts = (
        hec.total(),
        hec.distinct(),
        hec.duplicates(),
        hec.without_id(),
    );
    assert_eq!(counts, (5, 3, 1, 1));
    assert_eq!(hec.count(&format!("{:032x}", 2)), 2);
    let events = hec.events();
    assert_eq!(events[0].event(), r#"{"n":1}"#);
    assert_eq!(events[0].time.as_deref(), Some("1767690487.25"));
    assert_eq!(events[0].sourcetype.as_deref(), Some("mimecast:siem"));
    bench.assert_no_violations();
}

#[tokio::test]
async fn wrong_requests_get_the_codes_of_splunk_and_nothing_of_them_is_taken() {
    let bench = Bench::with(Options {
        hec_indexes: vec!["mimecast".to_owned()],
        hec_max_body: 1000,
        ..Options::default()
    })
    .await;
    let good = event(1);
    let after_good = |wrong: &str| send(&bench, good.clone() + wrong);
    let authorized = |value: &str| {
        let mut request = send(&bench, good.clone()).build().unwrap();
        let headers = request.headers_mut();
        headers.remove("authorization");
        if !value.is_empty() {
            headers.insert("authorization", value.parse().unwrap());
        }
        RequestBuilder::from_parts(bench.http.clone(), request)
    };
    for (request, status, number) in [
        (authorized(""), 401, 2),
        (authorized("Bearer x"), 401, 3),
        (authorized("Splunk x"), 403, 4),
        (send(&bench, ""), 400, 5),
        (after_good("[]"), 400, 6),
        (after_good(r#"{"event":"#), 400, 6),
        (after_good(r#"{"event":"a","time":"now"}"#), 400, 6),
        (after_good(r#"{"event":"a","tiem":1}"#), 400, 6),
        (after_good(r#"{"event":"a","index":"other"}"#), 400, 7),
        (after_good(r#"{"time":1}"#), 400, 12),
        (after_good(r#"{"event":null}"#), 400, 13),
        (after_good(r#"{"event":""}"#), 400, 13),
        (after_good(r#"{"event":"a","fields":{"a":{}}}"#), 400, 15),
    ] {
        assert_eq!(code(request).await, (status, json!(number)));
    }
    let large = send(&bench, good.repeat(20)).send().await.unwrap();
    assert_eq!(large.status(), 413);
    assert_eq!(header(&large, "content-type").as_deref(), Some("text/html"));
    assert_eq!(bench.handle.hec().total(), 0);
}

#[tokio::test]
async fn a_scripted_code_takes_what_it_claims_to_have_taken() {
    let bench = Bench::new().await;
    let hec = bench.handle.hec();
    let body = event(1) + &event(2) + &event(3);
    for (answer, status, taken) in [
        (Answer::hec(0), 200, 3),
        (Answer::hec(4), 403, 0),
        (Answer::hec_at(6, 1), 400, 0),
        (Answer::hec(9), 503, 0),
        (Answer::hec_at(9, 2), 503, 2),
        (Answer::hec(24), 200, 3),
        (Answer::server_error(500), 500, 0),
        (Answer::html(413), 413, 0),
    ] {
        let before = hec.total();
        bench
            .handle
            .script(Fault::answer(Target::Hec, answer.clone()).once());
        let reply = send(&bench, body.clone()).send().await.unwrap();
        assert_eq!(reply.status(), status);
        assert_eq!(hec.total() - before, taken, "{answer:?}");
    }
    for number in 0..=27 {
        bench
            .handle
            .script(Fault::answer(Target::Hec, Answer::hec(number)).once());
        assert_eq!(code(send(&bench, body.clone())).await.1, number);
    }
}

#[tokio::test]
async fn a_reply_is_lost_after_the_events_were_taken_and_a_reset_comes_before() {
    let bench = Bench::new().await;
    for (action, taken) in [(Action::Reset, 0), (Action::LoseReply, 1)] {
        bench.handle.script(Fault::new(Target::Hec, action).once());
        assert!(send(&bench, event(1)).send().await.is_err());
        assert_eq!(bench.handle.hec().total(), taken);
    }
}

#[tokio::test]
async fn a_collector_that_keeps_counts_keeps_no_events() {
    let bench = Bench::with(Options {
        hec_keeps: Keep::Counts,
        ..Options::default()
    })
    .await;
    let url = bench.simulator.hec_url() + "/services/collector/health";
    assert_eq!(json_of(bench.get(&url).await).await["code"], 17);
    let unwell = Fault::answer(Target::HecHealth, Answer::hec(18)).once();
    bench.handle.script(unwell);
    assert_eq!(code(send(&bench, event(1))).await, (200, json!(0)));
    assert_eq!(bench.get(&url).await.status(), 503);
    let taken = |handle: &Handle| handle.hec().distinct() == 1;
    bench.handle.until(taken).await;
    assert!(bench.handle.hec().events().is_empty());
}
