//! API keys, made by `weir keys new`.

use std::process::Command;
use std::time::Duration;

use super::process::Process;

/// A key and what the configuration holds of it.
pub(crate) struct ApiKey {
    pub(crate) key: String,
    /// The entry, JSON.
    pub(crate) entry: String,
}

// === impl ApiKey ===

impl ApiKey {
    pub(crate) fn new(user: &str, roles: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["keys", "new", user]);
        for role in roles {
            command.args(["--role", role]);
        }
        let made = Process::run("weir keys new", command, Duration::from_secs(10));
        let find = |prefix: &str| {
            made.stdout
                .lines()
                .find_map(|line| line.trim().strip_prefix(prefix).map(str::to_owned))
        };
        let key = find("key: ").unwrap_or_else(|| panic!("no key in:\n{}", made.output));
        let entry = find("- {")
            .map(|entry| format!("{{{entry}"))
            .unwrap_or_else(|| panic!("no entry in:\n{}", made.output));
        assert!(!entry.contains(&key));
        Self { key, entry }
    }
}

/// The `auth:` block that knows these keys.
pub(crate) fn api_keys(keys: &[&ApiKey]) -> String {
    let entries: Vec<&str> = keys.iter().map(|key| key.entry.as_str()).collect();
    format!(
        "auth: {{ \"providers\": [{{ \"type\": \"api-keys\", \"keys\": [{}] }}] }}\n",
        entries.join(", ")
    )
}
