//! One reading of the configuration, from the file to the snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::join;
use tracing::{error, info, warn};
use weir_actors::builtin::Outside;
use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::builtin::auth::Auth;
use weir_actors::fanout::FanoutKeeper;
use weir_actors::pipeline::Metrics;
use weir_actors::plugged::Ensemble;
use weir_actors::session::Sessions;
use weir_actors::settings::Settings;
use weir_actors::upstream::{Newcomer, Place, ServerConfig, ServerName, Succession};
use weir_plugin_protocol::role::PolicyEvaluator;

use super::handle::Origin;
use super::plan::{self, Step};
use super::report::{Applied, Report};
use super::retire::Retirement;
use super::watch::Watched;
use super::{Report as Outcome, SETTLE};
use crate::config::{self, Config, ConfigError, Loaded, Source};
use crate::run::intercepting::interceptors;
use crate::run::observer::record_as;
use crate::run::plugged::Plugged;
use crate::run::roles::Roles;
use crate::run::settings::{equipped, settings};

/// What the command line says over the file.
pub(crate) type Overrides = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// Puts a part of a new configuration in force that requests do not find in their snapshot. Called after the snapshot
/// was changed. Nothing it does may fail: the configuration was checked.
pub(crate) type Adjust = Box<dyn Fn(&Config) + Send + Sync>;

/// What the keeper works with.
pub(crate) struct KeeperParts {
    /// Where the configuration comes from.
    pub(crate) source: Source,
    pub(crate) overrides: Overrides,
    /// What the gateway was started with.
    pub(crate) started: Loaded,
    /// The servers that run.
    pub(crate) servers: Vec<(ServerName, ServerConfig)>,
    pub(crate) auth: Auth,
    pub(crate) ensemble: Ensemble,
    pub(crate) settings: Arc<Settings>,
    pub(crate) outside: Outside,
    pub(crate) succession: Succession,
    pub(crate) sessions: Sessions,
    pub(crate) plugins: Plugged,
    pub(crate) fanout: FanoutKeeper,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: AuditLog,
    pub(crate) adjust: Vec<Adjust>,
}

/// Knows what is in force, reads what is to be, and makes the change.
pub(crate) struct Keeper {
    parts: KeeperParts,
    /// What is in force, as it was read.
    loaded: Loaded,
    retirement: Arc<Retirement>,
    watched: Watched,
}

/// A reading that was checked as a whole.
struct Reading {
    loaded: Loaded,
    roles: Roles,
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(parts: KeeperParts) -> Self {
        let retirement = Retirement::new(
            parts.succession.clone(),
            parts.sessions.clone(),
            parts.metrics.clone(),
        );
        let loaded = parts.started.clone();
        let watched = Arc::new(ArcSwap::from_pointee(files(&parts.source, &loaded.config)));
        note_success(&parts.metrics);
        Self {
            parts,
            loaded,
            retirement: Arc::new(retirement),
            watched,
        }
    }

    /// The files that a change is looked for in.
    pub(super) fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Reads the configuration and puts it in force, or says why not. Never changes half of it.
    pub(super) async fn reload(&mut self, origin: Origin) -> Report {
        let began = Instant::now();
        if self.parts.source == Source::Embedded {
            // There is no file that could be another one.
            let needs_restart = Vec::new();
            return Report::Unchanged { needs_restart };
        }
        self.parts.succession.sweep().await;
        let report = match self.read().await {
            Ok(reading) => self.change(*reading, began).await,
            Err(report) => report,
        };
        self.tell(origin, &report);
        report
    }

    /// Reads everything, on a thread that may wait for the disk.
    async fn read(&self) -> Result<Box<Reading>, Report> {
        let parts = &self.parts;
        let (source, overrides) = (parts.source.clone(), parts.overrides.clone());
        let (outside, auth) = (parts.outside.clone(), parts.auth.clone());
        let ensemble = parts.ensemble.clone();
        let file = source.to_string();
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = config::load_whole(&source, |config| overrides(config))
                .map_err(|error| (error, config::named_files(&source)))?;
            // The files may have changed since they were checked.
            let roles = Roles::load_after(&loaded.config, &outside, &ensemble, Some(&auth))
                .map_err(|text| (ConfigError::of_file(&file, &text), loaded.config.files()))?;
            Ok(Box::new(Reading { loaded, roles }))
        });
        match reading.await {
            Ok(Ok(reading)) => Ok(reading),
            Ok(Err((error, named))) => {
                self.watch_too(named);
                Err(Report::Invalid(error))
            }
            Err(error) => Err(Report::Failed(format!("the file was not read: {error}"))),
        }
    }

    /// Looks at files of a configuration that was refused as well: one that was missing may come.
    fn watch_too(&self, named: Vec<PathBuf>) {
        let mut watched = files(&self.parts.source, &self.loaded.config);
        if watched.is_empty() {
            return;
        }
        let base = self.parts.source.directory();
        for file in named {
            let file = base.join(file);
            if !watched.contains(&file) {
                watched.push(file);
            }
        }
        self.watched.store(Arc::new(watched));
    }

    async fn change(&mut self, reading: Reading, began: Instant) -> Report {
        let Reading { loaded, roles } = reading;
        let config = &loaded.config;
        let mut changed = self.loaded.changes(&loaded);
        let needs_restart = plan::needs_restart(&self.parts.started, &loaded);
        let equipped = equipped(config, &roles.credentials);
        let steps = plan::steps(
            &self.parts.servers,
            &equipped,
            [
                &self.loaded.config.supervision.upstreams.children,
                &config.supervision.upstreams.children,
            ],
        );
        let new_auth = !roles.auth.is(&self.parts.auth);
        if new_auth && !plan::touches(&changed, "auth") {
            changed.push("auth (a file that it names)".to_owned());
        }
        if !plan::touches(&changed, "plugins") {
            for key in self.parts.plugins.differing(&roles.plugins) {
                changed.push(format!("plugins.{key} (a file that it names)"));
            }
        }
        for (name, step) in &steps {
            let named = ["servers", "credentials.servers", "supervision"]
                .iter()
                .any(|block| plan::touches(&changed, block));
            if !named && *step != Step::Stay {
                changed.push(format!("credentials.servers.{name} (a file that it names)"));
            }
        }
        if changed.is_empty() {
            self.watched
                .store(Arc::new(files(&self.parts.source, config)));
            return Report::Unchanged { needs_restart };
        }

        self.supervise(config);
        let (places, newcomers) = match self.start(&steps).await {
            Ok(started) => started,
            Err(reason) => return Report::Failed(reason),
        };
        let warming = async {
            if new_auth {
                let _late = tokio::time::timeout(SETTLE, roles.auth.warm()).await;
            }
        };
        let settling = self.parts.succession.decided(&newcomers, SETTLE);
        join(settling, warming).await;
        let states = newcomers.iter().map(|newcomer| {
            let state = self.parts.succession.state(newcomer);
            (newcomer.server().clone(), state)
        });
        let states: Vec<_> = states.collect();

        let policy = match plan::touches(&changed, "policy") || plan::touches(&changed, "plugins") {
            true => roles.policy.clone(),
            false => self.parts.settings.policy.clone(),
        };
        let mut settings = self.settings(config, &roles.auth, policy, &equipped);
        let (loader, metrics) = (self.parts.plugins.loader(), &self.parts.metrics);
        settings.outfit = roles.outfit.clone();
        settings.interceptors = interceptors(&roles.plugins, &loader, metrics);
        let told = self.parts.fanout.next(&roles.plugins, &loader, metrics);
        settings.fanout.clone_from(&told);
        let settings = Arc::new(settings);
        let removed: Vec<ServerName> = self.gone(&equipped);
        let before = std::mem::replace(&mut self.parts.settings, settings.clone());
        // From here on everything happens.
        let departed = self.parts.succession.install(settings.clone(), &places);
        for adjust in &self.parts.adjust {
            adjust(config);
        }
        for instance in departed {
            let server = instance.server().as_str();
            let credentials = before.credentials.get(server).cloned();
            let now = settings.credentials.get(server);
            let moved = instance.target.as_deref()
                != now.and_then(|credentials| credentials.target.as_ref());
            let patience = before.limits.deadline.0.max(before.limits.ask_deadline.0);
            self.retirement.take(instance, credentials, moved, patience);
        }
        let mut plugins = self.parts.plugins.change(&roles.plugins).await;
        let mut warnings = std::mem::take(&mut plugins.warnings);
        warnings.extend(self.parts.fanout.change(told).await);

        let is_new = |server: &ServerName| {
            let step = steps.iter().find(|(name, _)| name == server);
            matches!(step, Some((_, Step::Add(_))))
        };
        let (added, replaced) = states.into_iter().partition(|(server, _)| is_new(server));
        self.parts.auth = roles.auth;
        self.parts.servers = equipped;
        self.watched
            .store(Arc::new(files(&self.parts.source, config)));
        self.loaded = loaded;
        Report::Applied(Applied {
            serial: settings.serial,
            changed,
            added,
            replaced,
            removed,
            plugins: Box::new(plugins),
            needs_restart,
            warnings,
            took: began.elapsed(),
        })
    }

    /// Instances are kept as the gateway was started, but each server's own wishes are those of now.
    fn supervise(&mut self, config: &Config) {
        let mut supervision = self.parts.started.config.supervision.upstreams.clone();
        supervision
            .children
            .clone_from(&config.supervision.upstreams.children);
        self.parts.succession.supervise(supervision);
    }

    /// Starts instances of all servers that are new or different. If one cannot be started, none is.
    async fn start(
        &self,
        steps: &[(ServerName, Step)],
    ) -> Result<(Vec<Place>, Vec<Newcomer>), String> {
        let succession = &self.parts.succession;
        let (mut places, mut newcomers) = (Vec::new(), Vec::new());
        for (name, step) in steps {
            let config = match step {
                Step::Stay => {
                    places.push(Place::Stay(name.clone()));
                    continue;
                }
                Step::Add(config) | Step::Replace(config) => config.clone(),
            };
            match succession.start(name, config).await {
                Ok(newcomer) => {
                    places.push(Place::Take(newcomer.clone()));
                    newcomers.push(newcomer);
                }
                Err(error) => {
                    for newcomer in &newcomers {
                        succession.dismiss(newcomer).await;
                    }
                    return Err(format!("server {name} cannot be started: {error}"));
                }
            }
        }
        Ok((places, newcomers))
    }

    fn settings(
        &self,
        config: &Config,
        auth: &Auth,
        policy: Arc<dyn PolicyEvaluator>,
        servers: &[(ServerName, ServerConfig)],
    ) -> Settings {
        let serial = self.parts.settings.serial + 1;
        // The listener is where it was when the gateway was started.
        let mut config = config.clone();
        config.listen = self.parts.started.config.listen;
        settings(serial, &config, auth, policy, servers)
    }

    fn gone(&self, now: &[(ServerName, ServerConfig)]) -> Vec<ServerName> {
        let before = self.parts.servers.iter().map(|(name, _)| name);
        let gone = before.filter(|name| now.iter().all(|(known, _)| known != *name));
        gone.cloned().collect()
    }

    /// Logs, counts and records what happened.
    fn tell(&self, origin: Origin, report: &Outcome) {
        let reloads = &self.parts.metrics.reloads;
        let by = origin.as_str();
        let (counter, detail) = match report {
            Report::Applied(applied) => {
                info!(by, serial = applied.serial, changed = ?applied.changed, took = ?applied.took, "configuration reloaded");
                for warning in &applied.warnings {
                    warn!(by, warning, "configuration reloaded in part");
                }
                let changed = applied.changed.join(", ");
                (
                    &reloads.applied,
                    format!("serial {}: {changed}", applied.serial),
                )
            }
            Report::Unchanged { .. } => {
                info!(by, "configuration read again, nothing is different");
                (&reloads.unchanged, String::new())
            }
            Report::Invalid(problems) => {
                error!(by, %problems, "configuration refused, the old one stays");
                (&reloads.invalid, problems.to_string())
            }
            Report::Failed(reason) => {
                error!(
                    by,
                    reason, "configuration not put in force, the old one stays"
                );
                (&reloads.failed, reason.clone())
            }
        };
        if let Report::Applied(Applied { needs_restart, .. }) | Report::Unchanged { needs_restart } =
            report
            && !needs_restart.is_empty()
        {
            warn!(by, keys = ?needs_restart, "these keys need a restart");
        }
        counter.inc();
        let good = matches!(report, Report::Applied(_) | Report::Unchanged { .. });
        reloads.successful.set(i64::from(good));
        if good {
            note_success(&self.parts.metrics);
        }
        let result = if good { "ok" } else { "error" };
        record_as(
            &self.parts.audit,
            "gateway.reload",
            result,
            format!("{by}: {} {detail}", report.result()),
        );
    }
}

fn note_success(metrics: &Metrics) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    metrics.reloads.success_time.set(seconds);
}

/// The configuration and the files that it names, if they are to be watched.
fn files(source: &Source, config: &Config) -> Vec<PathBuf> {
    let Source::File(file) = source else {
        return Vec::new();
    };
    if !config.reload.watch {
        return Vec::new();
    }
    let base = source.directory();
    let named = config.files().into_iter().map(|path| base.join(path));
    std::iter::once(file.clone()).chain(named).collect()
}
