//! The parts of the gateway made from the configuration and put together.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use weir_actors::admission::Gates;
use weir_actors::builtin::audit_lines::{AuditLog, audit_log};
use weir_actors::builtin::line_store::AuditTarget;
use weir_actors::builtin::{Clock, Outside};
use weir_actors::fanout::FanoutKeeper;
use weir_actors::pipeline::{Mail, Metrics, Overlooked, PipelineParts, TaskOwners};
use weir_actors::plugged::Ensemble;
use weir_actors::plugged::telemetry::Gauges;
use weir_actors::plugin::Role;
use weir_actors::seal::{SealKeys, Sealer};
use weir_actors::session::Sessions;
use weir_actors::settings::Hosts;
use weir_actors::supervisor::duration::Span;
use weir_actors::supervisor::{Ended, Runtime};
use weir_actors::tree::{Seed, Tree, TreeParts};
use weir_actors::upstream::http::{HttpClientConfig, TlsTrust};
use weir_actors::upstream::pins::Pins;
use weir_actors::upstream::{Succession, UpstreamBoard, UpstreamsSetup, upstreams};

use super::audit;
use super::intercepting::interceptors;
use super::listeners::{self, Served};
use super::observer::{Watchman, record};
use super::pins;
use super::plugged::{Means, Plugged};
use super::reload::{self, Adjust, Keeper, KeeperParts, ReloadHandle};
use super::roles::Roles;
use super::settings::{self, equipped};
use super::state::State;
use crate::admin::AdminState;
use crate::config::{Config, Loaded, Source};
use crate::downstream::stdio::Stdio;
use crate::downstream::{self, Admission, Connections, Intake, OnPipeline, SseTable, Workers};

/// How long plugins may take to hear the last of what happened, when the gateway stops.
const TELL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Farewells to servers that may wait.
const FAREWELLS: usize = 4096;

/// The sockets, bound before anything starts.
pub struct Sockets {
    /// For MCP clients.
    pub clients: TcpListener,
    /// For operators.
    pub admin: TcpListener,
}

/// Where clients and operators come from.
pub enum Opening {
    /// Both over sockets.
    Sockets(Sockets),
    /// One client at the pipes of this process.
    Stdio {
        /// The client.
        client: Arc<Stdio>,
        /// For operators, if they are wanted.
        admin: Option<TcpListener>,
    },
}

/// A running gateway.
pub struct Gateway {
    tree: Tree,
    admission: Admission,
    audit: AuditLog,
    records: AuditTarget,
    draining: watch::Sender<bool>,
    reloads: ReloadHandle,
    drain_timeout: Arc<ArcSwap<Span>>,
    pins: Pins,
    ensemble: Ensemble,
}

/// A configuration and where it was read from, so that it can be read again.
pub struct Reading {
    /// Where it comes from.
    pub source: Source,
    /// What the command line says over it.
    pub overrides: Arc<dyn Fn(&mut Config) + Send + Sync>,
    /// As it was read first.
    pub loaded: Loaded,
}

// === impl Opening ===

impl From<Sockets> for Opening {
    fn from(sockets: Sockets) -> Self {
        Self::Sockets(sockets)
    }
}

// === impl Gateway ===

impl Gateway {
    /// Makes everything and starts the tree on this thread.
    ///
    /// # Errors
    /// A text that names the key of the configuration that cannot be carried out.
    pub fn start(
        config: &Config,
        outside: &Outside,
        opening: impl Into<Opening>,
        on_pipeline: OnPipeline,
    ) -> Result<Self, String> {
        let reading = Reading {
            source: Source::Embedded,
            overrides: Arc::new(|_| {}),
            loaded: Loaded::from(config.clone()),
        };
        Self::start_from(reading, outside, opening, on_pipeline)
    }

    /// The same with a configuration that can be read again.
    ///
    /// # Errors
    /// A text that names the key of the configuration that cannot be carried out.
    pub fn start_from(
        reading: Reading,
        outside: &Outside,
        opening: impl Into<Opening>,
        on_pipeline: OnPipeline,
    ) -> Result<Self, String> {
        let Reading {
            source,
            overrides,
            loaded,
        } = reading;
        let config = &loaded.config;
        let metrics = Metrics::new(config.metrics.clone());
        let metrics = metrics.map_err(|error| format!("metrics: {error}"))?;
        let ensemble = Ensemble::new(Arc::default(), &metrics);
        let roles = Roles::load(config, outside, &ensemble)?;
        let (records, store) = audit::open(config, outside)?;
        // Streams hold their place for as long as they are open.
        let places = config
            .audit
            .capacity()
            .saturating_add(config.limits.max_streams);
        let (audit, writer) = audit_log(store, places, Clock::system());
        let keys = config.sealing.keys();
        let keys = keys.map_err(|error| format!("sealing: {error}"))?;
        let sealer = Arc::new(Sealer::new(&keys));
        let http = HttpClientConfig {
            tls: trust(),
            ..HttpClientConfig::default()
        };

        let (farewell, farewells) = mpsc::channel(FAREWELLS);
        let (idle, replay) = (config.limits.session_idle.0, config.limits.replay());
        let sessions = Sessions::new(sealer.clone(), idle, replay, farewell, metrics.clone());
        let servers = equipped(config, &roles.credentials);
        let pins = pins::open(config, outside, &records, &metrics, &audit)?;
        let setup = UpstreamsSetup {
            servers: servers.clone(),
            pins: pins.clone(),
            http: http.clone(),
            sink: Some(Arc::new(Mail::new(sessions.clone(), metrics.clone()))),
            supervision: config.supervision.upstreams.clone(),
        };
        let (upstreams, board) = upstreams(setup.clone());
        let seed = Seed::new(config.supervision.clone());
        let means = Means {
            http: http.clone(),
            files: outside.files.clone(),
            ensemble: ensemble.clone(),
            metrics: metrics.clone(),
        };
        audit.copy_to(Some(Arc::new(ensemble.audit().clone())));
        ensemble.telemetry().show(offered(board.clone()));
        let mut plugged = Plugged::new(board.clone(), audit.clone(), seed.plugins(), means);
        let mut settings =
            settings::settings(1, config, &roles.auth, roles.policy.clone(), &servers);
        settings.outfit = roles.outfit.clone();
        settings.interceptors = interceptors(&roles.plugins, &plugged.loader(), &metrics);
        let mut fanout = FanoutKeeper::new(seed.plugins());
        let (told, tellers) = fanout.enlist(&roles.plugins, &plugged.loader(), &metrics);
        settings.fanout = told;
        let settings = Arc::new(settings);
        board.configure(settings.clone());

        let (draining, drained) = watch::channel(false);
        let gates = Arc::new(Gates::new(audit.clone()));
        let memory = downstream::memory::guard(board.clone());
        let admission = Admission::new(&config.limits, audit.clone(), memory);
        let connections = Connections::default();
        let intake = Intake::default();
        let workers = Workers {
            pipelines: seed.pipelines(),
            group: config.supervision.pipeline.clone(),
            parts: PipelineParts {
                board: board.clone(),
                sessions: sessions.clone(),
                rooms: Arc::new(admission.clone()),
                overlooked: Overlooked::default(),
                tasks: TaskOwners::default(),
                sealer: sealer.clone(),
                http: http.clone(),
                callers: Arc::default(),
                gates: gates.clone(),
                metrics: metrics.clone(),
                draining: drained,
                next_id: Arc::new(AtomicU64::new(1)),
            },
            admission: admission.clone(),
            connections: connections.clone(),
            intake: intake.clone(),
            sse: SseTable::default(),
            started: Arc::new(AtomicUsize::new(0)),
            made: on_pipeline,
        };
        let loader = plugged.loader();
        let mut plugins = plugged.enlist(&roles.plugins)?;
        plugins.extend(tellers);
        let (reloads, asks) = reload::handle();
        let state: Arc<dyn AdminState> = Arc::new(State {
            root: seed.root(),
            admission: admission.clone(),
            gates,
            connections,
            intake,
            audit: audit.clone(),
            board: board.clone(),
            metrics: metrics.clone(),
            sessions: sessions.clone(),
            plugins: loader.clone(),
            ensemble: ensemble.clone(),
            plugin_page: plugged.page(),
            reloads: reloads.clone(),
        });
        let admin_hosts = Arc::new(ArcSwap::from_pointee(settings::admin_hosts(config)));
        let drain_timeout = Arc::new(ArcSwap::from_pointee(config.drain_timeout));
        let keeper = Keeper::new(KeeperParts {
            source,
            overrides,
            started: loaded.clone(),
            servers,
            auth: roles.auth.clone(),
            ensemble: ensemble.clone(),
            settings,
            outside: outside.clone(),
            succession: Succession::new(board.clone(), seed.upstreams(), setup),
            sessions: sessions.clone(),
            plugins: plugged,
            fanout,
            metrics: metrics.clone(),
            audit: audit.clone(),
            adjust: vec![
                adjust_hosts(admin_hosts.clone()),
                adjust_drain_timeout(drain_timeout.clone()),
                adjust_keys(sealer, keys, config),
                adjust_pins(board.clone(), config),
                adjust_admission(admission.clone()),
                Box::new(adjust_log),
            ],
        });
        let has_telemetry = roles
            .plugins
            .iter()
            .any(|plugin| plugin.role() == Some(Role::Telemetry));
        let listeners = match opening.into() {
            Opening::Sockets(Sockets { clients, admin }) => [
                Some(listeners::operators(admin, admin_hosts, state.clone())),
                (!has_telemetry)
                    .then(|| listeners::telemetry(metrics.clone()))
                    .flatten(),
                Some(listeners::clients(
                    clients,
                    workers,
                    Served {
                        threads: config.worker_threads(),
                        sse: config.http.sse,
                    },
                    board.clone(),
                    state,
                )),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Opening::Stdio { client, admin } => admin
                .map(|admin| listeners::operators(admin, admin_hosts, state))
                .into_iter()
                .chain([listeners::stdio(client, workers, board.clone())])
                .collect(),
        };
        let parts = TreeParts {
            log: audit.clone(),
            audit: writer,
            plugins,
            streams: ensemble.children(),
            upstreams,
            sessions,
            farewells,
            board,
            http,
            reloader: reload::child(keeper, asks, reloads.clone()),
            listeners,
        };
        let observer = Arc::new(Watchman {
            metrics,
            audit: audit.clone(),
            plugins: loader,
        });
        let tree = seed
            .plant(
                parts,
                Runtime {
                    observer,
                    seed: random_seed(),
                },
            )
            .map_err(|error| format!("supervision: {error}"))?;
        record(
            &audit,
            "gateway.start",
            format!("version {}", env!("CARGO_PKG_VERSION")),
        );
        let warm = roles.auth;
        actix_rt::spawn(async move { warm.warm().await });
        Ok(Self {
            tree,
            admission,
            audit,
            records,
            draining,
            pins,
            reloads,
            drain_timeout,
            ensemble,
        })
    }

    /// Resolves when everything serves, or when it never will.
    pub async fn ready(&self) -> Result<(), Ended> {
        tokio::select! {
            () = self.tree.root.ready() => Ok(()),
            ended = self.tree.root.wait() => Err(ended),
        }
    }

    /// Resolves when the tree has given up.
    pub async fn ended(&self) -> Ended {
        self.tree.root.wait().await
    }

    /// Where the audit log is.
    pub fn records(&self) -> &AuditTarget {
        &self.records
    }

    /// Opens the file of the audit log again: it was moved away.
    pub fn reopen_audit(&self) {
        self.audit.reopen();
    }

    /// Asks for reloads of the configuration.
    pub fn reloads(&self) -> &ReloadHandle {
        &self.reloads
    }

    /// How long requests in flight may take to finish.
    pub fn drain_timeout(&self) -> Span {
        **self.drain_timeout.load()
    }

    /// Admits nothing more and waits until everything admitted has been answered.
    pub async fn drain(&self) {
        self.admission.drain();
        self.draining.send_replace(true);
        while !self.admission.is_idle() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Stops everything, listeners first and the audit log last.
    pub async fn stop(&self) {
        self.admission.drain();
        self.draining.send_replace(true);
        record(&self.audit, "gateway.stop", String::new());
        // What was not written is logged; it is seen for the first time again.
        let _ = self.pins.save();
        let flushed =
            tokio::time::timeout(std::time::Duration::from_secs(2), self.audit.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::error!("audit records were not written in time");
        }
        let told = tokio::time::timeout(TELL_PATIENCE, self.ensemble.flush()).await;
        if told.is_err() {
            tracing::warn!("plugins were not told everything in time");
        }
        // The pipelines live on the listeners' threads, which must still be there when they are stopped.
        let _gone = self.tree.root.terminate_child("pipelines").await;
        self.tree.root.shutdown().await;
    }
}

/// How much each server offers, for telemetry.
fn offered(board: UpstreamBoard) -> Gauges {
    Arc::new(move || {
        let federation = board.federation();
        let mut gauges = Vec::new();
        for server in &federation.servers {
            let face = server.modern.as_ref().or(server.legacy.as_ref());
            let Some(catalog) = face.map(|face| &face.catalog) else {
                continue;
            };
            for (name, list) in [
                ("mcp.tools.discovered", &catalog.tools),
                ("mcp.prompts.discovered", &catalog.prompts),
                ("mcp.resources.discovered", &catalog.resources),
                ("mcp.resource_templates.discovered", &catalog.templates),
            ] {
                let count = i64::try_from(list.items.len()).unwrap_or(i64::MAX);
                gauges.push((name, server.name.to_string(), count));
            }
        }
        gauges
    })
}

fn adjust_hosts(hosts: Arc<ArcSwap<Hosts>>) -> Adjust {
    Box::new(move |config| hosts.store(Arc::new(settings::admin_hosts(config))))
}

/// Without pins at the start there is no file for them: they wait for the next one.
fn adjust_pins(board: UpstreamBoard, config: &Config) -> Adjust {
    let without = config.pins.policies().is_off();
    Box::new(move |config| {
        if !without {
            board.set_pin_policies(config.pins.policies());
        }
    })
}

fn adjust_admission(admission: Admission) -> Adjust {
    Box::new(move |config| admission.resize(&config.limits))
}

fn adjust_drain_timeout(limit: Arc<ArcSwap<Span>>) -> Adjust {
    Box::new(move |config| limit.store(Arc::new(config.drain_timeout)))
}

/// Other keys are those that are configured. The random one, if none were, opens as long as the process lives: what it
/// sealed was good, and nobody else has it.
fn adjust_keys(sealer: Arc<Sealer>, started: SealKeys, config: &Config) -> Adjust {
    let random = config.sealing.keys.is_empty().then_some(started.current);
    Box::new(move |config| {
        let configured = config.sealing.keys.split_first();
        let keys = match (configured, &random) {
            (Some((current, previous)), _) => SealKeys {
                current: current.clone(),
                previous: previous.iter().chain(&random).cloned().collect(),
            },
            (None, Some(random)) => SealKeys {
                current: random.clone(),
                previous: Vec::new(),
            },
            // The keys were taken out of the file: those that are known go on until the next start.
            (None, None) => return,
        };
        sealer.replace(&keys);
    })
}

fn adjust_log(config: &Config) {
    if let Err(error) = crate::observe::adjust(&config.log.level) {
        tracing::warn!(error, "the log level stays");
    }
}

/// The certificates of this machine. Without any, only `https` servers are out of reach.
fn trust() -> Option<TlsTrust> {
    match TlsTrust::native(&[]) {
        Ok(trust) => Some(trust),
        Err(error) => {
            tracing::warn!(%error, "no certificates to trust: https servers cannot be reached");
            None
        }
    }
}

/// Jitter must differ between replicas.
fn random_seed() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos() as u64 ^ u64::from(std::process::id())
}
