//! Zip archives. A zip is read from its end, so the archive is spooled to an unlinked temporary file, never
//! to memory. Entry names are strangers' words: they are looked at and never used as paths.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;

use super::DecodeError;

/// Bytes of an archive at most.
const MAX_ARCHIVE: u64 = 1 << 30;
/// Bytes of all its entries together at most, inflated.
pub(in crate::mimecast) const MAX_INFLATED: u64 = 16 << 30;

/// An archive on disk.
pub(in crate::mimecast) struct Archive {
    zip: ZipArchive<File>,
    /// What may still be inflated.
    left: u64,
}

/// A file in the archive, read up to the archive's cap.
pub(in crate::mimecast) struct Entry<'a> {
    /// As the archive has it.
    pub(in crate::mimecast) name: String,
    /// Inflated, as the archive has it.
    pub(in crate::mimecast) size: u64,
    /// Checksum of its content, as the archive has it.
    pub(in crate::mimecast) crc: u32,
    file: ZipFile<'a, File>,
    left: &'a mut u64,
}

impl Archive {
    /// Spools an archive into the folder and opens it; all its files together may have `max_inflated` bytes.
    pub(in crate::mimecast) fn spool(
        input: impl Read,
        folder: &Path,
        max_inflated: u64,
    ) -> Result<Self, DecodeError> {
        let mut file = tempfile::tempfile_in(folder).map_err(DecodeError::Local)?;
        copy(input.take(MAX_ARCHIVE + 1), &mut file)?;
        if file.stream_position().map_err(DecodeError::Local)? > MAX_ARCHIVE {
            return Err(DecodeError::Damaged(
                "an archive of more than 1 GiB".to_owned(),
            ));
        }
        Ok(Self {
            zip: ZipArchive::new(file).map_err(damaged)?,
            left: max_inflated,
        })
    }

    /// How many entries there are.
    pub(in crate::mimecast) fn len(&self) -> usize {
        self.zip.len()
    }

    /// An entry by its number, in the archive's order; `None` for a folder.
    pub(in crate::mimecast) fn entry(
        &mut self,
        number: usize,
    ) -> Result<Option<Entry<'_>>, DecodeError> {
        let file = self.zip.by_index(number).map_err(damaged)?;
        if file.is_dir() {
            return Ok(None);
        }
        Ok(Some(Entry {
            name: String::from_utf8_lossy(file.name_raw()).into_owned(),
            size: file.size(),
            crc: file.crc32(),
            file,
            left: &mut self.left,
        }))
    }
}

impl Read for Entry<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(to)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => *self.left = left,
            None => {
                return Err(io::Error::other(
                    "an archive that inflates beyond all bounds",
                ));
            }
        }
        Ok(read)
    }
}

fn damaged(error: zip::result::ZipError) -> DecodeError {
    DecodeError::Damaged(format!("not a zip archive that can be read: {error}"))
}

/// [`io::copy`] that tells an error of the input from one of the disk.
fn copy(mut input: impl Read, to: &mut File) -> Result<(), DecodeError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        io::Write::write_all(to, buffer.get(..read).unwrap_or_default())
            .map_err(DecodeError::Local)?;
    }
}

#[cfg(test)]
pub(in crate::mimecast) mod testing {
    use std::io::Write as _;

    use zip::write::SimpleFileOptions;

    /// An archive of these files.
    pub(in crate::mimecast) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(bytes: &[u8], max_inflated: u64) -> Result<Archive, DecodeError> {
        Archive::spool(bytes, &std::env::temp_dir(), max_inflated)
    }

    fn read(archive: &mut Archive) -> Result<Vec<(String, String)>, DecodeError> {
        let mut files = Vec::new();
        for number in 0..archive.len() {
            if let Some(mut entry) = archive.entry(number)? {
                let mut content = String::new();
                entry.read_to_string(&mut content)?;
                files.push((entry.name.clone(), content));
            }
        }
        Ok(files)
    }

    #[test]
    fn entries_are_read_in_order_and_nothing_is_written_by_their_names() {
        let bytes = testing::zip(&[("../../etc/b.json", "1"), ("a.siem", ""), ("folder/", "")]);
        let files = read(&mut spool(&bytes, 10).unwrap()).unwrap();
        assert_eq!(
            files,
            [("../../etc/b.json", "1"), ("a.siem", "")].map(|(n, c)| (n.to_owned(), c.to_owned()))
        );
    }

    #[test]
    fn what_inflates_beyond_the_cap_is_not_read_on() {
        let bytes = testing::zip(&[("a", &"x".repeat(60)), ("b", &"x".repeat(60))]);
        assert!(read(&mut spool(&bytes, 120).unwrap()).is_ok());
        let error = read(&mut spool(&bytes, 119).unwrap()).unwrap_err();
        assert!(error.to_string().contains("beyond all bounds"));
    }

    #[test]
    fn a_damaged_archive_is_an_error_and_no_panic() {
        let whole = testing::zip(&[("a.json", &"{\"data\":[]}".repeat(50))]);
        for end in 0..whole.len() {
            assert!(spool(&whole[..end], 1000).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            // Some bytes matter to nobody.
            drop(spool(&bytes, 10_000).and_then(|mut archive| read(&mut archive)));
        }
    }
}
