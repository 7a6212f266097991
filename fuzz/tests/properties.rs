//! The bodies of `weir-fuzz` on what proptest thinks of and on what lies in `corpus/`. A failure prints its input, shrunk,
//! and keeps its seed beside this file, in `properties.regressions`: commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod properties {
    mod canonical;
    mod config;
    mod corpus;
    mod envelope;
    mod json;
    mod jwt;
    mod ladder;
    mod streams;
}
