//! The only room that sends to an actor's mailbox.
//!
//! A mailbox is reached through a [`Slot`], so that it stays valid while its actor is restarted. Bounds are not kept
//! here: what is in flight is bounded by the permit inside the message, and a message that cannot be delivered comes
//! back at once instead of waiting.

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Handler, Message};

use crate::supervisor::Slot;

/// The address of a supervised actor that survives its restarts.
pub struct Mailbox<A: Actor> {
    slot: Slot<A>,
}

/// A message that found nobody: it comes back to the sender, who decides what it is worth.
#[derive(Debug)]
pub struct Undelivered<M> {
    /// The message, untouched.
    pub message: M,
    /// Why it came back.
    pub why: WhyUndelivered,
}

/// Why a message came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyUndelivered {
    /// The actor is being restarted or has been stopped.
    Down,
    /// The actor's queue is full.
    Full,
}

// === impl Mailbox ===

impl<A: Actor> Mailbox<A> {
    /// A mailbox for whatever actor the slot holds at the time of sending.
    pub fn new(slot: Slot<A>) -> Self {
        Self { slot }
    }

    /// Hands a message to the actor without waiting.
    pub fn forward<M>(&self, message: M) -> Result<(), Undelivered<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let mut parcel = Some(message);
        // The address is used in place: every clone of it would be a sender with a mailbox bound of its own.
        let sent = self
            .slot
            .with(|address, _generation| parcel.take().map(|message| address.try_send(message)));
        let (message, why) = match (sent.flatten(), parcel) {
            (Some(Ok(())), _) => return Ok(()),
            (Some(Err(SendError::Closed(message))), _) => (message, WhyUndelivered::Down),
            (Some(Err(SendError::Full(message))), _) => (message, WhyUndelivered::Full),
            (None, Some(message)) => (message, WhyUndelivered::Down),
            (None, None) => return Ok(()),
        };
        Err(Undelivered { message, why })
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
        }
    }
}
