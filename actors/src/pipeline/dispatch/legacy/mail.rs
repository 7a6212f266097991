//! What a child process says without being asked: carried to the one session that it can be meant for.

use std::sync::Arc;

use weir_plugin_protocol::jsonrpc::{Kind, Message};
use weir_plugin_protocol::mcp::{code, error_response};

use crate::pipeline::Metrics;
use crate::session::{AskRoute, Sessions};
use crate::upstream::stdio::{StdioLink, Unsolicited};
use crate::upstream::{ServerName, SessionSink};

/// Delivers the unsolicited messages of children to sessions.
///
/// A child is shared, and the legacy era does not say which call a message belongs to. It is delivered only if all
/// calls in flight belong to one session: an elicitation must never reach somebody else.
#[derive(Clone, Debug)]
pub struct Mail {
    sessions: Sessions,
    metrics: Arc<Metrics>,
}

// === impl Mail ===

impl Mail {
    /// Delivers to these sessions.
    pub fn new(sessions: Sessions, metrics: Arc<Metrics>) -> Self {
        Self { sessions, metrics }
    }
}

impl SessionSink for Mail {
    fn deliver(&self, server: &ServerName, link: &StdioLink, unsolicited: Unsolicited) {
        let Unsolicited {
            message,
            session,
            generation,
        } = unsolicited;
        let session = session.and_then(|key| self.sessions.by_key(key));
        let delivered = match (&session, message.kind()) {
            (Some(session), Kind::Request) => {
                let call = session.call_at(server);
                let route = AskRoute::Stdio {
                    link: link.clone(),
                    generation,
                };
                let frame = session.ask(server, &message, route, call.as_deref());
                frame.is_some_and(|frame| session.push_to(call.as_deref(), frame))
            }
            (Some(session), _) => {
                session.push_to(session.call_at(server).as_deref(), message.raw().clone())
            }
            (None, _) => false,
        };
        if delivered {
            return;
        }
        self.metrics.sessions.unattributed.inc();
        if message.kind() == Kind::Request {
            if let (Some(session), Some(id)) = (&session, message.id()) {
                session.withdraw_ask(server, id);
            }
            refuse(link.clone(), generation, &message);
        }
    }
}

/// Tells the child that nobody can be asked.
fn refuse(link: StdioLink, generation: u64, request: &Message) {
    let reason = "there is no single session to ask: the client did not declare the capability, or several sessions have calls in flight";
    let frame = error_response(request.id(), code::INTERNAL_ERROR, reason, None);
    actix_rt::spawn(async move {
        let _gone = link.send_to(generation, frame).await;
    });
}
