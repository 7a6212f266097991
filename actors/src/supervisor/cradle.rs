//! Holds one instance of a child: catches its panics, kills it when told, and always reports how it ended.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use super::body::{Body, Launch};
use super::child::{ChildSpec, Placement};
use super::context::ChildContext;
use super::control::{Control, Reins};
use super::exit::{Cause, Exit, Kill};
use super::strategy::Key;

/// Hears from the cradles. Control lane: it must not wait.
pub(crate) trait Parent: Send + Sync {
    fn report(&self, report: Report);
}

/// News of one instance.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) key: Key,
    pub(crate) generation: u64,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// Its thread has begun to make it.
    Arrived,
    /// It can serve.
    Started,
    /// It ended.
    Exited(Exit),
}

/// Speaks for one instance, and says that it ended even if nobody gets to say so.
struct Reporter {
    parent: Arc<dyn Parent>,
    key: Key,
    generation: u64,
    exited: bool,
}

/// The future an instance lives in.
struct Cradle {
    /// None once it has ended.
    body: Option<Box<dyn Body>>,
    control: Arc<Control>,
    reporter: Reporter,
    waker: Option<Waker>,
    started: bool,
    reports_ready: bool,
}

/// Starts an instance where the spec says and returns the reins to it.
pub(crate) fn start(
    spec: &ChildSpec,
    context: ChildContext,
    key: Key,
    parent: Arc<dyn Parent>,
) -> Reins {
    let reins = Reins::new(Arc::clone(&context.control));
    let reporter = Reporter {
        parent,
        key,
        generation: context.generation(),
        exited: false,
    };
    let launch = Arc::clone(&spec.launch);
    let reports_ready = spec.reports_ready;
    let work = move || arrive(launch.as_ref(), &context, reporter, reports_ready);
    match &spec.placement {
        Placement::Here => work(),
        Placement::On(spawner) => spawner.spawn(Box::new(work)),
    }
    reins
}

/// Makes the instance, on its own thread.
fn arrive(
    launch: &dyn Launch,
    context: &ChildContext,
    mut reporter: Reporter,
    reports_ready: bool,
) {
    let control = Arc::clone(&context.control);
    if let Some(kill) = control.killed() {
        return reporter.exited(Exit::Killed(kill));
    }
    reporter.report(News::Arrived);
    match catch_unwind(AssertUnwindSafe(|| launch.build(context))) {
        Ok(body) => drop(actix_rt::spawn(Cradle {
            body: Some(body),
            control,
            reporter,
            waker: None,
            started: false,
            reports_ready,
        })),
        Err(payload) => reporter.exited(Exit::panicked(payload.as_ref())),
    }
}

// === impl Reporter ===

impl Reporter {
    fn report(&self, news: News) {
        self.parent.report(Report {
            key: self.key,
            generation: self.generation,
            news,
        });
    }

    fn exited(&mut self, exit: Exit) {
        if !self.exited {
            self.exited = true;
            self.report(News::Exited(exit));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.exited(Exit::Killed(Kill::ThreadLost));
    }
}

// === impl Cradle ===

impl Cradle {
    /// Ends the instance. First nobody finds it, then it is gone, then its supervisor hears of it.
    fn end(&mut self, exit: Exit, killed: bool) {
        if let Some(mut body) = self.body.take() {
            // Destructors may panic too, and a broken actor's are likely to.
            let dropped = catch_unwind(AssertUnwindSafe(move || {
                body.withdraw();
                if killed {
                    body.kill();
                }
                drop(body);
            }));
            if let Err(payload) = dropped {
                tracing::warn!(exit = %Exit::panicked(payload.as_ref()), "a child panicked while it was dropped");
            }
        }
        self.reporter.exited(exit);
    }

    fn how_it_ended(&self, result: Result<(), Arc<str>>) -> Exit {
        if let Some(recorded) = self.control.take_outcome() {
            return recorded;
        }
        match result {
            Err(reason) => Exit::Failed(reason),
            Ok(()) if self.control.stop_asked() => Exit::Shutdown(Cause::Asked),
            Ok(()) => Exit::Normal,
        }
    }

    fn start(&mut self) {
        if let Some(body) = &mut self.body {
            body.publish();
        }
        self.started = true;
        self.reporter.report(News::Started);
    }
}

impl Future for Cradle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(task.waker()))
        {
            this.control.listen(task.waker());
            this.waker = Some(task.waker().clone());
        }
        if let Some(kill) = this.control.killed() {
            this.end(Exit::Killed(kill), true);
            return Poll::Ready(());
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(());
        };
        match catch_unwind(AssertUnwindSafe(|| body.poll(task))) {
            Err(payload) => {
                this.end(Exit::panicked(payload.as_ref()), true);
                Poll::Ready(())
            }
            Ok(polled) => {
                if !this.started && (!this.reports_ready || this.control.is_ready()) {
                    this.start();
                }
                let Poll::Ready(result) = polled else {
                    return Poll::Pending;
                };
                let exit = this.how_it_ended(result);
                this.end(exit, false);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Cradle {
    fn drop(&mut self) {
        if self.body.is_some() {
            self.end(Exit::Killed(Kill::ThreadLost), true);
        }
    }
}
