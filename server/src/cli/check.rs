//! `weir check`: what is wrong with a configuration, or what it means.

use std::fmt::Write;
use std::process::ExitCode;

use weir_actors::upstream::{HttpConfig, ServerConfig};

use super::{ConfigArguments, print};
use crate::config::{Config, Source};

pub(super) fn check(arguments: &ConfigArguments) -> ExitCode {
    let source = arguments.source();
    match arguments.load(&source) {
        Ok(config) => print(&summary(&config, &source)),
        Err(code) => code,
    }
}

/// Says in a few lines what a configuration means. Shows no value that may be a secret.
fn summary(config: &Config, source: &Source) -> String {
    let mut text = format!("{source} is good\n");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "  {key:<9} {value}");
    };
    line("listen", &config.listen);
    line("admin", &config.admin.listen);
    for (name, server) in config.servers.iter() {
        line("server", &format!("{name}: {}", describe(server)));
    }
    if config.servers.is_empty() {
        line(
            "server",
            &"none: clients will see an empty gateway; add one under `servers`",
        );
    }
    for plugin in config.plugins.plugins().unwrap_or_default() {
        line("plugin", &format!("{}: {}", plugin.key, plugin.transport()));
    }
    text
}

fn describe(server: &ServerConfig) -> String {
    match server {
        ServerConfig::Stdio(stdio) => format!("stdio, runs {}", stdio.command),
        ServerConfig::Http(http) => reached(http, ""),
        ServerConfig::Sse(http) => reached(http, "sse over "),
    }
}

fn reached(http: &HttpConfig, how: &str) -> String {
    match http.target() {
        Ok(target) => format!(
            "{how}http{}, {}:{}",
            if target.tls() { "s" } else { "" },
            target.host(),
            target.port()
        ),
        Err(_) => format!("{how}http"),
    }
}
