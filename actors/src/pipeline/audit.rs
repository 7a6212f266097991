//! Last stage: the record is written, then the client is answered.

use actix::{Actor, Context, Handler, Message};

use super::{Exchange, Outcome, Stage};

/// Received by the [`AuditActor`]. Proves that the outcome was measured.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Measured(Option<(Exchange, Outcome)>);

/// Hands the audit record to the sink and answers the client, in this order. Loses nothing on restart: the room for
/// the record was reserved at admission, and a request that dies in its queue is recorded as `aborted`.
#[derive(Default)]
pub struct AuditActor;

// === impl Measured ===

impl Measured {
    pub(super) fn new(mut exchange: Exchange, outcome: Outcome) -> Self {
        exchange.leave();
        Self(Some((exchange, outcome)))
    }
}

impl Drop for Measured {
    /// A message that nobody handles is settled as it is.
    fn drop(&mut self) {
        if let Some((exchange, outcome)) = self.0.take() {
            exchange.settle(outcome);
        }
    }
}

// === impl AuditActor ===

impl Actor for AuditActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Measured> for AuditActor {
    type Result = ();

    fn handle(&mut self, mut measured: Measured, _context: &mut Self::Context) {
        if let Some((mut exchange, outcome)) = measured.0.take() {
            exchange.enter(Stage::Audit);
            exchange.settle(outcome);
        }
    }
}
