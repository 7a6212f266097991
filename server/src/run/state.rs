//! The state of the gateway, as the admin listener shows it.

use std::error::Error;
use std::sync::Arc;

use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::{Value, json};
use weir_actors::admission::{CircuitState, GateView, Gates};
use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::pipeline::{Metrics, Stage};
use weir_actors::plugged::Ensemble;
use weir_actors::plugin::Loader;
use weir_actors::session::Sessions;
use weir_actors::supervisor::SupervisorHandle;
use weir_actors::upstream::pins::{AcceptError, kind_of};
use weir_actors::upstream::{ServerName, UpstreamBoard, UpstreamState};
use weir_plugin_protocol::mcp::Era;

use super::plugged::PluginPage;
use super::processes;
use super::reload::{Origin, ReloadHandle};
use crate::admin::{AcceptRefused, AcceptRequest, AdminState, Tending};
use crate::downstream::{Admission, Connections, Intake};

/// Everything an operator may look at.
pub(super) struct State {
    pub(super) root: SupervisorHandle,
    pub(super) admission: Admission,
    pub(super) intake: Intake,
    pub(super) gates: Arc<Gates>,
    pub(super) connections: Connections,
    pub(super) audit: AuditLog,
    pub(super) board: UpstreamBoard,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sessions: Sessions,
    pub(super) plugins: Loader,
    pub(super) ensemble: Ensemble,
    pub(super) plugin_page: PluginPage,
    pub(super) reloads: ReloadHandle,
}

impl AdminState for State {
    fn ready(&self) -> Result<(), Vec<String>> {
        let mut missing = Vec::new();
        if !self.root.is_ready() {
            missing.push("the supervision tree is not up".to_owned());
        }
        if !self.audit.counters().healthy {
            missing.push("audit records cannot be written".to_owned());
        }
        let federation = self.board.federation();
        let ready = federation
            .servers
            .iter()
            .filter(|server| server.state == UpstreamState::Ready)
            .count();
        if ready == 0 && !federation.servers.is_empty() {
            missing.push("none of the servers is ready".to_owned());
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing)
        }
    }

    fn metrics(&self) -> String {
        let (calls, streams) = self.admission.taken();
        let open = self.connections.open_now();
        let shown = &self.metrics.admission.connections;
        shown.set(i64::try_from(open).unwrap_or(i64::MAX));
        for (kind, taken) in [("request", calls), ("stream", streams)] {
            self.metrics
                .admission
                .in_flight
                .with_label_values(&[kind])
                .set(i64::try_from(taken).unwrap_or(i64::MAX));
        }
        let (uploads, bytes) = self.intake.taken();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.connections.uploads.set(gauge(uploads));
        self.metrics.connections.upload_bytes.set(gauge(bytes));
        self.metrics.audit.show(&self.audit.counters());
        self.metrics
            .sessions
            .open
            .set(i64::try_from(self.sessions.len()).unwrap_or(i64::MAX));
        self.metrics.upstreams.clear();
        for server in &self.board.federation().servers {
            if let Some(gate) = self.gates.view(&server.name) {
                self.metrics.upstreams.show(server.name.as_str(), &gate);
            }
            let up = i64::from(server.state == UpstreamState::Ready);
            self.metrics
                .upstreams
                .up
                .with_label_values(&[server.name.as_str()])
                .set(up);
        }
        let fanout = self.board.load().settings.fanout.clone();
        let views = fanout.map(|fanout| fanout.views()).unwrap_or_default();
        self.metrics.fanout.show(&views);
        self.metrics.pins.show(&self.board.pins().counts());
        self.metrics.plugins.show(&self.plugins.views());
        self.metrics.text()
    }

    fn tree(&self) -> Value {
        serde_json::to_value(self.root.snapshot()).unwrap_or(Value::Null)
    }

    fn mailboxes(&self) -> Value {
        let stages = Stage::ALL.map(
            |stage| json!({ "stage": stage.as_str(), "handled": self.metrics.passed_count(stage) }),
        );
        let audit = self.audit.counters();
        json!({
            "stages": stages,
            "audit": { "queued": audit.queued, "accepted": audit.accepted, "written": audit.written, "failed": audit.failed, "refused": audit.refused },
        })
    }

    fn permits(&self) -> Value {
        let (calls, streams) = self.admission.taken();
        let (max_calls, max_streams) = self.admission.limits();
        let (uploads, upload_bytes) = self.intake.taken();
        let limits = self.board.federation().settings.limits.clone();
        json!({
            "requests": { "taken": calls, "limit": max_calls },
            "streams": { "taken": streams, "limit": max_streams },
            "connections": { "taken": self.connections.open_now(), "limit": limits.max_connections },
            "uploads": { "taken": uploads, "limit": limits.max_uploads },
            "upload_bytes": { "taken": upload_bytes, "limit": limits.max_upload_bytes },
        })
    }

    fn upstreams(&self) -> Value {
        let federation = self.board.federation();
        let servers = federation.servers.iter().map(|server| {
            let mut shown = json!({ "name": server.name, "status": server.state });
            for era in [Era::Modern, Era::Legacy] {
                let Some(face) = server.face(era) else {
                    continue;
                };
                let key = if era == Era::Modern {
                    "modern"
                } else {
                    "legacy"
                };
                let face = json!({
                    "protocol_version": face.hello.version.as_str(),
                    "tools": face.catalog.tools.items.len(),
                    "prompts": face.catalog.prompts.items.len(),
                    "resources": face.catalog.resources.items.len(),
                    "resource_templates": face.catalog.templates.items.len(),
                });
                if let Some(members) = shown.as_object_mut() {
                    members.insert(key.to_owned(), face);
                }
            }
            let gate = self.gates.view(&server.name).unwrap_or_default();
            if let Some(members) = shown.as_object_mut() {
                members.insert("in_flight".to_owned(), gate.in_flight.into());
                members.insert("waiting".to_owned(), gate.waiting.into());
                members.insert("circuit".to_owned(), circuit(&gate));
                let processes = processes::of_server(server.name.as_str());
                if !processes.is_empty() {
                    members.insert("processes".to_owned(), processes.into());
                }
            }
            shown
        });
        Value::Array(servers.collect())
    }

    fn pins(&self) -> Value {
        serde_json::to_value(self.board.pins().page()).unwrap_or(Value::Null)
    }

    fn accept_pins(&self, asked: &AcceptRequest) -> Result<usize, AcceptRefused> {
        let impossible = |text: String| AcceptRefused::Impossible(text);
        let only = match (&asked.kind, &asked.name) {
            (None, None) => None,
            (Some(kind), Some(name)) => {
                let known = kind_of(kind);
                let kind =
                    known.ok_or_else(|| impossible(format!("{kind:?} is no kind of objects")))?;
                Some((kind, name.clone()))
            }
            _ => return Err(impossible("`kind` and `name` go together".to_owned())),
        };
        let servers = match &asked.server {
            Some(server) => vec![ServerName::new(server).map_err(impossible)?],
            None if only.is_some() => {
                return Err(impossible("say of which `server`".to_owned()));
            }
            None => self.board.pins().seen(),
        };
        let mut accepted = 0;
        for server in servers {
            match self.board.accept_pins(&server, only.as_ref()) {
                Ok(objects) => accepted += objects,
                Err(AcceptError::NotAccepted(error)) => return Err(impossible(error.to_string())),
                Err(error) => return Err(AcceptRefused::NotSaved(error.to_string())),
            }
        }
        Ok(accepted)
    }

    fn plugins(&self) -> Value {
        let mut shown = self.plugin_page.to_json();
        let fanout = self.board.load().settings.fanout.clone();
        for view in fanout.iter().flat_map(|fanout| fanout.views()) {
            let plugins = shown.as_array_mut().into_iter().flatten();
            for plugin in plugins.filter(|plugin| plugin["name"] == view.plugin.as_str()) {
                let told = serde_json::to_value(&view).unwrap_or(Value::Null);
                if let Some(members) = plugin.as_object_mut() {
                    members.insert("messages".to_owned(), told);
                }
            }
        }
        shown
    }

    fn forget(&self, user: Option<(&str, Option<&str>)>) {
        self.ensemble.forget(user);
    }

    fn tend_plugin(&self, name: &str, how: Tending) -> LocalBoxFuture<'static, Result<(), String>> {
        let (plugins, name) = (self.plugins.clone(), name.to_owned());
        Box::pin(async move {
            let tended = match how {
                Tending::Reload => plugins.reload(&name).await,
                Tending::Restart => plugins.restart(&name).await,
            };
            tended.map_err(|error| match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })
        })
    }

    fn last_reload(&self) -> Value {
        self.reloads
            .last()
            .map_or(Value::Null, |report| report.to_json())
    }

    fn reload(&self) -> BoxFuture<'static, (u16, Value)> {
        let reloads = self.reloads.clone();
        Box::pin(async move {
            match reloads.reload(Origin::Operator).await {
                Some(report) => (report.status(), report.to_json()),
                None => (503, json!({ "error": "the gateway is stopping" })),
            }
        })
    }
}

fn circuit(gate: &GateView) -> Value {
    match gate.circuit {
        CircuitState::Closed => json!({ "state": "closed" }),
        CircuitState::Open { retry_after } => {
            let after = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            json!({ "state": "open", "retry_after_ms": after })
        }
        CircuitState::Trial => json!({ "state": "trial" }),
    }
}
