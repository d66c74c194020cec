//! The servers of an output, and which of them is used.
//!
//! One is used until it fails; then the next in order is, and goes on being used. One that has failed before is asked after its health
//! first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Url;

const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";
const HEALTH: &str = "/services/collector/health";

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) event: Url,
    pub(super) ack: Url,
    pub(super) health: Url,
    /// Method and place of a delivery, for messages.
    pub(super) endpoint: String,
    /// Whether it has failed since it last took something.
    has_failed: AtomicBool,
}

/// All servers of an output, at least one.
#[derive(Debug)]
pub(super) struct Servers {
    first: Server,
    others: Vec<Server>,
    current: AtomicUsize,
}

impl Servers {
    /// The servers at these addresses.
    ///
    /// # Errors
    /// The first address that is none.
    pub(super) fn new(urls: &[String]) -> Result<Self, String> {
        let mut servers = urls
            .iter()
            .map(|url| Server::new(url).ok_or_else(|| url.clone()));
        Ok(Self {
            first: servers.next().ok_or_else(String::new)??,
            others: servers.collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
        })
    }

    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// The server of an index; the first for one that there is not.
    pub(super) fn get(&self, index: usize) -> &Server {
        let other = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The server has failed: the next is used, unless another attempt has seen to that.
    pub(super) fn give_way(&self, index: usize) {
        self.get(index).has_failed.store(true, Ordering::Relaxed);
        let next = (index + 1) % self.len();
        let order = Ordering::Relaxed;
        if self
            .current
            .compare_exchange(index, next, order, order)
            .is_ok()
            && self.len() > 1
        {
            let (from, to) = (&self.get(index).endpoint, &self.get(next).endpoint);
            tracing::warn!(%from, %to, "the next server is used");
        }
    }

    /// The server has taken something.
    pub(super) fn is_well(&self, index: usize) {
        self.get(index).has_failed.store(false, Ordering::Relaxed);
    }

    /// Whether its health should be asked after before it is used, because there is another to use instead.
    pub(super) fn is_in_doubt(&self, index: usize) -> bool {
        self.len() > 1 && self.get(index).has_failed.load(Ordering::Relaxed)
    }
}

impl Server {
    fn new(base: &str) -> Option<Self> {
        let url = |path| {
            Url::parse(&format!("{base}{path}"))
                .ok()
                .filter(Url::has_host)
        };
        let event = url(EVENT)?;
        Some(Self {
            endpoint: format!("POST {}{EVENT}", place(&event)),
            event,
            ack: url(ACK)?,
            health: url(HEALTH)?,
            has_failed: AtomicBool::new(false),
        })
    }

    /// Method and place of a question after acknowledgements.
    pub(super) fn ack_endpoint(&self) -> String {
        format!("POST {}{ACK}", place(&self.ack))
    }
}

/// Host and port.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(n: usize) -> Servers {
        let urls: Vec<_> = (1..=n)
            .map(|i| format!("https://idx{i}.example:8088"))
            .collect();
        Servers::new(&urls).unwrap()
    }

    #[test]
    fn the_next_server_is_used_once_however_many_attempts_fail() {
        let servers = servers(3);
        servers.give_way(0);
        servers.give_way(0);
        assert_eq!(servers.current(), 1);
        servers.give_way(1);
        servers.give_way(2);
        assert_eq!(servers.current(), 0);
        assert!(servers.is_in_doubt(0));
        servers.is_well(0);
        assert!(!servers.is_in_doubt(0));
    }

    #[test]
    fn a_single_server_is_used_without_asking() {
        let servers = servers(1);
        servers.give_way(0);
        assert_eq!((servers.current(), servers.is_in_doubt(0)), (0, false));
    }
}
