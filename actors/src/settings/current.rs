//! The roles as they are cast at any time, for those who are not a request.

use std::sync::Arc;

use weir_plugin_protocol::role::{
    Access, Answer, AuthError, AuthProvider, PolicyError, PolicyEvaluator, TargetKind,
};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use crate::upstream::UpstreamBoard;

/// Asks whoever plays the role under the settings of the moment. Requests ask their own snapshot instead.
#[derive(Clone, Debug)]
pub struct Current(pub UpstreamBoard);

// === impl Current ===

impl AuthProvider for Current {
    fn validate_credential(
        &self,
        credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        let federation = self.0.load();
        federation.settings.auth.validate_credential(credentials)
    }
}

impl PolicyEvaluator for Current {
    fn check_access(
        &self,
        principal: &UserPrincipal,
        access: &Access<'_>,
    ) -> Answer<Result<(), PolicyError>> {
        let federation = self.0.load();
        federation.settings.policy.check_access(principal, access)
    }

    fn visible(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: TargetKind,
        name: &str,
    ) -> bool {
        let federation = self.0.load();
        federation
            .settings
            .policy
            .visible(principal, server, kind, name)
    }

    fn unrestricted(&self) -> bool {
        self.0.load().settings.policy.unrestricted()
    }
}
