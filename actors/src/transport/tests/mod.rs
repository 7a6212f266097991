//! Transports against plugins that answer byte by byte what a test says.

mod scripted;
mod sidecar;
