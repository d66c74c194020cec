//! Earlier files: renamed, packed, and the oldest deleted if only so many are kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FileConfig, MODE};
use crate::model::Timestamp;

/// Characters of the time in a name, `20260106T090807000Z`.
const STAMP: usize = 19;

/// Renames the file to one with the time in its name.
pub(super) fn away(path: &Path, now: Timestamp) -> io::Result<()> {
    let stamp = now.to_string().replace(['-', ':', '.'], "");
    let taken = |path: &PathBuf| path.exists() || with(path, ".gz").exists();
    let plain = with(path, &format!("-{stamp}"));
    let numbered = (1_u32..).map(|n| with(&plain, &format!("-{n:04}")));
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let free = names.find(|path| !taken(path)).unwrap_or(plain);
    fs::rename(path, free)?;
    sync_folder_of(path)
}

/// Packs what is not packed yet and deletes the oldest. Nothing of that keeps events from being written, so it only warns.
pub(super) fn tidy(config: &FileConfig) {
    if let Err(error) = try_tidy(config) {
        tracing::warn!(path = %config.path.display(), %error, "cannot pack or delete earlier files of an output");
    }
}

fn try_tidy(config: &FileConfig) -> io::Result<()> {
    let (parts, whole): (Vec<_>, Vec<_>) = earlier(&config.path)?
        .into_iter()
        .partition(|path| ends(path, ".part"));
    for part in parts {
        fs::remove_file(part)?;
    }
    for path in whole.iter().filter(|path| !ends(path, ".gz")) {
        pack(path)?;
    }
    if let Some(keep) = config.keep {
        let earlier = earlier(&config.path)?;
        let surplus = earlier.len().saturating_sub(keep as usize);
        for path in earlier.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn pack(path: &Path) -> io::Result<()> {
    let (part, packed) = (with(path, ".gz.part"), with(path, ".gz"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    let mut encoder = GzEncoder::new(options.open(&part)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(part, packed)?;
    sync_folder_of(path)?;
    fs::remove_file(path)
}

/// The earlier files, oldest first: those whose names go on with a time.
fn earlier(path: &Path) -> io::Result<Vec<PathBuf>> {
    let beginning = format!(
        "{}-",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.strip_prefix(&beginning);
        let stamp = stamp.and_then(|rest| rest.get(..STAMP));
        if stamp.is_some_and(is_stamp) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_stamp(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits == STAMP - 2 && text.ends_with('Z') && text.contains('T')
}

fn ends(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Makes the names in the file's folder durable.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}
