//! Transports against plugins that answer byte by byte what a test says, and against programs of a few words.

mod programs;
mod scripted;
mod sidecar;
