//! `weir call`: a small MCP client for operators.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use weir_plugin_protocol::Secret;

use super::{ConfigArguments, UNREACHABLE, complain, loopback, print};
use crate::call::{CallError, Client, Tool};

/// The exit code of an answer that is an error.
const ANSWERED_ERROR: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct CallArguments {
    /// The server; without it (or with `tools`) the tools of all servers are listed
    server: Option<String>,
    /// The tool, by the name it has at its server; without it the server's tools are listed
    tool: Option<String>,
    /// The arguments, a JSON object; `-` reads it from standard input
    arguments: Option<String>,
    /// Where the gateway is [default: the `listen` address of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The configuration that names the address
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// A token or API key to present
    #[arg(long, value_name = "TOKEN", env = "WEIR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Print answers as JSON, as they came
    #[arg(long)]
    json: bool,
}

pub(super) fn call(arguments: CallArguments) -> ExitCode {
    let base = match base(&arguments) {
        Ok(base) => base,
        Err(code) => return code,
    };
    let server = arguments
        .server
        .as_deref()
        .filter(|server| arguments.tool.is_some() || *server != "tools");
    let url = match server {
        Some(server) => format!("{base}/servers/{server}/mcp"),
        None => format!("{base}/mcp"),
    };
    let tool_arguments = match tool_arguments(arguments.arguments.as_deref()) {
        Ok(tool_arguments) => tool_arguments,
        Err(text) => return complain(&text),
    };
    let token = arguments.token.clone().map(Secret::new);
    let client = match Client::new(&url, token, Duration::from_secs(arguments.timeout)) {
        Ok(client) => client,
        Err(error) => return complain(&error.to_string()),
    };
    let outcome = actix::System::new().block_on(async {
        match arguments.tool.as_deref() {
            None => client
                .tools()
                .await
                .map(|tools| (list(&tools, arguments.json), false)),
            Some(name) => {
                let progress = |text: &str| {
                    let _ = writeln!(std::io::stderr().lock(), "{text}");
                };
                client
                    .call(name, &tool_arguments, progress)
                    .await
                    .map(|result| show(&result, arguments.json))
            }
        }
    });
    match outcome {
        Ok((text, false)) => print(&text),
        Ok((text, true)) => {
            let _ = print(&text);
            ExitCode::from(ANSWERED_ERROR)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "{error}");
            ExitCode::from(if matches!(error, CallError::Answered { .. }) {
                ANSWERED_ERROR
            } else {
                UNREACHABLE
            })
        }
    }
}

fn base(arguments: &CallArguments) -> Result<String, ExitCode> {
    if let Some(url) = &arguments.url {
        let url = url.trim_end_matches('/');
        return Ok(url.strip_suffix("/mcp").unwrap_or(url).to_owned());
    }
    let config = ConfigArguments {
        config: arguments.config.clone(),
    };
    let source = config.source();
    let address = loopback(config.load(&source)?.listen.0);
    Ok(format!("http://{address}"))
}

fn tool_arguments(text: Option<&str>) -> Result<String, String> {
    let mut read = String::new();
    let text = match text {
        None => "{}",
        Some("-") => {
            std::io::stdin()
                .read_to_string(&mut read)
                .map_err(|error| format!("the arguments cannot be read: {error}"))?;
            read.as_str()
        }
        Some(text) => text,
    };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(text.to_owned()),
        Ok(_) => Err(
            "the arguments are not a JSON object; write them such as '{\"text\": \"hello\"}'"
                .to_owned(),
        ),
        Err(error) => Err(format!(
            "the arguments are not JSON: {error}; write an object such as '{{\"text\": \"hello\"}}'"
        )),
    }
}

fn list(tools: &[Tool], json: bool) -> String {
    if json {
        let raw: Vec<&Value> = tools.iter().map(|tool| &tool.raw).collect();
        return pretty(&raw);
    }
    let width = tools
        .iter()
        .map(|tool| tool.name.chars().count())
        .max()
        .unwrap_or_default()
        .min(40);
    let mut text = String::new();
    for tool in tools {
        let summary = tool
            .raw
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        text.push_str(harmless(&format!("{:<width$}  {summary}", tool.name)).trim_end());
        text.push('\n');
    }
    if tools.is_empty() {
        text.push_str("there are no tools\n");
    }
    text
}

/// Returns a result as text, and whether it is an error.
fn show(result: &Value, json: bool) -> (String, bool) {
    let is_error = result
        .get("isError")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    let content = result.get("content").and_then(Value::as_array);
    let texts: Option<Vec<&str>> = content.and_then(|blocks| {
        blocks
            .iter()
            .map(|block| block.get("text").and_then(Value::as_str))
            .collect()
    });
    match texts {
        Some(texts) if !json && !texts.is_empty() => {
            let text = texts.join("\n");
            let text = if std::io::stdout().is_terminal() {
                harmless(&text)
            } else {
                text
            };
            (text + "\n", is_error)
        }
        _ => (pretty(result), is_error),
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Takes the control characters out of a server's text, so that it cannot steer the terminal.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() && !matches!(character, '\n' | '\t') {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}
