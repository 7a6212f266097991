//! Everything in weir that has a mailbox, and what keeps it alive.
//!
//! Read in this order: [`supervisor`] keeps actors alive, [`mailbox`] reaches them, [`pipeline`] is the road of a
//! request, [`settings`] what it is judged by, [`admission`] how much is let in, [`builtin`] are the parts that need no
//! plugin, [`plugin`] are those that are plugged in, [`transport`] how they are reached and [`plugged`] the roles that
//! they play, [`intercept`] those that see what passes and [`fanout`] those that are told of it,
//! [`upstream`] are the MCP servers behind the gateway.
//! [`process`] starts the children that plugins and servers are, and [`sandbox`] says what a child may do.

pub mod admission;
pub mod builtin;
pub mod fanout;
pub mod intercept;
pub mod mailbox;
pub mod pipeline;
pub mod plugged;
pub mod plugin;
pub mod process;
pub mod sandbox;
pub mod seal;
pub mod session;
pub mod settings;
pub mod supervisor;
pub mod transport;
pub mod tree;
pub mod upstream;
