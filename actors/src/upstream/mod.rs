//! The MCP servers behind the gateway.
//!
//! Read in this order: [`config`] is how a server is configured and [`view`] what the rest of the gateway sees of it.
//! All servers as one are a [`federation`], in which [`route`] finds the server of a request; the [`board`] is where
//! it is published, once [`pins`] have said what of it clients get. The [`hub`] describes the branch of the supervision tree that keeps it so: one [`actor`] per
//! server, for a server over HTTP or for one that is a child process, which greets the server in each era, keeps a
//! face of it, and reads its [`catalog`]. Below that, how servers are reached: [`http`] speaks to a server over HTTP,
//! [`sse`] reads its event streams, [`stdio`] owns a child process and speaks to it over its pipes.

pub mod config;
pub mod view;

pub mod pins;

pub mod board;
mod desk;
mod differences;
pub mod federation;
mod index;
mod merge;
pub mod route;

pub mod actor;
mod carrier;
pub mod catalog;
mod face;
pub(crate) mod handshake;
mod home;
pub(crate) mod http_ask;
mod http_server;
mod http_wire;
pub mod hub;
mod inbox;
mod listen;
mod pause;
mod seat;
mod session_sink;
mod stdio_process;
mod stdio_server;
pub mod succession;
pub(crate) mod wire;

pub mod http;
pub mod sse;
pub mod stdio;

pub use actor::UpstreamActor;
pub use board::UpstreamBoard;
pub use catalog::ListKind;
pub use config::{HttpConfig, Protocol, ServerConfig, StdioConfig};
pub use desk::Subscription;
pub use federation::{Endpoint, HelloAnswer, ListAnswer, gateway_info};
pub use hub::{UpstreamsSetup, upstreams};
pub use index::{Hidden, exposed_name};
pub use route::{PinMismatch, Route, RouteError};
pub use session_sink::SessionSink;
pub use succession::{Departed, Newcomer, Place, Succession};
pub use view::{
    Catalog, ChangedList, Federation, Hello, Item, Link, LinkView, List, ServerName, ServerView,
    UpstreamEvent, UpstreamState,
};

#[cfg(test)]
mod tests;
