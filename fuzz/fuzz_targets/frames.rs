//! Frames of the store's segments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::store::fuzz::frames(data));
