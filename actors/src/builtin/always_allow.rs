//! The policy evaluator of a desktop: everybody may do everything.

use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Access, Answer, PolicyError, PolicyEvaluator, TargetKind};

/// Allows everything and hides nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysAllow;

// === impl AlwaysAllow ===

impl PolicyEvaluator for AlwaysAllow {
    fn check_access(
        &self,
        _principal: &UserPrincipal,
        _access: &Access<'_>,
    ) -> Answer<Result<(), PolicyError>> {
        Answer::Now(Ok(()))
    }

    fn visible(
        &self,
        _principal: &UserPrincipal,
        _server: &str,
        _kind: TargetKind,
        _name: &str,
    ) -> bool {
        true
    }

    fn unrestricted(&self) -> bool {
        true
    }
}
