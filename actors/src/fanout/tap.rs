//! Listens to one request: what the client sent, and everything that is sent to it.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message};
use weir_plugin_protocol::mcp::Method;

use super::Fanout;
use super::note::{Direction, StreamEvent, What};
use crate::pipeline::{Arrival, ClientRequest, Outcome, Transport, Verdict, message_of};

/// The ear of the message plugins at one request.
#[derive(Debug)]
pub(crate) struct Tap {
    fanout: Arc<Fanout>,
    correlation: Arc<str>,
    session: Option<Arc<str>>,
    /// Whether it is a stream that waits for events.
    stream: Option<&'static str>,
    /// Whether what is sent is sent here. What goes to an HTTP+SSE client was told of where it was made.
    sends: bool,
    /// Whether line breaks within a message become blanks on the wire.
    one_line: bool,
}

/// How a request ended, as far as message plugins are concerned.
pub(crate) struct Tapped<'a> {
    pub(crate) outcome: &'a Outcome,
    /// Whether the answer is the last event of a stream.
    pub(crate) is_streaming: bool,
    /// The server that was asked.
    pub(crate) server: Option<&'a str>,
}

// === impl Tap ===

impl Tap {
    /// Begins to listen, and tells what the client sent. `id` is that of the request's audit record.
    pub(crate) fn begin(
        fanout: Arc<Fanout>,
        arrival: &Arrival,
        id: Uuid,
        session: Option<String>,
    ) -> Self {
        let message = match &arrival.request {
            ClientRequest::Modern(request) => Some(&request.message),
            ClientRequest::Legacy(message) => Some(message),
            _ => None,
        };
        let stream = match (&arrival.request, arrival.request.method()) {
            (ClientRequest::OpenStream, _) => Some("events"),
            (ClientRequest::Modern(_), Method::Listen) => Some("subscriptions"),
            _ => None,
        };
        let tap = Self {
            fanout,
            correlation: id.to_string().into(),
            session: session.map(Into::into),
            stream,
            sends: !matches!(arrival.transport, Transport::SseStream(_)),
            one_line: !matches!(arrival.transport, Transport::Http),
        };
        if let Some(kind) = tap.stream {
            tap.event(StreamEvent::Start, vec![("stream", kind.to_owned())]);
        }
        if let Some(message) = message {
            let answers = matches!(message.kind(), Kind::Result | Kind::Error);
            let own = answers.then(|| tap.of_server(message)).flatten();
            tap.message(message.raw().clone(), Direction::Inbound, own);
        }
        tap
    }

    /// Tells of a frame that is sent ahead of the answer; comments are no messages.
    pub(crate) fn sent(&self, frame: &Bytes) {
        if !self.sends {
            return;
        }
        let Some(data) = message_of(frame) else {
            return;
        };
        let parsed = Message::parse(data.clone(), &Limits::default()).ok();
        let asks = parsed.filter(|message| message.kind() == Kind::Request);
        let own = asks.and_then(|message| self.of_server(&message));
        self.message(data, Direction::Outbound, own);
    }

    /// Tells how the request ended.
    pub(crate) fn settled(self, tapped: &Tapped<'_>) {
        let outcome = tapped.outcome;
        if self.sends && !outcome.body.is_empty() {
            let one_line = self.one_line || tapped.is_streaming;
            let data = if one_line {
                on_one_line(&outcome.body)
            } else {
                outcome.body.clone()
            };
            self.message(data, Direction::Outbound, None);
        }
        if is_failure(outcome) {
            let error = What::Error {
                message: error_of(&outcome.body),
                kind: outcome.reason.as_deref().unwrap_or("unknown").to_owned(),
            };
            self.fanout
                .tell(error, self.correlation.clone(), self.session.clone());
        }
        if matches!(outcome.verdict, Verdict::Cancelled | Verdict::Aborted) {
            let reason = outcome
                .reason
                .as_deref()
                .unwrap_or(outcome.verdict.as_str());
            let mut data = vec![("reason", reason.to_owned())];
            data.extend(tapped.server.map(|server| ("server", server.to_owned())));
            self.event(StreamEvent::Error, data);
        } else if let Some(kind) = self.stream {
            self.event(StreamEvent::End, vec![("stream", kind.to_owned())]);
        }
    }

    fn message(&self, data: Bytes, direction: Direction, own: Option<Arc<str>>) {
        let correlation = own.unwrap_or_else(|| self.correlation.clone());
        self.fanout.tell(
            What::Message { data, direction },
            correlation,
            self.session.clone(),
        );
    }

    fn event(&self, event: StreamEvent, data: Vec<(&'static str, String)>) {
        let what = What::Stream { event, data };
        self.fanout
            .tell(what, self.correlation.clone(), self.session.clone());
    }

    /// What pairs a request of a server with the client's answer, which comes in a request of its own.
    fn of_server(&self, message: &Message) -> Option<Arc<str>> {
        let (session, id) = (self.session.as_ref()?, message.text(Field::Id)?);
        Some(format!("{session}/{id}").into())
    }
}

/// Whether a server could not be asked, or did not answer as one. An error that it answers is an answer.
fn is_failure(outcome: &Outcome) -> bool {
    match outcome.verdict {
        Verdict::UpstreamError => outcome.reason.as_deref() != Some("upstream_error"),
        Verdict::Timeout => true,
        _ => false,
    }
}

fn error_of(body: &Bytes) -> String {
    let message = Message::parse(body.clone(), &Limits::default()).ok();
    let text = message.and_then(|message| Some(message.text(Field::ErrorMessage)?.into_owned()));
    text.unwrap_or_default()
}

/// A message as it is sent where messages are lines.
fn on_one_line(message: &Bytes) -> Bytes {
    if !message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return message.clone();
    }
    let line = message.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    });
    line.collect::<Vec<u8>>().into()
}
