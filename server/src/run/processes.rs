//! Child processes as operators see them: what is in force for them, and what they use.

use serde_json::Value;
use weir_actors::process;

/// Those of a server.
pub(super) fn of_server(name: &str) -> Vec<Value> {
    of(name, false)
}

/// Those of a plugin: two while one takes over from another.
pub(super) fn of_plugin(name: &str) -> Vec<Value> {
    of(name, true)
}

fn of(name: &str, plugin: bool) -> Vec<Value> {
    let children = process::children().into_iter();
    let own = children.filter(|child| child.plugin == plugin && *child.name == *name);
    own.filter_map(|child| serde_json::to_value(child).ok())
        .collect()
}
