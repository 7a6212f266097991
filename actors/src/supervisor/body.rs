//! The two things that can live in a cradle: an actor's context, or a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};

use actix::dev::ContextFut;
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context};

use super::context::ChildContext;
use super::control::Control;
use super::slot::Slot;

/// Makes instances of a child. Shared by everything that may start it.
pub(crate) trait Launch: Send + Sync {
    /// Gives out the number of the next instance.
    fn issue(&self) -> u64;

    /// Makes an instance, on the thread it is to live on. May panic: it calls the child's factory.
    fn build(&self, context: &ChildContext) -> Box<dyn Body>;
}

/// One instance. Every method but [`kill`](Body::kill) may panic.
pub(crate) trait Body {
    /// Runs it. Ready when it has ended; an error is a failure.
    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Arc<str>>>;

    /// Lets others find it, now that it is ready.
    fn publish(&mut self);

    /// Lets nobody find it any more.
    fn withdraw(&mut self);

    /// Sees to it that dropping it runs none of its code but destructors.
    fn kill(&mut self);
}

pub(crate) struct ActorLaunch<A: Actor, F> {
    slot: Slot<A>,
    factory: F,
}

struct ActorBody<A: Actor<Context = Context<A>>> {
    future: ContextFut<A, Context<A>>,
    slot: Slot<A>,
    generation: u64,
}

/// Lives on the actor's own context, so it runs if and only if the actor takes messages: answers pings and passes
/// on the request to stop.
struct Pulse {
    control: Arc<Control>,
    stop_passed_on: bool,
}

pub(crate) struct TaskLaunch<F> {
    factory: F,
    issued: AtomicU64,
}

struct TaskBody<R> {
    future: Pin<Box<R>>,
    control: Arc<Control>,
}

// === impl ActorLaunch ===

impl<A: Actor, F> ActorLaunch<A, F> {
    pub(crate) fn new(slot: Slot<A>, factory: F) -> Self {
        Self { slot, factory }
    }
}

impl<A, F> Launch for ActorLaunch<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(ChildContext) -> A + Send + Sync + 'static,
{
    fn issue(&self) -> u64 {
        self.slot.issue()
    }

    fn build(&self, context: &ChildContext) -> Box<dyn Body> {
        let actor = (self.factory)(context.clone());
        let actix_context = Context::new();
        let mut future = actix_context.into_future(actor);
        future.ctx().spawn(Pulse {
            control: Arc::clone(&context.control),
            stop_passed_on: false,
        });
        Box::new(ActorBody {
            future,
            slot: self.slot.clone(),
            generation: context.generation(),
        })
    }
}

// === impl ActorBody ===

impl<A: Actor<Context = Context<A>>> Body for ActorBody<A> {
    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Arc<str>>> {
        Pin::new(&mut self.future).poll(task).map(Ok)
    }

    fn publish(&mut self) {
        self.slot.publish(self.future.address(), self.generation);
    }

    fn withdraw(&mut self) {
        self.slot.withdraw(self.generation);
    }

    fn kill(&mut self) {
        // A context that is not terminated polls its actor once more when it is dropped.
        self.future.ctx().terminate();
    }
}

// === impl Pulse ===

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _actor: &mut A,
        context: &mut Context<A>,
        _task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        this.control.answer();
        if !this.stop_passed_on && this.control.stop_asked() {
            this.stop_passed_on = true;
            context.stop();
        }
        Poll::Pending
    }
}

// === impl TaskLaunch ===

impl<F> TaskLaunch<F> {
    pub(crate) fn new(factory: F) -> Self {
        Self {
            factory,
            issued: AtomicU64::new(0),
        }
    }
}

impl<F, R, E> Launch for TaskLaunch<F>
where
    F: Fn(ChildContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), E>> + 'static,
    E: fmt::Display,
{
    fn issue(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn build(&self, context: &ChildContext) -> Box<dyn Body> {
        Box::new(TaskBody {
            future: Box::pin((self.factory)(context.clone())),
            control: Arc::clone(&context.control),
        })
    }
}

// === impl TaskBody ===

impl<R, E> Body for TaskBody<R>
where
    R: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Arc<str>>> {
        let polled = self.future.as_mut().poll(task);
        // All that can be known of a future from outside is that it does not hold its thread.
        self.control.answer();
        polled.map_err(|error| error.to_string().into())
    }

    fn publish(&mut self) {}

    fn withdraw(&mut self) {}

    fn kill(&mut self) {}
}
