//! The closed set of method labels: what a client makes up is `other`.

use weir_plugin_protocol::mcp::Method;

use super::names::OTHER;
use crate::pipeline::ClientRequest;

/// The methods that clients may use.
const METHODS: [Method; 24] = [
    Method::ToolsCall,
    Method::Initialize,
    Method::Ping,
    Method::ToolsList,
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

/// Everything else that a label may say. The first is a method as well, one that is not known here; the rest are
/// operations of HTTP alone, batches and answers.
const BESIDES: [&str; 5] = [OTHER, "batch", "answer", "GET", "DELETE"];

/// The place of a label among [`all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodLabel(usize);

/// Every label, in the order of [`MethodLabel::place`].
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.as_str()).chain(BESIDES)
}

// === impl MethodLabel ===

impl MethodLabel {
    /// The label of a request.
    pub(super) fn of(request: &ClientRequest) -> Self {
        let beside = |place| Self(METHODS.len() + place);
        match request {
            ClientRequest::LegacyBatch(_) => beside(1),
            ClientRequest::Legacy(message) if message.method().is_empty() => beside(2),
            ClientRequest::OpenStream => beside(3),
            ClientRequest::EndSession => beside(4),
            request => {
                let method = request.method();
                let place = METHODS.iter().position(|known| *known == method);
                place.map_or(beside(0), Self)
            }
        }
    }

    /// Where it is among all labels.
    pub(super) fn place(self) -> usize {
        self.0
    }

    /// The text.
    pub(super) fn as_str(self) -> &'static str {
        match METHODS.get(self.0) {
            Some(method) => method.as_str(),
            None => BESIDES.get(self.0 - METHODS.len()).unwrap_or(&OTHER),
        }
    }

    /// The method, if it is one that is known.
    pub(super) fn method(self) -> Option<Method> {
        METHODS.get(self.0).copied()
    }

    /// Whether it is an operation of MCP: a method, known or not.
    pub(super) fn is_operation(self) -> bool {
        self.0 <= METHODS.len()
    }

    /// Whether requests of this kind name a tool or a prompt.
    pub(super) fn has_name(self) -> bool {
        matches!(self.method(), Some(Method::ToolsCall | Method::PromptsGet))
    }

    /// Whether requests of this kind stay open until something happens: their time is not the gateway's.
    pub(super) fn waits(self) -> bool {
        self.method() == Some(Method::Listen) || self.0 == METHODS.len() + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_where_it_says() {
        for (place, label) in all().enumerate() {
            assert_eq!(MethodLabel(place).as_str(), label);
        }
        let stream = MethodLabel::of(&ClientRequest::OpenStream);
        assert_eq!((stream.as_str(), stream.waits()), ("GET", true));
        assert!(!stream.is_operation());
        assert_eq!(
            MethodLabel::of(&ClientRequest::EndSession).as_str(),
            "DELETE"
        );
    }
}
