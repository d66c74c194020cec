//! Quotas in fixed windows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::TOKEN_PATH;
use super::options::RateLimit;
use super::reply::Reply;
use crate::model::Timestamp;

/// The open window of each (account, path).
#[derive(Default)]
pub(super) struct Windows(BTreeMap<(String, String), Window>);

struct Window {
    ends: Timestamp,
    used: u32,
}

/// What is left after a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quota {
    limit: u32,
    remaining: u32,
    reset: Duration,
    pub(super) exceeded: bool,
}

impl Windows {
    /// Counts a call; `None` if no row is for it.
    pub(super) fn count(
        &mut self,
        rows: &[RateLimit],
        account: &str,
        path: &str,
        now: Timestamp,
    ) -> Option<Quota> {
        let log = path != TOKEN_PATH;
        let fits = |row: &&RateLimit| row.path.as_deref().map_or(log, |only| only == path);
        let row = rows.iter().find(fits)?;
        let key = (account.to_owned(), path.to_owned());
        let fresh = || Window {
            ends: now + row.window,
            used: 0,
        };
        let window = self.0.entry(key).or_insert_with(fresh);
        if now >= window.ends {
            *window = fresh();
        }
        let exceeded = window.used >= row.calls;
        if !exceeded {
            window.used += 1;
        }
        Some(Quota {
            limit: row.calls,
            remaining: row.calls - window.used,
            reset: window.ends.since(now),
            exceeded,
        })
    }
}

impl Quota {
    /// Tells the client, in milliseconds as the vendor does.
    pub(super) fn tell(&self, reply: Reply) -> Reply {
        reply
            .with("x-ratelimit-limit", self.limit)
            .with("x-ratelimit-remaining", self.remaining)
            .with("x-ratelimit-reset", self.reset.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_refuses_what_is_over_its_calls_and_opens_anew() {
        let rows = [RateLimit {
            path: Some("/a".to_owned()),
            calls: 2,
            window: Duration::from_secs(60),
        }];
        let mut windows = Windows::default();
        let mut count = |account: &str, path: &str, seconds: i64| {
            windows.count(&rows, account, path, Timestamp::from_millis(seconds * 1000))
        };
        assert_eq!(count("one", "/b", 0), None);
        let exceeded: Vec<_> = (0..3)
            .filter_map(|second| count("one", "/a", second))
            .map(|quota| (quota.remaining, quota.exceeded))
            .collect();
        assert_eq!(exceeded, [(1, false), (0, false), (0, true)]);
        assert!(!count("two", "/a", 3).unwrap().exceeded);
        let left = count("one", "/a", 50).unwrap().reset;
        assert_eq!(left, Duration::from_secs(10));
        assert!(!count("one", "/a", 60).unwrap().exceeded);
    }
}
