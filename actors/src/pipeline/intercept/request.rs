//! A request that the policy allows, on its way to the credential stage.

use std::sync::Arc;

use bytes::Bytes;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::jsonrpc::{Field, Limits, Message};
use weir_plugin_protocol::mcp;
use weir_plugin_protocol::role::{Answer, PolicyError};

use super::context::{context, shown};
use crate::intercept::{Asked, Fault, Intercepted, Phase, Ruling};
use crate::pipeline::policy::{PolicyLane, ask};
use crate::pipeline::telemetry::Answered;
use crate::pipeline::{ClientRequest, Exchange, Refusal, Target, Transport, dispatch, wait_for};

/// What a mutation may not change: who is asked for what, and what the gateway or a server sealed.
const FIXED: [Field; 6] = [
    Field::Name,
    Field::Uri,
    Field::Ref,
    Field::TaskId,
    Field::Cursor,
    Field::RequestState,
];

/// Whether any interceptor is to be asked.
pub(in crate::pipeline) fn is_wanted(exchange: &Exchange) -> bool {
    shown(exchange)
        .is_some_and(|(interceptors, message)| interceptors.want(message.method(), Phase::Request))
}

/// Asks the interceptors, and about what they changed the policy again. What is left goes to the credential stage.
pub(in crate::pipeline) async fn pass(
    lane: Arc<PolicyLane>,
    exchange: Exchange,
    principal: Arc<UserPrincipal>,
    target: Target,
) {
    let Some((interceptors, message)) = shown(&exchange) else {
        return lane.seal(exchange, principal, target);
    };
    let (interceptors, message) = (interceptors.clone(), message.clone());
    let arrival = exchange.arrival();
    let session = arrival.session_id.as_deref().and_then(|id| {
        let session = lane.sessions.find(id, &principal, &arrival.endpoint)?;
        Some(session.public_number())
    });
    let original = message.clone();
    let asked = Asked {
        event: message.method().into(),
        phase: Phase::Request,
        context: Arc::new(context(&exchange, &message, session.as_deref())),
        deadline: Some(arrival.deadline),
        accepts: Arc::new(move |payload| replaced(&original, payload).map(drop)),
    };
    let payload = params(&message);
    let applying = Box::pin(async move { interceptors.apply(&asked, payload).await });
    let late = || {
        Refusal::Intercepted(Box::new(Intercepted {
            plugin: "".into(),
            phase: Phase::Request,
            told: String::new(),
            fault: Some(Fault::Timeout { timeout_ms: 0 }),
        }))
    };
    let Some((mut exchange, ruling)) = wait_for(exchange, applying, &lane.telemetry, late).await
    else {
        return;
    };
    let Ruling { verdicts, outcome } = ruling;
    exchange.facts_mut().interceptions.extend(verdicts);
    let changed = match outcome {
        Ok(None) => return lane.seal(exchange, principal, target),
        Ok(Some(payload)) => change(&mut exchange, &message, &target, &payload),
        Err(intercepted) => Err(Refusal::Intercepted(Box::new(intercepted))),
    };
    if let Err(refusal) = changed {
        return refuse(&lane, exchange, refusal);
    }
    // What a rule has judged is not what is sent now.
    let verdict = match ask(&exchange, &principal, &target) {
        Answer::Now(verdict) => verdict,
        Answer::Later(verdict) => {
            let late = || Refusal::PolicyUnavailable("timeout".into());
            let Some((waited, verdict)) = wait_for(exchange, verdict, &lane.telemetry, late).await
            else {
                return;
            };
            exchange = waited;
            verdict
        }
    };
    match verdict {
        Ok(()) => lane.seal(exchange, principal, target),
        Err(PolicyError::Denied(reason)) => refuse(&lane, exchange, Refusal::Denied(reason)),
        Err(PolicyError::Unavailable(reason)) => {
            refuse(&lane, exchange, Refusal::PolicyUnavailable(reason));
        }
    }
}

fn refuse(lane: &PolicyLane, exchange: Exchange, refusal: Refusal) {
    let outcome = exchange.refusal(refusal);
    crate::pipeline::forward(&lane.telemetry, Answered::new(exchange, outcome));
}

fn params(message: &Message) -> Bytes {
    match message.slice(Field::Params) {
        Some(params) if params.starts_with(b"{") => params,
        _ => Bytes::from_static(b"{}"),
    }
}

/// Puts other parameters in the place of those that came, and what repeats them in headers with them.
fn change(
    exchange: &mut Exchange,
    message: &Message,
    target: &Target,
    payload: &Bytes,
) -> Result<(), Refusal> {
    let changed = replaced(message, payload).map_err(Refusal::InvalidParams)?;
    if let (Target::Server { route, .. }, ClientRequest::Modern(_)) =
        (target, &exchange.arrival().request)
        && !matches!(exchange.arrival().transport, Transport::Stdio)
        && let Some(annotations) = route.link.catalog.param_headers.get(&route.own_name)
    {
        // The client repeated its own arguments: that was to be right. From here on the others count.
        dispatch::repeated(exchange, message, route)
            .map_err(|mismatch| Refusal::Wire(mcp::Refusal::header_mismatch(mismatch)))?;
        let repeating = dispatch::repeating(&changed, route);
        let is_one = |name: &str| {
            let mut known = annotations.iter().map(|annotation| &annotation.header);
            known.any(|known| known.eq_ignore_ascii_case(name))
        };
        exchange.repeat(is_one, repeating);
    }
    exchange.replace_message(changed);
    Ok(())
}

/// The request with other parameters. `_meta` belongs to the client and to the protocol, and stays.
fn replaced(message: &Message, payload: &Bytes) -> Result<Message, String> {
    let payload = std::str::from_utf8(payload).map_err(|_| "no UTF-8".to_owned())?;
    let rewrite = message.rewrite().set(Field::Params, payload);
    let rewrite = match message.field(Field::Meta) {
        Some(meta) => rewrite.set(Field::Meta, meta),
        None => rewrite.remove(Field::Meta),
    };
    let changed = Message::parse(rewrite.finish(), &Limits::default());
    let changed = changed.map_err(|error| format!("payload: {}", error.message))?;
    match FIXED
        .into_iter()
        .find(|field| !is_same(message, &changed, *field))
    {
        Some(field) => Err(format!("payload: {field:?} is another one")),
        None => Ok(changed),
    }
}

/// Whether a member says the same in both, however it is spelled.
fn is_same(one: &Message, other: &Message, field: Field) -> bool {
    let value = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).ok();
    match (one.field(field), other.field(field)) {
        (None, None) => true,
        (Some(one), Some(other)) => one == other || value(one) == value(other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"a":1},"_meta":{"progressToken":"t"}}}"#;

    fn call() -> Message {
        Message::parse(Bytes::from_static(CALL), &Limits::default()).unwrap()
    }

    #[test]
    fn a_mutation_changes_what_it_may() {
        let payload = Bytes::from_static(br#"{ "name":"echo", "arguments":{"a":2} }"#);
        let changed = replaced(&call(), &payload).unwrap();
        assert_eq!(changed.id(), Some("7"));
        assert_eq!(changed.method(), "tools/call");
        assert_eq!(changed.field(Field::Arguments), Some(r#"{"a":2}"#));
        assert_eq!(changed.field(Field::MetaProgressToken), Some(r#""t""#));
    }

    #[test]
    fn a_mutation_smuggles_nothing() {
        for payload in [
            r#"{"name":"delete","arguments":{}}"#,
            r#"{"arguments":{}}"#,
            r#"{"name":"echo","uri":"file:///x"}"#,
            r#"{"name":"echo","name":"delete"}"#,
            r#"{"name":"echo","Name":"delete"}"#,
            r#"{"name":"echo"}},"method":"tools/list","x":{"#,
            r#"{"name":"echo","requestState":"forged"}"#,
            r#"{"name":"echo""#,
        ] {
            let payload = Bytes::from_static(payload.as_bytes());
            assert!(replaced(&call(), &payload).is_err(), "{payload:?}");
        }
        // Whatever it says of the protocol's own members is not heard.
        let payload =
            Bytes::from_static(br#"{"name":"echo","_meta":{"progressToken":"other","x":1}}"#);
        let changed = replaced(&call(), &payload).unwrap();
        assert_eq!(changed.field(Field::Meta), Some(r#"{"progressToken":"t"}"#));
    }
}
