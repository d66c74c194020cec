//! What the system says of this process.

use std::fs;

/// Ticks of a second in `/proc`; Linux has promised programs this number, whatever the kernel counts by.
const TICKS: u64 = 100;

/// A look at this process; what cannot be read is not told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Processor time of all threads, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes of memory that it has in use.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub open_fds: Option<u64>,
    /// How many may be.
    pub max_fds: Option<u64>,
}

impl Process {
    /// Looks.
    #[must_use]
    pub fn look() -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let files = fs::read_dir("/proc/self/fd").ok();
        Self {
            cpu_ms: cpu_ms(&read("stat")),
            resident_bytes: number_after(&read("status"), "VmRSS:").map(|kib| kib << 10),
            open_fds: files.and_then(|files| u64::try_from(files.count()).ok()),
            max_fds: number_after(&read("limits"), "Max open files"),
        }
    }
}

fn cpu_ms(stat: &str) -> Option<u64> {
    // The program's name may hold anything, so the fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let user = ticks.next()?.ok()?;
    let system = ticks.next()?.ok()?;
    Some((user + system) * 1000 / TICKS)
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_understood() {
        let stat = "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_ms(stat), Some(3_000));
        let status = "Name:\tx\nVmRSS:\t   1024 kB\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(1024));
        assert_eq!(number_after("", "VmRSS:"), None);
        let look = Process::look();
        assert!(look.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(look.open_fds.is_some_and(|files| files >= 3));
        assert!(look.cpu_ms.is_some() && look.max_fds.is_some());
    }
}
