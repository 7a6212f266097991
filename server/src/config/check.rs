//! What no single block can see: how the blocks fit together.

use std::path::Path;
use std::sync::Arc;

use weir_actors::builtin::Outside;
use weir_actors::builtin::auth::{Auth, AuthKind};
use weir_actors::builtin::outside::NoFetch;
use weir_actors::builtin::static_credentials::StaticCredentials;
use weir_actors::plugged::Outfit;
use weir_actors::plugin::Role;
use weir_actors::upstream::pins::clash::look_alike;

use super::{Config, ServerConfig, manifests, roles};

/// Returns what is wrong, as keys and texts.
pub(super) fn check(config: &Config) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut refuse = |path: &str, text: String| problems.push((path.to_owned(), text));
    if !config.admin.listen.is_loopback() && !config.admin.allow_remote {
        let address = config.admin.listen;
        refuse(
            "admin.listen",
            format!(
                "{address} can be reached from other machines and asks for no password; use 127.0.0.1 or set `allow_remote: true`"
            ),
        );
    }
    let lets_everybody_in = config
        .auth
        .providers
        .iter()
        .all(|provider| provider.kind == AuthKind::DesktopImplicit)
        && !roles::is_plugged(config, Role::AuthProvider);
    if !config.listen.is_loopback() && lets_everybody_in && !config.http.allow_unauthenticated {
        let address = config.listen;
        refuse(
            "listen",
            format!(
                "{address} can be reached from other machines and everybody would be let in; configure `auth.providers`, use 127.0.0.1, or set `http.allow_unauthenticated: true`"
            ),
        );
    }
    if config.listen == config.admin.listen && config.listen.0.port() != 0 {
        refuse(
            "admin.listen",
            format!(
                "{} is also the address for clients; use another port",
                config.listen
            ),
        );
    }
    if config.supervision.pipelines.is_coupled() {
        refuse(
            "supervision.pipelines.strategy",
            "the children of this group are independent of each other; remove it, or write `one_for_one`".to_owned(),
        );
    }
    if let Err(error) = crate::observe::filter(&config.log.level) {
        refuse(
            "log.level",
            format!("{error}; write `info`, `debug` or `info,module=debug`"),
        );
    }
    for (key, names) in [
        ("http.allowed_hosts", &config.http.allowed_hosts),
        ("admin.allowed_hosts", &config.admin.allowed_hosts),
    ] {
        for (index, name) in names.iter().enumerate() {
            if !is_host(name) {
                refuse(
                    &format!("{key}[{index}]"),
                    format!("{name:?} is not a host name; write it without scheme, port and path"),
                );
            }
        }
    }
    if config.stdio.user.trim().is_empty() {
        refuse(
            "stdio.user",
            "a user needs a name; write one, or remove it for `desktop-user`".to_owned(),
        );
    }
    for (index, origin) in config.http.allowed_origins.iter().enumerate() {
        if !is_origin(origin) {
            refuse(
                &format!("http.allowed_origins[{index}]"),
                format!(
                    "{origin:?} is not an origin; write scheme and host, such as https://console.example.com"
                ),
            );
        }
    }
    for (key, result) in [
        ("policy", config.policy.build().map(drop)),
        ("audit", config.audit.check()),
        ("limits", config.limits.check()),
        ("credentials", Outfit::new(&config.credentials).map(drop)),
    ] {
        if let Err(error) = result {
            let error = error.within(key);
            refuse(&error.key, error.problem);
        }
    }
    for (name, credentials) in &config.credentials.servers {
        let path = format!("credentials.servers.{name}");
        match config
            .servers
            .iter()
            .find(|(server, _)| server.as_str() == name)
        {
            None => refuse(
                &path,
                format!("there is no server {name:?}; add it under `servers` or remove this"),
            ),
            Some((_, ServerConfig::Stdio(_))) if !credentials.headers.is_empty() => {
                refuse(
                    &format!("{path}.headers"),
                    format!("{name} is a child process and gets no headers; use `env`"),
                );
            }
            Some((_, ServerConfig::Http(_) | ServerConfig::Sse(_)))
                if !credentials.env.is_empty() =>
            {
                refuse(
                    &format!("{path}.env"),
                    format!("{name} is reached over HTTP and gets no environment; use `headers`"),
                );
            }
            Some((_, ServerConfig::Stdio(_) | ServerConfig::Sse(_)))
                if credentials.from.is_some() =>
            {
                refuse(
                    &format!("{path}.from"),
                    format!(
                        "{name} has one connection that all callers share; use `env` or `headers`"
                    ),
                );
            }
            Some(_) => {}
        }
        if credentials.from.is_some() && !roles::is_plugged(config, Role::CredentialStorage) {
            refuse(
                &format!("{path}.from"),
                "no plugin plays the role `credential_storage`; add one under `plugins`".to_owned(),
            );
        }
    }
    for name in config.pins.servers.keys() {
        if !config
            .servers
            .iter()
            .any(|(server, _)| server.as_str() == name)
        {
            refuse(
                &format!("pins.servers.{name}"),
                format!("there is no server {name:?}; add it under `servers` or remove this"),
            );
        }
    }
    for (place, (name, _)) in config.servers.iter().enumerate() {
        let mut before = config.servers.iter().take(place);
        if let Some((other, _)) =
            before.find(|(other, _)| look_alike(other.as_str(), name.as_str()))
        {
            refuse(
                &format!("servers.{name}"),
                format!(
                    "a name that looks like {other:?}, so that tools of one would be taken for those of the other; use another name",
                    other = other.as_str()
                ),
            );
        }
    }
    let limits = &config.limits;
    for (key, is_zero) in [
        ("max_in_flight", limits.max_in_flight == 0),
        ("max_connections", limits.max_connections == 0),
        ("max_body_bytes", limits.max_body_bytes == 0),
        ("max_answer_bytes", limits.max_answer_bytes == 0),
        ("max_json_depth", limits.max_json_depth == 0),
        ("deadline", limits.deadline.0.is_zero()),
        ("ask_deadline", limits.ask_deadline.0.is_zero()),
        ("body_timeout", limits.body_timeout.0.is_zero()),
        ("max_uploads", limits.max_uploads == 0),
        ("max_upload_bytes", limits.max_upload_bytes == 0),
        ("write_timeout", limits.write_timeout.0.is_zero()),
        ("session_idle", limits.session_idle.0.is_zero()),
    ] {
        if is_zero {
            refuse(
                &format!("limits.{key}"),
                "with 0 nothing would be served; use more, or remove it for the default".to_owned(),
            );
        }
    }
    if let Err(errors) = config.plugins.runnable() {
        for error in errors {
            refuse(&format!("plugins.{}", error.path), error.text);
        }
    }
    problems
}

/// Looks at what the configuration names outside of itself: files and variables with secrets. Returns what is wrong.
pub(super) fn look(config: &Config, directory: &Path) -> Vec<(String, String)> {
    let outside = Outside::real(directory, Arc::new(NoFetch));
    let results = [
        ("auth", Auth::load(&config.auth, &outside).map(drop)),
        (
            "credentials",
            StaticCredentials::load(&config.credentials, &outside).map(drop),
        ),
    ];
    let mut problems = Vec::new();
    for (key, result) in results {
        if let Err(error) = result {
            let error = error.within(key);
            problems.push((error.key, error.problem));
        }
    }
    let mut plugins = config.plugins.plugins().unwrap_or_default();
    problems.extend(manifests::read(&mut plugins, outside.files.as_ref()));
    problems
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_origin(origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && !rest.contains(['/', '?', '#', '@', ' '])
}
