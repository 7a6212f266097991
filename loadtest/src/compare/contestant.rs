//! One of those that are compared.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Arguments, DESCRIPTORS, DIRECT, WEIR, WEIR_DEFAULT};
use crate::call::CallText;
use crate::line::Caller;
use crate::load::{ANSWER_LIMIT, Pace, Plan};
use crate::message::Era;
use crate::stand::{
    Gateway, GatewayPlan, Pipeline, READY_LIMIT, Servers, Started, Upstream, http_server,
};
use crate::target::Target;

/// How many different callers there are.
const CALLERS: usize = 16;

/// One of those that are compared.
pub(super) struct Contestant {
    pub(super) name: String,
    /// What it is, in a few words.
    pub(super) description: String,
    target: Target,
    callers: Vec<Caller>,
    /// The process that is measured, with all below it. None for direct calls.
    pid: Option<u32>,
    process: Process,
}

/// What has to live as long as it is measured.
enum Process {
    /// Somebody else's.
    None,
    Program(Started),
    Weir(Gateway),
}

// === impl Contestant ===

impl Contestant {
    /// The server behind all, without anything in front of it.
    pub(super) fn direct(upstream: &Upstream) -> Self {
        Self {
            name: DIRECT.to_owned(),
            description: "straight to the server".to_owned(),
            target: upstream.target.clone(),
            callers: marked_callers(),
            pid: None,
            process: Process::None,
        }
    }

    /// A program that was started and will serve at `target`.
    pub(super) fn program(
        name: &str,
        description: String,
        target: Target,
        process: Started,
    ) -> Self {
        Self {
            name: name.to_owned(),
            description,
            target,
            callers: marked_callers(),
            pid: Some(process.pid()),
            process: Process::Program(process),
        }
    }

    /// weir with everything that it does for a company.
    pub(super) fn weir(arguments: &Arguments, upstream: &Upstream) -> Result<Self, String> {
        let description =
            "access tokens (ES256), rules, credentials, limits, metrics, audit records to a file";
        Self::gateway(WEIR, description, Pipeline::Full, arguments, upstream)
    }

    /// weir as it comes.
    pub(super) fn weir_default(arguments: &Arguments, upstream: &Upstream) -> Result<Self, String> {
        let description = "as it comes: no tokens, no rules; metrics, audit records to a file";
        Self::gateway(
            WEIR_DEFAULT,
            description,
            Pipeline::Default,
            arguments,
            upstream,
        )
    }

    fn gateway(
        name: &str,
        description: &str,
        pipeline: Pipeline,
        arguments: &Arguments,
        upstream: &Upstream,
    ) -> Result<Self, String> {
        let mut servers = Servers::new();
        servers.insert("echo".to_owned(), http_server(&upstream.url()));
        let gateway = Gateway::start(GatewayPlan {
            program: &arguments.weir,
            pipeline,
            servers,
            tenants: CALLERS,
            changes: [&json!({}), &arguments.set],
            descriptors: DESCRIPTORS,
        })?;
        Ok(Self {
            name: name.to_owned(),
            description: description.to_owned(),
            target: gateway.target("/mcp")?,
            callers: gateway.callers.clone(),
            pid: Some(gateway.pid()),
            process: Process::Weir(gateway),
        })
    }

    /// Returns when a call is answered well.
    pub(super) fn wait_until_ready(&mut self, era: Era) -> Result<(), String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let mut plan = self.plan(era);
            plan.calls = Some(1);
            let measurement = plan.run()?;
            if measurement.latency.len() == 1 {
                return Ok(());
            }
            self.is_alive()?;
            if Instant::now() > deadline {
                let complaint = format!("does not answer well:\n{measurement}");
                return Err(match &self.process {
                    Process::Program(process) => process.complaint(&complaint),
                    _ => format!("{}: {complaint}", self.name),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails if its process has ended.
    pub(super) fn is_alive(&mut self) -> Result<(), String> {
        match &mut self.process {
            Process::None => Ok(()),
            Process::Program(process) => process.is_alive(),
            Process::Weir(gateway) => gateway.is_alive(),
        }
    }

    /// A closed loop of one connection for a second; change what is to be different.
    pub(super) fn plan(&self, era: Era) -> Plan {
        Plan {
            targets: vec![self.target.clone()],
            pace: Pace::Closed,
            connections: 1,
            sessions: 1,
            threads: 1,
            warmup: Duration::ZERO,
            measured: Duration::from_secs(1),
            calls: None,
            answer_limit: ANSWER_LIMIT,
            text: CallText {
                era,
                tool: "echo".to_owned(),
                message_bytes: 64,
                mark: None,
            },
            callers: self.callers.clone(),
            pid: self.pid,
            others: Vec::new(),
        }
    }
}

/// Callers that show nothing, but can tell their own answers.
fn marked_callers() -> Vec<Caller> {
    let caller = |number: usize| Caller {
        headers: Vec::new(),
        mark: Some(format!("tenant-{number:03}")),
    };
    (0..CALLERS).map(caller).collect()
}
