//! `weir stdio`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use weir_actors::upstream::{Endpoint, ServerName};

use super::{ConfigArguments, complain};
use crate::config::{self, AuditSinkKind, Config, ListenAddress, Loaded, Source};
use crate::run::Reading;
use crate::{observe, run};

/// What the server of the command line is called.
const ITS_NAME: &str = "server";

#[derive(Debug, Args)]
pub(super) struct StdioArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Serve one server of the configuration with its own names, instead of all of them as one
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Serve the MCP server at this URL, instead of a configuration
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "server", "command"])]
    url: Option<String>,
    /// Listen for operators at this address; otherwise nothing listens anywhere
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<ListenAddress>,
    /// Serve the MCP server that this command starts, instead of a configuration
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["config", "server"])]
    command: Vec<String>,
}

pub(super) fn stdio(arguments: &StdioArguments) -> ExitCode {
    let source = match arguments.has_its_own_server() {
        true => Source::Embedded,
        false => arguments.config.source(),
    };
    let loaded = arguments.load(source).and_then(|reading| {
        let endpoint = arguments.endpoint(&reading.loaded.config)?;
        Ok((reading, endpoint))
    });
    let (reading, endpoint) = match loaded {
        Ok(loaded) => loaded,
        Err(text) => return complain(&text),
    };
    observe::start(&reading.loaded.config.log);
    let plan = run::StdioPlan {
        reading,
        endpoint,
        admin: arguments.admin_listen,
    };
    actix::System::new().block_on(run::run_stdio(plan))
}

// === impl StdioArguments ===

impl StdioArguments {
    fn has_its_own_server(&self) -> bool {
        self.url.is_some() || !self.command.is_empty()
    }

    fn load(&self, source: Source) -> Result<Reading, String> {
        let admin_listen = self.admin_listen;
        let change = move |config: &mut Config| {
            config.stdio.serves = true;
            // Nothing listens there, so it is nothing to be careful about.
            config.listen = ListenAddress::loopback(0);
            config.admin.listen = admin_listen.unwrap_or_else(|| Config::default().admin.listen);
        };
        let loaded = match self.own_server() {
            Some(server) => {
                let text = json!({ "servers": { ITS_NAME: server } }).to_string();
                // What was typed stands for itself.
                let text = text.replace("${", "$${");
                config::load_text(&text, "command line", &|_| None).map(|mut config| {
                    change(&mut config);
                    config.pins.owned_by(text.as_bytes());
                    Loaded::from(config)
                })
            }
            None => config::load_whole(&source, change),
        };
        let loaded = loaded.map_err(|error| error.to_string())?;
        if loaded.config.audit.sink == Some(AuditSinkKind::Stdout) {
            let text = "audit.sink: standard output belongs to the client of `weir stdio`; use `file` or `stderr`";
            return Err(text.to_owned());
        }
        Ok(Reading {
            source,
            overrides: Arc::new(change),
            loaded,
        })
    }

    fn own_server(&self) -> Option<Value> {
        if let Some(url) = &self.url {
            return Some(json!({ "type": "http", "url": url }));
        }
        let (command, arguments) = self.command.split_first()?;
        Some(json!({ "type": "stdio", "command": command, "args": arguments }))
    }

    fn endpoint(&self, config: &Config) -> Result<Endpoint, String> {
        let Some(name) = &self.server else {
            return Ok(Endpoint::All);
        };
        let known = config
            .servers
            .iter()
            .any(|(known, _)| known.as_str() == name);
        match ServerName::new(name) {
            Ok(name) if known => Ok(Endpoint::One(name)),
            _ => {
                let names = config.servers.iter().map(|(name, _)| name.as_str());
                let names: Vec<&str> = names.collect();
                Err(format!(
                    "--server: there is no server {name:?}; use one of {}",
                    names.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        stdio: StdioArguments,
    }

    fn typed(words: &[&str]) -> StdioArguments {
        Typed::parse_from([&["weir"], words].concat()).stdio
    }

    #[test]
    fn a_command_is_a_server() {
        let arguments = typed(&["--", "npx", "-y", "${HOME}", "--config"]);
        let config = arguments.load(Source::Embedded).unwrap().loaded.config;
        let (name, server) = config.servers.iter().next().unwrap();
        assert_eq!(name.as_str(), ITS_NAME);
        let config::ServerConfig::Stdio(server) = server else {
            panic!("a process")
        };
        assert_eq!(server.command, "npx");
        assert_eq!(server.args, ["-y", "${HOME}", "--config"]);
    }

    #[test]
    fn one_thing_is_served() {
        for words in [
            &["--url", "http://localhost/mcp", "--config", "x"][..],
            &["--config", "x", "--", "npx"],
            &["--url", "http://localhost/mcp", "--", "npx"],
        ] {
            assert!(
                Typed::try_parse_from([&["weir"], words].concat()).is_err(),
                "{words:?}"
            );
        }
        let arguments = typed(&["--url", "ftp://x"]);
        assert!(
            arguments
                .load(Source::Embedded)
                .err()
                .unwrap()
                .contains("url")
        );
    }
}
