//! What is watched of the state directory: that its disk has room and gives back what was written, and that not ever more is put aside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::alert::About;
use crate::model::Timestamp;
use crate::store::{AsideRecord, LOST, Snapshot, StoreError};
use crate::subject::Context;
use crate::units::{show_count, show_size};
use crate::watch::{Finding, Watch};

/// A disk is nearly full when less than a twentieth of it is free,
const FREE: u64 = 20;
/// and no more than the spool takes by default: a twentieth of a large disk is much.
const ENOUGH: u64 = 10 << 30;
/// Records put aside are counted over this time,
const WHILE: Duration = Duration::from_hours(1);
/// and so many are more than a stray one.
const MANY: u64 = 10;

/// The watches over the state directory.
#[derive(Debug)]
pub struct Upkeep {
    state_dir: PathBuf,
    /// What a person calls little; `None` for what suits the disk.
    disk_low: Option<u64>,
    disk: Watch,
    quarantine: Watch,
    damage: Watch,
}

impl Upkeep {
    /// Takes up the watches where `stored` says that they stand.
    #[must_use]
    pub fn load(
        state_dir: &Path,
        disk_low: Option<u64>,
        stored: &Snapshot,
        now: Timestamp,
    ) -> Self {
        let load = |what: &str| Watch::load(what, About::default(), stored, now);
        Self {
            state_dir: state_dir.to_owned(),
            disk_low,
            disk: load("disk"),
            quarantine: load("quarantine"),
            damage: load("damage"),
        }
    }

    /// Looks at all of them, and tells people what is worth it.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(&mut self, context: &Context) -> Result<(), StoreError> {
        let now = context.clock.now();
        let stored = context.store.snapshot().await?;
        let growing = growth(stored.asides.values(), now);
        self.quarantine.look(&context.store, growing, now).await?;
        let damage = damage(stored.asides.values(), now);
        self.damage.look(&context.store, damage, now).await?;
        let state_dir = self.state_dir.clone();
        // A file system that hangs must hold up nothing else.
        let looked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&state_dir));
        let low = match looked.await {
            Ok(Ok(disk)) => {
                let block = disk.f_frsize;
                let total = disk.f_blocks.saturating_mul(block);
                low(total, disk.f_bavail.saturating_mul(block), self.disk_low)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot see how full the disk of state_dir is");
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        self.disk.look(&context.store, low, now).await
    }
}

fn low(total: u64, free: u64, limit: Option<u64>) -> Option<Finding> {
    let limit = limit.unwrap_or((total / FREE).min(ENOUGH));
    (free < limit).then(|| Finding {
        code: "disk_low",
        detail: format!("{} free of {}", show_size(free), show_size(total)),
    })
}

fn growth<'a>(
    asides: impl DoubleEndedIterator<Item = &'a AsideRecord> + Clone,
    now: Timestamp,
) -> Option<Finding> {
    // Of a damaged frame the events are fetched again; nothing of it is put aside.
    let mut recent =
        asides.filter(|aside| aside.at >= now - WHILE && aside.file.starts_with("quarantine/"));
    let records: u64 = recent.clone().map(|aside| aside.records).sum();
    let last = recent.next_back().filter(|_| records >= MANY)?;
    Some(Finding {
        code: "quarantine_growing",
        detail: format!(
            "{} records within an hour, the last by {}: {}",
            show_count(records),
            last.owner,
            last.reason
        ),
    })
}

/// The last damage of the hour. A lost database is worse than any that was found since.
fn damage<'a>(
    asides: impl DoubleEndedIterator<Item = &'a AsideRecord>,
    now: Timestamp,
) -> Option<Finding> {
    let recent = asides.filter(|aside| aside.at >= now - WHILE);
    let of = |aside: &AsideRecord| match aside.file.split('/').next() {
        Some("lanes") => Some((false, format!("{}: {}", aside.owner, aside.reason))),
        Some(file) if file.starts_with(LOST) => Some((true, aside.reason.clone())),
        Some(_) | None => None,
    };
    let (lost, detail) = recent.filter_map(of).max_by_key(|(lost, _)| *lost)?;
    let code = if lost {
        "database_lost"
    } else {
        "events_damaged"
    };
    Some(Finding { code, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

    #[test]
    fn a_disk_is_nearly_full_when_little_of_it_and_little_at_all_is_free() {
        const GIB: u64 = 1 << 30;
        assert_eq!(low(100 * GIB, 6 * GIB, None), None);
        assert_eq!(low(1000 * GIB, 20 * GIB, None), None);
        let finding = low(100 * GIB, 4 * GIB, None).unwrap();
        assert_eq!(finding.detail, "4 GiB free of 100 GiB");
        assert_eq!(low(100 * GIB, 4 * GIB, Some(4 * GIB)), None);
        assert!(low(100 * GIB, 6 * GIB, Some(7 * GIB)).is_some());
    }

    #[test]
    fn a_quarantine_grows_when_ten_records_came_within_the_hour() {
        let aside = |minutes, records, file: &str| AsideRecord {
            at: NOW - Duration::from_mins(minutes),
            owner: "acme/audit".to_owned(),
            file: file.to_owned(),
            records,
            reason: "not a JSON object".to_owned(),
            kept: None,
            withheld: false,
            sent_again: None,
        };
        let old = aside(61, 1000, "quarantine/a");
        let damage = aside(1, 1000, "lanes/a");
        let few = [old.clone(), damage.clone(), aside(59, 9, "quarantine/b")];
        assert_eq!(growth(few.iter(), NOW), None);
        let many = [
            old,
            aside(59, 9, "quarantine/b"),
            aside(1, 1, "quarantine/c"),
            damage,
        ];
        assert_eq!(
            growth(many.iter(), NOW).unwrap().detail,
            "10 records within an hour, the last by acme/audit: not a JSON object"
        );
    }

    #[test]
    fn damage_is_told_for_an_hour_and_a_lost_database_before_all() {
        let aside = |minutes, file: &str, reason: &str| AsideRecord {
            at: NOW - Duration::from_mins(minutes),
            owner: "acme/audit".to_owned(),
            file: file.to_owned(),
            records: 3,
            reason: reason.to_owned(),
            kept: None,
            withheld: false,
            sent_again: None,
        };
        let found = |asides: &[AsideRecord]| {
            let found = damage(asides.iter(), NOW);
            found.map(|finding| format!("{} {}", finding.code, finding.detail))
        };
        let old = aside(61, "lanes/acme/audit/1.seg", "a");
        let other = aside(2, "quarantine/a", "b");
        assert_eq!(found(&[old.clone(), other.clone()]), None);
        let damage = aside(1, "lanes/acme/audit/1.seg", "c");
        let all = [
            old,
            other,
            damage.clone(),
            aside(2, "sled-lost-7", "d"),
            damage,
        ];
        assert_eq!(found(&all[..3]).unwrap(), "events_damaged acme/audit: c");
        assert_eq!(found(&all).unwrap(), "database_lost d");
    }
}
