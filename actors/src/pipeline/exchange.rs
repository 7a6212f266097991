//! The baton: one request on its way through the gateway, and its answer on the way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::jsonrpc::Message;
use weir_plugin_protocol::mcp::Era;

use super::arrival::{Arrival, ClientRequest, Facts};
use super::dispatch::Standing;
use super::event_id::event_id;
use super::frames::{FrameSender, NotTaken};
use super::metrics::{Ledger, Meter, Stage, Stamps};
use super::reply::{ClientGone, Reply, Response, event};
use super::{Outcome, Refusal, Transport, record};
use crate::admission::{Caller, Place};
use crate::builtin::audit_lines::AuditSlot;
use crate::fanout::{Tap, Tapped};
use crate::session::EventLog;
use crate::settings::Settings;

/// How long a client may leave its stream unread before it is taken for gone.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// One request: what arrived, what is known of it by now, and the duty to answer.
///
/// It is moved from stage to stage and never shared. Dropped unsettled, whatever the reason, it answers the client
/// with a retryable 503 and leaves an audit record `aborted`: silence is not a possible outcome.
pub struct Exchange(Box<Inner>);

struct Inner {
    arrival: Arrival,
    facts: Facts,
    reply: Reply,
    audit: Option<AuditSlot>,
    /// What the client of a stream showed.
    standing: Option<Standing>,
    meter: Arc<Meter>,
    stamps: Stamps,
    measured: bool,
    /// What the request holds of the limits of its caller.
    places: Vec<Place>,
    permit: Option<OwnedSemaphorePermit>,
    /// Tells message plugins, if there are any.
    tap: Option<Box<Tap>>,
    /// Rung when the caller is known and may go on.
    known: Option<oneshot::Sender<()>>,
}

// === impl Exchange ===

impl Exchange {
    /// Admits a request. The permit and the audit slot were taken before, so nothing that follows can fail for lack
    /// of either; only what is refused at once goes without a permit. The receiver gets the answer.
    pub fn admit(
        arrival: Arrival,
        permit: Option<OwnedSemaphorePermit>,
        audit: AuditSlot,
        meter: Arc<Meter>,
    ) -> (Self, oneshot::Receiver<Response>) {
        let (reply, receiver) = Reply::new();
        let inner = Inner {
            stamps: meter.start(&arrival),
            arrival,
            facts: Facts::default(),
            reply,
            audit: Some(audit),
            standing: None,
            meter,
            measured: false,
            places: Vec::new(),
            permit,
            tap: None,
            known: None,
        };
        (Self(Box::new(inner)), receiver)
    }

    /// Where it is counted.
    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.0.meter
    }

    /// What the client sent.
    pub fn arrival(&self) -> &Arrival {
        &self.0.arrival
    }

    /// Resolves when the caller has been authenticated and the request goes on, with an error if it does not. For
    /// faces whose answers go elsewhere than where the request came from.
    pub fn authenticated(&mut self) -> oneshot::Receiver<()> {
        let (known, receiver) = oneshot::channel();
        self.0.known = Some(known);
        receiver
    }

    /// Notes that the caller is known and that the request goes on.
    pub(super) fn goes_on(&mut self) {
        if let Some(known) = self.0.known.take() {
            let _nobody_waits = known.send(());
        }
    }

    /// Has message plugins told of what the client sent, and from now on of what is sent to it. Without any of them it
    /// is one look at the settings. `session` finds the number of its session.
    pub(super) fn tap(&mut self, session: impl FnOnce(&Arrival) -> Option<String>) {
        let Some(fanout) = self.settings().fanout.clone() else {
            return;
        };
        let arrival = &self.0.arrival;
        let id = event_id(arrival.wall);
        let tap = Tap::begin(fanout, arrival, id, session(arrival));
        self.0.facts.event_id = Some(id);
        self.0.tap = Some(Box::new(tap));
    }

    /// What the stages found out.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    pub(crate) fn facts_mut(&mut self) -> &mut Facts {
        &mut self.0.facts
    }

    /// What this request is judged by.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.0.arrival.snapshot.settings
    }

    /// Lets go of what a stream that stays open does not need: the servers in the snapshot, which are kept running while
    /// somebody holds them (the stream looks at the board again for everything that it tells), and what named the stream.
    pub(super) fn settle_down(&mut self) {
        let arrival = &mut self.0.arrival;
        arrival.snapshot = Arc::new(arrival.snapshot.without_servers());
        arrival.session_id = None;
        arrival.last_event_id = None;
    }

    /// Who asks, as far as its limits are concerned.
    pub(super) fn caller<'a>(&self, principal: &'a UserPrincipal) -> Caller<'a> {
        Caller {
            principal,
            peer: self.0.arrival.peer.filter(|_| self.0.facts.anonymous),
        }
    }

    /// What the request holds of the limits of its caller, until it is settled.
    pub(super) fn places_mut(&mut self) -> &mut Vec<Place> {
        &mut self.0.places
    }

    /// Sets how long the request may take, from its arrival.
    pub(super) fn set_deadline(&mut self, after: Duration) {
        let arrival = &mut self.0.arrival;
        arrival.deadline = arrival.at + after;
    }

    /// Puts another message in the place of the one that came: the same method with the same id.
    pub(super) fn replace_message(&mut self, message: Message) {
        match &mut self.0.arrival.request {
            ClientRequest::Modern(request) => request.message = message,
            ClientRequest::Legacy(known) => *known = message,
            _ => {}
        }
    }

    /// Replaces the headers that repeat arguments.
    pub(super) fn repeat(
        &mut self,
        is_one: impl Fn(&str) -> bool,
        repeating: Vec<(HeaderName, HeaderValue)>,
    ) {
        let parameters = &mut self.0.arrival.parameters;
        parameters.retain(|(name, _)| !is_one(name.as_str()));
        parameters.extend(repeating);
    }

    /// Forgets what the client presented: nothing behind the credential stage can see or pass it on. Only a stream
    /// keeps it, where it can be judged again and nothing else.
    pub(super) fn strip_credentials(&mut self) {
        let shown = self.0.arrival.credentials.take();
        if self.0.arrival.request.stays_open() {
            self.0.standing = Some(Standing::new(shown));
        }
    }

    /// What the client of a stream showed.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.0.standing.as_ref()
    }

    /// A stage has the request in hand.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.0.meter.enter(stage, &mut self.0.stamps);
    }

    /// The stage is about to hand the request on.
    pub(super) fn leave(&mut self) {
        self.0.stamps.leave();
    }

    /// Counts the outcome, once.
    pub(super) fn measure(&mut self, outcome: &Outcome, ledger: Option<&mut Ledger>) {
        self.0.measure(outcome, ledger);
    }

    /// The raw JSON id of the request, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.0.id()
    }

    /// The answer that this refusal means for this request.
    pub fn refusal(&self, refusal: Refusal) -> Outcome {
        self.0.refusal(refusal)
    }

    /// Commits to an event stream, if that has not happened yet.
    pub fn open_stream(&mut self) -> Result<(), ClientGone> {
        self.open_stream_with(Vec::new())
    }

    pub(crate) fn open_stream_with(
        &mut self,
        mut headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(), ClientGone> {
        if self.0.reply.is_streaming() {
            return Ok(());
        }
        headers.extend(self.early_timing());
        self.0.reply.open(headers, None)
    }

    /// Commits to an event stream whose events are kept: from now on a client that goes away loses nothing that is kept,
    /// and sending to it does not fail.
    pub(crate) fn open_kept_stream(&mut self, log: Arc<EventLog>) -> Result<(), ClientGone> {
        if self.0.reply.is_streaming() {
            return Ok(());
        }
        let headers = self.early_timing().into_iter().collect();
        self.0.reply.open(headers, Some(log))
    }

    fn early_timing(&self) -> Option<(HeaderName, HeaderValue)> {
        let Inner {
            meter,
            stamps,
            arrival,
            facts,
            ..
        } = &*self.0;
        meter.early_timing(stamps, arrival, facts)
    }

    /// Whether a client that loses the connection can come back for what it misses.
    pub(crate) fn can_resume(&self) -> bool {
        let arrival = &self.0.arrival;
        matches!(arrival.transport, Transport::Http) && !arrival.in_batch
    }

    /// Returns true once the status line is committed to a stream.
    pub fn is_streaming(&self) -> bool {
        self.0.reply.is_streaming()
    }

    /// Sends one JSON-RPC message ahead of the answer. Waits while the reader is slow.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), ClientGone> {
        self.send_event(event(message)).await
    }

    /// Sends one framed event ahead of the answer. It gets an id if the stream is kept.
    pub(crate) async fn send_event(&mut self, frame: Bytes) -> Result<(), ClientGone> {
        self.open_stream()?;
        let frame = match self.0.reply.log() {
            Some(log) => log.append(&frame),
            None => frame,
        };
        self.send_frame(frame).await
    }

    /// Sends one framed event or comment ahead of the answer. Waits while the reader is slow.
    pub(crate) async fn send_frame(&mut self, frame: Bytes) -> Result<(), ClientGone> {
        self.open_stream()?;
        self.0.facts.streamed_bytes += frame.len();
        if let Some(tap) = &self.0.tap {
            tap.sent(&frame);
        }
        let reply = &mut self.0.reply;
        // A client that reads on in another connection has given this one up.
        let moved = reply.log().is_some_and(|log| log.readers() > 0);
        if moved || reply.frames().is_none() {
            return if reply.detach() {
                Ok(())
            } else {
                Err(ClientGone)
            };
        }
        let sent = match reply.frames() {
            Some(frames) => write(frames, frame).await,
            None => Err(ClientGone),
        };
        match sent {
            Err(ClientGone) if reply.detach() => Ok(()),
            sent => sent,
        }
    }

    /// Closes the connection of a client that has gone away. True if it can come back for what it misses.
    pub(crate) fn detach(&mut self) -> bool {
        self.0.reply.detach()
    }

    /// Resolves when the client has gone away.
    pub async fn client_gone(&mut self) {
        self.0.reply.gone().await;
    }

    /// Writes the audit record and answers the client. The last thing that happens to a request.
    pub(super) fn settle(mut self, outcome: Outcome) {
        self.0.settle(outcome);
    }
}

/// Puts a frame on the way. Waits while the reader is slow.
async fn write(frames: &mut FrameSender, frame: Bytes) -> Result<(), ClientGone> {
    match frames.try_send(frame) {
        Ok(()) => Ok(()),
        Err(NotTaken::Gone) => Err(ClientGone),
        Err(NotTaken::Full(frame)) => match timeout(READER_PATIENCE, frames.send(frame)).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ClientGone),
        },
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Exchange")
            .field("method", &self.0.arrival.request.method_name())
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn id(&self) -> Option<&str> {
        match &self.arrival.request {
            ClientRequest::Modern(request) => request.message.id(),
            ClientRequest::Legacy(message) => message.id(),
            _ => None,
        }
    }

    fn refusal(&self, refusal: Refusal) -> Outcome {
        let era = self.arrival.request.era();
        let refusal = refusal.said_in(era);
        let legacy = era == Some(Era::Legacy);
        let in_band = legacy && self.id().is_some() && refusal.is_in_band();
        let mut outcome = refusal.outcome(self.id());
        if in_band {
            outcome.status = 200;
        }
        outcome
    }

    fn measure(&mut self, outcome: &Outcome, ledger: Option<&mut Ledger>) {
        if !std::mem::replace(&mut self.measured, true) {
            self.meter
                .settled(ledger, &self.arrival, &self.facts, outcome);
        }
    }

    fn settle(&mut self, mut outcome: Outcome) {
        if self.reply.is_streaming() {
            outcome.status = 200; // It is out already.
        }
        if let Some(tap) = self.tap.take() {
            tap.settled(&Tapped {
                outcome: &outcome,
                is_streaming: self.reply.is_streaming(),
                server: self.facts.server.as_ref().map(|server| server.as_str()),
            });
        }
        let slot = self.audit.take();
        if outcome.shed {
            let metrics = self.meter.metrics();
            metrics.admission.shed(outcome.reason.as_deref());
        }
        if outcome.shed {
            if let Some(slot) = slot {
                slot.tally(record::shed(&self.arrival, &self.facts, &outcome));
            }
        } else if let Some(slot) = slot {
            let sent = self.facts.streamed_bytes + outcome.body.len();
            record::write(slot, &self.arrival, &self.facts, &outcome, sent);
        }
        self.stamps.leave();
        let timing = self.meter.timing(&self.stamps, &self.arrival, &self.facts);
        outcome.headers.extend(timing);
        self.reply.settle(outcome, self.permit.take());
        self.meter.timed(&self.stamps, &self.facts);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.reply.is_done() && self.audit.is_none() {
            return;
        }
        let dispatched = self.facts.dispatched;
        let outcome = self.refusal(Refusal::Aborted { dispatched });
        self.measure(&outcome, None);
        self.settle(outcome);
    }
}
