//! weir: an MCP gateway whose every moving part is a supervised actor.
//!
//! Read in this order: [`cli`] is what an operator types, [`config`] what an operator writes, [`run`] how the gateway
//! starts and stops; [`admin`] and [`observe`] show what it does; [`demo`] and [`call`] are the other ends of the wire,
//! `telemetry` a small server for measurements; `reply` is what servers inside weir answer alike.

pub mod admin;
pub mod call;
pub mod cli;
pub mod config;
pub mod demo;
pub mod downstream;
pub mod observe;
pub mod run;

mod reply;
mod telemetry;
