//! This machine: the state directory, and who may read what must not be read.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{statfs, statvfs};

use super::finding::{Finding, Part, Verdict};
use crate::config::Config;
use crate::status::Report;
use crate::units::show_size;

/// File systems on which the state directory would lose what it promises to keep, by the number that statfs(2) gives them.
const UNFIT: [(u64, &str, &str); 6] = [
    (
        0x0102_1994,
        "tmpfs",
        "it is empty after a restart of the machine",
    ),
    (
        0x8584_58f6,
        "ramfs",
        "it is empty after a restart of the machine",
    ),
    (
        0x6969,
        "NFS",
        "its locks and syncs are not those of a local disk",
    ),
    (
        0xff53_4d42,
        "CIFS",
        "its locks and syncs are not those of a local disk",
    ),
    (
        0xfe53_4d42,
        "SMB",
        "its locks and syncs are not those of a local disk",
    ),
    (
        0x517b,
        "SMB",
        "its locks and syncs are not those of a local disk",
    ),
];
const ELSEWHERE: &str = "Let state_dir be on a local disk.";

pub(super) fn look(config: &Config, file: &Path, running: Option<&Report>) -> Part {
    let mut findings = vec![match running {
        Some(report) => Finding::ok(
            "collector",
            format!(
                "version {} runs; it says: {}",
                report.program_version, report.summary.sentence
            ),
        ),
        None => Finding::ok(
            "collector",
            "none runs with this state directory, or it cannot be asked",
        ),
    }];
    findings.extend(state_dir(&config.state_dir, config.spool.max_bytes));
    let read = std::iter::once(file);
    findings.extend(read.chain(config.secret_files()).map(file_mode));
    Part {
        subject: "This machine".to_owned(),
        findings,
    }
}

fn state_dir(path: &Path, spool: u64) -> Vec<Finding> {
    const WHAT: &str = "state_dir";
    let shown = path.display();
    // Before the first start there is only the folder that it will be made in.
    let Some(there) = path.ancestors().find(|folder| folder.is_dir()) else {
        let detail = format!("{shown} cannot be seen");
        return vec![Finding::new(
            WHAT,
            Verdict::Failure,
            detail,
            "Run this as root or as the collector's user.",
        )];
    };
    let mut findings = Vec::new();
    match statfs(there) {
        Ok(found) => {
            let number = u64::try_from(found.f_type).unwrap_or_default() & 0xffff_ffff;
            findings.push(match UNFIT.iter().find(|row| row.0 == number) {
                Some((_, name, why)) => {
                    let detail = format!("{shown} is on {name}: {why}");
                    Finding::new(WHAT, Verdict::Failure, detail, ELSEWHERE)
                }
                None => Finding::ok(WHAT, format!("{shown} is on a local file system")),
            });
        }
        Err(error) => {
            let detail = format!("{shown}: {error}");
            findings.push(Finding::new(WHAT, Verdict::Warning, detail, ELSEWHERE));
        }
    }
    if let Ok(found) = statvfs(there) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        findings.push(disk_space(free, spool));
    }
    findings
}

fn disk_space(free: u64, spool: u64) -> Finding {
    let detail = format!(
        "{} free, and {} may wait for delivery (spool.max_bytes)",
        show_size(free),
        show_size(spool)
    );
    if free < spool {
        let advice =
            "Free or add space, or lower spool.max_bytes: when the disk is full, polling pauses.";
        return Finding::new("disk space", Verdict::Warning, detail, advice);
    }
    Finding::ok("disk space", detail)
}

fn file_mode(path: &Path) -> Finding {
    let shown = path.display().to_string();
    match fs::metadata(path) {
        Ok(found) => judge_mode(&shown, &found),
        Err(error) => {
            let advice = "It must exist and be readable by the collector's user.";
            let detail = format!("{shown}: {error}");
            Finding::new("file mode", Verdict::Failure, detail, advice)
        }
    }
}

fn judge_mode(shown: &str, found: &Metadata) -> Finding {
    let mode = found.permissions().mode() & 0o777;
    let detail = format!(
        "{shown} has mode {mode:04o}, owner {}:{}",
        found.uid(),
        found.gid()
    );
    if mode & 0o027 == 0 {
        return Finding::ok("file mode", detail);
    }
    let advice = format!("chmod 0640 {shown}; chown root:mimecast-collector {shown}");
    Finding::new("file mode", Verdict::Warning, detail, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_in_memory_is_a_failure_and_one_on_disk_is_not() {
        let on = |path: &str| state_dir(Path::new(path), 1).remove(0);
        let memory = on("/dev/shm/not/yet/there");
        assert_eq!(memory.verdict, Verdict::Failure, "{memory:?}");
        assert!(memory.detail.contains("tmpfs"), "{memory:?}");
        assert_eq!(on(env!("CARGO_MANIFEST_DIR")).verdict, Verdict::Ok);
    }

    #[test]
    fn a_spool_that_the_disk_has_no_room_for_is_a_warning() {
        assert_eq!(disk_space(2 << 30, 1 << 30).verdict, Verdict::Ok);
        assert_eq!(disk_space(1 << 20, 1 << 30).verdict, Verdict::Warning);
    }

    #[test]
    fn a_file_that_others_may_read_or_its_group_may_write_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "x").unwrap();
        for (mode, verdict) in [
            (0o600, Verdict::Ok),
            (0o640, Verdict::Ok),
            (0o400, Verdict::Ok),
            (0o644, Verdict::Warning),
            (0o660, Verdict::Warning),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(file_mode(&path).verdict, verdict, "{mode:o}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(file_mode(&path).verdict, Verdict::Failure);
    }
}
