//! The mailboxes of plugins: each is a way to reach one, behind the same two traits
//! ([`PluginTransport`](crate::plugin::PluginTransport), [`PluginClient`](crate::plugin::PluginClient)).
//!
//! `in_memory` leads to parts of the gateway itself, `sidecar` to processes that somebody else runs, `mcp` to MCP
//! servers. `dialect` are the words of protocol version 1 and `http_call` their way over HTTP; `port_line` is how a
//! process says where it listens. `vetted` is any of these for a plugin that has to fit what is required of it.

pub mod in_memory;
pub mod mcp;
pub mod port_line;
pub mod sidecar;
pub mod vetted;

mod dialect;
mod http_call;

pub use in_memory::{InMemoryTransport, Part};
pub use mcp::McpTransport;
pub use sidecar::SidecarTransport;
pub use vetted::{VettedTransport, Way};

#[cfg(test)]
mod tests;
