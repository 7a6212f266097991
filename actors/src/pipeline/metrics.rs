//! What the pipeline counts. Names and labels are fixed here; the dashboards use no others.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use weir_plugin_protocol::mcp::Method;

use super::exchange::{Arrival, Facts};
use super::{ClientRequest, Outcome, Verdict};

/// Seconds: from 50 microseconds to a minute, because the gateway's own part is far below a millisecond.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 15.0, 60.0,
];

/// The stages, in the order of the conveyor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// [`super::auth::AuthActor`].
    Auth,
    /// [`super::policy::PolicyActor`].
    Policy,
    /// [`super::credential::CredentialActor`].
    Credential,
    /// [`super::dispatch::DispatchActor`].
    Dispatch,
    /// [`super::telemetry::TelemetryActor`].
    Telemetry,
    /// [`super::audit::AuditActor`].
    Audit,
}

/// Every metric of the gateway and the registry that holds them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    stages: [IntCounter; 6],
    requests: HashMap<&'static str, [IntCounter; Verdict::ALL.len()]>,
    duration: HashMap<&'static str, Histogram>,
    overhead: Histogram,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    /// Requests and streams that hold a permit.
    pub in_flight: IntGaugeVec,
    /// Frames for a legacy event stream that were dropped because the client did not read.
    pub dropped_frames: IntCounter,
    /// Upstream messages that could not be attributed to one session.
    pub unattributed: IntCounter,
    /// Starts of a supervised child after its first, by group.
    pub restarts: IntCounterVec,
    /// Supervised children that were restarted too often and are kept down for now.
    pub quarantined: IntGauge,
    /// 1 while an upstream server is ready, else 0.
    pub upstream_up: IntGaugeVec,
    /// Audit events: accepted, written; reservations refused; failed writes.
    pub audit_events: IntCounterVec,
    /// Full audit files that were renamed (`done`), or grew on because they could not be (`failed`).
    pub audit_rotations: IntCounterVec,
    /// Places of the audit queue that are taken.
    pub audit_queued: IntGauge,
    /// Legacy sessions in memory.
    pub sessions: IntGauge,
}

// === impl Stage ===

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Policy,
        Self::Credential,
        Self::Dispatch,
        Self::Telemetry,
        Self::Audit,
    ];

    /// The label and the child's name in the supervision tree.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Policy => "policy",
            Self::Credential => "credential",
            Self::Dispatch => "dispatch",
            Self::Telemetry => "telemetry",
            Self::Audit => "audit",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let counter =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
        let gauge =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
                let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(gauge.clone()))?;
                Ok(gauge)
            };
        let histogram =
            |name: &str, help: &str, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
                let histogram = HistogramVec::new(
                    HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()),
                    labels,
                )?;
                registry.register(Box::new(histogram.clone()))?;
                Ok(histogram)
            };

        let stage_messages = counter(
            "weir_stage_messages_total",
            "Messages that a pipeline stage has handled.",
            &["stage"],
        )?;
        let requests = counter(
            "weir_requests_total",
            "Requests that reached the gateway, by method and verdict.",
            &["method", "verdict"],
        )?;
        let duration = histogram(
            "weir_request_duration_seconds",
            "From arrival to answer.",
            &["method"],
        )?;
        let overhead = histogram(
            "weir_overhead_seconds",
            "From arrival to answer without the time spent waiting for the upstream.",
            &[],
        )?;
        let methods = methods();
        Ok(Arc::new(Self {
            stages: Stage::ALL.map(|stage| stage_messages.with_label_values(&[stage.as_str()])),
            requests: methods
                .iter()
                .map(|method| {
                    (
                        *method,
                        Verdict::ALL.map(|verdict| {
                            requests.with_label_values(&[*method, verdict.as_str()])
                        }),
                    )
                })
                .collect(),
            duration: methods
                .iter()
                .map(|method| (*method, duration.with_label_values(&[*method])))
                .collect(),
            overhead: overhead.with_label_values::<&str>(&[]),
            upstream_requests: counter(
                "weir_upstream_requests_total",
                "Requests sent to an upstream, by verdict.",
                &["server", "verdict"],
            )?,
            upstream_duration: histogram(
                "weir_upstream_duration_seconds",
                "Time spent waiting for an upstream.",
                &["server"],
            )?,
            in_flight: gauge(
                "weir_in_flight",
                "Permits taken: requests, and streams that wait for events.",
                &["kind"],
            )?,
            dropped_frames: counter(
                "weir_stream_frames_dropped_total",
                "Events dropped because a client did not read its stream.",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            unattributed: counter(
                "weir_upstream_unattributed_total",
                "Upstream messages that could not be attributed to one session.",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            restarts: counter(
                "weir_supervisor_restarts_total",
                "Restarts of supervised children, by group.",
                &["group"],
            )?,
            quarantined: gauge(
                "weir_supervisor_quarantined",
                "Children that were restarted too often and are kept down.",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            audit_events: counter(
                "weir_audit_events_total",
                "Audit events by what became of them.",
                &["state"],
            )?,
            audit_rotations: counter(
                "weir_audit_rotations_total",
                "Full audit files, by whether they could be renamed.",
                &["result"],
            )?,
            audit_queued: gauge(
                "weir_audit_queued",
                "Places of the audit queue that are taken.",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            sessions: gauge("weir_sessions", "Legacy sessions in memory.", &[])?
                .with_label_values::<&str>(&[]),
            upstream_up: gauge(
                "weir_upstream_up",
                "1 while the server is ready.",
                &["server"],
            )?,
            registry,
        }))
    }

    /// Counts a message at a stage.
    pub fn passed(&self, stage: Stage) {
        if let Some(counter) = self.stages.get(stage as usize) {
            counter.inc();
        }
    }

    /// How many messages a stage has handled.
    pub fn passed_count(&self, stage: Stage) -> u64 {
        self.stages.get(stage as usize).map_or(0, IntCounter::get)
    }

    /// Counts and times the end of a request.
    pub fn settled(&self, arrival: &Arrival, facts: &Facts, outcome: &Outcome) {
        let method = self.label(arrival);
        let total = arrival.at.elapsed();
        if let Some(counter) = self
            .requests
            .get(method)
            .and_then(|verdicts| verdicts.get(outcome.verdict.index()))
        {
            counter.inc();
        }
        if let Some(histogram) = self.duration.get(method) {
            histogram.observe(total.as_secs_f64());
        }
        self.overhead
            .observe(total.saturating_sub(facts.upstream_time).as_secs_f64());
        if let Some(server) = &facts.server {
            self.upstream_requests
                .with_label_values(&[server.as_str(), outcome.verdict.as_str()])
                .inc();
            self.upstream_duration
                .with_label_values(&[server.as_str()])
                .observe(facts.upstream_time.as_secs_f64());
        }
    }

    /// The label of a request's method, from the closed set.
    fn label(&self, arrival: &Arrival) -> &'static str {
        match &arrival.request {
            ClientRequest::OpenStream => "GET",
            ClientRequest::EndSession => "DELETE",
            ClientRequest::LegacyBatch(_) => "batch",
            ClientRequest::Legacy(message) if message.method().is_empty() => "answer",
            request => match request.method().as_str() {
                method if self.requests.contains_key(method) => method,
                _ => "other",
            },
        }
    }

    /// The registry as Prometheus text.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The closed set of method labels.
fn methods() -> Vec<&'static str> {
    const REQUESTS: [Method; 24] = [
        Method::Initialize,
        Method::Ping,
        Method::ToolsList,
        Method::ToolsCall,
        Method::PromptsList,
        Method::PromptsGet,
        Method::ResourcesList,
        Method::ResourcesTemplatesList,
        Method::ResourcesRead,
        Method::ResourcesSubscribe,
        Method::ResourcesUnsubscribe,
        Method::CompletionComplete,
        Method::LoggingSetLevel,
        Method::Discover,
        Method::Listen,
        Method::TasksGet,
        Method::TasksUpdate,
        Method::TasksCancel,
        Method::TasksList,
        Method::TasksResult,
        Method::NotificationInitialized,
        Method::NotificationCancelled,
        Method::NotificationProgress,
        Method::NotificationRootsListChanged,
    ];
    REQUESTS
        .iter()
        .map(|method| method.as_str())
        .chain(["batch", "answer", "GET", "DELETE", "other"])
        .collect()
}
