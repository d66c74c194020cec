//! Pages of every paging style, documents of threat intelligence, cursors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::mimecast::fuzz::pages(data));
