//! What interceptors are told of a message besides its payload.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use weir_plugin_protocol::jsonrpc::{Field, Message};

use crate::intercept::{Interceptors, is_event};
use crate::pipeline::{ClientRequest, Exchange, record};

/// The request, if it is one that interceptors may be shown.
pub(super) fn shown(exchange: &Exchange) -> Option<(&Arc<Interceptors>, &Message)> {
    let interceptors = exchange.settings().interceptors.as_ref()?;
    let request = &exchange.arrival().request;
    let message = match request {
        ClientRequest::Modern(request) => &request.message,
        ClientRequest::Legacy(message) => message,
        _ => return None,
    };
    let is_request = message.id().is_some() && !message.method().is_empty();
    (is_request && is_event(request.method())).then_some((interceptors, message))
}

/// The `context` of an invocation.
pub(super) fn context(exchange: &Exchange, message: &Message, session: Option<&str>) -> Value {
    let facts = exchange.facts();
    let mut context = Map::new();
    let principal = match facts.principal.as_deref() {
        Some(principal) if !facts.anonymous => {
            let mut claims = principal.metadata.clone();
            if let Some(tenant) = &principal.tenant_id {
                claims.insert("tenant_id".to_owned(), tenant.as_str().into());
            }
            claims.insert("roles".to_owned(), principal.roles.clone().into());
            claims.insert("groups".to_owned(), principal.groups.clone().into());
            json!({ "type": "user", "id": principal.user_id, "claims": claims })
        }
        Some(principal) => json!({ "type": "anonymous", "id": principal.user_id }),
        None => json!({ "type": "anonymous" }),
    };
    context.insert("principal".to_owned(), principal);
    let trace = message.text(Field::MetaTraceparent);
    if let Some((trace, span)) = trace.as_deref().and_then(parts) {
        context.insert("traceId".to_owned(), trace.into());
        context.insert("spanId".to_owned(), span.into());
    }
    let now = record::rfc3339(SystemTime::now());
    context.insert("timestamp".to_owned(), now.as_str().into());
    if let Some(session) = session {
        context.insert("sessionId".to_owned(), session.into());
    }
    Value::Object(context)
}

/// The ids of a trace and of a span (W3C Trace Context, section 3.2).
fn parts(traceparent: &str) -> Option<(&str, &str)> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, span) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (trace.len() == 32 && span.len() == 16 && is_hex(trace) && is_hex(span))
        .then_some((trace, span))
}
