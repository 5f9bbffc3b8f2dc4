//! `keygate::fuzzing::chunked` for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keygate::fuzzing::chunked(data));
