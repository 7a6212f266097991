//! Plugins that the gateway starts, and that answer on their standard output: one line of JSON for each line of JSON.
//!
//! ```text
//! → {"id":7,"method":"log-event","params":{…},"deadline_ms":5000}
//! ← {"id":7,"result":"ok"}
//! ```
//! A plugin that repeats the `id` may answer in any order; one that does not answers in the order it was asked. A line that
//! is no object belongs to no call and goes to the log, as its standard error does. `health` is a method like others: a
//! plugin that does not know it can serve.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::child::{GRACE, PluginChild};
use super::dialect;
use super::drain::{Chatter, drain};
use super::subprocess::files;
use super::waiting::{Frame, MAX_QUEUED, Waiting};
use crate::plugin::call::MAX_ANSWER_BYTES;
use crate::plugin::versions::UNKNOWN;
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport, Said,
};
use crate::process::{Program, Started};
use crate::upstream::stdio::lines::{Line, Lines};

/// How long a question for the plugin's health waits for an answer, if nobody is less patient.
const HEALTH_PATIENCE: Duration = Duration::from_secs(10);

/// How long a process that closed its output has to end, so that the error can say how.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

/// How much is written at once when calls wait together, in bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Starts a program for every connection.
///
/// Closing closes its standard input and ends the whole process group: SIGTERM, 5 s, SIGKILL.
#[derive(Clone)]
pub struct StdioTransport {
    program: Program,
    grace: Duration,
}

struct StdioClient {
    waiting: Arc<Waiting>,
    child: Arc<PluginChild>,
}

// === impl StdioTransport ===

impl StdioTransport {
    /// A transport that runs `program`.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            grace: GRACE,
        }
    }

    /// Sets how long it has to obey SIGTERM. Default 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    async fn start(&self) -> Result<StdioClient, ConnectError> {
        let started = self.program.start().await;
        let Started {
            stdin,
            stdout,
            stderr,
            group,
        } = started.map_err(|error| ConnectError(error.to_string()))?;
        let name = self.program.name.clone();
        let child = Arc::new(PluginChild::watch(name.clone(), group, None, self.grace));
        let (frames, queue) = mpsc::channel(MAX_QUEUED);
        let waiting = Arc::new(Waiting::new(frames));
        tokio::spawn(drain(stderr, name.clone(), "stderr"));
        tokio::spawn(write(stdin, queue, Arc::downgrade(&waiting)));
        tokio::spawn(read(stdout, name, waiting.clone(), Arc::downgrade(&child)));
        Ok(StdioClient { waiting, child })
    }
}

impl PluginTransport for StdioTransport {
    fn kind(&self) -> &'static str {
        "stdio"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            let client: Arc<dyn PluginClient> = Arc::new(self.start().await?);
            Ok(client)
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.program)
    }
}

// === impl StdioClient ===

impl StdioClient {
    async fn ask(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        let left = u64::try_from(call.remaining().as_millis()).unwrap_or(u64::MAX);
        let line = dialect::line(call.method, call.params, left)?;
        let answer = self.waiting.ask(line)?;
        let answer = tokio::select! {
            biased;
            answer = timeout_at(call.deadline, answer) => match answer {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err(CallError::Lost("it is gone".to_owned())),
                Err(_) => return Err(CallError::Timeout),
            },
            // What it started may hold its output open.
            how = self.child.ended() => return Err(CallError::Lost(how.to_string())),
        };
        dialect::check(call.method, &answer)?;
        Ok(answer)
    }
}

impl PluginClient for StdioClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(self.ask(call))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.waiting.close();
        Box::pin(async move {
            self.child.close().await;
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let nothing = json!({});
            let question = Call::within(HEALTH_PATIENCE, "health", &nothing);
            match self.ask(question).await {
                Ok(answer) => {
                    self.waiting.hear_of_health(&answer);
                    Ok(())
                }
                Err(CallError::UnknownMethod(_)) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            tokio::select! {
                biased;
                how = self.waiting.ended() => how,
                how = self.child.ended() => how.to_string(),
            }
        })
    }

    fn version(&self) -> String {
        let said = self.waiting.said();
        said.version.unwrap_or_else(|| UNKNOWN.to_owned())
    }

    fn said(&self) -> Said {
        self.waiting.said()
    }
}

impl Drop for StdioClient {
    fn drop(&mut self) {
        self.waiting.close();
    }
}

/// Writes what is asked until nobody asks any more, and closes the pipe.
async fn write(
    stdin: ChildStdin,
    mut queue: mpsc::Receiver<Frame>,
    waiting: std::sync::Weak<Waiting>,
) {
    let mut pipe = BufWriter::with_capacity(WRITE_BYTES, stdin);
    loop {
        let frame = match queue.try_recv() {
            Ok(frame) => frame,
            Err(_) => {
                if pipe.flush().await.is_err() {
                    return;
                }
                match queue.recv().await {
                    Some(frame) => frame,
                    None => return,
                }
            }
        };
        let is_wanted = waiting
            .upgrade()
            .is_some_and(|waiting| waiting.begin_writing(frame.id));
        if is_wanted {
            let id = format!("{{\"id\":{},", frame.id);
            // The line begins with a brace of its own.
            let rest = frame.line.get(1..).unwrap_or_default();
            let written = async {
                pipe.write_all(id.as_bytes()).await?;
                pipe.write_all(rest).await?;
                pipe.write_all(b"\n").await
            };
            if written.await.is_err() {
                return;
            }
        }
    }
}

/// Brings each line to whom it is for, until the process closes its standard output.
async fn read(
    stdout: ChildStdout,
    plugin: Arc<str>,
    waiting: Arc<Waiting>,
    child: std::sync::Weak<PluginChild>,
) {
    let mut lines = Lines::new(stdout, MAX_ANSWER_BYTES);
    let mut chatter = Chatter::new(plugin, "stdout");
    while let Ok(Some(line)) = lines.next().await {
        match line {
            Line::Whole(line) if line.trim_ascii_start().starts_with(b"{") => waiting.take(line),
            Line::Whole(line) => chatter.hear(&line),
            Line::TooLong { head, tail } => waiting.take_too_long(&head, &tail),
        }
    }
    let how = match child.upgrade() {
        Some(child) => tokio::time::timeout(EXIT_PATIENCE, child.ended())
            .await
            .ok(),
        None => None,
    };
    match how {
        Some(how) => waiting.end(&how),
        None => waiting.end("it closed its standard output"),
    }
}
