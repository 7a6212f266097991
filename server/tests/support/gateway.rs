//! The real `weir`, started from a configuration text.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::Process;
use super::scratch::Scratch;
use super::wire;

/// Longest time until the ready line.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Longest time until every upstream is connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A running gateway. Stopped with SIGTERM, and killed if that does not help, when dropped.
pub(crate) struct Gateway {
    process: Process,
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    /// The same of the admin listener.
    pub(crate) admin: String,
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// What the end of the configuration says of audit records.
    audit: String,
    scratch: Scratch,
}

impl Gateway {
    /// Starts `weir serve` and waits for its ready line.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_with(yaml, |_| {})
    }

    /// The same, after `prepare` had a look at the command.
    pub(crate) fn start_with(yaml: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let scratch = Scratch::new("gateway");
        let records = scratch.path().join("audit.jsonl");
        let audit = serde_json::json!({ "sink": "file", "path": records });
        // Lines for each request would drown what the gateway says of itself.
        let audit = if yaml.contains("audit:") {
            String::new()
        } else {
            format!("audit: {audit}\n")
        };
        let config = scratch.write("weir.yaml", &format!("{yaml}{audit}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("serve").arg("--config").arg(&config);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.current_dir(scratch.path());
        prepare(&mut command);
        let process = Process::start("weir", command);
        let said = |prefix: &str| {
            let rest = |line: &str| line.strip_prefix(prefix).map(|url| url.trim().to_owned());
            process.wait_line(START_LIMIT, rest)
        };
        let (endpoint, admin) = (said("weir ready "), said("weir admin "));
        let base = endpoint
            .strip_suffix("/mcp")
            .expect("the ready line names /mcp")
            .to_owned();
        Self {
            process,
            base,
            admin,
            config,
            audit,
            scratch,
        }
    }

    /// Waits until every server is connected and listed. `/ready` says yes before: a gateway serves what it has.
    pub(crate) async fn connected(self) -> Self {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            let answer = wire::get(&format!("{}/upstreams", self.admin))
                .await
                .expect("the admin listener answers");
            let servers = answer.json();
            let servers = servers.as_array().expect("a list of servers");
            if servers
                .iter()
                .all(|server| server["status"]["state"] == "ready")
            {
                return self;
            }
            assert!(
                Instant::now() < deadline,
                "not connected: {servers:?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The federated endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}/mcp", self.base)
    }

    /// The endpoint of one server.
    pub(crate) fn endpoint_of(&self, server: &str) -> String {
        format!("{}/servers/{server}/mcp", self.base)
    }

    /// What is taken of a bound: `requests`, `streams`, `uploads`, `upload_bytes`.
    pub(crate) async fn taken(&self, bound: &str) -> u64 {
        let permits = wire::get(&format!("{}/permits", self.admin)).await;
        let permits = permits.expect("the admin listener answers").json();
        permits[bound]["taken"]
            .as_u64()
            .unwrap_or_else(|| panic!("no {bound} in {permits}"))
    }

    /// Places of the audit log that are taken.
    pub(crate) async fn audit_places(&self) -> u64 {
        let mailboxes = wire::get(&format!("{}/mailboxes", self.admin)).await;
        let mailboxes = mailboxes.expect("the admin listener answers").json();
        mailboxes["audit"]["queued"]
            .as_u64()
            .unwrap_or_else(|| panic!("no audit in {mailboxes}"))
    }

    /// Waits until nothing is taken any more.
    pub(crate) async fn at_rest(&self) {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            let mut taken = vec![self.audit_places().await];
            for bound in ["requests", "streams", "uploads", "upload_bytes"] {
                taken.push(self.taken(bound).await);
            }
            if taken.iter().all(|taken| *taken == 0) {
                return;
            }
            assert!(Instant::now() < deadline, "still taken: {taken:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The audit records so far, if the configuration says nothing else about them.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let file = self.scratch.path().join("audit.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let record = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        whole.lines().map(record).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line of what the gateway says; panics when it does not come. Lines of the log begin with `! `.
    pub(crate) fn says(&self, text: &str) {
        self.process
            .wait_line(START_LIMIT, |line| line.contains(text).then_some(()));
    }

    /// Puts another configuration in the place of the one that it was started with, as an editor does: in one step.
    pub(crate) fn configure(&self, yaml: &str) {
        let draft = self.config.with_extension("draft");
        std::fs::write(&draft, self.whole(yaml)).expect("the folder is writable");
        std::fs::rename(&draft, &self.config).expect("the folder is writable");
    }

    /// What stands in the file for a configuration text.
    pub(crate) fn whole(&self, yaml: &str) -> String {
        format!("{yaml}{}", self.audit)
    }

    /// Has the configuration read again: `POST /reload`.
    pub(crate) async fn reload(&self) -> wire::Answer {
        let url = format!("{}/reload", self.admin);
        let answer = wire::send(http::Method::POST, &url, &[], "").await;
        answer.expect("the admin listener answers")
    }

    /// The value of a metric without labels or with these; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = wire::get(&format!("{}/metrics", self.admin)).await;
        let metrics = metrics.expect("the admin listener answers");
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_default()
    }

    /// Tells it to open its files again: SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Asks it to stop: SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Asks it to stop and waits.
    pub(crate) fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.ask_to_stop();
        self.process
            .wait_exit(limit)
            .unwrap_or_else(|| panic!("weir did not stop in {limit:?}:\n{}", self.process.log()))
    }
}

impl Drop for Gateway {
    /// Gives it a chance to end its children, which are in process groups of their own.
    fn drop(&mut self) {
        if self.process.wait_exit(Duration::ZERO).is_none() {
            self.process.signal(Signal::TERM);
            let _ = self.process.wait_exit(Duration::from_secs(5));
        }
    }
}
