//! The methods of MCP.

use super::Era;
use crate::jsonrpc::Field;

/// A method that is known here. Requests of the server (sampling and the like) exist in the legacy era only; in the
/// modern era they travel inside results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `ping`
    Ping,
    /// `tools/list`
    ToolsList,
    /// `tools/call`
    ToolsCall,
    /// `prompts/list`
    PromptsList,
    /// `prompts/get`
    PromptsGet,
    /// `resources/list`
    ResourcesList,
    /// `resources/templates/list`
    ResourcesTemplatesList,
    /// `resources/read`
    ResourcesRead,
    /// `resources/subscribe`
    ResourcesSubscribe,
    /// `resources/unsubscribe`
    ResourcesUnsubscribe,
    /// `completion/complete`
    CompletionComplete,
    /// `logging/setLevel`
    LoggingSetLevel,
    /// `server/discover`
    Discover,
    /// `subscriptions/listen`
    Listen,
    /// `tasks/get`
    TasksGet,
    /// `tasks/update`
    TasksUpdate,
    /// `tasks/cancel`
    TasksCancel,
    /// `tasks/list`
    TasksList,
    /// `tasks/result`
    TasksResult,
    /// `sampling/createMessage`
    SamplingCreateMessage,
    /// `elicitation/create`
    ElicitationCreate,
    /// `roots/list`
    RootsList,
    /// `notifications/initialized`
    NotificationInitialized,
    /// `notifications/cancelled`
    NotificationCancelled,
    /// `notifications/progress`
    NotificationProgress,
    /// `notifications/message`
    NotificationMessage,
    /// `notifications/tools/list_changed`
    NotificationToolsListChanged,
    /// `notifications/prompts/list_changed`
    NotificationPromptsListChanged,
    /// `notifications/resources/list_changed`
    NotificationResourcesListChanged,
    /// `notifications/resources/updated`
    NotificationResourcesUpdated,
    /// `notifications/roots/list_changed`
    NotificationRootsListChanged,
    /// `notifications/elicitation/complete`
    NotificationElicitationComplete,
    /// `notifications/tasks/status`
    NotificationTasksStatus,
    /// `notifications/tasks`
    NotificationTasks,
    /// `notifications/subscriptions/acknowledged`
    NotificationSubscriptionsAcknowledged,
    /// A method of an extension, or of nobody.
    Other,
}

// === impl Method ===

impl Method {
    /// The method of this name.
    pub fn parse(name: &str) -> Self {
        match name {
            "initialize" => Self::Initialize,
            "ping" => Self::Ping,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            "prompts/list" => Self::PromptsList,
            "prompts/get" => Self::PromptsGet,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::ResourcesTemplatesList,
            "resources/read" => Self::ResourcesRead,
            "resources/subscribe" => Self::ResourcesSubscribe,
            "resources/unsubscribe" => Self::ResourcesUnsubscribe,
            "completion/complete" => Self::CompletionComplete,
            "logging/setLevel" => Self::LoggingSetLevel,
            "server/discover" => Self::Discover,
            "subscriptions/listen" => Self::Listen,
            "tasks/get" => Self::TasksGet,
            "tasks/update" => Self::TasksUpdate,
            "tasks/cancel" => Self::TasksCancel,
            "tasks/list" => Self::TasksList,
            "tasks/result" => Self::TasksResult,
            "sampling/createMessage" => Self::SamplingCreateMessage,
            "elicitation/create" => Self::ElicitationCreate,
            "roots/list" => Self::RootsList,
            "notifications/initialized" => Self::NotificationInitialized,
            "notifications/cancelled" => Self::NotificationCancelled,
            "notifications/progress" => Self::NotificationProgress,
            "notifications/message" => Self::NotificationMessage,
            "notifications/tools/list_changed" => Self::NotificationToolsListChanged,
            "notifications/prompts/list_changed" => Self::NotificationPromptsListChanged,
            "notifications/resources/list_changed" => Self::NotificationResourcesListChanged,
            "notifications/resources/updated" => Self::NotificationResourcesUpdated,
            "notifications/roots/list_changed" => Self::NotificationRootsListChanged,
            "notifications/elicitation/complete" => Self::NotificationElicitationComplete,
            "notifications/tasks/status" => Self::NotificationTasksStatus,
            "notifications/tasks" => Self::NotificationTasks,
            "notifications/subscriptions/acknowledged" => {
                Self::NotificationSubscriptionsAcknowledged
            }
            _ => Self::Other,
        }
    }

    /// Its name; empty for [`Method::Other`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
            Self::ResourcesList => "resources/list",
            Self::ResourcesTemplatesList => "resources/templates/list",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::ResourcesUnsubscribe => "resources/unsubscribe",
            Self::CompletionComplete => "completion/complete",
            Self::LoggingSetLevel => "logging/setLevel",
            Self::Discover => "server/discover",
            Self::Listen => "subscriptions/listen",
            Self::TasksGet => "tasks/get",
            Self::TasksUpdate => "tasks/update",
            Self::TasksCancel => "tasks/cancel",
            Self::TasksList => "tasks/list",
            Self::TasksResult => "tasks/result",
            Self::SamplingCreateMessage => "sampling/createMessage",
            Self::ElicitationCreate => "elicitation/create",
            Self::RootsList => "roots/list",
            Self::NotificationInitialized => "notifications/initialized",
            Self::NotificationCancelled => "notifications/cancelled",
            Self::NotificationProgress => "notifications/progress",
            Self::NotificationMessage => "notifications/message",
            Self::NotificationToolsListChanged => "notifications/tools/list_changed",
            Self::NotificationPromptsListChanged => "notifications/prompts/list_changed",
            Self::NotificationResourcesListChanged => "notifications/resources/list_changed",
            Self::NotificationResourcesUpdated => "notifications/resources/updated",
            Self::NotificationRootsListChanged => "notifications/roots/list_changed",
            Self::NotificationElicitationComplete => "notifications/elicitation/complete",
            Self::NotificationTasksStatus => "notifications/tasks/status",
            Self::NotificationTasks => "notifications/tasks",
            Self::NotificationSubscriptionsAcknowledged => {
                "notifications/subscriptions/acknowledged"
            }
            Self::Other => "",
        }
    }

    /// The member of `params` that the `Mcp-Name` header repeats.
    pub fn routing_param(self) -> Option<Field> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Field::Name),
            Self::ResourcesRead => Some(Field::Uri),
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some(Field::TaskId),
            _ => None,
        }
    }

    /// True if some revision of this era has it, extensions included. Never true for [`Method::Other`].
    pub fn exists_in(self, era: Era) -> bool {
        match self {
            Self::Other => false,
            Self::Initialize
            | Self::Ping
            | Self::ResourcesSubscribe
            | Self::ResourcesUnsubscribe
            | Self::LoggingSetLevel
            | Self::TasksList
            | Self::TasksResult
            | Self::SamplingCreateMessage
            | Self::ElicitationCreate
            | Self::RootsList
            | Self::NotificationInitialized
            | Self::NotificationRootsListChanged
            | Self::NotificationElicitationComplete
            | Self::NotificationTasksStatus => era == Era::Legacy,
            Self::Discover
            | Self::Listen
            | Self::TasksUpdate
            | Self::NotificationTasks
            | Self::NotificationSubscriptionsAcknowledged => era == Era::Modern,
            _ => true,
        }
    }

    /// True for the methods that are only ever sent without an id.
    pub fn is_notification(self) -> bool {
        self.as_str().starts_with("notifications/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_methods_agree() {
        for name in [
            "tools/call",
            "initialize",
            "server/discover",
            "notifications/progress",
            "tasks/update",
        ] {
            assert_eq!(Method::parse(name).as_str(), name);
        }
        assert_eq!(Method::parse("Tools/call"), Method::Other);
        assert_eq!(Method::parse(""), Method::Other);
        assert!(Method::NotificationTasks.is_notification() && !Method::Other.is_notification());
    }

    #[test]
    fn eras_differ() {
        for (method, legacy, modern) in [
            (Method::Initialize, true, false),
            (Method::ToolsCall, true, true),
            (Method::Discover, false, true),
            (Method::TasksGet, true, true),
            (Method::TasksUpdate, false, true),
            (Method::TasksList, true, false),
            (Method::Other, false, false),
        ] {
            assert_eq!(
                (method.exists_in(Era::Legacy), method.exists_in(Era::Modern)),
                (legacy, modern),
                "{method:?}"
            );
        }
    }
}
