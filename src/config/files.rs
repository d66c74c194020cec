//! Which files the configuration is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::settings::{File, Notes};

/// The texts of the main file and of `conf.d/*.toml` beside it, in the order of their names; a file that cannot be read is
/// noted and counts as empty and broken.
pub(super) fn read(main: &Path, notes: &Notes) -> Vec<File> {
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let (paths, listing) = match list(&folder) {
        Ok(paths) => (paths, None),
        Err(e) => (Vec::new(), Some(e)),
    };
    let paths = std::iter::once(main.to_owned()).chain(paths);
    let mut files: Vec<_> = paths
        .enumerate()
        .map(|(rank, path)| read_one(rank, &path, notes))
        .collect();
    if let Some(e) = listing {
        let file = File::unreadable(files.len(), &folder);
        let text =
            format!("cannot list the folder: {e}; it must be readable by the user of this program");
        notes.error(file.place(), "", text);
        files.push(file);
    }
    files
}

/// The main file and `conf.d/*.toml` beside it.
pub(super) fn paths(main: &Path) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut paths = vec![main.to_owned()];
    paths.extend(list(&folder).unwrap_or_default());
    paths
}

fn read_one(rank: usize, path: &Path, notes: &Notes) -> File {
    let error = match fs::read_to_string(path) {
        Ok(text) => return File::new(rank, path, text),
        Err(e) => e,
    };
    let advice = if error.kind() == io::ErrorKind::NotFound {
        "give the right path with --config, or begin with a copy of config.example.toml"
    } else if error.kind() == io::ErrorKind::InvalidData {
        "save the file as UTF-8"
    } else {
        "it must be readable by the user of this program"
    };
    let file = File::unreadable(rank, path);
    notes.error(
        file.place(),
        "",
        format!("cannot read the file: {error}; {advice}"),
    );
    file
}

/// `*.toml`, but not the hidden files that editors leave.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if !is_hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
