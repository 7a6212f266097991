//! Hands `weir_fuzz::canonical` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::canonical::run(data));
