//! What must hold for any bytes that come from outside.
//!
//! Each room has one subject: `holds` states its properties and panics where one does not hold, `run` makes the input of
//! `holds` from arbitrary bytes. The targets in `fuzz_targets/` hand `run` what libFuzzer thinks of, the tests in `tests/`
//! hand both what proptest thinks of and what lies in `corpus/`.
//!
//! ```sh
//! cargo test -p weir-fuzz                    # on stable, bounded; a part of the test command
//! cargo install cargo-fuzz                   # once; then for hours, with a name of a file here:
//! cargo +nightly fuzz run --fuzz-dir fuzz/fuzz_targets sse fuzz/corpus/sse
//! ```
//!
//! An input that breaks a property goes into `corpus/` when it is mended: every test run reads what is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a property that does not hold is a panic"
)]

pub mod canonical;
pub mod config;
pub mod envelope;
pub mod jwt;
pub mod ladder;
pub mod port_line;
pub mod sse;
pub mod stdio;
pub mod taker;

/// A name and its `run`.
pub type Target = (&'static str, fn(&[u8]));

/// Every `run` by its name, which is that of its folder in `corpus/`.
pub const ALL: [Target; 8] = [
    ("envelope", envelope::run),
    ("ladder", ladder::run),
    ("jwt", jwt::run),
    ("sse", sse::run),
    ("stdio", stdio::run),
    ("port_line", port_line::run),
    ("config", config::run),
    ("canonical", canonical::run),
];
