//! Log files as they are downloaded: gzip, NDJSON, `key=value`, the document of API 1.0.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::mimecast::fuzz::files(data));
