//! The configurations that weir is measured with. Written as JSON, which is YAML.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::callers::{ISSUER, RESOURCE, ROLE, SCOPE};

/// The `servers` block.
pub(crate) type Servers = Map<String, Value>;

/// What the gateway does with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipeline {
    /// What it does by default: everybody on loopback may call everything, and everything is recorded in a file.
    Default,
    /// Access tokens, rules, credentials of its own for the servers, limits that do not bind, metrics, records in a file.
    Full,
}

/// A server that runs already.
pub(crate) fn http_server(url: &str) -> Value {
    json!({ "type": "http", "url": url })
}

/// A server that the gateway starts.
pub(crate) fn stdio_server(command: &str, arguments: &[String]) -> Value {
    json!({ "type": "stdio", "command": command, "args": arguments })
}

/// What the command line puts over a configuration.
pub(crate) fn patch(text: &str) -> Result<Value, String> {
    let patch: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err("must be a JSON object".to_owned())
    }
}

/// A whole configuration. `keys` is the file of the key set.
pub(super) fn configuration(
    pipeline: Pipeline,
    servers: &Servers,
    admin_port: u16,
    keys: &Path,
    records: &Path,
) -> Value {
    let mut configuration = json!({
        "listen": "127.0.0.1:0",
        "admin": { "listen": format!("127.0.0.1:{admin_port}") },
        "servers": servers,
        "audit": { "sink": "file", "path": records, "rotate_bytes": 64 * 1024 * 1024, "keep": 1 },
        "log": { "level": "warn" },
        // Without tokens, all callers of this machine are one, and here they all want the same server.
        "limits": { "principal": { "in_flight": 10_000 }, "upstream": { "max_in_flight": 10_000, "max_wait": "10s" } },
        "drain_timeout": "1s",
    });
    if pipeline == Pipeline::Full {
        let credentials: Map<String, Value> = servers
            .iter()
            .filter(|(_, server)| server.get("type") == Some(&json!("http")))
            .map(|(name, _)| {
                let headers = json!({ "headers": { "X-Api-Key": "a-key-for-this-server" } });
                (name.clone(), headers)
            })
            .collect();
        let more = json!({
            "auth": {
                "resource": RESOURCE,
                "providers": [{ "type": "jwt", "issuers": [{
                    "issuer": ISSUER, "jwks": keys, "algorithms": ["ES256"], "required_scopes": [SCOPE],
                }] }],
            },
            "policy": { "rules": rules() },
            "credentials": { "servers": credentials },
            "limits": limits(),
        });
        merge(&mut configuration, &more);
    }
    configuration
}

/// Puts the members of `more` over those of `base`, objects into each other; null removes (RFC 7396).
pub(crate) fn merge(base: &mut Value, more: &Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, more) => *base = more.clone(),
    }
}

/// As many as a small company has.
fn rules() -> Value {
    json!([
        { "name": "callers may do everything", "effect": "allow", "roles": [ROLE] },
        { "name": "operators may do everything", "effect": "allow", "roles": ["operator"], "groups": ["on-call-*"] },
        { "name": "reports may read", "effect": "allow", "roles": ["report"], "methods": ["resources/read"] },
        { "name": "suspended users do nothing", "effect": "deny", "groups": ["suspended"] },
        { "name": "trial tenants write nothing", "effect": "deny", "tenants": ["trial-*"], "tools": ["write_*", "create_*"] },
        { "name": "nobody deletes", "effect": "deny", "tools": ["delete_*", "drop_*"] },
        { "name": "nobody reads secrets", "effect": "deny", "resources": ["file:///etc/*", "secret://*"] },
        { "name": "robots do not ask for prompts", "effect": "deny", "principals": ["robot-*"], "methods": ["prompts/*"] },
    ])
}

/// More limits that are looked at and never reached: of each caller, and of each caller at each tool.
fn limits() -> Value {
    json!({
        "max_in_flight": 20_000, "max_streams": 300_000, "deadline": "60s",
        "principal": { "in_flight": 10_000, "rate": "1000000/s", "burst": 1_000_000 },
        "rules": [
            { "name": "each caller at each tool", "tools": ["*"], "in_flight": 10_000, "rate": "1000000/s", "burst": 1_000_000 },
            { "name": "searches are dear", "servers": ["web-*"], "tools": ["search_*"], "rate": "10/m", "deadline": "5s" },
            { "name": "robots are slow", "principals": ["robot-*"], "in_flight": 4, "rate": "10/s" },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_merge_and_everything_else_is_replaced() {
        let mut base = json!({ "a": { "b": 1, "c": [1, 2] }, "d": 1 });
        merge(
            &mut base,
            &json!({ "a": { "c": [3], "b": null, "x": null }, "e": { "f": 2 } }),
        );
        assert_eq!(base, json!({ "a": { "c": [3] }, "d": 1, "e": { "f": 2 } }));
    }
}
