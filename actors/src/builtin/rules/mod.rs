//! The `rules` policy evaluator: default deny, and a deny rule beats every allow rule, whatever the order.
//!
//! Read in this order: `config` is what an operator writes, `method` says what each method can name, `rule`
//! matches one rule, `arguments` looks into a call's arguments, `evaluator` decides.

mod arguments;
mod config;
mod evaluator;
mod method;
mod rule;

#[cfg(test)]
mod tests;

pub use config::{Effect, PolicyConfig, RuleConfig};
pub use evaluator::Rules;
