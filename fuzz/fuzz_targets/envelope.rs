//! Hands `weir_fuzz::envelope` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::envelope::run(data));
