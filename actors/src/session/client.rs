//! What a legacy client said of itself, small enough to travel inside its session id.

use serde::{Deserialize, Serialize};
use weir_plugin_protocol::jsonrpc::{member, object_members};

/// Bytes of capabilities and of client information that are kept. More would not fit into a header.
const PART_BYTES: usize = 1024;

/// `capabilities` and `clientInfo` of `initialize`, as raw JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// `capabilities`, an object.
    #[serde(rename = "c")]
    pub capabilities: String,
    /// `clientInfo`, an object.
    #[serde(rename = "i")]
    pub info: String,
}

// === impl ClientHello ===

impl ClientHello {
    /// Keeps what the client sent. What is too large is cut down to the names that servers act on.
    pub fn new(capabilities: Option<&str>, info: Option<&str>) -> Self {
        let capabilities = capabilities.unwrap_or("{}");
        let info = info.unwrap_or(r#"{"name":"unknown","version":"0"}"#);
        let capabilities = if capabilities.len() <= PART_BYTES {
            compact(capabilities)
        } else {
            named(capabilities)
        };
        let info = if info.len() <= PART_BYTES {
            compact(info)
        } else {
            r#"{"name":"unknown","version":"0"}"#.to_owned()
        };
        Self { capabilities, info }
    }

    /// Whether the client declared this capability.
    pub fn can(&self, capability: &str) -> bool {
        member(&self.capabilities, capability).is_some()
    }

    /// Whether the client can be sent this request of a server.
    pub fn can_answer(&self, method: &str) -> bool {
        match method {
            "sampling/createMessage" => self.can("sampling"),
            "elicitation/create" => self.can("elicitation"),
            "roots/list" => self.can("roots"),
            _ => true,
        }
    }
}

/// The known capabilities without their details.
fn named(capabilities: &str) -> String {
    let known: Vec<String> = object_members(capabilities)
        .filter(|(name, _)| {
            matches!(
                name.as_ref(),
                "roots" | "sampling" | "elicitation" | "tasks"
            )
        })
        .map(|(name, _)| format!(r#""{name}":{{}}"#))
        .collect();
    format!("{{{}}}", known.join(","))
}

/// Line breaks have no place in a header, and in JSON they can only be white space.
fn compact(raw: &str) -> String {
    raw.chars()
        .map(|character| {
            if matches!(character, '\n' | '\r') {
                ' '
            } else {
                character
            }
        })
        .collect()
}
