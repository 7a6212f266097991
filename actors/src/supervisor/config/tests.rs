use super::*;

fn read(yaml: &str) -> Result<SupervisionConfig, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

#[test]
fn a_child_wins_over_its_group_and_the_group_over_the_code() {
    let config = read(
        "plugins:
  period: 10s
  restart: transient
  start_timeout: 1m30s
  shutdown: kill
  heartbeat: off
  backoff: { first: 0s, cap: 5s, factor: 3 }
  on_exhausted: quarantine
  children:
    billing: { intensity: 9, heartbeat: 20s, shutdown: infinity, backoff: { cap: 7s } }
",
    )
    .expect("valid");
    let built_in = ChildPolicy::default();
    let other = config
        .plugins
        .resolve(&"other".into(), &built_in)
        .expect("valid");
    let expected = ChildPolicy {
        restart: Restart::Transient,
        start_timeout: Some(Duration::from_secs(90)),
        shutdown: Shutdown::Kill,
        heartbeat: None,
        backoff: Backoff {
            first: Duration::ZERO,
            cap: Duration::from_secs(5),
            factor: 3.0,
            ..Backoff::default()
        },
        on_exhausted: OnExhausted::Quarantine,
        intensity: Intensity {
            restarts: 5,
            period: Duration::from_secs(10),
        },
        ..built_in.clone()
    };
    assert_eq!(other, expected);
    let billing = config
        .plugins
        .resolve(&"billing".into(), &built_in)
        .expect("valid");
    assert_eq!(billing.heartbeat, Some(Duration::from_secs(20)));
    assert_eq!(billing.shutdown, Shutdown::Infinity);
    assert_eq!(billing.backoff.cap, Duration::from_secs(7));
    assert_eq!(billing.backoff.factor, 3.0);
    assert_eq!(billing.intensity.restarts, 9);
    assert_eq!(
        config.audit.resolve(&"spool".into(), &built_in),
        Ok(built_in)
    );
}

#[test]
fn a_group_does_not_ask_those_who_opted_out() {
    let config = read("audit: { heartbeat: 9s, start_timeout: 9s, shutdown: 9s }").expect("valid");
    let built_in = ChildPolicy {
        heartbeat: None,
        start_timeout: None,
        shutdown: Shutdown::Infinity,
        ..ChildPolicy::default()
    };
    assert_eq!(
        config.audit.resolve(&"below".into(), &built_in),
        Ok(built_in)
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    for (yaml, line, text) in [
        ("root:\n  intensty: 3\n", 2, "intensty"),
        ("root:\n  period: 3\n", 2, "not a duration"),
        ("root:\n  period: 0s\n", 2, "period must be longer than 0"),
        ("root:\n  intensity: -1\n", 2, ""),
        (
            "root:\n  backoff:\n    factor: 0.5\n",
            3,
            "factor must be at least 1",
        ),
        (
            "root:\n  backoff:\n    jitter: 2\n",
            3,
            "jitter must be between 0 and 1",
        ),
        (
            "root:\n  backoff: { min: 2s, cap: 1s }\n",
            2,
            "cap must not be shorter",
        ),
        ("root:\n  heartbeat: often\n", 2, "not a duration"),
        (
            "plugins:\n  auto_shutdown: any_significant\n  children:\n    a: { significant: true, restart: permanent }\n",
            4,
            "a significant child must be transient or temporary",
        ),
        (
            "plugins:\n  auto_shutdown: any_significant\n  children:\n    a: { significant: true }\n",
            2,
            "child a is significant and permanent",
        ),
        (
            "plugins:\n  children:\n    a: { significant: true, restart: transient }\n",
            2,
            "auto_shutdown is never",
        ),
    ] {
        let error = read(yaml).expect_err(yaml);
        assert!(error.contains(text), "{yaml}: {error}");
        assert!(error.contains(&format!("line {line} ")), "{yaml}: {error}");
    }
}

#[test]
fn restarts_are_counted_for_the_group_or_for_the_child() {
    let config = read("root: { children: { a: { intensity: 9 } } }").expect("readable");
    let refused = config.root.resolve(&"a".into(), &ChildPolicy::default());
    assert_eq!(refused, Err(SpecError::CountedTogether("a".into())));
}

#[test]
fn it_has_a_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(SupervisionConfig)).expect("JSON");
    let group = &schema["$defs"]["GroupConfig"];
    assert_eq!(group["additionalProperties"], false);
    assert!(group["properties"]["backoff"].is_object());
    assert!(group["properties"]["intensity"]["description"].is_string());
}
