//! Processes, and what they have used.

use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;

/// The kernel's unit of CPU time in `/proc`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the service manager sets for the collector.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "262144"),
];

/// The collector as it runs by a configuration; a level is given to its log.
pub(crate) fn collector(config: &Path, level: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mimecast-collector"));
    command
        .args(["run", "--log-level", level, "--config"])
        .arg(config)
        .envs(ENVIRONMENT);
    command
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// The most memory that was resident.
    pub(crate) peak_kib: u64,
}

/// A process that is killed when it is dropped.
pub(crate) struct Child(pub(crate) process::Child);

impl Child {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap();
        let stat = read("stat");
        // The name, in parentheses, may hold blanks.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().trim_end_matches(" kB");
        Usage {
            wall: Duration::ZERO,
            cpu: Duration::from_secs_f64(ticks / TICKS_PER_SECOND),
            peak_kib: peak.parse().unwrap(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
