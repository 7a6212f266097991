//! The client that started this process: its messages come on standard input, line by line, and the answers go to
//! standard output.
//!
//! [`lines`] reads and writes the pipes, each on a thread of its own, so that a pipe that blocks holds up nobody else.
//! What is said is a conversation as any other: it goes through the pipeline message by message.

mod lines;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;
use weir_actors::pipeline::{Refusal, Transport};
use weir_actors::upstream::Endpoint;

use self::lines::Line;
use super::Face;
use super::conversation::{Caller, Conversation};
use super::sorted::{Sorted, Wants};

/// Messages for the client that may wait until it reads; then answers wait, and nothing more is read from it.
const OUTBOX: usize = 64;

/// Lines that were read and not looked at.
const INBOX: usize = 4;

/// Notifications and answers that may be under way at once; then nothing more is read until one is through.
const MAX_TOLD: usize = 64;

/// How long requests in flight may take after the client has closed the pipe.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long the last messages may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The one client at the pipes of this process. It outlives the task that serves it.
pub struct Stdio {
    lines: Mutex<mpsc::Receiver<Line>>,
    max_line: usize,
    conversation: Arc<Conversation>,
    told: Arc<tokio::sync::Semaphore>,
    ended: watch::Sender<bool>,
}

// === impl Stdio ===

impl Stdio {
    /// Takes standard input and output. Nothing else may write to the latter from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(endpoint: Endpoint, max_line: usize) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel(INBOX);
        let (outbox, messages) = mpsc::channel(OUTBOX);
        lines::read(max_line, sender)?;
        lines::write(messages)?;
        Ok(Self {
            lines: Mutex::new(lines),
            max_line,
            conversation: Conversation::new(endpoint, Transport::Stdio, outbox),
            told: Arc::new(tokio::sync::Semaphore::new(MAX_TOLD)),
            ended: watch::Sender::new(false),
        })
    }

    /// Resolves when the client has closed its end and has got what it can get.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender is ours.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Waits until everything that was said is written.
    pub async fn finish(&self) {
        let finished = async {
            self.conversation.end().await;
            self.conversation.over().await;
        };
        let _late = timeout(LAST_WORDS, finished).await;
    }

    /// Serves until the client closes one of the pipes.
    pub(crate) async fn serve(&self, face: &Arc<Face>) {
        let mut lines = self.lines.lock().await;
        loop {
            // A client that does not read is not listened to: what it causes stays bounded.
            tokio::select! {
                () = self.conversation.writable() => {}
                () = self.conversation.over() => break,
            }
            let line = tokio::select! {
                line = lines.recv() => line,
                () = self.conversation.over() => None,
            };
            let Some(line) = line else { break };
            self.hear(face, line).await;
        }
        self.conversation.hang_up();
        tokio::select! {
            _late = timeout(GRACE, self.conversation.idle()) => {}
            () = self.conversation.over() => {}
        }
        self.conversation
            .end_session(face, &Caller::default())
            .await;
        self.ended.send_replace(true);
    }

    async fn hear(&self, face: &Arc<Face>, line: Line) {
        let conversation = &self.conversation;
        let snapshot = face.board.federation();
        let sorted = match line {
            Line::Whole(raw) => Sorted::bare(raw, snapshot, conversation),
            Line::TooLong => Sorted::unread(Refusal::BodyTooLarge(self.max_line), snapshot),
        };
        let wants = sorted.wants;
        let submitted = match conversation.submit(face, sorted, &Caller::default()) {
            Ok(submitted) => submitted,
            Err(unrecorded) => return conversation.tell(unrecorded).await,
        };
        let through = conversation
            .clone()
            .see_through(face.clone(), Caller::default(), submitted);
        match wants {
            // What follows belongs to the session.
            Wants::Session => through.await,
            Wants::Answer => drop(actix_rt::spawn(through)),
            Wants::Nothing => {
                let turn = self.told.clone().acquire_owned().await;
                actix_rt::spawn(async move {
                    through.await;
                    drop(turn);
                });
            }
        }
    }
}
