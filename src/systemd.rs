//! What the service manager is told: ready, reloading, stopping, one line of status, and that the program is alive.
//!
//! The protocol is datagrams on the socket that `$NOTIFY_SOCKET` names (sd_notify(3)). Without one, nothing is said.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if the program was started by one that listens.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "systemd's words to this process; nobody else asks for them"
    )]
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let mut manager = Self::at(variable("NOTIFY_SOCKET").as_deref());
        manager.watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        manager
    }

    /// The manager that listens at a path, or at an abstract name that begins with `@`.
    fn at(name: Option<&str>) -> Self {
        let address = name.and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not hold up the program.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self {
            socket,
            watchdog: None,
        }
    }

    /// How often the manager wants to hear [`Manager::alive`]: a third of the time after which it restarts the program.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    /// Everything is running.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is being read again; [`Manager::ready`] follows.
    pub fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// The program is not stuck.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, words: &str) {
        if let Some((socket, manager)) = &self.socket
            && let Err(error) = socket.send_to_addr(words.as_bytes(), manager)
        {
            tracing::debug!(%error, words, "the service manager did not hear");
        }
    }
}

/// The watchdog's limit, if it is meant for this process.
fn watchdog(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let limit = Duration::from_micros(microseconds?.parse().ok()?);
    (!limit.is_zero()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_what_it_is_told_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.to_str());
        manager.ready();
        manager.status("all is well\nREADY=1");
        let mut heard = [0; 100];
        let len = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..len], b"READY=1");
        let len = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..len], b"STATUS=all is well READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_nothing_fails() {
        Manager::at(None).ready();
        Manager::at(Some("/nowhere/notify")).stopping();
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        let limit = |pid| watchdog(Some("30000000"), pid, 7);
        assert_eq!(limit(None), Some(Duration::from_secs(30)));
        assert_eq!(limit(Some("7")), Some(Duration::from_secs(30)));
        assert_eq!(limit(Some("8")), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
    }
}
