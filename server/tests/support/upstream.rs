//! MCP servers to put behind the gateway.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::kit::Kit;
use super::process::Process;

/// Longest time a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server that listens on loopback.
pub(crate) struct Upstream {
    /// Its MCP endpoint.
    pub(crate) url: String,
    process: Process,
}

/// The configuration of the server that is inside `weir`; it needs nothing that has to be installed.
pub(crate) fn demo_entry() -> String {
    stdio_entry(Path::new(env!("CARGO_BIN_EXE_weir")), &["demo"], &[])
}

/// Which protocol eras an upstream speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Eras {
    Both,
    Legacy,
    Modern,
}

impl Upstream {
    /// The server of the conformance runs.
    pub(crate) fn conformance(kit: &Kit, eras: Eras) -> Self {
        Self::conformance_at(kit, eras, 0)
    }

    /// The same at a port.
    pub(crate) fn conformance_at(kit: &Kit, eras: Eras, port: u16) -> Self {
        let mut command = kit.python("conformance_upstream.py");
        command.args(["--era", eras.as_str(), "--port", &port.to_string()]);
        Self::python("conformance upstream", command)
    }

    /// The same over HTTP+SSE.
    pub(crate) fn conformance_sse(kit: &Kit) -> Self {
        let mut command = kit.python("conformance_upstream.py");
        command.args(["--sse", "--port", "0"]);
        let mut upstream = Self::python("conformance upstream", command);
        upstream.url = upstream.url.replace("/mcp", "/sse");
        upstream
    }

    /// `echo_server.py`; `arguments` such as `--tools 101`.
    pub(crate) fn echo(kit: &Kit, arguments: &[&str]) -> Self {
        let mut command = kit.python("echo_server.py");
        command.args(["--port", "0"]).args(arguments);
        Self::python("echo upstream", command)
    }

    /// server-everything over Streamable HTTP.
    pub(crate) fn everything(kit: &Kit) -> Self {
        let port = free_port();
        let mut command = kit.node("mcp-server-everything");
        command.arg("streamableHttp").env("PORT", port.to_string());
        let process = Process::start("server-everything", command);
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "server-everything does not listen:\n{}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            url: format!("http://127.0.0.1:{port}/mcp"),
            process,
        }
    }

    /// One of our Python servers, which print where they listen.
    pub(crate) fn python(name: &str, command: Command) -> Self {
        let process = Process::start(name, command);
        let url = process.wait_line(START_LIMIT, |line| {
            line.strip_prefix("upstream ready ").map(str::to_owned)
        });
        Self { url, process }
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.url.trim_end_matches("/mcp").rsplit(':').next();
        port.and_then(|port| port.parse().ok())
            .expect("the URL has a port")
    }

    /// Kills the server at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

impl Eras {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// A loopback port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// The `servers:` entry of a stdio server, as YAML in flow style (which is JSON).
pub(crate) fn stdio_entry(
    command: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let env: serde_json::Map<_, _> = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    serde_json::json!({ "type": "stdio", "command": command, "args": arguments, "env": env })
        .to_string()
}

/// The `servers:` entry of a Streamable HTTP server.
pub(crate) fn http_entry(url: &str) -> String {
    serde_json::json!({ "type": "http", "url": url }).to_string()
}
