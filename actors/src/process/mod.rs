//! Child processes: what is started, and how all of it is ended.
//!
//! Read in this order: a [`Program`] says what to run, starting it gives a [`Started`] with its three pipes, and its
//! [`Group`] is the way to end it and everything it started itself. Both MCP servers on pipes and plugins are run by
//! this room, which knows all [`children`] and what they use; what a child may do is the matter of [`crate::sandbox`].

mod children;
mod group;
mod program;
mod spawner;

pub use children::{ChildView, Usage, children, plugin_usage};
pub use group::Group;
pub use program::{NotStarted, Program, Started};
