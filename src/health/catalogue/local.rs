//! What this machine says: files, standard output, the state directory; and what the collector finds itself.

use std::time::Duration;

use super::Class::{CursorInvalid, RequestInvalid, Transient};
use super::Impact::High;
use super::Level;
use super::Scope::{Lane, Output, Stream};
use super::Status::Any;
use super::{Class, Row, Scope};
use crate::health::Origin;

const fn row(code: &'static str, title: &'static str) -> Row {
    of(code, title, Transient, Output)
}

const fn of(code: &'static str, title: &'static str, class: Class, scope: Scope) -> Row {
    Row::new(Origin::Local, Any, code, title, class, scope)
        .source("this collector's own words for what the system reports")
        .impact(High)
}

pub(super) static ROWS: &[Row] = &[
    row("enospc", "No space left")
        .level(Level::Error)
        .advice("Free space on the output's filesystem; delivery goes on by itself."),
    row("broken_pipe", "The reader is gone")
        .level(Level::Error)
        .advice("Start again the program that reads this output."),
    row("io", "The system refuses to write")
        .advice("Look at the message; check the path and its permissions."),
    row("exec_status", "The program reports a failure")
        .level(Level::Error)
        .advice("Look at the message: it ends with what the program said on standard error. It is told the same alerts again."),
    row("exec_timeout", "The program does not end in time")
        .level(Level::Error)
        .advice("It was killed, with all that it had started. Look at what it waits for, or raise timeout. It is told the same alerts again."),
    row("exec_start", "The program cannot be started")
        .level(Level::Error)
        .advice("Look at the message; under systemd, look at what its sandbox allows (docs/alerts.md)."),
    of("exec_unfit", "The program may not be started", RequestInvalid, Output)
        .recheck(Duration::from_mins(15))
        .advice("Put the program in place, executable, and writable for its owner alone; then `mimecast-collector resume`."),
    of("state_dir_full", "No space left in the state directory", Transient, Stream)
        .level(Level::Error)
        .advice(
            "Free space on the filesystem of state_dir; polling goes on by itself. Mimecast keeps the logs meanwhile.",
        ),
    of("cursor", "A stored cursor cannot be read", CursorInvalid, Stream)
        .advice(
            "The stream begins again at the newest stored event; this happens after a downgrade or a \
             change of `mode`; else it is a fault of the collector.",
        )
        .support(),
    of("temporary-file", "A file cannot be unpacked", Transient, Stream)
        .level(Level::Error)
        .advice("Look at the message; state_dir must be writable and have room for one archive."),
    of("unfit", "A record that cannot be stored", RequestInvalid, Stream)
        .recheck(Duration::from_hours(1))
        .advice("This is a fault of the collector: please report the message.")
        .support(),
    of("segment", "Stored events cannot be read", Transient, Lane)
        .level(Level::Error)
        .advice("Look at the message: the disk under state_dir may be failing. Other streams are delivered meanwhile."),
    of("all_refused", "The receiver refuses every event", RequestInvalid, Lane)
        .recheck(Duration::from_mins(15))
        .advice(
            "Ten events of a stream were refused in a row, so the requests are wrong, not the events: look at the receiver's answer, \
             mend the output's settings or the receiver, then `mimecast-collector resume`. No further event is put aside meanwhile.",
        ),
    row("", "Any other error").advice("Look at the message."),
];
