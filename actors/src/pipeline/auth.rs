//! First stage: who is calling.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Answer, AuthError};

use super::batch::Batches;
use super::policy::{Authenticated, PolicyActor};
use super::telemetry::{Answered, TelemetryActor};
use super::{ClientRequest, Exchange, Refusal, Stage};
use crate::admission::{Callers, Limited};
use crate::mailbox::Mailbox;

/// Received by the [`AuthActor`]. Proves that the request was admitted: the exchange holds its permit, its audit slot
/// and its deadline.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Received(pub Exchange);

/// Validates the client's credentials. Loses nothing on restart: verdicts are cached in the provider, not here.
pub struct AuthActor {
    lane: Arc<AuthLane>,
}

/// What a verdict needs in order to travel on, also when it comes later.
pub struct AuthLane {
    /// Takes batches apart.
    pub batches: Batches,
    /// What callers have taken.
    pub callers: Arc<Callers>,
    /// The next stage.
    pub policy: Mailbox<PolicyActor>,
    /// Where refusals go.
    pub telemetry: Mailbox<TelemetryActor>,
}

// === impl AuthActor ===

impl AuthActor {
    /// A stage with nothing in hand.
    pub fn new(lane: Arc<AuthLane>) -> Self {
        Self { lane }
    }
}

impl Actor for AuthActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Received> for AuthActor {
    type Result = ();

    fn handle(&mut self, Received(mut exchange): Received, _context: &mut Self::Context) {
        exchange.enter(Stage::Auth);
        let provider = &exchange.settings().auth;
        match provider.validate_credential(exchange.arrival().credentials.as_ref()) {
            Answer::Now(verdict) => self.lane.decide(exchange, verdict),
            Answer::Later(verdict) => {
                let lane = self.lane.clone();
                actix_rt::spawn(async move {
                    if let Some((exchange, verdict)) =
                        super::wait_for(exchange, verdict, &lane.telemetry, || {
                            Refusal::AuthUnavailable("timeout".into())
                        })
                        .await
                    {
                        lane.decide(exchange, verdict);
                    }
                });
            }
        }
    }
}

// === impl AuthLane ===

impl AuthLane {
    fn decide(&self, mut exchange: Exchange, verdict: Result<Arc<UserPrincipal>, AuthError>) {
        let refusal = match verdict {
            Ok(principal) => {
                let anonymous = exchange.arrival().credentials.is_none();
                let facts = exchange.facts_mut();
                facts.principal = Some(principal.clone());
                facts.anonymous = anonymous;
                let admitted = self.admit(&mut exchange, &principal);
                let arrival = exchange.arrival();
                match (admitted, &arrival.request) {
                    (Err(limited), _) => Refusal::Limited(limited),
                    _ if !arrival.transport.admits(&principal) => Refusal::UnknownSession,
                    (_, ClientRequest::Malformed(refusal)) => Refusal::Wire(refusal.clone()),
                    (_, ClientRequest::Refused(refusal)) => refusal.clone(),
                    (_, ClientRequest::LegacyBatch(_)) => {
                        return self.batches.clone().carry(exchange, principal);
                    }
                    _ => {
                        exchange.goes_on();
                        let sessions = &self.batches.sessions;
                        exchange.tap(|arrival| {
                            let id = arrival.session_id.as_deref()?;
                            let session = sessions.find(id, &principal, &arrival.endpoint)?;
                            Some(session.public_number())
                        });
                        return super::forward(
                            &self.policy,
                            Authenticated::new(exchange, principal),
                        );
                    }
                }
            }
            Err(error @ AuthError::InsufficientScope(_)) => Refusal::InsufficientScope {
                challenge: exchange.settings().challenge(&error),
                reason: error.to_string(),
            },
            Err(AuthError::Unavailable(reason)) => Refusal::AuthUnavailable(reason),
            Err(error) => match self.guess(&exchange) {
                Err(limited) => Refusal::Limited(limited),
                Ok(()) => Refusal::Unauthenticated {
                    challenge: exchange.settings().challenge(&error),
                    reason: error.to_string(),
                },
            },
        };
        let outcome = exchange.refusal(refusal);
        super::forward(&self.telemetry, Answered::new(exchange, outcome));
    }

    /// Takes what the request needs of the limits of its caller.
    fn admit(&self, exchange: &mut Exchange, principal: &UserPrincipal) -> Result<(), Limited> {
        let request = &exchange.arrival().request;
        let (weight, is_call) = (request.weight(), request.is_call());
        let caller = exchange.caller(principal);
        let limits = &exchange.settings().limits;
        let place = self.callers.admit(limits, &caller, weight, is_call)?;
        exchange.places_mut().extend(place);
        Ok(())
    }

    /// Whoever tries credentials that are no good is limited by its address.
    fn guess(&self, exchange: &Exchange) -> Result<(), Limited> {
        let arrival = exchange.arrival();
        match (&arrival.credentials, arrival.peer) {
            (Some(_), Some(peer)) => self.callers.stranger(&exchange.settings().limits, peer),
            _ => Ok(()),
        }
    }
}
