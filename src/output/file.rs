//! A file: one event a line, as JSON the lines of standard output, appended and synced before anything counts as delivered.
//!
//! A line is whole or not there: what a kill or a full disk left of one is cut off before the next is written. A file that was moved
//! away, by a rotation of somebody else's, is noticed with the next batch, and a new one begun; no signal is needed for that. Our own
//! rotation renames `events.ndjson` to `events.ndjson-20260106T090807000Z` and packs that; a kill in between leaves it for the next.

mod config;
mod rotate;

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

pub use config::FileConfig;

use super::batch::{Batch, BatchLimits};
use super::lines::Lines;
use super::{Delivery, Output, blocking};
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::model::Timestamp;

/// Enough that a sync a batch costs little, and little to repeat after a failure.
const LIMITS: BatchLimits = BatchLimits {
    bytes: 4 << 20,
    events: 10_000,
};

/// For the owner and the group: events hold addresses and subjects.
const MODE: u32 = 0o640;

/// 64 KiB, read at a time from the end of a file to find its last line break.
const BLOCK: u64 = 64 << 10;

/// Lines in a file.
#[derive(Debug)]
pub struct File(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: FileConfig,
    clock: Clock,
    open: Mutex<Option<Open>>,
}

/// The file as it was left by the last batch.
#[derive(Debug)]
struct Open {
    file: fs::File,
    /// Bytes of whole lines.
    len: u64,
    /// When the last of them was written, by the wall clock.
    written: Timestamp,
}

impl File {
    /// Lines in this file, which is opened with the first batch.
    #[must_use]
    pub fn new(config: FileConfig, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            config,
            clock,
            open: Mutex::default(),
        }))
    }
}

impl Output for File {
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let (shared, batch) = (Arc::clone(&self.0), batch.clone());
        let withheld = shared.config.oversized.withheld(&batch);
        if !withheld.is_empty() {
            return Delivery::withheld(withheld);
        }
        blocking(move || match shared.append(&batch) {
            Ok(()) => Delivery::accepted(batch.len()),
            Err(error) => Delivery::failed(shared.failure(&error)),
        })
        .await
    }

    fn limits(&self) -> BatchLimits {
        LIMITS
    }
}

impl Shared {
    fn append(&self, batch: &Batch) -> io::Result<()> {
        let lines = Lines::new(&self.config.format, batch, self.config.oversized).text()?;
        let path = &self.config.path;
        // After a panic the file is looked at anew, as after a kill.
        let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match place.take().filter(|open| open.is_at(path)) {
            Some(open) => open,
            None => {
                rotate::tidy(&self.config);
                Open::at(path)?
            }
        };
        let now = self.clock.wall();
        if self
            .config
            .is_due(open.len, lines.len() as u64, open.written, now)
        {
            drop(open);
            rotate::away(path, now)?;
            open = Open::at(path)?;
            rotate::tidy(&self.config);
        }
        match open.write(&lines) {
            Ok(()) => {
                open.written = now;
                *place = Some(open);
                Ok(())
            }
            Err(error) => {
                // The next batch opens it again, and cuts off what this leaves if it cannot be cut off now.
                open.file.set_len(open.len).ok();
                Err(error)
            }
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let code = if full { "enospc" } else { "io" };
        let path = self.config.path.display().to_string();
        Failure::new(Origin::Local, 0, code, &path).with_detail(&error.to_string())
    }
}

impl Open {
    /// Opens a file, or makes it, and cuts off a last line that is not whole.
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(MODE);
        let mut file = options.open(path)?;
        let meta = file.metadata()?;
        let len = whole_lines(&mut file, meta.len())?;
        if len < meta.len() {
            file.set_len(len)?;
            tracing::warn!(path = %path.display(), bytes = meta.len() - len, "the last line of an output's file was torn, and is cut off; its event is written again");
        }
        if meta.len() == 0 {
            rotate::sync_folder_of(path)?;
        }
        let since = meta.modified()?.duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        Ok(Self {
            file,
            len,
            written: Timestamp::from_millis(millis),
        })
    }

    /// Whether the path still names this file.
    fn is_at(&self, path: &Path) -> bool {
        let names = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let there = fs::metadata(path).map(names).ok();
        there.is_some() && there == self.file.metadata().map(names).ok()
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        let synced = self.file.sync_data();
        synced.map_err(|error| {
            if error.kind() != io::ErrorKind::InvalidInput {
                return error;
            }
            let why = "it is no regular file, so nothing that is written to it is known to be kept";
            io::Error::new(error.kind(), why)
        })?;
        self.len += lines.len() as u64;
        Ok(())
    }
}

/// How long the file is up to its last line break.
fn whole_lines(file: &mut fs::File, len: u64) -> io::Result<u64> {
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        (&mut *file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::super::batching::{Oversized, Then};
    use super::super::fixture::{batch, numbered, record};
    use super::super::format::Format;
    use super::*;
    use crate::model::Form;

    const NOON: Timestamp = Timestamp::from_millis(1_767_700_800_000);

    struct Rig {
        dir: tempfile::TempDir,
        clock: Clock,
        config: FileConfig,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = FileConfig {
                path: dir.path().join("events.ndjson"),
                format: Format::Json,
                rotate_bytes: 1 << 20,
                rotate_every: Duration::from_hours(24),
                keep: None,
                oversized: Oversized::default(),
            };
            Self {
                dir,
                clock: Clock::manual(NOON),
                config,
            }
        }

        fn open(&self) -> File {
            File::new(self.config.clone(), self.clock.clone())
        }

        fn lines(&self) -> usize {
            let text = fs::read_to_string(&self.config.path).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'));
            let whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
            assert!(text.lines().all(whole), "{text}");
            text.lines().count()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap().flatten();
            let mut names: Vec<_> = entries
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[tokio::test]
    async fn lines_are_appended_for_the_owner_and_the_group_alone() {
        let rig = Rig::new();
        assert_eq!(
            rig.open().deliver(&numbered(3)).await,
            Delivery::accepted(3)
        );
        let file = rig.open();
        assert_eq!(file.deliver(&numbered(2)).await, Delivery::accepted(2));
        assert_eq!(rig.lines(), 5);
        let mode = fs::metadata(&rig.config.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !MODE, 0, "{mode:o}");
    }

    #[tokio::test]
    async fn an_event_is_a_line_in_any_format() {
        let mut rig = Rig::new();
        for (format, beginning) in [(Format::KeyValue, "event_id="), (Format::Cef, "CEF:0|")] {
            rig.config.format = format;
            rig.open().deliver(&numbered(2)).await;
            let text = fs::read_to_string(&rig.config.path).unwrap();
            let last: Vec<_> = text.lines().rev().take(2).collect();
            assert!(
                last.iter().all(|line| line.starts_with(beginning)),
                "{text}"
            );
            assert!(text.ends_with('\n'));
        }
    }

    #[tokio::test]
    async fn an_event_that_is_too_long_is_shortened_or_put_aside_and_holds_up_nothing() {
        let long = format!(r#"{{"subject":"{}","n":1}}"#, "é".repeat(25 << 20));
        let events = [r#"{"n":0}"#, &long, r#"{"n":2}"#];
        let events = events.map(|body| record("audit", Form::Json, body));
        let events = batch("acme-uk/audit", events.to_vec());
        let mut rig = Rig::new();
        rig.config.rotate_bytes = 1 << 30;
        for format in [Format::Json, Format::KeyValue, Format::Cef, Format::Leef2] {
            rig.config.format = format;
            rig.config.oversized.max_bytes = 4096;
            fs::write(&rig.config.path, "").unwrap();
            assert_eq!(rig.open().deliver(&events).await, Delivery::accepted(3));
            let text = fs::read_to_string(&rig.config.path).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 3);
            assert!(lines[1].len() < 5000 && lines[1].contains("truncated"));
        }
        rig.config.oversized.then = Then::Quarantine;
        let delivery = rig.open().deliver(&events).await;
        let rejected: Vec<_> = delivery.rejected.iter().map(|one| one.index).collect();
        assert_eq!((delivery.accepted, rejected), (0, vec![1]));
    }

    #[tokio::test]
    async fn a_line_that_a_kill_tore_is_cut_off_before_the_next() {
        let rig = Rig::new();
        rig.open().deliver(&numbered(2)).await;
        let whole = fs::read(&rig.config.path).unwrap();
        for torn in 1..whole.len() {
            fs::write(&rig.config.path, &whole[..torn]).unwrap();
            assert_eq!(rig.open().deliver(&numbered(1)).await.accepted, 1);
            rig.lines();
        }
        fs::write(&rig.config.path, vec![b'x'; 200_000]).unwrap();
        rig.open().deliver(&numbered(1)).await;
        assert_eq!(rig.lines(), 1);
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_begun_anew() {
        let rig = Rig::new();
        let file = rig.open();
        file.deliver(&numbered(2)).await;
        fs::rename(&rig.config.path, rig.dir.path().join("moved")).unwrap();
        file.deliver(&numbered(1)).await;
        assert_eq!(rig.lines(), 1);
    }

    #[tokio::test]
    async fn a_full_file_is_turned_packed_and_the_oldest_go_if_so_many_are_kept() {
        let mut rig = Rig::new();
        (rig.config.rotate_bytes, rig.config.keep) = (1, Some(2));
        let file = rig.open();
        for _ in 0..5 {
            assert_eq!(file.deliver(&numbered(2)).await.accepted, 2);
        }
        assert_eq!(rig.lines(), 2);
        let names = rig.names();
        assert_eq!(names.len(), 3, "{names:?}");
        for name in names.iter().filter(|name| name.ends_with(".gz")) {
            let packed = fs::File::open(rig.dir.path().join(name)).unwrap();
            let text = io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
            assert_eq!(text.lines().count(), 2, "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_of_a_day_that_is_over_is_turned() {
        let rig = Rig::new();
        let file = rig.open();
        file.deliver(&numbered(1)).await;
        file.deliver(&numbered(1)).await;
        rig.clock.advance(Duration::from_hours(12));
        file.deliver(&numbered(1)).await;
        assert_eq!((rig.lines(), rig.names().len()), (1, 2));
    }

    #[tokio::test]
    async fn what_a_kill_left_unpacked_is_packed_by_the_next() {
        let rig = Rig::new();
        let left = rig.dir.path().join("events.ndjson-20260105T000000000Z");
        fs::write(&left, "{}\n").unwrap();
        fs::write(
            left.with_extension("ndjson-20260105T000000000Z.gz.part"),
            "half",
        )
        .unwrap();
        rig.open().deliver(&numbered(1)).await;
        assert_eq!(
            rig.names(),
            ["events.ndjson", "events.ndjson-20260105T000000000Z.gz"]
        );
    }

    #[tokio::test]
    async fn a_full_disk_a_missing_folder_and_what_cannot_be_synced_are_failures_and_nothing_is_accepted()
     {
        let mut rig = Rig::new();
        for (path, key, why) in [
            ("/dev/full", "local/enospc", "No space left"),
            ("/no/such/folder/x", "local/io", "No such file"),
            ("/dev/null", "local/io", "no regular file"),
        ] {
            rig.config.path = path.into();
            let delivery = rig.open().deliver(&numbered(2)).await;
            assert_eq!(delivery.accepted, 0);
            let failure = delivery.failure.unwrap();
            assert_eq!(failure.key(), key);
            assert!(failure.detail.contains(why), "{failure:?}");
        }
    }
}
