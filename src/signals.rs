//! What the system asks of the process: SIGTERM and SIGINT stop it, SIGHUP reloads its configuration.

use std::io;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A wish of the system or of a person at a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in order: finish what is under way.
    Stop,
    /// End at once; asked twice, so whoever asks means it.
    StopNow,
    /// Read the configuration again.
    Reload,
}

/// The signals that arrive; while it lives, none of them ends the process by itself.
pub struct Signals {
    arriving: signal_hook_tokio::Signals,
    stopping: bool,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP; called within the runtime.
    ///
    /// # Errors
    /// What the system said.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            arriving: signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP])?,
            stopping: false,
        })
    }

    /// Waits for the next one. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        match self.arriving.next().await {
            Some(SIGHUP) => Signal::Reload,
            Some(_) if self.stopping => Signal::StopNow,
            Some(_) => {
                self.stopping = true;
                Signal::Stop
            }
            // Ends only when its handle is closed, which nobody has.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    #[tokio::test]
    async fn the_first_stop_is_in_order_and_the_second_at_once() {
        let mut signals = Signals::new().unwrap();
        for (raised, signal) in [
            (SIGHUP, Signal::Reload),
            (SIGTERM, Signal::Stop),
            (SIGHUP, Signal::Reload),
            (SIGINT, Signal::StopNow),
            (SIGTERM, Signal::StopNow),
        ] {
            raise(raised).unwrap();
            assert_eq!(signals.next().await, signal);
        }
    }
}
