//! Plugins that are MCP servers, and clients of theirs.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_actors::builtin::outside::Disk;
use weir_actors::plugin::{Call, CallError, PluginClient, PluginTransport, RemoteServer, Role};
use weir_actors::transport::McpTransport;
use weir_actors::upstream::config::Protocol;
use weir_actors::upstream::http::{AddressRule, HttpClientConfig};

use super::gateway::Gateway;
use super::kit::Kit;
use super::process::Process;
use super::scratch::Scratch;
use super::wire;

/// Longest time of one step.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// `plugins/mcp-python`, running.
pub(crate) struct Plugin {
    pub(crate) url: String,
    pub(crate) process: Process,
    pub(crate) folder: Scratch,
}

impl Plugin {
    pub(crate) fn start(kit: &Kit, arguments: &[&str]) -> Self {
        let folder = Scratch::new("plugin");
        // The key is `alice-key`; only its hash is known.
        folder.write(
            "keys.json",
            r#"[{"sha256":"KEY","user_id":"alice","tenant_id":"acme","roles":["admin"],"groups":["staff"]}]"#
                .replace("KEY", "72ee9d4355ccb9d3a4c9dbf37382e38e75c1b1a225b5bd1f729ee91bbda30c20")
                .as_str(),
        );
        Self::start_in(kit, folder, arguments)
    }

    pub(crate) fn start_in(kit: &Kit, folder: Scratch, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/mcp-python/plugin.py");
        let mut command = Command::new(kit.python_program());
        command.arg(script).args(arguments);
        command.current_dir(folder.path());
        let process = Process::start("mcp plugin", command);
        let url = process.wait_line(LIMIT, |line| {
            line.strip_prefix("plugin ready ").map(str::to_owned)
        });
        Self {
            url,
            process,
            folder,
        }
    }

    pub(crate) fn remote(&self) -> RemoteServer {
        remote(&self.url)
    }

    /// What it was asked, in order, once that is so much.
    pub(crate) fn asked(&self, count: usize) -> Vec<String> {
        let left = Cell::new(count);
        self.process.wait_line(LIMIT, |line| {
            left.set(left.get() - usize::from(line.starts_with("asked ")));
            (left.get() == 0).then_some(())
        });
        let log = self.process.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("asked "));
        lines.map(str::to_owned).collect()
    }

    /// Waits until it was asked this.
    pub(crate) fn is_asked(&self, what: &str) {
        let line = format!("asked {what}");
        self.process
            .wait_line(LIMIT, |said| (said == line).then_some(()));
    }
}

pub(crate) fn remote(url: &str) -> RemoteServer {
    RemoteServer {
        url: url.to_owned(),
        headers: [].into(),
        tls: None,
        protocol: Protocol::Auto,
        addresses: AddressRule::Auto,
    }
}

pub(crate) async fn connect(
    server: RemoteServer,
    role: Role,
) -> Result<Arc<dyn PluginClient>, String> {
    let http = HttpClientConfig::default();
    let transport = McpTransport::new(server, Some(role), http, Arc::new(Disk::default()));
    let client = transport.unwrap().connect().await;
    client.map_err(|error| error.to_string())
}

pub(crate) async fn call(
    client: &Arc<dyn PluginClient>,
    method: &str,
    params: Value,
) -> Result<Value, CallError> {
    let answer = client.call(Call::within(LIMIT, method, &params)).await?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

/// The plugins of a gateway, once none of them is being loaded.
pub(crate) async fn plugins(gateway: &Gateway) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = wire::get(&format!("{}/plugins", gateway.admin)).await;
        let plugins = answer.unwrap().json();
        let plugins = plugins.as_array().unwrap().clone();
        let is_settled =
            |plugin: &Value| plugin["state"] == "active" || plugin["error"].is_string();
        if plugins.iter().all(is_settled) {
            return plugins;
        }
        assert!(Instant::now() < deadline, "{plugins:?}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
