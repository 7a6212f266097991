//! The server at the other end: one tool, `echo`, in both eras, at the least cost that still reads every request properly.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpSocket};

use crate::call::Era;
use crate::wire::{Connection, Received};

/// What the tool list says.
const TOOLS: &str = r#""tools":[{"name":"echo","description":"Answers with the message.","inputSchema":{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}}]"#;

/// Who we are.
const SERVER_INFO: &str = concat!(
    r#"{"name":"weir-loadtest","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// What modern results carry.
const MODERN_MEMBERS: &str = r#""resultType":"complete","#;

/// Connections waiting to be accepted.
const BACKLOG: u32 = 1024;

/// Wait after a failed `accept`, for example without free descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Request<'a> {
    /// As it was written; absent in notifications.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    /// As it was written: a JSON string keeps its quotes.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

/// Listens on loopback and serves until killed.
pub(crate) fn serve(port: u16, threads: u16) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot listen: {error}");
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)
    };
    let first = runtime()?;
    let listener = first.block_on(async { listen(port) }).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    println!("upstream ready http://127.0.0.1:{port}/mcp");
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let runtime = runtime()?;
            scope.spawn(move || runtime.block_on(async { accept(listen(port)?).await }));
        }
        first.block_on(accept(listener)).map_err(failed)
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Each thread has a listener of its own; the kernel spreads the connections.
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(async move {
                converse(Connection::new(stream)?).await
            })),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
        }
    }
}

/// Answers one connection's requests until it closes.
async fn converse(mut connection: Connection) -> io::Result<()> {
    let mut text = String::new();
    while let Some(request) = connection.receive().await? {
        text.clear();
        answer(&request, &mut text);
        connection.send(text.as_bytes()).await?;
    }
    Ok(())
}

/// Writes the whole HTTP answer to a request.
fn answer(received: &Received, text: &mut String) {
    if !received.start_line().starts_with("POST ") {
        text.push_str(
            "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n",
        );
        return;
    }
    let Ok(request) = serde_json::from_slice::<Request<'_>>(&received.body) else {
        return finish(
            text,
            "400 Bad Request",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not a request"}}"#,
        );
    };
    let Some(id) = request.id.map(RawValue::get) else {
        text.push_str("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    match result(&request) {
        Ok(result) => finish(
            text,
            "200 OK",
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        ),
        Err((status, code, message)) => {
            finish(
                text,
                status,
                &format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
                ),
            );
        }
    }
}

/// The result of a request, or the HTTP status, code and text of an error.
fn result(request: &Request<'_>) -> Result<String, (&'static str, i64, &'static str)> {
    let no_params = Params::default();
    let params = request.params.as_ref().unwrap_or(&no_params);
    let claim = params
        .meta
        .as_ref()
        .and_then(|meta| meta.version.as_deref());
    if claim.is_some_and(|version| version != Era::Modern.version()) {
        return Err(("400 Bad Request", -32022, "unsupported protocol version"));
    }
    let modern = if claim.is_some() { MODERN_MEMBERS } else { "" };
    match request.method.as_ref() {
        "tools/call" => match echoed(params) {
            Some(message) => Ok(format!(
                r#"{{{modern}"content":[{{"type":"text","text":{message}}}]}}"#
            )),
            None => Err((
                if claim.is_some() {
                    "400 Bad Request"
                } else {
                    "200 OK"
                },
                -32602,
                "the only tool is echo, its argument a message",
            )),
        },
        "tools/list" if claim.is_some() => Ok(format!(
            r#"{{{modern}"ttlMs":60000,"cacheScope":"public",{TOOLS}}}"#
        )),
        "tools/list" => Ok(format!("{{{TOOLS}}}")),
        "server/discover" if claim.is_some() => Ok(format!(
            r#"{{{modern}"supportedVersions":["{}"],"capabilities":{{"tools":{{}}}},"ttlMs":60000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}}}"#,
            Era::Modern.version()
        )),
        "initialize" if claim.is_none() => {
            let known = ["2025-03-26", "2025-06-18", "2025-11-25"];
            let version = params
                .protocol_version
                .as_deref()
                .filter(|version| known.contains(version))
                .unwrap_or(Era::Legacy.version());
            Ok(format!(
                r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{SERVER_INFO}}}"#
            ))
        }
        "ping" if claim.is_none() => Ok("{}".to_owned()),
        _ => Err((
            if claim.is_some() {
                "404 Not Found"
            } else {
                "200 OK"
            },
            -32601,
            "method not found",
        )),
    }
}

/// The message to send back, a JSON string as it was written.
fn echoed<'a>(params: &Params<'a>) -> Option<&'a str> {
    let message = params.arguments.as_ref()?.message?.get();
    (params.name.as_deref() == Some("echo") && message.starts_with('"')).then_some(message)
}

fn finish(text: &mut String, status: &str, body: &str) {
    text.push_str("HTTP/1.1 ");
    text.push_str(status);
    text.push_str("\r\nContent-Type: application/json\r\nContent-Length: ");
    text.push_str(&body.len().to_string());
    text.push_str("\r\n\r\n");
    text.push_str(body);
}
