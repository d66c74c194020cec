//! What the collector watches besides the answers to its requests: conditions that nobody answers with an error.

use super::Class::Watched;
use super::Impact::{High, Medium};
use super::Level;
use super::Status::Any;
use super::{Row, Scope};
use crate::health::Origin;

const fn row(code: &'static str, title: &'static str, scope: Scope) -> Row {
    Row::new(Origin::Watch, Any, code, title, Watched, scope).source("this collector's own watch")
}

pub(super) static ROWS: &[Row] = &[
    row("retention_low", "Half of the time is gone that Mimecast keeps a log not yet fetched", Scope::Stream)
        .level(Level::Warn)
        .impact(Medium)
        .advice(
            "See in `mimecast-collector status` what holds the log up: a block, a full spool, a rate limit that is too low for its \
             backlog. Mend that before the rest of the time is gone.",
        ),
    row("retention_critical", "Mimecast is about to delete a log that is not yet fetched", Scope::Stream)
        .impact(High)
        .advice(
            "Less than a tenth of the time is left that Mimecast keeps these events: see in `mimecast-collector status` what holds the \
             log up and mend that now, or they are lost to this collector.",
        ),
    row("silent", "No events from a log that normally has some", Scope::Stream)
        .level(Level::Warn)
        .impact(Medium)
        .advice(
            "The log is polled without an error and has been empty for twice as long as ever in the last weeks. If mail still flows, look \
             in the Administration Console whether logging is still on (Administration | Account | Account Settings, \"Enhanced Logging\") \
             and whether the log shows events there; if not, report the log type and the time of its newest event.",
        ),
    row("disk_low", "The disk of the state directory is nearly full", Scope::Output)
        .impact(High)
        .advice(
            "Free space on the filesystem of state_dir, or move it to a larger one. When it is full, polling pauses; nothing that is \
             stored is lost.",
        ),
    row("events_damaged", "Events on disk are damaged", Scope::Output)
        .impact(Medium)
        .advice(
            "The log is fetched again from before the damage, as far as Mimecast still has it; the alert says from when on events may come \
             twice, under the same ids. Look at the disk under state_dir: it gave back other bytes than were written.",
        ),
    row("database_lost", "The database of the state directory was lost", Scope::Output)
        .impact(Medium)
        .advice(
            "Nothing needs to be done for the events: cursors and states come from the shadow copy, and all that was on disk is delivered \
             again, under the same ids; the alert says from when on. Look at the disk under state_dir, then delete the folder that the \
             alert names.",
        ),
    row("quarantine_growing", "Records are being put aside", Scope::Output)
        .level(Level::Warn)
        .impact(Medium)
        .advice(
            "Look at the newest files in `quarantine/` below state_dir: each record stands there with its reason. Those that the receiver \
             refused need its settings mended; those that cannot be read are worth a report.",
        ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_tells_at_once() {
        for row in ROWS {
            assert_eq!(
                (row.class, row.alert_after),
                (Watched, std::time::Duration::ZERO)
            );
            assert!(!row.advice.is_empty());
        }
    }
}
