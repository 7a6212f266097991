//! A client that writes bytes and reads bytes, and sees when it is cut off.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::mcp::MODERN;

/// Longest time for anything that is not a test of time itself.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    began: Instant,
}

/// What came until the peer closed, or for as long as was waited.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    /// Since the connection was made.
    pub(crate) after: Duration,
    /// False if the peer was still connected when the waiting ended.
    pub(crate) closed: bool,
}

impl Raw {
    /// Connects to the host of a URL.
    pub(crate) async fn connect(base: &str) -> Self {
        Self::with_window(base, None).await
    }

    /// The same with a small receive buffer, so that little is in flight when nothing is read.
    pub(crate) async fn reading_little(base: &str) -> Self {
        Self::with_window(base, Some(8 * 1024)).await
    }

    /// The same with a receive buffer of so many bytes.
    pub(crate) async fn with_window(base: &str, window: Option<u32>) -> Self {
        let address = base.trim_start_matches("http://");
        let address = address.split('/').next().expect("a URL has a host");
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).expect("a buffer");
        }
        let address = address.parse().expect("an address");
        let stream = socket.connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream,
            began: Instant::now(),
        }
    }

    /// Writes; says whether the peer still took it.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Writes one byte again and again until the peer closes, and gives what it said.
    pub(crate) async fn drip(&mut self, byte: &[u8], pause: Duration, limit: Duration) -> Heard {
        let mut heard = Vec::new();
        let deadline = self.began + limit;
        while Instant::now() < deadline {
            let mut some = vec![0; 4096];
            match tokio::time::timeout(pause, self.stream.read(&mut some)).await {
                Ok(Ok(0) | Err(_)) => return self.heard(heard, true),
                Ok(Ok(read)) => heard.extend_from_slice(&some[..read]),
                Err(_) => {
                    let _cut = self.write(byte).await;
                }
            }
        }
        self.heard(heard, false)
    }

    /// Reads until the peer closes.
    pub(crate) async fn read_to_end(&mut self) -> Heard {
        self.read_for(LIMIT).await
    }

    /// Reads until the peer closes or the time is over.
    pub(crate) async fn read_for(&mut self, limit: Duration) -> Heard {
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(limit, async {
            let mut some = vec![0; 16 * 1024];
            while let Ok(read) = self.stream.read(&mut some).await {
                if read == 0 {
                    break;
                }
                heard.extend_from_slice(&some[..read]);
            }
        });
        let closed = ended.await.is_ok();
        self.heard(heard, closed)
    }

    /// Reads one answer by its `Content-Length`, or to the end.
    pub(crate) async fn answer(&mut self) -> Heard {
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(LIMIT, async {
            let mut some = vec![0; 16 * 1024];
            while !is_whole(&heard) {
                match self.stream.read(&mut some).await {
                    Ok(0) | Err(_) => return true,
                    Ok(read) => heard.extend_from_slice(&some[..read]),
                }
            }
            false
        });
        let closed = ended.await.unwrap_or(false);
        self.heard(heard, closed)
    }

    fn heard(&self, bytes: Vec<u8>, closed: bool) -> Heard {
        Heard {
            bytes,
            after: self.began.elapsed(),
            closed,
        }
    }
}

impl Heard {
    /// The status of the first answer; 0 if there was none.
    pub(crate) fn status(&self) -> u16 {
        self.statuses().first().copied().unwrap_or(0)
    }

    /// The status of every answer.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.bytes);
        let status = |part: &str| part.get(..3).and_then(|status| status.parse().ok());
        text.split("HTTP/1.1 ").skip(1).filter_map(status).collect()
    }

    /// The body of the first answer as JSON; null if there is none.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}

fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => head.contains(" 204 ") || head.contains(" 202 "),
    }
}

/// The head of a request with these lines on top of the usual ones, which they replace.
pub(crate) fn head(line: &str, lines: &[&str]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_lowercase();
    let replaced: Vec<String> = lines.iter().map(|line| name(line)).collect();
    let usual = [
        "Host: localhost",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
    ];
    let usual = usual
        .iter()
        .filter(|line| !replaced.contains(&name(line)))
        .copied();
    let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
    format!("{line}\r\n{}\r\n\r\n", lines.join("\r\n"))
}

/// The body of a call, as a modern client writes it.
pub(crate) fn call_body(tool: &str, arguments: Value) -> String {
    let claim = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": claim });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

/// The header lines of a call.
pub(crate) fn call_lines(tool: &str) -> [String; 3] {
    [
        format!("MCP-Protocol-Version: {MODERN}"),
        "Mcp-Method: tools/call".to_owned(),
        format!("Mcp-Name: {tool}"),
    ]
}

/// A whole call in bytes.
pub(crate) fn call(tool: &str, arguments: Value) -> String {
    let body = call_body(tool, arguments);
    let lines = call_lines(tool);
    let length = format!("Content-Length: {}", body.len());
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .chain([length.as_str()])
        .collect();
    format!("{}{body}", head("POST /mcp HTTP/1.1", &lines))
}

/// What these bytes are answered with, on a connection of their own.
pub(crate) async fn answer_to(base: &str, bytes: impl AsRef<[u8]>) -> Heard {
    let mut client = Raw::connect(base).await;
    client.write(bytes).await;
    client.answer().await
}

/// A call of `echo` with these lines more in its head.
pub(crate) fn post(lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let usual = call_lines("echo");
    let usual = usual.iter().map(String::as_str);
    let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
    let mut bytes = head("POST /mcp HTTP/1.1", &lines).into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}

/// A call of `echo` with this body.
pub(crate) fn echo_call(body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.as_ref().len());
    post(&[&length], body)
}

/// Fails with everything that was answered otherwise.
pub(crate) fn assert_none(wrong: &[String]) {
    let all = wrong.join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{all}", wrong.len());
}

/// The alphabet and padding of RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(three.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    text
}
