//! Where a scenario takes place: at a gateway that runs already, or at one that it starts.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::call::CallText;
use crate::line::Caller;
use crate::load::{ANSWER_LIMIT, Pace, Plan};
use crate::message::Era;
use crate::stand::{
    Directory, Gateway, GatewayPlan, Pipeline, Servers, Upstream, http_server, patch,
};
use crate::target::Target;

/// What every scenario is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Place {
    /// weir's program; it is started with its full pipeline and a server behind it.
    #[arg(long, default_value = "target/release/weir")]
    pub(crate) weir: PathBuf,
    /// JSON that is put over weir's configuration; null removes a key.
    #[arg(long, default_value = "{}", value_parser = patch)]
    pub(crate) set: Value,
    /// The protocol era of the calls.
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    pub(crate) era: Era,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A gateway that runs already.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Elsewhere {
    /// The MCP endpoint of a gateway or server that runs already, instead of starting weir.
    #[arg(long)]
    pub(crate) url: Option<Target>,
    /// Its process: without it, nothing is said about its memory.
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,
    /// A request header for it, for example `Authorization: Bearer KEY`. May be repeated.
    #[arg(long, requires = "url")]
    pub(crate) header: Vec<String>,
}

/// A gateway with what is behind it.
pub(crate) struct Site {
    pub(crate) targets: Vec<Target>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) pid: Option<u32>,
    /// If it was started here. Declared before what is behind it, so that it ends first.
    pub(crate) gateway: Option<Gateway>,
    _upstream: Option<(Upstream, Directory)>,
}

// === impl Site ===

impl Site {
    /// One echo server behind a gateway with the full pipeline, called at `/servers/echo/mcp`; or what `elsewhere` names.
    pub(crate) fn with_echo(
        place: &Place,
        elsewhere: Option<&Elsewhere>,
        upstream_options: &[String],
        tenants: usize,
        descriptors: u64,
        changes: &Value,
    ) -> Result<Self, String> {
        if let Some(elsewhere) = elsewhere
            && let Some(url) = &elsewhere.url
        {
            let caller = |number: usize| Caller {
                headers: elsewhere.header.clone(),
                mark: Some(format!("tenant-{number:03}")),
            };
            return Ok(Self {
                targets: vec![url.clone()],
                callers: (0..tenants).map(caller).collect(),
                pid: elsewhere.pid,
                gateway: None,
                _upstream: None,
            });
        }
        let directory = Directory::new()?;
        let upstream = Upstream::start(directory.path(), "upstream", upstream_options)?;
        let mut servers = Servers::new();
        servers.insert("echo".to_owned(), http_server(&upstream.url()));
        let mut site = Self::with_gateway(GatewayPlan {
            program: &place.weir,
            pipeline: Pipeline::Full,
            servers,
            tenants,
            changes: [changes, &place.set],
            descriptors,
        })?;
        site._upstream = Some((upstream, directory));
        Ok(site)
    }

    /// A gateway with these servers, each called at its own endpoint.
    pub(crate) fn with_gateway(plan: GatewayPlan<'_>) -> Result<Self, String> {
        Gateway::version(plan.program)?;
        let names: Vec<String> = plan.servers.keys().cloned().collect();
        let gateway = Gateway::start(plan)?;
        let targets = names
            .iter()
            .map(|name| gateway.target(&format!("/servers/{name}/mcp")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            targets,
            callers: gateway.callers.clone(),
            pid: Some(gateway.pid()),
            gateway: Some(gateway),
            _upstream: None,
        })
    }

    /// A closed loop on this site; change what is to be different.
    pub(crate) fn plan(&self, era: Era, connections: usize, measured: Duration) -> Plan {
        Plan {
            targets: self.targets.clone(),
            pace: Pace::Closed,
            connections,
            sessions: 1,
            threads: 1,
            warmup: Duration::from_millis(500),
            measured,
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

    /// Fails if the gateway that was started here has ended.
    pub(crate) fn is_alive(&mut self) -> Result<(), String> {
        self.gateway.as_mut().map_or(Ok(()), Gateway::is_alive)
    }
}
