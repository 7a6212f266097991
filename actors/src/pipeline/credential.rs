//! Third stage: the client's credentials stay here, the server's own are added.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Answer, CredentialError};

use super::dispatch::{DispatchActor, Grant, Sealed, credential_refusal};
use super::target::Target;
use super::telemetry::{Answered, TelemetryActor};
use super::{Exchange, Refusal, Stage};
use crate::mailbox::Mailbox;
use crate::plugged::outfit::SecretHeader;
use crate::upstream::ServerName;

/// Received by the [`CredentialActor`]. Proves that the policy allowed this method, server and name.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Permitted {
    exchange: Exchange,
    principal: Arc<UserPrincipal>,
    target: Target,
}

/// Replaces the client's credentials by those of the upstream. Nothing of what the client sent to prove itself goes
/// further than this stage. Loses nothing on restart.
pub struct CredentialActor {
    lane: Arc<CredentialLane>,
}

/// What a credential needs in order to travel on, also when it comes later.
pub struct CredentialLane {
    /// The next stage.
    pub dispatch: Mailbox<DispatchActor>,
    /// Where refusals go.
    pub telemetry: Mailbox<TelemetryActor>,
}

/// A request whose credential is looked for.
struct Looking {
    exchange: Exchange,
    principal: Arc<UserPrincipal>,
    target: Target,
}

// === impl Permitted ===

impl Permitted {
    pub(super) fn new(
        mut exchange: Exchange,
        principal: Arc<UserPrincipal>,
        target: Target,
    ) -> Self {
        exchange.leave();
        Self {
            exchange,
            principal,
            target,
        }
    }
}

// === impl CredentialActor ===

impl CredentialActor {
    /// A stage with nothing in hand.
    pub fn new(lane: Arc<CredentialLane>) -> Self {
        Self { lane }
    }
}

impl Actor for CredentialActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Permitted> for CredentialActor {
    type Result = ();

    fn handle(&mut self, permitted: Permitted, _context: &mut Self::Context) {
        let Permitted {
            mut exchange,
            principal,
            target,
        } = permitted;
        exchange.enter(Stage::Credential);
        exchange.strip_credentials();
        let own = match &target {
            Target::Server { route, .. } if !exchange.settings().outfit.is_empty() => {
                let outfit = &exchange.settings().outfit;
                outfit.own(&principal, route.server.name.as_str())
            }
            _ => None,
        };
        let looking = Looking {
            exchange,
            principal,
            target,
        };
        match own {
            None => self.lane.seal(looking, None),
            Some(Answer::Now(found)) => self.lane.dress(looking, found),
            Some(Answer::Later(coming)) => {
                let lane = self.lane.clone();
                let Looking {
                    exchange,
                    principal,
                    target,
                } = looking;
                actix_rt::spawn(async move {
                    let timeout = || Refusal::CredentialsUnavailable("timeout".into());
                    if let Some((exchange, found)) =
                        super::wait_for(exchange, coming, &lane.telemetry, timeout).await
                    {
                        let looking = Looking {
                            exchange,
                            principal,
                            target,
                        };
                        lane.dress(looking, found);
                    }
                });
            }
        }
    }
}

// === impl CredentialLane ===

impl CredentialLane {
    /// Goes on with the caller's own credential, or not at all.
    fn dress(&self, looking: Looking, found: Result<SecretHeader, CredentialError>) {
        let Target::Server { route, .. } = &looking.target else {
            return self.seal(looking, None);
        };
        let server = route.server.name.clone();
        match found {
            Ok(own) => self.seal(looking, Some((server, own))),
            Err(error) => {
                let exchange = looking.exchange;
                let outcome = exchange.refusal(credential_refusal(&server, error));
                super::forward(&self.telemetry, Answered::new(exchange, outcome));
            }
        }
    }

    fn seal(&self, looking: Looking, own: Option<(ServerName, SecretHeader)>) {
        let Looking {
            exchange,
            principal,
            target,
        } = looking;
        let settings = exchange.settings().clone();
        let grant = Grant {
            principal,
            settings,
            own,
        };
        super::forward(&self.dispatch, Sealed::new(exchange, target, grant));
    }
}
