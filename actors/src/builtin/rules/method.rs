//! What each method of MCP can name, and which methods need no rule of their own.

use weir_plugin_protocol::role::TargetKind;

/// A method whose every call is judged.
pub(super) struct Judged {
    /// Its name.
    pub(super) name: &'static str,
    /// What it can name.
    pub(super) kinds: &'static [TargetKind],
    /// True if it carries `arguments`.
    pub(super) has_arguments: bool,
}

/// Every method that names something.
pub(super) const JUDGED: &[Judged] = &[
    Judged {
        name: "tools/call",
        kinds: &[TargetKind::Tool],
        has_arguments: true,
    },
    Judged {
        name: "prompts/get",
        kinds: &[TargetKind::Prompt],
        has_arguments: true,
    },
    Judged {
        name: "resources/read",
        kinds: &[TargetKind::Resource, TargetKind::ResourceTemplate],
        has_arguments: false,
    },
    Judged {
        name: "resources/subscribe",
        kinds: &[TargetKind::Resource],
        has_arguments: false,
    },
    Judged {
        name: "resources/unsubscribe",
        kinds: &[TargetKind::Resource],
        has_arguments: false,
    },
    Judged {
        name: "completion/complete",
        kinds: &[
            TargetKind::Prompt,
            TargetKind::Resource,
            TargetKind::ResourceTemplate,
        ],
        has_arguments: false,
    },
];

/// Methods that the gateway answers for itself, or that only make sense with something that was judged before.
const OPEN: &[&str] = &[
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "subscriptions/listen",
    "logging/setLevel",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/list",
    "tasks/result",
];

/// What carries no method at all: an answer of the client, and the streams and ends of legacy sessions.
const WITHOUT_METHOD: &[&str] = &["", "GET", "POST", "DELETE"];

/// The method by which an item of this kind is used, which decides whether lists show it.
pub(super) fn method_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Tool => "tools/call",
        TargetKind::Prompt => "prompts/get",
        TargetKind::Resource | TargetKind::ResourceTemplate => "resources/read",
        TargetKind::None => "",
    }
}

/// Returns true if the method needs no rule that names it.
pub(super) fn is_open(method: &str) -> bool {
    method.starts_with("notifications/")
        || OPEN.contains(&method)
        || WITHOUT_METHOD.contains(&method)
}

/// Returns true if the method carries `arguments`.
pub(super) fn has_arguments(method: &str) -> bool {
    JUDGED
        .iter()
        .any(|judged| judged.has_arguments && judged.name == method)
}

/// Returns true for methods that are neither open nor judged here, and belong to no revision of MCP.
pub(super) fn known(matches: impl Fn(&str) -> bool) -> bool {
    JUDGED.iter().any(|judged| matches(judged.name)) || OPEN.iter().any(|name| matches(name))
}
