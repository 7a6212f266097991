//! The mailboxes of plugins: each is a way to reach one, behind the same two traits
//! ([`PluginTransport`](crate::plugin::PluginTransport), [`PluginClient`](crate::plugin::PluginClient)).
//!
//! `in_memory` leads to parts of the gateway itself, `subprocess` and `stdio` to processes that the gateway starts,
//! `sidecar` to those that somebody else runs, `mcp` to MCP servers. `dialect` are the words of protocol version 1;
//! `http_call` is their way over HTTP, `waiting` their order on pipes. `port_line` is how a process says where it listens,
//! `drain` what becomes of all else that it says, `child` how it ends. `vetted` is any of these for a plugin that has to
//! fit what is required of it.

pub mod in_memory;
pub mod mcp;
pub mod port_line;
pub mod sidecar;
pub mod stdio;
pub mod subprocess;
pub mod vetted;

mod child;
mod dialect;
mod drain;
mod http_call;
mod waiting;

pub use in_memory::{InMemoryTransport, Part};
pub use mcp::McpTransport;
pub use sidecar::SidecarTransport;
pub use stdio::StdioTransport;
pub use subprocess::SubprocessTransport;
pub use vetted::{VettedTransport, Way};

#[cfg(test)]
mod tests;
