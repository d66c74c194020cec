//! `simulate`: the simulator alone, with a configuration to try on it.

use std::io::Write;
use std::time::Duration;

use super::demo;
use crate::clock::Clock;
use crate::signals::Signals;
use crate::simulator::{Handle, Options, Ports, PublishError, Simulator};

/// From one publication to the next.
const EVERY: Duration = Duration::from_secs(10);

/// Why the simulator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A port is taken, or the output is closed.
    #[error("the simulator cannot run: {0}")]
    Io(#[from] std::io::Error),
    /// It would not publish.
    #[error("the simulator: {0}")]
    Publish(#[from] PublishError),
}

/// What to serve.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Where it listens.
    pub ports: Ports,
    /// Events of each log type that happen in a minute.
    pub per_minute: u32,
    /// Equal seeds give equal events.
    pub seed: u64,
}

/// The logs that events happen in: account, log type, event types.
const LOGS: [(&str, &str, &[&str]); 4] = [
    ("one", "siem", &[""]),
    ("one", "audit", &[""]),
    (
        "two",
        "siem-cg",
        &["receipt", "process", "delivery", "url protect", "av"],
    ),
    ("two", "audit", &[""]),
];

/// Serves until a signal comes, then says what was served and what arrived.
///
/// # Errors
/// See [`SimulateError`].
pub async fn run(wish: Wish, clock: &Clock, out: &mut impl Write) -> Result<(), SimulateError> {
    let simulator = Simulator::start(Options {
        ports: wish.ports,
        seed: wish.seed,
        ..Options::default()
    })
    .await?;
    let folder = std::env::temp_dir().join("mimecast-collector-trial");
    writeln!(
        out,
        "# A configuration for this simulator. Save it as trial.toml, then in another terminal:"
    )?;
    writeln!(out, "#   mimecast-collector run --config trial.toml")?;
    writeln!(out, "{}", demo::config(&simulator, &folder))?;
    out.flush()?;
    let handle = simulator.handle();
    let mut signals = Signals::new()?;
    let mut due = clock.now();
    // Parts of an event that have not made a whole one yet.
    let mut owed = 0;
    loop {
        owed += u64::from(wish.per_minute) * EVERY.as_secs();
        publish(&handle, owed / 60)?;
        owed %= 60;
        due = due + EVERY;
        tokio::select! {
            () = clock.sleep_until(due) => {}
            _ = signals.next() => break,
        }
    }
    let hec = handle.hec();
    writeln!(
        out,
        "# served {}, received by the HEC receiver {} ({} twice)",
        handle.published_total(),
        hec.distinct(),
        hec.duplicates()
    )?;
    for violation in handle.violations() {
        writeln!(out, "# objection: {violation}")?;
    }
    simulator.stop().await;
    Ok(())
}

fn publish(handle: &Handle, events: u64) -> Result<(), PublishError> {
    for (account, log, types) in LOGS {
        for (n, event_type) in (0_u64..).zip(types) {
            let parts = types.len() as u64;
            let part = events / parts + u64::from(n < events % parts);
            let count = usize::try_from(part).unwrap_or(usize::MAX);
            if count > 0 {
                handle.publish(account, log, event_type, count)?;
            }
        }
    }
    Ok(())
}
