//! A client's connection: made, greeted in the era's way, and used for one call at a time.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::call::{Call, CallText};
use crate::failure::Failure;
use crate::message::{self, Era};
use crate::target::Target;
use crate::wire::{Connection, Received};

/// Who calls, and how it can tell its own answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// As `Name: value`, for example `Authorization: Bearer KEY`.
    pub(crate) headers: Vec<String>,
    /// See [`CallText::mark`].
    pub(crate) mark: Option<String>,
}

/// A connection that is ready for calls.
pub(crate) struct Line {
    connection: Connection,
    /// One for each target and session: they take turns.
    calls: Vec<Call>,
    next: usize,
    closing: bool,
}

// === impl Line ===

impl Line {
    /// Connects, and in the legacy era starts so many sessions at each target. All targets have one address.
    pub(crate) async fn open(
        targets: &[Target],
        text: &CallText,
        sessions: usize,
        caller: &Caller,
        limit: Duration,
    ) -> io::Result<Self> {
        let first = targets
            .first()
            .ok_or_else(|| io::Error::other("no target"))?;
        let opening = async {
            let mut connection = Connection::new(TcpStream::connect(first.address).await?)?;
            let mut calls = Vec::new();
            let text = CallText {
                mark: caller.mark.clone(),
                ..text.clone()
            };
            let sessions = if text.era == Era::Legacy { sessions } else { 1 };
            for _ in 0..sessions {
                for target in targets {
                    let mut headers = caller.headers.clone();
                    if text.era == Era::Legacy {
                        headers
                            .extend(shake_hands(&mut connection, target, &caller.headers).await?);
                    }
                    calls.push(Call::new(target, &text, &headers));
                }
            }
            Ok(Self {
                connection,
                calls,
                next: 0,
                closing: false,
            })
        };
        tokio::time::timeout(limit, opening).await?
    }

    /// The next call and its answer. After a failure that [ends the connection](Failure::ends_connection) the line is of no
    /// more use.
    pub(crate) async fn call(&mut self, limit: Duration) -> Result<(), Failure> {
        let turn = self.next;
        self.next = (turn + 1) % self.calls.len().max(1);
        let call = self.calls.get_mut(turn).ok_or(Failure::Connect)?;
        let exchange = async {
            self.connection.send(call.next()).await?;
            self.connection.receive().await
        };
        let received = match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(Some(received))) => received,
            Ok(Ok(None) | Err(_)) => return Err(Failure::Broken),
            Err(_) => return Err(Failure::Silent),
        };
        self.closing = received.is_last();
        call.check(&received)
    }

    /// Whether the peer has closed it while it was idle, as servers do after a while: not a failure of a call.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.connection.is_closed()
    }

    /// Whether the peer said that it closes the connection after its last answer.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }
}

/// Starts a legacy session; returns the header that names it, if the server gave one.
pub(crate) async fn shake_hands(
    connection: &mut Connection,
    target: &Target,
    headers: &[String],
) -> io::Result<Option<String>> {
    connection
        .send(&message::initialize(target, headers))
        .await?;
    let hello = answer(connection).await?;
    if hello.status() != Some(200) {
        return Err(io::Error::other(format!(
            "initialize: {}",
            hello.start_line()
        )));
    }
    let session = hello
        .header("mcp-session-id")
        .map(|session| format!("Mcp-Session-Id: {session}"));
    let version = format!("MCP-Protocol-Version: {}", Era::Legacy.version());
    let headers: Vec<String> = headers
        .iter()
        .chain(&session)
        .chain([&version])
        .cloned()
        .collect();
    connection
        .send(&message::initialized(target, &headers))
        .await?;
    answer(connection).await?;
    Ok(session)
}

async fn answer(connection: &mut Connection) -> io::Result<Received> {
    let received = connection.receive().await?;
    received.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_idle_line_notices_that_it_was_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target: Target = format!("http://{}/mcp", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let text = CallText {
            era: Era::Modern,
            tool: "echo".to_owned(),
            message_bytes: 1,
            mark: None,
        };
        let limit = Duration::from_secs(10);
        let (targets, caller) = ([target], Caller::default());
        let opening = Line::open(&targets, &text, 1, &caller, limit);
        let mut line = opening.await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        assert!(!line.is_closed());
        drop(peer);
        let closed = async {
            while !line.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(limit, closed).await.unwrap();
    }
}
