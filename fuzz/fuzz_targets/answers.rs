//! Answers that refuse, with their headers: of Mimecast, and behind an `h` of HEC.
#![no_main]

use mimecast_collector::{mimecast, output};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.strip_prefix(b"h") {
        Some(hec) => output::fuzz::hec_answers(hec),
        None => mimecast::fuzz::answers(data),
    }
});
