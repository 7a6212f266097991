//! What the behaviour tests need: the kit, processes that cannot outlive a test, upstreams, the gateway and a client.
#![allow(dead_code, reason = "each test file uses its own part of the support")]

pub(crate) mod events;
pub(crate) mod gateway;
pub(crate) mod keys;
pub(crate) mod kit;
pub(crate) mod legacy_server;
pub(crate) mod mcp;
pub(crate) mod mcp_plugin;
pub(crate) mod pipes;
pub(crate) mod plugins;
pub(crate) mod proc_fs;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod scratch;
pub(crate) mod scripted;
pub(crate) mod site;
pub(crate) mod stream;
pub(crate) mod upstream;
pub(crate) mod watched;
pub(crate) mod watching;
pub(crate) mod wire;
