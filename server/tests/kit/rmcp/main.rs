//! The official Rust client, driven by a plan on standard input; prints what it got as one JSON object.
//!
//! ```text
//! {"transport": "http" | "sse", "url": URL}  or  {"transport": "stdio", "command": [PROGRAM, ARGUMENT, ...]}
//! and "mode": "legacy" | "2026-07-28" | "auto"
//! ```
//! Behind the gateway are the servers `demo` (`weir demo`), `up` (conformance_upstream.py) and `many` (echo_server.py).
//! Everything is asked in one session; the last thing is its end.

mod ears;
mod sse;

use std::error::Error;
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, JsonObject,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ServerNotification,
    SubscriptionFilter,
};
use rmcp::service::{PeerRequestOptions, QuitReason, RunningService, ServiceError};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientLifecycleMode, ClientServiceExt, Peer, RoleClient};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use ears::Ears;
use sse::SseTransport;

type Failure = Box<dyn Error + Send + Sync>;
type Client = RunningService<RoleClient, Ears>;

/// Longest wait for something to be heard.
const HEARD_LIMIT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Plan {
    transport: Transport,
    mode: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Http,
    Sse,
    Stdio,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    let plan: Plan = serde_json::from_str(&text)?;
    let ears = Ears::default();
    let client = connect(&plan, ears.clone()).await?;
    let mut report = ask(&client, &ears).await?;
    let began = Instant::now();
    report["end"] = match client.cancel().await? {
        QuitReason::Cancelled => json!("cancelled"),
        other => json!(format!("{other:?}")),
    };
    report["end_ms"] = json!(u64::try_from(began.elapsed().as_millis())?);
    println!("{report}");
    Ok(())
}

async fn connect(plan: &Plan, ears: Ears) -> Result<Client, Failure> {
    let newest = vec![ProtocolVersion::LATEST];
    let lifecycle = match plan.mode.as_str() {
        "legacy" => ClientLifecycleMode::Initialize,
        "auto" => ClientLifecycleMode::Auto {
            preferred_versions: newest,
            legacy_version: None,
        },
        _ => ClientLifecycleMode::Discover {
            preferred_versions: newest,
        },
    };
    let client = match plan.transport {
        Transport::Http => {
            let transport = StreamableHttpClientTransport::from_uri(plan.url.as_str());
            ears.serve_with_lifecycle(transport, lifecycle).await?
        }
        Transport::Sse => {
            let transport = SseTransport::open(&plan.url).await?;
            ears.serve_with_lifecycle(transport, lifecycle).await?
        }
        Transport::Stdio => {
            let (program, arguments) = plan.command.split_first().ok_or("no command")?;
            let mut command = tokio::process::Command::new(program);
            command.args(arguments);
            let transport = TokioChildProcess::new(command)?;
            ears.serve_with_lifecycle(transport, lifecycle).await?
        }
    };
    Ok(client)
}

async fn ask(client: &Client, ears: &Ears) -> Result<Value, Failure> {
    let peer = client.peer();
    let info = serde_json::to_value(client.peer_info().as_deref())?;
    let (tools, pages) = tools(peer).await?;
    let counted = progress(peer, ears).await?;
    let cancelled_after = cancel(peer, ears).await?;
    let echoed = client
        .call_tool(call("demo__echo", json!({ "text": "hello" })))
        .await?;
    let failed = client
        .call_tool(call("up__test_error_handling", json!({})))
        .await?;
    let unknown = peer.call_tool_once(call("no_such_tool", json!({}))).await;
    let unread = peer
        .read_resource_once(ReadResourceRequestParams::new("nowhere://to-be-found"))
        .await;
    let changed = list_changed(client, ears, tools.len()).await?;
    Ok(json!({
        "info": info,
        "tools": tools,
        "pages": pages,
        "counted": counted,
        "cancelled_after": cancelled_after,
        "echoed": first_text(&echoed),
        "failed": failed.is_error,
        "unknown": code(unknown.err()),
        "unread": code(unread.err()),
        "changed": changed,
    }))
}

/// The names of all tools, and on how many pages they came.
async fn tools(peer: &Peer<RoleClient>) -> Result<(Vec<String>, usize), Failure> {
    let (mut names, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let asked = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(asked)).await?;
        pages += 1;
        names.extend(page.tools.into_iter().map(|tool| tool.name.into_owned()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok((names, pages));
        }
    }
}

/// Has the demo count to three; returns the progress that was heard by then.
async fn progress(peer: &Peer<RoleClient>, ears: &Ears) -> Result<Value, Failure> {
    let arguments = json!({ "to": 3, "delay_ms": 10 });
    let request = CallToolRequest::new(call("demo__slow_count", arguments));
    let request = ClientRequest::CallToolRequest(request);
    let handle = peer
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await?;
    let token = handle.progress_token.clone();
    let _answer = handle.await_response().await?;
    // rmcp tells its handler in a task of its own.
    ears.until(HEARD_LIMIT, |heard| heard.progress_of(&token).len() >= 3)
        .await;
    Ok(json!(ears.look(|heard| heard.progress_of(&token))))
}

/// Cancels a count that would take long; returns how far it had come.
async fn cancel(peer: &Peer<RoleClient>, ears: &Ears) -> Result<Value, Failure> {
    let arguments = json!({ "to": 1000, "delay_ms": 50 });
    let request = CallToolRequest::new(call("demo__slow_count", arguments));
    let request = ClientRequest::CallToolRequest(request);
    let handle = peer
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await?;
    let token = handle.progress_token.clone();
    ears.until(HEARD_LIMIT, |heard| !heard.progress_of(&token).is_empty())
        .await;
    handle.cancel(Some("enough".to_owned())).await?;
    Ok(json!(ears.look(|heard| heard.progress_of(&token).len())))
}

/// Has a server change its tools; returns how the client heard of it, and how many more tools there are then.
async fn list_changed(client: &Client, ears: &Ears, before: usize) -> Result<Value, Failure> {
    let peer = client.peer();
    let trigger = || peer.call_tool_once(call("up__test_trigger_tool_change", json!({})));
    let heard = if ears.modern(client) {
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let mut subscription = peer.listen(filter).await?;
        trigger().await?;
        let next = timeout(HEARD_LIMIT, subscription.next()).await;
        let heard = match next {
            Ok(Ok(Some(ServerNotification::ToolListChangedNotification(_)))) => "subscription",
            _ => "nothing",
        };
        subscription.cancel().await?;
        heard
    } else {
        trigger().await?;
        match ears
            .until(HEARD_LIMIT, |heard| heard.tools_changed > 0)
            .await
        {
            true => "notification",
            false => "nothing",
        }
    };
    let deadline = Instant::now() + HEARD_LIMIT;
    let mut more = 0;
    while more == 0 && Instant::now() < deadline {
        peer.clear_response_cache().await;
        more = tools(peer).await?.0.len() - before;
        if more == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(json!({ "heard": heard, "more": more }))
}

fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let arguments = match arguments {
        Value::Object(arguments) => arguments,
        _ => JsonObject::new(),
    };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

fn first_text(result: &CallToolResult) -> Value {
    let content = serde_json::to_value(&result.content).unwrap_or_default();
    content[0]["text"].clone()
}

/// The JSON-RPC code of an error; null for anything else that went wrong, or nothing did.
fn code(error: Option<ServiceError>) -> Value {
    match error {
        Some(ServiceError::McpError(error)) => json!(error.code.0),
        _ => Value::Null,
    }
}
