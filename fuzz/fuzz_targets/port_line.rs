//! Hands `weir_fuzz::port_line` what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::port_line::run(data));
