//! Events as lines of every format, as frames of syslog, as bodies for HEC.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_collector::output::fuzz::formats(data));
