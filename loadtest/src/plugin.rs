//! A plugin that costs as little as possible: it prints `PORT=<n>`, and answers `GET /health` and `POST /call` on that
//! port of the loopback as each of the roles would. It can be told to be slow and to crash.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpListener;

use crate::wire::{Connection, Received};

/// The exit code of a crash on purpose.
const CRASHED: i32 = 3;

/// The command line.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Milliseconds before a call is answered.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    delay_ms: u64,
    /// The process ends after so many milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    crash_after_ms: Option<u64>,
    /// It crashes only while this file exists.
    #[arg(long, requires = "crash_after_ms")]
    only_while: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
}

/// Serves until killed.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    crash_in_time(arguments);
    let failed = |error: io::Error| format!("cannot listen: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let delay = Duration::from_millis(arguments.delay_ms);
    runtime.block_on(listen(delay)).map_err(failed)
}

async fn listen(delay: Duration) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("PORT={}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        drop(tokio::spawn(async move {
            converse(Connection::new(stream)?, delay).await
        }));
    }
}

fn crash_in_time(arguments: &Arguments) {
    let Some(after) = arguments.crash_after_ms.map(Duration::from_millis) else {
        return;
    };
    let file = arguments.only_while.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(after);
            if file.as_ref().is_none_or(|file| file.exists()) {
                std::process::exit(CRASHED);
            }
        }
    });
}

/// Answers one connection's requests until it closes.
async fn converse(mut connection: Connection, delay: Duration) -> io::Result<()> {
    let mut text = String::new();
    while let Some(received) = connection.receive().await? {
        let (status, body) = answer(&received);
        if !delay.is_zero() && received.start_line().starts_with("POST ") {
            tokio::time::sleep(delay).await;
        }
        text.clear();
        text.push_str("HTTP/1.1 ");
        text.push_str(status);
        text.push_str("\r\nContent-Type: application/json\r\nContent-Length: ");
        text.push_str(&body.len().to_string());
        text.push_str("\r\n\r\n");
        text.push_str(body);
        connection.send(text.as_bytes()).await?;
    }
    Ok(())
}

fn answer(received: &Received) -> (&'static str, &'static str) {
    let line = received.start_line();
    if line.starts_with("GET /health ") {
        return ("200 OK", r#"{"status":"ok"}"#);
    }
    if !line.starts_with("POST /call ") {
        return ("404 Not Found", r#"{"error":"nothing is here"}"#);
    }
    let Ok(request) = serde_json::from_slice::<Request<'_>>(&received.body) else {
        return ("400 Bad Request", r#"{"error":"not a call"}"#);
    };
    let body = match &*request.method {
        "validate-credential" | "validate_credential" => {
            r#"{"result":{"user_id":"alice","tenant_id":"acme","roles":["caller"],"groups":[]}}"#
        }
        "check-access" | "check_access" => r#"{"result":{"allowed":true,"reason":""}}"#,
        _ => r#"{"result":"ok"}"#,
    };
    ("200 OK", body)
}
