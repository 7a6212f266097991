//! What requests are judged by: one immutable snapshot for each reading of the configuration.
//!
//! The [`Settings`] are a part of the [`Federation`](crate::upstream::Federation), which the
//! [`UpstreamBoard`](crate::upstream::UpstreamBoard) publishes as one pointer: rules and servers are swapped in the
//! same store, so that nobody ever sees the rules of one configuration with the servers of another. A request takes
//! the pointer once, at the door ([`Arrival::snapshot`](crate::pipeline::Arrival::snapshot)), and every stage reads
//! from it: no lock, one reference count. Whoever loads the board again later (a list that was read anew, a stream
//! that waits) gets servers and rules that belong together.
//!
//! What a worker keeps of its own, such as verdicts by token, holds only for the [`Settings`] it was made under:
//! compare [`Settings::serial`], or keep it inside the provider, which is replaced when its configuration changes.

mod current;
mod doors;

use std::fmt;
use std::sync::Arc;

use weir_plugin_protocol::role::{
    Access, Answer, AuthError, AuthProvider, PolicyError, PolicyEvaluator, TargetKind,
};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use crate::admission::ServersLimits;
use crate::builtin::challenge::{ProtectedResource, challenge};
use crate::builtin::static_credentials::StaticCredentials;
use crate::fanout::Fanout;
use crate::intercept::Interceptors;
use crate::pipeline::LimitsConfig;
use crate::plugged::Outfit;

pub use current::Current;
pub use doors::{Doors, Hosts, ProtocolHeaders};

/// One reading of the configuration, as far as requests are concerned.
#[derive(Clone)]
pub struct Settings {
    /// Counts the readings: 1 for the first, one more for each that changed something.
    pub serial: u64,
    /// Which requests are looked at at all.
    pub doors: Arc<Doors>,
    /// Who validates credentials.
    pub auth: Arc<dyn AuthProvider>,
    /// What tokens for this gateway are about, if any are asked for.
    pub resource: Option<Arc<ProtectedResource>>,
    /// Who decides.
    pub policy: Arc<dyn PolicyEvaluator>,
    /// What weir proves itself with at servers.
    pub credentials: Arc<StaticCredentials>,
    /// What plugins give to requests at servers besides.
    pub outfit: Arc<Outfit>,
    /// Plugins that see requests and answers; nothing if there are none.
    pub interceptors: Option<Arc<Interceptors>>,
    /// Plugins that are told of messages; nothing if there are none.
    pub fanout: Option<Arc<Fanout>>,
    /// The bounds of one request. Those on many together belong to admission.
    pub limits: Arc<LimitsConfig>,
    /// What each server is given.
    pub servers: Arc<ServersLimits>,
}

/// Plays the roles before a configuration is there: nobody is let in.
struct Closed;

// === impl Settings ===

impl Settings {
    /// Writes the value of `WWW-Authenticate` for a refusal.
    pub fn challenge(&self, error: &AuthError) -> String {
        challenge(self.resource.as_deref(), error)
    }
}

impl Default for Settings {
    /// What holds before anything is configured: nobody is let in.
    fn default() -> Self {
        Self {
            serial: 0,
            doors: Arc::default(),
            auth: Arc::new(Closed),
            resource: None,
            policy: Arc::new(Closed),
            credentials: Arc::default(),
            outfit: Arc::default(),
            interceptors: None,
            fanout: None,
            limits: Arc::default(),
            servers: Arc::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

// === impl Closed ===

impl AuthProvider for Closed {
    fn validate_credential(
        &self,
        _credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        let reason = "no configuration is loaded".to_owned();
        Answer::Now(Err(AuthError::Unavailable(reason)))
    }
}

impl PolicyEvaluator for Closed {
    fn check_access(
        &self,
        _principal: &UserPrincipal,
        _access: &Access<'_>,
    ) -> Answer<Result<(), PolicyError>> {
        let reason = "no configuration is loaded".to_owned();
        Answer::Now(Err(PolicyError::Unavailable(reason)))
    }

    fn visible(
        &self,
        _principal: &UserPrincipal,
        _server: &str,
        _kind: TargetKind,
        _name: &str,
    ) -> bool {
        false
    }
}
