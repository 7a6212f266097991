//! The demo: a small MCP server on standard input and output, in both eras. It is what the gateway serves when nothing
//! is configured, and a peer for tests.
//!
//! Read in this order: [`serve`] moves lines, `answer` knows the methods, `offer` has the things on offer.

mod answer;
mod offer;

use std::collections::HashMap;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message};
use weir_plugin_protocol::mcp::{code, error_response};

use answer::Reply;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// Lines that wait to be written; who wants to write more waits.
const OUTGOING_LINES: usize = 64;
/// Requests that may run at a time; more are refused.
const MAX_RUNNING: usize = 256;

/// Serves until the input ends. Requests run at the same time and are answered as they finish.
///
/// # Errors
/// The output cannot be written.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<()> {
    let (lines, mut outgoing) = mpsc::channel::<Bytes>(OUTGOING_LINES);
    let writer = tokio::spawn(async move {
        while let Some(line) = outgoing.recv().await {
            output.write_all(&line).await?;
            output.write_all(b"\n").await?;
            output.flush().await?;
        }
        std::io::Result::Ok(())
    });
    let mut input = BufReader::new(input);
    let mut running: HashMap<String, JoinHandle<()>> = HashMap::new();
    loop {
        let mut line = Vec::new();
        let length = (&mut input)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if length == 0 || !line.ends_with(b"\n") {
            break;
        }
        running.retain(|_, task| !task.is_finished());
        if receive(line.trim_ascii(), &lines, &mut running)
            .await
            .is_err()
        {
            break;
        }
    }
    for (_, task) in running {
        task.abort();
    }
    drop(lines);
    writer.await.unwrap_or(Ok(()))
}

/// Handles one line. Fails if nobody reads the answers any more.
async fn receive(
    line: &[u8],
    lines: &mpsc::Sender<Bytes>,
    running: &mut HashMap<String, JoinHandle<()>>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    if line.is_empty() {
        return Ok(());
    }
    let message = match Message::parse(Bytes::copy_from_slice(line), &Limits::default()) {
        Ok(message) => message,
        Err(error) => {
            return lines
                .send(error_response(
                    error.id.as_deref(),
                    error.code,
                    &error.message,
                    None,
                ))
                .await;
        }
    };
    if message.kind() == Kind::Notification && message.method() == "notifications/cancelled" {
        if let Some(task) = message
            .field(Field::RequestId)
            .and_then(|id| running.remove(id))
        {
            task.abort();
        }
        return Ok(());
    }
    let (Kind::Request, Some(id)) = (message.kind(), message.id()) else {
        return Ok(());
    };
    let id = id.to_owned();
    match answer::answer(&message) {
        Reply::Now(answer) => lines.send(answer).await,
        Reply::Later(_) if running.len() >= MAX_RUNNING => {
            lines
                .send(error_response(
                    Some(&id),
                    code::INTERNAL_ERROR,
                    "too many requests are running",
                    None,
                ))
                .await
        }
        Reply::Later(work) => {
            running.insert(id, tokio::spawn(work.run(lines.clone())));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
