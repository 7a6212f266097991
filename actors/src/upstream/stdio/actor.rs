//! The owner of one process.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use tokio::sync::oneshot;

use super::StdioLink;
use super::process;
use crate::supervisor::{ChildContext, ChildSpec, Shutdown, Slot};

/// What a supervisor waits beyond the grace of the process before it drops the actor.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// The owner of one process: it starts the process when it is started, and ends when the process does.
///
/// A supervisor restarts it from a factory that calls [`new`](Self::new); calls in flight are lost at a restart, and
/// learn it at once. It has no messages of its own: the [`StdioLink`] writes to the process without a detour.
///
/// When it is stopped it closes the process's input, waits, sends SIGTERM to the process group and, at the end of
/// [`stop_grace`](super::StdioSpec::stop_grace), SIGKILL; its supervisor should give it a little longer than that.
/// When it is dropped, the group gets SIGKILL at once. If this whole process is killed, servers see the end of their
/// input, which well-behaved ones obey; nothing else ends them.
#[derive(Debug)]
pub struct StdioActor {
    link: StdioLink,
    context: ChildContext,
    /// Asks the run to stop; `None` if it was asked.
    stop: Option<oneshot::Sender<()>>,
    ended: bool,
}

// === impl StdioActor ===

impl StdioActor {
    /// The child of a supervisor that keeps the process of `link`: named as the server, permanent, stopped within
    /// [`stop_grace`](super::StdioSpec::stop_grace) and a second. Nobody needs its slot, the link is the handle.
    ///
    /// It lives on the supervisor's thread unless it is placed elsewhere; there the pipes are read and written.
    pub fn child(link: &StdioLink) -> ChildSpec {
        let slot = Slot::new(Arc::clone(&link.spec().server));
        let grace = link.spec().stop_grace;
        let link = link.clone();
        ChildSpec::actor(&slot, move |context| Self::new(link.clone(), context))
            .shutdown(Shutdown::Within(grace + SHUTDOWN_MARGIN))
    }

    /// An owner for the process of `link`; there must not be a second one.
    pub fn new(link: StdioLink, context: ChildContext) -> Self {
        Self {
            link,
            context,
            stop: None,
            ended: false,
        }
    }
}

impl Actor for StdioActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        let run = process::run(self.link.0.clone(), stopped);
        let run = run.into_actor(self).map(|end, actor, context| {
            actor.ended = true;
            if let Err(end) = end {
                actor.context.fail(end);
            }
            context.stop();
        });
        context.spawn(run);
        let greeted = self.link.greeted();
        context.spawn(
            greeted
                .into_actor(self)
                .map(|(), actor, _| actor.context.ready()),
        );
    }

    /// Stays until the process is gone.
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        if self.ended {
            return Running::Stop;
        }
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        Running::Continue
    }
}
