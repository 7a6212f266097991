//! Streamable HTTP on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::answer::{Answer, Request};
use super::behaviour::State;
use crate::wire::{Connection, Received};

/// Connections waiting to be accepted.
const BACKLOG: u32 = 4096;

/// Wait after a failed `accept`, for example without free descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The head of a stream of events.
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Listens on loopback and serves until killed.
pub(super) fn serve(
    port: u16,
    threads: u16,
    streams: bool,
    state: &Arc<State>,
) -> Result<(), String> {
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
            scope.spawn(move || {
                runtime.block_on(async { accept(listen(port)?, streams, state).await })
            });
        }
        first
            .block_on(accept(listener, streams, state))
            .map_err(failed)
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Each thread has a listener of its own; the kernel spreads the connections.
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, streams: bool, state: &Arc<State>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                drop(tokio::spawn(async move {
                    converse(Connection::new(stream)?, streams, &state).await
                }));
            }
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
        }
    }
}

/// Answers one connection's requests until it closes.
async fn converse(mut connection: Connection, streams: bool, state: &State) -> io::Result<()> {
    let mut text = String::new();
    while let Some(received) = connection.receive().await? {
        text.clear();
        if streams && opens_stream(&received, &mut text) {
            connection.send(text.as_bytes()).await?;
            // Nothing happens on it any more, until the client closes it.
            while connection.receive().await?.is_some() {}
            return Ok(());
        }
        answer(&received, &mut text, state).await;
        connection.send(text.as_bytes()).await?;
    }
    Ok(())
}

/// Writes the beginning of a stream, if the request is for one.
fn opens_stream(received: &Received, text: &mut String) -> bool {
    let event = if received.start_line().starts_with("GET ") {
        ": open\n\n".to_owned()
    } else {
        match serde_json::from_slice::<Request<'_>>(&received.body) {
            Ok(request) if request.is_listen() => {
                format!("data: {}\n\n", request.acknowledgement())
            }
            _ => return false,
        }
    };
    text.push_str(STREAM);
    text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    true
}

/// Writes the whole HTTP answer to a request.
async fn answer(received: &Received, text: &mut String, state: &State) {
    if !received.start_line().starts_with("POST ") {
        let refusal = "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n";
        return text.push_str(refusal);
    }
    let answer = match serde_json::from_slice::<Request<'_>>(&received.body) {
        Ok(request) => request.answer(state).await,
        Err(_) => Some(Answer::unreadable()),
    };
    let Some(answer) = answer else {
        return text.push_str("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    };
    text.push_str("HTTP/1.1 ");
    text.push_str(answer.status);
    text.push_str("\r\nContent-Type: application/json\r\nContent-Length: ");
    text.push_str(&answer.body.len().to_string());
    text.push_str("\r\n\r\n");
    text.push_str(&answer.body);
}
