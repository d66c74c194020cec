//! The hot loop of this module, for `benches/micro`.

use super::config::Labels;
use super::encode::Encoder;
use crate::output::Batch;
use crate::output::batching::Oversized;
use crate::output::directory::Directory;

/// The events of a batch as a request's body, plain.
#[must_use]
pub fn wrap(batch: &Batch) -> Vec<u8> {
    let encoder = Encoder {
        labels: Labels::default(),
        machine: Some("collector-1".to_owned()),
        directory: Directory::default(),
        gzip: None,
    };
    let body = encoder.encode(batch, usize::MAX, Oversized::default());
    body.map(|body| body.bytes).unwrap_or_default()
}
