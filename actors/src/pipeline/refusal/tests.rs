use super::*;
use crate::admission::Limit;

fn answer(refusal: Refusal) -> (u16, Option<String>, serde_json::Value) {
    let outcome = refusal.outcome(Some("7"));
    let header = outcome
        .headers
        .iter()
        .find(|(name, _)| name == http::header::RETRY_AFTER)
        .map(|(_, value)| value.to_str().unwrap().to_owned());
    (
        outcome.status,
        header,
        serde_json::from_slice(&outcome.body).unwrap(),
    )
}

#[test]
fn a_limited_caller_is_told_to_the_millisecond() {
    let (status, header, body) = answer(Refusal::Limited(Limited {
        limit: Limit::Rate,
        retry_after: Some(Duration::from_micros(2_300_400)),
    }));
    assert_eq!((status, header.as_deref()), (429, Some("3")));
    let text = r#"{"jsonrpc":"2.0","id":7,"error":{"code":429,"message":"too many requests of this caller","data":{"reason":"principal_rate","retryable":true,"retry_after_ms":2301}}}"#;
    assert_eq!(
        body,
        serde_json::from_str::<serde_json::Value>(text).unwrap()
    );
}

#[test]
fn those_who_are_refused_together_come_back_apart() {
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let (status, header, body) = answer(Refusal::Overloaded("in_flight"));
        let after = body["error"]["data"]["retry_after_ms"].as_u64().unwrap();
        let seconds: u64 = header.unwrap().parse().unwrap();
        assert_eq!((status, after.div_ceil(1_000)), (503, seconds));
        assert!((1_000..=4_000).contains(&after), "{after}");
        times.insert(after);
    }
    assert!(times.len() > 50, "{}", times.len());
}
