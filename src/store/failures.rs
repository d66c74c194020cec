//! The last failures as they were judged, a line of JSON each: for those who are asked for help, not for the program.
//!
//! Lines are appended as failures come and survive a kill, so what was wrong can be seen when nothing runs any more. A file that has
//! grown to its limit becomes the former one, and the one before that goes. Nothing here is synced: a failure of the disk must not follow from
//! a note about a failure.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const FILE: &str = "failures.ndjson";
const FORMER: &str = "failures.1.ndjson";
/// 512 KiB: some hundred failures with their answers; there are two such files at most.
const LIMIT: u64 = 512 << 10;

/// Appends a line.
pub(super) fn append(root: &Path, line: &str) {
    if let Err(error) = try_append(root, line) {
        tracing::debug!(%error, "a failure is not noted");
    }
}

fn try_append(root: &Path, line: &str) -> io::Result<()> {
    let path = root.join(FILE);
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o640).open(&path)?;
    // The first line break ends what a kill has torn.
    file.write_all(format!("\n{line}\n").as_bytes())?;
    if file.metadata()?.len() >= LIMIT {
        fs::rename(path, root.join(FORMER))?;
    }
    Ok(())
}

/// The last failures that a collector with this state directory has judged, oldest first, at most `most`; whether it runs or not.
///
/// # Errors
/// What the system said of a file that is there.
pub fn last_failures(state_dir: &Path, most: usize) -> io::Result<Vec<serde_json::Value>> {
    let mut all = Vec::new();
    for name in [FORMER, FILE] {
        let text = match fs::read(state_dir.join(name)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lines = text.lines();
        all.extend(lines.filter_map(|line| serde_json::from_str(line).ok()));
    }
    let skipped = all.len().saturating_sub(most);
    Ok(all.split_off(skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failures_are_kept_within_bounds_and_a_torn_line_is_stepped_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(last_failures(dir.path(), 10).unwrap().is_empty());
        let padding = "x".repeat(1000);
        for n in 0..2000 {
            append(dir.path(), &format!("{{\"n\":{n},\"x\":\"{padding}\"}}"));
        }
        let torn = fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(FILE));
        torn.unwrap().write_all(b"{\"n\":").unwrap();
        append(dir.path(), "{\"n\":1999}");
        let kept = last_failures(dir.path(), 100_000).unwrap();
        assert_eq!(kept.last().unwrap()["n"], 1999);
        assert!(kept.len() >= 500 && kept.len() <= 1100, "{}", kept.len());
        assert_eq!(last_failures(dir.path(), 3).unwrap().len(), 3);
        let bytes: u64 = [FILE, FORMER]
            .iter()
            .map(|name| fs::metadata(dir.path().join(name)).unwrap().len())
            .sum();
        assert!(bytes < 2 * LIMIT + 2000, "{bytes}");
    }
}
