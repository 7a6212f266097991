//! Interceptors: plugins that see requests of clients and the answers to them, and judge or change them.
//!
//! The contract is SEP-2624 of the Model Context Protocol, carried by any transport of plugins: a plugin is called by the
//! method [`INVOKE`] (`interceptor/invoke` there) with `name`, `event`, `phase`, `payload`, `config`, `timeoutMs` and
//! `context`, and answers a `ValidationResult` or a `MutationResult`.
//!
//! | | request | response |
//! |---|---|---|
//! | `payload` | the `params` of the request | the `result`; of an error that a server answered `{"error": …}` |
//! | order | mutations one after the other, then validations all at once | validations, then mutations |
//! | where | after the policy, which is asked again about what was changed | before the answer is counted, recorded and sent |
//!
//! Read in this order: [`config`] is the block of a plugin, `event` which messages it sees, `wire` the words of the
//! contract, `interceptor` asks one of them, `chain` all of them, `refused` is why a message goes no further. The places
//! in the pipeline are in [`crate::pipeline`].

pub mod config;

mod chain;
mod event;
mod interceptor;
mod refused;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use chain::{Interceptors, Ruling};
pub use config::InterceptorConfig;
pub use event::Phase;
pub(crate) use event::is_event;
pub use interceptor::{Accepts, Asked, INVOKE, Interceptor};
pub use refused::{Fault, Intercepted};
