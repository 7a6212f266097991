//! Hands `weir_fuzz::ladder` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::ladder::run(data));
