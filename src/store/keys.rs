//! Names of the trees, keys and the encoding of values: a version byte, then JSON.
//!
//! Values are small records, never payload: sled keeps large values in files whose space it does not give back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::model::{LaneId, OutputId};

/// Version of the layout of the state directory; a newer one refuses to open.
pub(super) const SCHEMA: u32 = 1;
/// Tree of two records: [`SCHEMA`] under the key `schema`, and the seal.
pub(super) const META: &str = "meta";
/// Key of [`super::database::Seal`] in [`META`]: two numbers of 64 bits, big-endian.
pub(super) const SEAL: &str = "seal";
/// Stream → [`super::StreamRecord`].
pub(super) const STREAMS: &str = "streams";
/// Lane → [`super::LaneRecord`].
pub(super) const LANES: &str = "lanes";
/// Output, zero byte, lane → [`super::PositionRecord`].
pub(super) const POSITIONS: &str = "positions";
/// Subject of health → its state.
pub(super) const HEALTH: &str = "health";
/// Number, big-endian → [`super::AsideRecord`]; `lane:segment:offset` of a damaged frame → when it was found.
pub(super) const ASIDES: &str = "asides";

/// Version of the encoding of all values so far.
const VALUE: u8 = 1;
/// 16 KiB: a cursor of 4 KiB with every byte escaped, and room.
const MAX_VALUE: usize = 16 << 10;

/// Writes a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![VALUE];
    serde_json::to_writer(&mut bytes, value).map_err(|e| StoreError::Value(e.to_string()))?;
    if bytes.len() > MAX_VALUE {
        return Err(StoreError::Value(format!("{} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// Reads a value that [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VALUE, json)) => {
            serde_json::from_slice(json).map_err(|e| StoreError::Value(e.to_string()))
        }
        Some((version, _)) => Err(StoreError::Value(format!("unknown version {version}"))),
        None => Err(StoreError::Value("empty".to_owned())),
    }
}

/// The key of an output's position in a lane.
pub(super) fn position(output: &OutputId, lane: &LaneId) -> Vec<u8> {
    let mut key = positions_of(output);
    key.extend_from_slice(lane.as_str().as_bytes());
    key
}

/// What the keys of all positions of an output begin with.
pub(super) fn positions_of(output: &OutputId) -> Vec<u8> {
    let mut key = output.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

/// Reads a key of [`POSITIONS`] back.
pub(super) fn parse_position(key: &[u8]) -> Option<(OutputId, LaneId)> {
    let (output, lane) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    Some((OutputId::new(output).ok()?, LaneId::from_text(lane)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_later_version_is_refused() {
        let mut bytes = encode(&7_u32).unwrap();
        assert_eq!(decode::<u32>(&bytes).unwrap(), 7);
        bytes[0] = 2;
        assert!(decode::<u32>(&bytes).is_err());
    }

    #[test]
    fn payload_is_refused() {
        assert!(encode(&"x".repeat(20_000)).is_err());
    }

    #[test]
    fn a_position_key_is_read_back() {
        let output = OutputId::new("splunk").unwrap();
        let lane = LaneId::from_text("acme/siem-cg/url protect");
        assert_eq!(
            parse_position(&position(&output, &lane)),
            Some((output, lane))
        );
    }
}
