//! A body that is kept as it comes, beside being read: what is left of a file that cannot be read to its end.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;

use super::DecodeError;

/// Bytes of a body that are kept at most; of a larger one, nothing is.
pub(in crate::mimecast) const MAX_KEPT: u64 = 64 << 20;

/// What was kept of a body.
#[derive(Debug, Default)]
pub(in crate::mimecast) enum Kept {
    /// It was not asked for.
    #[default]
    Nothing,
    /// All of it, from the file's beginning.
    Whole(File),
    /// It has more than [`MAX_KEPT`] bytes.
    TooLarge,
}

/// A reader that keeps what is read.
pub(in crate::mimecast) struct Copied<R> {
    input: R,
    kept: Kept,
    len: u64,
    /// Why nothing more can be kept.
    failed: Option<io::Error>,
}

impl<R: Read> Copied<R> {
    /// Keeps nothing.
    pub(in crate::mimecast) fn not(input: R) -> Self {
        Self {
            input,
            kept: Kept::Nothing,
            len: 0,
            failed: None,
        }
    }

    /// Keeps the body in a file of the folder that has no name.
    pub(in crate::mimecast) fn into_folder(input: R, folder: &Path) -> Result<Self, DecodeError> {
        let file = tempfile::tempfile_in(folder).map_err(DecodeError::Local)?;
        Ok(Self {
            kept: Kept::Whole(file),
            ..Self::not(input)
        })
    }

    /// What was kept, once the rest of the body has been read too.
    ///
    /// # Errors
    /// [`DecodeError::Local`] if it could not be written; [`DecodeError::Damaged`] if the body broke off.
    pub(in crate::mimecast) fn rest(mut self) -> Result<Kept, DecodeError> {
        let mut buffer = vec![0; 64 << 10];
        while matches!(self.kept, Kept::Whole(_)) && self.read(&mut buffer)? > 0 {}
        if let Some(error) = self.failed {
            return Err(DecodeError::Local(error));
        }
        if let Kept::Whole(file) = &mut self.kept {
            file.rewind().map_err(DecodeError::Local)?;
        }
        Ok(self.kept)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Kept::Whole(file) = &mut self.kept else {
            return;
        };
        self.len += bytes.len() as u64;
        if self.len > MAX_KEPT {
            self.kept = Kept::TooLarge;
        } else if let Err(error) = file.write_all(bytes) {
            self.kept = Kept::Nothing;
            self.failed = Some(error);
        }
    }
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(to)?;
        self.keep(to.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_body_is_kept_however_little_of_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        for read in [0, 1, 100_000] {
            let body = vec![b'x'; 100_000];
            let mut copied = Copied::into_folder(&*body, folder.path()).unwrap();
            let mut some = vec![0; read];
            copied.read_exact(&mut some).unwrap();
            let Kept::Whole(mut file) = copied.rest().unwrap() else {
                panic!("nothing was kept");
            };
            let mut kept = Vec::new();
            file.read_to_end(&mut kept).unwrap();
            assert_eq!(kept, body);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn of_a_body_over_the_limit_nothing_is_kept_and_it_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let body = io::repeat(b'x');
        let copied = Copied::into_folder(body, folder.path()).unwrap();
        assert!(matches!(copied.rest().unwrap(), Kept::TooLarge));
        let body = io::repeat(b'x').take(MAX_KEPT);
        let copied = Copied::into_folder(body, folder.path()).unwrap();
        assert!(matches!(copied.rest().unwrap(), Kept::Whole(_)));
    }

    #[test]
    fn a_body_that_breaks_off_is_not_kept() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the download broke off"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let copied = Copied::into_folder(b"x".chain(Broken), folder.path()).unwrap();
        assert!(matches!(copied.rest(), Err(DecodeError::Damaged(_))));
        assert!(matches!(
            Copied::into_folder(Broken, Path::new("/nowhere")),
            Err(DecodeError::Local(_))
        ));
    }
}
