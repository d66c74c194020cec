//! What the fuzzer throws at the reader of frames, and what must hold whatever it throws.
#![expect(
    clippy::indexing_slicing,
    reason = "a panic is what the fuzzer looks for"
)]

use super::buffers::Buffers;
use super::frame::{self, Builder, Damage, FIXED, Header};
use crate::model::{Cursor, Event, EventId, Form, Record, Timestamp};

/// A frame as it lies in a segment. The first byte says whether it is damaged as it is, made to fit its checksums, or written whole
/// from the bytes and then damaged in one place.
pub fn frames(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    match how % 3 {
        0 => drop(read(bytes)),
        1 => repaired(bytes),
        _ => damaged(bytes, usize::from(how / 3)),
    }
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Record>), Damage> {
    let cut = Damage::Header("it is cut");
    let fixed = bytes.first_chunk::<FIXED>().ok_or(cut.clone())?;
    let names = frame::announced(fixed)?.names;
    let names = bytes.get(FIXED..FIXED + names).ok_or(cut.clone())?;
    let header = frame::parse_header(fixed, names)?;
    let start = FIXED + names.len();
    let payload = bytes.get(start..start + header.payload_len()).ok_or(cut)?;
    let buffers = Buffers::default();
    let mut stored = buffers.lend(payload.len());
    stored.as_mut().copy_from_slice(payload);
    let records = frame::parse_payload(&header, stored, &buffers)?;
    Ok((header, records))
}

/// What passes its checksums is read as it was written, or not at all.
fn repaired(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Some(fixed) = bytes.first_chunk_mut::<FIXED>() else {
        return;
    };
    fixed[..4].copy_from_slice(b"MCF\x01");
    let Ok(announced) = frame::announced(fixed) else {
        return;
    };
    let start = FIXED + announced.names;
    let Some((head, payload)) = bytes.split_at_mut_checked(start) else {
        return;
    };
    let stored = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    head[24..28].copy_from_slice(&stored.to_le_bytes());
    head[32..36].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..36]), &head[FIXED..]);
    head[36..40].copy_from_slice(&crc.to_le_bytes());
    let Ok((header, records)) = read(&bytes) else {
        return;
    };
    assert_eq!(records.len(), header.events as usize);
    let mut builder = Builder::default();
    for record in &records {
        // The reader hands on what is no text; the writer has nothing but text.
        let Ok(body) = std::str::from_utf8(&record.body) else {
            return;
        };
        let event = Event {
            body,
            time: record.time,
            id: record.id,
        };
        assert!(builder.push(&event).is_ok());
    }
    let mut again = Vec::new();
    let cursor = header.before.as_ref();
    let written = builder.finish(
        &header.kind,
        header.form,
        &header.stream,
        cursor,
        header.first,
        &mut again,
    );
    assert!(written.is_ok());
    let Ok((_, back)) = read(&again) else {
        unreachable!("a frame that was just written cannot be read")
    };
    assert_eq!(back, records);
}

/// One byte that changes is noticed, wherever it is.
fn damaged(bytes: &[u8], at: usize) {
    let body = String::from_utf8_lossy(bytes);
    let mut builder = Builder::default();
    let mut events = 0;
    for (n, line) in body.split('\n').enumerate() {
        let event = Event {
            body: line,
            time: Timestamp::from_millis(i64::try_from(n).unwrap_or(0)),
            id: EventId([7; 16]),
        };
        assert!(builder.push(&event).is_ok());
        events += 1;
    }
    let mut whole = Vec::new();
    let cursor = Cursor::new("before".to_owned()).ok();
    let form = Form::Json;
    let written = builder.finish("receipt", form, "a/siem", cursor.as_ref(), 5, &mut whole);
    assert!(written.is_ok());
    let good = read(&whole);
    assert!(good.is_ok_and(|(_, records)| records.len() == events));
    let at = at * 7 % whole.len();
    whole[at] ^= 1 << (at % 8);
    assert!(read(&whole).is_err(), "damage at {at} is not noticed");
    assert!(
        read(&whole[..whole.len() - 1]).is_err(),
        "a frame that is cut"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds::seeds;

    #[test]
    fn every_seed_keeps_what_is_promised_of_frames() {
        seeds("frames").iter().for_each(|seed| frames(seed));
    }
}
