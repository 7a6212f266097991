//! Seals small texts that a client keeps for us: legacy session ids and `requestState`. What comes back is attacker
//! input; it opens only if a gateway with the same key sealed exactly these bytes for exactly this purpose.
//!
//! Wire form: base64url without padding of `version ‖ key id ‖ nonce ‖ ciphertext ‖ tag`, AES-256-GCM. The version
//! and the key id are authenticated together with the associated data of the caller.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

pub use self::config::SealingConfig;

mod config;

/// The longest text that [`Sealer::open`] looks at, in bytes: headers and `requestState` are smaller than this.
pub const MAX_SEALED_BYTES: usize = 8 * 1024;
/// The longest plain text whose sealed form still opens, in bytes. [`Sealer::seal_until`] needs eight of them.
pub const MAX_PLAIN_BYTES: usize = MAX_SEALED_BYTES / 4 * 3 - OVERHEAD;

const KEY_BYTES: usize = 32;
/// A key with fewer different bytes is no random one: not one among 10^14 has so few.
const MIN_DIFFERENT_BYTES: usize = 17;
const KEY_ID_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
const TAG_BYTES: usize = 16;
const OVERHEAD: usize = HEADER_BYTES + NONCE_LEN + TAG_BYTES;

/// Marks texts without an expiry.
const PLAIN: u8 = 1;
/// Marks texts that begin with the second after which they no longer open.
const TIMED: u8 = 2;

/// A 256-bit sealing key. Its id is derived from it, so replicas with the same key agree on the id.
#[derive(Clone)]
pub struct SealKey([u8; KEY_BYTES]);

/// The keys of a gateway: one that seals, and those that still open.
#[derive(Clone, Debug)]
pub struct SealKeys {
    /// Seals and opens.
    pub current: SealKey,
    /// Only open: keys that were current not longer ago than the longest life of a sealed text.
    pub previous: Vec<SealKey>,
}

/// Why a text is not a sealing key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SealKeyError {
    /// Not the base64url form of 32 bytes.
    #[error("a sealing key is 32 random bytes in base64url without padding (43 characters)")]
    Malformed,
    /// Too few different bytes: a word or a pattern, repeated.
    #[error("the sealing key is a placeholder, not random")]
    Placeholder,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// Seals and opens. Shared behind an `Arc`; the keys can be exchanged while it is in use.
pub struct Sealer(ArcSwap<Ring>);

/// The keys at one time.
struct Ring {
    current: Keyed,
    previous: Vec<Keyed>,
}

struct Keyed {
    id: [u8; KEY_ID_BYTES],
    key: LessSafeKey,
}

// === impl SealKey ===

impl SealKey {
    /// Makes a new random key.
    pub fn random() -> Result<Self, SealKeyError> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| SealKeyError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Reads a key from the form that [`SealKey::encode`] writes.
    pub fn parse(text: &str) -> Result<Self, SealKeyError> {
        let decoded = URL_SAFE_NO_PAD
            .decode(text.trim())
            .map_err(|_| SealKeyError::Malformed)?;
        let bytes: [u8; KEY_BYTES] = decoded.try_into().map_err(|_| SealKeyError::Malformed)?;
        let different: BTreeSet<u8> = bytes.iter().copied().collect();
        if different.len() < MIN_DIFFERENT_BYTES {
            return Err(SealKeyError::Placeholder);
        }
        Ok(Self(bytes))
    }

    /// Hands out the key in base64url, for the file or secret that replicas share. Every call is a place to look in
    /// a review.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"weir seal key id");
        context.update(&self.0);
        let mut id = [0; KEY_ID_BYTES];
        for (to, from) in id.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        id
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

// === impl SealKeys ===

impl SealKeys {
    /// One new random key: enough for a single gateway whose sealed texts need not survive it.
    pub fn random() -> Result<Self, SealKeyError> {
        Ok(Self {
            current: SealKey::random()?,
            previous: Vec::new(),
        })
    }
}

// === impl Keyed ===

impl Keyed {
    fn new(key: &SealKey) -> Option<Self> {
        let unbound = UnboundKey::new(&AES_256_GCM, &key.0).ok()?;
        Some(Self {
            id: key.id(),
            key: LessSafeKey::new(unbound),
        })
    }
}

// === impl Ring ===

impl Ring {
    #[expect(
        clippy::expect_used,
        reason = "AES-256-GCM takes every key of 32 bytes, and the type holds 32"
    )]
    fn new(keys: &SealKeys) -> Self {
        Self {
            current: Keyed::new(&keys.current).expect("a key of 32 bytes"),
            previous: keys.previous.iter().filter_map(Keyed::new).collect(),
        }
    }
}

// === impl Sealer ===

impl Sealer {
    /// Makes a sealer of `keys`.
    pub fn new(keys: &SealKeys) -> Self {
        Self(ArcSwap::from_pointee(Ring::new(keys)))
    }

    /// Seals and opens with other keys from now on. What was sealed with a key that is not among them stays closed.
    pub fn replace(&self, keys: &SealKeys) {
        self.0.store(Arc::new(Ring::new(keys)));
    }

    /// Seals `plain` for the purpose `aad`. A plain text longer than [`MAX_PLAIN_BYTES`] is sealed, but will not open.
    /// Returns an empty text, which never opens, if the operating system has no randomness.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> String {
        self.seal_as(PLAIN, aad, plain)
    }

    /// Opens what [`Sealer::seal`] sealed for the same purpose, with the current key or a previous one.
    pub fn open(&self, aad: &[u8], sealed: &str) -> Option<Vec<u8>> {
        self.open_as(PLAIN, aad, sealed)
    }

    /// Seals `plain` so that it opens up to and including the second `expiry` (Unix time).
    pub fn seal_until(&self, expiry: u64, aad: &[u8], plain: &[u8]) -> String {
        let mut timed = Vec::with_capacity(8 + plain.len());
        timed.extend_from_slice(&expiry.to_be_bytes());
        timed.extend_from_slice(plain);
        self.seal_as(TIMED, aad, &timed)
    }

    /// Opens what [`Sealer::seal_until`] sealed, unless it expired before the second `now` (Unix time).
    pub fn open_at(&self, now: u64, aad: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let mut timed = self.open_as(TIMED, aad, sealed)?;
        let (expiry, _) = timed.split_first_chunk::<8>()?;
        if now > u64::from_be_bytes(*expiry) {
            return None;
        }
        timed.drain(..8);
        Some(timed)
    }

    fn seal_as(&self, version: u8, aad: &[u8], plain: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        if rand::fill(&mut nonce).is_err() {
            return String::new();
        }
        let ring = self.0.load();
        let header = header(version, &ring.current.id);
        let mut body = plain.to_vec();
        let sealing = ring.current.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated(&header, aad)),
            &mut body,
        );
        if sealing.is_err() {
            return String::new();
        }
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.extend_from_slice(&header);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    fn open_as(&self, version: u8, aad: &[u8], sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (found, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let [found_version, id @ ..] = found;
        if *found_version != version {
            return None;
        }
        let ring = self.0.load();
        let candidates = std::iter::once(&ring.current).chain(&ring.previous);
        for keyed in candidates.filter(|keyed| keyed.id == *id) {
            let mut body = rest.to_vec();
            let opened = keyed.key.open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(associated(found, aad)),
                &mut body,
            );
            if let Ok(plain) = opened {
                let length = plain.len();
                body.truncate(length);
                return Some(body);
            }
        }
        None
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}

fn header(version: u8, id: &[u8; KEY_ID_BYTES]) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = *id;
    [version, a, b, c, d]
}

fn associated(header: &[u8; HEADER_BYTES], aad: &[u8]) -> Vec<u8> {
    let mut associated = Vec::with_capacity(header.len() + aad.len());
    associated.extend_from_slice(header);
    associated.extend_from_slice(aad);
    associated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&SealKeys::random().unwrap())
    }

    #[test]
    fn no_flipped_bit_opens() {
        let sealer = sealer();
        let sealed = sealer.seal(b"session", b"alice");
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                sealer.open(b"session", &URL_SAFE_NO_PAD.encode(changed)),
                None,
                "bit {bit}"
            );
        }
        assert_eq!(sealer.open(b"session", &sealed).unwrap(), b"alice");
    }

    #[test]
    fn no_flipped_bit_of_the_text_opens() {
        let sealer = sealer();
        for plain in [&b"a"[..], b"ab", b"abc"] {
            let sealed = sealer.seal(b"", plain);
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone().into_bytes();
                changed[bit / 8] ^= 1 << (bit % 8);
                if let Ok(changed) = String::from_utf8(changed) {
                    assert_eq!(sealer.open(b"", &changed), None, "bit {bit} of {sealed}");
                }
            }
        }
    }

    #[test]
    fn nothing_shorter_or_longer_opens() {
        let sealer = sealer();
        let sealed = sealer.seal(b"aad", b"some text");
        for length in 0..sealed.len() {
            assert_eq!(sealer.open(b"aad", &sealed[..length]), None);
        }
        assert_eq!(sealer.open(b"aad", &format!("{sealed}A")), None);
        assert_eq!(sealer.open(b"aad", &format!("{sealed}=")), None);
        assert_eq!(sealer.open(b"aad", &format!(" {sealed}")), None);
    }

    #[test]
    fn the_longest_text_opens_and_one_more_byte_does_not() {
        let sealer = sealer();
        let longest = sealer.seal(b"", &vec![7; MAX_PLAIN_BYTES]);
        assert!(longest.len() <= MAX_SEALED_BYTES);
        assert!(sealer.open(b"", &longest).is_some());
        let too_long = sealer.seal(b"", &vec![7; MAX_PLAIN_BYTES + 1]);
        assert_eq!(sealer.open(b"", &too_long), None);
    }

    #[test]
    fn a_previous_key_opens_and_a_dropped_one_does_not() {
        let old = SealKeys::random().unwrap();
        let sealed = Sealer::new(&old).seal(b"aad", b"text");
        let rotated = SealKeys {
            current: SealKey::random().unwrap(),
            previous: vec![old.current],
        };
        assert_eq!(
            Sealer::new(&rotated).open(b"aad", &sealed).unwrap(),
            b"text"
        );
        let after_overlap = SealKeys {
            previous: Vec::new(),
            ..rotated
        };
        assert_eq!(Sealer::new(&after_overlap).open(b"aad", &sealed), None);
    }

    #[test]
    fn timed_texts_expire_and_do_not_pass_as_plain_ones() {
        let sealer = sealer();
        let sealed = sealer.seal_until(1000, b"aad", b"text");
        assert_eq!(sealer.open_at(1000, b"aad", &sealed).unwrap(), b"text");
        assert_eq!(sealer.open_at(1001, b"aad", &sealed), None);
        assert_eq!(sealer.open_at(1000, b"other", &sealed), None);
        assert_eq!(sealer.open(b"aad", &sealed), None);
        assert_eq!(
            sealer.open_at(0, b"aad", &sealer.seal(b"aad", &[0xff; 16])),
            None
        );
    }

    #[test]
    fn keys_survive_their_text_form_and_placeholders_are_refused() {
        let key = SealKey::random().unwrap();
        let sealed = Sealer::new(&SealKeys {
            current: key.clone(),
            previous: Vec::new(),
        })
        .seal(b"", b"x");
        let read = SealKeys {
            current: SealKey::parse(&format!("{}\n", key.encode())).unwrap(),
            previous: Vec::new(),
        };
        assert_eq!(Sealer::new(&read).open(b"", &sealed).unwrap(), b"x");
        assert_eq!(
            SealKey::parse("changeme").unwrap_err(),
            SealKeyError::Malformed
        );
        for placeholder in [
            &[0; 32][..],
            b"secretsecretsecretsecretsecret32",
            &[1, 2, 3, 4, 5, 6, 7, 8].repeat(4),
        ] {
            assert_eq!(
                SealKey::parse(&URL_SAFE_NO_PAD.encode(placeholder)).unwrap_err(),
                SealKeyError::Placeholder
            );
        }
        assert_eq!(format!("{key:?}"), "***");
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_for_its_purpose_only(plain: Vec<u8>, aad: Vec<u8>, other: Vec<u8>) {
            let sealer = sealer();
            let sealed = sealer.seal(&aad, &plain);
            prop_assert_eq!(sealer.open(&aad, &sealed), Some(plain));
            if aad != other {
                prop_assert_eq!(sealer.open(&other, &sealed), None);
            }
        }

        #[test]
        fn arbitrary_texts_do_not_open(text: String) {
            prop_assert_eq!(sealer().open(b"", &text), None);
        }
    }
}
