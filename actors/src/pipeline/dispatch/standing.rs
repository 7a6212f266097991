//! Whether the caller of an open stream is still let in: asked again when the configuration has changed.
//!
//! A request is judged once, by the settings that it found. A stream outlives them, so it keeps what its client showed, and
//! is judged again by whoever judges now. A stream whose caller is not let in any more, is somebody else now or has other
//! roles ends; the client may open another one, if it can.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use weir_plugin_protocol::role::{Access, Answer, TargetKind};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use super::{Desk, Grant};
use crate::pipeline::{Exchange, Outcome, Verdict};
use crate::settings::Settings;
use crate::upstream::Endpoint;

/// How long somebody who has to be asked may take. No answer is a no.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the client of a stream showed. It can be judged, but neither read nor passed on.
pub(in crate::pipeline) struct Standing(Option<Credentials>);

/// The caller is not let in any more, or not as who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked;

// === impl Standing ===

impl Standing {
    pub(in crate::pipeline) fn new(shown: Option<Credentials>) -> Self {
        Self(shown)
    }

    async fn is_still(&self, known: &UserPrincipal, settings: &Settings) -> bool {
        let verdict = settings.auth.validate_credential(self.0.as_ref());
        matches!(answered(verdict).await, Some(Ok(now)) if *now == *known)
    }
}

async fn answered<T>(answer: Answer<T>) -> Option<T> {
    match answer {
        Answer::Now(verdict) => Some(verdict),
        Answer::Later(verdict) => timeout(PATIENCE, verdict).await.ok(),
    }
}

// === impl Desk ===

impl Desk {
    /// Judges the caller of a stream by the settings of now, if they are not those of `grant`, and notes that it did.
    pub(super) async fn judge_again(
        &self,
        exchange: &Exchange,
        grant: &mut Grant,
    ) -> Result<(), Revoked> {
        let settings = self.board.load().settings.clone();
        let before = std::mem::replace(&mut grant.settings, settings.clone());
        if !Arc::ptr_eq(&before.auth, &settings.auth) {
            let standing = exchange.standing().ok_or(Revoked)?;
            if !standing.is_still(&grant.principal, &settings).await {
                return Err(Revoked);
            }
        }
        if !Arc::ptr_eq(&before.policy, &settings.policy) {
            let arrival = exchange.arrival();
            let server = match &arrival.endpoint {
                Endpoint::All => None,
                Endpoint::One(name) => Some(name.as_str()),
            };
            let access = Access {
                method: arrival.request.method_name(),
                server,
                kind: TargetKind::None,
                name: None,
                arguments: None,
            };
            let verdict = settings.policy.check_access(&grant.principal, &access);
            let Some(Ok(())) = answered(verdict).await else {
                return Err(Revoked);
            };
        }
        Ok(())
    }
}

// === impl Revoked ===

impl Revoked {
    /// How such a stream ends.
    pub(super) fn outcome(self) -> Outcome {
        Outcome {
            verdict: Verdict::Denied,
            reason: Some("revoked".into()),
            ..Outcome::ended()
        }
    }
}
