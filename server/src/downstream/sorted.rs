//! One message of a conversation, sorted by the rules of the wire.

use std::sync::Arc;

use bytes::Bytes;
use weir_actors::pipeline::{ClientRequest, Refusal};
use weir_actors::upstream::Federation;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, ParseError, Payload, parse};
use weir_plugin_protocol::mcp::{
    self, Class, HttpMethod, MODERN_VERSIONS, Method, Offered, Values, WireHeaders, classify, code,
};

use super::conversation::Conversation;

/// What a message is, and what is to become of its answer.
pub(super) struct Sorted {
    /// The servers and the settings that it is judged by.
    pub(super) snapshot: Arc<Federation>,
    pub(super) request: ClientRequest,
    /// The raw JSON id of a request, or what stands for a batch.
    pub(super) id: Option<String>,
    pub(super) wants: Wants,
    /// The raw JSON id of the request that it gives up.
    pub(super) cancels: Option<String>,
    pub(super) bytes: usize,
}

/// What the client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// An answer.
    Answer,
    /// An answer that begins a session.
    Session,
    /// Nothing: a notification or an answer.
    Nothing,
}

/// The id that stands for a batch; no raw JSON is like it.
pub(super) const BATCH: &str = "batch";

// === impl Sorted ===

impl Sorted {
    /// A message that could not be read.
    pub(super) fn unread(refusal: Refusal, snapshot: Arc<Federation>) -> Self {
        Self {
            snapshot,
            request: ClientRequest::Refused(refusal),
            id: None,
            wants: Wants::Answer,
            cancels: None,
            bytes: 0,
        }
    }

    /// Sorts a message that came with headers, in the only era in which that kind of conversation exists.
    pub(super) fn posted(
        raw: Bytes,
        headers: &WireHeaders<'_>,
        snapshot: Arc<Federation>,
        conversation: &Conversation,
    ) -> Self {
        let offered = Offered {
            modern: false,
            ..snapshot.eras(&conversation.endpoint)
        };
        Self::of(raw, snapshot, conversation, |payload| {
            classify(HttpMethod::Post, headers, payload, offered)
        })
    }

    /// Sorts a message that came alone: what headers would repeat, they would repeat rightly.
    pub(super) fn bare(raw: Bytes, snapshot: Arc<Federation>, conversation: &Conversation) -> Self {
        let offered = snapshot.eras(&conversation.endpoint);
        Self::of(raw, snapshot, conversation, |payload| {
            classify_bare(payload, offered, conversation.is_modern())
        })
    }

    fn of(
        raw: Bytes,
        snapshot: Arc<Federation>,
        conversation: &Conversation,
        classify: impl FnOnce(Result<Payload, ParseError>) -> Class,
    ) -> Self {
        let bytes = raw.len();
        let limits = Limits {
            depth: snapshot.settings.limits.max_json_depth,
            ..Limits::default()
        };
        let payload = parse(raw, &limits);
        let (id, wants, cancels) = match &payload {
            Ok(Payload::Single(message)) => expectation(message),
            Ok(Payload::Batch(_)) => (Some(BATCH.to_owned()), Wants::Answer, None),
            Err(_) => (None, Wants::Answer, None),
        };
        let request = match classify(payload) {
            Class::Modern(request) => ClientRequest::Modern(request),
            Class::Legacy(Payload::Single(message)) if !begun(&message, conversation) => {
                let text = "initialize first: there is no session yet";
                let refusal = mcp::Refusal::bad_request(code::INVALID_REQUEST, text);
                ClientRequest::Malformed(refusal.answering(&message))
            }
            Class::Legacy(Payload::Single(message)) => ClientRequest::Legacy(message),
            Class::Legacy(Payload::Batch(messages)) => ClientRequest::LegacyBatch(messages),
            Class::LegacySession => ClientRequest::EndSession,
            Class::Refused(refusal) => ClientRequest::Malformed(refusal),
        };
        Self {
            snapshot,
            request,
            id,
            wants,
            cancels,
            bytes,
        }
    }
}

/// Whether a legacy message comes at its time: after the handshake, but for what may come before.
fn begun(message: &Message, conversation: &Conversation) -> bool {
    conversation.has_session()
        || message.kind() != Kind::Request
        || matches!(
            Method::parse(message.method()),
            Method::Initialize | Method::Ping
        )
}

fn expectation(message: &Message) -> (Option<String>, Wants, Option<String>) {
    let method = Method::parse(message.method());
    match message.kind() {
        Kind::Request if method == Method::Initialize => {
            (message.id().map(str::to_owned), Wants::Session, None)
        }
        Kind::Request => (message.id().map(str::to_owned), Wants::Answer, None),
        Kind::Notification if method == Method::NotificationCancelled => {
            let given_up = message.field(Field::RequestId).map(str::to_owned);
            (None, Wants::Nothing, given_up)
        }
        Kind::Notification | Kind::Result | Kind::Error => (None, Wants::Nothing, None),
    }
}

/// Sorts by the claim alone. A client that has settled on the modern era owes it in every request.
fn classify_bare(payload: Result<Payload, ParseError>, offered: Offered, is_modern: bool) -> Class {
    let message = match &payload {
        Ok(Payload::Single(message)) => Some(message.clone()),
        _ => None,
    };
    let Some(message) = message else {
        return classify(HttpMethod::Post, &WireHeaders::default(), payload, offered);
    };
    let method = Method::parse(message.method());
    let claim = message.text(Field::MetaVersion);
    let newest = MODERN_VERSIONS.last().map(|version| version.as_str());
    let version = match &claim {
        Some(claim) => Some(claim.as_ref()),
        None => newest.filter(|_| is_modern && method != Method::Initialize),
    };
    let name = method.routing_param().and_then(|param| message.text(param));
    let headers = WireHeaders {
        protocol_version: one(version),
        method: one(version.map(|_| message.method())),
        name: one(name.as_deref().filter(|_| version.is_some())),
        ..WireHeaders::default()
    };
    classify(HttpMethod::Post, &headers, payload, offered)
}

fn one(text: Option<&str>) -> Values<'_> {
    text.map_or(Values::Absent, |text| Values::One(text.as_bytes()))
}
