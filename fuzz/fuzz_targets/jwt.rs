//! Hands `weir_fuzz::jwt` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::jwt::run(data));
