//! Operations of MCP as the OpenTelemetry conventions name them, on both sides of the gateway: it is a server to its
//! clients and a client to its servers.
//!
//! See <https://github.com/open-telemetry/semantic-conventions-genai>, `docs/gen-ai/mcp.md`. Names are written as
//! Prometheus does: `mcp.server.operation.duration` is `mcp_server_operation_duration_seconds`, the attribute
//! `gen_ai.tool.name` is the label `gen_ai_tool_name`.

use std::sync::Arc;

use prometheus::Error;
use weir_plugin_protocol::mcp::{Method, Version, code};

use super::bounds::{OPERATION, REQUEST};
use super::cell::{Count, Timing};
use super::config::MetricsConfig;
use super::family::{Family, Labels, Shard};
use super::method::MethodLabel;
use super::names::{Names, OTHER};
use super::register::Register;
use crate::pipeline::Verdict;
use crate::upstream::{Link, LinkView, ServerName};

/// The labels of both metrics; the client side has those of the server it speaks to as well.
const LABELS: [&str; 13] = [
    "mcp_method_name",
    "gen_ai_operation_name",
    "gen_ai_tool_name",
    "gen_ai_prompt_name",
    "error_type",
    "rpc_response_status_code",
    "mcp_protocol_version",
    "network_transport",
    "network_protocol_name",
    "network_protocol_version",
    "server",
    "server_address",
    "server_port",
];

/// How many of them the server side has.
const SERVER_SIDE: usize = 11;

/// What the conventions call an error that has no name of its own.
const OTHER_ERROR: &str = "_OTHER";

/// The error codes that are labels: those of JSON-RPC and MCP, and the gateway's own, which are HTTP statuses.
const CODES: [(i64, &str); 28] = [
    (code::PARSE_ERROR, "-32700"),
    (code::INVALID_REQUEST, "-32600"),
    (code::METHOD_NOT_FOUND, "-32601"),
    (code::INVALID_PARAMS, "-32602"),
    (code::INTERNAL_ERROR, "-32603"),
    (-32000, "-32000"),
    (-32001, "-32001"),
    (code::RESOURCE_NOT_FOUND, "-32002"),
    (-32003, "-32003"),
    (code::HEADER_MISMATCH, "-32020"),
    (code::MISSING_CAPABILITY, "-32021"),
    (code::UNSUPPORTED_VERSION, "-32022"),
    (code::URL_ELICITATION_REQUIRED, "-32042"),
    (307, "307"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// What an operation was and how it ended: everything that its labels are made of, except names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) method: MethodLabel,
    pub(super) verdict: Verdict,
    pub(super) error_code: Option<i64>,
    /// Why the gateway itself did not answer as asked, if that is how it ended.
    pub(super) refused: Option<&'static str>,
    /// The revision that the client speaks, as far as it is known.
    pub(super) version: Option<Version>,
    pub(super) client: Network,
    /// Whether the server may have seen it.
    pub(super) sent: bool,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// HTTP/1.1 over TCP.
    Http,
    /// A pipe.
    Pipe,
}

/// Where the counts of an operation go.
#[derive(Debug)]
pub(super) struct Handles {
    /// On the side of the client; none for what is no operation of MCP.
    pub(super) served: Option<Arc<Timing>>,
    /// Among the refusals, if it was refused.
    pub(super) refused: Option<Arc<Count>>,
    /// On the side of the server, if the request was sent to one.
    pub(super) sent: Option<SentHandles>,
}

/// Where the counts of a request that was sent to a server go.
#[derive(Debug)]
pub(super) struct SentHandles {
    pub(super) operation: Arc<Timing>,
    pub(super) requests: Arc<Count>,
    pub(super) duration: Arc<Timing>,
}

/// Operations on both sides.
#[derive(Debug)]
pub(super) struct Operations {
    served: Family<OperationLabels, Timing>,
    sent: Family<OperationLabels, Timing>,
    refusals: Family<[&'static str; 1], Count>,
    upstream_requests: Family<AtServer, Count>,
    upstream_duration: Family<AtServer, Timing>,
    tools: Names,
    prompts: Names,
}

/// The values of [`LABELS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OperationLabels {
    method: &'static str,
    tool: Option<Arc<str>>,
    prompt: Option<Arc<str>>,
    error: &'static str,
    code: &'static str,
    version: &'static str,
    /// `network.transport`, `network.protocol.name`, `network.protocol.version`.
    network: [&'static str; 3],
    server: Arc<str>,
    address: Arc<str>,
    port: Arc<str>,
}

/// The values of `server` and, if there is one, `verdict`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AtServer {
    server: Arc<str>,
    verdict: &'static str,
}

// === impl Operations ===

impl Operations {
    pub(super) fn register(register: &Register<'_>, config: &MetricsConfig) -> Result<Self, Error> {
        let max = config.max_series;
        let (server_side, _) = LABELS.split_at(SERVER_SIDE);
        Ok(Self {
            served: register.family(
                "mcp_server_operation_duration_seconds",
                "From the arrival of a client's request or notification to its answer.",
                server_side,
                &OPERATION,
                max,
            )?,
            sent: register.family(
                "mcp_client_operation_duration_seconds",
                "From a request to an upstream server to its answer.",
                &LABELS,
                &OPERATION,
                max,
            )?,
            refusals: register.closed(
                "weir_refusals_total",
                "Requests that the gateway did not answer as asked, by reason: refusals, and failures of servers.",
                &["reason"],
                (),
            )?,
            upstream_requests: register.family(
                "weir_upstream_requests_total",
                "Requests sent to an upstream, by verdict.",
                &["server", "verdict"],
                (),
                max,
            )?,
            upstream_duration: register.family(
                "weir_upstream_duration_seconds",
                "Time spent waiting for an upstream.",
                &["server"],
                &REQUEST,
                max,
            )?,
            tools: Names::new(config.max_names),
            prompts: Names::new(config.max_names),
        })
    }

    /// Where an operation is counted. `name` is that of a tool or prompt that its server lists.
    pub(super) fn handles(
        &self,
        ended: &Ended,
        at: Option<(&ServerName, &LinkView)>,
        name: Option<&str>,
        shard: Shard,
    ) -> Handles {
        let method = ended.method.method();
        let code = ended.error_code.map_or("", code_label);
        let server: Arc<str> = at.map_or("", |(server, _)| server.as_str()).into();
        let named = |kind, names: &Names| {
            let name = name.filter(|_| method == Some(kind))?;
            Some(names.label(name))
        };
        let labels = OperationLabels {
            method: ended.method.as_str(),
            tool: named(Method::ToolsCall, &self.tools),
            prompt: named(Method::PromptsGet, &self.prompts),
            error: error_type(ended.verdict, code),
            code,
            version: ended.version.map_or("", Version::as_str),
            network: ended.client.labels(),
            server: server.clone(),
            address: "".into(),
            port: "".into(),
        };
        let served = ended
            .method
            .is_operation()
            .then(|| self.served.cell(&labels, shard));
        let refused = ended
            .refused
            .map(|reason| self.refusals.cell(&[reason], shard));
        let sent = at.filter(|_| ended.sent).map(|(_, link)| {
            let labels = labels.towards(link);
            let verdict = AtServer {
                server: server.clone(),
                verdict: ended.verdict.as_str(),
            };
            let duration = AtServer {
                server,
                verdict: "",
            };
            SentHandles {
                operation: self.sent.cell(&labels, shard),
                requests: self.upstream_requests.cell(&verdict, shard),
                duration: self.upstream_duration.cell(&duration, shard),
            }
        });
        Handles {
            served,
            refused,
            sent,
        }
    }
}

// === impl OperationLabels ===

impl OperationLabels {
    /// The same operation on the side of the server.
    fn towards(self, link: &LinkView) -> Self {
        let (network, address, port) = match &link.link {
            Link::Http(target) => (
                Network::Http,
                target.host().into(),
                target.port().to_string().into(),
            ),
            Link::Stdio(_) => (Network::Pipe, "".into(), "".into()),
        };
        Self {
            version: link.hello.version.as_str(),
            network: network.labels(),
            address,
            port,
            ..self
        }
    }
}

impl Labels for OperationLabels {
    fn values(&self) -> Vec<&str> {
        let [transport, protocol, protocol_version] = self.network;
        let executes = self.method == Method::ToolsCall.as_str();
        vec![
            self.method,
            if executes { "execute_tool" } else { "" },
            self.tool.as_deref().unwrap_or_default(),
            self.prompt.as_deref().unwrap_or_default(),
            self.error,
            self.code,
            self.version,
            transport,
            protocol,
            protocol_version,
            &self.server,
            &self.address,
            &self.port,
        ]
    }

    fn overflow(&self) -> Self {
        let other = || Arc::from(OTHER);
        Self {
            method: self.method,
            tool: self.tool.as_ref().map(|_| other()),
            prompt: self.prompt.as_ref().map(|_| other()),
            error: if self.error.is_empty() {
                ""
            } else {
                OTHER_ERROR
            },
            code: "",
            version: "",
            network: [""; 3],
            server: other(),
            address: "".into(),
            port: "".into(),
        }
    }
}

impl Labels for AtServer {
    fn values(&self) -> Vec<&str> {
        vec![&self.server, self.verdict]
    }

    fn overflow(&self) -> Self {
        Self {
            server: OTHER.into(),
            verdict: self.verdict,
        }
    }
}

// === impl Network ===

impl Network {
    /// `network.transport`, `network.protocol.name` and `network.protocol.version`.
    pub(super) fn labels(self) -> [&'static str; 3] {
        match self {
            Self::Http => ["tcp", "http", "1.1"],
            Self::Pipe => ["pipe", "", ""],
        }
    }
}

/// The text of an error code.
fn code_label(code: i64) -> &'static str {
    let known = CODES.iter().find(|(known, _)| *known == code);
    known.map_or(OTHER, |(_, text)| text)
}

/// `error.type`: the code of a JSON-RPC error as text, `tool_error` if the tool said so, else a word of the gateway's.
fn error_type(verdict: Verdict, code: &'static str) -> &'static str {
    match (verdict, code) {
        (Verdict::Ok, _) => "",
        (_, "") => verdict.as_str(),
        (_, OTHER) => OTHER_ERROR,
        (_, code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_they_are_written() {
        for (code, text) in CODES {
            assert_eq!(code.to_string(), text);
        }
        assert_eq!(code_label(-31_999), OTHER);
    }

    #[test]
    fn an_error_has_one_word() {
        assert_eq!(error_type(Verdict::Ok, ""), "");
        assert_eq!(error_type(Verdict::ToolError, ""), "tool_error");
        assert_eq!(error_type(Verdict::UpstreamError, "-32603"), "-32603");
        assert_eq!(error_type(Verdict::UpstreamError, OTHER), "_OTHER");
        assert_eq!(error_type(Verdict::Cancelled, ""), "cancelled");
    }
}
