//! `weir stdio` and what is said to it, line by line.

use std::io::Write;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use serde_json::{Value, json};

use super::mcp::MODERN;
use super::process::Process;
use super::scratch::Scratch;

/// Longest time until a line has come.
const LIMIT: Duration = Duration::from_secs(30);

/// A gateway at the other end of two pipes.
pub(crate) struct Pipes {
    pub(crate) process: Process,
    stdin: Option<ChildStdin>,
    pub(crate) scratch: Scratch,
}

impl Pipes {
    /// Starts `weir stdio` with a configuration; its audit log is `audit.jsonl` in the scratch folder.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_with(yaml, &[])
    }

    /// The same with more words on the command line.
    pub(crate) fn start_with(yaml: &str, words: &[&str]) -> Self {
        let scratch = Scratch::new("stdio");
        let audit = json!({ "sink": "file", "path": scratch.path().join("audit.jsonl") });
        let config = scratch.write("weir.yaml", &format!("{yaml}audit: {audit}\n"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("stdio").arg("--config").arg(config).args(words);
        command.current_dir(scratch.path());
        let mut process = Process::start("weir stdio", command);
        let stdin = process.stdin();
        Self {
            process,
            stdin,
            scratch,
        }
    }

    /// Writes a line.
    pub(crate) fn write(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the pipe is open");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .expect("the gateway reads");
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.write(&message.to_string());
    }

    /// Closes the pipe to the gateway.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits for the message that `find` takes.
    pub(crate) fn wait(&self, find: impl Fn(&Value) -> bool) -> Value {
        self.process.wait_line(LIMIT, |line| {
            let message: Value = serde_json::from_str(line).ok()?;
            find(&message).then_some(message)
        })
    }

    /// Waits for the answer to the request with this id.
    pub(crate) fn answer(&self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.wait(|message| message["id"] == id && message.get("method").is_none())
    }

    /// Asks in the legacy era, after [`Pipes::shake_hands`].
    pub(crate) fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.answer(id)
    }

    /// Asks in the modern era.
    pub(crate) fn ask_modern(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&modern(id, method, params));
        self.answer(id)
    }

    /// The legacy handshake. Returns the result of `initialize`.
    pub(crate) fn shake_hands(&mut self, version: &str) -> Value {
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "weir-tests", "version": "1" } });
        let hello = self.ask(0, "initialize", params);
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        hello["result"].clone()
    }

    /// Every line of standard output so far.
    pub(crate) fn said(&self) -> Vec<String> {
        let log = self.process.log();
        log.lines()
            .filter(|line| !line.starts_with("! "))
            .map(str::to_owned)
            .collect()
    }

    /// The audit records of the requests, oldest first. For after the end.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.scratch.path().join("audit.jsonl"))
            .expect("the audit log is there");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a record is JSON"))
            .filter(|record: &Value| record["event_type"] == "mcp.request")
            .collect()
    }
}

/// A request with the claim.
pub(crate) fn modern(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}
