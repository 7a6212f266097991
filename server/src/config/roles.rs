//! The `plugins` block and the blocks of the roles say the same thing in two ways: here they meet.

use weir_actors::builtin::audit_lines::AuditSinkKind;
use weir_actors::builtin::auth::AuthKind;
use weir_actors::plugin::{InMemory, Plugin, Role};

use super::Config;

/// Puts what the in-memory plugins say into the blocks of their roles. Returns what contradicts, as keys and texts.
pub(super) fn settle(config: &mut Config) -> Vec<(String, String)> {
    let plugins = config.plugins.plugins().unwrap_or_default();
    plugins
        .iter()
        .filter_map(|plugin| contradiction(plugin, config))
        .collect()
}

/// Whether a plugin outside of the gateway plays a role.
pub(super) fn is_plugged(config: &Config, role: Role) -> bool {
    let plugins = config.plugins.plugins().unwrap_or_default();
    let mut others = plugins.iter().filter(|plugin| plugin.in_memory().is_none());
    others.any(|plugin| plugin.role() == Some(role))
}

/// What contradicts a plugin outside of the gateway, and what of its entry does not belong to its role.
fn outside(plugin: &Plugin, config: &Config) -> Option<(String, String)> {
    let role = plugin.role();
    let at =
        |key: &str, text: &str| Some((format!("plugins.{}{key}", plugin.key), text.to_owned()));
    let remembers = matches!(
        role,
        Some(Role::AuthProvider | Role::PolicyEvaluator | Role::CredentialStorage)
    );
    if plugin.entry.cache.is_some() && !remembers {
        return at(
            ".cache",
            "nothing is remembered of what this plugin says; remove it",
        );
    }
    if plugin.entry.decides.is_some() && role != Some(Role::PolicyEvaluator) {
        return at(
            ".decides",
            "this plugin does not decide; remove it, or write `role: policy_evaluator`",
        );
    }
    match role? {
        Role::AuthProvider if some(config, AuthKind::DesktopImplicit) => at(
            "",
            "`desktop-implicit` under `auth.providers` lets everybody in, so that this plugin would mean nothing; remove one of the two",
        ),
        Role::PolicyEvaluator if config.policy.rules.is_some() => at(
            "",
            "this plugin decides, and so does `policy.rules`; remove one of the two",
        ),
        _ => None,
    }
}

fn contradiction(plugin: &Plugin, config: &mut Config) -> Option<(String, String)> {
    let Some(part) = plugin.in_memory() else {
        return outside(plugin, config);
    };
    let text = match part {
        InMemory::Stdout => return audit(plugin, config, AuditSinkKind::Stdout),
        InMemory::Stderr => return audit(plugin, config, AuditSinkKind::Stderr),
        InMemory::File => return audit(plugin, config, AuditSinkKind::File),
        InMemory::AlwaysAllow if config.policy.rules.is_some() => {
            "`always-allow` contradicts `policy.rules`; remove one of the two"
        }
        InMemory::Rules if config.policy.rules.is_none() => {
            "there are no rules; write them under `policy.rules`"
        }
        InMemory::NoCredentials if !config.credentials.servers.is_empty() => {
            "`none` contradicts `credentials.servers`; remove one of the two"
        }
        InMemory::DesktopImplicit if !only(config, AuthKind::DesktopImplicit) => {
            "`desktop-implicit` contradicts `auth.providers`; remove one of the two"
        }
        InMemory::ApiKeys if !some(config, AuthKind::ApiKeys) => {
            "there are no keys; write them under `auth.providers`, with `type: api-keys`"
        }
        InMemory::Jwt if !some(config, AuthKind::Jwt) => {
            "there are no issuers; write them under `auth.providers`, with `type: jwt`"
        }
        InMemory::AlwaysAllow
        | InMemory::Rules
        | InMemory::NoCredentials
        | InMemory::StaticCredentials
        | InMemory::Noop
        | InMemory::DesktopImplicit
        | InMemory::ApiKeys
        | InMemory::Jwt => return None,
    };
    Some((key(plugin), text.to_owned()))
}

fn only(config: &Config, kind: AuthKind) -> bool {
    config
        .auth
        .providers
        .iter()
        .all(|provider| provider.kind == kind)
}

fn some(config: &Config, kind: AuthKind) -> bool {
    config
        .auth
        .providers
        .iter()
        .any(|provider| provider.kind == kind)
}

fn audit(plugin: &Plugin, config: &mut Config, sink: AuditSinkKind) -> Option<(String, String)> {
    if config.audit.sink.is_some_and(|named| named != sink) {
        return Some((
            key(plugin),
            "this contradicts `audit.sink`; remove one of the two".to_owned(),
        ));
    }
    config.audit.sink = Some(sink);
    None
}

fn key(plugin: &Plugin) -> String {
    format!("plugins.{}.implementation", plugin.key)
}
