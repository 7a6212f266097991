//! The public keys of one issuer (RFC 7517). Keys that cannot check signatures here are left out; a document that
//! could be read in two ways is refused whole.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyKind};
use crate::builtin::strict_json;

/// Sizes of RSA keys that are strong enough and still cheap to use, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one document.
#[derive(Default)]
pub(super) struct KeySet {
    named: HashMap<String, Vec<Key>>,
    unnamed: Vec<Key>,
}

/// One public key.
pub(super) struct Key {
    kind: KeyKind,
    /// The only algorithm it may be used with, if the document says so.
    algorithm: Option<String>,
    decoding: DecodingKey,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JWKS document. The error is for the log.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let document = strict_json::object(document)
            .map_err(|error| format!("not a JSON object with unique keys: {error}"))?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err("no list `keys`".to_owned());
        };
        let mut set = Self::default();
        for entry in entries {
            let Value::Object(entry) = entry else {
                return Err("an entry of `keys` is not an object".to_owned());
            };
            let Some(key) = Key::read(entry) else {
                continue;
            };
            match entry.get("kid") {
                None => set.unnamed.push(key),
                Some(Value::String(kid)) => {
                    let same = set.named.entry(kid.clone()).or_default();
                    if same.iter().any(|other| other.kind == key.kind) {
                        return Err(format!("two keys with the id {kid:?}"));
                    }
                    same.push(key);
                }
                Some(_) => return Err("a key id is not a text".to_owned()),
            }
        }
        if set.keys().next().is_none() {
            return Err("no key that could check a signature".to_owned());
        }
        Ok(set)
    }

    /// Finds the one key for a token. A token that names no key needs a set in which only one key is possible.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        match kid {
            Some(kid) => {
                let mut same = self.named.get(kid)?.iter();
                same.find(|key| key.serves(algorithm))
            }
            None => {
                let mut possible = self.keys().filter(|key| key.serves(algorithm));
                let first = possible.next()?;
                possible.next().is_none().then_some(first)
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.named.values().flatten().chain(&self.unnamed)
    }
}

// === impl Key ===

impl Key {
    /// Checks a signature with this key.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        if !self.serves(algorithm) {
            return false;
        }
        let verdict = jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &self.decoding,
            algorithm.verifier(),
        );
        matches!(verdict, Ok(true))
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        if algorithm.key_kind() != self.kind {
            return false;
        }
        match self.algorithm.as_deref() {
            None => true,
            // The two names of the same algorithm (RFC 8037, RFC 9864).
            Some("Ed25519") => algorithm == Algorithm::EdDSA,
            Some(name) => Algorithm::parse(name) == Some(algorithm),
        }
    }

    /// Reads a key that checks signatures; `None` for all others.
    fn read(entry: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if entry.contains_key("use") && text("use") != Some("sig") {
            return None;
        }
        if let Some(operations) = entry.get("key_ops") {
            let operations = operations.as_array()?;
            if !operations.iter().any(|operation| operation == "verify") {
                return None;
            }
        }
        let algorithm = match entry.get("alg") {
            None => None,
            Some(name) => Some(name.as_str()?.to_owned()),
        };
        let (kind, decoding) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                if !is_sound_rsa(&modulus, &exponent) {
                    return None;
                }
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                (KeyKind::Rsa, key)
            }
            ("EC", Some(curve)) => {
                let (kind, size) = match curve {
                    "P-256" => (KeyKind::P256, 32),
                    "P-384" => (KeyKind::P384, 48),
                    _ => return None,
                };
                if bytes("x")?.len() != size || bytes("y")?.len() != size {
                    return None;
                }
                let key = DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?;
                (kind, key)
            }
            ("OKP", Some("Ed25519")) if bytes("x")?.len() == 32 => {
                let key = DecodingKey::from_ed_components(text("x")?).ok()?;
                (KeyKind::Ed25519, key)
            }
            _ => return None,
        };
        Some(Self {
            kind,
            algorithm,
            decoding,
        })
    }
}

fn is_sound_rsa(modulus: &[u8], exponent: &[u8]) -> bool {
    let Some(start) = modulus.iter().position(|byte| *byte != 0) else {
        return false;
    };
    let significant = modulus.get(start..).unwrap_or_default();
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros());
    let bits = significant.len() * 8 - usize::try_from(leading).unwrap_or(0);
    let exponent_is_odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
    let exponent_is_one = exponent.iter().rev().skip(1).all(|byte| *byte == 0)
        && exponent.last().is_none_or(|byte| *byte <= 1);
    RSA_BITS.contains(&bits) && exponent_is_odd && !exponent_is_one && exponent.len() <= 8
}
