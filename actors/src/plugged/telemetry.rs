//! A plugin is told what was counted and measured. Workers note what they do in books of their own; a task reads these now
//! and then: counters add up exactly, whatever the plugin does meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_plugin_protocol::mcp::Method;

use crate::pipeline::metrics::roles::StreamCounts;
use crate::plugin::{CallError, Registry, TelemetryClient};
use crate::supervisor::{ChildContext, ChildSpec};

/// How often the plugin is told.
const INTERVAL: Duration = Duration::from_secs(5);
/// Observations that wait in one worker's book. More are dropped and counted; counters lose nothing.
const OBSERVATIONS: usize = 64 * 1024;
/// Names that one book has for one server. The others are `other`.
const NAMES: usize = 1024;
/// What the plugin is told at once.
const AT_ONCE: usize = 32;
/// The pause before a plugin that takes nothing now is told again.
const AGAIN: Duration = Duration::from_millis(50);
/// What a name is called that has no place of its own.
const OTHER: &str = "other";

/// How many of its things a server offers: the metric, the server, the number.
pub type Gauges = Arc<dyn Fn() -> Vec<(&'static str, String, i64)> + Send + Sync>;

/// What was counted, on its way to the plugin that plays telemetry. Cheap to clone.
#[derive(Clone)]
pub struct TelemetryStream(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    counts: StreamCounts,
    desk: Arc<Books>,
    gauges: Mutex<Option<Gauges>>,
    asked: Notify,
    told: Notify,
}

/// The books of all workers.
#[derive(Debug, Default)]
pub struct Books {
    /// Whether anybody is to be told.
    wanted: AtomicBool,
    books: Mutex<Vec<Arc<Book>>>,
}

/// What one worker has counted since it was last looked at. Nobody else writes to it.
#[derive(Debug, Default)]
pub struct Book {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    tallies: HashMap<Subject, HashMap<Box<str>, Tally>>,
    observations: usize,
    overflow: u64,
}

/// What is counted together, but for the name of the tool or prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    kind: Kind,
    server: Box<str>,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    calls: u64,
    errors: u64,
    /// Milliseconds.
    durations: Vec<f32>,
}

/// What is told of: one family of metrics each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Tool,
    Prompt,
    Resource,
    Initialize,
    List(&'static str),
}

/// One thing that the plugin is to be told.
struct Message {
    name: String,
    value: Value,
    attributes: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy)]
enum Value {
    Counter(i64),
    Histogram(f64),
    Gauge(i64),
}

// === impl Books ===

impl Books {
    /// A book for one more worker.
    pub fn open(&self) -> Arc<Book> {
        let book = Arc::<Book>::default();
        lock(&self.books).push(book.clone());
        book
    }

    /// Whether anything is to be noted.
    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

// === impl Book ===

impl Book {
    /// Notes the end of a request. `name` is that of a tool or prompt.
    pub fn note(
        &self,
        method: Method,
        server: Option<&str>,
        name: Option<&str>,
        failed: bool,
        took: Duration,
    ) {
        let Some(kind) = Kind::of(method) else {
            return;
        };
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        let subject = Subject {
            kind,
            server: server.unwrap_or_default().into(),
        };
        let names = pages.tallies.entry(subject).or_default();
        let name = name.unwrap_or_default();
        let name = match names.len() >= NAMES && !names.contains_key(name) {
            true => OTHER,
            false => name,
        };
        if !names.contains_key(name) {
            names.insert(name.into(), Tally::default());
        }
        let Some(tally) = names.get_mut(name) else {
            return;
        };
        tally.calls += 1;
        tally.errors += u64::from(failed);
        if kind.duration().is_some() {
            if pages.observations < OBSERVATIONS {
                pages.observations += 1;
                tally.durations.push(took.as_secs_f32() * 1_000.0);
            } else {
                pages.overflow += 1;
            }
        }
    }
}

// === impl Kind ===

impl Kind {
    fn of(method: Method) -> Option<Self> {
        Some(match method {
            Method::ToolsCall => Self::Tool,
            Method::PromptsGet => Self::Prompt,
            Method::ResourcesRead => Self::Resource,
            Method::Initialize => Self::Initialize,
            Method::ToolsList => Self::List("mcp.list.tools"),
            Method::PromptsList => Self::List("mcp.list.prompts"),
            Method::ResourcesList => Self::List("mcp.list.resources"),
            Method::ResourcesTemplatesList => Self::List("mcp.list.resource_templates"),
            _ => return None,
        })
    }

    fn calls(self) -> &'static str {
        match self {
            Self::Tool => "mcp.tool.calls",
            Self::Prompt => "mcp.prompt.gets",
            Self::Resource => "mcp.resource.reads",
            Self::Initialize => "mcp.initialize",
            Self::List(name) => name,
        }
    }

    fn errors(self) -> Option<&'static str> {
        match self {
            Self::Tool => Some("mcp.tool.errors"),
            Self::Prompt => Some("mcp.prompt.errors"),
            Self::Resource => Some("mcp.resource.errors"),
            Self::Initialize | Self::List(_) => None,
        }
    }

    fn duration(self) -> Option<&'static str> {
        match self {
            Self::Tool => Some("mcp.tool.duration"),
            Self::Prompt => Some("mcp.prompt.duration"),
            Self::Resource => Some("mcp.resource.duration"),
            Self::Initialize | Self::List(_) => None,
        }
    }

    fn name_attribute(self) -> Option<&'static str> {
        match self {
            Self::Tool => Some("mcp.tool.name"),
            Self::Prompt => Some("mcp.prompt.name"),
            Self::Resource | Self::Initialize | Self::List(_) => None,
        }
    }
}

// === impl TelemetryStream ===

impl TelemetryStream {
    /// A stream of what is in the books, to whoever plays the role.
    pub fn new(registry: Arc<Registry>, counts: StreamCounts, desk: Arc<Books>) -> Self {
        Self(Arc::new(Inner {
            registry,
            counts,
            desk,
            gauges: Mutex::default(),
            asked: Notify::new(),
            told: Notify::new(),
        }))
    }

    /// Says whether there is a plugin to be told.
    pub fn want(&self, wanted: bool) {
        self.0.desk.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Says what servers offer whenever the plugin is told.
    pub fn show(&self, gauges: Gauges) {
        *lock(&self.0.gauges) = Some(gauges);
    }

    /// Has everything told that was counted until now. Whoever stops the gateway sets a limit.
    pub async fn flush(&self) {
        if self.0.desk.wanted() {
            let told = self.0.told.notified();
            self.0.asked.notify_one();
            told.await;
        }
    }

    /// The child that tells the plugin. A restart loses what it was just telling; that is counted as failed.
    pub fn child(&self) -> ChildSpec {
        let stream = self.clone();
        ChildSpec::task("telemetry-plugin", move |context| {
            stream.clone().run(context)
        })
        .heartbeat(None)
    }

    async fn run(self, context: ChildContext) -> Result<(), std::convert::Infallible> {
        let inner = &*self.0;
        let mut due = Instant::now() + INTERVAL;
        let mut started = false;
        loop {
            let asked = tokio::select! {
                biased;
                () = context.stopping() => return Ok(()),
                () = inner.asked.notified() => true,
                () = tokio::time::sleep_until(due) => false,
            };
            if inner.desk.wanted() {
                let telling = async {
                    // Nothing is taken out of the books before there is somebody to be told.
                    while inner.desk.wanted() && inner.registry.telemetry().is_none() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    inner.tell(std::mem::replace(&mut started, true)).await;
                };
                tokio::select! {
                    biased;
                    () = context.stopping() => return Ok(()),
                    () = telling => {}
                }
            }
            if asked {
                inner.told.notify_waiters();
            }
            due = Instant::now() + INTERVAL;
        }
    }
}

// === impl Inner ===

impl Inner {
    async fn tell(&self, started: bool) {
        let mut messages = Vec::new();
        if !started {
            messages.push(Message::counter("mcp.gateway.starts", 1, Vec::new()));
        }
        let books: Vec<Arc<Book>> = lock(&self.desk.books).clone();
        for book in books {
            let pages = std::mem::take(&mut *lock(&book.pages));
            self.counts.overflow.inc_by(pages.overflow);
            for (subject, names) in pages.tallies {
                for (name, tally) in names {
                    subject.messages(&name, &tally, &mut messages);
                }
            }
        }
        let gauges = lock(&self.gauges).clone();
        for (name, server, value) in gauges.map(|gauges| gauges()).unwrap_or_default() {
            messages.push(Message {
                name: name.to_owned(),
                value: Value::Gauge(value),
                attributes: vec![("mcp.server.name", server)],
            });
        }
        // Counters first: they are few, and exact.
        messages.sort_by_key(|message| matches!(message.value, Value::Histogram(_)));
        stream::iter(messages)
            .for_each_concurrent(AT_ONCE, |message| self.send(message))
            .await;
    }

    async fn send(&self, message: Message) {
        while self.desk.wanted() {
            let sent = match self.registry.telemetry() {
                Some(plugin) => message.send(&plugin).await,
                None => Err(CallError::NotRunning),
            };
            match sent {
                Ok(()) => return self.counts.sent.inc(),
                // It was not sent, so it cannot be counted twice.
                Err(CallError::NotRunning | CallError::Busy) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    tracing::debug!(%error, "the telemetry plugin did not take a measurement");
                    break;
                }
            }
        }
        self.counts.failed.inc();
    }
}

// === impl Subject ===

impl Subject {
    fn messages(&self, name: &str, tally: &Tally, messages: &mut Vec<Message>) {
        let mut attributes = Vec::new();
        if !self.server.is_empty() {
            attributes.push(("mcp.server.name", self.server.to_string()));
        }
        if let Some(key) = self.kind.name_attribute().filter(|_| !name.is_empty()) {
            attributes.push((key, name.to_owned()));
        }
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let calls = number(tally.calls);
        messages.push(Message::counter(
            self.kind.calls(),
            calls,
            attributes.clone(),
        ));
        if let Some(errors) = self.kind.errors().filter(|_| tally.errors > 0) {
            let count = number(tally.errors);
            messages.push(Message::counter(errors, count, attributes.clone()));
        }
        let Some(duration) = self.kind.duration() else {
            return;
        };
        messages.extend(tally.durations.iter().map(|took| Message {
            name: duration.to_owned(),
            value: Value::Histogram(f64::from(*took)),
            attributes: attributes.clone(),
        }));
    }
}

// === impl Message ===

impl Message {
    fn counter(name: &str, value: i64, attributes: Vec<(&'static str, String)>) -> Self {
        Self {
            name: name.to_owned(),
            value: Value::Counter(value),
            attributes,
        }
    }

    async fn send(&self, plugin: &TelemetryClient) -> Result<(), CallError> {
        let attributes = self.attributes.iter();
        let attributes: Vec<(&str, &str)> = attributes
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        match self.value {
            Value::Counter(value) => plugin.record_counter(&self.name, value, &attributes).await,
            Value::Histogram(value) => {
                plugin
                    .record_histogram(&self.name, value, &attributes)
                    .await
            }
            Value::Gauge(value) => plugin.record_gauge(&self.name, value, &attributes).await,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
