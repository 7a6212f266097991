//! weir under load: started with a configuration of ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::callers::Issuer;
use super::configuration::{self, Pipeline, Servers, merge};
use super::descriptors::{free_port, raise_descriptors};
use super::directory::Directory;
use super::started::Started;
use crate::line::Caller;
use crate::target::Target;

/// Descriptors besides those for streams.
const SPARE_DESCRIPTORS: u64 = 2_048;

/// What to start.
pub(crate) struct GatewayPlan<'a> {
    /// weir's program.
    pub(crate) program: &'a Path,
    pub(crate) pipeline: Pipeline,
    pub(crate) servers: Servers,
    /// How many callers, each of a tenant of its own. Without tokens in the default pipeline.
    pub(crate) tenants: usize,
    /// Put over the configuration, one after the other.
    pub(crate) changes: [&'a Value; 2],
    /// Descriptors that the gateway and we need.
    pub(crate) descriptors: u64,
}

/// A gateway that runs.
pub(crate) struct Gateway {
    process: Started,
    base: String,
    pub(crate) callers: Vec<Caller>,
    /// `http://127.0.0.1:PORT` of the admin listener.
    pub(crate) admin: String,
    /// As it was written at the start.
    pub(crate) configuration: Value,
    pub(crate) configuration_file: PathBuf,
    /// Last, so that it is removed when the process has ended.
    pub(crate) directory: Directory,
}

// === impl Gateway ===

impl Gateway {
    /// Starts weir and waits until it serves.
    pub(crate) fn start(plan: GatewayPlan<'_>) -> Result<Self, String> {
        raise_descriptors(plan.descriptors + SPARE_DESCRIPTORS)?;
        let directory = Directory::new()?;
        let admin_port = free_port()?;
        let issuer = Issuer::new()?;
        let keys = directory.write("keys.json", &issuer.key_set()?.to_string())?;
        let records = directory.path().join("records.jsonl");
        let mut configuration =
            configuration::configuration(plan.pipeline, &plan.servers, admin_port, &keys, &records);
        for changes in plan.changes {
            merge(&mut configuration, changes);
        }
        let text = format!("{configuration:#}\n");
        let configuration_file = directory.write("weir.yaml", &text)?;
        let mut callers = issuer.callers(plan.tenants)?;
        if plan.pipeline == Pipeline::Default {
            callers.iter_mut().for_each(|caller| caller.headers.clear());
        }
        let mut command = Command::new(plan.program);
        command
            .arg("serve")
            .arg("--config")
            .arg(&configuration_file);
        let mut process = Started::spawn("weir", &mut command, directory.path())?;
        let url = process.ready_line("weir ready ")?;
        let target: Target = url.parse()?;
        Ok(Self {
            process,
            base: format!("http://{}", target.authority),
            callers,
            admin: format!("http://127.0.0.1:{admin_port}"),
            configuration,
            configuration_file,
            directory,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// An endpoint, such as `/mcp`.
    pub(crate) fn target(&self, path: &str) -> Result<Target, String> {
        format!("{}{path}", self.base).parse()
    }

    /// Fails if it has ended.
    pub(crate) fn is_alive(&mut self) -> Result<(), String> {
        self.process.is_alive()
    }

    /// What it says when asked for its version.
    pub(crate) fn version(program: &Path) -> Result<String, String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.map_err(|error| {
            format!(
                "cannot start {}: {error}; build it with `cargo build --release` or name it with --weir",
                program.display()
            )
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
