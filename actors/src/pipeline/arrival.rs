//! What a request is: what the client sent, and what the stages find out about it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;
use weir_plugin_protocol::audit::Interception;
use weir_plugin_protocol::jsonrpc::{Kind, Message};
use weir_plugin_protocol::mcp::{Era, Method, ModernRequest, Refusal as WireRefusal, Version};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use super::{Refusal, Transport};
use crate::upstream::{Endpoint, Federation, LinkView, ServerName};

/// What the client sent; fixed at the door.
#[derive(Debug)]
pub struct Arrival {
    /// The servers and the settings when it was let in: every stage goes by these, whatever is published meanwhile.
    pub snapshot: Arc<Federation>,
    /// When its head had been read, for durations.
    pub at: Instant,
    /// The same moment on the wall clock, for the audit record.
    pub wall: SystemTime,
    /// How long its body was waited for, which is the client's time.
    pub upload: Duration,
    /// When it must have been answered. Streams that wait for events have none of their own and ignore it.
    pub deadline: Instant,
    /// How it came.
    pub transport: Transport,
    /// Which servers it is for.
    pub endpoint: Endpoint,
    /// The request itself.
    pub request: ClientRequest,
    /// What the client presented.
    pub credentials: Option<Credentials>,
    /// The address of the peer.
    pub peer: Option<std::net::IpAddr>,
    /// `Mcp-Session-Id`, in the legacy era.
    pub session_id: Option<String>,
    /// What `MCP-Protocol-Version` says of a legacy request, if it is there.
    pub legacy_version: Option<Version>,
    /// `Last-Event-ID`, in the legacy era.
    pub last_event_id: Option<String>,
    /// It is one message of a batch: its answer goes into the batch's.
    pub in_batch: bool,
    /// The `Mcp-Param-*` headers, as they came.
    pub parameters: Vec<(HeaderName, HeaderValue)>,
    /// Bytes of the body.
    pub request_bytes: usize,
    /// Whether the answer is to say where its time went.
    pub tell_timing: bool,
}

/// The request, by what can be done with it.
#[derive(Debug)]
pub enum ClientRequest {
    /// A request or notification of 2026-07-28.
    Modern(ModernRequest),
    /// A request, notification or answer of the legacy era.
    Legacy(Message),
    /// A batch of the legacy era (2025-03-26).
    LegacyBatch(Vec<Message>),
    /// GET: the client opens its legacy event stream.
    OpenStream,
    /// DELETE: the client ends its legacy session.
    EndSession,
    /// The wire rules refuse it; the caller is authenticated first, so that strangers learn nothing.
    Malformed(WireRefusal),
    /// Refused at the door: never authenticated, answered and recorded all the same.
    Refused(Refusal),
}

/// What the stages found out, for the audit record and the metrics.
#[derive(Debug, Default)]
pub struct Facts {
    /// The caller.
    pub principal: Option<Arc<UserPrincipal>>,
    /// Whether the caller showed no credentials: others may go by the same name.
    pub anonymous: bool,
    /// The upstream server.
    pub server: Option<ServerName>,
    /// The face of that server that the request is for.
    pub link: Option<Arc<LinkView>>,
    /// The revision of the legacy session.
    pub version: Option<Version>,
    /// The tool, prompt or URI, by its own name at its server.
    pub target: Option<String>,
    /// The legacy session, by its public number.
    pub session: Option<String>,
    /// Whether the request may have reached its server.
    pub dispatched: bool,
    /// Time spent waiting for a place at the upstream.
    pub place_time: Duration,
    /// Time spent waiting for the upstream.
    pub upstream_time: Duration,
    /// The id of its audit record, if anybody had to know it before.
    pub event_id: Option<Uuid>,
    /// What interceptors said of it.
    pub interceptions: Vec<Interception>,
    /// Bytes of all frames sent before the last.
    pub streamed_bytes: usize,
}

// === impl ClientRequest ===

impl ClientRequest {
    /// The era of the request, where it has one.
    pub fn era(&self) -> Option<Era> {
        match self {
            Self::Modern(_) => Some(Era::Modern),
            Self::Legacy(_) | Self::LegacyBatch(_) | Self::OpenStream | Self::EndSession => {
                Some(Era::Legacy)
            }
            Self::Malformed(_) | Self::Refused(_) => None,
        }
    }

    /// How many messages it is.
    pub fn weight(&self) -> NonZeroU32 {
        let messages = match self {
            Self::LegacyBatch(messages) => u32::try_from(messages.len()).unwrap_or(u32::MAX),
            _ => 1,
        };
        NonZeroU32::new(messages).unwrap_or(NonZeroU32::MIN)
    }

    /// Whether it opens a stream that waits for events.
    pub fn stays_open(&self) -> bool {
        match self {
            Self::OpenStream => true,
            Self::Modern(request) => request.method == Method::Listen,
            _ => false,
        }
    }

    /// Whether it is counted among the requests in flight of its caller: whatever waits for an answer, but no stream that
    /// waits for events. Answers and notifications are let through, because requests in flight may wait for them.
    pub fn is_call(&self) -> bool {
        match self {
            Self::Modern(request) => request.method != Method::Listen,
            Self::Legacy(message) => message.kind() == Kind::Request,
            Self::LegacyBatch(messages) => messages
                .iter()
                .any(|message| message.kind() == Kind::Request),
            Self::OpenStream | Self::EndSession | Self::Malformed(_) | Self::Refused(_) => false,
        }
    }

    /// The JSON-RPC method, or the HTTP method of a session operation; empty if it could not be read.
    pub fn method_name(&self) -> &str {
        match self {
            Self::Modern(request) => request.message.method(),
            Self::Legacy(message) => message.method(),
            Self::LegacyBatch(_) => "batch",
            Self::OpenStream => "GET",
            Self::EndSession => "DELETE",
            Self::Malformed(_) | Self::Refused(_) => "",
        }
    }

    /// The method as the gateway knows it.
    pub fn method(&self) -> Method {
        match self {
            Self::Modern(request) => request.method,
            Self::Legacy(message) => Method::parse(message.method()),
            _ => Method::Other,
        }
    }
}
