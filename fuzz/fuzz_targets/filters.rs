//! Filters of the configuration, and what they leave of an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::output::fuzz::filters(data));
