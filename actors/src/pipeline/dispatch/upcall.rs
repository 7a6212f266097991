//! One request under way at a server, the same for HTTP and for child processes.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, Payload, Rewrite};

use super::Desk;
use super::hop::Way;
use super::resume::Resume;
use crate::pipeline::Refusal;
use crate::upstream::ServerName;
use crate::upstream::http::{EventStream, HttpError, HttpErrorKind};
use crate::upstream::stdio::{LinkError, SessionKey, StdioCall, StdioLink};

/// A request under way. Dropping it cancels: the connection is closed, or the child is told.
pub(super) enum Upcall {
    /// The whole answer has arrived.
    Whole(Option<Box<Reply>>),
    /// An event stream.
    Events {
        events: Box<EventStream>,
        id: String,
        server: ServerName,
        /// How to read on if the stream ends before the answer.
        resume: Option<Box<Resume>>,
        /// Messages that came together and were not looked at.
        queue: VecDeque<Message>,
    },
    /// A child process.
    Stdio {
        call: Box<StdioCall>,
        server: ServerName,
    },
}

/// The end of an [`Upcall`].
pub(super) struct Reply {
    /// The answer.
    pub message: Message,
    /// The HTTP status it came with; 200 where there is none.
    pub status: u16,
    /// When it was there.
    pub arrived: Instant,
}

/// What a server says.
pub(super) enum Said {
    /// A notification.
    Notification(Box<Message>),
    /// A request to the client.
    Request(Box<Message>),
    /// The answer; nothing follows.
    Answer(Box<Reply>),
    /// Nothing yet, but the stream of the answer can be resumed.
    Primed,
}

/// What became of the first contact with an HTTP server.
pub(super) enum Contact {
    /// It takes the request.
    Under(Upcall),
    /// It took a notification or an answer.
    Accepted,
    /// It does not know our session any more (404).
    SessionLost,
}

// === impl Said ===

impl Said {
    /// Bytes of what is said.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Notification(message) | Self::Request(message) => message.raw().len(),
            Self::Answer(reply) => reply.message.raw().len(),
            Self::Primed => 0,
        }
    }
}

// === impl Upcall ===

impl Upcall {
    /// Calls a child process for a session, if there is one. The gateway's own id replaces that of the client and its
    /// progress token, if it sent one; the latter is returned.
    pub(super) async fn pipe(
        link: &StdioLink,
        server: &ServerName,
        request: &Message,
        mut rewrite: Rewrite<'_>,
        session: Option<SessionKey>,
    ) -> Result<(StdioCall, Option<String>), Refusal> {
        let id = link.next_id();
        let token = request
            .field(Field::MetaProgressToken)
            .map(|_| id.json().to_owned());
        if let Some(token) = &token {
            rewrite = rewrite.set(Field::MetaProgressToken, token.clone());
        }
        let frame = rewrite.set(Field::Id, id.json().to_owned()).finish();
        let call = link
            .call(id, frame, session)
            .await
            .map_err(|error| link_refusal(server, &error))?;
        Ok((call, token))
    }

    /// Posts a message to an HTTP server. `id` is the raw JSON id of a request; notifications and answers have none.
    pub(super) async fn post(
        desk: &Desk,
        way: Way<'_>,
        headers: HeaderMap,
        body: Bytes,
        id: Option<&str>,
    ) -> Result<Contact, Refusal> {
        let server = way.server;
        let cap = desk.max_answer_bytes(server);
        let in_session = headers.contains_key(super::headers::SESSION_ID);
        // On the heap: it is by far the largest part of a request's future.
        let answer = Box::pin(desk.send(way, Method::POST, headers, body)).await?;
        let status = answer.status;
        if in_session && status == StatusCode::NOT_FOUND {
            return Ok(Contact::SessionLost);
        }
        let Some(id) = id else {
            return match status {
                status if status.is_success() => Ok(Contact::Accepted),
                status => Err(broken(server, format!("HTTP status {status}"))),
            };
        };
        if status.is_success() && answer.is_event_stream() {
            return Ok(Contact::Under(Self::Events {
                events: Box::new(answer.events(cap)),
                id: id.to_owned(),
                server: server.clone(),
                resume: None,
                queue: VecDeque::new(),
            }));
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(broken(
                server,
                format!("it refused the gateway's credentials with HTTP status {status}"),
            ));
        }
        let body = answer
            .bytes(cap)
            .await
            .map_err(|error| http_refusal(server, &error))?;
        let arrived = Instant::now();
        let parsed = Message::parse(body, &answer_limits());
        match parsed {
            // Some servers say so of a session that they do not know.
            Ok(message)
                if in_session
                    && status == StatusCode::BAD_REQUEST
                    && message.kind() == Kind::Error
                    && message.id().is_none() =>
            {
                Ok(Contact::SessionLost)
            }
            Ok(message) if message.kind() == Kind::Result && !status.is_success() => Err(broken(
                server,
                format!("a result with HTTP status {status}"),
            )),
            Ok(message) if !answers(&message, id) => Err(broken(
                server,
                "it answered another request than it was asked".into(),
            )),
            Ok(message) if matches!(message.kind(), Kind::Result | Kind::Error) => {
                Ok(Contact::Under(Self::Whole(Some(Box::new(Reply {
                    message,
                    status: status.as_u16(),
                    arrived,
                })))))
            }
            Ok(_) => Err(broken(
                server,
                "it answered a request with something that is no answer".into(),
            )),
            // Whatever it means, it is not success: a lost write must never look like one.
            Err(error) if status.is_success() => Err(broken(
                server,
                format!("HTTP status {status}, {}", error.message),
            )),
            Err(_) => Err(broken(server, format!("HTTP status {status}"))),
        }
    }

    /// Lets a stream that ends before the answer be read on in.
    pub(super) fn resumable(&mut self, how: impl FnOnce() -> Resume) {
        if let Self::Events { resume, .. } = self {
            *resume = Some(Box::new(how()));
        }
    }

    /// What the server says next. After the answer there is nothing more to ask.
    pub(super) async fn next(&mut self) -> Result<Said, Refusal> {
        match self {
            Self::Whole(reply) => match reply.take() {
                Some(reply) => Ok(Said::Answer(reply)),
                None => std::future::pending().await,
            },
            Self::Events {
                events,
                id,
                server,
                resume,
                queue,
            } => loop {
                if let Some(message) = queue.pop_front() {
                    if answers(&message, id) {
                        return Ok(said(message));
                    }
                    tracing::warn!(%server, "server answered another request than it was asked");
                    continue;
                }
                let event = match events.next().await {
                    Some(Ok(event)) => event,
                    Some(Err(error)) if error.kind == HttpErrorKind::TooLarge => {
                        return Err(http_refusal(server, &error));
                    }
                    ended => {
                        if let Some(resume) = resume.as_mut().filter(|resume| resume.is_possible())
                        {
                            **events = resume.again().await?;
                            continue;
                        }
                        return Err(match ended {
                            Some(Err(error)) => http_refusal(server, &error),
                            _ => broken(server, "the event stream ended without an answer".into()),
                        });
                    }
                };
                if let Some(resume) = resume {
                    resume.note(&event);
                }
                if event.data.is_empty() {
                    if event.id.is_some() {
                        return Ok(Said::Primed);
                    }
                    continue;
                }
                let payload = weir_plugin_protocol::jsonrpc::parse(event.data, &answer_limits())
                    .map_err(|error| broken(server, error.message))?;
                match payload {
                    Payload::Single(message) if answers(&message, id) => return Ok(said(message)),
                    Payload::Single(_) => {
                        tracing::warn!(%server, "server answered another request than it was asked");
                    }
                    // Servers of 2025-03-26 may say several things at once.
                    Payload::Batch(messages) => queue.extend(messages),
                }
            },
            Self::Stdio { call, server } => match call.next().await {
                Some(Ok(message)) => Ok(said(message)),
                Some(Err(error)) => Err(link_refusal(server, &error)),
                None => Err(broken(server, "it ended the call without an answer".into())),
            },
        }
    }
}

/// Whether a message may be meant for the request with this raw JSON id: anything but the answer to another.
fn answers(message: &Message, id: &str) -> bool {
    match message.kind() {
        Kind::Result => message.id() == Some(id),
        Kind::Error => message.id().is_none_or(|answered| answered == id),
        Kind::Request | Kind::Notification => true,
    }
}

fn said(message: Message) -> Said {
    match message.kind() {
        Kind::Notification => Said::Notification(Box::new(message)),
        Kind::Request => Said::Request(Box::new(message)),
        Kind::Result | Kind::Error => Said::Answer(Box::new(Reply {
            message,
            status: 200,
            arrived: Instant::now(),
        })),
    }
}

/// Limits for what servers answer.
pub(super) fn answer_limits() -> Limits {
    Limits::default()
}

pub(super) fn broken(server: &ServerName, reason: String) -> Refusal {
    Refusal::UpstreamBroken {
        server: server.to_string(),
        reason,
    }
}

/// What the client is told of a transport error.
pub(super) fn http_refusal(server: &ServerName, error: &HttpError) -> Refusal {
    let server_name = server.to_string();
    match error.kind {
        HttpErrorKind::Connect | HttpErrorKind::Tls | HttpErrorKind::Refused => {
            Refusal::UpstreamDown {
                server: server_name,
                reason: error.to_string(),
            }
        }
        HttpErrorKind::Timeout => Refusal::UpstreamTimeout {
            server: server_name,
        },
        HttpErrorKind::Closed if !error.written => Refusal::UpstreamDown {
            server: server_name,
            reason: error.to_string(),
        },
        HttpErrorKind::Closed => Refusal::UpstreamDied {
            server: server_name,
        },
        HttpErrorKind::TooLarge if error.written => Refusal::AnswerTooLarge {
            server: server_name,
        },
        HttpErrorKind::Protocol | HttpErrorKind::TooLarge => broken(server, error.to_string()),
    }
}

/// What the client is told of a child that does not answer.
pub(super) fn link_refusal(server: &ServerName, error: &LinkError) -> Refusal {
    let server_name = server.to_string();
    match error {
        LinkError::NotRunning => Refusal::UpstreamDown {
            server: server_name,
            reason: "it is being restarted".into(),
        },
        LinkError::Died { .. } => Refusal::UpstreamDied {
            server: server_name,
        },
        LinkError::Busy => Refusal::Overloaded("upstream_queue"),
        LinkError::Timeout => Refusal::UpstreamTimeout {
            server: server_name,
        },
        LinkError::TooLarge | LinkError::Malformed => broken(server, error.to_string()),
    }
}
