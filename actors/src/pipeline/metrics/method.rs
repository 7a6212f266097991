//! The closed set of method labels: what a client makes up is `other`.

use weir_plugin_protocol::mcp::Method;

use crate::pipeline::ClientRequest;

/// The methods that clients may use.
const METHODS: [Method; 24] = [
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

/// Everything else that a label may say: operations of HTTP alone, batches, answers, and what is not known here.
const BESIDES: [&str; 5] = ["batch", "answer", "GET", "DELETE", OTHER];

/// The label of what is not known here.
const OTHER: &str = "other";

/// Every label.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.as_str()).chain(BESIDES)
}

/// The label of a request.
pub(super) fn label(request: &ClientRequest) -> &'static str {
    match request {
        ClientRequest::OpenStream => "GET",
        ClientRequest::EndSession => "DELETE",
        ClientRequest::LegacyBatch(_) => "batch",
        ClientRequest::Legacy(message) if message.method().is_empty() => "answer",
        request => match request.method() {
            method if METHODS.contains(&method) => method.as_str(),
            _ => OTHER,
        },
    }
}
