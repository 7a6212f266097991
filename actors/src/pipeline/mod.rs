//! The conveyor: every request is one [`Exchange`], moved from stage to stage on one thread.
//!
//! ```text
//! admit ▶ Received ▶ AuthActor ▶ Authenticated ▶ PolicyActor ▶ Permitted ▶ CredentialActor ▶ Sealed ▶ DispatchActor
//!                        │                            │                                                   │
//!                        └──────── refusals ──────────┴───────────▶ Answered ◀────────────────────────────┘
//!                                                                      │
//!                                  client ◀ settled ◀ AuditActor ◀ Measured ◀ TelemetryActor
//! ```
//!
//! A stage forwards and does not wait for a reply; the type of the message is the proof of the stages behind it. A
//! stage that has to ask somebody spawns a future that forwards later. Whoever loses the baton answers it by
//! dropping it.

mod arrival;
mod assembly;
mod drill;
mod event_id;
mod exchange;
mod frames;
mod intercept;
mod outcome;
mod record;
mod refusal;
mod reply;
mod target;
mod transport;

pub mod audit;
pub mod auth;
pub mod batch;
pub mod credential;
pub mod dispatch;
pub mod limits;
pub mod metrics;
pub mod policy;
pub mod telemetry;

use std::future::Future;
use std::pin::Pin;

use actix::dev::ToEnvelope;
use actix::{Actor, Handler, Message};

pub use arrival::{Arrival, ClientRequest, Facts};
pub use assembly::{Door, Pipeline, PipelineParts};
pub use dispatch::{Mail, Overlooked, TaskOwners};
pub use drill::Drill;
pub use exchange::Exchange;
pub use frames::Frames;
pub use limits::LimitsConfig;
pub use metrics::{Meter, Metrics, MetricsConfig, Stage};
pub(crate) use record::rfc3339;

pub use outcome::{Outcome, Verdict};
pub use refusal::Refusal;
pub use reply::{ClientGone, Held, Response, ResponseBody, event, message_of};
pub use target::Target;
pub use transport::{SseStream, Transport, UnderWay};

use crate::mailbox::Mailbox;
use telemetry::{Answered, TelemetryActor};

/// Messages that one stage queues at most. What is in flight is bounded by permits long before; this only keeps a
/// defect from growing without bound.
const STAGE_QUEUE: usize = 16 * 1024;

/// Hands a message to the next stage. If the stage is down, the baton inside answers by being dropped.
fn forward<A, M>(next: &Mailbox<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    if let Err(undelivered) = next.forward(message) {
        tracing::debug!(why = ?undelivered.why, stage = std::any::type_name::<A>(), "stage is down, answering for it");
    }
}

/// Waits for an answer that a stage had to ask for: until it is here, the client is gone or the deadline has passed.
async fn wait_for<T>(
    mut exchange: Exchange,
    mut answer: Pin<Box<dyn Future<Output = T> + Send>>,
    telemetry: &Mailbox<TelemetryActor>,
    timeout: impl FnOnce() -> Refusal,
) -> Option<(Exchange, T)> {
    let deadline = exchange.arrival().deadline;
    let refusal = tokio::select! {
        answer = &mut answer => return Some((exchange, answer)),
        () = exchange.client_gone() => Refusal::Cancelled,
        () = tokio::time::sleep_until(deadline) => timeout(),
    };
    let outcome = exchange.refusal(refusal);
    forward(telemetry, Answered::new(exchange, outcome));
    None
}
