use super::*;

fn read(text: &str) -> LimitsConfig {
    let limits: LimitsConfig = serde_json::from_str(text).unwrap();
    limits.check().unwrap();
    limits
}

fn of(tenant: &str, user: &str) -> UserPrincipal {
    UserPrincipal {
        tenant_id: Some(tenant.to_owned()),
        ..UserPrincipal::named(user)
    }
}

fn caller(principal: &UserPrincipal) -> Caller<'_> {
    Caller {
        principal,
        peer: None,
    }
}

const ONE: NonZeroU32 = NonZeroU32::MIN;

#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_rate_and_its_own_places() {
    let callers = Callers::default();
    let limits = read(r#"{"principal":{"in_flight":2,"rate":"1/s","burst":3}}"#);
    let (ann, bob) = (of("t", "ann"), of("t", "bob"));
    let held: Vec<_> = (0..2)
        .map(|_| callers.admit(&limits, &caller(&ann), ONE, true).unwrap())
        .collect();
    let full = callers
        .admit(&limits, &caller(&ann), ONE, true)
        .unwrap_err();
    assert_eq!((full.limit, full.retry_after), (Limit::InFlight, None));
    // A stream takes no place, but it counts for the rate.
    callers.admit(&limits, &caller(&ann), ONE, false).unwrap();
    drop(held);
    let limited = callers
        .admit(&limits, &caller(&ann), ONE, true)
        .unwrap_err();
    assert_eq!(limited.limit, Limit::Rate);
    assert_eq!(limited.retry_after, Some(Duration::from_secs(1)));
    for _ in 0..3 {
        callers.admit(&limits, &caller(&bob), ONE, true).unwrap();
    }
    // The refused one gave its place back.
    tokio::time::advance(Duration::from_secs(2)).await;
    let again = callers.admit(&limits, &caller(&ann), ONE, true).unwrap();
    assert!(again.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_same_name_elsewhere_is_somebody_else() {
    let callers = Callers::default();
    let limits = read(r#"{"principal":{"rate":"1/h"}}"#);
    let someone = UserPrincipal::named("x");
    let at = |address: &str| Caller {
        principal: &someone,
        peer: Some(address.parse().unwrap()),
    };
    for caller in [
        caller(&someone),
        caller(&of("a", "x")),
        at("10.0.0.1"),
        at("10.0.0.2"),
    ] {
        callers.admit(&limits, &caller, ONE, true).unwrap();
        assert!(callers.admit(&limits, &caller, ONE, true).is_err());
    }
    callers
        .stranger(&limits, "10.0.0.1".parse().unwrap())
        .unwrap();
    assert!(
        callers
            .stranger(&limits, "10.0.0.1".parse().unwrap())
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn rules_go_before_the_default_and_tools_are_counted_besides() {
    let limits = read(
        r#"{"principal":{"rate":"1/s"},"rules":[
            {"name":"dear","tools":["dear_*"],"rate":"1/m","burst":2,"deadline":"1s"},
            {"name":"gold","tenants":["gold"],"rate":"100/s","deadline":"9s"},
            {"name":"one at a time","servers":["slow"],"in_flight":1,"shared":true}]}"#,
    );
    let callers = Callers::default();
    let (gold, iron) = (of("gold", "g"), of("iron", "i"));
    for _ in 0..100 {
        callers.admit(&limits, &caller(&gold), ONE, true).unwrap();
    }
    callers.admit(&limits, &caller(&iron), ONE, true).unwrap();
    assert!(callers.admit(&limits, &caller(&iron), ONE, true).is_err());

    let mut places = Vec::new();
    let mut call = |principal: &UserPrincipal, server: &str, tool: &str| {
        let called = Called {
            server,
            tool: Some(tool),
        };
        callers.call(&limits, &caller(principal), &called, &mut places)
    };
    for tool in ["dear_a", "dear_b"] {
        for _ in 0..2 {
            assert_eq!(call(&gold, "s", tool), Ok(Some(Duration::from_secs(1))));
        }
        let limited = call(&gold, "s", tool).unwrap_err();
        assert_eq!(limited.limit, Limit::ToolRate);
        assert_eq!(limited.retry_after, Some(Duration::from_secs(60)));
    }
    call(&iron, "s", "dear_a").unwrap();
    assert_eq!(call(&gold, "s", "cheap"), Ok(Some(Duration::from_secs(9))));
    assert_eq!(call(&iron, "s", "cheap"), Ok(None));
    assert_eq!(call(&gold, "slow", "x"), Ok(Some(Duration::from_secs(9))));
    let limited = call(&iron, "slow", "y").unwrap_err();
    assert_eq!(limited.limit, Limit::ToolInFlight);
    drop(places);
    let called = Called {
        server: "slow",
        tool: None,
    };
    callers
        .call(&limits, &caller(&iron), &called, &mut Vec::new())
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_limits_keep_what_is_counted() {
    let callers = Callers::default();
    let limits = read(r#"{"principal":{"in_flight":2,"rate":"1/m","burst":3}}"#);
    let ann = of("t", "ann");
    let held = callers.admit(&limits, &caller(&ann), ONE, true).unwrap();
    let limits = read(r#"{"principal":{"in_flight":1,"rate":"1/m","burst":3}}"#);
    assert!(callers.admit(&limits, &caller(&ann), ONE, true).is_err());
    drop(held);
    for _ in 0..2 {
        callers.admit(&limits, &caller(&ann), ONE, true).unwrap();
    }
    assert!(callers.admit(&limits, &caller(&ann), ONE, true).is_err());
    let limits = read("{}");
    callers.admit(&limits, &caller(&ann), ONE, true).unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_names_do_not_fill_the_memory() {
    let callers = Callers::default();
    let limits = read(r#"{"principal":{"rate":"1/s"}}"#);
    for number in 0..MAX_ACCOUNTS + 20_000 {
        let stranger = UserPrincipal::named(number.to_string());
        callers
            .admit(&limits, &caller(&stranger), ONE, true)
            .unwrap();
    }
    assert!(callers.accounts() <= MAX_ACCOUNTS, "{}", callers.accounts());
}

#[test]
fn rules_that_say_nothing_are_refused() {
    for (text, key) in [
        (r#"{"name":"","rate":"1/s"}"#, "name"),
        (r#"{"name":"a"}"#, "name"),
        (r#"{"name":"a","burst":3,"in_flight":1}"#, "burst"),
        (r#"{"name":"a","rate":"1/s","tools":[]}"#, "tools"),
        (r#"{"name":"a","rate":"1/s","shared":true}"#, "shared"),
        (r#"{"name":"a","deadline":"0"}"#, "deadline"),
    ] {
        let rule: LimitRule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.check().unwrap_err().key, key, "{text}");
    }
}
