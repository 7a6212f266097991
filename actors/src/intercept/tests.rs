//! Chains of interceptors, with plugins that are functions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::pipeline::{Metrics, MetricsConfig};
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, Loader, MockTransport, NoHooks, PluginClient,
    PluginSpec, PluginTransport, Seat,
};
use crate::supervisor::{Runtime, SupervisorSpec};

struct Site {
    loader: Loader,
    metrics: Arc<Metrics>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    interceptors: Mutex<Vec<Interceptor>>,
}

/// Answers after a while.
pub(crate) struct Slow(pub(crate) Duration, pub(crate) MockTransport);

struct SlowClient(Duration, Arc<dyn PluginClient>);

impl PluginTransport for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async {
            let client: Arc<dyn PluginClient> =
                Arc::new(SlowClient(self.0, self.1.connect().await?));
            Ok(client)
        })
    }
}

impl PluginClient for SlowClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(async move {
            let answer = self.1.call(call).await;
            if !self.0.is_zero() {
                tokio::time::sleep(self.0).await;
            }
            answer
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.1.close()
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        self.1.ended()
    }
}

impl Site {
    /// A plugin whose answer is a function of the parameters, after `pause`.
    async fn plug(
        &self,
        name: &str,
        config: Value,
        pause: Duration,
        answer: impl Fn(&Value) -> Result<Value, CallError> + Send + Sync + 'static,
    ) {
        let (asked, own) = (self.asked.clone(), name.to_owned());
        let mock = MockTransport::new(move |method, params| {
            assert_eq!(method, INVOKE);
            asked.lock().unwrap().push((own.clone(), params.clone()));
            answer(params).map(|answer| answer.to_string().into())
        });
        let transport = Arc::new(Slow(pause, mock));
        self.loader
            .load(PluginSpec::new(name, transport))
            .await
            .unwrap();
        self.seat(name, config);
    }

    fn seat(&self, name: &str, config: Value) {
        let config: InterceptorConfig = serde_json::from_value(config).unwrap();
        config.check().unwrap();
        let seat = Seat::new(self.loader.clone(), name);
        let counts = self.metrics.interceptors.of(name);
        let one = Interceptor::new(name, seat, config, counts);
        self.interceptors.lock().unwrap().push(one);
    }

    async fn apply(&self, phase: Phase, payload: &'static str) -> Ruling {
        let chain = Interceptors::new(self.interceptors.lock().unwrap().drain(..));
        let ruling = chain
            .apply(&asked(phase), Bytes::from_static(payload.as_bytes()))
            .await;
        // For another round.
        drop(chain);
        ruling
    }

    fn order(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().map(|(name, _)| name).collect()
    }
}

fn asked(phase: Phase) -> Asked {
    Asked {
        event: "tools/call".into(),
        phase,
        context: Arc::new(json!({ "principal": { "type": "user", "id": "a" }, "timestamp": "t" })),
        deadline: None,
        accepts: Arc::new(|payload| match payload.starts_with(b"{\"evil\"") {
            true => Err("payload: evil".to_owned()),
            false => Ok(()),
        }),
    }
}

fn story<T: Future<Output = ()>>(test: impl FnOnce(Site) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let spec = SupervisorSpec::dynamic("plugins").quarantining();
        let group = spec.start(Runtime::silent(7)).unwrap();
        group.ready().await;
        let loader = Loader::new(group.clone(), Arc::default(), Arc::new(NoHooks));
        test(Site {
            loader,
            metrics: Metrics::new(MetricsConfig::default()).unwrap(),
            asked: Arc::default(),
            interceptors: Mutex::default(),
        })
        .await;
        group.shutdown().await;
    });
}

/// Appends the plugin's name to `seen`.
fn appends(name: &'static str) -> impl Fn(&Value) -> Result<Value, CallError> + Send + Sync {
    move |params| {
        let mut payload = params["payload"].clone();
        let seen = payload["seen"].as_str().unwrap_or_default();
        payload["seen"] = format!("{seen}{name}").into();
        Ok(json!({ "type": "mutation", "modified": true, "payload": payload }))
    }
}

fn valid(_: &Value) -> Result<Value, CallError> {
    Ok(json!({ "valid": true }))
}

fn words(ruling: &Ruling) -> Vec<(String, &'static str)> {
    let verdicts = ruling.verdicts.iter();
    verdicts
        .map(|said| (said.plugin.to_string(), said.verdict))
        .collect()
}

fn text(ruling: &Ruling) -> String {
    let payload = ruling.outcome.as_ref().unwrap().clone();
    String::from_utf8(payload.map_or_else(Vec::new, |payload| payload.to_vec())).unwrap()
}

const NOW: Duration = Duration::ZERO;

#[test]
fn requests_are_changed_by_priority_and_then_judged_and_answers_the_other_way_round() {
    for (phase, order, seen) in [
        (Phase::Request, ["c", "a", "b", "judge"], "cab"),
        (Phase::Response, ["judge", "b", "a", "c"], "bac"),
    ] {
        story(async |site| {
            let mutation = |priority: Value| json!({ "type": "mutation", "events": ["*"], "priority": priority });
            site.plug(
                "b",
                mutation(json!({ "request": 5, "response": -5 })),
                NOW,
                appends("b"),
            )
            .await;
            site.plug("a", mutation(json!(0)), NOW, appends("a")).await;
            site.plug(
                "c",
                mutation(json!({ "request": -1000, "response": 0 })),
                NOW,
                appends("c"),
            )
            .await;
            site.plug(
                "judge",
                json!({ "type": "validation", "events": ["tools/*"] }),
                NOW,
                valid,
            )
            .await;
            let ruling = site.apply(phase, r#"{"seen":""}"#).await;
            assert_eq!(text(&ruling), format!(r#"{{"seen":"{seen}"}}"#));
            let judged = site
                .asked
                .lock()
                .unwrap()
                .iter()
                .find(|(name, _)| name == "judge")
                .cloned();
            let expected = if phase == Phase::Request { seen } else { "" };
            assert_eq!(judged.unwrap().1["payload"]["seen"], expected);
            assert_eq!(site.order(), order);
        });
    }
}

#[test]
fn the_words_of_the_contract_reach_the_plugin() {
    story(async |site| {
        let config = json!({
            "type": "validation", "events": ["tools/call"], "timeout": "250ms", "name": "pii",
            "config": { "level": 3 }, "failOpen": true, "priorityHint": 7,
        });
        site.plug("guard", config, NOW, valid).await;
        let ruling = site
            .apply(Phase::Request, r#"{"name":"echo","arguments":{}}"#)
            .await;
        assert_eq!(words(&ruling), [("guard".to_owned(), "passed")]);
        let (_, params) = site.asked.lock().unwrap().remove(0);
        assert_eq!(
            params,
            json!({
                "name": "pii", "event": "tools/call", "phase": "request", "timeoutMs": 250,
                "config": { "level": 3 }, "payload": { "name": "echo", "arguments": {} },
                "context": { "principal": { "type": "user", "id": "a" }, "timestamp": "t" },
            })
        );
    });
}

#[test]
fn the_first_validation_that_refuses_ends_the_waiting() {
    story(async |site| {
        let validation = json!({ "type": "validation", "events": ["*"] });
        let deny = |_: &Value| {
            Ok(
                json!({ "valid": false, "severity": "error", "messages": [{ "path": "arguments.x", "message": "no", "severity": "error" }] }),
            )
        };
        site.plug(
            "slow",
            validation.clone(),
            Duration::from_millis(400),
            valid,
        )
        .await;
        site.plug("no", validation.clone(), Duration::from_millis(20), deny)
            .await;
        let watcher = json!({ "type": "validation", "events": ["*"], "mode": "audit" });
        site.plug("watcher", watcher, Duration::from_millis(300), valid)
            .await;
        let began = Instant::now();
        let ruling = site.apply(Phase::Request, "{}").await;
        assert!(
            began.elapsed() < Duration::from_millis(30),
            "{:?}",
            began.elapsed()
        );
        let refused = ruling.outcome.as_ref().unwrap_err();
        assert!(refused.fault.is_none() && !refused.is_retryable());
        assert_eq!(
            refused.told,
            r#","interceptor":"no","messages":[{"message":"no","severity":"error","path":"arguments.x"}]"#
        );
        assert_eq!(words(&ruling), [("no".to_owned(), "denied")]);
        // Who only watches was told all the same, and is counted when it is done.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(site.order().contains(&"watcher".to_owned()));
        let counted =
            r#"weir_interceptor_total{phase="request",plugin="watcher",verdict="passed"} 1"#;
        assert!(
            site.metrics.text().contains(counted),
            "{}",
            site.metrics.text()
        );
    });
}

#[test]
fn validations_run_side_by_side() {
    story(async |site| {
        for name in ["a", "b", "c"] {
            let config = json!({ "type": "validation", "events": ["*"] });
            site.plug(name, config, Duration::from_millis(100), valid)
                .await;
        }
        let began = Instant::now();
        let ruling = site.apply(Phase::Request, "{}").await;
        assert!(ruling.outcome.unwrap().is_none());
        assert!(
            began.elapsed() < Duration::from_millis(110),
            "{:?}",
            began.elapsed()
        );
    });
}

#[test]
fn who_is_slow_or_broken_refuses_unless_it_fails_open() {
    type Broken = fn(&Value) -> Result<Value, CallError>;
    let faults: [(Broken, &str); 8] = [
        (|_| Err(CallError::Refused("500".to_owned())), "failed"),
        (
            |_| Err(CallError::Lost("exit status 9".to_owned())),
            "failed",
        ),
        (|_| Ok(json!({})), "failed"),
        (
            |_| Ok(json!({ "valid": "true", "modified": "false" })),
            "failed",
        ),
        (|_| Ok(json!({ "error": "boom" })), "failed"),
        (|_| Ok(json!({ "result": { "isError": true } })), "failed"),
        (
            |_| Ok(json!({ "modified": true, "payload": { "evil": 1 } })),
            "failed",
        ),
        (|_| Ok(Value::String("x".repeat(2 * 1024 * 1024))), "failed"),
    ];
    for (answer, word) in faults {
        for kind in ["validation", "mutation"] {
            for open in [false, true] {
                story(async |site| {
                    let config = json!({ "type": kind, "events": ["*"], "fail_open": open });
                    site.plug("one", config, NOW, answer).await;
                    let ruling = site.apply(Phase::Request, "{}").await;
                    match (&ruling.outcome, open) {
                        (Ok(None), true) => {
                            assert_eq!(words(&ruling), [("one".to_owned(), "failed_passed")]);
                        }
                        (Err(refused), false) => {
                            assert!(matches!(refused.fault, Some(Fault::Failed(_))));
                            assert_eq!(words(&ruling), [("one".to_owned(), word)]);
                        }
                        (outcome, _) => panic!("{kind} {open} {outcome:?}"),
                    }
                });
            }
        }
    }
    for (open, word) in [(false, "timeout"), (true, "timeout_passed")] {
        story(async |site| {
            let config = json!({ "type": "validation", "events": ["*"], "timeout": "50ms", "fail_open": open });
            site.plug("slow", config, Duration::from_secs(5), valid)
                .await;
            let began = Instant::now();
            let ruling = site.apply(Phase::Request, "{}").await;
            assert!(began.elapsed() < Duration::from_millis(60));
            assert_eq!(ruling.outcome.is_ok(), open);
            assert_eq!(words(&ruling), [("slow".to_owned(), word)]);
            if let Err(refused) = ruling.outcome {
                assert!(matches!(
                    refused.fault,
                    Some(Fault::Timeout { timeout_ms: 50 })
                ));
                assert!(refused.is_retryable());
                assert_eq!(refused.told, r#","interceptor":"slow","timeoutMs":50"#);
            }
        });
    }
}

#[test]
fn a_plugin_that_is_not_there_refuses_and_another_takes_its_seat() {
    story(async |site| {
        let config = json!({ "type": "validation", "events": ["*"] });
        site.seat("absent", config.clone());
        let ruling = site.apply(Phase::Request, "{}").await;
        assert!(ruling.outcome.unwrap_err().is_retryable());
        let ok = |name: &str| {
            PluginSpec::new(
                name,
                Arc::new(MockTransport::new(|_, _| Ok(r#"{"valid":true}"#.into()))),
            )
        };
        let seat = Seat::new(site.loader.clone(), "absent");
        for _ in 0..2 {
            site.loader.load(ok("absent")).await.unwrap();
            let answer = seat.plugin().unwrap().call(INVOKE, &json!({})).await;
            assert_eq!(answer.unwrap(), r#"{"valid":true}"#);
            site.loader.unload("absent").await.unwrap();
            assert!(seat.plugin().is_none());
        }
    });
}

#[test]
fn what_is_only_recorded_changes_nothing() {
    story(async |site| {
        let audit = |kind: &str| json!({ "type": kind, "events": ["*"], "mode": "audit" });
        site.plug("change", audit("mutation"), NOW, appends("x"))
            .await;
        site.plug("deny", audit("validation"), NOW, |_| {
            Ok(json!({ "valid": false }))
        })
        .await;
        site.plug("broken", audit("validation"), NOW, |_| Ok(json!({})))
            .await;
        let ruling = site.apply(Phase::Response, "{}").await;
        assert_eq!(ruling.outcome.as_ref().unwrap(), &None);
        let mut words = words(&ruling);
        words.sort();
        let expected = [
            ("broken", "failed_passed"),
            ("change", "would_modify"),
            ("deny", "would_deny"),
        ];
        assert_eq!(words, expected.map(|(name, word)| (name.to_owned(), word)));
    });
}

#[test]
fn warnings_pass_and_nothing_is_told_where_nothing_is_to_be() {
    story(async |site| {
        let warns = json!({ "type": "validation", "events": ["*"], "phase": "request" });
        site.plug("warn", warns, NOW, |_| {
            Ok(json!({ "valid": false, "severity": "warn" }))
        })
        .await;
        let ruling = site.apply(Phase::Request, "{}").await;
        assert_eq!(words(&ruling), [("warn".to_owned(), "warned")]);
        assert!(ruling.outcome.unwrap().is_none());
        let silent = json!({ "type": "validation", "events": ["*"], "disclose": "nothing" });
        site.plug("silent", silent, NOW, |_| Ok(json!({ "valid": false, "messages": [{ "message": "secret", "severity": "error" }] }))).await;
        let ruling = site.apply(Phase::Request, "{}").await;
        assert_eq!(ruling.outcome.unwrap_err().told, "");
    });
}

#[test]
fn a_block_that_makes_no_sense_is_refused_by_its_key() {
    for (block, key) in [
        (json!({ "type": "validation", "events": [] }), "events"),
        (
            json!({ "type": "validation", "events": ["tools call"] }),
            "events",
        ),
        (
            json!({ "type": "mutation", "events": ["*"], "timeout": "31s" }),
            "timeout",
        ),
        (
            json!({ "type": "mutation", "events": ["*"], "timeout": "0" }),
            "timeout",
        ),
    ] {
        let config: InterceptorConfig = serde_json::from_value(block).unwrap();
        assert_eq!(config.check().unwrap_err().0, key);
    }
    for none in [
        json!({ "type": "observer", "events": ["*"] }),
        json!({ "type": "mutation", "events": ["*"], "unknown": 1 }),
        json!({ "type": "mutation", "events": ["*"], "priority": "high" }),
        json!({ "type": "mutation", "events": ["*"], "priority": 3_000_000_000_u32 }),
    ] {
        assert!(serde_json::from_value::<InterceptorConfig>(none).is_err());
    }
}
