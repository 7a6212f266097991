//! A server reached over HTTP: one connection to it in each era that it speaks.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};
use weir_plugin_protocol::mcp::{Era, Method, Version};

use super::carrier::Carrier;
use super::config::Protocol;
use super::face::Face;
use super::handshake::{self, NoFace};
use super::home::Home;
use super::http_wire::{Door, HttpWire};
use super::pause::Pause;
use super::stdio_server::StdioServer;
use super::view::{Link, other};
use super::wire::{AskError, Wire};

/// Greets one server in both eras and keeps what answers.
pub(super) struct HttpServer {
    pub(super) home: Rc<Home>,
    pub(super) door: Door,
    pub(super) protocol: Protocol,
    /// The same server, should it turn out to speak HTTP+SSE only.
    pub(super) old: Option<StdioServer>,
    /// The face with the session that must be ended.
    pub(super) legacy: RefCell<Option<Rc<Face>>>,
}

/// The longest wait before an unreachable server is tried again.
const RETRY_MAX: Duration = Duration::from_secs(10);

// === impl HttpServer ===

impl HttpServer {
    pub(super) async fn run(&self) {
        if let Some(old) = &self.old {
            old.forget().await;
        }
        tokio::join!(self.era(Era::Modern), self.era(Era::Legacy));
    }

    /// Ends the session, if there is one.
    pub(super) async fn goodbye(&self) {
        if let Some(face) = self.legacy.take()
            && let Wire::Http(http) = &face.wire
        {
            http.goodbye().await;
        }
    }

    async fn era(&self, era: Era) {
        if !self.protocol.allows(era) {
            self.home.none(era, "the configuration rules it out");
            return;
        }
        let mut pause = Pause::new(RETRY_MAX);
        loop {
            match self.meet(era).await {
                Ok(face) => {
                    let error = Box::pin(face.keep()).await;
                    debug!(server = %self.home.server, %error, "connection lost");
                    if error != AskError::SessionLost {
                        self.home.down(era, error.to_string());
                    }
                    // A server that forgets each session at once is not greeted in a tight loop.
                    pause.wait().await;
                }
                Err(NoFace::Unreachable(reason)) => {
                    self.home.down(era, reason);
                    // When one era is back, so is the other.
                    tokio::select! {
                        () = self.home.returned() => {}
                        () = pause.wait() => {}
                    }
                }
                Err(NoFace::NotSpoken(reason)) => {
                    if let Some(old) = self.old(era).await {
                        info!(server = %self.home.server, "server speaks HTTP+SSE");
                        return Box::pin(old.era(era)).await;
                    }
                    self.home.none(era, reason);
                    tokio::select! {
                        () = self.home.returned() => {}
                        () = pause.wait_while(|| self.home.is_up(other(era))) => {}
                    }
                }
            }
        }
    }

    /// The server in its old transport: if it has no use for `initialize`, nor for anything modern, and opens a stream.
    async fn old(&self, era: Era) -> Option<&StdioServer> {
        let old = self.old.as_ref()?;
        let Carrier::Stream(remote) = &old.carrier else {
            return None;
        };
        let may_be = era == Era::Legacy && !self.home.is_up(Era::Modern);
        (may_be && remote.is_there().await).then_some(old)
    }

    async fn meet(&self, era: Era) -> Result<Rc<Face>, NoFace> {
        let (wire, hello) = match era {
            Era::Modern => self.discover().await?,
            Era::Legacy => self.initialize().await?,
        };
        let link = Link::Http(Arc::clone(&self.door.target));
        let face = Rc::new(Face::new(
            self.home.clone(),
            era,
            Wire::Http(wire),
            hello,
            link,
        ));
        if era == Era::Legacy {
            self.legacy.replace(Some(face.clone()));
        }
        face.introduce().await.map_err(handshake::read_failure)?;
        Ok(face)
    }

    async fn discover(&self) -> Result<(HttpWire, super::view::Hello), NoFace> {
        let wire = self.wire(Era::Modern, Version::V2026_07_28);
        let answer = wire
            .ask(Method::Discover, "")
            .await
            .map_err(handshake::read_failure)?;
        let hello = handshake::read_discover(&answer)?;
        Ok((wire.agreed(hello.version), hello))
    }

    async fn initialize(&self) -> Result<(HttpWire, super::view::Hello), NoFace> {
        let wire = self.wire(Era::Legacy, handshake::LEGACY);
        let answer = wire.initialize().await.map_err(handshake::read_failure)?;
        let hello = handshake::read_initialize(&answer)?;
        let wire = wire.agreed(hello.version);
        wire.tell(Method::NotificationInitialized, handshake::initialized())
            .await
            .map_err(handshake::read_failure)?;
        Ok((wire, hello))
    }

    fn wire(&self, era: Era, version: Version) -> HttpWire {
        HttpWire::new(self.door.clone(), version, self.home.era(era).inbox.clone())
    }
}
