//! Standard output: one JSON object a line.
//!
//! ```json
//! {"event_id":"…","time":"2026-01-06T09:08:07.000Z","integration":"acme-uk","log":"siem-cg","type":"receipt","event":{…}}
//! ```
//! Events of a replay have `"replayed":true` besides. Events are accepted once they are written and flushed: a reader that goes away with lines in its pipe loses them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{Batch, BatchLimits};
use super::batching::Oversized;
use super::format::Format;
use super::lines::Lines;
use super::{Delivery, Output, blocking};
use crate::health::{Failure, Origin};

/// Enough to keep a reader busy, and little to repeat after a failure.
const LIMITS: BatchLimits = BatchLimits {
    bytes: 1 << 20,
    events: 1_000,
};

/// Lines on standard output, or on another writer.
#[derive(Debug)]
pub struct Stdout<W = io::Stdout>(Arc<Mutex<W>>);

impl Default for Stdout {
    fn default() -> Self {
        Self::to(io::stdout())
    }
}

impl<W> Stdout<W> {
    /// Lines on this writer.
    #[must_use]
    pub fn to(writer: W) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }
}

impl<W: Write + Send + 'static> Output for Stdout<W> {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let (writer, batch) = (Arc::clone(&self.0), batch.clone());
        blocking(move || {
            // A writer is as good after a panic as before it: at worst a line was cut, and is written again.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            match write(&mut *writer, &batch) {
                Ok(()) => Delivery::accepted(batch.len()),
                Err(e) => Delivery::failed(failure(&e)),
            }
        })
        .await
    }

    fn limits(&self) -> BatchLimits {
        LIMITS
    }
}

fn write(writer: &mut impl Write, batch: &Batch) -> io::Result<()> {
    let lines = Lines::new(&Format::Json, batch, Oversized::default());
    writer.write_all(&lines.text()?)?;
    writer.flush()
}

fn failure(error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::BrokenPipe {
        "broken_pipe"
    } else {
        "write"
    };
    Failure::new(Origin::Local, 0, code, "standard output").with_detail(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{batch, numbered, record};
    use super::*;
    use crate::model::Form;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_event_is_a_line_of_its_own() {
        let stdout = Stdout::to(Vec::new());
        let mail = batch(
            "acme-uk/siem-cg/receipt",
            vec![
                record("receipt", Form::Json, r#"{"b": 1, "a":"é\n"}"#),
                record("url \"protect\"", Form::Text, "acc=C1|Subject=a \"b\""),
            ],
        );
        assert_eq!(stdout.deliver(&mail).await, Delivery::accepted(2));
        let written = String::from_utf8(stdout.0.lock().unwrap().clone()).unwrap();
        insta::assert_snapshot!(written, @r#"
        {"event_id":"abababababababababababababababab","time":"2026-01-06T09:08:07.000Z","integration":"acme-uk","log":"siem-cg","type":"receipt","event":{"b": 1, "a":"é\n"}}
        {"event_id":"abababababababababababababababab","time":"2026-01-06T09:08:07.000Z","integration":"acme-uk","log":"siem-cg","type":"url \"protect\"","event":"acc=C1|Subject=a \"b\""}
        "#);
        assert!(
            written
                .lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_a_failure_and_nothing_is_accepted() {
        for (kind, key) in [
            (io::ErrorKind::BrokenPipe, "local/broken_pipe"),
            (io::ErrorKind::StorageFull, "local/write"),
        ] {
            let delivery = Stdout::to(Broken(kind)).deliver(&numbered(2)).await;
            assert_eq!(delivery.accepted, 0);
            assert_eq!(delivery.failure.unwrap().key(), key);
        }
    }
}
