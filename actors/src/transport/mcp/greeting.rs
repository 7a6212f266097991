//! The first words to a server, and what they establish: its era, the session, and that it has the tools of its role.

use std::collections::HashMap;
use std::time::Instant;

use weir_plugin_protocol::jsonrpc::{Message, member, unquote};
use weir_plugin_protocol::mcp::{Era, HeaderAnnotation, Method, Version};

use super::line::{Desk, Letter, Line};
use crate::upstream::catalog::{ListKind, ListLimits, ListReader, Next, shorten};
use crate::upstream::handshake::{self, NoFace, Stance};
use crate::upstream::http_ask::{Terms, given_session};
use crate::upstream::view::Hello;

/// How much of the list of tools is read.
const LIST_LIMITS: ListLimits = ListLimits {
    pages: 100,
    items: 1_000,
    bytes: 8 * 1024 * 1024,
};

/// The raw JSON of the ids of a greeting: nothing else is said meanwhile.
const HELLO_ID: &str = r#""weir-hello""#;

/// What a greeting has established.
pub(super) struct Standing {
    pub(super) terms: Terms,
    /// Its tools, and which of their arguments travel as headers.
    pub(super) tools: HashMap<String, Vec<HeaderAnnotation>>,
    /// What the server says its version is.
    pub(super) version: String,
}

// === impl Line ===

impl Line {
    /// Greets the server. Returns a text that says why it cannot be a plugin.
    ///
    /// `initialize` comes first: servers that speak both eras answer it, and those that do not say so.
    pub(super) async fn greet(&self) -> Result<Standing, String> {
        let line = self.clone();
        let greeted = self
            .clients
            .work(move |client| async move { Desk { line, client }.greet().await })
            .await;
        greeted.unwrap_or_else(|| Err("the greeting has failed".to_owned()))
    }
}

// === impl Desk ===

impl Desk {
    async fn greet(&self) -> Result<Standing, String> {
        let mut reasons = Vec::new();
        let eras = [Era::Legacy, Era::Modern];
        for era in eras
            .into_iter()
            .filter(|era| self.line.protocol.allows(*era))
        {
            let met = match era {
                Era::Legacy => self.initialize().await,
                Era::Modern => self.discover().await,
            };
            match met {
                Ok((terms, hello)) => return self.look(terms, &hello).await,
                Err(NoFace::Unreachable(reason)) => return Err(reason),
                Err(NoFace::NotSpoken(reason)) => reasons.push(reason),
            }
        }
        Err(format!("it speaks no MCP: {}", reasons.join("; ")))
    }

    async fn initialize(&self) -> Result<(Terms, Hello), NoFace> {
        let mut terms = Terms::new(handshake::LEGACY);
        let letter = Letter::new(Method::Initialize, Stance::Asks.initialize(HELLO_ID));
        let exchange = async {
            let answer = self.post(&terms, letter).await?;
            let session = given_session(&answer).filter(|_| answer.status.is_success());
            Ok((session, self.read(&terms, HELLO_ID, answer).await?))
        };
        let (session, answer) = exchange.await.map_err(no_face)?;
        let hello = handshake::read_initialize(&answer)?;
        terms = Terms {
            version: hello.version,
            session,
        };
        let letter = Letter::new(Method::NotificationInitialized, handshake::initialized());
        self.tell(&terms, letter).await.map_err(no_face)?;
        Ok((terms, hello))
    }

    async fn discover(&self) -> Result<(Terms, Hello), NoFace> {
        let terms = Terms::new(Version::V2026_07_28);
        let answer = self.question(&terms, Method::Discover, "").await;
        let hello = handshake::read_discover(&answer.map_err(no_face)?)?;
        Ok((Terms::new(hello.version), hello))
    }

    /// Looks for the tools of the role. Who lacks one is parted with.
    async fn look(&self, terms: Terms, hello: &Hello) -> Result<Standing, String> {
        match self.tools(&terms).await {
            Ok(tools) => Ok(Standing {
                version: version(hello),
                terms,
                tools,
            }),
            Err(reason) => {
                self.goodbye(&terms).await;
                Err(reason)
            }
        }
    }

    /// The server's tools, all pages.
    async fn tools(&self, terms: &Terms) -> Result<HashMap<String, Vec<HeaderAnnotation>>, String> {
        let mut reader = ListReader::new(ListKind::Tools, LIST_LIMITS);
        let mut members = String::new();
        loop {
            let answer = self.question(terms, Method::ToolsList, &members).await;
            let answer = answer.map_err(|miss| miss.met().to_string())?;
            match reader.page(&answer).map_err(|error| error.to_string())? {
                Next::Page(cursor) => members = format!(r#""cursor":{cursor}"#),
                Next::Done => break,
            }
        }
        let mut read = reader.finish(Instant::now(), false);
        let names = read.list.items.into_iter().map(|item| item.key);
        let tools: HashMap<_, _> = names
            .map(|name| {
                let annotations = read.param_headers.remove(&name).unwrap_or_default();
                (name, annotations)
            })
            .collect();
        let lacks = |name: &&&str| !tools.contains_key(**name);
        let missing: Vec<&str> = self.line.required.iter().filter(lacks).copied().collect();
        if missing.is_empty() {
            return Ok(tools);
        }
        let dropped = read.dropped.iter();
        let unusable = dropped
            .filter(|dropped| missing.contains(&dropped.key.as_str()))
            .map(|dropped| format!("; {}: {}", dropped.key, dropped.reason));
        let unusable: String = unusable.collect();
        let missing = missing.join(", ");
        Err(format!(
            "the server has no tool {missing}, which its role needs{unusable}"
        ))
    }

    /// Asks something of the gateway's own. `members` are those of `params`, without braces.
    pub(super) async fn question(
        &self,
        terms: &Terms,
        method: Method,
        members: &str,
    ) -> Result<Message, super::line::Miss> {
        let body = Stance::Asks.request(HELLO_ID, method, terms.version, members);
        self.ask(terms, HELLO_ID, Letter::new(method, body)).await
    }
}

fn no_face(miss: super::line::Miss) -> NoFace {
    handshake::read_failure(miss.met())
}

fn version(hello: &Hello) -> String {
    let info = hello.server_info.as_deref().unwrap_or_default();
    let version = member(str::from_utf8(info).unwrap_or_default(), "version").and_then(unquote);
    match version {
        Some(version) if !version.is_empty() => shorten(&version, 64),
        _ => "unknown".to_owned(),
    }
}
