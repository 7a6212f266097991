//! Finds children that are alive and do nothing.
//!
//! Every interval a child is asked for a sign of life. Its context answers for it, so the actor need not know: but the
//! context only gets to answer when the actor takes messages, not while a handler holds the thread or a `ctx.wait`
//! holds the mailbox. A child that has not answered by the next time is killed, unless it is
//! [protected](super::Protected).

use std::time::Duration;

use actix::{AsyncContext, Context};
use tokio::time::Instant;

use super::actor::Supervisor;
use super::control::Control;
use super::exit::Kill;
use super::strategy::Key;

impl Supervisor {
    /// Asks for a sign of life and looks for it an interval later.
    pub(crate) fn ping(&mut self, key: Key, interval: Duration, actix: &mut Context<Self>) {
        let due = Instant::now() + interval;
        let Some(member) = self.member_mut(key) else {
            return;
        };
        let Some(control) = member.control() else {
            return;
        };
        control.ping();
        let generation = member.generation;
        let pulse = actix.run_later(interval, move |this, actix| {
            if this
                .member_mut(key)
                .is_some_and(|member| member.is(generation))
            {
                this.look(key, interval, due, actix);
            }
        });
        if let Some(earlier) = member.pulse.replace(pulse) {
            actix.cancel_future(earlier);
        }
    }

    fn look(&mut self, key: Key, interval: Duration, due: Instant, actix: &mut Context<Self>) {
        // If this thread was held up, by a child or by the whole machine, so may the sign of life have been.
        let held_up = due.elapsed() > interval / 2;
        let silent = self
            .member_mut(key)
            .and_then(|member| member.control())
            .is_some_and(Control::is_silent);
        if silent && !held_up {
            return self.kill(key, Kill::Heartbeat, actix);
        }
        self.ping(key, interval, actix);
    }
}
