//! `keygate::fuzzing::request_framing` for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keygate::fuzzing::request_framing(data));
