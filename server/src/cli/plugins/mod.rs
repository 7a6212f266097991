//! `weir plugins`: what a running gateway's plugins are doing, replacing them, and trying out one that is not loaded.

mod advice;
mod checks;
mod table;
mod test;

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::gateway::{Asked, PlaceArguments, plain};
use super::{UNREACHABLE, complain, print};

/// The exit code of a plugin that does not serve, or does not do what it should.
const REFUSED: u8 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum PluginsCommand {
    /// List the plugins, a line each.
    List(ListArguments),
    /// Show everything about the plugins, and what to do about those that do not serve; the exit code is 1 if one does not.
    Status(StatusArguments),
    /// Have a new instance of a plugin take over when it is healthy; no call fails.
    Reload(TendArguments),
    /// Stop a plugin and start it anew, also out of quarantine.
    Restart(TendArguments),
    /// Start a plugin without a gateway, see whether it keeps to the contract, and end it; the exit code is 1 if it does not.
    Test(test::TestArguments),
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only plugins whose manifest says this category, such as `logging`
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// Print what the gateway says as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only this plugin
    name: Option<String>,
    /// Print what the gateway says as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TendArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// The plugin
    name: String,
    /// Print what the gateway says as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn plugins(command: PluginsCommand) -> ExitCode {
    let done = match command {
        PluginsCommand::List(arguments) => list(&arguments),
        PluginsCommand::Status(arguments) => status(&arguments),
        PluginsCommand::Reload(arguments) => tend(&arguments, "reload"),
        PluginsCommand::Restart(arguments) => tend(&arguments, "restart"),
        PluginsCommand::Test(arguments) => Ok(test::test(&arguments)),
    };
    done.unwrap_or_else(|code| code)
}

fn list(arguments: &ListArguments) -> Result<ExitCode, ExitCode> {
    let page = page(&arguments.place, "/plugins")?;
    let mut plugins = page.as_array().cloned().unwrap_or_default();
    if let Some(category) = &arguments.category {
        plugins.retain(|plugin| plugin["category"] == **category);
    }
    if arguments.json {
        return Ok(print(&format!("{:#}\n", Value::Array(plugins))));
    }
    if plugins.is_empty() {
        return Ok(print("no plugins\n"));
    }
    Ok(print(&table::lines(&plugins)))
}

fn status(arguments: &StatusArguments) -> Result<ExitCode, ExitCode> {
    let page = match &arguments.name {
        Some(name) => page(&arguments.place, &format!("/plugins/{}", escaped(name)))?,
        None => page(&arguments.place, "/plugins")?,
    };
    let plugins: Vec<&Value> = match &page {
        Value::Array(plugins) => plugins.iter().collect(),
        plugin => vec![plugin],
    };
    if arguments.json {
        let _ = print(&format!("{page:#}\n"));
    } else if plugins.is_empty() {
        return Ok(print("no plugins\n"));
    } else {
        let blocks: Vec<String> = plugins.iter().map(|plugin| table::block(plugin)).collect();
        let _ = print(&blocks.join("\n"));
    }
    let all_serve = plugins.iter().all(|plugin| plugin["state"] == "active");
    Ok(match all_serve {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(REFUSED),
    })
}

fn tend(arguments: &TendArguments, word: &str) -> Result<ExitCode, ExitCode> {
    let path = format!("/plugins/{}/{word}", escaped(&arguments.name));
    let admin = arguments.place.admin()?;
    let (status, answer) = match admin.ask(&path, Some(&json!({}))) {
        Asked::Answered(status, answer) => (status, answer),
        Asked::Unreachable(reason) => return Err(unreachable(&reason)),
    };
    if arguments.json && status != 404 {
        let _ = print(&format!("{answer:#}\n"));
    }
    let answer = &answer;
    let plugin = &answer["plugin"];
    match status {
        200 if arguments.json => Ok(ExitCode::SUCCESS),
        200 => {
            let done = if word == "reload" {
                "reloaded"
            } else {
                "restarted"
            };
            let name = plain(&arguments.name);
            Ok(print(&format!(
                "{name} {done}: instance {} serves, version {}\n",
                plugin["generation"],
                plain(plugin["version"].as_str().unwrap_or("unknown")),
            )))
        }
        404 => Err(missing(answer)),
        _ => {
            let mut text = answer["error"].as_str().map_or_else(
                || format!("the gateway answered with HTTP status {status}"),
                plain,
            );
            if word == "reload" && plugin["state"] == "active" {
                text.push_str("\n  the instance before goes on");
            }
            if let Some(advice) = advice::of(plugin) {
                let _ = write!(text, "\n  {advice}");
            }
            let _ = complain(&text);
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// A page of the gateway, or says on standard error why there is none.
fn page(place: &PlaceArguments, path: &str) -> Result<Value, ExitCode> {
    match place.admin()?.ask(path, None) {
        Asked::Answered(200, page) => Ok(page),
        Asked::Answered(404, answer) => Err(missing(&answer)),
        Asked::Answered(status, _) => {
            let text = format!("the admin listener answered {status}; is it a gateway's?");
            let _ = complain(&text);
            Err(ExitCode::from(UNREACHABLE))
        }
        Asked::Unreachable(reason) => Err(unreachable(&reason)),
    }
}

fn unreachable(reason: &str) -> ExitCode {
    let _ = complain(&format!(
        "no gateway answers: {}\n  start one with `weir serve`, or name its admin listener with --admin URL",
        plain(reason)
    ));
    ExitCode::from(UNREACHABLE)
}

/// Says that there is no such plugin, and which there are.
fn missing(answer: &Value) -> ExitCode {
    let mut text = plain(answer["error"].as_str().unwrap_or("there is no such page"));
    let names = answer["plugins"].as_array().into_iter().flatten();
    let names: Vec<String> = names.filter_map(Value::as_str).map(plain).collect();
    text.push_str(&match names.is_empty() {
        true => "\n  no plugins are loaded".to_owned(),
        false => format!("\n  there are: {}", names.join(", ")),
    });
    let _ = complain(&text);
    ExitCode::from(REFUSED)
}

/// A name as a segment of a path.
fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let bytes = name.bytes().map(|byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}
