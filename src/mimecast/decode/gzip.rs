//! Files that may be compressed: told by their first bytes, since names and headers are not reliable.

use std::io::{self, Chain, Cursor, Read, Take};

use flate2::read::MultiGzDecoder;

/// Reads a file plain, whether it is gzip or not.
pub(in crate::mimecast) enum Inflated<R> {
    Gzip(Box<MultiGzDecoder<Started<R>>>),
    Plain(Started<R>),
}

/// A reader whose first two bytes were looked at.
type Started<R> = Chain<Take<Cursor<[u8; 2]>>, R>;

impl<R: Read> Inflated<R> {
    /// Looks at the first two bytes.
    pub(in crate::mimecast) fn new(mut input: R) -> io::Result<Self> {
        let mut first = [0; 2];
        let mut len = 0;
        while let Some(rest @ [_, ..]) = first.get_mut(len..) {
            match input.read(rest) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let whole = Cursor::new(first).take(len as u64).chain(input);
        Ok(if first == [0x1f, 0x8b] {
            Self::Gzip(Box::new(MultiGzDecoder::new(whole)))
        } else {
            Self::Plain(whole)
        })
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(input) => input.read(to),
            Self::Plain(input) => input.read(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        Inflated::new(bytes)?.read_to_end(&mut whole)?;
        Ok(whole)
    }

    #[test]
    fn compressed_or_not_the_same_bytes_come_out() {
        for plain in [&b"a\nb\n"[..], b"", b"\x1f", b"\x1fx"] {
            assert_eq!(read(plain).unwrap(), plain);
            assert_eq!(read(&gzip(plain)).unwrap(), plain);
        }
        // Written in two goes.
        let twice = [gzip(b"a\n"), gzip(b"b\n")].concat();
        assert_eq!(read(&twice).unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_file_cut_short_or_damaged_is_an_error() {
        let whole = gzip(&[b'x'; 10_000]);
        for end in [2, 10, whole.len() - 1] {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        let mut damaged = whole;
        let middle = damaged.len() - 6;
        damaged[middle] ^= 1;
        assert!(read(&damaged).is_err());
    }
}
