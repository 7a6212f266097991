//! A server that is a child process, or two of them if it speaks both eras: a process is greeted in one era for life. Or
//! one of HTTP+SSE, whose stream is in place of a process.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;
use weir_plugin_protocol::mcp::{Era, Method, Version};

use super::carrier::Carrier;
use super::config::Protocol;
use super::face::Face;
use super::handshake::{self, NoFace};
use super::home::Home;
use super::pause::Pause;
use super::session_sink::{SessionSink, concerns_session};
use super::stdio::{LinkError, ProcessState, StdioLink, Unsolicited};
use super::stdio_process::{SPAWN, failed_to_start, last_words, next_run, process_name, running};
use super::view::{Link, other};
use super::wire::{AskError, StdioWire, Wire, answer_of};
use crate::supervisor::SupervisorHandle;

/// Greets and keeps the processes of one server.
pub(super) struct StdioServer {
    pub(super) home: Rc<Home>,
    pub(super) carrier: Carrier,
    /// Supervises the processes.
    pub(super) group: SupervisorHandle,
    pub(super) sink: Option<Arc<dyn SessionSink>>,
    /// One era after the other meets the server: two processes that start at once may be in each other's way.
    pub(super) turn: Mutex<()>,
}

/// How long a process has to answer in an era that it may not speak: the first time, and later ones.
const PROBE: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
];
/// The time between two probes.
const REPROBE: Duration = Duration::from_secs(5);
/// A process that is back this soon was never away.
const GRACE: Duration = Duration::from_secs(1);
/// Messages of a process that wait to be taken in.
const UNSOLICITED: usize = 256;

// === impl StdioServer ===

impl StdioServer {
    pub(super) async fn run(&self) {
        self.forget().await;
        tokio::join!(self.era(Era::Modern), self.era(Era::Legacy));
    }

    /// Ends what an actor before this one may have left.
    pub(super) async fn forget(&self) {
        for era in [Era::Modern, Era::Legacy] {
            let _ = self.group.delete_child(process_name(era)).await;
        }
    }

    pub(super) async fn era(&self, era: Era) {
        if !self.carrier.protocol().allows(era) {
            self.home.none(era, "the configuration rules it out");
            return;
        }
        let mut pause = Pause::new(Duration::from_secs(30));
        let mut patience = PROBE.into_iter();
        let mut probe = patience.next().unwrap_or_default();
        loop {
            let (sender, receiver) = mpsc::channel(UNSOLICITED);
            let link = StdioLink::new(self.carrier.spec(&self.home.server), sender);
            let gone = tokio::select! {
                gone = self.live(era, &link, probe) => gone,
                () = self.take_in(era, &link, receiver) => continue,
            };
            match gone {
                Gone::Silent => {
                    self.home
                        .none(era, format!("no answer within {} ms", probe.as_millis()));
                    // Silence may be slowness: the machine may have been busy with starting everything else.
                    match patience.next() {
                        Some(longer) => {
                            probe = longer;
                            sleep(REPROBE).await;
                        }
                        None => pause.wait_while(|| self.home.is_up(other(era))).await,
                    }
                }
                Gone::NoFace(NoFace::NotSpoken(reason)) => {
                    self.home.none(era, reason);
                    // A program does not learn an era while it serves in the other.
                    pause.wait_while(|| self.home.is_up(other(era))).await;
                }
                Gone::NoFace(NoFace::Unreachable(reason)) => {
                    self.home.down(era, reason);
                    pause.wait().await;
                }
            }
        }
    }

    /// Starts a process, greets it and keeps its face. Returns when there is no face to keep.
    async fn live(&self, era: Era, link: &StdioLink, probe: Duration) -> Gone {
        let mut state = link.state();
        let met = {
            let _turn = self.turn.lock().await;
            let met = self.meet(era, link, &mut state, probe).await;
            if met.is_err() {
                let _ = self.group.delete_child(process_name(era)).await;
            }
            met
        };
        let (mut face, mut generation) = match met {
            Ok(met) => met,
            Err(gone) => return gone,
        };
        loop {
            tokio::select! {
                error = face.keep() => debug!(server = %self.home.server, %error, "process lost"),
                _ = state.wait_for(|state| running(*state) != Some(generation)) => {}
            }
            let back = self.back(era, link, &mut state, generation);
            tokio::pin!(back);
            (face, generation) = tokio::select! {
                back = &mut back => back,
                () = sleep(GRACE) => {
                    self.home.down(era, last_words(&self.group, era, self.carrier.word()).await);
                    back.await
                }
            };
        }
    }

    /// The first time: the server may not speak the era at all.
    async fn meet(
        &self,
        era: Era,
        link: &StdioLink,
        state: &mut watch::Receiver<ProcessState>,
        probe: Duration,
    ) -> Result<(Face, u64), Gone> {
        let unreachable = |reason| Gone::NoFace(NoFace::Unreachable(reason));
        // Whatever a process does when it is spoken to in an era that it need not know, is an answer.
        let guess = self.carrier.protocol() == Protocol::Auto
            && (era == Era::Modern || self.home.is_up(Era::Modern));
        let started = self.group.start_child(self.carrier.child(era, link)).await;
        started.map_err(|error| unreachable(format!("cannot start it: {error}")))?;
        let generation = tokio::select! {
            generation = next_run(state, 0) => generation,
            reason = failed_to_start(&self.group, era, self.carrier.word()) => return Err(unreachable(reason)),
        };
        let patience = if guess { probe } else { self.timeout() };
        let greeted = tokio::select! {
            greeted = timeout(patience, self.greet(era, link, generation)) => greeted,
            _ = state.wait_for(|state| running(*state) != Some(generation)) => {
                Ok(Err(NoFace::Unreachable(last_words(&self.group, era, self.carrier.word()).await)))
            }
        };
        match greeted {
            Ok(Ok(face)) => Ok((face, generation)),
            Ok(Err(NoFace::Unreachable(reason))) if guess => {
                Err(Gone::NoFace(NoFace::NotSpoken(reason)))
            }
            Ok(Err(error)) => Err(Gone::NoFace(error)),
            Err(_) if guess => Err(Gone::Silent),
            Err(_) => Err(unreachable(format!(
                "no answer within {} ms",
                patience.as_millis()
            ))),
        }
    }

    /// After a restart: greets until that succeeds. A process that does not return the greeting is replaced.
    async fn back(
        &self,
        era: Era,
        link: &StdioLink,
        state: &mut watch::Receiver<ProcessState>,
        lost: u64,
    ) -> (Face, u64) {
        let mut pause = Pause::new(Duration::from_secs(30));
        let mut last = lost;
        loop {
            let generation = match timeout(SPAWN * 8, next_run(state, last)).await {
                Ok(generation) => generation,
                // It is still the same process, or none is coming: in quarantine, or the supervisor gave up.
                Err(_) => {
                    self.home
                        .down(era, last_words(&self.group, era, self.carrier.word()).await);
                    if running(*state.borrow()) == Some(last) {
                        let _ = self.group.restart_child(process_name(era)).await;
                    }
                    continue;
                }
            };
            last = generation;
            let greeted = tokio::select! {
                greeted = timeout(self.timeout(), self.greet(era, link, generation)) => greeted.ok(),
                _ = state.wait_for(|state| running(*state) != Some(generation)) => None,
            };
            match greeted {
                Some(Ok(face)) => return (face, generation),
                Some(Err(error)) => self.home.down(era, error.to_string()),
                None => self
                    .home
                    .down(era, last_words(&self.group, era, self.carrier.word()).await),
            };
            if running(*state.borrow()) == Some(generation) {
                pause.wait().await;
                let _ = self.group.restart_child(process_name(era)).await;
            }
        }
    }

    async fn greet(&self, era: Era, link: &StdioLink, generation: u64) -> Result<Face, NoFace> {
        match self.try_greet(era, link, generation).await {
            Ok(face) => Ok(face),
            Err(Ungreeted::NoFace(error)) => Err(error),
            Err(Ungreeted::Ask(error)) if error.is_loss() => Err(NoFace::Unreachable(
                last_words(&self.group, era, self.carrier.word()).await,
            )),
            Err(Ungreeted::Ask(error)) => Err(NoFace::Unreachable(error.to_string())),
        }
    }

    async fn try_greet(
        &self,
        era: Era,
        link: &StdioLink,
        generation: u64,
    ) -> Result<Face, Ungreeted> {
        let id = link.next_id();
        let frame = match era {
            Era::Legacy => handshake::initialize(id.json()),
            Era::Modern => {
                handshake::request(id.json(), Method::Discover, Version::V2026_07_28, "")
            }
        };
        let mut call = link.call_ungated(id, frame).await?;
        let answer = answer_of(&mut call).await?;
        let hello = match era {
            Era::Legacy => handshake::read_initialize(&answer)?,
            Era::Modern => handshake::read_discover(&answer)?,
        };
        if era == Era::Legacy {
            link.send_to(generation, handshake::initialized()).await?;
        }
        link.open_gate(generation);
        let wire = Wire::Stdio(StdioWire {
            link: link.clone(),
            version: hello.version,
            timeout: self.timeout(),
        });
        let link = Link::Stdio(link.clone());
        let face = Face::new(self.home.clone(), era, wire, hello, link);
        face.introduce().await?;
        Ok(face)
    }

    /// Takes in what belongs to no call.
    async fn take_in(&self, era: Era, link: &StdioLink, mut receiver: mpsc::Receiver<Unsolicited>) {
        while let Some(unsolicited) = receiver.recv().await {
            let of_a_session = match &self.sink {
                Some(sink)
                    if unsolicited.session.is_some() && concerns_session(&unsolicited.message) =>
                {
                    Some(sink)
                }
                _ => None,
            };
            if let Some(sink) = of_a_session {
                sink.deliver(&self.home.server, link, unsolicited);
                continue;
            }
            if let Some(reply) = self.home.era(era).inbox.take(&unsolicited.message)
                && let Err(error) = link.send_to(unsolicited.generation, reply).await
            {
                debug!(server = %self.home.server, %error, "answer to an upstream's request not delivered");
            }
        }
    }

    fn timeout(&self) -> Duration {
        self.carrier.timeout()
    }
}

/// Why there is no process to keep.
enum Gone {
    NoFace(NoFace),
    /// It was spoken to in an era that it may not speak, and said nothing.
    Silent,
}

/// Why a process has no face.
enum Ungreeted {
    Ask(AskError),
    NoFace(NoFace),
}

impl From<NoFace> for Ungreeted {
    fn from(error: NoFace) -> Self {
        Self::NoFace(error)
    }
}

impl From<AskError> for Ungreeted {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<LinkError> for Ungreeted {
    fn from(error: LinkError) -> Self {
        Self::Ask(error.into())
    }
}
