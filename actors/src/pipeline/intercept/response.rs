//! An answer on its way to the client.

use std::sync::Arc;

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, member};
use weir_plugin_protocol::mcp::{Era, Method};

use super::context::{context, shown};
use crate::intercept::{Asked, Phase, Ruling};
use crate::pipeline::{Exchange, Outcome, Refusal, Verdict};

/// Members of a result that belong to the protocol, and stay as they are.
const FIXED: [Field; 3] = [Field::ResultMeta, Field::ResultType, Field::ResultState];

/// Whether any interceptor is to be asked about the answer, or has decided what is in it.
pub(in crate::pipeline) fn is_wanted(exchange: &Exchange, outcome: &Outcome) -> bool {
    let Some((interceptors, message)) = shown(exchange) else {
        return false;
    };
    is_answer(outcome)
        && (interceptors.want(message.method(), Phase::Response)
            || (is_cached(exchange) && interceptors.decide(message.method())))
}

/// Whether a server, or the gateway for one, has answered.
fn is_answer(outcome: &Outcome) -> bool {
    let answered = match outcome.verdict {
        Verdict::Ok | Verdict::ToolError => true,
        Verdict::UpstreamError => outcome.reason.as_deref() == Some("upstream_error"),
        _ => false,
    };
    answered && !outcome.body.is_empty()
}

/// Whether the answer may say that everybody may have it.
fn is_cached(exchange: &Exchange) -> bool {
    let request = &exchange.arrival().request;
    request.era() == Some(Era::Modern) && request.method() != Method::ToolsCall
}

/// Asks the interceptors about an answer. A client that has gone away changes nothing: what is done is done, and is
/// recorded as it would have been answered.
pub(in crate::pipeline) async fn pass(
    mut exchange: Exchange,
    mut outcome: Outcome,
) -> (Exchange, Outcome) {
    let Some((interceptors, request)) = shown(&exchange) else {
        return (exchange, outcome);
    };
    let (interceptors, request) = (interceptors.clone(), request.clone());
    let event = request.method();
    let Ok(answer) = Message::parse(outcome.body.clone(), &Limits::default()) else {
        // The gateway itself wrote it.
        let refusal = exchange.refusal(Refusal::Aborted { dispatched: true });
        return (exchange, refusal);
    };
    let mut answer = answer;
    if interceptors.want(event, Phase::Response) {
        let original = answer.clone();
        let asked = Asked {
            event: event.into(),
            phase: Phase::Response,
            context: Arc::new(context(
                &exchange,
                &request,
                exchange.facts().session.as_deref(),
            )),
            deadline: None,
            accepts: Arc::new(move |payload| replaced(&original, payload).map(drop)),
        };
        let Ruling {
            verdicts,
            outcome: ruled,
        } = interceptors.apply(&asked, payload(&answer)).await;
        exchange.facts_mut().interceptions.extend(verdicts);
        match ruled {
            Ok(None) => {}
            Ok(Some(payload)) => match replaced(&answer, &payload) {
                Ok(changed) => {
                    answer = changed;
                    outcome = revised(outcome, &answer);
                }
                Err(_) => {
                    let refusal = exchange.refusal(Refusal::Aborted { dispatched: true });
                    return (exchange, refusal);
                }
            },
            Err(intercepted) => {
                let refusal = exchange.refusal(Refusal::Intercepted(Box::new(intercepted)));
                return (exchange, refusal);
            }
        }
    }
    // What one caller gets, another may not.
    if interceptors.decide(event) && answer.text(Field::CacheScope).as_deref() == Some("public") {
        outcome.body = answer
            .rewrite()
            .set(Field::CacheScope, r#""private""#)
            .finish();
    }
    (exchange, outcome)
}

fn payload(answer: &Message) -> Bytes {
    match answer.kind() {
        Kind::Error => {
            let error = answer.field(Field::Error).unwrap_or("{}");
            format!(r#"{{"error":{error}}}"#).into()
        }
        _ => answer
            .slice(Field::Result)
            .unwrap_or_else(|| Bytes::from_static(b"{}")),
    }
}

/// The answer with another payload.
fn replaced(answer: &Message, payload: &Bytes) -> Result<Message, String> {
    let payload = std::str::from_utf8(payload).map_err(|_| "no UTF-8".to_owned())?;
    let mut rewrite = answer.rewrite();
    if answer.kind() == Kind::Error {
        let error = member(payload, "error").filter(|error| error.starts_with('{'));
        let error = error.ok_or_else(|| "payload: no object `error`".to_owned())?;
        rewrite = rewrite.set(Field::Error, error);
    } else {
        rewrite = rewrite.set(Field::Result, payload);
        for field in FIXED {
            rewrite = match answer.field(field) {
                Some(value) => rewrite.set(field, value),
                None => rewrite.remove(field),
            };
        }
    }
    let changed = Message::parse(rewrite.finish(), &Limits::default());
    let changed = changed.map_err(|error| format!("payload: {}", error.message))?;
    let is_alike = changed.kind() == answer.kind()
        && changed.id() == answer.id()
        && (changed.kind() != Kind::Error || changed.field(Field::ErrorCode).is_some());
    match is_alike {
        true => Ok(changed),
        false => Err("payload: the answer would be another one".to_owned()),
    }
}

/// What the answer is now.
fn revised(outcome: Outcome, answer: &Message) -> Outcome {
    let body = answer.raw().clone();
    if answer.kind() == Kind::Error {
        let code = answer
            .field(Field::ErrorCode)
            .and_then(|code| code.parse().ok());
        return Outcome {
            error_code: code.or(outcome.error_code),
            body,
            ..outcome
        };
    }
    let headers = outcome.headers;
    let revised = match answer.field(Field::IsError) {
        Some("true") => Outcome::tool_error(body),
        _ => Outcome::ok(body),
    };
    Outcome { headers, ..revised }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Message {
        Message::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap()
    }

    #[test]
    fn results_are_replaced_but_for_what_is_the_protocols() {
        let answer = message(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"a@b.c"}],"_meta":{"x":1}}}"#,
        );
        let payload =
            Bytes::from_static(br#"{"content":[],"resultType":"input_required","isError":true}"#);
        let changed = replaced(&answer, &payload).unwrap();
        let value: serde_json::Value = serde_json::from_str(changed.as_str()).unwrap();
        assert_eq!(
            value["result"],
            serde_json::json!({ "content": [], "resultType": "complete", "isError": true, "_meta": { "x": 1 } })
        );
        let outcome = revised(Outcome::ok(Bytes::new()), &changed);
        assert_eq!(outcome.verdict, Verdict::ToolError);
        for broken in [
            r#"{"content":[]"#,
            r#"{"a":1},"error":{}"#,
            r#"{"isError":1,"isError":2}"#,
        ] {
            let payload = Bytes::from_static(broken.as_bytes());
            assert!(replaced(&answer, &payload).is_err(), "{broken}");
        }
    }

    #[test]
    fn errors_of_servers_are_shown_and_replaced_too() {
        let answer = message(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32050,"message":"no user a@b.c"}}"#,
        );
        assert_eq!(
            payload(&answer),
            r#"{"error":{"code":-32050,"message":"no user a@b.c"}}"#
        );
        let payload = Bytes::from_static(br#"{"error":{"code":-32050,"message":"no user [x]"}}"#);
        let changed = replaced(&answer, &payload).unwrap();
        assert_eq!(changed.text(Field::ErrorMessage).unwrap(), "no user [x]");
        for broken in [r#"{}"#, r#"{"error":"x"}"#, r#"{"error":{}}"#] {
            let payload = Bytes::from_static(broken.as_bytes());
            assert!(replaced(&answer, &payload).is_err(), "{broken}");
        }
    }
}
