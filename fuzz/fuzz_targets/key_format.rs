//! `keygate::fuzzing::key_format` for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keygate::fuzzing::key_format(data));
