//! Fifth stage: every outcome is counted, whatever it is.

use actix::{Actor, Context, Handler, Message};

use super::audit::{AuditActor, Measured};
use super::metrics::Ledger;
use super::{Exchange, Outcome, Stage};
use crate::mailbox::Mailbox;

/// Received by the [`TelemetryActor`]. Proves that an outcome exists: a result, an upstream error or a refusal.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Answered(Option<(Exchange, Outcome)>);

/// Counts and times outcomes. Loses nothing on restart: the counts outlive it, and where they are is looked up again.
pub struct TelemetryActor {
    audit: Mailbox<AuditActor>,
    ledger: Ledger,
}

// === impl Answered ===

impl Answered {
    /// Any stage may end a request; so may the door, for what it refuses.
    pub fn new(mut exchange: Exchange, outcome: Outcome) -> Self {
        exchange.leave();
        Self(Some((exchange, outcome)))
    }
}

impl Drop for Answered {
    /// A message that nobody handles is settled as it is: what is known is not thrown away because a stage restarts.
    fn drop(&mut self) {
        if let Some((mut exchange, outcome)) = self.0.take() {
            exchange.measure(&outcome, None);
            exchange.settle(outcome);
        }
    }
}

// === impl TelemetryActor ===

impl TelemetryActor {
    /// A stage with nothing in hand.
    pub fn new(audit: Mailbox<AuditActor>) -> Self {
        Self {
            audit,
            ledger: Ledger::default(),
        }
    }
}

impl Actor for TelemetryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Answered> for TelemetryActor {
    type Result = ();

    fn handle(&mut self, mut answered: Answered, _context: &mut Self::Context) {
        let Some((mut exchange, outcome)) = answered.0.take() else {
            return;
        };
        exchange.enter(Stage::Telemetry);
        exchange.measure(&outcome, Some(&mut self.ledger));
        super::forward(&self.audit, Measured::new(exchange, outcome));
    }
}
