//! What standard output says when the gateway is ready: a line or two for programs, more for people.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;

use weir_actors::builtin::line_store::AuditTarget;

use crate::config::{Config, Source};

/// What there is to say.
pub(super) struct Ready<'a> {
    /// Where clients connect to.
    pub(super) address: SocketAddr,
    /// Where operators do.
    pub(super) admin: SocketAddr,
    pub(super) config: &'a Config,
    pub(super) source: &'a Source,
    /// Where the audit log is.
    pub(super) records: &'a AuditTarget,
}

/// Prints `weir ready URL` and, if any port would do for operators, `weir admin URL`. On a terminal, or without a
/// configuration, the endpoints and lines to paste into clients follow.
pub(super) fn announce(ready: &Ready<'_>) {
    let address = reachable(ready.address);
    let mut text = format!("weir ready http://{address}/mcp\n");
    if ready.config.admin.listen.0.port() == 0 {
        let _ = writeln!(text, "weir admin http://{}", reachable(ready.admin));
    }
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() || *ready.source == Source::Embedded {
        text.push_str(&help(address, ready));
    }
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// An address that a client on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    address
}

fn help(address: SocketAddr, ready: &Ready<'_>) -> String {
    let Ready {
        admin,
        config,
        source,
        records,
        ..
    } = *ready;
    let url = format!("http://{address}/mcp");
    let mut text = format!("\n  configuration    {source}\n  all servers      {url}\n");
    for (name, _) in config.servers.iter() {
        let _ = writeln!(
            text,
            "  only {:<11} http://{address}/servers/{name}/mcp",
            name.as_str()
        );
    }
    let _ = writeln!(
        text,
        "  for operators    http://{}/tree /upstreams /metrics /ready",
        reachable(admin)
    );
    let _ = writeln!(text, "  audit records    {records}");
    let initialize = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
        r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#
    );
    let _ = write!(
        text,
        r#"
  Claude Code      claude mcp add --transport http weir {url}
  Claude Desktop   {{"mcpServers": {{"weir": {{"command": "npx", "args": ["-y", "mcp-remote", "{url}", "--allow-http"]}}}}}}
  VS Code          code --add-mcp '{{"name": "weir", "type": "http", "url": "{url}"}}'
  Inspector        npx @modelcontextprotocol/inspector --cli --server-url {url} --transport http --method tools/list
  weir             weir call --url http://{address}
  curl             curl {url} -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
                     -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \
                     -d '{initialize}'

"#
    );
    text
}
