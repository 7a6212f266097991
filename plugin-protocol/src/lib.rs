//! The words that the gateway, its plugins and MCP share. No I/O and no runtime: anything here can be used by a
//! plugin author, a test or a simulator.
//!
//! Read in this order: who is calling ([`identity`]), what the seven roles answer ([`role`]) and in which words
//! ([`policy`], [`credential`], [`provision`], [`telemetry`]), what is recorded ([`audit`]), how a plugin is asked
//! ([`call`]), then the wire: [`jsonrpc`] carries bytes, [`mcp`] knows the revisions.

pub mod audit;
pub mod call;
pub mod credential;
pub mod identity;
pub mod jsonrpc;
pub mod mcp;
pub mod policy;
pub mod provision;
pub mod role;
pub mod secret;
pub mod telemetry;

mod nullable;

pub use identity::{Credentials, UserPrincipal};
pub use secret::Secret;
