//! `weir reload`: has a running gateway read its configuration again, and says what came of it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, Method};
use serde_json::Value;
use weir_actors::upstream::http::{AddressRule, HttpClient, HttpClientConfig, HttpTarget};

use super::{BAD_CONFIG, ConfigArguments, UNREACHABLE, complain, loopback, print};

/// Longest time until the gateway has answered: it waits for new servers.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Where the gateway's admin listener is [default: the `admin.listen` address of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The configuration that names the address
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
}

pub(super) fn reload(arguments: &ReloadArguments) -> ExitCode {
    let base = match &arguments.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => match address(arguments.config.clone()) {
            Ok(base) => base,
            Err(code) => return code,
        },
    };
    let target = match HttpTarget::parse(&format!("{base}/reload")) {
        // Whoever types a URL means it.
        Ok(target) => target.under(AddressRule::Any),
        Err(error) => return complain(&format!("--url: {error}")),
    };
    let asked = actix::System::new()
        .block_on(async { tokio::time::timeout(PATIENCE, post(&target)).await });
    match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok((200, report)) => print(&done(&report)),
        Ok((422, report)) => complain(&refused(&report)),
        Ok((status, report)) => {
            let text = format!("the gateway answered with HTTP status {status}: {report}");
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(UNREACHABLE)
        }
        Err(error) => {
            let text = format!("{base} cannot be reached: {error}");
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(UNREACHABLE)
        }
    }
}

fn address(config: Option<PathBuf>) -> Result<String, ExitCode> {
    let config = ConfigArguments { config };
    let source = config.source();
    // The file may be the very one that is wrong.
    let Ok(loaded) = crate::config::load(&source) else {
        complain(&format!(
            "{source} does not say where the gateway is, because it is not good; use --url, or see `weir check`"
        ));
        return Err(ExitCode::from(BAD_CONFIG));
    };
    Ok(format!("http://{}", loopback(loaded.admin.listen.0)))
}

async fn post(target: &HttpTarget) -> Result<(u16, Value), String> {
    let client = HttpClient::new(HttpClientConfig::default());
    let sending = client.send(target, Method::POST, HeaderMap::new(), bytes::Bytes::new());
    let answer = sending.await.map_err(|error| error.to_string())?;
    let status = answer.status.as_u16();
    let body = answer.bytes(MAX_ANSWER_BYTES).await;
    let body = body.map_err(|error| error.to_string())?;
    let report = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok((status, report))
}

/// What is in force now, a line each.
fn done(report: &Value) -> String {
    let mut text = format!("{}\n", report["result"].as_str().unwrap_or_default());
    let texts = |pointer: &str| -> Vec<String> {
        let values = report.pointer(pointer).and_then(Value::as_array);
        let values = values.into_iter().flatten();
        let name = |value: &Value| value.as_str().or(value["name"].as_str()).map(str::to_owned);
        values.filter_map(name).collect()
    };
    for (label, pointer) in [
        ("changed", "/changed"),
        ("added", "/servers/added"),
        ("replaced", "/servers/replaced"),
        ("removed", "/servers/removed"),
        ("added", "/plugins/added"),
        ("replaced", "/plugins/replaced"),
        ("removed", "/plugins/removed"),
        ("needs restart", "/needs_restart"),
        ("warning", "/warnings"),
    ] {
        for value in texts(pointer) {
            let _ = writeln!(text, "  {label:<14} {value}");
        }
    }
    text
}

/// What is wrong, as `weir check` says it.
fn refused(report: &Value) -> String {
    let problems = report["problems"].as_array().into_iter().flatten();
    let lines = problems.map(|problem| {
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        let mut line = format!(
            "{}:{}:{}: ",
            text("file"),
            problem["line"],
            problem["column"]
        );
        for part in [text("key"), text("problem")] {
            if !part.is_empty() && !line.ends_with(": ") {
                line.push_str(": ");
            }
            line.push_str(part);
        }
        if !text("remedy").is_empty() {
            let _ = write!(line, "; {}", text("remedy"));
        }
        line
    });
    let lines: Vec<String> = lines.collect();
    lines.join("\n")
}
