//! Second stage: may this principal do that.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::jsonrpc::Field;
use weir_plugin_protocol::role::{Access, Answer, PolicyError, TargetKind};

use super::credential::{CredentialActor, Permitted};
use super::target::{Target, resolve};
use super::telemetry::{Answered, TelemetryActor};
use super::{ClientRequest, Exchange, Refusal, Stage, intercept};
use crate::admission::{Called, Callers, Limited};
use crate::mailbox::Mailbox;
use crate::session::Sessions;
use crate::upstream::Endpoint;

/// Received by the [`PolicyActor`]. Proves that a principal was validated.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Authenticated {
    exchange: Exchange,
    principal: Arc<UserPrincipal>,
}

/// Finds what the request is for and asks the policy. Loses nothing on restart.
pub struct PolicyActor {
    lane: Arc<PolicyLane>,
}

/// What a decision needs in order to travel on, also when it comes later.
pub struct PolicyLane {
    /// What callers have taken.
    pub callers: Arc<Callers>,
    /// Legacy sessions, for what interceptors are told.
    pub sessions: Sessions,
    /// The next stage.
    pub credential: Mailbox<CredentialActor>,
    /// Where refusals go.
    pub telemetry: Mailbox<TelemetryActor>,
}

// === impl Authenticated ===

impl Authenticated {
    pub(super) fn new(mut exchange: Exchange, principal: Arc<UserPrincipal>) -> Self {
        exchange.leave();
        Self {
            exchange,
            principal,
        }
    }
}

// === impl PolicyActor ===

impl PolicyActor {
    /// A stage with nothing in hand.
    pub fn new(lane: Arc<PolicyLane>) -> Self {
        Self { lane }
    }
}

impl Actor for PolicyActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Authenticated> for PolicyActor {
    type Result = ();

    fn handle(
        &mut self,
        Authenticated {
            mut exchange,
            principal,
        }: Authenticated,
        _context: &mut Self::Context,
    ) {
        exchange.enter(Stage::Policy);
        let target = match resolve(exchange.arrival()) {
            Ok(target) => target,
            Err(refusal) => {
                let outcome = exchange.refusal(refusal);
                return super::forward(&self.lane.telemetry, Answered::new(exchange, outcome));
            }
        };
        let verdict = ask(&exchange, &principal, &target);
        if let Target::Server { route, .. } = &target {
            let facts = exchange.facts_mut();
            facts.server = Some(route.server.name.clone());
            facts.link = Some(route.link.clone());
            facts.target = target.own_name().map(str::to_owned);
        }
        match verdict {
            Answer::Now(verdict) => self.lane.decide(exchange, principal, target, verdict),
            Answer::Later(verdict) => {
                let lane = self.lane.clone();
                actix_rt::spawn(async move {
                    let timeout = || Refusal::PolicyUnavailable("timeout".into());
                    if let Some((exchange, verdict)) =
                        super::wait_for(exchange, verdict, &lane.telemetry, timeout).await
                    {
                        lane.decide(exchange, principal, target, verdict);
                    }
                });
            }
        }
    }
}

// === impl PolicyLane ===

impl PolicyLane {
    /// Takes what a call needs of the limits of its caller at what it calls, and learns how long it may take.
    fn admit(
        &self,
        exchange: &mut Exchange,
        principal: &UserPrincipal,
        target: &Target,
    ) -> Result<(), Limited> {
        let Target::Server { route, kind } = target else {
            return Ok(());
        };
        let called = Called {
            server: route.server.name.as_str(),
            tool: (*kind == TargetKind::Tool).then_some(route.own_name.as_str()),
        };
        let settings = exchange.settings().clone();
        let caller = exchange.caller(principal);
        let places = exchange.places_mut();
        let deadline = self
            .callers
            .call(&settings.limits, &caller, &called, places)?;
        let general = || settings.servers.of(&route.server.name).deadline;
        exchange.set_deadline(deadline.unwrap_or_else(general));
        Ok(())
    }

    /// Hands what is allowed to the next stage.
    pub(super) fn seal(&self, exchange: Exchange, principal: Arc<UserPrincipal>, target: Target) {
        super::forward(
            &self.credential,
            Permitted::new(exchange, principal, target),
        );
    }

    fn decide(
        self: &Arc<Self>,
        mut exchange: Exchange,
        principal: Arc<UserPrincipal>,
        target: Target,
        verdict: Result<(), PolicyError>,
    ) {
        let refusal = match (verdict, kept_from(&target)) {
            (Ok(()), Some(refusal)) => refusal,
            (Ok(()), None) => match self.admit(&mut exchange, &principal, &target) {
                Ok(()) if intercept::request::is_wanted(&exchange) => {
                    let passing =
                        intercept::request::pass(self.clone(), exchange, principal, target);
                    actix_rt::spawn(passing);
                    return;
                }
                Ok(()) => return self.seal(exchange, principal, target),
                Err(limited) => Refusal::Limited(limited),
            },
            (Err(PolicyError::Denied(reason)), _) => Refusal::Denied(reason),
            (Err(PolicyError::Unavailable(reason)), _) => Refusal::PolicyUnavailable(reason),
        };
        let outcome = exchange.refusal(refusal);
        super::forward(&self.telemetry, Answered::new(exchange, outcome));
    }
}

/// Asks the policy whether a principal may do what the request is for.
pub(super) fn ask(
    exchange: &Exchange,
    principal: &UserPrincipal,
    target: &Target,
) -> Answer<Result<(), PolicyError>> {
    let arrival = exchange.arrival();
    let server = match (target, &arrival.endpoint) {
        (Target::Server { route, .. }, _) => Some(route.server.name.as_str()),
        (Target::Gateway, Endpoint::One(name)) => Some(name.as_str()),
        (Target::Gateway, Endpoint::All) => None,
    };
    let message = match &arrival.request {
        ClientRequest::Modern(request) => Some(&request.message),
        ClientRequest::Legacy(message) => Some(message),
        _ => None,
    };
    let access = Access {
        method: arrival.request.method_name(),
        server,
        kind: target.kind(),
        name: target.own_name(),
        arguments: message.and_then(|message| message.field(Field::Arguments)),
    };
    exchange.settings().policy.check_access(principal, &access)
}

/// Refuses what nobody approved. Only those who may use it learn of that.
fn kept_from(target: &Target) -> Option<Refusal> {
    let Target::Server { route, .. } = target else {
        return None;
    };
    let hashes = route.withheld?;
    Some(Refusal::PinMismatch {
        server: route.server.name.to_string(),
        name: route.own_name.clone(),
        hashes,
    })
}
