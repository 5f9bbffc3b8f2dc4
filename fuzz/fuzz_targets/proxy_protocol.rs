//! `keygate::fuzzing::proxy_protocol` for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keygate::fuzzing::proxy_protocol(data));
