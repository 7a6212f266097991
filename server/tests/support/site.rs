//! An MCP server inside the test: it remembers everything that reached it, so that a test can say what did not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A server of revision 2026-07-28 at a loopback port. Its threads end with the process.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    gate: Arc<Gate>,
}

/// Holds up calls of the tool `hold`.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Lower-case names, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body; null if there is none.
    pub(crate) message: Value,
}

impl Site {
    /// Offers the tools that it knows: `echo` gives back `text`, `big` gives `bytes` bytes, `ask` and `beg` ask the
    /// user something first.
    pub(crate) fn start() -> Self {
        Self::offering(["echo", "big", "ask", "beg"].map(tool).to_vec())
    }

    /// Offers whatever `tools` says; every call of an unknown one gives `called NAME`.
    pub(crate) fn offering(tools: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Gate::default());
        let (all, tools) = (Arc::clone(&seen), Arc::new(tools));
        let holding = Arc::clone(&gate);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, tools) = (Arc::clone(&all), Arc::clone(&tools));
                let gate = Arc::clone(&holding);
                thread::spawn(move || converse(stream, &seen, &tools, &gate));
            }
        });
        Self {
            address,
            seen,
            gate,
        }
    }

    /// The `servers:` entry.
    pub(crate) fn entry(&self) -> String {
        super::upstream::http_entry(&format!("http://{}/mcp", self.address))
    }

    /// Answers the calls of `hold`: those that wait, and all that come.
    pub(crate) fn release(&self) {
        *self.gate.open.lock().expect("no reader panicked") = true;
        self.gate.opened.notify_all();
    }

    /// Everything that came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no reader panicked").clone()
    }

    /// The calls of tools that came so far.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.message["method"] == "tools/call");
        seen
    }
}

impl Seen {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect()
    }
}

/// The definition of a tool that takes anything.
pub(crate) fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "A tool.", "inputSchema": { "type": "object" } })
}

fn converse(
    stream: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    tools: &[Value],
    gate: &Gate,
) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap_or(0))];
        reader.read_exact(&mut body).ok()?;
        let message = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let answer = answer(&message, tools);
        let is_held = message["params"]["name"] == "hold";
        let seen_now = Seen { headers, message };
        seen.lock().expect("no reader panicked").push(seen_now);
        if is_held {
            let open = gate.open.lock().expect("no reader panicked");
            let held = gate.opened.wait_while(open, |open| !*open);
            drop(held.expect("no reader panicked"));
        }
        let head = match &answer {
            Some(answer) => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            ),
            None => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        writer.write_all(head.as_bytes()).ok()?;
        writer
            .write_all(answer.unwrap_or_default().as_bytes())
            .ok()?;
    }
}

fn asks(params: &Value) -> bool {
    let asking = matches!(params["name"].as_str(), Some("ask" | "beg"));
    asking && params.get("requestState").is_none()
}

fn answer(message: &Value, tools: &[Value]) -> Option<String> {
    let id = message.get("id")?;
    let params = &message["params"];
    let mut result = match message["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "supportedVersions": [super::mcp::MODERN],
            "capabilities": { "tools": { "listChanged": true } },
        }),
        "tools/list" => json!({ "tools": tools }),
        "tools/call" if asks(params) => json!({
            "resultType": "input_required",
            "requestState": "state of the site",
            "inputRequests": { "name": { "method": "elicitation/create", "params": {
                "mode": "form", "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } } } },
        }),
        "tools/call" => {
            let arguments = &params["arguments"];
            let text = match params["name"].as_str().unwrap_or_default() {
                "echo" => arguments["text"].as_str().unwrap_or_default().to_owned(),
                "big" => "x".repeat(arguments["bytes"].as_u64().unwrap_or(0) as usize),
                name => format!("called {name}"),
            };
            json!({ "content": [{ "type": "text", "text": text }] })
        }
        method => {
            let error = json!({ "code": -32601, "message": format!("Method not found: {method}") });
            return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
        }
    };
    if result.get("resultType").is_none() {
        result["resultType"] = "complete".into();
    }
    if message["method"] != "tools/call" {
        result["ttlMs"] = 60_000.into();
        result["cacheScope"] = "public".into();
    }
    result["_meta"]["io.modelcontextprotocol/serverInfo"] =
        json!({ "name": "site", "version": "1" });
    Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string())
}
