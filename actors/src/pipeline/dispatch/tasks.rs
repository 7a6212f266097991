//! Whose task is whose. A server knows weir only, not its callers, so weir remembers who began a task and lets nobody
//! else ask for it.

use std::time::Duration;

use moka::sync::Cache;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::jsonrpc::{Field, Message, member, unquote};
use weir_plugin_protocol::mcp::Method;

use crate::pipeline::Refusal;
use crate::upstream::ServerName;

/// Tasks that are remembered; the least used is forgotten first, and then it is unknown to everybody.
const MAX_TASKS: u64 = 100_000;

/// How long a task is remembered after it was last asked for.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// The owners of tasks, for all workers. They are gone when the process ends.
#[derive(Clone)]
pub struct TaskOwners(Cache<(ServerName, String), String>);

// === impl TaskOwners ===

impl Default for TaskOwners {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MAX_TASKS)
                .time_to_idle(IDLE)
                .build(),
        )
    }
}

impl TaskOwners {
    /// Refuses requests about tasks of others, and the list of everybody's.
    pub(super) fn check(
        &self,
        principal: &UserPrincipal,
        server: &ServerName,
        request: &Message,
    ) -> Result<(), Refusal> {
        match Method::parse(request.method()) {
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel | Method::TasksResult => {}
            Method::TasksList => return Err(Refusal::UnknownMethod("tasks/list".to_owned())),
            _ => return Ok(()),
        }
        let id = request.text(Field::TaskId).unwrap_or_default().into_owned();
        let owner = self.0.get(&(server.clone(), id.clone()));
        match owner {
            Some(owner) if owner == principal.key() => Ok(()),
            _ => Err(Refusal::Unknown {
                kind: "task",
                name: id,
            }),
        }
    }

    /// Notes the task that an answer begins, if it begins one.
    pub(super) fn note(&self, principal: &UserPrincipal, server: &ServerName, answer: &Message) {
        let Some(result) = answer.field(Field::Result) else {
            return;
        };
        let modern = answer.text(Field::ResultType).as_deref() == Some("task");
        let task = if modern {
            Some(result)
        } else {
            member(result, "task")
        };
        let id = task
            .and_then(|task| member(task, "taskId"))
            .and_then(unquote);
        if let Some(id) = id {
            self.0
                .insert((server.clone(), id.into_owned()), principal.key());
        }
    }
}
