//! `demo`: a Mimecast of our own, the collector and its outputs in one process, in fast motion, with the troubles that end other
//! collectors. It counts what was served and what arrived, and says so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Request as Ask, ask, state_socket};
use crate::model::Timestamp;
use crate::signals::{Signal, Signals};
use crate::simulator::{
    Account, After, Answer, Fault, Handle, Key, Options, Publication, Request, Simulator, Target,
};
use crate::status::Report;
use crate::units::show_duration;

/// A minute of the collector's schedule takes a fifth of a second.
const SCALE: u32 = 300;
/// Real time until the demo gives up on something that should have happened.
const PATIENCE: Duration = Duration::from_secs(120);
/// From one question to the collector to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The logs that are shown, with the share of each in ten events.
const LOGS: [(&str, &str, &str, u64); 5] = [
    ("two", "siem-cg", "receipt", 3),
    ("two", "siem-cg", "delivery", 2),
    ("two", "siem-cg", "url protect", 1),
    ("one", "siem", "", 3),
    ("two", "audit", "", 1),
];

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The collector ended.
    #[error(transparent)]
    App(#[from] AppError),
    /// A file or socket of the demo.
    #[error("the demo cannot run: {0}")]
    Io(#[from] std::io::Error),
    /// The simulator would not publish.
    #[error("the simulator: {0}")]
    Publish(String),
    /// Something did not happen in time.
    #[error("gave up after {patience} s while waiting for {0}", patience = PATIENCE.as_secs())]
    Late(&'static str),
    /// A person interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// The promise was not kept.
    #[error("{lost} of {served} events were lost")]
    Lost {
        /// Events that did not arrive.
        lost: u64,
        /// Events that the simulator published.
        served: u64,
    },
}

/// Plays the demo with about `events` events, telling the story on `say`.
///
/// # Errors
/// What went wrong; a lost event is an error.
pub async fn run(events: u64, clock: Clock, say: &mut impl Write) -> Result<(), DemoError> {
    let folder = tempfile::tempdir()?;
    let simulator = Simulator::start(Options {
        clock: clock.clone(),
        // In real time, which the token's holder goes by.
        token_lifetime: Options::default().token_lifetime * SCALE,
        ..Options::default()
    })
    .await?;
    let path = folder.path().join("config.toml");
    std::fs::write(&path, config(&simulator, folder.path()))?;
    let load = {
        let path = path.clone();
        move || Config::load(&path)
    };
    let config = load().map_err(AppError::from)?;
    let (stop, signals) = mpsc::channel(2);
    let mut collector = JoinSet::new();
    collector.spawn(app::run(config, clock.clone(), signals, load, |_| {}));

    let story = Story {
        handle: simulator.handle(),
        socket: state_socket(folder.path()),
        clock,
        events,
    };
    let mut interrupts = Signals::new()?;
    let told = tokio::select! {
        told = story.tell(say) => told,
        Some(ended) = collector.join_next() => Err(match ended {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => DemoError::Interrupted,
        }),
        _ = interrupts.next() => Err(DemoError::Interrupted),
    };
    // It may have ended already.
    stop.send(Signal::Stop).await.ok();
    while let Some(ended) = collector.join_next().await {
        if let Ok(Err(error)) = ended {
            return Err(error.into());
        }
    }
    simulator.stop().await;
    told
}

/// The configuration that the demo's collector runs with; also what `simulate` prints.
pub(super) fn config(simulator: &Simulator, state_dir: &Path) -> String {
    let (api, hec) = (simulator.api_url(), simulator.hec_url());
    let token = Options::default().hec_token;
    let mut text = format!(
        "state_dir = {:?}\n\n[defaults.integration]\nbase_url = \"{api}\"\nlogs = \"all\"\n",
        state_dir.display().to_string()
    );
    for account in Options::default().accounts {
        text.push_str(&format!("\n[[integration]]\nname = \"{}\"\n", account.name));
        text.push_str(&credential(&account));
    }
    text.push_str(&format!(
        "\n[[output]]\nname = \"splunk\"\ntype = \"splunk_hec\"\nurl = \"{hec}\"\ntoken = {{ literal = \"{token}\" }}\n\
         \n[[output]]\nname = \"console\"\ntype = \"stdout\"\n"
    ));
    text
}

fn credential(account: &Account) -> String {
    match &account.key {
        Key::V1 {
            application_id,
            application_key,
            access_key,
            secret_key,
        } => format!(
            "api = \"1.0\"\napplication_id = \"{application_id}\"\napplication_key = {{ literal = \"{application_key}\" }}\n\
             access_key = {{ literal = \"{access_key}\" }}\nsecret_key = {{ literal = \"{secret_key}\" }}\n"
        ),
        Key::V2 {
            client_id,
            client_secret,
        } => format!(
            "api = \"2.0\"\nclient_id = \"{client_id}\"\nclient_secret = {{ literal = \"{client_secret}\" }}\n"
        ),
    }
}

/// What happens in the demo.
struct Story {
    handle: Handle,
    /// Where the collector answers.
    socket: PathBuf,
    clock: Clock,
    events: u64,
}

impl Story {
    async fn tell(&self, say: &mut impl Write) -> Result<(), DemoError> {
        writeln!(
            say,
            "\nA Mimecast of our own serves an account of API 1.0 (\"one\") and one of API 2.0 (\"two\"); the collector polls both,\n\
             keeps what it fetched on disk, and delivers it to a Splunk HEC receiver (which counts) and to this screen.\n\
             Time runs {SCALE} times as fast: five minutes take a second.\n"
        )?;
        let third = (self.events / 3).max(1);
        writeln!(
            say,
            "-- 1. {third} events wait at Mimecast. The first poll goes back seven days.\n"
        )?;
        self.publish(third)?;
        self.all_arrived().await?;

        writeln!(
            say,
            "\n-- 2. A rate limit: Mimecast answers 429 with Retry-After: 600. The collector leaves that function alone for ten\n\
             minutes; nothing is skipped, the other logs go on.\n"
        )?;
        let limit = Answer::rate_limited(After::Seconds(Duration::from_secs(600)));
        let path = Target::path("/api/audit/get-audit-events");
        self.handle
            .script(Fault::answer(path, limit).of("two").once());
        let asked = self.handle.requests().len();
        self.publish(third)?;
        self.wait_for("the rate limit to be met", |h| {
            answered(&h.requests(), asked, 429).is_some()
        })
        .await?;
        self.all_arrived().await?;

        writeln!(
            say,
            "\n-- 3. A lock-out: Mimecast answers 401/0010 to account \"one\". Blind retries would prolong it, so not one request\n\
             goes out with that credential for 30 minutes; then one probe.\n"
        )?;
        self.handle.script(
            Fault::answer(Target::Api, Answer::lock_out())
                .of("one")
                .once(),
        );
        let asked = self.handle.requests().len();
        self.publish(self.events.saturating_sub(2 * third).max(1))?;
        self.wait_for("the lock-out to be met", |h| {
            answered(&h.requests(), asked, 401).is_some()
        })
        .await?;
        self.all_arrived().await?;
        let silence = silence_after(&self.handle.requests(), asked);

        let (served, arrived, twice) = self.count();
        let lost = served.saturating_sub(arrived);
        writeln!(say, "\n-- Summary\n")?;
        writeln!(say, "   served by Mimecast   {served:>8}")?;
        writeln!(
            say,
            "   delivered to Splunk  {arrived:>8}   counted by event id at the receiver"
        )?;
        writeln!(say, "   lost                 {lost:>8}")?;
        writeln!(say, "   duplicates           {twice:>8}")?;
        if let Some(silence) = silence {
            writeln!(say, "   silent while locked  {:>8}", show_duration(silence))?;
        }
        for violation in self.handle.violations() {
            writeln!(say, "   the simulator objects: {violation}")?;
        }
        writeln!(
            say,
            "\n   Next: mimecast-collector simulate, then run with the configuration that it prints;\n   or config.example.toml for an account of your own.\n"
        )?;
        if lost > 0 {
            return Err(DemoError::Lost { lost, served });
        }
        Ok(())
    }

    /// Publishes `events` events, spread over the logs.
    fn publish(&self, events: u64) -> Result<(), DemoError> {
        let shares: u64 = LOGS.iter().map(|(.., share)| share).sum();
        let mut left = events;
        for (n, (account, log, event_type, share)) in LOGS.iter().enumerate() {
            let last = n + 1 == LOGS.len();
            let part = if last { left } else { events * share / shares };
            left -= part;
            let count = usize::try_from(part).unwrap_or(usize::MAX);
            if count > 0 {
                self.handle
                    .publish_as(&Publication::new(account, log, event_type, count))
                    .map_err(|e| DemoError::Publish(e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Events published, ids that the receiver has, and deliveries beyond one for an id.
    fn count(&self) -> (u64, u64, u64) {
        let hec = self.handle.hec();
        (
            self.handle.published_total(),
            hec.distinct(),
            hec.duplicates(),
        )
    }

    async fn all_arrived(&self) -> Result<(), DemoError> {
        self.wait_for("the events to arrive", |handle| {
            handle.hec().distinct() >= handle.published_total()
        })
        .await?;
        // The screen is an output of its own, at its own pace.
        tokio::select! {
            () = self.delivered_everywhere() => Ok(()),
            () = self.clock.sleep_until(self.clock.now() + PATIENCE * SCALE) => {
                Err(DemoError::Late("the screen"))
            }
        }
    }

    /// Waits until the collector says that nothing waits for an output.
    async fn delivered_everywhere(&self) {
        loop {
            let report = ask(&self.socket, &Ask::Status).await.ok();
            let report = report.and_then(|answer| serde_json::from_value::<Report>(answer).ok());
            let waiting = report.map(|report| {
                let backlogs = report.outputs.iter().map(|output| output.backlog_events);
                backlogs.sum::<u64>()
            });
            if waiting == Some(0) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn wait_for(
        &self,
        what: &'static str,
        condition: impl FnMut(&Handle) -> bool,
    ) -> Result<(), DemoError> {
        let deadline = self.clock.now() + PATIENCE * SCALE;
        tokio::select! {
            () = self.handle.until(condition) => Ok(()),
            () = self.clock.sleep_until(deadline) => Err(DemoError::Late(what)),
        }
    }
}

/// The first request from number `from` on that was answered with `status`.
fn answered(requests: &[Request], from: usize, status: u16) -> Option<&Request> {
    let later = requests.iter().skip(from);
    later
        .into_iter()
        .find(|request| request.status == Some(status))
}

/// How long the locked account was left alone, by the schedule's clock.
fn silence_after(requests: &[Request], from: usize) -> Option<Duration> {
    let locked = answered(requests, from, 401)?;
    let own = requests
        .iter()
        .filter(|request| request.account == locked.account);
    let next = own
        .map(|request| request.since_start)
        .find(|at| *at > locked.since_start)?;
    Some((next - locked.since_start) * SCALE)
}

/// The demo's clock: the schedule in fast motion.
#[must_use]
pub fn clock(wall: Timestamp) -> Clock {
    Clock::scaled(wall, SCALE)
}
