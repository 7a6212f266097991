//! One HTTP request to an admin listener, from a plain thread.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::target::Target;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest answer that is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The status and body of a page.
pub(super) fn get(target: &Target) -> Result<(u16, String), String> {
    ask("GET", target)
}

/// The same for a POST without a body.
pub(super) fn post(target: &Target) -> Result<(u16, String), String> {
    ask("POST", target)
}

fn ask(method: &str, target: &Target) -> Result<(u16, String), String> {
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        target.path, target.authority
    );
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&target.address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_BYTES).read_to_end(&mut answer)?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = exchange().map_err(|error| format!("{method} {}: {error}", target.path))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {}: no HTTP answer", target.path))?;
    Ok((status, body.to_owned()))
}
