//! The frame: what a segment file is made of. A frame describes itself, so that events can be read, and a stream be
//! asked again from the right place, when nothing else is left.
//!
//! ```text
//!  0  magic "MCF", layout version 1                 4
//!  4  codec: 0 plain, 1 LZ4 block                   1
//!  5  form of the bodies: 0 JSON, 1 text            1
//!  6  length of the record type                     1
//!  7  zero                                          1
//!  8  length of the stream's name, u16              2
//! 10  length of the cursor, u16; 0xFFFF for none    2
//! 12  ordinal of its first event in the lane, u64   8
//! 20  events, u32                                   4
//! 24  bytes of the payload as stored, u32           4
//! 28  bytes of the payload unpacked, u32            4
//! 32  CRC32C of the payload as stored               4
//! 36  CRC32C of bytes 0–35 and of the names         4
//! 40  record type, stream, cursor BEFORE the frame
//!     payload; unpacked, for each event:
//!       id 16, time in ms i64, length u32, body
//! ```
//! All numbers are little-endian. The cursor is where the stream stood before any event of the frame was taken.
//! Ordinals follow each other without a gap, so that a segment which lost its end is noticed.

use std::sync::Arc;

use bytes::Bytes;

use super::buffers::{Buffers, Lent};
use crate::model::{Cursor, Event, EventId, Form, Record, Timestamp};

/// Unpacked bytes at which a frame is closed; a single larger event makes a larger frame.
pub(super) const FRAME_BYTES: usize = 1 << 20;
/// Bytes of the header without its names.
pub(super) const FIXED: usize = 40;
/// An event is at most 1 MiB; a payload claiming more than this is damaged.
const MAX_PAYLOAD: u32 = 64 << 20;
/// Bytes of an event before its body.
const EVENT_HEAD: usize = 28;
const MAGIC: [u8; 4] = *b"MCF\x01";
const NO_CURSOR: u16 = u16::MAX;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// What a frame says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Arc<str>,
    pub(crate) form: Form,
    pub(crate) stream: String,
    pub(crate) before: Option<Cursor>,
    pub(crate) first: u64,
    pub(crate) events: u32,
    codec: u8,
    stored: u32,
    unpacked: u32,
    crc: u32,
    names: usize,
}

/// The lengths that the fixed part of a header announces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Bytes of the names that follow the fixed part.
    pub(super) names: usize,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// The header does not hold: where the next frame begins is unknown.
    #[error("the frame's header is damaged: {0}")]
    Header(&'static str),
    /// The header holds, the payload does not: the next frame can be found.
    #[error("the frame's payload is damaged: {0}")]
    Payload(&'static str),
}

impl Header {
    /// Ordinal of the event that follows the frame.
    pub(super) fn following(&self) -> u64 {
        self.first + u64::from(self.events)
    }

    /// Bytes from the frame's beginning to its payload.
    fn head_len(&self) -> u64 {
        (FIXED + self.names) as u64
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        self.head_len() + u64::from(self.stored)
    }

    /// Bytes of the payload as stored.
    pub(super) fn payload_len(&self) -> usize {
        self.stored as usize
    }
}

/// Collects events of one record type and writes them as a frame.
#[derive(Debug, Default)]
pub(super) struct Builder {
    payload: Vec<u8>,
    /// Room for the payload as stored; a frame is made from it and it is kept for the next one.
    packed: Vec<u8>,
    events: u32,
}

impl Builder {
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    pub(super) fn events(&self) -> u32 {
        self.events
    }

    pub(super) fn is_full(&self) -> bool {
        self.payload.len() >= FRAME_BYTES
    }

    pub(super) fn push(&mut self, event: &Event<'_>) -> Result<(), TooLarge> {
        let len = u32::try_from(event.body.len()).map_err(|_| TooLarge)?;
        self.payload.extend_from_slice(&event.id.0);
        self.payload
            .extend_from_slice(&event.time.as_millis().to_le_bytes());
        self.payload.extend_from_slice(&len.to_le_bytes());
        self.payload.extend_from_slice(event.body.as_bytes());
        self.events += 1;
        Ok(())
    }

    /// Appends the frame to `out` and begins a new one.
    pub(super) fn finish(
        &mut self,
        kind: &str,
        form: Form,
        stream: &str,
        before: Option<&Cursor>,
        first: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let most = lz4_flex::block::get_maximum_output_size(self.payload.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let packed = lz4_flex::block::compress_into(&self.payload, &mut self.packed);
        let packed = packed.ok().and_then(|len| self.packed.get(..len));
        let (codec, stored) = match packed {
            Some(packed) if packed.len() < self.payload.len() => (LZ4, packed),
            Some(_) | None => (PLAIN, self.payload.as_slice()),
        };
        let before = before.map_or("", Cursor::as_str);
        let cursor_len = if before.is_empty() {
            NO_CURSOR
        } else {
            u16::try_from(before.len()).map_err(|_| TooLarge)?
        };
        let fits = |len: usize| u32::try_from(len).map_err(|_| TooLarge);
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(codec);
        out.push(match form {
            Form::Json => 0,
            Form::Text => 1,
        });
        out.push(u8::try_from(kind.len()).map_err(|_| TooLarge)?);
        out.push(0);
        out.extend_from_slice(
            &u16::try_from(stream.len())
                .map_err(|_| TooLarge)?
                .to_le_bytes(),
        );
        out.extend_from_slice(&cursor_len.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&fits(stored.len())?.to_le_bytes());
        out.extend_from_slice(&fits(self.payload.len())?.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(stored).to_le_bytes());
        let names = [kind, stream, before];
        let crc = names.iter().fold(
            crc32c::crc32c(out.get(start..).unwrap_or_default()),
            |crc, name| crc32c::crc32c_append(crc, name.as_bytes()),
        );
        out.extend_from_slice(&crc.to_le_bytes());
        for name in names {
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(stored);
        self.payload.clear();
        self.events = 0;
        Ok(())
    }
}

/// A frame of one JSON event, the `ordinal`-th of its lane, that no source fetched.
pub(super) fn of_one(
    kind: &str,
    form: Form,
    lane: &str,
    event: &Event<'_>,
    ordinal: u64,
) -> Result<Vec<u8>, TooLarge> {
    let (mut frame, mut out) = (Builder::default(), Vec::new());
    frame.push(event)?;
    frame.finish(kind, form, lane, None, ordinal, &mut out)?;
    Ok(out)
}

/// An event, name or cursor that the frame's layout cannot hold.
#[derive(Debug)]
pub(super) struct TooLarge;

/// Reads how many bytes of names follow the fixed part.
pub(super) fn announced(fixed: &[u8; FIXED]) -> Result<Announced, Damage> {
    let mut read = Reader(fixed);
    if read.take::<4>()? != MAGIC {
        return Err(Damage::Header("no frame begins here"));
    }
    let [_, _, kind, _] = read.take::<4>()?;
    let stream = read.u16()?;
    let cursor = match read.u16()? {
        NO_CURSOR => 0,
        len => len,
    };
    Ok(Announced {
        names: usize::from(kind) + usize::from(stream) + usize::from(cursor),
    })
}

/// Reads a header from its fixed part and its names, and checks it.
pub(super) fn parse_header(fixed: &[u8; FIXED], names: &[u8]) -> Result<Header, Damage> {
    let mut read = Reader(fixed);
    read.take::<4>()?;
    let [codec, form, kind_len, _] = read.take::<4>()?;
    let stream_len = read.u16()?;
    let cursor_len = read.u16()?;
    let first = u64::from_le_bytes(read.take()?);
    let events = read.u32()?;
    let stored = read.u32()?;
    let unpacked = read.u32()?;
    let crc = read.u32()?;
    let header_crc = read.u32()?;
    let covered = fixed.first_chunk::<36>().map_or(&[][..], |c| c.as_slice());
    if crc32c::crc32c_append(crc32c::crc32c(covered), names) != header_crc {
        return Err(Damage::Header("its checksum differs"));
    }
    let form = match form {
        0 => Form::Json,
        1 => Form::Text,
        _ => return Err(Damage::Header("unknown form of bodies")),
    };
    if stored > MAX_PAYLOAD || unpacked > MAX_PAYLOAD {
        return Err(Damage::Header("impossible length"));
    }
    let (kind, rest) = names
        .split_at_checked(usize::from(kind_len))
        .ok_or(Damage::Header("its names are cut"))?;
    let (stream, cursor) = rest
        .split_at_checked(usize::from(stream_len))
        .ok_or(Damage::Header("its names are cut"))?;
    let before = if cursor_len == NO_CURSOR {
        None
    } else {
        let cursor = text(cursor)?.to_owned();
        Some(Cursor::new(cursor).map_err(|_| Damage::Header("its cursor is too long"))?)
    };
    Ok(Header {
        kind: text(kind)?.into(),
        form,
        stream: text(stream)?.to_owned(),
        before,
        first,
        events,
        codec,
        stored,
        unpacked,
        crc,
        names: names.len(),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Damage> {
    std::str::from_utf8(bytes).map_err(|_| Damage::Header("its names are not text"))
}

/// Unpacks a payload and reads its events.
pub(super) fn parse_payload(
    header: &Header,
    stored: Lent,
    buffers: &Buffers,
) -> Result<Vec<Record>, Damage> {
    if crc32c::crc32c(stored.as_ref()) != header.crc {
        return Err(Damage::Payload("its checksum differs"));
    }
    let payload = match header.codec {
        PLAIN => Bytes::from_owner(stored),
        LZ4 => {
            let mut unpacked = buffers.lend(header.unpacked as usize);
            let len = lz4_flex::block::decompress_into(stored.as_ref(), unpacked.as_mut())
                .map_err(|_| Damage::Payload("it does not unpack"))?;
            unpacked.truncate(len);
            Bytes::from_owner(unpacked)
        }
        _ => return Err(Damage::Payload("unknown codec")),
    };
    // No more than fit: the number is the header's word.
    let most = payload.len() / EVENT_HEAD;
    let mut records = Vec::with_capacity(most.min(header.events as usize));
    let mut read = Reader(&payload);
    while !read.0.is_empty() {
        let cut = |_: Damage| Damage::Payload("an event is cut");
        let (id, time, len) =
            (|| Ok((read.take::<16>()?, read.take::<8>()?, read.u32()?)))().map_err(cut)?;
        let body = read.bytes(len as usize).map_err(cut)?;
        records.push(Record {
            id: EventId(id),
            time: Timestamp::from_millis(i64::from_le_bytes(time)),
            form: header.form,
            kind: Arc::clone(&header.kind),
            body: payload.slice_ref(body),
        });
    }
    if records.len() != header.events as usize {
        return Err(Damage::Payload("its events are not as many as announced"));
    }
    Ok(records)
}

/// Takes numbers and bytes off the front of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Damage::Header("it is cut"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Damage::Header("it is cut"))?;
        self.0 = rest;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, Damage> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(bodies: &[&str]) -> Vec<u8> {
        let mut builder = Builder::default();
        for (n, body) in (0..).zip(bodies) {
            let event = Event {
                body,
                time: Timestamp::from_millis(n),
                id: EventId([7; 16]),
            };
            builder.push(&event).unwrap();
        }
        let cursor = Cursor::new("before".to_owned()).unwrap();
        let mut out = Vec::new();
        builder
            .finish("receipt", Form::Json, "a/siem", Some(&cursor), 5, &mut out)
            .unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<(Header, Vec<Record>), Damage> {
        let cut = Damage::Header("it is cut");
        let fixed = bytes.first_chunk::<FIXED>().ok_or(cut.clone())?;
        let names = announced(fixed)?.names;
        let names = bytes.get(FIXED..FIXED + names).ok_or(cut)?;
        let header = parse_header(fixed, names)?;
        let start = FIXED + names.len();
        let payload = bytes
            .get(start..start + header.payload_len())
            .ok_or(Damage::Payload("cut"))?;
        let buffers = Buffers::default();
        let mut stored = buffers.lend(payload.len());
        stored.as_mut().copy_from_slice(payload);
        let records = parse_payload(&header, stored, &buffers)?;
        Ok((header, records))
    }

    #[test]
    fn a_frame_tells_its_stream_its_cursor_and_its_events() {
        let bytes = frame(&["{\"a\":1}", "{}"]);
        let (header, records) = read(&bytes).unwrap();
        assert_eq!(header.frame_len(), bytes.len() as u64);
        assert_eq!(header.stream, "a/siem");
        assert_eq!(header.before.unwrap().as_str(), "before");
        let bodies: Vec<_> = records.iter().map(|r| r.body.as_ref()).collect();
        assert_eq!(bodies, [b"{\"a\":1}".as_slice(), b"{}"]);
        assert_eq!(records[1].time, Timestamp::from_millis(1));
        assert_eq!(&*records[1].kind, "receipt");
    }

    #[test]
    fn a_number_of_events_that_cannot_be_is_damage_and_takes_no_memory() {
        let mut bytes = frame(&["{}"]);
        bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..36]), &bytes[FIXED..FIXED + 19]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        let why = "its events are not as many as announced";
        assert_eq!(read(&bytes).unwrap_err(), Damage::Payload(why));
    }

    #[test]
    fn the_layout_is_settled() {
        let bytes = frame(&["{}"]);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "4d43460101000700060006000500000000000000010000000f0000001e0000009724d86533241cee72656365697074612f7369656d6265666f72651b0701001300010060020000007b7d"
        );
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0_usize..200, bit in 0_u8..8) {
            let good = frame(&["{\"subject\":\"Invoice 17\",\"x\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"; 3]);
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] ^= 1 << bit;
            prop_assert!(read(&bad).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = MAGIC.to_vec();
            framed.extend(bytes);
            prop_assert!(read(&framed).is_err());
        }
    }
}
