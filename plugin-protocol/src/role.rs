//! What a plugin may be: the roles of the pipeline and the answers they give.
//!
//! A role answers either [`Answer::Now`] (from memory, on the hot path) or [`Answer::Later`] (it has to ask somebody).
//! Every error means "no": auth, policy, credentials and audit fail closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::credential::{ProxyRequest, ProxyResponse};
use crate::{Credentials, Secret, UserPrincipal};

/// An answer that is here, or one that has to be waited for.
pub enum Answer<T> {
    /// Known at once.
    Now(T),
    /// To be waited for. Dropping the future abandons the question.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

// === impl Answer ===

impl<T> Answer<T> {
    /// Waits for the answer, if it has to be waited for.
    pub async fn come(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

/// Validates credentials and says who is calling.
pub trait AuthProvider: Send + Sync + 'static {
    /// Says who presented `credentials` (`None`: the client presented nothing).
    fn validate_credential(
        &self,
        credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>>;
}

/// Why a caller is not let in.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// No credential was presented: 401 with a bare challenge.
    #[error("no credentials were presented")]
    Missing,
    /// A credential was presented and is not valid: 401 `invalid_token`. The text goes to the log, not to the client.
    #[error("the credentials are not valid: {0}")]
    Invalid(String),
    /// The credential is valid, but was not given all the scopes it needs: 403 `insufficient_scope`. The text holds the
    /// scopes that are needed, separated by spaces, and may be shown to the client.
    #[error("the credentials lack a scope of: {0}")]
    InsufficientScope(String),
    /// The provider could not be asked: 503, never let in.
    #[error("the auth provider is not available: {0}")]
    Unavailable(String),
}

/// What one request wants to touch.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The MCP method, such as `tools/call`.
    pub method: &'a str,
    /// The server that the request is for; `None` where the gateway itself answers for all of them.
    pub server: Option<&'a str>,
    /// What `name` is.
    pub kind: TargetKind,
    /// The tool's or prompt's own name at its server (no prefix), or the resource URI.
    pub name: Option<&'a str>,
    /// The raw JSON of `params.arguments`, in the call phase.
    pub arguments: Option<&'a str>,
}

/// The kinds of things that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource, by URI.
    Resource,
    /// A resource template, by URI template.
    ResourceTemplate,
    /// The method itself: nothing is named.
    None,
}

/// Decides what a principal may see and call.
pub trait PolicyEvaluator: Send + Sync + 'static {
    /// Decides a request.
    fn check_access(
        &self,
        principal: &UserPrincipal,
        access: &Access<'_>,
    ) -> Answer<Result<(), PolicyError>>;

    /// Learns what [`PolicyEvaluator::visible`] would say of the items of a list, where that is not known at once. By
    /// default it is, and nobody wants to know the items: of each the server, the kind, and its own name, URI or URI
    /// template.
    fn look(
        &self,
        _principal: &UserPrincipal,
        _items: &dyn Fn() -> Vec<(String, TargetKind, String)>,
    ) -> Look {
        Look::Visible
    }

    /// Decides whether a list shows an item of `server`. Must agree with [`PolicyEvaluator::check_access`].
    fn visible(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: TargetKind,
        name: &str,
    ) -> bool;

    /// Returns true if every principal always sees and may call everything, so that lists need no filter.
    fn unrestricted(&self) -> bool {
        false
    }
}

/// What a list may show.
pub enum Look {
    /// What [`PolicyEvaluator::visible`] says.
    Visible,
    /// What this says, which is complete for the items that were asked for.
    Judged(Answer<Sight>),
}

/// Decides whether a list shows an item of a server. What it was not made for it does not show.
pub type Sight = Arc<dyn Fn(&str, TargetKind, &str) -> bool + Send + Sync>;

/// Why a request is not allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// The policy says no. The text names the rule or reason.
    #[error("access denied: {0}")]
    Denied(String),
    /// The policy could not be asked: refused.
    #[error("the policy evaluator is not available: {0}")]
    Unavailable(String),
}

/// Keeps credentials that users have for upstream servers.
pub trait CredentialStorage: Send + Sync + 'static {
    /// Fetches the credential of `principal` for a server. `kind` is what it is: `bearer`, `api_key`, ….
    fn retrieve_credential(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: &str,
    ) -> Answer<Result<Secret, CredentialError>>;
}

/// Puts credentials into requests on their last hop.
pub trait AuthProxy: Send + Sync + 'static {
    /// Says what the request shall have besides.
    fn inject_credentials(
        &self,
        request: ProxyRequest,
    ) -> Answer<Result<ProxyResponse, CredentialError>>;
}

/// Why there is no credential for a request, which is then not sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CredentialError {
    /// None is stored for this user. The text goes to the log, not to the client.
    #[error("no credential is stored: {0}")]
    Missing(String),
    /// Nobody can be asked, or the answer is none.
    #[error("credentials are not available: {0}")]
    Unavailable(String),
}

/// Receives metrics. Fails open: nothing it does can fail a call.
pub trait TelemetryPlugin: Send + Sync + 'static {
    /// Adds `value` to a counter.
    fn record_counter(&self, name: &str, value: i64, attributes: &[(&str, &str)]);
    /// Records one observation.
    fn record_histogram(&self, name: &str, value: f64, attributes: &[(&str, &str)]);
    /// Sets a gauge.
    fn record_gauge(&self, name: &str, value: i64, attributes: &[(&str, &str)]);
}
