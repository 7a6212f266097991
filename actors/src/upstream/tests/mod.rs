//! The actor against servers that are made by hand, and against real ones.

mod http;
mod kit;
mod site;
mod stdio;
