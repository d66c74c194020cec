//! API 2.0, and the endpoints that both versions share.

use super::*;

fn audit(from: &str, to: &str, size: usize, token: Option<&Value>) -> Value {
    let mut pagination = json!({"pageSize": size});
    if let Some(token) = token {
        pagination["pageToken"] = token.clone();
    }
    json!({
        "meta": {"pagination": pagination},
        "data": [{"startDateTime": from, "endDateTime": to}],
    })
}

async fn post(bench: &Bench, token: &str, body: &Value) -> Response {
    let request = bench.bearer(Method::POST, AUDIT, token);
    let request = request.header("content-type", "application/json");
    request.body(body.to_string()).send().await.unwrap()
}

#[tokio::test]
async fn a_token_is_given_for_the_right_secret_and_expires() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let page = async |token: &str| {
        let reply = bench.list(token, &[("type", "receipt")]).await;
        assert!(header(&reply, "x-request-id").is_some());
        json_of(reply).await
    };
    assert_eq!(page(&token).await["isCaughtUp"], true);
    bench.clock.advance(Duration::from_secs(1799));
    assert_eq!(page(&token).await["fail"][0]["code"], "token_expired");
    let unknown = page("eyOther").await;
    assert_eq!(unknown["fail"][0]["code"], "token_verification_failed");

    let wrong = bench.token_request("wrong").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let wrong = json_of(wrong).await;
    assert_eq!(wrong["fail"][0]["code"], "InvalidClientIdentifier");
    bench.handle.replace_secret("two", "wrong");
    let right = bench.token_request("wrong").send().await.unwrap();
    assert_eq!(right.status(), 200);
    bench.assert_no_violations();

    let url = format!("{}/oauth/token", bench.simulator.api_url());
    let basic = bench
        .http
        .post(&url)
        .form(&[("grant_type", "client_credentials")]);
    let basic = basic.basic_auth("client-id-of-two", Some("wrong"));
    assert_eq!(basic.send().await.unwrap().status(), 200);
    assert_eq!(bench.get(&url).await.status(), 405);
    let json = bench.http.post(&url).body("{}");
    assert_eq!(json.send().await.unwrap().status(), 400);
    assert_eq!(bench.handle.violations().len(), 2);
}

#[tokio::test]
async fn pages_of_links_lead_to_every_record_of_one_type() {
    let bench = Bench::with(Options {
        records_per_file: 10,
        files_per_page: 2,
        ..Options::default()
    })
    .await;
    let mut publication = Publication::new("two", "siem-cg", "url protect", 45);
    publication.dirt = vec![Dirt::BlankLine, Dirt::CrLf, Dirt::InvalidUtf8];
    bench.handle.publish_as(&publication).unwrap();
    bench.handle.publish("two", "siem-cg", "spam", 5).unwrap();
    let token = bench.token().await;
    let mut cursor = None::<String>;
    let mut read = Vec::new();
    let mut pages = Vec::new();
    loop {
        let mut query = vec![("type", "url protect"), ("pageSize", "100")];
        query.extend(cursor.as_deref().map(|cursor| ("nextPage", cursor)));
        let page = json_of(bench.list(&token, &query).await).await;
        cursor = page["@nextPage"].as_str().map(str::to_owned);
        let links = page["value"].as_array().unwrap();
        pages.push(links.len());
        for link in links {
            let file = bench.get(link["url"].as_str().unwrap()).await;
            let file = file.bytes().await.unwrap();
            assert_eq!(link["size"], file.len());
            assert_eq!(link["expiry"], "2026-01-06T10:08:07.000Z");
            read.extend(lines(&gunzip(&file).unwrap()));
        }
        if page["isCaughtUp"] == true {
            break;
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    assert_eq!(
        read,
        bench.handle.published("two", "siem-cg", "url protect")
    );
    bench
        .handle
        .publish("two", "siem-cg", "url protect", 1)
        .unwrap();
    let cursor = cursor.unwrap();
    let query = [("type", "url protect"), ("nextPage", cursor.as_str())];
    let page = json_of(bench.list(&token, &query).await).await;
    assert_eq!(page["value"].as_array().unwrap().len(), 1);
    bench.assert_no_violations();
}

#[tokio::test]
async fn lists_with_wrong_parameters_are_refused() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let page = json_of(bench.list(&token, &[("type", "spam")]).await).await;
    let spam = page["@nextPage"].as_str().unwrap();
    for (query, violation) in [
        (vec![("pageSize", "10")], true),
        (vec![("type", "receipt,process")], true),
        (vec![("types", "receipt")], true),
        (vec![("type", "receipt"), ("pageSize", "0")], true),
        (vec![("type", "receipt"), ("pageSize", "101")], true),
        (
            vec![("type", "receipt"), ("dateRangeStartsAt", "2026-1-6")],
            true,
        ),
        (
            vec![("type", "receipt"), ("dateRangeStartsAt", "2025-12-01")],
            true,
        ),
        (
            vec![
                ("type", "receipt"),
                ("dateRangeStartsAt", "2026-01-06"),
                ("dateRangeEndsAt", "2026-01-05"),
            ],
            true,
        ),
        (vec![("type", "receipt"), ("nextPage", spam)], true),
        (vec![("type", "receipt"), ("nextPage", "MTpudWxs")], false),
    ] {
        let before = bench.handle.violations().len();
        let reply = bench.list(&token, &query).await;
        assert_eq!(reply.status(), 400, "{query:?}");
        let empty = reply.bytes().await.unwrap().is_empty();
        assert_eq!(empty, query.iter().any(|(name, _)| *name == "nextPage"));
        let violated = bench.handle.violations().len() > before;
        assert_eq!(violated, violation, "{query:?}");
    }
}

#[tokio::test]
async fn a_range_of_days_leaves_out_older_files() {
    let bench = Bench::new().await;
    bench.handle.publish("two", "siem-cg", "av", 1).unwrap();
    bench.clock.advance(Duration::from_secs(86_400));
    bench.handle.publish("two", "siem-cg", "av", 1).unwrap();
    let token = bench.token().await;
    for (day, files) in [("2026-01-06", 2), ("2026-01-07", 1)] {
        let query = [("type", "av"), ("dateRangeStartsAt", day)];
        let page = json_of(bench.list(&token, &query).await).await;
        assert_eq!(page["value"].as_array().unwrap().len(), files);
    }
}

#[tokio::test]
async fn the_object_store_wants_a_fresh_link_and_nothing_else() {
    let bench = Bench::new().await;
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 3)
        .unwrap();
    let token = bench.token().await;
    let link = async || {
        let page = json_of(bench.list(&token, &[("type", "receipt")]).await).await;
        page["value"][0]["url"].as_str().unwrap().to_owned()
    };
    let url = link().await;
    assert_eq!(bench.get(&url).await.status(), 200);

    let leaked = bench.http.get(&url).bearer_auth(&token).send().await;
    assert_eq!(leaked.unwrap().status(), 400);
    let changed = bench.get(&url.replace("Expires=", "Expires=1")).await;
    assert_eq!(changed.status(), 403);
    assert_eq!(bench.handle.violations().len(), 2);

    let expired = |reply: Response| async move {
        assert_eq!(reply.status(), 403);
        let text = reply.text().await.unwrap();
        assert!(
            text.contains("<Message>Request has expired</Message>"),
            "{text}"
        );
    };
    bench.handle.expire_links();
    expired(bench.get(&url).await).await;
    bench.clock.advance(Duration::from_secs(1));
    let url = link().await;
    assert_eq!(bench.get(&url).await.status(), 200);
    bench.clock.advance(Duration::from_secs(3600));
    expired(bench.get(&url).await).await;
    assert_eq!(bench.handle.violations().len(), 2);
    let requests = bench.handle.requests();
    let download = requests.last().unwrap();
    assert_eq!(download.service, Service::Objects);
    assert_eq!(download.account.as_deref(), Some("two"));
    assert_eq!(download.cursor.as_deref(), Some(download.path.as_str()));
}

#[tokio::test]
async fn audit_events_are_listed_newest_first_with_both_ends_of_the_span() {
    let bench = Bench::new().await;
    let mut publication = Publication::new("two", "audit", "", 10);
    publication.spread = Duration::from_secs(10);
    bench.handle.publish_as(&publication).unwrap();
    let token = bench.token().await;
    let body = audit("2026-01-06T09:08:00+0000", "2026-01-06T09:08:05Z", 4, None);
    let first = json_of(post(&bench, &token, &body).await).await;
    // What comes in between does not move the pages.
    bench.handle.publish("two", "audit", "", 3).unwrap();
    let next = &first["meta"]["pagination"]["next"];
    let body = audit(
        "2026-01-06T09:08:00+0000",
        "2026-01-06T09:08:05Z",
        4,
        Some(next),
    );
    let last = json_of(post(&bench, &token, &body).await).await;
    assert!(last["meta"]["pagination"].get("next").is_none());
    let pages = [&first["data"], &last["data"]].map(|page| page.as_array().unwrap());
    let times: Vec<_> = pages
        .into_iter()
        .flatten()
        .map(|record| record["eventTime"].as_str().unwrap())
        .collect();
    let expected = (0..=5).rev();
    let expected = expected.map(|second| format!("2026-01-06T09:08:0{second}+0000"));
    assert_eq!(times, expected.collect::<Vec<_>>());
    bench.assert_no_violations();
}

#[tokio::test]
async fn audit_requests_are_checked_alike_in_both_versions() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let (from, to) = ("2026-01-06T09:00:00+0000", "2026-01-06T10:00:00+0000");
    for (body, code, field) in [
        (
            json!({"data": [{}]}),
            "err_validation_null",
            "startDateTime",
        ),
        (
            json!({"data": [{"startDateTime": from}]}),
            "err_validation_null",
            "endDateTime",
        ),
        (
            audit("2026-01-06 09:00:00", to, 1, None),
            "validation_error",
            "startDateTime",
        ),
        (
            audit("2026-01-06T09:00:00.000Z", to, 1, None),
            "validation_error",
            "startDateTime",
        ),
        (audit(to, from, 1, None), "validation_error", "endDateTime"),
        (audit(from, to, 0, None), "validation_error", "pageSize"),
        (audit(from, to, 501, None), "validation_error", "pageSize"),
        (
            audit(from, to, 1, Some(&json!("b3Ro"))),
            "validation_error",
            "pageToken",
        ),
    ] {
        let new = post(&bench, &token, &body).await;
        let old = bench.signed(AUDIT, &body).send().await.unwrap();
        for reply in [new, old] {
            assert_eq!(reply.status(), 400);
            let reply = json_of(reply).await;
            let error = &reply["fail"][0]["errors"][0];
            assert_eq!(error["code"], code, "{reply}");
            assert_eq!(error["field"], field, "{reply}");
        }
    }
    let both = json_of(post(&bench, &token, &json!({"data": [{}]})).await).await;
    assert_eq!(both["fail"][0]["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_quota_is_told_and_kept_for_each_account_and_path() {
    let bench = Bench::with(Options {
        rate_limits: vec![RateLimit {
            path: None,
            calls: 2,
            window: Duration::from_secs(60),
        }],
        ..Options::default()
    })
    .await;
    let token = bench.token().await;
    let ask = async || bench.list(&token, &[("type", "av")]).await;
    let told = ask().await;
    assert_eq!(header(&told, "x-ratelimit-limit").as_deref(), Some("2"));
    assert_eq!(header(&told, "x-ratelimit-remaining").as_deref(), Some("1"));
    bench.clock.advance(Duration::from_secs(20));
    ask().await;
    let refused = ask().await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        header(&refused, "x-ratelimit-reset").as_deref(),
        Some("40000")
    );
    assert_eq!(json_of(refused).await["error"]["code"], "too_many_requests");
    bench.clock.advance(Duration::from_secs(40));
    assert_eq!(ask().await.status(), 200);
}
