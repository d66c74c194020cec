//! An archive in the form of POSIX, `ustar`: a header of 512 bytes, the content, zeros to the next multiple of 512.

use std::io::{self, Write};

use crate::model::Timestamp;

const BLOCK: usize = 512;

/// Takes files one after another.
#[derive(Debug)]
pub(super) struct Archive<W> {
    to: W,
    folder: String,
    seconds: i64,
}

impl<W: Write> Archive<W> {
    /// Files will lie in `folder` when they are unpacked.
    pub(super) fn new(to: W, folder: &str, now: Timestamp) -> Self {
        Self {
            to,
            folder: folder.to_owned(),
            seconds: now.as_millis() / 1000,
        }
    }

    /// Adds a file that its owner alone may read.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let name = format!("{}/{name}", self.folder);
        self.to
            .write_all(&header(&name, content.len(), self.seconds)?)?;
        self.to.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.to.write_all(&vec![0; rest])
    }

    /// Writes the end, and gives back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to)
    }
}

fn header(name: &str, size: usize, seconds: i64) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |text: &str, width: usize| {
        if text.len() > width {
            return Err(io::Error::other(format!("{text} does not fit an archive")));
        }
        header.extend_from_slice(text.as_bytes());
        header.resize(header.len() + width - text.len(), 0);
        Ok(())
    };
    field(name, 100)?;
    field("0000600\0", 8)?;
    // Owner and group.
    field("0000000\0", 8)?;
    field("0000000\0", 8)?;
    field(&format!("{size:011o}\0"), 12)?;
    field(&format!("{seconds:011o}\0"), 12)?;
    // The sum is counted with blanks in its place.
    field("        ", 8)?;
    field("0", 1)?;
    field("", 100)?;
    field("ustar\u{0}00", 8)?;
    field("root", 32)?;
    field("root", 32)?;
    field("", 183)?;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.splice(148..156, sum.bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_whole_blocks_and_a_sum_that_fits() {
        let mut archive = Archive::new(
            Vec::new(),
            "folder",
            Timestamp::from_millis(1_767_690_487_042),
        );
        archive.add("a.txt", b"hello").unwrap();
        archive.add("empty", b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len(), BLOCK * 5);
        assert!(bytes.starts_with(b"folder/a.txt\0"));
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[512..517], b"hello");
        let told = std::str::from_utf8(&bytes[148..154]).unwrap();
        let told = u32::from_str_radix(told, 8).unwrap();
        let counted: u32 = (0..512)
            .map(|at| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(bytes[at])
                }
            })
            .sum();
        assert_eq!(told, counted);
        let long = "x".repeat(101);
        assert!(
            Archive::new(Vec::new(), &long, Timestamp::from_millis(0))
                .add("a", b"")
                .is_err()
        );
    }
}
