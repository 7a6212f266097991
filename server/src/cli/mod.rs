//! What an operator types.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | stopped as asked; for `call`: the tool answered |
//! | 1 | `call`: the answer was an error; `pins`: something changed, or was refused; `plugins`: one does not serve, or fails a test |
//! | 2 | the configuration or the command line is wrong, or an address cannot be listened on; `reload`: nothing changed |
//! | 3 | `call`, `reload`, `plugins`: the gateway cannot be reached or does not speak MCP |
//! | 70 | the supervisor gave up: too many restarts |

mod call;
mod check;
mod gateway;
mod keys;
mod pins;
mod plugins;
mod reload;
mod serve;
mod stdio;

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use weir_actors::plugin::{PluginEntry, Role, ServerReference};

use crate::config::{self, Config, ListenAddress, Source};
use crate::run::Reading;

/// The exit code of a wrong configuration.
pub const BAD_CONFIG: u8 = 2;
/// The exit code of a gateway that cannot be reached.
const UNREACHABLE: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  weir                                       serve ./weir.yaml, or a built-in demo if there is none
  weir serve --config weir.yaml              serve this configuration
  weir stdio --config weir.yaml              serve the program that starts it, on standard input and output
  weir stdio -- npx -y some-mcp-server       the same, with one server and no configuration
  weir check --config weir.yaml              say what is wrong with it, or what it means
  weir reload                                have a running gateway read its configuration again
  weir call                                  list the tools of a running gateway
  weir call demo add '{\"a\": 1, \"b\": 2}'      call a tool through it
  weir keys new alice --role admin           make an API key
  export WEIR_SEAL_KEY=$(weir keys seal)     make a key that replicas share, for `sealing`
  weir plugins list                          show the plugins of a running gateway
  weir plugins test ./my-plugin              see whether a plugin keeps to the contract
  weir pins diff                             show what servers changed since it was approved
  weir schema > weir.schema.json             the configuration's JSON Schema, for editors

Exit codes: 0 stopped, 1 the call was answered with an error, 2 wrong configuration, 3 the gateway cannot be \
reached, 70 the supervisor gave up.";

/// An MCP gateway: many MCP servers behind one endpoint, every request through supervised actors.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP clients until SIGTERM or SIGINT; this is what `weir` alone does.
    Serve(ServeArguments),
    /// Serve the program that starts it, on standard input and output; this is what desktop clients launch.
    Stdio(stdio::StdioArguments),
    /// Check a configuration and print what it means.
    Check(ConfigArguments),
    /// Have a running gateway read its configuration again, and say what came of it.
    Reload(reload::ReloadArguments),
    /// List and call tools through a running gateway.
    Call(call::CallArguments),
    /// Compare what servers offer with what was approved.
    Pins {
        #[command(subcommand)]
        command: pins::PinsCommand,
    },
    /// See the plugins of a running gateway, replace and test them.
    Plugins {
        #[command(subcommand)]
        command: plugins::PluginsCommand,
    },
    /// Make API keys and sealing keys.
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Serve the built-in demo MCP server on standard input and output.
    #[command(hide = true)]
    Demo,
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// The configuration [default: ./weir.yaml if there is one, else the built-in demo]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The address for MCP clients, instead of `listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<ListenAddress>,
    /// The address for operators, instead of `admin.listen`
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<ListenAddress>,
    /// The host of an MCP server that plays the telemetry role, instead of `plugins.telemetry`; needs the port
    /// [default: 127.0.0.1]
    #[arg(long, value_name = "HOST", requires = "telemetry_mcp_server_port")]
    telemetry_mcp_server_host: Option<String>,
    /// The port of that server, which answers at /mcp; 0 is the server that is built in
    #[arg(long, value_name = "PORT")]
    telemetry_mcp_server_port: Option<u16>,
}

/// Does what the command line asks and returns the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Stdio(arguments) => stdio::stdio(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Reload(arguments) => reload::reload(&arguments),
        Command::Call(arguments) => call::call(arguments),
        Command::Keys { command } => keys::keys(command),
        Command::Pins { command } => pins::pins(command),
        Command::Plugins { command } => plugins::plugins(command),
        Command::Schema => print(&config::schema()),
        Command::Demo => serve::demo(),
    }
}

// === impl ConfigArguments ===

impl ConfigArguments {
    fn source(&self) -> Source {
        config::find(self.config.as_deref())
    }

    /// Loads the configuration, or says on standard error what is wrong with it.
    fn load(&self, source: &Source) -> Result<Config, ExitCode> {
        config::load(source).map_err(|error| complain(&error.to_string()))
    }
}

// === impl ServeArguments ===

impl ServeArguments {
    /// Loads the configuration and puts the addresses of the command line into it, now and whenever it is read again.
    fn load(&self, source: Source) -> Result<Reading, ExitCode> {
        let (listen, admin_listen) = (self.listen, self.admin_listen);
        let telemetry = self.telemetry();
        let overrides = move |config: &mut Config| {
            config.listen = listen.unwrap_or(config.listen);
            config.admin.listen = admin_listen.unwrap_or(config.admin.listen);
            if let Some(telemetry) = &telemetry {
                let key = Role::Telemetry.key().to_owned();
                config.plugins.0.insert(key, telemetry.clone());
            }
        };
        let loaded = config::load_whole(&source, &overrides)
            .map_err(|error| complain(&error.to_string()))?;
        Ok(Reading {
            source,
            overrides: Arc::new(overrides),
            loaded,
        })
    }

    /// The plugin that the command line names.
    fn telemetry(&self) -> Option<PluginEntry> {
        let port = self.telemetry_mcp_server_port.filter(|port| *port > 0)?;
        let host = self.telemetry_mcp_server_host.as_deref();
        let host = host.filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => host.to_owned(),
        };
        Some(PluginEntry {
            provider: Some("mcp".to_owned()),
            server: Some(ServerReference::Text(format!("http://{host}:{port}/mcp"))),
            ..PluginEntry::default()
        })
    }
}

/// An address that this machine can connect to.
fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Writes to standard output. A reader that went away is not an error.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

/// Writes an error of the configuration or the command line to standard error.
fn complain(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::from(BAD_CONFIG)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn weir_alone_serves() {
        let arguments = Arguments::parse_from(["weir", "--listen", "127.0.0.1:0"]);
        assert!(arguments.command.is_none());
        assert_eq!(arguments.serve.listen, Some(ListenAddress::loopback(0)));
        assert!(Arguments::try_parse_from(["weir", "--listen", "8811"]).is_err());
    }
}
