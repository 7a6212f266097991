//! Third stage: the client's credentials stay here, the server's own are added.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use weir_plugin_protocol::UserPrincipal;

use super::dispatch::{DispatchActor, Grant, Sealed};
use super::target::Target;
use super::{Exchange, Stage};
use crate::mailbox::Mailbox;

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
    dispatch: Mailbox<DispatchActor>,
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
    pub fn new(dispatch: Mailbox<DispatchActor>) -> Self {
        Self { dispatch }
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
        let settings = exchange.settings().clone();
        let grant = Grant {
            principal,
            settings,
        };
        super::forward(&self.dispatch, Sealed::new(exchange, target, grant));
    }
}
