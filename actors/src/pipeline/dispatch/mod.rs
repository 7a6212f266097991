//! Fourth stage: the request is answered, by the gateway itself or by a server.
//!
//! Read in this order: [`modern`] and [`legacy`] decide per era what a request needs, [`relay`] carries one request
//! to a server and everything the server says back, [`upcall`] is the same for HTTP and child processes. [`sight`] is what
//! the caller may see of what is not asked for by name.

mod again;
mod headers;
mod hop;
mod legacy;
mod listen;
mod modern;
mod names;
mod overlooked;
mod passage;
mod raw;
mod relay;
mod resume;
mod sight;
mod standing;
mod state;
mod tasks;
mod upcall;
mod wait;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use http::HeaderMap;
use tokio::sync::watch;
use weir_plugin_protocol::UserPrincipal;

use super::telemetry::{Answered, TelemetryActor};
use super::{ClientRequest, Exchange, Metrics, Outcome, Refusal, Stage, Target, intercept};
use crate::admission::Gates;
use crate::mailbox::Mailbox;
use crate::plugged::outfit::SecretHeader;
use crate::seal::Sealer;
use crate::session::Sessions;
use crate::settings::Settings;
use crate::upstream::http::{HttpClient, HttpTarget};
use crate::upstream::{Federation, ServerName, UpstreamBoard};

pub(super) use modern::{repeated, repeating};

pub(in crate::pipeline) use hop::refusal as credential_refusal;
pub use legacy::Mail;
pub use overlooked::Overlooked;
pub(super) use standing::Standing;
pub use tasks::TaskOwners;

/// A comment is sent on a silent stream this often, so that nobody on the way thinks it dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Received by the [`DispatchActor`]. Proves that the client's credentials are gone and the upstream's are at hand.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Sealed {
    exchange: Exchange,
    target: Target,
    grant: Grant,
}

/// What the stages before gave a request.
#[derive(Clone)]
pub struct Grant {
    pub(super) principal: Arc<UserPrincipal>,
    /// What the request is judged by.
    pub(super) settings: Arc<Settings>,
    /// The caller's own credential for the server that the request is for, if it gets one.
    pub(super) own: Option<(ServerName, SecretHeader)>,
}

/// Answers requests. A request that is under way at a server runs in a future of its own and outlives a restart of
/// this actor; what is lost are the idle connections to upstream servers.
pub struct DispatchActor {
    desk: Rc<Desk>,
}

/// What dispatching needs. One per worker thread.
pub struct Desk {
    /// Connections to HTTP servers.
    pub client: HttpClient,
    /// The servers.
    pub board: UpstreamBoard,
    /// The ways to the servers.
    pub gates: Arc<Gates>,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// Who began which task.
    pub tasks: TaskOwners,
    /// Whose headers were overlooked.
    pub overlooked: Overlooked,
    /// Seals request states.
    pub sealer: Arc<Sealer>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Turns true when the gateway stops: streams that wait for events end in order.
    pub draining: watch::Receiver<bool>,
    /// The next stage.
    pub telemetry: Mailbox<TelemetryActor>,
    /// Numbers the requests to HTTP servers.
    pub next_id: Arc<AtomicU64>,
}

// === impl Sealed ===

impl Sealed {
    pub(super) fn new(mut exchange: Exchange, target: Target, grant: Grant) -> Self {
        exchange.leave();
        Self {
            exchange,
            target,
            grant,
        }
    }
}

// === impl Grant ===

impl Grant {
    /// The same caller under the settings of another snapshot: servers and rules of two configurations never meet.
    fn under(&self, federation: &Federation) -> Self {
        Self {
            principal: self.principal.clone(),
            settings: federation.settings.clone(),
            own: None,
        }
    }

    /// The headers that weir proves itself with at a server, if that is where the server still is.
    fn headers_at(&self, server: &ServerName, target: &HttpTarget) -> Option<&HeaderMap> {
        let credentials = self.settings.credentials.at(server.as_str(), target);
        credentials.map(|credentials| &credentials.headers)
    }

    /// The headers that weir proves itself with at a server.
    fn headers_for(&self, server: &ServerName) -> Option<&HeaderMap> {
        let credentials = self.settings.credentials.get(server.as_str());
        credentials.map(|credentials| &credentials.headers)
    }
}

// === impl DispatchActor ===

impl DispatchActor {
    /// A stage with nothing under way.
    pub fn new(desk: Rc<Desk>) -> Self {
        Self { desk }
    }
}

impl Actor for DispatchActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(super::STAGE_QUEUE);
    }
}

impl Handler<Sealed> for DispatchActor {
    type Result = ();

    fn handle(
        &mut self,
        Sealed {
            mut exchange,
            target,
            grant,
        }: Sealed,
        _context: &mut Self::Context,
    ) {
        exchange.enter(Stage::Dispatch);
        match exchange.arrival().request {
            ClientRequest::Modern(_) => modern::dispatch(&self.desk, exchange, target, grant),
            _ => legacy::dispatch(&self.desk, exchange, target, grant),
        }
    }
}

// === impl Desk ===

impl Desk {
    /// The raw JSON id of the next request to an HTTP server. No two requests of the process have the same, whichever
    /// worker sends them: servers tell the requests of one session apart by their ids.
    fn next_id(&self) -> String {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        number.to_string()
    }

    /// Bytes of one answer of a server.
    fn max_answer_bytes(&self, server: &ServerName) -> usize {
        let snapshot = self.board.load();
        snapshot.settings.servers.of(server).max_answer_bytes
    }

    /// Resolves when the gateway stops.
    async fn drained(&self) {
        let mut draining = self.draining.clone();
        if draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends a request.
    fn finish(&self, exchange: Exchange, outcome: Outcome) {
        if intercept::response::is_wanted(&exchange, &outcome) {
            let telemetry = self.telemetry.clone();
            actix_rt::spawn(async move {
                let (exchange, outcome) = intercept::response::pass(exchange, outcome).await;
                super::forward(&telemetry, Answered::new(exchange, outcome));
            });
            return;
        }
        super::forward(&self.telemetry, Answered::new(exchange, outcome));
    }

    /// Ends a request with a refusal.
    fn refuse(&self, exchange: Exchange, refusal: Refusal) {
        let outcome = exchange.refusal(refusal);
        self.finish(exchange, outcome);
    }
}
