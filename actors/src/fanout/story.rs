//! Listens to one legacy session: when it began, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Fanout;
use super::note::{StreamEvent, What};

/// A session while it lasts. Dropped before its end, it was given up.
#[derive(Debug)]
pub(crate) struct Story {
    fanout: Arc<Fanout>,
    session: Arc<str>,
    over: AtomicBool,
}

// === impl Story ===

impl Story {
    /// The session of this number begins.
    pub(crate) fn begin(fanout: Arc<Fanout>, session: String, version: &str, user: &str) -> Self {
        let story = Self {
            fanout,
            session: session.into(),
            over: AtomicBool::new(false),
        };
        let data = vec![
            ("stream", "session".to_owned()),
            ("protocol_version", version.to_owned()),
            ("user_id", user.to_owned()),
        ];
        story.tell(StreamEvent::Start, data);
        story
    }

    /// Its client has ended it.
    pub(crate) fn end(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.tell(StreamEvent::End, vec![("stream", "session".to_owned())]);
        }
    }

    fn tell(&self, event: StreamEvent, data: Vec<(&'static str, String)>) {
        let what = What::Stream { event, data };
        self.fanout
            .tell(what, self.session.clone(), Some(self.session.clone()));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            let data = vec![
                ("stream", "session".to_owned()),
                ("reason", "expired".to_owned()),
            ];
            self.tell(StreamEvent::Error, data);
        }
    }
}
