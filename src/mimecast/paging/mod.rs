//! The ways in which Mimecast lists records, one file each: a pure pair, cursor to request and reply to page,
//! and the step that is taken with them.

pub(super) mod batch_files;
mod envelope;
mod feed;
mod files;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod overlap;
mod place;
mod probe;
pub(super) mod siem_files;
pub(super) mod snapshot;
pub(super) mod stream;
pub(super) mod window;

pub use probe::Probed;

use std::panic;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::FetchError;
use crate::health::{Failure, Origin};
use crate::model::StreamId;

/// Work that blocks at once in the process. It may wait for the store, which needs a thread of the same pool: if such work had all of
/// its 512, nothing would ever go on. The pool is the process's, and so is its bound.
static BLOCKING: Semaphore = Semaphore::const_new(64);

/// Runs work that blocks with what it works on, and gives that back.
async fn blocking<W, T>(mut on: W, work: impl FnOnce(&mut W) -> T + Send + 'static) -> (W, T)
where
    W: Send + 'static,
    T: Send + 'static,
{
    // Nobody closes the semaphore.
    let place = BLOCKING.acquire().await.ok();
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut on);
        drop(place);
        (on, result)
    });
    joined(done.await).await
}

/// The result of a blocking task; a panic in it is one here.
async fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // Only a runtime that is going down cancels blocking work: nobody waits for us any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The failure of a request that goes on where another ended. If it is refused for what it asks, that is for its token,
/// since all else in it was taken before: then it fails with `code`.
fn token_refused(error: FetchError, code: &str) -> FetchError {
    const OF_THE_REQUEST: [&str; 4] = ["", "bad_request", "err_bad_request", "validation_error"];
    match error {
        FetchError::Failed(mut failure)
            if failure.origin == Origin::Mimecast
                && failure.status == 400
                && OF_THE_REQUEST.contains(&failure.code.as_str()) =>
        {
            code.clone_into(&mut failure.code);
            FetchError::Failed(failure)
        }
        FetchError::Failed(_) | FetchError::Sink(_) | FetchError::GateClosed => error,
    }
}

/// Whether a body can be a JSON object. An array is read as one by serde, its elements as members.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// A cursor that this version did not write. Going back to the start is a decision for others.
fn foreign_cursor(stream: &StreamId, why: impl std::fmt::Display) -> FetchError {
    Failure::new(Origin::Local, 0, "cursor", &stream.to_string())
        .with_detail(&format!(
            "the stored cursor cannot be read: {why}: was it written by a newer version?"
        ))
        .into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::sync::watch;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_refusal_without_a_reason_is_the_tokens() {
        let code = |status, code: &str| {
            let failure = Failure::new(Origin::Mimecast, status, code, "GET /x");
            match token_refused(failure.into(), "invalid_cursor") {
                FetchError::Failed(failure) => failure.code,
                FetchError::Sink(_) | FetchError::GateClosed => String::new(),
            }
        };
        for unexplained in ["", "bad_request", "validation_error"] {
            assert_eq!(code(400, unexplained), "invalid_cursor");
        }
        assert_eq!(code(400, "0001"), "0001");
        assert_eq!(code(500, ""), "");
    }

    #[tokio::test]
    async fn a_thousand_commits_took_all_threads_and_left_the_store_none() {
        let (go, gone) = watch::channel(false);
        let mut commits = JoinSet::new();
        for _ in 0..1_000 {
            let mut gone = gone.clone();
            commits.spawn(blocking((), move |()| {
                let runtime = Handle::current();
                runtime.block_on(gone.wait_for(|go| *go)).is_ok()
            }));
        }
        // Each has its turn to ask for a thread.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let store = tokio::task::spawn_blocking(|| 7);
        let stored = timeout(Duration::from_secs(30), store).await;
        go.send(true).unwrap();
        assert_eq!(stored.ok().and_then(Result::ok), Some(7));
        while let Some(done) = commits.join_next().await {
            assert!(done.unwrap().1);
        }
    }
}
