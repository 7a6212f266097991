//! What a token says, read strictly. Nothing here is true before the signature was checked.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use crate::builtin::strict_json;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Values of `typ` that mean an access token, in lower case; absent means one too (RFC 9068, RFC 8725).
const ACCESS_TOKEN_TYPES: &[&str] = &["jwt", "at+jwt", "application/at+jwt"];

/// A signed token in three parts (RFC 7515, compact form).
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// What it claims to be signed with.
    pub(super) algorithm: Algorithm,
    /// The key it claims to be signed with.
    pub(super) kid: Option<String>,
    /// What it says.
    pub(super) claims: Map<String, Value>,
    /// What is signed.
    pub(super) message: &'a str,
    /// The signature, in base64url.
    pub(super) signature: &'a str,
}

// === impl Token ===

impl<'a> Token<'a> {
    /// Reads a token. The error is for the log and holds nothing of the token.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("the token is longer than 16 KiB");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("the token does not have three parts");
        };
        match parts.count() {
            0 => {}
            2 => return Err("encrypted tokens are not accepted"),
            _ => return Err("the token does not have three parts"),
        }
        let (algorithm, kid) = read_header(&object(header)?)?;
        let claims = object(payload)?;
        let message = text
            .get(..header.len() + 1 + payload.len())
            .unwrap_or_default();
        Ok(Self {
            algorithm,
            kid,
            claims,
            message,
            signature,
        })
    }
}

fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| "a part of the token is not base64url")?;
    strict_json::object(&bytes)
        .map_err(|_| "a part of the token is not a JSON object with unique keys")
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), &'static str> {
    if header.contains_key("crit") {
        return Err("the token has critical extensions, and none is known here");
    }
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err("encrypted tokens are not accepted");
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => {
            Algorithm::parse(name).ok_or("the token's algorithm is not accepted")?
        }
        Some(_) => return Err("the token's algorithm is not a text"),
        None => return Err("the token names no algorithm"),
    };
    match header.get("typ") {
        None => {}
        Some(Value::String(kind))
            if ACCESS_TOKEN_TYPES.contains(&kind.to_ascii_lowercase().as_str()) => {}
        Some(_) => return Err("the token is not an access token by its type"),
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("the token's key id is not a text"),
    };
    Ok((algorithm, kid))
}
