//! A client that sends message after message and gets everything back on one stream, whatever it is a stream of: lines
//! on standard output, or the events of HTTP+SSE.
//!
//! Every message goes through the pipeline as a request of Streamable HTTP does; this room keeps what such a request
//! would have in its headers, and sees to it that answers come in one stream.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use weir_actors::builtin::audit_lines::AuditSlot;
use weir_actors::pipeline::{
    Arrival, ClientRequest, Exchange, Refusal, Response, ResponseBody, Transport, UnderWay,
    message_of,
};
use weir_actors::upstream::{Endpoint, Federation};
use weir_plugin_protocol::Credentials;
use weir_plugin_protocol::mcp::Method;

use super::Face;
use super::sorted::{BATCH, Sorted, Wants};

/// Requests of one client that are under way at most. One more is refused.
const MAX_CALLS: usize = 256;

/// The pause before an event stream that has ended is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one client and the gateway say to each other.
pub(super) struct Conversation {
    pub(super) endpoint: Endpoint,
    transport: Transport,
    /// JSON-RPC messages for the client. An empty one is the end.
    outbox: mpsc::Sender<Bytes>,
    /// The id of the legacy session, once there is one.
    session: watch::Sender<Option<String>>,
    state: Mutex<State>,
    /// Rung when a call ends.
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// A modern request was seen.
    modern: bool,
    /// The session whose event stream is open.
    followed: Option<String>,
    /// Requests under way by the raw JSON of their id.
    calls: HashMap<String, Entry>,
    next_call: u64,
}

struct Entry {
    number: u64,
    /// Whether it stays open until something happens.
    waits: bool,
    /// Dropped: nobody wants the answer any more.
    _wanted: oneshot::Sender<()>,
}

/// Who sends.
#[derive(Clone, Default)]
pub(super) struct Caller {
    pub(super) credentials: Option<Credentials>,
    pub(super) peer: Option<IpAddr>,
}

/// A message on its way through the pipeline.
pub(super) struct Submitted {
    /// Resolves when the caller is known and the message goes on, with an error if it does not.
    pub(super) known: oneshot::Receiver<()>,
    pub(super) answer: oneshot::Receiver<Response>,
    wants: Wants,
    call: Option<Call>,
    /// The raw JSON id of the request that it gives up.
    cancels: Option<String>,
    /// Whether the session has begun for good, so that its event stream may be opened.
    follows: bool,
}

/// What goes into the pipeline.
struct Sent {
    snapshot: Arc<Federation>,
    request: ClientRequest,
    /// Why it goes no further.
    refused: Option<Refusal>,
    bytes: usize,
}

/// A request under way. Dropping it takes it off the list.
struct Call {
    conversation: Arc<Conversation>,
    id: String,
    number: u64,
    unwanted: oneshot::Receiver<()>,
    _under_way: Option<UnderWay>,
}

/// Nobody reads the stream any more.
struct Over;

// === impl Conversation ===

impl Conversation {
    pub(super) fn new(
        endpoint: Endpoint,
        transport: Transport,
        outbox: mpsc::Sender<Bytes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            transport,
            outbox,
            session: watch::Sender::default(),
            state: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Whether the client has settled on the modern era.
    pub(super) fn is_modern(&self) -> bool {
        self.lock().modern && self.session.borrow().is_none()
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Sends a message on its way through the pipeline of this thread.
    ///
    /// # Errors
    /// It cannot be recorded, so nothing is done; this is the answer, empty if none is expected.
    pub(super) fn submit(
        self: &Arc<Self>,
        face: &Arc<Face>,
        sorted: Sorted,
        caller: &Caller,
    ) -> Result<Submitted, Bytes> {
        let Sorted {
            snapshot,
            request,
            id,
            wants,
            cancels,
            bytes,
        } = sorted;
        let Some(slot) = face.admission.reserve_record() else {
            let id = id.as_deref().filter(|id| *id != BATCH);
            return Err(match wants {
                Wants::Nothing => Bytes::new(),
                Wants::Answer | Wants::Session => Refusal::AuditUnavailable.outcome(id).body,
            });
        };
        let waits = request.stays_open();
        let call = id.map(|id| self.begin(id, waits)).transpose();
        let (call, refused) = match call {
            Ok(call) => (call, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let follows = match &request {
            ClientRequest::Legacy(message) => !matches!(
                Method::parse(message.method()),
                Method::Initialize | Method::Ping
            ),
            _ => false,
        };
        if matches!(request, ClientRequest::Modern(_)) {
            self.lock().modern = true;
        }
        let sent = Sent {
            snapshot,
            request,
            refused,
            bytes,
        };
        let (known, answer) = self.enter(face, sent, caller, slot);
        Ok(Submitted {
            known,
            answer,
            wants,
            call,
            cancels,
            follows,
        })
    }

    /// What a message does to the conversation itself, once it is known who sent it.
    pub(super) fn accept(
        self: &Arc<Self>,
        face: &Arc<Face>,
        caller: &Caller,
        submitted: &mut Submitted,
    ) {
        if let Some(cancelled) = submitted.cancels.take() {
            self.lock().calls.remove(&cancelled);
        }
        if submitted.follows {
            self.follow(face, caller);
        }
    }

    /// Accepts a message if its caller may go on, and brings what comes of it to the client.
    pub(super) async fn see_through(
        self: Arc<Self>,
        face: Arc<Face>,
        caller: Caller,
        mut submitted: Submitted,
    ) {
        if (&mut submitted.known).await.is_ok() {
            self.accept(&face, &caller, &mut submitted);
        }
        self.deliver(submitted).await;
    }

    fn enter(
        &self,
        face: &Face,
        sent: Sent,
        caller: &Caller,
        slot: AuditSlot,
    ) -> (oneshot::Receiver<()>, oneshot::Receiver<Response>) {
        let Sent {
            snapshot,
            request,
            refused,
            bytes,
        } = sent;
        let at = Instant::now();
        let admitted = match (refused, &request) {
            (Some(refusal), _) => Err(refusal),
            (None, ClientRequest::Refused(_)) => Ok(None),
            (None, request) if request.stays_open() => face.admission.take_stream().map(Some),
            (None, _) => face.admission.take_permit().map(Some),
        };
        let (permit, refused) = match admitted {
            Ok(permit) => (permit, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let deadline = at + snapshot.settings.limits.deadline.0;
        let arrival = Arrival {
            snapshot,
            at,
            wall: SystemTime::now(),
            upload: Duration::ZERO,
            deadline,
            transport: self.transport.clone(),
            endpoint: self.endpoint.clone(),
            request,
            credentials: caller.credentials.clone(),
            peer: caller.peer,
            session_id: self.session.borrow().clone(),
            legacy_version: None,
            last_event_id: None,
            in_batch: false,
            parameters: Vec::new(),
            request_bytes: bytes,
            tell_timing: false,
        };
        let (mut exchange, answer) = Exchange::admit(arrival, permit, slot, face.meter.clone());
        let known = exchange.authenticated();
        match refused {
            // With the id of the request, for the client looks for nothing else.
            Some(refusal) => face.door.refuse(exchange, refusal),
            None => face.door.enter(exchange),
        }
        (known, answer)
    }

    /// Brings what comes of a message to the client, until it is all there or nobody wants it any more.
    pub(super) async fn deliver(self: Arc<Self>, submitted: Submitted) {
        let Submitted {
            answer,
            wants,
            mut call,
            ..
        } = submitted;
        let unwanted = async {
            match &mut call {
                Some(call) => drop((&mut call.unwanted).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = unwanted => {}
            () = self.outbox.closed() => {}
            _over = self.carry(answer, wants) => {}
        }
    }

    async fn carry(&self, answer: oneshot::Receiver<Response>, wants: Wants) -> Result<(), Over> {
        let Ok(response) = answer.await else {
            return Ok(());
        };
        if wants == Wants::Session {
            self.begin_session(&response);
        }
        match response.body {
            ResponseBody::Whole(body) if body.is_empty() || wants == Wants::Nothing => Ok(()),
            ResponseBody::Whole(body) => self.say(body).await,
            ResponseBody::Events(mut frames) => {
                while let Some(frame) = frames.recv().await {
                    if let Some(message) = message_of(&frame) {
                        self.say(message).await?;
                    }
                }
                Ok(())
            }
        }
    }

    fn begin_session(&self, response: &Response) {
        let id = response
            .headers
            .iter()
            .find(|(name, _)| name.as_str() == "mcp-session-id")
            .and_then(|(_, id)| id.to_str().ok());
        let Some(id) = id else { return };
        if let Transport::SsePost(Some(stream)) = &self.transport {
            stream.set_session(Some(id.to_owned()));
        }
        self.session.send_replace(Some(id.to_owned()));
    }

    /// Says something to the client, if it is something. Waits while it does not read.
    pub(super) async fn tell(&self, message: Bytes) {
        if !message.is_empty() {
            let _over = self.say(message).await;
        }
    }

    /// Says that nothing follows.
    pub(super) async fn end(&self) {
        let _over = self.say(Bytes::new()).await;
    }

    async fn say(&self, message: Bytes) -> Result<(), Over> {
        self.outbox.send(message).await.map_err(|_| Over)
    }

    /// Waits until the client could be told something at once.
    pub(super) async fn writable(&self) {
        drop(self.outbox.reserve().await);
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn over(&self) {
        self.outbox.closed().await;
    }

    /// Opens the event stream of the session, if that has not been done: what servers say without being asked goes to the
    /// client too.
    fn follow(self: &Arc<Self>, face: &Arc<Face>, caller: &Caller) {
        let Some(session) = self.session.borrow().clone() else {
            return;
        };
        if self.lock().followed.replace(session.clone()).as_ref() == Some(&session) {
            return;
        }
        let (this, face, caller) = (self.clone(), face.clone(), caller.clone());
        actix_rt::spawn(async move {
            let mut current = this.session.subscribe();
            tokio::select! {
                () = this.stream(&face, &caller) => {}
                () = this.outbox.closed() => {}
                _ = current.wait_for(|current| current.as_ref() != Some(&session)) => {}
            }
        });
    }

    /// Keeps the event stream open until it is refused for good.
    async fn stream(&self, face: &Face, caller: &Caller) {
        loop {
            if let Some(slot) = face.admission.reserve_record() {
                let (_, answer) = self.enter(
                    face,
                    Sent::own(face, ClientRequest::OpenStream),
                    caller,
                    slot,
                );
                match answer.await {
                    Ok(response) if matches!(response.status, 200 | 503) => {
                        let answer = oneshot::channel();
                        let _taken = answer.0.send(response);
                        if self.carry(answer.1, Wants::Nothing).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
            sleep(REOPEN).await;
        }
    }

    /// Lets nobody wait any longer for what only ends with the stream.
    pub(super) fn hang_up(&self) {
        self.lock().calls.retain(|_, entry| !entry.waits);
    }

    /// Resolves when every request is answered.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().calls.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Ends the session, if there is one.
    pub(super) async fn end_session(&self, face: &Face, caller: &Caller) {
        if !self.has_session() {
            return;
        }
        if let Some(slot) = face.admission.reserve_record() {
            let (_, answer) = self.enter(
                face,
                Sent::own(face, ClientRequest::EndSession),
                caller,
                slot,
            );
            let _late = timeout(FAREWELL, answer).await;
        }
        self.session.send_replace(None);
    }

    fn begin(self: &Arc<Self>, mut id: String, waits: bool) -> Result<Call, Refusal> {
        let (wanted, unwanted) = oneshot::channel();
        let mut state = self.lock();
        if state.calls.len() >= MAX_CALLS {
            return Err(Refusal::Overloaded("in_flight"));
        }
        if state.calls.contains_key(&id) {
            let text = "the id is that of a request under way";
            return Err(Refusal::InvalidParams(text.into()));
        }
        state.next_call += 1;
        let number = state.next_call;
        if id == BATCH {
            id = format!("{BATCH} {number}");
        }
        let entry = Entry {
            number,
            waits,
            _wanted: wanted,
        };
        state.calls.insert(id.clone(), entry);
        drop(state);
        let under_way = match &self.transport {
            Transport::SsePost(Some(stream)) => Some(stream.begin()),
            _ => None,
        };
        Ok(Call {
            conversation: self.clone(),
            id,
            number,
            unwanted,
            _under_way: under_way,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sent ===

impl Sent {
    /// A request that no message asks for.
    fn own(face: &Face, request: ClientRequest) -> Self {
        Self {
            snapshot: face.board.federation(),
            request,
            refused: None,
            bytes: 0,
        }
    }
}

// === impl Call ===

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.conversation.lock();
        let own = |entry: &Entry| entry.number == self.number;
        if state.calls.get(&self.id).is_some_and(own) {
            state.calls.remove(&self.id);
        }
        drop(state);
        self.conversation.ended.notify_waiters();
    }
}
