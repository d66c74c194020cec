//! Who has promised to be back, and by when: what the watchdog goes by.
//!
//! Each loop says before it waits for how long, and after it that it works. One that waits for nothing but a message has promised
//! nothing, so an idle program is not taken for a stuck one; one whose timer did not wake it, or whose work does not come to
//! an end, is overdue. A loop that waits for the store waits within its work: a stuck store is seen by whoever needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Longer than any single step of a loop: a request to a receiver takes a minute at most, a sync on a busy disk less.
const LIMIT: Duration = Duration::from_secs(300);

/// The register of promises; clones are one.
#[derive(Clone, Debug)]
pub struct Watchdog {
    clock: Clock,
    board: Arc<Mutex<Board>>,
}

#[derive(Debug, Default)]
struct Board {
    entered: u64,
    promises: BTreeMap<u64, Promise>,
}

#[derive(Debug)]
struct Promise {
    who: String,
    /// By the monotonic clock; `None` while it waits for a message.
    back_by: Option<Duration>,
}

/// A loop's own promise; it ends with the loop.
#[derive(Debug)]
pub struct Loop {
    dog: Watchdog,
    number: u64,
}

impl Watchdog {
    /// A register of nobody yet. Promises are real time, whatever the schedule's clock does.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            board: Arc::default(),
        }
    }

    /// Takes up a loop, which works.
    #[must_use]
    pub fn enter(&self, who: String) -> Loop {
        let back_by = Some(self.clock.monotonic() + LIMIT);
        let mut board = self.board();
        board.entered += 1;
        let number = board.entered;
        board.promises.insert(number, Promise { who, back_by });
        drop(board);
        Loop {
            dog: self.clone(),
            number,
        }
    }

    /// A loop that has not kept its promise.
    #[must_use]
    pub fn overdue(&self) -> Option<String> {
        let now = self.clock.monotonic();
        let board = self.board();
        let late = |promise: &&Promise| promise.back_by.is_some_and(|by| by < now);
        board
            .promises
            .values()
            .find(late)
            .map(|promise| promise.who.clone())
    }

    /// What a loop that panicked left there is whole: each change is one assignment.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loop {
    /// It works, and will wait again soon.
    pub fn works(&self) {
        self.promise(Some(Duration::ZERO));
    }

    /// It waits for this long at most, or for a message alone.
    pub fn waits(&self, longest: Option<Duration>) {
        self.promise(longest);
    }

    fn promise(&self, within: Option<Duration>) {
        let now = self.dog.clock.monotonic();
        if let Some(promise) = self.dog.board().promises.get_mut(&self.number) {
            promise.back_by = within.map(|within| now + within + LIMIT);
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.dog.board().promises.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn watchdog() -> Watchdog {
        Watchdog::new(Clock::starting_at(Timestamp::from_millis(0)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_loop_is_not_mistaken_for_a_stuck_one() {
        let dog = watchdog();
        let (idle, timed) = (dog.enter("idle".to_owned()), dog.enter("timed".to_owned()));
        idle.waits(None);
        timed.waits(Some(Duration::from_secs(86_400)));
        pass(86_400 + 299).await;
        assert_eq!(dog.overdue(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_in_its_work_is_overdue_until_it_is_back() {
        let dog = watchdog();
        let hung = dog.enter("output splunk".to_owned());
        hung.waits(None);
        hung.works();
        pass(300).await;
        assert_eq!(dog.overdue(), None);
        pass(1).await;
        assert_eq!(dog.overdue().as_deref(), Some("output splunk"));
        hung.waits(None);
        assert_eq!(dog.overdue(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_its_timer_did_not_wake_is_overdue_and_one_that_ended_is_not() {
        let dog = watchdog();
        let late = dog.enter("integration acme".to_owned());
        late.waits(Some(Duration::from_secs(60)));
        pass(361).await;
        assert_eq!(dog.overdue().as_deref(), Some("integration acme"));
        drop(late);
        assert_eq!(dog.overdue(), None);
    }
}
