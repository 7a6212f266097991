//! Hands `weir_fuzz::stdio` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::stdio::run(data));
