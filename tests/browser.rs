//! The status page in Chromium, and the metrics in Prometheus, as Debian has them; `.ci/run` installs both.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which Clippy's exemption for tests does not reach"
)]

#[path = "browser/driver.rs"]
mod driver;
#[expect(
    dead_code,
    reason = "shared with the tests of the whole program, which use all of it"
)]
#[path = "it/program/harness.rs"]
mod harness;
#[path = "browser/prometheus.rs"]
mod prometheus;
#[expect(
    dead_code,
    reason = "shared with the tests of clusters, which use all of it"
)]
#[path = "it/registry/servers.rs"]
mod servers;

use std::time::Duration;

#[cfg(feature = "full-tests")]
use mimecast_collector::simulator::Options;
use mimecast_collector::simulator::{Account, Answer, Fault, Target};
use serde_json::json;

use driver::Browser;
use harness::{Bench, Program, folder, within};
use servers::Servers;

/// From what happens to its being seen.
const SOON: Duration = Duration::from_secs(5);

const HOSTILE: &str = "<img src=x onerror=document.title='owned'><script>alert(1)</script>";

/// A running collector with a page, and its address.
async fn collector(bench: &Bench, scale: u32) -> (Program, String) {
    let accounts = [Account::v1("one"), Account::v2("two")];
    let integrations = accounts.map(|account| {
        let logs = "[\"audit\", \"ttp-url\", \"dlp\"]";
        let quota = "[integration.log.audit]\nquota = \"5000/15m\"\n";
        bench.integration(&account, logs) + quota
    });
    bench.configure(&integrations, "[status]\nlisten = \"127.0.0.1:0\"\n");
    let collector = bench.run(scale);
    let line = collector.logged(&["the status page is served"]).await;
    let (_, url) = line.split_once("url=").unwrap();
    let url = url.trim().trim_matches('"').to_owned();
    collector.logged(&["INFO", "running"]).await;
    (collector, url)
}

#[tokio::test]
async fn the_page_shows_what_happens_within_seconds_and_asks_nobody_else() {
    let bench = Bench::new().await;
    bench.handle.publish("one", "audit", "", 40).unwrap();
    bench.handle.publish("two", "audit", "", 40).unwrap();
    let (collector, url) = collector(&bench, 60).await;
    bench.until_all_arrived().await;
    let browser = Browser::start(bench.folder.path()).await;
    browser.look(1280, 1500, "light").await;
    browser.open(&url).await;
    browser
        .until(
            "a sentence that all is well",
            "level() === 'ok' && text('#sentence').startsWith('No data is at risk')",
        )
        .await;

    // What is counted, and what may still be asked.
    browser
        .until("the ledger", "text('#balance') === 'The ledger balances'")
        .await;
    browser
        .until(
            "its sums",
            "/Stored80/.test(text('#totals')) && /^splunk(8|9)[0-9]/.test(text('#at-outputs tbody'))",
        )
        .await;
    browser
        .run("document.querySelectorAll('#list summary, #outputs summary').forEach((node) => node.click())")
        .await;
    browser
        .until(
            "the last request's id",
            "[...document.querySelectorAll('#list td.mono')].some((cell) => /^[0-9a-f-]{36}$/.test(cell.textContent))",
        )
        .await;
    browser
        .until(
            "calls left",
            "/\\d of 5.000 in 15 min/.test(text('#list .rates'))",
        )
        .await;
    browser
        .until(
            "time left",
            "/audit.*[1-9]\\d* d/.test(text('#list tbody tr'))",
        )
        .await;
    browser
        .until(
            "an output's facts",
            "text('#outputs .inside').includes('Dead letters0')",
        )
        .await;
    browser
        .until(
            "an output's plots",
            "[...document.querySelectorAll('#outputs .line')].filter((line) => line.getAttribute('d').includes('L')).length === 3",
        )
        .await;
    browser
        .run("document.querySelectorAll('#list summary, #outputs summary').forEach((node) => node.click())")
        .await;

    // A lock-out.
    bench.handle.script(
        Fault::answer(Target::Api, Answer::lock_out())
            .of("one")
            .once(),
    );
    bench
        .until("the lock-out to be met", |h| {
            h.requests().iter().any(|r| r.status == Some(401))
        })
        .await;
    browser
        .within(
            SOON,
            "the lock-out",
            "level() === 'attention' && text('#list').includes('401/0010')",
        )
        .await;
    browser
        .until("what to do", "text('#list').includes('What to do:')")
        .await;
    browser
        .until("the change", "text('#changes').includes('401/0010')")
        .await;
    let before = browser.text("#list .next").await;
    assert!(before.starts_with("Next attempt in "), "{before}");
    let moved = format!("text('#list .next') !== {}", json!(before));
    browser
        .within(SOON, "a countdown that counts", &moved)
        .await;

    // Keys that have expired.
    bench
        .handle
        .script(Fault::answer(Target::Api, Answer::expired_key()).of("two"));
    bench
        .until("the 418 to be met", |h| {
            h.requests().iter().any(|r| r.status == Some(418))
        })
        .await;
    browser
        .within(SOON, "the 418", "text('#list').includes('418/0001')")
        .await;

    // A receiver that is down and whose answer is hostile.
    bench.handle.clear_faults();
    let answer = json!({ "text": HOSTILE, "code": 9 }).to_string();
    bench.handle.script(Fault::answer(
        Target::Hec,
        Answer::raw(503, "application/json", &answer),
    ));
    bench.handle.publish("one", "audit", "", 10).unwrap();
    let resumed = bench.ended(&["resume", "one"]).await;
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    bench
        .until("the outage to be met", |h| {
            h.requests().iter().any(|r| r.status == Some(503))
        })
        .await;
    let shown = format!(
        "text('#outputs').includes({}) && text('#outputs').includes('Next attempt')",
        json!(HOSTILE)
    );
    browser
        .within(SOON, "the outage, in the receiver's words", &shown)
        .await;
    browser
        .within(SOON, "a backlog", "/Waiting[1-9]/.test(text('#outputs'))")
        .await;
    assert_no_markup(&browser).await;
    for (name, width, height, scheme) in [
        ("light", 1280, 1150, "light"),
        ("dark", 1280, 1150, "dark"),
        ("narrow", 390, 2200, "light"),
    ] {
        browser.look(width, height, scheme).await;
        let overflow =
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(
            browser.run(overflow).await,
            0,
            "{name} is wider than its window"
        );
        browser.screenshot(name).await;
    }

    // All is mended.
    bench.handle.clear_faults();
    for name in ["two", "splunk"] {
        let resumed = bench.ended(&["resume", name]).await;
        assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    }
    bench.until_all_arrived().await;
    browser
        .within(
            SOON,
            "the recovery",
            "level() === 'ok' && text('#changes').includes('recovered from 418/0001')",
        )
        .await;
    // Events that the receiver refuses for good, in hostile words.
    let answer = json!({ "text": HOSTILE, "code": 6, "invalid-event-number": 0 }).to_string();
    bench
        .handle
        .script(Fault::answer(Target::Hec, Answer::raw(400, "application/json", &answer)).once());
    bench.handle.publish("one", "audit", "", 1).unwrap();
    let shown = format!(
        "text('#letters tbody').includes({}) && text('#letters-count').startsWith('1 dead letter')",
        json!(HOSTILE)
    );
    // An earlier request had 400 too: the question whether the token has acknowledgement.
    collector
        .logged(&["the receiver refused an event", "hec/6"])
        .await;
    browser.within(SOON, "the dead letter", &shown).await;
    assert_no_markup(&browser).await;
    let sent = bench.ended(&["dead-letters", "resend", "1"]).await;
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    browser
        .within(
            SOON,
            "that it was sent again",
            "text('#letters tbody').includes('sent again')",
        )
        .await;
    bench.until_all_arrived().await;
    browser.until("the plots", "[...document.querySelectorAll('#day .line')].every((line) => line.getAttribute('d').includes('L'))").await;
    browser
        .run("document.querySelector('#list summary').click()")
        .await;
    browser
        .until(
            "the log types",
            "document.querySelectorAll('#list details[open] .scroll:first-child tbody tr').length === 3",
        )
        .await;

    // Without a mouse: to an output, into it, to its plot, from minute to minute.
    browser
        .run("document.querySelectorAll('details[open] > summary').forEach((node) => node.click())")
        .await;
    let here = "document.activeElement";
    tab_to(&browser, &format!("{here}.matches('#outputs summary')")).await;
    browser.press("Enter", 13).await;
    let opened = "document.querySelectorAll('#outputs details[open] .line').length === 3";
    browser
        .within(SOON, "the output opened by a key", opened)
        .await;
    tab_to(&browser, &format!("{here}.matches('#outputs svg')")).await;
    browser.press("ArrowLeft", 37).await;
    let said = format!("{here}.parentElement.textContent.includes('UTC: ')");
    browser
        .within(SOON, "a minute of the plot by a key", &said)
        .await;

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    // The browser's own first page comes out of the browser.
    let own = [&url, "chrome://", "data:"];
    let foreign = |asked: &String| !own.iter().any(|own| asked.starts_with(own));
    let foreign: Vec<_> = browser
        .requests()
        .await
        .into_iter()
        .filter(foreign)
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
    browser.stop().await;
    collector.stop().await;
}

/// Goes on by the tabulator key until the focus is where `there` says.
async fn tab_to(browser: &Browser, there: &str) {
    for _ in 0..40 {
        if browser.run(&format!("return {there}")).await == true {
            return;
        }
        browser.press("Tab", 9).await;
    }
    panic!("the tabulator key does not lead to where {there}");
}

/// That nothing hostile has become anything but text.
async fn assert_no_markup(browser: &Browser) {
    assert_eq!(browser.run("return document.images.length").await, 0);
    let scripts =
        "return document.scripts.length === document.head.querySelectorAll('script[src]').length";
    assert_eq!(browser.run(scripts).await, true);
    assert_ne!(browser.run("return document.title").await, "owned");
}

#[tokio::test]
async fn a_page_that_nobody_answers_says_that_it_does_not_know() {
    let bench = Bench::new().await;
    let (collector, url) = collector(&bench, 60).await;
    let browser = Browser::start(bench.folder.path()).await;
    browser.open(&url).await;
    browser.until("an answer", "level() === 'ok'").await;
    collector.kill_9();
    browser
        .until(
            "the doubt",
            "level() === 'unknown' && text('#word') === 'That is not known.'",
        )
        .await;
    browser.stop().await;
}

#[tokio::test]
async fn a_node_of_a_cluster_shows_its_share_and_when_etcd_fails() {
    let mut servers = Servers::start(1, folder()).await;
    let bench = Bench::new().await;
    let url = &servers.urls()[0];
    let cluster = format!("[cluster]\nnode = \"a\"\nendpoints = [\"{url}\"]\nlease = \"5s\"\n");
    bench.write("conf.d/cluster.toml", &cluster);
    bench.handle.publish("one", "audit", "", 1).unwrap();
    let (collector, url) = collector(&bench, 60).await;
    bench.until_all_arrived().await;
    let browser = Browser::start(bench.folder.path()).await;
    browser.look(1280, 1500, "light").await;
    browser.open(&url).await;
    let well = "/^a: its lease is sure for \\d s$/.test(text('#standing')) && /^athere.*2$/.test(text('#nodes tbody'))";
    browser.until("its share", well).await;
    servers.kill_9(0);
    let stopped = "level() === 'attention' && text('#standing').startsWith('a: has no lease') && text('#cluster-lines').includes('etcd, for ')";
    browser.until("that it has stopped", stopped).await;
    servers.restart(0);
    browser.until("its share again", well).await;
    browser.stop().await;
    collector.stop().await;
}

#[tokio::test]
async fn prometheus_scrapes_the_metrics_and_evaluates_the_rules() {
    let bench = Bench::new().await;
    bench.handle.publish("one", "audit", "", 40).unwrap();
    let (collector, url) = collector(&bench, 60).await;
    bench.until_all_arrived().await;
    within(
        "Prometheus to agree",
        prometheus::agrees(&url, bench.folder.path()),
    )
    .await;
    collector.stop().await;
}

/// A day in 72 s, as the plots show it. The pictures are those of README.md.
#[cfg(feature = "full-tests")]
#[tokio::test]
async fn a_day_with_its_troubles_is_drawn_from_end_to_end() {
    let bench = Bench::new().await;
    let (collector, url) = collector(&bench, 1_200).await;
    let busy = || bench.handle.answer(Target::Hec, Answer::hec(9));
    let mut outage = None;
    for moment in 0..150_usize {
        // More by day than by night.
        let by_day = 20 + 18 * (moment % 75) * (75 - moment % 75) / (38 * 37);
        for account in ["one", "two"] {
            bench
                .handle
                .publish(account, "audit", "", by_day + moment * 7 % 5)
                .unwrap();
        }
        match moment {
            40 => outage = Some(busy()),
            60 => bench.handle.clear(outage.unwrap()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let lock_out = Fault::answer(Target::Api, Answer::lock_out()).of("one");
    bench.handle.script(lock_out);
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("two");
    bench.handle.script(expired);
    busy();
    let browser = Browser::start(bench.folder.path()).await;
    browser.look(1280, 1400, "light").await;
    browser.open(&url).await;
    browser
        .until(
            "all troubles",
            "text('#list').includes('401/0010') && text('#list').includes('418/0001') && text('#outputs').includes('hec/9')",
        )
        .await;
    // From the left edge of the plot to its right one: as many minutes as a day has, save those before the first poll.
    browser
        .until(
            "a day in each plot",
            "[...document.querySelectorAll('#day .line')].every((line) => line.getBBox().width > 1400)",
        )
        .await;
    browser.screenshot("status-light").await;
    browser.look(1280, 1400, "dark").await;
    browser.screenshot("status-dark").await;
    browser
        .run("document.querySelectorAll('#list summary, #outputs summary').forEach((node) => node.click())")
        .await;
    browser
        .until(
            "what is inside",
            "document.querySelectorAll('#outputs .line').length === 3",
        )
        .await;
    browser
        .until(
            "a day of the output",
            "[...document.querySelectorAll('#outputs .line')].every((line) => line.getBBox().width > 1400)",
        )
        .await;
    for (name, width, scheme) in [("whole", 1280, "light"), ("whole-narrow", 390, "dark")] {
        browser.look(width, 4_000, scheme).await;
        browser.screenshot(name).await;
    }
    browser.stop().await;
    collector.stop().await;
}

/// How long an answer takes, in milliseconds: the shortest, the median and the longest of some. The shortest says what this program
/// needs, the others what else the machine has to do.
#[cfg(feature = "full-tests")]
#[expect(
    clippy::print_stdout,
    reason = "the figures are what `.ci/full` is read for"
)]
async fn times(url: &str) -> [u128; 3] {
    use mimecast_collector::clock::Clock;
    use mimecast_collector::http::{Connection, Purpose, client};
    let clock = Clock::system();
    let client = client(&Connection::default(), Purpose::Objects).unwrap();
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..41 {
        let began = clock.monotonic();
        let answer = client.get(url).send().await.unwrap();
        bytes = answer.bytes().await.unwrap().len();
        times.push((clock.monotonic() - began).as_millis());
    }
    times.sort_unstable();
    let figures = [times[0], times[20], times[40]];
    println!("{url}: {bytes} bytes, shortest, median and longest in ms {figures:?}");
    figures
}

#[cfg(feature = "full-tests")]
#[tokio::test]
async fn a_thousand_integrations_are_answered_within_200_ms_and_found_by_name_page_and_trouble() {
    const ALL: usize = 1_000;
    let accounts: Vec<_> = (0..ALL)
        .map(|n| Account::v2(&format!("tenant-{n:04}")))
        .collect();
    let bench = Bench::with(Options {
        accounts: accounts.clone(),
        ..Options::default()
    })
    .await;
    let integration = |account| bench.integration(account, "[\"siem-cg\", \"audit\"]");
    let integrations: Vec<_> = accounts.iter().map(integration).collect();
    bench.configure(&integrations, "[status]\nlisten = \"127.0.0.1:0\"\n");
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("tenant-0777");
    bench.handle.script(expired);
    let collector = bench.run(1);
    let line = collector.logged(&["the status page is served"]).await;
    let (_, url) = line.split_once("url=").unwrap();
    let url = url.trim().trim_matches('"').to_owned();
    collector.logged(&["INFO", "running"]).await;
    let all_asked = |handle: &mimecast_collector::simulator::Handle| {
        let paths = handle.requests();
        paths.iter().filter(|r| r.status == Some(200)).count() >= 10 * ALL
    };
    bench.handle.until(all_asked).await;

    for part in [
        "",
        "metrics",
        "api/v1/status?order=troubled&from=0&count=25",
    ] {
        let [shortest, ..] = times(&format!("{url}{part}")).await;
        assert!(shortest <= 200, "/{part} takes {shortest} ms");
    }
    times(&format!("{url}api/v1/status")).await;

    let browser = Browser::start(bench.folder.path()).await;
    browser.look(1280, 1500, "light").await;
    browser.open(&url).await;
    let first = "document.querySelector('#list .name span').textContent";
    let shown = "document.querySelectorAll('#list > .item').length";
    browser
        .until(
            "the first page, trouble first",
            &format!(
                "{shown} === 25 && text('#at') === 'Page 1 of 40' && {first} === 'tenant-0777'"
            ),
        )
        .await;
    browser.screenshot("thousand").await;
    browser
        .run("document.getElementById('forth').click()")
        .await;
    browser
        .within(
            SOON,
            "the second page",
            &format!(
                "{shown} === 25 && text('#at') === 'Page 2 of 40' && {first} === 'tenant-0024'"
            ),
        )
        .await;
    let filter = "const field = document.getElementById('filter'); field.value = 'TENANT-050'; field.dispatchEvent(new Event('input'));";
    browser.run(filter).await;
    browser
        .within(SOON, "what the filter leaves", &format!("{shown} === 10 && {first} === 'tenant-0500' && text('#count').startsWith('10 integrations of')"))
        .await;
    browser.stop().await;
    collector.stop().await;
}

#[cfg(feature = "full-tests")]
#[tokio::test]
async fn axe_finds_nothing_serious_in_either_theme_and_on_a_phone() {
    let bench = Bench::new().await;
    let (collector, url) = collector(&bench, 60).await;
    let refused = Fault::answer(Target::Hec, Answer::hec(6)).once();
    bench.handle.script(refused);
    bench.handle.publish("one", "audit", "", 1).unwrap();
    let expired = Fault::answer(Target::Api, Answer::expired_key()).of("two");
    bench.handle.script(expired);
    let browser = Browser::start(bench.folder.path()).await;
    browser.look(1280, 1500, "light").await;
    browser.open(&url).await;
    browser
        .until("a dead letter", "text('#letters tbody').includes('hec/6')")
        .await;
    browser
        .until("a trouble", "text('#list').includes('418/0001')")
        .await;
    let open = "document.querySelectorAll('#list details, #outputs details').forEach((node) => { node.open = true; })";
    browser.run(open).await;
    browser
        .until(
            "the log types",
            "document.querySelectorAll('#list .scroll:first-child tbody tr').length === 6",
        )
        .await;
    // Put there by `.ci/full`.
    let folder =
        std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/axe/node_modules");
    let axe = std::fs::read_to_string(folder.join("axe-core/axe.min.js")).unwrap();
    browser.run(&axe).await;
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light")] {
        browser.look(width, 1500, scheme).await;
        let found = browser
            .run("return window.axe.run().then((found) => found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => [one.id, one.nodes.map((node) => node.html)]))")
            .await;
        assert_eq!(found, json!([]), "{width} {scheme}");
    }
    browser.stop().await;
    collector.stop().await;
}
