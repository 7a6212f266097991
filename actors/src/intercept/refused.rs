//! Why a message goes no further.

use std::sync::Arc;

use super::event::Phase;
use crate::plugin::CallError;

/// A message that an interceptor stopped.
#[derive(Clone, Debug)]
pub struct Intercepted {
    /// Whose word it was.
    pub plugin: Arc<str>,
    /// In which phase.
    pub phase: Phase,
    /// What the client is told besides: members of a JSON object, each after a comma.
    pub told: String,
    /// The interceptor did not say no: it did not say anything that counts.
    pub fault: Option<Fault>,
}

/// Why an interceptor's word does not count.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It was too slow.
    Timeout {
        /// How long it might have taken.
        timeout_ms: u64,
    },
    /// It cannot be asked, failed, or answered something else than the contract says.
    Failed(CallError),
}

// === impl Intercepted ===

impl Intercepted {
    /// Whether the same request may succeed a little later. An answer that is lost was given: the server has done its part.
    pub fn is_retryable(&self) -> bool {
        self.phase == Phase::Request
            && match &self.fault {
                None => false,
                Some(Fault::Timeout { .. }) => true,
                Some(Fault::Failed(error)) => error.is_retryable(),
            }
    }
}
