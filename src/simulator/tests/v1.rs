//! API 1.0.

use std::io::{Cursor, Read as _};

use super::*;

fn ask(format: &str, compress: bool, token: Option<&str>) -> Value {
    let mut ask = json!({"type": "MTA", "fileFormat": format, "compress": compress});
    if let Some(token) = token {
        ask["token"] = token.into();
    }
    json!({"data": [ask]})
}

/// Reads the chain to its end; each file with its name.
async fn read_chain(bench: &Bench, format: &str, compress: bool) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let body = ask(format, compress, token.as_deref());
        let reply = bench.signed(SIEM, &body).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(
            header(&reply, "x-mc-req-id").unwrap(),
            "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0"
        );
        let kind = header(&reply, "content-type").unwrap();
        let next = header(&reply, "mc-siem-token");
        let disposition = header(&reply, "content-disposition").unwrap_or_default();
        let body = reply.bytes().await.unwrap();
        if kind == "application/json" {
            let end: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(end["meta"]["isLastToken"], true);
            assert_eq!(next, None);
            return files;
        }
        assert_ne!(next, token);
        token = next;
        if !compress {
            let name = disposition.split('"').nth(1).unwrap().to_owned();
            files.push((name, body.to_vec()));
            continue;
        }
        let mut archive = zip::ZipArchive::new(Cursor::new(body)).unwrap();
        for i in 0..archive.len() {
            let mut file = archive.by_index(i).unwrap();
            let mut contents = Vec::new();
            file.read_to_end(&mut contents).unwrap();
            files.push((file.name().unwrap().into_owned(), contents));
        }
    }
}

fn bodies_of(document: &[u8]) -> Vec<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Document<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        data: Vec<&'a serde_json::value::RawValue>,
    }
    let document: Document<'_> = serde_json::from_slice(document).unwrap();
    assert_eq!(document.r#type, "MTA");
    let records = document.data.iter();
    records.map(|record| record.get().into()).collect()
}

#[tokio::test]
async fn the_chain_gives_every_record_once_plain_or_zipped() {
    let bench = Bench::with(Options {
        files_per_page: 2,
        ..Options::default()
    })
    .await;
    bench.handle.publish("one", "siem", "receipt", 250).unwrap();
    bench.handle.publish("one", "siem", "", 25).unwrap();
    let mut published = bench.handle.published("one", "siem", "");
    assert_eq!(published.len(), 275);
    published.sort();
    for compress in [false, true] {
        let files = read_chain(&bench, "json", compress).await;
        assert_eq!(files.len(), 3 + 10);
        assert!(files[0].0.starts_with("receipt_20260106090807"));
        let read = files.iter().flat_map(|(_, document)| bodies_of(document));
        let mut read: Vec<_> = read.collect();
        read.sort();
        assert_eq!(read, published);
    }
    bench.assert_no_violations();
}

#[tokio::test]
async fn dirty_lines_arrive_as_they_were_published() {
    let bench = Bench::new().await;
    let mut publication = Publication::new("one", "siem", "process", 40);
    publication.dirt = vec![
        Dirt::Unicode,
        Dirt::Escapes,
        Dirt::Pipe,
        Dirt::NoTime,
        Dirt::Repeated,
        Dirt::InvalidUtf8,
        Dirt::BlankLine,
        Dirt::CrLf,
    ];
    bench.handle.publish_as(&publication).unwrap();
    let files = read_chain(&bench, "key_value", true).await;
    let read: Vec<_> = files.iter().flat_map(|(_, text)| lines(text)).collect();
    let published = bench
        .handle
        .published_in(Form::KeyValue, "one", "siem", "process");
    assert_eq!(read, published);
    assert_eq!(published[3], published[4]);
}

#[tokio::test]
async fn the_same_token_gives_the_same_zip_although_more_was_published() {
    let bench = Bench::new().await;
    let read = async || {
        let body = ask("json", true, None);
        let reply = bench.signed(SIEM, &body).send().await.unwrap();
        (
            header(&reply, "mc-siem-token"),
            reply.bytes().await.unwrap(),
        )
    };
    bench.handle.publish("one", "siem", "av", 5).unwrap();
    let first = read().await;
    bench.handle.publish("one", "siem", "av", 5).unwrap();
    assert_eq!(read().await, first);
}

#[tokio::test]
async fn requests_that_the_vendor_refuses_are_refused() {
    let bench = Bench::new().await;
    let good = ask("json", false, None);
    let siem = || bench.signed(SIEM, &good);
    let with = |name: &str, value: &str| {
        let mut request = siem().build().unwrap();
        let headers = request.headers_mut();
        headers.remove(name);
        let name = reqwest::header::HeaderName::try_from(name).unwrap();
        if !value.is_empty() {
            headers.insert(name, value.parse().unwrap());
        }
        request
    };
    let ask_of = |ask: Value| {
        let body = json!({"data": [ask]});
        bench.signed(SIEM, &body).build().unwrap()
    };
    let path = |path: &str| bench.signed(path, &good).build().unwrap();
    let get = bench
        .http
        .get(format!("{}{SIEM}", bench.simulator.api_url()));
    for (request, status, code, violation) in [
        (get.build().unwrap(), 405, "", true),
        (path(&format!("{SIEM}/")), 405, "", true),
        (path("/api/none"), 404, "err_not_found", true),
        (
            with("authorization", ""),
            401,
            "err_xdk_invalid_credentials",
            true,
        ),
        (
            with("authorization", "MC key"),
            401,
            "err_xdk_invalid_signature",
            true,
        ),
        (
            with("authorization", "MC other:CAROAjZH8DuSza+zAuO1I5ihCTk="),
            401,
            "err_xdk_invalid_signature",
            false,
        ),
        (
            with("x-mc-date", "2026-01-06T09:08:07Z"),
            401,
            "err_xdk_invalid_signature",
            true,
        ),
        (
            with("x-mc-date", "Tue, 06 Jan 2026 09:08:08 UTC"),
            401,
            "err_xdk_invalid_signature",
            false,
        ),
        (
            with("x-mc-req-id", "1"),
            401,
            "err_xdk_invalid_signature",
            true,
        ),
        (
            with("x-mc-app-id", "other"),
            401,
            "err_developer_key",
            false,
        ),
        (
            with("content-type", "text/plain"),
            400,
            "err_bad_request",
            true,
        ),
        (with("accept", "text/html"), 400, "err_bad_request", true),
        (
            ask_of(json!({"type": "mta"})),
            400,
            "validation_error",
            true,
        ),
        (
            ask_of(json!({"type": "MTA", "fileFormat": "csv"})),
            400,
            "validation_error",
            true,
        ),
        (
            ask_of(json!({"type": "MTA", "compress": 1})),
            400,
            "validation_error",
            true,
        ),
        (
            ask_of(json!({"type": "MTA", "tokens": ""})),
            400,
            "err_bad_request",
            true,
        ),
        (
            ask_of(json!({"type": "MTA", "token": "dG9r"})),
            200,
            "err_audit_siem_invalid_token",
            false,
        ),
    ] {
        let before = bench.handle.violations().len();
        let reply = bench.http.execute(request).await.unwrap();
        assert_eq!(reply.status(), status, "{code}");
        let text = reply.text().await.unwrap();
        if !code.is_empty() {
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["fail"][0]["errors"][0]["code"], code, "{text}");
        }
        let violations = bench.handle.violations();
        assert_eq!(
            violations.len() > before,
            violation,
            "{code} {violations:?}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_a_wrong_signature_but_does_not_lock() {
    let bench = Bench::with(Options {
        lock_out: Some(LockOut {
            after: 1,
            lasts: Duration::from_secs(1800),
        }),
        ..Options::default()
    })
    .await;
    let Key::V1 { secret_key, .. } = Account::v1("one").key else {
        panic!("the account is of API 1.0");
    };
    let body = ask("json", false, None);
    for (seconds, status) in [(901, 401), (900, 200)] {
        let early = NOW - Duration::from_secs(seconds);
        let reply = bench.signed_with(&secret_key, early, SIEM, &body).send();
        let reply = reply.await.unwrap();
        assert_eq!(
            header(&reply, "date").unwrap(),
            "Tue, 06 Jan 2026 09:08:07 GMT"
        );
        assert_eq!(reply.status(), status);
    }
}

#[tokio::test]
async fn wrong_keys_lock_an_account_until_the_time_is_over() {
    let bench = Bench::with(Options {
        lock_out: Some(LockOut {
            after: 3,
            lasts: Duration::from_secs(1800),
        }),
        ..Options::default()
    })
    .await;
    let body = ask("json", false, None);
    let code = async |request: RequestBuilder| {
        let reply = json_of(request.send().await.unwrap()).await;
        let message = reply["fail"][0]["errors"][0]["message"].as_str();
        message.unwrap_or("ok").chars().take(4).collect::<String>()
    };
    let wrong = || bench.signed_with("d3Jvbmc=", NOW, SIEM, &body);
    for _ in 0..3 {
        assert_eq!(code(wrong()).await, "0004");
    }
    assert_eq!(code(bench.signed(SIEM, &body)).await, "0010");
    bench.clock.advance(Duration::from_secs(1799));
    assert_eq!(code(bench.signed(SIEM, &body)).await, "0010");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(code(bench.signed(SIEM, &body)).await, "ok");
    bench.handle.replace_secret("one", "d3Jvbmc=");
    assert_eq!(code(bench.signed(SIEM, &body)).await, "0004");
    let now = bench.clock.wall();
    let right = bench.signed_with("d3Jvbmc=", now, SIEM, &body);
    assert_eq!(code(right).await, "ok");
    bench.assert_no_violations();
    let requests = bench.handle.requests();
    assert!(
        requests
            .iter()
            .all(|seen| seen.account.as_deref() == Some("one"))
    );
    assert!(requests.iter().all(|seen| seen.auth == AuthKind::Signed));
}

#[tokio::test]
async fn the_token_of_an_idle_chain_may_be_repeated() {
    let bench = Bench::with(Options {
        idle_token: IdleToken::Repeated,
        ..Options::default()
    })
    .await;
    bench.handle.publish("one", "siem", "jrnl", 1).unwrap();
    let body = ask("json", false, None);
    let file = bench.signed(SIEM, &body).send().await.unwrap();
    let token = header(&file, "mc-siem-token");
    let body = ask("json", false, token.as_deref());
    let idle = bench.signed(SIEM, &body).send().await.unwrap();
    assert_eq!(header(&idle, "mc-siem-token"), token);
    assert_eq!(bench.handle.requests()[1].cursor, token);
}
