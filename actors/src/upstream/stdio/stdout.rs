//! The task that reads what the process says and brings each message to whom it is for.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use tokio::io::AsyncRead;
use tracing::{debug, warn};
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, Payload, parse};
use weir_plugin_protocol::mcp::{code, error_response};

use super::lines::{Line, Lines, LogBudget, printable};
use super::link::Shared;
use super::running::Running;
use super::{LinkError, Unsolicited};

/// Complaints about one server per ten seconds, and how much of the offending line the debug log shows: what servers
/// say may be confidential.
const COMPLAINTS: u32 = 10;
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
const COMPLAINT_EXCERPT: usize = 200;

/// What reads.
pub(super) struct Reader {
    shared: Arc<Shared>,
    running: Arc<Running>,
    limits: Limits,
    complaints: LogBudget,
}

/// Reads until the process closes its standard output.
pub(super) async fn read(
    pipe: impl AsyncRead + Unpin,
    shared: Arc<Shared>,
    running: Arc<Running>,
) -> io::Result<()> {
    let mut lines = Lines::new(pipe, shared.spec.max_line);
    let mut reader = Reader::new(shared, running);
    while let Some(line) = lines.next().await? {
        match line {
            Line::Whole(line) => reader.line(line),
            Line::TooLong { head, tail } => reader.too_long(&head, &tail),
        }
    }
    Ok(())
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, running: Arc<Running>) -> Self {
        Self {
            shared,
            running,
            limits: Limits::default(),
            complaints: LogBudget::new(COMPLAINTS, COMPLAINT_PERIOD),
        }
    }

    /// Brings a message, or a batch of them, to whom it is for.
    pub(super) fn line(&mut self, line: Bytes) {
        match parse(line.clone(), &self.limits) {
            Ok(Payload::Single(message)) => self.message(message),
            Ok(Payload::Batch(messages)) => {
                for message in messages {
                    self.message(message);
                }
            }
            Err(error) => {
                self.shared.counters.malformed_lines.count();
                self.complain(&error.message, &line);
                match &error.id {
                    Some(id) => self.fail(id, LinkError::Malformed),
                    None => self.fail_found(&[&line], LinkError::Malformed),
                }
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message.kind() {
            Kind::Result | Kind::Error => self.answer(message),
            Kind::Request => self.request(message),
            Kind::Notification if message.method() == "notifications/progress" => {
                self.progress(message);
            }
            Kind::Notification if message.method() == "notifications/message" => self.log(message),
            Kind::Notification => self.notification(message),
        }
    }

    fn answer(&mut self, message: Message) {
        let number = message.id().and_then(|id| self.shared.call_number(id));
        let slot = number.and_then(|number| self.running.pending.remove(number));
        match slot {
            Some(slot) => slot.finish(Ok(message)),
            None => {
                self.shared.counters.late_answers.count();
                if message.kind() == Kind::Error && message.id().is_none() {
                    self.complain("an error without an id", message.raw());
                }
            }
        }
    }

    fn progress(&mut self, message: Message) {
        let token = message.field(Field::ProgressToken);
        let Some(number) = token.and_then(|token| self.shared.call_number(token)) else {
            self.notification(message);
            return;
        };
        let slot = self.running.pending.get(number);
        let taken = slot.is_some_and(|slot| slot.notify(message));
        if !taken {
            self.shared.counters.dropped_progress.count();
        }
    }

    /// A log message does not say which call it is about.
    fn log(&mut self, message: Message) {
        match self.running.pending.sole_sessionless() {
            Some(slot) if slot.notify(message.clone()) => {}
            Some(_) => self.shared.counters.dropped_notifications.count(),
            None => self.notification(message),
        }
    }

    fn notification(&mut self, message: Message) {
        if self.hand_over(message).is_some() {
            self.shared.counters.dropped_notifications.count();
        }
    }

    fn request(&mut self, message: Message) {
        let Some(message) = self.hand_over(message) else {
            return;
        };
        self.shared.counters.refused_requests.count();
        let refusal = "the gateway cannot take the request now";
        let answer = error_response(message.id(), code::INTERNAL_ERROR, refusal, None);
        self.running.send_control(answer);
    }

    /// Queues a message that belongs to no call; gives it back if there is no room.
    fn hand_over(&mut self, message: Message) -> Option<Message> {
        let unsolicited = Unsolicited {
            message,
            session: self.running.pending.sole_session(),
            generation: self.running.generation,
        };
        let refused = self.shared.unsolicited.try_send(unsolicited).err()?;
        Some(refused.into_inner().message)
    }

    /// A line that is too long can still be the answer somebody waits for: its id stands near one of its ends.
    fn too_long(&mut self, head: &[u8], tail: &[u8]) {
        self.shared.counters.oversized_lines.count();
        self.complain("a line is too long", head);
        self.fail_found(&[head, tail], LinkError::TooLarge);
    }

    /// Fails the calls whose ids stand in a line that cannot be read: nobody shall wait for what has come.
    fn fail_found(&mut self, excerpts: &[&[u8]], error: LinkError) {
        let ids: Vec<Cow<'_, str>> = excerpts
            .iter()
            .filter_map(|excerpt| find_id(excerpt, self.shared.id_prefix().as_bytes()))
            .map(String::from_utf8_lossy)
            .collect();
        for id in ids {
            self.fail(&id, error);
        }
    }

    fn fail(&mut self, id: &str, error: LinkError) {
        let number = self.shared.call_number(id);
        if let Some(slot) = number.and_then(|number| self.running.pending.remove(number)) {
            slot.finish(Err(error));
        }
    }

    fn complain(&mut self, about: &str, line: &[u8]) {
        if let Some(suppressed) = self.complaints.admit() {
            let server = &*self.shared.spec.server;
            let bytes = line.len();
            warn!(%server, about, bytes, suppressed, "server wrote what is no message");
            debug!(%server, line = printable(line, COMPLAINT_EXCERPT), "the line");
        }
    }
}

/// The raw JSON of the member `id` with one of our ids, if the excerpt has one.
fn find_id<'a>(excerpt: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    for key in memmem::find_iter(excerpt, b"\"id\"") {
        let after = excerpt.get(key + 4..)?.trim_ascii_start();
        let Some(value) = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
            continue;
        };
        if value.starts_with(prefix) {
            let end = memchr::memchr(b'"', value.get(1..)?)?;
            return value.get(..end + 2);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_id_at_either_end() {
        let find = |text: &'static str| {
            find_id(text.as_bytes(), b"\"w1-").map(|id| std::str::from_utf8(id).unwrap())
        };
        assert_eq!(
            find(r#"{"jsonrpc":"2.0","id":"w1-17","result":{"#),
            Some("\"w1-17\"")
        );
        assert_eq!(
            find(r#"xxxx"}]},"jsonrpc":"2.0", "id" : "w1-17"}"#),
            Some("\"w1-17\"")
        );
        assert_eq!(find(r#"{"id":"w2-17","x":"w1-17"}"#), None);
        assert_eq!(find(r#"{"id":"w1-17"#), None);
        assert_eq!(find(r#"{"id""#), None);
    }
}
