//! Roles as plugins play them, told as stories.

mod auth;
mod outfit;
mod policy;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::{Credentials, Secret};

use super::{CacheConfig, Decides, Direction, Ensemble};
use crate::pipeline::{Metrics, MetricsConfig};
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, Loader, NoHooks, PluginClient, PluginSpec,
    PluginTransport,
};
use crate::supervisor::duration::Span;
use crate::supervisor::{Runtime, SupervisorSpec};

type Script = dyn Fn(&str, &Value) -> BoxFuture<'static, Result<Bytes, CallError>> + Send + Sync;

/// A plugin that is a function, which may take its time.
#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Arc<Script>>>,
    calls: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<Value>>>,
}

/// A gateway's players with plugins that are functions.
struct Stage {
    ensemble: Ensemble,
    loader: Loader,
    metrics: Arc<Metrics>,
}

impl Scripted {
    fn new(
        answer: impl Fn(&str, &Value) -> Result<Value, CallError> + Send + Sync + 'static,
    ) -> Self {
        let this = Self {
            script: Arc::new(Mutex::new(Arc::new(
                |_: &str, _: &Value| -> BoxFuture<'static, _> { Box::pin(std::future::pending()) },
            ))),
            calls: Arc::default(),
            heard: Arc::default(),
        };
        this.answers(answer);
        this
    }

    /// From now on it answers at once what the function says.
    fn answers(
        &self,
        answer: impl Fn(&str, &Value) -> Result<Value, CallError> + Send + Sync + 'static,
    ) {
        self.says(move |method, params| {
            let answer = answer(method, params).map(|answer| Bytes::from(answer.to_string()));
            Box::pin(std::future::ready(answer))
        });
    }

    fn says(
        &self,
        script: impl Fn(&str, &Value) -> BoxFuture<'static, Result<Bytes, CallError>>
        + Send
        + Sync
        + 'static,
    ) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }
}

impl PluginTransport for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        let client: Arc<dyn PluginClient> = Arc::new(self.clone());
        Box::pin(async move { Ok(client) })
    }
}

impl PluginClient for Scripted {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.heard.lock().unwrap().push(call.params.clone());
        let script = self.script.lock().unwrap().clone();
        script(call.method, call.params)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Stage {
    /// Lets a plugin play the role that its name says.
    async fn cast(&self, role: &str, plugin: &Scripted) {
        let spec = PluginSpec::new(role, Arc::new(plugin.clone()));
        self.loader.load(spec).await.unwrap();
    }
}

/// Runs a test with players, in time that only passes when everybody waits.
fn story<T: Future<Output = ()>>(test: impl FnOnce(Stage) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let group = SupervisorSpec::dynamic("plugins").quarantining();
        let group = group.start(Runtime::silent(7)).unwrap();
        group.ready().await;
        let metrics = Metrics::new(MetricsConfig::default()).unwrap();
        let ensemble = Ensemble::new(Arc::default(), &metrics);
        let registry = ensemble.registry().clone();
        test(Stage {
            ensemble,
            loader: Loader::new(group.clone(), registry, Arc::new(NoHooks)),
            metrics,
        })
        .await;
        group.shutdown().await;
    });
}

fn bearer(token: &str) -> Credentials {
    Credentials {
        kind: CredentialKind::Bearer,
        value: Secret::new(token),
    }
}

fn cache(ttl: u64, negative_ttl: u64) -> Direction {
    let span = |seconds| Span(Duration::from_secs(seconds));
    Direction {
        cache: CacheConfig {
            ttl: span(ttl),
            negative_ttl: span(negative_ttl),
            ..CacheConfig::default()
        },
        ..Direction::default()
    }
}

/// Everything a plugin may do instead of answering as it should, and whether that is a refusal of its own.
type Misdeed = (&'static str, Arc<Script>, bool);

fn misdeeds() -> Vec<Misdeed> {
    fn at_once(answer: Result<&'static str, CallError>) -> Arc<Script> {
        Arc::new(move |_: &str, _: &Value| -> BoxFuture<'static, _> {
            let answer = answer.clone().map(Bytes::from);
            Box::pin(std::future::ready(answer))
        })
    }
    let refused = |text: &str| Err(CallError::Refused(text.to_owned()));
    let never: Arc<Script> = Arc::new(|_: &str, _: &Value| -> BoxFuture<'static, _> {
        Box::pin(std::future::pending())
    });
    let huge: Arc<Script> = Arc::new(|_: &str, _: &Value| -> BoxFuture<'static, _> {
        let answer = json!({ "allowed": true, "user_id": "x", "reason": "x".repeat(2 << 20) });
        Box::pin(std::future::ready(Ok(answer.to_string().into())))
    });
    vec![
        ("timeout", never, false),
        ("500", at_once(refused("oops (status 500)")), true),
        ("nothing", at_once(Ok("{}")), false),
        ("null", at_once(Ok("null")), false),
        ("no JSON", at_once(Ok("yes")), false),
        (
            "wrong types",
            at_once(Ok(r#"{"allowed":"true","user_id":7}"#)),
            false,
        ),
        (
            "an empty name",
            at_once(Ok(r#"{"user_id":"","allowed":null}"#)),
            false,
        ),
        (
            "isError",
            at_once(Ok(r#"{"isError":true,"user_id":"root","allowed":true}"#)),
            true,
        ),
        (
            "error and result",
            at_once(Ok(
                r#"{"error":"no","result":{"user_id":"root","allowed":true}}"#,
            )),
            true,
        ),
        (
            "twice",
            at_once(Ok(
                r#"{"user_id":"root","user_id":"root","allowed":false,"allowed":true}"#,
            )),
            false,
        ),
        ("huge", huge, false),
        (
            "a crash",
            at_once(Err(CallError::Lost("exit status: 1".to_owned()))),
            false,
        ),
    ]
}
