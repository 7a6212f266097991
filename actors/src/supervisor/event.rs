//! What happens in the tree, told to whoever counts and records it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::exit::Exit;

/// Receives what happens in the tree. Called on the supervisors' threads, so it must not block.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &SupervisionEvent);
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

/// One thing that happened to one child.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupervisionEvent {
    /// The path of the supervisor: `root/plugins`.
    pub supervisor: Arc<str>,
    /// The child's name.
    pub child: Arc<str>,
    /// The number of the child's instance; 0 if none was ever started.
    pub generation: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a child.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// An instance is being made.
    Starting,
    /// The instance can serve.
    Started,
    /// The instance is asked to stop.
    Stopping,
    /// The instance ended.
    Exited {
        /// How.
        #[serde(flatten)]
        exit: Exit,
        /// How long it had been ready, seconds; 0 if it never was.
        #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
        uptime: Duration,
        /// Whether the supervisor had asked for it.
        expected: bool,
    },
    /// A new instance will be made. Counted once for every restart.
    RestartScheduled {
        /// In this time, seconds.
        #[serde(rename = "delay_seconds", serialize_with = "seconds")]
        delay: Duration,
    },
    /// Restarted too often; set aside.
    Quarantined {
        /// The next trial is in this time, seconds.
        #[serde(rename = "trial_seconds", serialize_with = "seconds")]
        trial: Duration,
    },
    /// A quarantined child is tried again.
    Trial,
    /// A child that was tried has stayed healthy and is out of quarantine.
    Recovered,
    /// Restarted too often; the supervisor stops its children and itself.
    Exhausted,
    /// A significant child ended by itself; the supervisor stops its children and itself.
    AutoShutdown,
    /// The instance did not notice that it was killed and was left behind on its thread.
    Abandoned {
        /// Whether the thread was replaced. If not, the child cannot be started before the thread yields.
        replaced: bool,
    },
    /// The supervisor forgot the child.
    Removed,
}

// === impl EventKind ===

impl EventKind {
    /// The event's name, from a closed set: fit for a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Exited { .. } => "exited",
            Self::RestartScheduled { .. } => "restart_scheduled",
            Self::Quarantined { .. } => "quarantined",
            Self::Trial => "trial",
            Self::Recovered => "recovered",
            Self::Exhausted => "exhausted",
            Self::AutoShutdown => "auto_shutdown",
            Self::Abandoned { .. } => "abandoned",
            Self::Removed => "removed",
        }
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

// === impl Silent ===

impl Observer for Silent {
    fn event(&self, _event: &SupervisionEvent) {}
}

// === impl SupervisionEvent ===

impl SupervisionEvent {
    /// Writes it to the log. Only what an operator must act on is an error; a restart is a warning.
    pub(crate) fn log(&self) {
        let Self {
            supervisor,
            child,
            generation,
            kind,
        } = self;
        match kind {
            EventKind::Starting | EventKind::Started | EventKind::Stopping | EventKind::Removed => {
                tracing::debug!(%supervisor, %child, generation, event = kind.name(), "child changed");
            }
            EventKind::Exited { exit, expected, .. } if *expected || !exit.is_abnormal() => {
                tracing::debug!(%supervisor, %child, generation, %exit, "child ended");
            }
            EventKind::Exited { exit, uptime, .. } => {
                let uptime_seconds = uptime.as_secs_f64();
                tracing::warn!(%supervisor, %child, generation, %exit, uptime_seconds, "child failed");
            }
            EventKind::RestartScheduled { delay } => {
                let delay_seconds = delay.as_secs_f64();
                tracing::warn!(%supervisor, %child, generation, delay_seconds, "child is restarted");
            }
            EventKind::Quarantined { trial } => {
                let trial_seconds = trial.as_secs_f64();
                tracing::error!(%supervisor, %child, generation, trial_seconds, "child is quarantined");
            }
            EventKind::Trial => {
                tracing::warn!(%supervisor, %child, generation, "quarantined child is tried")
            }
            EventKind::Recovered => {
                tracing::info!(%supervisor, %child, generation, "child has recovered")
            }
            EventKind::Exhausted => {
                tracing::error!(%supervisor, %child, generation, "child restarted too often, supervisor gives up");
            }
            EventKind::AutoShutdown => {
                tracing::info!(%supervisor, %child, generation, "significant child ended, supervisor stops");
            }
            EventKind::Abandoned { replaced } => {
                tracing::error!(%supervisor, %child, generation, replaced, "child holds its thread and is left behind");
            }
        }
    }
}

impl fmt::Display for SupervisionEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            supervisor,
            child,
            generation,
            kind,
        } = self;
        write!(formatter, "{supervisor}/{child}#{generation} {kind:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Cause, Kill};

    #[test]
    fn an_event_is_a_flat_record() {
        let event = |kind| {
            let event = SupervisionEvent {
                supervisor: "root".into(),
                child: "audit".into(),
                generation: 3,
                kind,
            };
            serde_json::to_string(&event).expect("JSON")
        };
        let exited = |exit| {
            event(EventKind::Exited {
                exit,
                uptime: Duration::from_millis(1_500),
                expected: false,
            })
        };
        let start = r#"{"supervisor":"root","child":"audit","generation":3,"event":"#;
        assert_eq!(event(EventKind::Started), format!(r#"{start}"started"}}"#));
        assert_eq!(
            exited(Exit::Panicked("oh".into())),
            format!(
                r#"{start}"exited","exit":"panicked","detail":"oh","uptime_seconds":1.5,"expected":false}}"#
            )
        );
        assert_eq!(
            exited(Exit::Normal),
            format!(r#"{start}"exited","exit":"normal","uptime_seconds":1.5,"expected":false}}"#)
        );
        assert!(
            exited(Exit::Killed(Kill::Heartbeat))
                .contains(r#""exit":"killed","detail":"heartbeat""#)
        );
        assert!(
            exited(Exit::Shutdown(Cause::Exhausted("spool".into())))
                .contains(r#""exit":"shutdown","detail":{"cause":"exhausted","child":"spool"}"#)
        );
        let delay = Duration::from_millis(100);
        assert_eq!(
            event(EventKind::RestartScheduled { delay }),
            format!(r#"{start}"restart_scheduled","delay_seconds":0.1}}"#)
        );
    }
}
