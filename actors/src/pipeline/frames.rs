//! The frames of one event stream on their way to its reader: a queue for one sender and one reader.
//!
//! Most streams are silent for hours, and there are many of them. A channel of tokio sets aside 1.8 KiB for each; this
//! queue has no room until there is something in it, and gives back what a burst needed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Room that an empty queue may keep.
const KEPT_ROOM: usize = 4;

/// The end that is read. Dropping it is noticed by the sender.
#[derive(Debug)]
pub struct Frames(Arc<Shared>);

/// The end that is written. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct FrameSender {
    shared: Arc<Shared>,
    /// Frames that may wait, but for the last.
    limit: usize,
}

/// Why a frame was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// There is no room for it now.
    Full(Bytes),
    /// Nobody reads any more.
    Gone,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// Nothing follows.
    over: bool,
    /// Nobody reads.
    gone: bool,
    reader: Option<Waker>,
    sender: Option<Waker>,
}

/// A queue in which so many frames may wait, and one more: the last.
pub(super) fn frames(limit: usize) -> (FrameSender, Frames) {
    let shared = Arc::new(Shared(Mutex::default()));
    let sender = FrameSender {
        shared: shared.clone(),
        limit,
    };
    (sender, Frames(shared))
}

// === impl Frames ===

impl Frames {
    /// The next frame; nothing once the stream is over and everything was read.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.0.lock();
        let Some(frame) = state.frames.pop_front() else {
            if state.over {
                return Poll::Ready(None);
            }
            remember(&mut state.reader, context);
            return Poll::Pending;
        };
        if state.frames.is_empty() && state.frames.capacity() > KEPT_ROOM {
            state.frames = VecDeque::new();
        }
        let sender = state.sender.take();
        drop(state);
        wake(sender);
        Poll::Ready(Some(frame))
    }

    /// The same, to be awaited. Cancel safe.
    pub async fn recv(&mut self) -> Option<Bytes> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.gone = true;
        let unread = std::mem::take(&mut state.frames);
        let sender = state.sender.take();
        drop(state);
        drop(unread);
        wake(sender);
    }
}

// === impl FrameSender ===

impl FrameSender {
    /// Puts a frame into the queue, if there is room.
    pub(super) fn try_send(&mut self, frame: Bytes) -> Result<(), NotTaken> {
        let state = self.shared.lock();
        if state.gone {
            return Err(NotTaken::Gone);
        }
        if state.frames.len() >= self.limit {
            return Err(NotTaken::Full(frame));
        }
        Self::put(state, frame);
        Ok(())
    }

    /// Puts a frame into the queue as soon as there is room; false if nobody reads any more. Dropped before, it has not
    /// put anything there.
    pub(super) async fn send(&mut self, frame: Bytes) -> bool {
        let mut waiting = Some(frame);
        poll_fn(|context| {
            let mut state = self.shared.lock();
            if state.gone {
                return Poll::Ready(false);
            }
            if state.frames.len() >= self.limit {
                remember(&mut state.sender, context);
                return Poll::Pending;
            }
            if let Some(frame) = waiting.take() {
                Self::put(state, frame);
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Puts the last frame into the queue, for which there is always room, and ends the stream.
    pub(super) fn finish(self, last: Option<Bytes>) {
        if let Some(frame) = last {
            let state = self.shared.lock();
            if !state.gone {
                Self::put(state, frame);
            }
        }
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn closed(&mut self) {
        poll_fn(|context| {
            let mut state = self.shared.lock();
            if state.gone {
                return Poll::Ready(());
            }
            remember(&mut state.sender, context);
            Poll::Pending
        })
        .await;
    }

    fn put(mut state: MutexGuard<'_, State>, frame: Bytes) {
        state.frames.push_back(frame);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.over = true;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remembers whom to wake: there is one task at either end.
fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
    let waker = context.waker();
    if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}

/// Outside the lock: whoever is woken may come at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const FRAME: Bytes = Bytes::from_static(b"x");

    #[tokio::test]
    async fn the_sender_waits_for_room_and_the_last_has_it() {
        let (mut sender, mut frames) = frames(2);
        assert_eq!(sender.try_send(FRAME), Ok(()));
        assert!(sender.send(FRAME).await);
        assert_eq!(sender.try_send(FRAME), Err(NotTaken::Full(FRAME)));
        let sending = tokio::spawn(async move {
            assert!(sender.send(Bytes::from_static(b"y")).await);
            sender
        });
        tokio::task::yield_now().await;
        assert!(!sending.is_finished());
        assert_eq!(frames.recv().await, Some(FRAME));
        let sender = sending.await.unwrap();
        sender.finish(Some(Bytes::from_static(b"z")));
        for expected in ["x", "y", "z"] {
            assert_eq!(frames.recv().await.unwrap(), expected);
        }
        assert_eq!(frames.recv().await, None);
    }

    #[tokio::test]
    async fn a_sender_that_gave_up_has_sent_nothing() {
        let (mut sender, mut frames) = frames(1);
        assert!(sender.send(FRAME).await);
        let late = sender.send(Bytes::from_static(b"late"));
        assert!(timeout(Duration::from_millis(10), late).await.is_err());
        drop(sender);
        assert_eq!(frames.recv().await, Some(FRAME));
        assert_eq!(frames.recv().await, None);
    }

    #[tokio::test]
    async fn either_end_notices_that_the_other_is_gone() {
        let (mut sender, reader) = frames(1);
        assert!(sender.send(FRAME).await);
        let waiting = tokio::spawn(async move {
            assert!(!sender.send(FRAME).await, "nobody will make room");
            sender.closed().await;
            sender
        });
        tokio::task::yield_now().await;
        drop(reader);
        let mut sender = waiting.await.unwrap();
        assert_eq!(sender.try_send(FRAME), Err(NotTaken::Gone));

        let (sender, mut frames) = frames(1);
        let reading = tokio::spawn(async move { frames.recv().await });
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(reading.await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_a_burst_needed_is_given_back() {
        let (mut sender, mut frames) = frames(64);
        assert_eq!(frames.0.lock().frames.capacity(), 0, "nothing is set aside");
        for _ in 0..64 {
            sender.try_send(FRAME).unwrap();
        }
        for _ in 0..64 {
            frames.recv().await.unwrap();
        }
        assert!(frames.0.lock().frames.capacity() <= KEPT_ROOM);
    }
}
