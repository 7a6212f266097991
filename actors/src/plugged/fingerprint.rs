//! What is remembered is found by a hash of what was asked: secrets are not kept, and nothing is copied to look.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use weir_plugin_protocol::UserPrincipal;

/// The SHA-256 of what was asked.
pub(super) type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// A hash in the making. Every part is told with its length, so that two different questions never read the same.
pub(super) struct Fingerprinting(Context);

// === impl Fingerprinting ===

impl Fingerprinting {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text.as_bytes());
    }

    pub(super) fn optional(&mut self, text: Option<&str>) {
        self.length(usize::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn texts(&mut self, texts: &[String]) {
        self.length(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    /// All that plugins are told of somebody: with other roles, or in other groups, somebody is somebody else.
    pub(super) fn principal(&mut self, principal: &UserPrincipal) {
        self.text(&principal.user_id);
        self.optional(principal.tenant_id.as_deref());
        self.texts(&principal.roles);
        self.texts(&principal.groups);
    }

    pub(super) fn finish(self) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (to, from) in fingerprint.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        fingerprint
    }

    fn length(&mut self, length: usize) {
        self.0.update(&(length as u64).to_le_bytes());
    }
}
