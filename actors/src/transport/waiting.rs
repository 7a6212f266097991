//! Who waits for an answer on a pipe, and which line is for whom.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use crate::plugin::{CallError, Said};

/// Calls that wait to be written. More are refused.
pub(super) const MAX_QUEUED: usize = 256;

/// Calls that may be without an answer, with those that nobody waits for any more. More are refused.
const MAX_WAITING: usize = 1024;

/// A call to be written.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: u64,
    /// An object without an id.
    pub(super) line: Bytes,
}

/// The calls of one process that have no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    state: Mutex<State>,
    end: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct State {
    /// Nothing: closed, or at an end.
    frames: Option<mpsc::Sender<Frame>>,
    closed: bool,
    last_id: u64,
    /// In the order in which they were asked.
    calls: BTreeMap<u64, Asked>,
    /// The process has repeated an id, so it does not answer in order.
    repeats_ids: bool,
    said: Said,
}

#[derive(Debug)]
struct Asked {
    written: bool,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

/// What says whom an answer is for.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Value,
}

/// An answer to the question for health, which may say more.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new(frames: mpsc::Sender<Frame>) -> Self {
        Self {
            state: Mutex::new(State {
                frames: Some(frames),
                closed: false,
                last_id: 0,
                calls: BTreeMap::new(),
                repeats_ids: false,
                said: Said::default(),
            }),
            end: watch::Sender::new(None),
        }
    }

    /// Queues a call. Returns where its answer arrives.
    pub(super) fn ask(
        &self,
        line: Bytes,
    ) -> Result<oneshot::Receiver<Result<Bytes, CallError>>, CallError> {
        let mut state = self.state();
        if state.closed {
            return Err(CallError::Closed);
        }
        if state.calls.len() >= MAX_WAITING {
            state.forget_the_unwanted();
        }
        let is_full = state.calls.len() >= MAX_WAITING;
        let id = state.last_id + 1;
        let Some(frames) = &state.frames else {
            let how = self.end.borrow().clone();
            return Err(CallError::Unreachable(how.unwrap_or_default()));
        };
        // Queued under the lock: the order of the ids is the order of the lines.
        if is_full || frames.try_send(Frame { id, line }).is_err() {
            return Err(CallError::Busy);
        }
        state.last_id = id;
        let (answer, receiver) = oneshot::channel();
        let written = false;
        state.calls.insert(id, Asked { written, answer });
        Ok(receiver)
    }

    /// Whether a call is still wanted. If so it counts as seen by the process from here on.
    pub(super) fn begin_writing(&self, id: u64) -> bool {
        let mut state = self.state();
        match state.calls.get_mut(&id) {
            Some(asked) if !asked.answer.is_closed() => {
                asked.written = true;
                true
            }
            Some(_) => {
                state.calls.remove(&id);
                false
            }
            None => false,
        }
    }

    /// Brings an answer, which begins like an object, to whom it is for.
    pub(super) fn take(&self, line: Bytes) {
        let id = match serde_json::from_slice::<Head>(&line) {
            Ok(Head { id }) => id.as_u64(),
            // Whose turn it is gets an error.
            Err(_) => None,
        };
        self.settle(id, Ok(line));
    }

    /// The same with a line of which only the ends are left.
    pub(super) fn take_too_long(&self, head: &[u8], tail: &[u8]) {
        let id = [head, tail].into_iter().find_map(find_id);
        self.settle(id, Err(CallError::TooLarge));
    }

    /// The process is at its end: nobody waits any longer.
    pub(super) fn end(&self, how: &str) {
        let calls = {
            let mut state = self.state();
            state.frames = None;
            self.end.send_replace(Some(how.to_owned()));
            std::mem::take(&mut state.calls)
        };
        for asked in calls.into_values() {
            let error = match asked.written {
                true => CallError::Lost(how.to_owned()),
                false => CallError::Unreachable(how.to_owned()),
            };
            // Nobody may wait any more.
            let _ = asked.answer.send(Err(error));
        }
    }

    /// Takes no more calls. Those that wait get their answers if they come.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.frames = None;
        state.closed = true;
    }

    /// Waits until the process is at its end.
    pub(super) async fn ended(&self) -> String {
        let mut end = self.end.subscribe();
        loop {
            if let Some(how) = end.borrow_and_update().clone() {
                return how;
            }
            // The sender is in `self`, so this cannot fail.
            let _ = end.changed().await;
        }
    }

    /// Keeps what an answer to the question for health says of the plugin.
    pub(super) fn hear_of_health(&self, answer: &[u8]) {
        if let Ok(About { result }) = serde_json::from_slice(answer) {
            self.state().said = Said::of_health(result.get().as_bytes());
        }
    }

    pub(super) fn said(&self) -> Said {
        self.state().said.clone()
    }

    fn settle(&self, id: Option<u64>, answer: Result<Bytes, CallError>) {
        let mut state = self.state();
        let asked = match id {
            Some(id) => {
                let asked = state.calls.remove(&id);
                state.repeats_ids |= asked.is_some();
                asked
            }
            None if state.repeats_ids => None,
            None => state.next_in_order(),
        };
        drop(state);
        match asked {
            // Nobody may wait any more.
            Some(asked) => drop(asked.answer.send(answer)),
            None => debug!(id, "an answer of a plugin is for nobody"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one step, so a panic leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// The call whose turn it is: the first one that the process has seen.
    fn next_in_order(&mut self) -> Option<Asked> {
        let first = self.calls.first_entry()?;
        first.get().written.then(|| first.remove())
    }

    /// Who answers by id leaves no gap when a call is forgotten; whose answers come in order does.
    fn forget_the_unwanted(&mut self) {
        if self.repeats_ids {
            self.calls.retain(|_, asked| !asked.answer.is_closed());
        }
    }
}

/// The number behind the first `"id":` of a piece of an object.
fn find_id(piece: &[u8]) -> Option<u64> {
    let key = memmem::find(piece, b"\"id\"")?;
    let value = piece
        .get(key + 4..)?
        .trim_ascii_start()
        .strip_prefix(b":")?;
    let value = value.trim_ascii_start();
    let length = value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(value.get(..length)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Bytes, CallError>>;

    /// Calls that are written at once.
    fn asked(calls: usize) -> (Waiting, mpsc::Receiver<Frame>, Vec<Answer>) {
        let (frames, mut queue) = mpsc::channel(MAX_QUEUED);
        let waiting = Waiting::new(frames);
        let mut answers = Vec::new();
        for _ in 0..calls {
            answers.push(waiting.ask(Bytes::from_static(b"{}")).unwrap());
            assert!(waiting.begin_writing(queue.try_recv().unwrap().id));
        }
        (waiting, queue, answers)
    }

    fn got(answer: &mut Answer) -> Option<Result<Bytes, CallError>> {
        answer.try_recv().ok()
    }

    #[test]
    fn answers_without_ids_come_in_order_also_for_who_gave_up() {
        let (waiting, _queue, mut answers) = asked(3);
        drop(answers.remove(0));
        for line in ["{\"result\":1}", "{ \"id\":\"mine\"}", "{broken"] {
            waiting.take(Bytes::from_static(line.as_bytes()));
        }
        assert_eq!(got(&mut answers[0]), Some(Ok("{ \"id\":\"mine\"}".into())));
        assert_eq!(got(&mut answers[1]), Some(Ok("{broken".into())));
        waiting.take(Bytes::from_static(b"{}"));
    }

    #[test]
    fn answers_with_ids_come_in_any_order_and_nothing_else_is_an_answer_then() {
        let (waiting, _queue, mut answers) = asked(3);
        waiting.take(Bytes::from_static(b"{\"id\":2,\"result\":\"b\"}"));
        waiting.take(Bytes::from_static(b"{\"result\":\"nobody's\"}"));
        waiting.take(Bytes::from_static(b"{\"id\":9}"));
        waiting.take_too_long(b"{\"result\":\"xxx", b"xxx\", \"id\" : 3}");
        assert_eq!(got(&mut answers[0]), None);
        assert!(got(&mut answers[1]).unwrap().is_ok());
        assert_eq!(got(&mut answers[2]), Some(Err(CallError::TooLarge)));
        waiting.end("signal: 9");
        assert_eq!(
            got(&mut answers[0]),
            Some(Err(CallError::Lost("signal: 9".into())))
        );
        let late = waiting.ask(Bytes::new()).unwrap_err();
        assert_eq!(late, CallError::Unreachable("signal: 9".into()));
    }

    #[test]
    fn what_was_not_written_was_not_sent() {
        let (waiting, mut queue, _) = asked(0);
        let mut kept = waiting.ask(Bytes::new()).unwrap();
        drop(waiting.ask(Bytes::new()).unwrap());
        let (first, second) = (queue.try_recv().unwrap().id, queue.try_recv().unwrap().id);
        assert!(!waiting.begin_writing(second), "nobody wants it");
        waiting.end("gone");
        assert_eq!(
            got(&mut kept),
            Some(Err(CallError::Unreachable("gone".into())))
        );
        assert!(!waiting.begin_writing(first));
    }

    #[test]
    fn there_is_a_bound_and_who_repeats_ids_frees_what_was_given_up() {
        let (waiting, mut queue, answers) = asked(0);
        drop(answers);
        for _ in 0..MAX_WAITING {
            drop(waiting.ask(Bytes::new()));
            let _ = queue.try_recv();
        }
        assert_eq!(waiting.ask(Bytes::new()).unwrap_err(), CallError::Busy);
        waiting.take(Bytes::from_static(b"{\"id\":1}"));
        drop(waiting.ask(Bytes::new()).unwrap());
        assert!(waiting.ask(Bytes::new()).is_ok());
        let (frames, _queue) = mpsc::channel(1);
        let slow = Waiting::new(frames);
        let _first = slow.ask(Bytes::new()).unwrap();
        assert_eq!(slow.ask(Bytes::new()).unwrap_err(), CallError::Busy);
        slow.close();
        assert_eq!(slow.ask(Bytes::new()).unwrap_err(), CallError::Closed);
    }
}
