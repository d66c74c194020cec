//! Zip archives as they are downloaded.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::mimecast::fuzz::archives(data));
