//! The parts that need no plugin: what the stages of the pipeline do when nothing else is configured.
//!
//! Read in this order: what comes from outside ([`outside`]); who is calling ([`auth`] composes [`desktop_implicit`],
//! [`api_keys`] and [`jwt`] by [`any_of`], and [`challenge`] says what to bring); what they may do ([`always_allow`], [`rules`]);
//! what servers get instead of the client's credentials ([`static_credentials`]); what is recorded ([`audit_lines`]);
//! and how the `plugins` block of the configuration names these ([`in_memory`]).

pub mod always_allow;
pub mod any_of;
pub mod api_keys;
pub mod audit_lines;
pub mod auth;
pub mod challenge;
pub mod desktop_implicit;
pub mod in_memory;
pub mod jwt;
pub mod line_store;
pub mod misconfigured;
pub mod noop_telemetry;
pub mod outside;
pub mod pattern;
pub mod rfc3339;
pub mod rules;
pub mod static_credentials;
pub(crate) mod strict_json;

pub use audit_lines::is_deceptive;
pub use misconfigured::Misconfigured;
pub use outside::{Clock, Outside};
