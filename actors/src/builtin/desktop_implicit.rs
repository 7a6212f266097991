//! The auth provider of a desktop: whoever reaches the listener is the user of the machine.

use std::sync::Arc;

use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, UserPrincipal};

/// Says `desktop-user` with the role `admin`, whatever was presented. Only for listeners that nobody else can reach.
#[derive(Clone, Debug)]
pub struct DesktopImplicit {
    principal: Arc<UserPrincipal>,
}

// === impl DesktopImplicit ===

impl DesktopImplicit {
    /// The provider.
    pub fn new() -> Self {
        Self::named("desktop-user", &["admin".to_owned()])
    }

    /// The provider for a user of another name, with these roles.
    pub fn named(user: &str, roles: &[String]) -> Self {
        let mut principal = UserPrincipal::named(user);
        principal.roles.extend_from_slice(roles);
        Self {
            principal: Arc::new(principal),
        }
    }
}

impl Default for DesktopImplicit {
    fn default() -> Self {
        Self::new()
    }
}

impl AuthProvider for DesktopImplicit {
    fn validate_credential(
        &self,
        _credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        Answer::Now(Ok(self.principal.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_the_desktop_user() {
        let Answer::Now(Ok(principal)) = DesktopImplicit::new().validate_credential(None) else {
            panic!("refused");
        };
        assert_eq!(
            serde_json::to_string(&*principal).unwrap(),
            r#"{"user_id":"desktop-user","roles":["admin"]}"#
        );
    }
}
