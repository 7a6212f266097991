//! Reading on in an answer whose stream a legacy server has closed, or whose connection was lost.
//!
//! A server may close the stream of an answer on purpose once it has given it a name (2025-11-25, "SSE polling"): the
//! client is to come back after `retry` and read on from the last event. To a server weir is such a client.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::hop::Way;
use super::upcall::broken;
use super::{Desk, Grant, headers};
use crate::pipeline::Refusal;
use crate::session::UpstreamSession;
use crate::upstream::ServerName;
use crate::upstream::http::{EventStream, HttpAnswer};
use crate::upstream::sse::SseEvent;

/// Attempts in a row that bring no event.
const ATTEMPTS: u32 = 5;

/// The pause before an attempt, if the server has not named one, and the bounds of what it may name.
const PAUSE: Duration = Duration::from_secs(1);
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(30);

type Attempt = Pin<Box<dyn Future<Output = Result<HttpAnswer, Refusal>>>>;

/// What is needed to read on.
pub(super) struct Resume {
    desk: Rc<Desk>,
    session: Arc<UpstreamSession>,
    grant: Grant,
    server: ServerName,
    /// The id of the last event that had one.
    last: Option<HeaderValue>,
    pause: Duration,
    attempts: u32,
    under_way: Option<Attempt>,
}

// === impl Resume ===

impl Resume {
    pub(super) fn new(
        desk: &Rc<Desk>,
        session: &Arc<UpstreamSession>,
        grant: &Grant,
        server: &ServerName,
    ) -> Self {
        Self {
            desk: desk.clone(),
            session: session.clone(),
            grant: grant.clone(),
            server: server.clone(),
            last: None,
            pause: PAUSE,
            attempts: 0,
            under_way: None,
        }
    }

    /// Remembers where the stream is.
    pub(super) fn note(&mut self, event: &SseEvent) {
        self.attempts = 0;
        if let Some(id) = &event.id {
            self.last = HeaderValue::from_str(id).ok().filter(|id| !id.is_empty());
        }
        if let Some(retry) = event.retry {
            self.pause = Duration::from_millis(retry).clamp(MIN_PAUSE, MAX_PAUSE);
        }
    }

    /// Whether the stream has a name to ask for.
    pub(super) fn is_possible(&self) -> bool {
        self.last.is_some() && self.attempts < ATTEMPTS
    }

    /// Reads on. Cancel safe: an attempt that is under way goes on when this is called again.
    pub(super) async fn again(&mut self) -> Result<EventStream, Refusal> {
        loop {
            if self.under_way.is_none() {
                self.under_way = Some(self.attempt());
            }
            let Some(attempt) = &mut self.under_way else {
                continue;
            };
            let answered = attempt.await;
            self.under_way = None;
            match answered {
                Ok(answer) if answer.status.is_success() && answer.is_event_stream() => {
                    return Ok(answer.events(self.grant.settings.limits.max_answer_bytes));
                }
                Ok(answer) if answer.status.is_client_error() && !is_passing(answer.status) => {
                    let what = format!(
                        "it closed the stream of its answer, and to be asked for the rest it said {}",
                        answer.status
                    );
                    return Err(broken(&self.server, what));
                }
                Ok(_) | Err(_) if self.attempts < ATTEMPTS => {}
                Ok(_) | Err(_) => {
                    let what = "the event stream ended without an answer, and could not be resumed";
                    return Err(broken(&self.server, what.into()));
                }
            }
        }
    }

    fn attempt(&mut self) -> Attempt {
        let pause = self.pause * 2_u32.saturating_pow(self.attempts);
        self.attempts += 1;
        let mut head = headers::stream(
            &self.session,
            self.grant.headers_at(&self.server, &self.session.target),
        );
        if let Some(last) = &self.last {
            head.insert(headers::LAST_EVENT_ID, last.clone());
        }
        let (desk, target) = (self.desk.clone(), self.session.target.clone());
        let (grant, server) = (self.grant.clone(), self.server.clone());
        Box::pin(async move {
            tokio::time::sleep(pause.min(MAX_PAUSE)).await;
            let way = Way {
                grant: &grant,
                server: &server,
                target: &target,
            };
            desk.send(way, Method::GET, head, Bytes::new()).await
        })
    }
}

/// Statuses that say nothing about the stream.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429)
}
