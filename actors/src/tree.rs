//! The supervision tree of the gateway, in one place.
//!
//! ```text
//! root          one_for_one   3 in 60 s, then the process exits with code 70
//! ├─ audit      rest_for_one  the writer of the audit log         (started first, stopped last)
//! ├─ plugins    dynamic       one child per plugin instance; exhausted ones are quarantined
//! ├─ audit-plugin, telemetry-plugin   tasks: tell plugins of what happens
//! ├─ upstreams  dynamic       one child per server; exhausted ones are quarantined
//! ├─ sessions   task          ends sessions at servers that nobody needs any more
//! ├─ reloader   task          reads the configuration again and has servers take and leave their places
//! ├─ pipelines  one_for_one   one child per worker thread: rest_for_one of its six stages
//! └─ listeners  one_for_one   opened last, closed first
//! ```
//!
//! Messages run down this list and exits run up it, so that bounded queues cannot wait for each other in a circle.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use crate::builtin::audit_lines::{AuditLog, AuditWriter};
use crate::session::{Farewell, Sessions, farewell};
use crate::supervisor::{
    ChildSpec, GroupConfig, Intensity, Runtime, SpecError, Strategy, SupervisionConfig,
    SupervisorHandle, SupervisorSpec,
};
use crate::upstream::UpstreamBoard;
use crate::upstream::http::HttpClientConfig;

/// What the children are made of.
pub struct TreeParts {
    /// The audit log.
    pub log: AuditLog,
    /// Writes the audit log.
    pub audit: AuditWriter,
    /// The plugins, as [`crate::plugin::Loader::enlist`] describes them.
    pub plugins: Vec<ChildSpec>,
    /// What tells plugins of what happens.
    pub streams: Vec<ChildSpec>,
    /// The servers, as [`crate::upstream::upstreams`] describes them.
    pub upstreams: Vec<ChildSpec>,
    /// Legacy sessions, swept now and then.
    pub sessions: Sessions,
    /// Sessions at servers that are to be ended.
    pub farewells: mpsc::Receiver<Farewell>,
    /// The servers, and what weir proves itself with at them.
    pub board: UpstreamBoard,
    /// How servers are reached.
    pub http: HttpClientConfig,
    /// Reads the configuration again when it is asked to.
    pub reloader: ChildSpec,
    /// The listeners, in the order in which they are opened.
    pub listeners: Vec<ChildSpec>,
}

/// The running tree.
#[derive(Clone)]
pub struct Tree {
    /// Everything.
    pub root: SupervisorHandle,
    /// Where workers enlist their pipelines.
    pub pipelines: SupervisorHandle,
    /// The servers.
    pub upstreams: SupervisorHandle,
    /// The plugins.
    pub plugins: SupervisorHandle,
}

/// A supervised tree that is not started yet: its handles exist, so that what is made later can refer to them.
pub struct Seed {
    pipelines: SupervisorSpec,
    root: SupervisorSpec,
    plugins: SupervisorSpec,
    upstreams: SupervisorSpec,
    config: SupervisionConfig,
}

// === impl Seed ===

impl Seed {
    /// Names the groups.
    pub fn new(config: SupervisionConfig) -> Self {
        Self {
            root: SupervisorSpec::with_config("root", Strategy::OneForOne, &config.root)
                .intensity(Intensity::ROOT)
                .configured(&config.root),
            pipelines: SupervisorSpec::dynamic("pipelines").configured(&config.pipelines),
            plugins: instances("plugins", &config.plugins),
            upstreams: instances("upstreams", &config.upstreams),
            config,
        }
    }

    /// Everything.
    pub fn root(&self) -> SupervisorHandle {
        self.root.handle()
    }

    /// Where workers will enlist their pipelines.
    pub fn pipelines(&self) -> SupervisorHandle {
        self.pipelines.handle()
    }

    /// The plugins.
    pub fn plugins(&self) -> SupervisorHandle {
        self.plugins.handle()
    }

    /// The servers.
    pub fn upstreams(&self) -> SupervisorHandle {
        self.upstreams.handle()
    }

    /// Starts the tree on this thread.
    pub fn plant(self, parts: TreeParts, runtime: Runtime) -> Result<Tree, SpecError> {
        let Self {
            root,
            pipelines,
            mut plugins,
            mut upstreams,
            config,
        } = self;
        for plugin in parts.plugins {
            plugins = plugins.child(plugin);
        }
        for server in parts.upstreams {
            upstreams = upstreams.child(server);
        }
        let handles = (pipelines.handle(), upstreams.handle(), plugins.handle());
        let mut listeners =
            SupervisorSpec::with_config("listeners", Strategy::OneForOne, &config.listeners);
        for listener in parts.listeners {
            listeners = listeners.child(listener);
        }
        let root = root
            .child(ChildSpec::supervisor(audit(
                parts.log,
                parts.audit,
                &config.audit,
            )))
            .child(ChildSpec::supervisor(plugins));
        let root = parts.streams.into_iter().fold(root, SupervisorSpec::child);
        let root = root
            .child(ChildSpec::supervisor(upstreams))
            .child(farewell::task(
                parts.sessions,
                parts.farewells,
                parts.board,
                parts.http,
            ))
            .child(parts.reloader)
            .child(ChildSpec::supervisor(pipelines))
            .child(ChildSpec::supervisor(listeners));
        let (pipelines, upstreams, plugins) = handles;
        Ok(Tree {
            root: root.start(runtime)?,
            pipelines,
            upstreams,
            plugins,
        })
    }
}

/// A group of independent children that come and go, each quarantined when it is exhausted; or, if the operator ties
/// them together, one whose children share their fate.
fn instances(name: &'static str, config: &GroupConfig) -> SupervisorSpec {
    match config.is_coupled() {
        true => SupervisorSpec::with_config(name, Strategy::OneForOne, config),
        false => SupervisorSpec::dynamic(name)
            .quarantining()
            .configured(config),
    }
}

/// The writer owns what is not written yet, so that it outlives its own restarts.
fn audit(log: AuditLog, writer: AuditWriter, config: &GroupConfig) -> SupervisorSpec {
    let writer = Arc::new(Mutex::new(writer));
    let task = ChildSpec::task("writer", move |context| {
        let (log, writer) = (log.clone(), writer.clone());
        async move {
            let mut writer = writer.lock().await;
            let finished = async {
                context.stopping().await;
                // The supervisor's own patience bounds this: it is stopped last, and nothing records any more.
                let _closed = log.flush().await;
            };
            tokio::select! {
                () = writer.run() => {}
                () = finished => {}
            }
            Ok::<(), std::convert::Infallible>(())
        }
    });
    SupervisorSpec::with_config("audit", Strategy::RestForOne, config).child(task)
}
