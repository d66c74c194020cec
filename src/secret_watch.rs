//! When a secret in a file has become another one. Two equal looks, so that a file which is being written is not taken; and three
//! changes an hour, so that a file which is wrong each time cannot make a refused credential be tried again and again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;
use crate::secret::Fingerprint;

/// Changes taken up within [`WINDOW`].
const CHANGES: usize = 3;
const WINDOW: Duration = Duration::from_hours(1);

/// What is remembered of one credential's files between looks.
#[derive(Debug, Default)]
pub struct SecretWatch {
    /// What the last look found, if it was not what runs.
    seen: Option<Fingerprint>,
    taken: VecDeque<Timestamp>,
    /// Why it could not be read, as people were told last.
    complaint: Option<String>,
}

impl SecretWatch {
    /// Takes a look: whether `found` is to be taken up in place of `running`. `None` is a credential that cannot be read now.
    pub fn look(
        &mut self,
        running: Option<&Fingerprint>,
        found: Option<Fingerprint>,
        now: Timestamp,
    ) -> bool {
        if found.is_some() {
            self.complaint = None;
        }
        let found = found.filter(|found| running != Some(found));
        let twice = found.is_some() && found == self.seen;
        self.seen = found;
        self.taken.retain(|at| now.since(*at) < WINDOW);
        if !twice || self.taken.len() >= CHANGES {
            return false;
        }
        self.seen = None;
        self.taken.push_back(now);
        true
    }

    /// Whether people are to be told why a credential cannot be read now: once, until it can be or there is another reason.
    pub fn is_news(&mut self, complaint: String) -> bool {
        let news = self.complaint.as_ref() != Some(&complaint);
        self.complaint = Some(complaint);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(name: &str) -> Fingerprint {
        Fingerprint::of(b"install", &[name])
    }

    fn minute(n: u64) -> Timestamp {
        Timestamp::from_millis(1_767_690_487_000) + Duration::from_mins(n)
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_complained_of_once() {
        let mut watch = SecretWatch::default();
        let old = print("old");
        assert!(watch.is_news("mode 0644".to_owned()));
        assert!(!watch.look(Some(&old), None, minute(0)));
        assert!(!watch.is_news("mode 0644".to_owned()));
        assert!(watch.is_news("gone".to_owned()));
        assert!(!watch.look(Some(&old), Some(print("old")), minute(1)));
        assert!(watch.is_news("gone".to_owned()));
    }

    #[test]
    fn a_new_secret_is_taken_at_the_second_equal_look() {
        let mut watch = SecretWatch::default();
        let old = print("old");
        let mut look = |found: Option<&str>, n| watch.look(Some(&old), found.map(print), minute(n));
        assert!(!look(Some("old"), 0));
        assert!(!look(Some("half"), 1), "may be half written");
        assert!(!look(Some("new"), 2));
        assert!(!look(None, 3), "a look between finds nothing");
        assert!(!look(Some("new"), 4));
        assert!(look(Some("new"), 5));
    }

    #[test]
    fn a_file_that_changes_all_the_time_is_taken_three_times_an_hour() {
        let mut watch = SecretWatch::default();
        let mut taken = 0;
        let mut running = print("0");
        for n in 0..120_u64 {
            let found = print(&(n / 2).to_string());
            if watch.look(Some(&running), Some(found.clone()), minute(n)) {
                running = found;
                taken += 1;
            }
        }
        assert_eq!(taken, 6);
    }
}
