//! What an operator does next about a plugin.

use serde_json::Value;

use super::plain;

/// What to do about a plugin as the gateway shows it; nothing if it serves.
pub(super) fn of(plugin: &Value) -> Option<String> {
    let name = plain(plugin["name"].as_str()?);
    let word = |key: &str| plugin[key].as_str().unwrap_or_default();
    if let Some(needed) = plugin["waits_for"].as_str() {
        let first = needed.split(' ').nth(1).unwrap_or_default();
        return Some(format!(
            "it waits: {}; see `weir plugins status {}`",
            plain(needed),
            plain(first)
        ));
    }
    if plugin["quarantined"] == true {
        return Some(format!(
            "it is in quarantine: find the cause above and in the log, then `weir plugins restart {name}`"
        ));
    }
    if word("state") == "active" {
        return None;
    }
    let error = word("error");
    let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if error.is_empty() {
        return match word("state") {
            "loading" | "authenticating" => Some("it is being started: look again".to_owned()),
            "stopped" => Some(format!("start it: `weir plugins restart {name}`")),
            _ => None,
        };
    }
    let advice = if has(&["is required", "requires weir", "speaks protocol"]) {
        "install the version that is required, or change `requires`".to_owned()
    } else if has(&["already registered"]) {
        "two plugins play the same role: remove one of them from `plugins`".to_owned()
    } else if has(&["PORT", "port"]) {
        "its first line must be PORT=<n>: try it with `weir plugins test PROGRAM`".to_owned()
    } else if has(&["No such file", "not found", "Permission denied"]) {
        "check `exec`, and whether the file may be executed".to_owned()
    } else if word("transport") == "sidecar" || word("transport") == "mcp" {
        "is it running, at this address? Try it with `weir plugins test URL`".to_owned()
    } else {
        format!(
            "its own words are in the log (plugin={name}); try it with `weir plugins test PROGRAM`"
        )
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_does_not_serve_gets_a_next_step() {
        let plugin = |more: Value| {
            let mut plugin = json!({ "name": "p", "state": "error", "transport": "subprocess", "quarantined": false });
            let members = plugin.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            plugin
        };
        for (more, expected) in [
            (json!({ "state": "active" }), None),
            (
                json!({ "error": "it is version 1, and >=2 is required" }),
                Some("install the version that is required, or change `requires`"),
            ),
            (
                json!({ "error": "no PORT line" }),
                Some("its first line must be PORT=<n>: try it with `weir plugins test PROGRAM`"),
            ),
            (
                json!({ "error": "refused", "transport": "sidecar" }),
                Some("is it running, at this address? Try it with `weir plugins test URL`"),
            ),
            (
                json!({ "state": "active", "quarantined": true }),
                Some(
                    "it is in quarantine: find the cause above and in the log, then `weir plugins restart p`",
                ),
            ),
            (
                json!({ "waits_for": "plugin auth does not serve" }),
                Some("it waits: plugin auth does not serve; see `weir plugins status auth`"),
            ),
        ] {
            assert_eq!(of(&plugin(more)).as_deref(), expected);
        }
        let states = [
            "discovered",
            "loading",
            "authenticating",
            "error",
            "shutting_down",
            "stopped",
        ];
        for state in states {
            let _some = of(&plugin(json!({ "state": state, "error": "x" }))).unwrap();
        }
    }
}
