//! The script.

use super::*;

async fn bench_with_a_file() -> (Bench, String) {
    let bench = Bench::new().await;
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 50)
        .unwrap();
    let token = bench.token().await;
    let page = json_of(bench.list(&token, &[("type", "receipt")]).await).await;
    let url = page["value"][0]["url"].as_str().unwrap().to_owned();
    (bench, url)
}

#[tokio::test]
async fn every_row_of_the_table_is_answered_in_the_form_of_the_version() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    for row in ARTICLES {
        let answer = Answer::article(row.status, row.code);
        let fault = Fault::answer(Target::Api, answer).times(2);
        bench.handle.script(fault);
        let old = bench.signed(AUDIT, &json!({})).send().await.unwrap();
        let new = bench.list(&token, &[("type", "av")]).await;
        assert_eq!(old.status(), row.status);
        assert_eq!(new.status(), row.status);
        let old = json_of(old).await;
        assert_eq!(old["meta"]["status"], row.status);
        let number = row.code.chars().all(|c| c.is_ascii_digit());
        let message = old["fail"][0]["errors"][0]["message"].as_str().unwrap();
        assert_eq!(message.starts_with(row.code), number, "{old}");
        let new = json_of(new).await;
        let forms = ["/error/0/code", "/error/code", "/fail/0/code"];
        assert!(
            forms.iter().any(|form| new.pointer(form).is_some()),
            "{new}"
        );
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back_in_each_of_its_ways() {
    let bench = Bench::new().await;
    let wait = Duration::from_secs(90);
    for (after, name, value) in [
        (After::Seconds(wait), "retry-after", Some("90")),
        (
            After::Date(wait),
            "retry-after",
            Some("Tue, 06 Jan 2026 09:09:37 GMT"),
        ),
        (After::ResetMillis(wait), "x-ratelimit-reset", Some("90000")),
        (After::Unsaid, "retry-after", None),
    ] {
        let answer = Answer::rate_limited(after);
        bench
            .handle
            .script(Fault::answer(Target::path(SIEM), answer).once());
        let reply = bench.signed(SIEM, &json!({})).send().await.unwrap();
        assert_eq!(reply.status(), 429);
        assert_eq!(header(&reply, name).as_deref(), value);
    }
}

#[tokio::test]
async fn answers_that_are_not_the_vendors_are_given_as_they_are() {
    let bench = Bench::new().await;
    for (answer, status, body) in [
        (
            Answer::html(502),
            502,
            "<html><body><h1>502</h1></body></html>",
        ),
        (Answer::empty(503), 503, ""),
        (Answer::raw(429, "text/plain", "busy"), 429, "busy"),
    ] {
        let id = bench.handle.answer(Target::Token, answer);
        let reply = bench.token_request("any").send().await.unwrap();
        bench.handle.clear(id);
        assert_eq!(reply.status(), status);
        assert_eq!(reply.text().await.unwrap(), body);
    }
    let answer = Answer::ok_with_fail("err_audit_siem_invalid_token", "no");
    bench.handle.answer(Target::Api, answer);
    let reply = bench.signed(SIEM, &json!({})).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(json_of(reply).await["meta"]["status"], 200);
}

#[tokio::test]
async fn a_connection_can_be_reset_before_and_after_the_request_was_served() {
    let bench = Bench::new().await;
    bench
        .handle
        .script(Fault::new(Target::Token, Action::Reset).once());
    let request = || bench.token_request("client-secret-of-two").send();
    assert!(request().await.is_err());
    bench
        .handle
        .script(Fault::new(Target::Token, Action::LoseReply).once());
    assert!(request().await.is_err());
    assert_eq!(request().await.unwrap().status(), 200);
    let seen: Vec<_> = bench
        .handle
        .requests()
        .iter()
        .map(|seen| (seen.fault, seen.status))
        .collect();
    let served = [
        (Some("reset"), None),
        (Some("lose-reply"), Some(200)),
        (None, Some(200)),
    ];
    assert_eq!(seen, served);
}

#[tokio::test]
async fn a_body_can_break_off_come_slowly_or_be_cut() {
    let (bench, url) = bench_with_a_file().await;
    let whole = bench.get(&url).await.bytes().await.unwrap();

    let fault = Action::ResetMidBody { after: 100 };
    bench
        .handle
        .script(Fault::new(Target::Objects, fault).once());
    let mut reply = bench.get(&url).await;
    assert_eq!(reply.content_length(), Some(whole.len() as u64));
    let mut got = Vec::new();
    while let Ok(chunk) = reply.chunk().await {
        got.extend(chunk.expect("a broken body does not end"));
    }
    assert_eq!(got, whole[..100]);

    let fault = Action::Slow {
        bytes: 200,
        pause: Duration::from_millis(1),
    };
    bench
        .handle
        .script(Fault::new(Target::Objects, fault).once());
    assert_eq!(bench.get(&url).await.bytes().await.unwrap(), whole);

    bench
        .handle
        .script(Fault::new(Target::Objects, Action::Truncate).once());
    let half = bench.get(&url).await.bytes().await.unwrap();
    assert_eq!(half, whole[..whole.len() / 2]);
    assert!(gunzip(&half).is_err());
}

#[tokio::test]
async fn a_request_can_be_left_without_an_answer() {
    let (bench, url) = bench_with_a_file().await;
    bench
        .handle
        .script(Fault::new(Target::Objects, Action::Stall(None)).once());
    let stalled = |handle: &Handle| {
        let requests = handle.requests();
        requests.iter().any(|seen| seen.fault == Some("stall"))
    };
    tokio::select! {
        _ = bench.get(&url) => panic!("nothing is answered"),
        () = bench.handle.until(stalled) => {}
    }
    let soon = Action::Stall(Some(Duration::from_millis(1)));
    bench
        .handle
        .script(Fault::new(Target::Objects, soon).once());
    assert_eq!(bench.get(&url).await.status(), 200);
}

#[tokio::test]
async fn lists_can_have_expired_or_repeated_links_and_dates_be_wrong() {
    let (bench, url) = bench_with_a_file().await;
    let token = bench.token().await;
    let list = async |action: Action| {
        bench
            .handle
            .script(Fault::new(Target::Api, action).of("two").once());
        bench.list(&token, &[("type", "receipt")]).await
    };
    let page = json_of(list(Action::ExpiredLinks).await).await;
    let expired = page["value"][0]["url"].as_str().unwrap();
    assert_eq!(bench.get(expired).await.status(), 403);
    assert_eq!(bench.get(&url).await.status(), 200);
    let page = json_of(list(Action::RepeatedLinks).await).await;
    assert_eq!(page["value"][0], page["value"][1]);
    let wrong = list(Action::WrongDate {
        ahead_ms: -3_600_000,
    })
    .await;
    assert_eq!(
        header(&wrong, "date").unwrap(),
        "Tue, 06 Jan 2026 08:08:07 GMT"
    );
    bench.assert_no_violations();
}
