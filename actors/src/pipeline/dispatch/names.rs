//! The names that a server itself uses, in place of those that clients see.

use weir_plugin_protocol::jsonrpc::{Field, Message, Rewrite, quote};
use weir_plugin_protocol::mcp::Method;

use crate::upstream::Route;

/// The request with the server's own names.
pub(super) fn own<'a>(request: &'a Message, route: &Route) -> Rewrite<'a> {
    let rewrite = request.rewrite();
    match Method::parse(request.method()) {
        Method::ToolsCall | Method::PromptsGet
            if request.text(Field::Name).as_deref() != Some(&route.own_name) =>
        {
            rewrite.set(Field::Name, quote(&route.own_name))
        }
        Method::CompletionComplete => match reference(request, route) {
            Some(reference) => rewrite.set(Field::Ref, reference),
            None => rewrite,
        },
        _ => rewrite,
    }
}

/// `params.ref` with the prompt's name at its server; nothing, if it is that already.
fn reference(request: &Message, route: &Route) -> Option<String> {
    let reference = request.field(Field::Ref)?;
    let mut value: serde_json::Value = serde_json::from_str(reference).ok()?;
    let name = value.get_mut("name")?;
    if name.as_str() == Some(&route.own_name) {
        return None;
    }
    *name = route.own_name.clone().into();
    Some(value.to_string())
}
