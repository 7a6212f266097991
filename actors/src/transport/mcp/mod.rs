//! Plugins that are MCP servers, reached over Streamable HTTP in either era.
//!
//! Of the protocol only this is used: the greeting, `tools/list` once per greeting, `tools/call`, and `ping` as the
//! question whether all is well. Read in this order: this file is the transport, `line` the way to the server and the
//! one place that writes to it, `greeting` the first words and what they establish, `client` the calls, `answer` how
//! the role's answer is found in what a tool returns.

mod answer;
mod client;
mod greeting;
mod line;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::builtin::outside::ReadFile;
use crate::plugin::{BoxFuture, ConnectError, PluginClient, PluginTransport, RemoteServer, Role};
use crate::upstream::http::{HttpClientConfig, HttpClients, InvalidTarget, TlsTrust};
use client::McpClient;
use line::Line;

/// How long an unused connection is kept: a little less than common servers keep theirs, so that none is used that the
/// server is about to close.
const IDLE: Duration = Duration::from_secs(4);
/// The largest file of certificates.
const CA_FILE_MAX: usize = 1024 * 1024;

/// Reaches a plugin that is an MCP server.
///
/// Each thread that calls has connections of its own; all threads share the session. A call that the server refuses
/// because it has forgotten the session is made again in a new one, once: it was not carried out. No other is.
pub struct McpTransport {
    server: RemoteServer,
    line: Line,
    http: HttpClientConfig,
    files: Arc<dyn ReadFile>,
}

// === impl McpTransport ===

impl McpTransport {
    /// A transport to this server, which must have the tools of the role. `http` says whom to trust if the server's
    /// configuration does not, `files` reads the file if it does.
    ///
    /// # Errors
    /// The endpoint is no URL that can be reached.
    pub fn new(
        server: RemoteServer,
        role: Option<Role>,
        http: HttpClientConfig,
        files: Arc<dyn ReadFile>,
    ) -> Result<Self, InvalidTarget> {
        let http = HttpClientConfig {
            idle_timeout: IDLE,
            ..http
        };
        let reached = server.http();
        let line = Line {
            clients: HttpClients::new(http.clone()),
            target: Arc::new(reached.target()?),
            headers: reached.header_map(),
            protocol: server.protocol,
            required: role.map_or(&[], Role::methods),
        };
        Ok(Self {
            server,
            line,
            http,
            files,
        })
    }

    /// The way to the server, trusting whom the file names now.
    fn line(&self) -> Result<Line, ConnectError> {
        let Some(tls) = &self.server.tls else {
            return Ok(self.line.clone());
        };
        let file = &tls.ca_file;
        let trust = self
            .trust(file)
            .map_err(|reason| ConnectError(format!("tls.ca_file: {}: {reason}", file.display())))?;
        let clients = HttpClients::new(HttpClientConfig {
            tls: Some(trust),
            ..self.http.clone()
        });
        Ok(Line {
            clients,
            ..self.line.clone()
        })
    }

    fn trust(&self, file: &Path) -> Result<TlsTrust, String> {
        let pem = self.files.read(file, CA_FILE_MAX);
        let pem = pem.map_err(|error| error.to_string())?;
        TlsTrust::only(&pem).map_err(|error| error.to_string())
    }
}

impl PluginTransport for McpTransport {
    fn kind(&self) -> &'static str {
        "mcp"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            let line = self.line()?;
            let standing = line.greet().await.map_err(ConnectError)?;
            let client: Arc<dyn PluginClient> = Arc::new(McpClient::new(line, standing));
            Ok(client)
        })
    }
}

#[cfg(test)]
mod tests;
