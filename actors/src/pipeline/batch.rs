//! Batches: several messages in one request, which only the revision 2025-03-26 knows.
//!
//! The caller is authenticated once. Then every message is a request of its own: it has its own audit record, and
//! policy, limits and dispatch see it like any other. What they answer is gathered here and sent as one: an array, or a
//! stream of events if one of them has something to say before it is done.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::jsonrpc::{Kind, Message};
use weir_plugin_protocol::mcp::{self, Method, Version, code};

use super::policy::{Authenticated, PolicyActor};
use super::telemetry::{Answered, TelemetryActor};
use super::{Arrival, ClientRequest, Exchange, Outcome, Refusal, Response, ResponseBody};
use crate::admission::{Callers, Place};
use crate::builtin::audit_lines::AuditSlot;
use crate::mailbox::Mailbox;
use crate::session::{Session, Sessions};

/// Messages of one batch.
const MAX_MESSAGES: usize = 64;

/// Messages of one batch that are under way at once. The first goes on the permit of the batch itself.
const AT_ONCE: usize = 4;

/// Events of all messages together that may wait for the client's connection.
const EVENTS: usize = 16;

/// What every message of a batch needs, as every request does.
pub trait Rooms: Send + Sync {
    /// Room for its audit record; nothing while none can be written.
    fn record(&self) -> Option<AuditSlot>;

    /// One more permit, if one is free now.
    fn permit(&self) -> Option<OwnedSemaphorePermit>;
}

/// What is needed to carry a batch.
#[derive(Clone)]
pub struct Batches {
    /// Legacy sessions: they know the revision.
    pub sessions: Sessions,
    /// Permits and audit records.
    pub rooms: Arc<dyn Rooms>,
    /// What callers have taken.
    pub callers: Arc<Callers>,
    /// Where each message goes on.
    pub policy: Mailbox<PolicyActor>,
    /// Where the batch itself ends.
    pub telemetry: Mailbox<TelemetryActor>,
}

/// What a message needs to be under way beside another of its batch.
struct Room {
    place: Place,
    permit: OwnedSemaphorePermit,
}

/// One message that is done.
struct Done {
    place: usize,
    /// What is owed to the client and was not sent as an event.
    answer: Bytes,
    /// Whether it went on the permit of the batch.
    on_ours: bool,
}

/// A batch under way.
struct Carrying {
    batches: Batches,
    exchange: Exchange,
    session: Arc<Session>,
    principal: Arc<UserPrincipal>,
    /// The answers by the places of their requests; empty where none is owed, or where it was sent.
    answers: Vec<Bytes>,
}

// === impl Batches ===

impl Batches {
    /// Carries an authenticated batch and answers it.
    pub(super) fn carry(self, mut exchange: Exchange, principal: Arc<UserPrincipal>) {
        let (session, messages) = match self.check(&exchange, &principal) {
            Ok(checked) => checked,
            Err(refusal) => {
                let outcome = exchange.refusal(refusal);
                return super::forward(&self.telemetry, Answered::new(exchange, outcome));
            }
        };
        let facts = exchange.facts_mut();
        facts.session = Some(session.public_number());
        facts.version = Some(session.version);
        let telemetry = self.telemetry.clone();
        let carrying = Carrying {
            batches: self,
            exchange,
            session,
            principal,
            answers: vec![Bytes::new(); messages.len()],
        };
        actix_rt::spawn(async move {
            let (exchange, outcome) = carrying.run(messages).await;
            super::forward(&telemetry, Answered::new(exchange, outcome));
        });
    }

    /// Checks what can only be said of the batch as a whole.
    fn check(
        &self,
        exchange: &Exchange,
        principal: &UserPrincipal,
    ) -> Result<(Arc<Session>, Vec<Message>), Refusal> {
        let invalid =
            |what: String| Refusal::Wire(mcp::Refusal::bad_request(code::INVALID_REQUEST, what));
        let arrival = exchange.arrival();
        let ClientRequest::LegacyBatch(messages) = &arrival.request else {
            return Err(Refusal::Aborted { dispatched: false });
        };
        let begins = |message: &Message| Method::parse(message.method()) == Method::Initialize;
        if messages.iter().any(begins) {
            return Err(invalid("initialize must not be part of a batch".into()));
        }
        let id = arrival
            .session_id
            .as_deref()
            .ok_or(Refusal::SessionRequired)?;
        let session = self.sessions.find(id, principal, &arrival.endpoint);
        let session = session.ok_or(Refusal::UnknownSession)?;
        if session.version != Version::V2025_03_26 {
            return Err(invalid(format!(
                "batches do not exist in revision {}, which this session has negotiated",
                session.version
            )));
        }
        if messages.len() > MAX_MESSAGES {
            return Err(invalid(format!(
                "a batch may have at most {MAX_MESSAGES} messages"
            )));
        }
        let mut ids = HashSet::new();
        let mut requests = messages
            .iter()
            .filter(|message| message.kind() == Kind::Request);
        if !requests.all(|request| ids.insert(request.id())) {
            return Err(invalid("two requests of the batch have the same id".into()));
        }
        Ok((session, messages.clone()))
    }
}

// === impl Carrying ===

impl Carrying {
    async fn run(mut self, messages: Vec<Message>) -> (Exchange, Outcome) {
        let (sender, mut events) = mpsc::channel(EVENTS);
        let mut waiting = messages.into_iter().enumerate();
        let mut next = waiting.next();
        let mut under_way = FuturesUnordered::new();
        let mut ours_is_free = true;
        loop {
            while under_way.len() < AT_ONCE
                && let Some((place, message)) = next.take()
            {
                let room = match ours_is_free {
                    true => None,
                    false => match self.another() {
                        Some(room) => Some(room),
                        None => {
                            next = Some((place, message));
                            break; // One that is under way will make room.
                        }
                    },
                };
                ours_is_free &= room.is_some();
                under_way.push(self.begin(place, message, room, sender.clone()));
                next = waiting.next();
            }
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.event(event).await,
                done = under_way.next() => match done {
                    Some(Done { place, answer, on_ours }) => {
                        ours_is_free |= on_ours;
                        self.done(place, answer).await;
                    }
                    None => break,
                },
            }
        }
        while let Ok(event) = events.try_recv() {
            self.event(event).await;
        }
        let outcome = self.outcome();
        (self.exchange, outcome)
    }

    /// What one more message at the same time needs of the caller's share and of everybody's.
    fn another(&self) -> Option<Room> {
        let caller = self.exchange.caller(&self.principal);
        let limits = &self.exchange.settings().limits;
        let place = self.batches.callers.another_place(limits, &caller)?;
        let permit = self.batches.rooms.permit()?;
        Some(Room { place, permit })
    }

    /// Sends a message on its way. The future resolves when it has been answered.
    fn begin(
        &self,
        place: usize,
        message: Message,
        room: Option<Room>,
        events: mpsc::Sender<Bytes>,
    ) -> LocalBoxFuture<'static, Done> {
        let on_ours = room.is_none();
        let owed = message.kind() == Kind::Request;
        let Some(slot) = self.batches.rooms.record() else {
            let answer = Refusal::AuditUnavailable.outcome(message.id()).body;
            let answer = if owed { answer } else { Bytes::new() };
            return Box::pin(std::future::ready(Done {
                place,
                answer,
                on_ours,
            }));
        };
        let whole = self.exchange.arrival();
        let arrival = Arrival {
            snapshot: whole.snapshot.clone(),
            at: Instant::now(),
            wall: SystemTime::now(),
            deadline: whole.deadline,
            transport: whole.transport.clone(),
            endpoint: whole.endpoint.clone(),
            request_bytes: message.raw().len(),
            upload: Duration::ZERO,
            request: ClientRequest::Legacy(message),
            credentials: None,
            peer: whole.peer,
            session_id: whole.session_id.clone(),
            legacy_version: whole.legacy_version,
            last_event_id: None,
            in_batch: true,
            parameters: Vec::new(),
            tell_timing: false,
        };
        let meter = self.exchange.meter().clone();
        let (taken, permit) = room.map(|room| (room.place, room.permit)).unzip();
        let (mut part, answer) = Exchange::admit(arrival, permit, slot, meter);
        let facts = part.facts_mut();
        facts.principal = Some(self.principal.clone());
        facts.anonymous = self.exchange.facts().anonymous;
        part.places_mut().extend(taken);
        part.tap(|_| Some(self.session.public_number()));
        super::forward(
            &self.batches.policy,
            Authenticated::new(part, self.principal.clone()),
        );
        Box::pin(async move {
            let answer = match answer.await {
                Ok(Response {
                    body: ResponseBody::Whole(body),
                    ..
                }) if owed => body,
                Ok(Response {
                    body: ResponseBody::Events(mut frames),
                    ..
                }) => {
                    while let Some(frame) = frames.recv().await {
                        // The receiver is there until all are done.
                        let _kept = events.send(frame).await;
                    }
                    Bytes::new()
                }
                // To a notification nothing is said, and nobody is left unanswered: the exchange saw to that.
                _ => Bytes::new(),
            };
            Done {
                place,
                answer,
                on_ours,
            }
        })
    }

    /// One message has something to say before it is done, so the answer is a stream. A client that has gone away has
    /// cancelled nothing.
    async fn event(&mut self, frame: Bytes) {
        if !self.exchange.is_streaming() {
            let opened = match self.session.open_log() {
                Some(log) => self.exchange.open_kept_stream(log),
                None => self.exchange.open_stream(),
            };
            if opened.is_ok() {
                for answer in std::mem::take(&mut self.answers) {
                    if !answer.is_empty() {
                        let _gone = self.exchange.send(&answer).await;
                    }
                }
            }
        }
        let _gone = if frame.starts_with(b":") {
            self.exchange.send_frame(frame).await
        } else {
            self.exchange.send_event(frame).await
        };
    }

    async fn done(&mut self, place: usize, answer: Bytes) {
        if answer.is_empty() {
            return;
        }
        if self.exchange.is_streaming() {
            let _gone = self.exchange.send(&answer).await;
        } else if let Some(owed) = self.answers.get_mut(place) {
            *owed = answer;
        }
    }

    /// The answers as one array, in the order of the requests.
    fn outcome(&self) -> Outcome {
        if self.exchange.is_streaming() {
            return Outcome::ended();
        }
        let answers = self.answers.iter().filter(|answer| !answer.is_empty());
        let size = answers
            .clone()
            .map(|answer| answer.len() + 1)
            .sum::<usize>();
        if size == 0 {
            return Outcome::accepted();
        }
        let mut array = BytesMut::with_capacity(size + 1);
        for (number, answer) in answers.enumerate() {
            array.put_u8(if number == 0 { b'[' } else { b',' });
            array.put_slice(answer);
        }
        array.put_u8(b']');
        Outcome::ok(array.freeze())
    }
}
