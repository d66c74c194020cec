//! The servers of an output that stand in for one another, and which of them is used.
//!
//! One is used until it fails; then the next in order is, and goes on being used.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// All servers of an output, at least one.
#[derive(Debug)]
pub(super) struct Servers<S> {
    first: Kept<S>,
    others: Vec<Kept<S>>,
    current: AtomicUsize,
}

#[derive(Debug)]
struct Kept<S> {
    server: S,
    /// Method and place of a delivery, for messages.
    endpoint: String,
    /// Whether it has failed since it last took something.
    has_failed: AtomicBool,
}

impl<S> Servers<S> {
    /// These servers, each with method and place of a delivery to it; `None` if there is none.
    pub(super) fn new(servers: impl IntoIterator<Item = (String, S)>) -> Option<Self> {
        let mut servers = servers.into_iter().map(|(endpoint, server)| Kept {
            server,
            endpoint,
            has_failed: AtomicBool::new(false),
        });
        Some(Self {
            first: servers.next()?,
            others: servers.collect(),
            current: AtomicUsize::new(0),
        })
    }

    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }

    fn kept(&self, index: usize) -> &Kept<S> {
        let other = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    /// The server of an index; the first for one that there is not.
    pub(super) fn get(&self, index: usize) -> &S {
        &self.kept(index).server
    }

    /// Method and place of a delivery to it, for messages.
    pub(super) fn endpoint(&self, index: usize) -> &str {
        &self.kept(index).endpoint
    }

    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The server has failed: the next is used, unless another attempt has seen to that.
    pub(super) fn give_way(&self, index: usize) {
        self.kept(index).has_failed.store(true, Ordering::Relaxed);
        let next = (index + 1) % self.len();
        let order = Ordering::Relaxed;
        if self
            .current
            .compare_exchange(index, next, order, order)
            .is_ok()
            && self.len() > 1
        {
            let (from, to) = (self.endpoint(index), self.endpoint(next));
            tracing::warn!(%from, %to, "the next server is used");
        }
    }

    /// The server has taken something.
    pub(super) fn is_well(&self, index: usize) {
        self.kept(index).has_failed.store(false, Ordering::Relaxed);
    }

    /// Whether its health should be asked after before it is used, because there is another to use instead.
    pub(super) fn is_in_doubt(&self, index: usize) -> bool {
        self.len() > 1 && self.kept(index).has_failed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(n: usize) -> Servers<()> {
        Servers::new((1..=n).map(|i| (format!("POST idx{i}.example:8088"), ()))).unwrap()
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
