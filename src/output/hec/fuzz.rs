//! What the fuzzer throws at bodies for HEC and its answers.

use super::config::Labels;
use super::encode::Encoder;
use super::reply::Answer;
use crate::http::fuzz::answer;
use crate::model::{LaneId, Record, text};
use crate::output::batching::Oversized;
use crate::output::directory::Directory;
use crate::output::{Batch, fuzz};
use crate::secret::Secret;

/// However events look, a body holds as many.
pub(in crate::output) fn bodies(records: &[Record]) {
    let encoder = Encoder {
        labels: Labels::default(),
        machine: Some("collector-1".to_owned()),
        directory: Directory::default(),
        gzip: None,
    };
    let lane = LaneId::from_text("acme-uk/siem-cg/url protect");
    let batch = Batch::new(lane, records.to_vec());
    for max in [1, usize::MAX] {
        let Ok(body) = encoder.encode(&batch, max, Oversized::default()) else {
            unreachable!("memory takes all bytes")
        };
        assert!(body.events >= 1 && (max == 1 || body.events == records.len()));
        assert!(
            fuzz::are_values(&body.bytes, body.events),
            "a broken request"
        );
    }
}

/// An answer: the first byte says how many events were sent, then a line with the status, lines of headers, an empty line, the body.
pub fn hec_answers(data: &[u8]) {
    const TOKEN: &str = "fuzzed-secret-value";
    let Some((&sent, said)) = data.split_first() else {
        return;
    };
    let Some((status, headers, body)) = answer(said) else {
        return;
    };
    let sent = usize::from(sent) + 1;
    let read = Answer {
        endpoint: "POST splunk.example:8088/services/collector/event",
        status,
        headers: &headers,
        body,
        token: &Secret::new(TOKEN.to_owned()),
    };
    let delivery = read.read(sent);
    assert!(delivery.accepted <= sent);
    assert!(delivery.rejected.iter().all(|one| one.index < sent));
    // As lenient as the reader where it does not look: bytes that are no UTF-8 in a member of no interest.
    let code = serde_json::from_str::<serde_json::Value>(&text(body))
        .ok()
        .and_then(|body| body.get("code")?.as_u64());
    let is_success = status == 200 && matches!(code, Some(0 | 24 | 25));
    assert!(
        delivery.accepted < sent || is_success,
        "a success that is none"
    );
    // Events are passed, put aside, halved or kept for later: something happens to them.
    let decided = delivery.accepted == sent || !delivery.rejected.is_empty();
    assert!(decided || delivery.failure.is_some());
    assert!(
        !format!("{delivery:?}").contains(TOKEN),
        "the token is shown"
    );
}
