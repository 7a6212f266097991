//! `weir plugins test`: whether a plugin keeps to the contract, without a gateway.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;
use weir_actors::builtin::outside::Disk;
use weir_actors::plugin::{PluginTransport, RemoteServer, Role};
use weir_actors::process::Program;
use weir_actors::sandbox::{Sandbox, SandboxConfig};
use weir_actors::transport::{McpTransport, SidecarTransport, StdioTransport, SubprocessTransport};
use weir_actors::upstream::config::Protocol;
use weir_actors::upstream::http::{AddressRule, HttpClientConfig, TlsTrust};
use weir_plugin_protocol::Secret;

use super::checks::{self, Grade};
use super::{REFUSED, plain};
use crate::cli::{complain, print};

#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// What carries it [default: `subprocess` for a program, `mcp` for a URL that ends in /mcp, else `sidecar`]
    #[arg(long, value_enum)]
    transport: Option<Carrier>,
    /// The role that it is to play, such as `auth_provider`: its calls are tried too
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// A variable of its environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A header sent to it; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// The plugin: a program, or the URL of one that runs
    target: String,
    /// The program's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Carrier {
    Subprocess,
    Stdio,
    Sidecar,
    Mcp,
}

pub(crate) fn test(arguments: &TestArguments) -> ExitCode {
    let role = match arguments
        .role
        .as_deref()
        .map(|word| (word, Role::named(word)))
    {
        None => None,
        Some((_, Some(role))) => Some(role),
        Some((word, None)) => {
            let names: Vec<_> = Role::ALL.iter().map(|role| role.key()).collect();
            let (word, names) = (plain(word), names.join(", "));
            return complain(&format!("there is no role {word:?}; use one of {names}"));
        }
    };
    let transport = match arguments.transport(role) {
        Ok(transport) => transport,
        Err(text) => return complain(&text),
    };
    let findings = actix::System::new().block_on(checks::run(transport.as_ref(), role));
    let failed = findings
        .iter()
        .filter(|finding| finding.grade == Grade::Failed)
        .count();
    if arguments.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "check": finding.check, "result": finding.grade.as_str().to_lowercase(), "detail": finding.detail }))
            .collect();
        let _ = print(&format!(
            "{:#}\n",
            json!({ "passed": failed == 0, "findings": findings })
        ));
    } else {
        let mut text = String::new();
        for finding in &findings {
            let detail = plain(&finding.detail);
            let line = format!(
                "{:<8} {:<20} {detail}",
                finding.grade.as_str(),
                finding.check
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let _ = match failed {
            0 => writeln!(text, "it keeps to the contract"),
            _ => writeln!(text, "{failed} of {} checks failed", findings.len()),
        };
        let _ = print(&text);
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(REFUSED),
    }
}

// === impl TestArguments ===

impl TestArguments {
    fn transport(&self, role: Option<Role>) -> Result<Arc<dyn PluginTransport>, String> {
        let target = self.target.as_str();
        let is_url = target.starts_with("http://") || target.starts_with("https://");
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let carrier = self
            .transport
            .unwrap_or(match (is_url, path.ends_with("/mcp")) {
                (false, _) => Carrier::Subprocess,
                (true, true) => Carrier::Mcp,
                (true, false) => Carrier::Sidecar,
            });
        if is_url != matches!(carrier, Carrier::Sidecar | Carrier::Mcp) {
            return Err("a program is carried by `subprocess` or `stdio`, a URL by `sidecar` or `mcp`; choose another --transport".to_owned());
        }
        let http = HttpClientConfig {
            tls: TlsTrust::native(&[]).ok(),
            ..HttpClientConfig::default()
        };
        let headers = pairs(&self.header, ':', "--header")?;
        Ok(match carrier {
            Carrier::Subprocess => Arc::new(SubprocessTransport::new(self.program()?, http)),
            Carrier::Stdio => Arc::new(StdioTransport::new(self.program()?)),
            Carrier::Sidecar => {
                let transport = SidecarTransport::new(target, &headers, http);
                let transport = transport.map_err(|error| format!("{}: {error}", plain(target)))?;
                // Whoever types a URL means it.
                Arc::new(transport.under(AddressRule::Any))
            }
            Carrier::Mcp => {
                let server = RemoteServer {
                    url: target.to_owned(),
                    headers,
                    tls: None,
                    protocol: Protocol::default(),
                    addresses: AddressRule::Any,
                };
                let transport = McpTransport::new(server, role, http, Arc::new(Disk::default()));
                Arc::new(transport.map_err(|error| format!("{}: {error}", plain(target)))?)
            }
        })
    }

    fn program(&self) -> Result<Program, String> {
        // As the gateway would run it.
        let sandbox = Sandbox::plugin(SandboxConfig::default());
        let mut program = Program::new("test", self.target.as_str(), sandbox);
        program.args = self.arguments.iter().map(Into::into).collect();
        let variables = pairs(&self.env, '=', "--env")?;
        let variables = variables.into_iter();
        program.env = variables
            .map(|(name, value)| (name.into(), value.expose().into()))
            .collect();
        Ok(program)
    }
}

fn pairs(
    texts: &[String],
    separator: char,
    option: &str,
) -> Result<BTreeMap<String, Secret>, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once(separator)?;
        Some((name.trim().to_owned(), Secret::new(value.trim_start())))
    };
    let pairs = texts
        .iter()
        .map(|text| pair(text).ok_or_else(|| format!("{option} needs NAME{separator}VALUE")));
    pairs.collect()
}
