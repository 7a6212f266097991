//! What the configuration means for requests: the settings of a snapshot, and the servers as they are run.

use std::sync::Arc;

use weir_actors::admission::ServersLimits;
use weir_actors::builtin::auth::Auth;
use weir_actors::builtin::static_credentials::StaticCredentials;
use weir_actors::settings::{Doors, Hosts, Settings};
use weir_actors::upstream::{ServerConfig, ServerName};
use weir_plugin_protocol::role::PolicyEvaluator;

use crate::config::Config;

/// The servers with what weir proves itself with.
pub(super) fn equipped(
    config: &Config,
    credentials: &StaticCredentials,
) -> Vec<(ServerName, ServerConfig)> {
    let servers = config.servers.iter().map(|(name, server)| {
        let mut server = server.clone();
        if let Some(own) = credentials.get(name.as_str()) {
            server.equip(own);
        }
        (name.clone(), server)
    });
    servers.collect()
}

/// What requests are judged by.
pub(super) fn settings(
    serial: u64,
    config: &Config,
    auth: &Auth,
    policy: Arc<dyn PolicyEvaluator>,
    servers: &[(ServerName, ServerConfig)],
) -> Settings {
    let credentials = servers.iter().map(|(name, server)| {
        let target = match server {
            ServerConfig::Http(http) | ServerConfig::Sse(http) => http.target().ok(),
            ServerConfig::Stdio(_) => None,
        };
        (name.to_string(), server.headers(), target)
    });
    let given = servers.iter().map(|(name, server)| (name, server.limits()));
    Settings {
        serial,
        doors: Arc::new(Doors {
            hosts: Hosts {
                names: config.http.allowed_hosts.clone(),
                any_address: !config.listen.is_loopback(),
            },
            origins: config.http.allowed_origins.clone(),
            protocol_headers: config.http.protocol_headers,
        }),
        auth: auth.provider(),
        resource: auth.resource().cloned().map(Arc::new),
        policy,
        credentials: Arc::new(StaticCredentials::of_headers(credentials)),
        outfit: Arc::default(),
        interceptors: None,
        fanout: None,
        limits: Arc::new(config.limits.clone()),
        servers: Arc::new(ServersLimits::new(&config.limits, given)),
    }
}

/// The hosts that the admin listener answers for.
pub(super) fn admin_hosts(config: &Config) -> Hosts {
    Hosts {
        names: config.admin.allowed_hosts.clone(),
        any_address: config.admin.allow_remote,
    }
}
