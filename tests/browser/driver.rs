//! A headless Chromium, driven over the WebDriver protocol by chromedriver.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mimecast_collector::http::{Connection, Purpose, client};
use serde_json::{Value, json};

use super::harness::{look_until, within};

/// From one look at the page to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What conditions may use.
const WORDS: &str = "const level = () => document.documentElement.dataset.level;
    const text = (where) => document.querySelector(where)?.textContent ?? '';";

/// A browser with one window; ended when it is dropped.
pub(super) struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    pub(super) async fn start(folder: &Path) -> Self {
        let log = folder.join("chromedriver.log");
        let driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            // With the browsers that it starts, which outlive it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver of Debian's chromium-driver is needed: {error}")
            });
        let port = look_until("chromedriver's port", || {
            let said = std::fs::read_to_string(&log).unwrap();
            let (_, port) = said.split_once("started successfully on port ")?;
            port.split_once('.').map(|(port, _)| port.to_owned())
        })
        .await;
        let client = client(&Connection::default(), Purpose::Objects).unwrap();
        let mut browser = Self {
            driver,
            client,
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let profile = folder.join("chromium");
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--disable-background-networking", format!("--user-data-dir={}", profile.display()),
            ] },
        } } });
        let made = browser.post("", wish).await;
        browser.session = format!(
            "{}/{}",
            browser.session,
            made["sessionId"].as_str().unwrap()
        );
        browser
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let request = self
            .client
            .post(format!("{}{command}", self.session))
            .header("content-type", "application/json")
            .body(body.to_string());
        answer(within(command, request.send()).await.unwrap()).await
    }

    /// Sets the size of the window and the colours that the reader likes.
    pub(super) async fn look(&self, width: u32, height: u32, scheme: &str) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        )
        .await;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Presses a key and lets it go.
    pub(super) async fn press(&self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if key == "Enter" {
                event["text"] = json!("\r");
            }
            self.devtools("Input.dispatchKeyEvent", event).await;
        }
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", body).await;
    }

    pub(super) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Runs a script in the page, and gives what it returns.
    pub(super) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    pub(super) async fn text(&self, place: &str) -> String {
        let text = self
            .run(&format!("{WORDS} return text({})", json!(place)))
            .await;
        text.as_str().unwrap().to_owned()
    }

    /// Waits until a condition holds in the page.
    pub(super) async fn until(&self, what: &str, condition: &str) {
        within(what, self.holds(condition)).await;
    }

    /// As [`Self::until`], but not for long.
    pub(super) async fn within(&self, time: Duration, what: &str, condition: &str) {
        if tokio::time::timeout(time, self.holds(condition))
            .await
            .is_err()
        {
            let shown = self.run("return document.body.innerText").await;
            panic!("after {time:?} the page does not show {what}:\n{shown}");
        }
    }

    async fn holds(&self, condition: &str) {
        while self.run(&format!("{WORDS} return {condition}")).await != Value::Bool(true) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes a picture of the window, for people: `target/screenshots/<name>.png`.
    pub(super) async fn screenshot(&self, name: &str) {
        let url = format!("{}/screenshot", self.session);
        let picture = answer(self.client.get(url).send().await.unwrap()).await;
        let picture = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.post("/se/log", json!({ "type": kind })).await;
        log.as_array().unwrap().clone()
    }

    /// What the page wrote to its console: errors of scripts, breaches of the policy, answers that failed.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let log = self.log("browser").await;
        log.iter().map(ToString::to_string).collect()
    }

    /// The addresses of all that the page asked for.
    pub(super) async fn requests(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for entry in self.log("performance").await {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let message = &message["message"];
            if message["method"] == "Network.requestWillBeSent" {
                let address = message["params"]["request"]["url"].as_str().unwrap();
                addresses.push(address.to_owned());
            }
        }
        assert!(!addresses.is_empty(), "the log of requests is empty");
        addresses
    }

    pub(super) async fn stop(self) {
        let ended = self.client.delete(&self.session).send().await;
        assert!(ended.unwrap().status().is_success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let killed = Command::new("kill").args(["-9", "--", &group]).status();
        // All of it may have ended already.
        drop(killed);
        self.driver.wait().ok();
    }
}

async fn answer(response: reqwest::Response) -> Value {
    let failed = !response.status().is_success();
    let text = response.text().await.unwrap();
    assert!(!failed, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["value"].clone()
}
