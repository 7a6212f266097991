//! The hash of an object of a catalogue, whatever its spelling.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};
use weir_plugin_protocol::jsonrpc::canonical;

use crate::upstream::catalog::ListKind;

/// The SHA-256 of the canonical JSON (RFC 8785) of a whole object: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

/// What stands before the digits.
const PREFIX: &str = "sha256:";

// === impl Digest ===

impl Digest {
    /// Hashes an object as a server wrote it. A text that has no canonical form is hashed as it stands.
    pub fn of(raw: &[u8]) -> Self {
        let form = std::str::from_utf8(raw)
            .ok()
            .and_then(|text| canonical(text).ok());
        Self::new(&digest(&SHA256, form.as_deref().map_or(raw, str::as_bytes)))
    }

    /// Hashes what a whole catalogue consists of. Neither order nor repetition counts.
    pub(super) fn of_all<'a>(objects: impl Iterator<Item = (ListKind, &'a str, Self)>) -> Self {
        let mut objects: Vec<_> = objects.collect();
        objects.sort_unstable();
        objects.dedup();
        let mut context = Context::new(&SHA256);
        for (kind, name, Self(hash)) in objects {
            context.update(kind.singular().as_bytes());
            context.update(&name.len().to_be_bytes());
            context.update(name.as_bytes());
            context.update(&hash);
        }
        Self::new(&context.finish())
    }

    fn new(hash: &aws_lc_rs::digest::Digest) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, hashed) in bytes.iter_mut().zip(hash.as_ref()) {
            *byte = *hashed;
        }
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no hash; write `sha256:` and 64 hexadecimal digits");
        let digits = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(wrong());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
