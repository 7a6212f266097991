//! Access tokens: none is good unless our key signed exactly this text and what it claims holds.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use weir_actors::builtin::jwt::{JwtAuth, JwtConfig};
use weir_actors::builtin::outside::{NoFetch, ReadFile};
use weir_actors::builtin::{Clock, Outside};
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::role::{Answer, AuthProvider};
use weir_plugin_protocol::{Credentials, Secret};

use crate::taker::Taker;

/// The time at which tokens are looked at, in seconds since 1970.
pub const NOW: u64 = 1_800_000_000;
/// How far clocks may differ, in seconds.
const LEEWAY: f64 = 60.0;
const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "https://gateway.example/mcp";

/// A token in the making.
#[derive(Clone, Debug)]
pub struct Forged {
    /// The text of the header.
    pub header: String,
    /// The text of the claims.
    pub claims: String,
    /// Whose signature it has.
    pub signed: Signed,
    /// Bytes of the finished token that are changed: where, and by which bits.
    pub damage: Vec<(u16, u8)>,
}

/// Whose signature a token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// The issuer's.
    ByIssuer,
    /// Somebody else's.
    ByStranger,
    /// None.
    Not,
    /// Some bytes.
    ByChance,
}

/// The key that counts, another one, and the gateway that knows the first.
struct World {
    issuer: EcdsaKeyPair,
    stranger: EcdsaKeyPair,
    auth: JwtAuth,
}

struct OneFile(Vec<u8>);

/// See [`holds`].
pub fn run(data: &[u8]) {
    let mut taker = Taker::new(data);
    let signed = match taker.byte() % 5 {
        0 => return token_holds(&String::from_utf8_lossy(taker.rest())),
        1 => Signed::ByIssuer,
        2 => Signed::ByStranger,
        3 => Signed::Not,
        _ => Signed::ByChance,
    };
    let header = match taker.optional() {
        Some(header) => String::from_utf8_lossy(header).into_owned(),
        None => good_header().to_string(),
    };
    let claims = match taker.optional() {
        Some(claims) => String::from_utf8_lossy(claims).into_owned(),
        None => good_claims().to_string(),
    };
    let damage = taker.rest().chunks_exact(3);
    holds(&Forged {
        header,
        claims,
        signed,
        damage: damage
            .map(|at| (u16::from_be_bytes([at[0], at[1]]), at[2]))
            .collect(),
    });
}

/// A header that is good.
pub fn good_header() -> Value {
    json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" })
}

/// Claims that are good.
pub fn good_claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600 })
}

/// Makes the token and holds it to [`token_holds`]. One that is good is accepted.
pub fn holds(forged: &Forged) {
    let (header, claims) = (encode(&forged.header), encode(&forged.claims));
    let text = format!("{header}.{claims}");
    let world = world();
    let sign = |key: &EcdsaKeyPair| {
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        signature.as_ref().to_vec()
    };
    let signature = match forged.signed {
        Signed::ByIssuer => sign(&world.issuer),
        Signed::ByStranger => sign(&world.stranger),
        Signed::Not => Vec::new(),
        Signed::ByChance => vec![0x5a; 64],
    };
    let mut token = format!("{text}.{}", encode(signature)).into_bytes();
    for (place, bits) in &forged.damage {
        let place = usize::from(*place) % token.len();
        token[place] ^= bits & 0x7f;
    }
    let is_whole = forged.damage.iter().all(|(_, bits)| bits & 0x7f == 0);
    let token = String::from_utf8_lossy(&token).into_owned();
    let accepted = token_holds_at(&token, world);
    let (good_header, good_claims) = (good_header().to_string(), good_claims().to_string());
    if is_whole
        && forged.signed == Signed::ByIssuer
        && forged.header == good_header
        && forged.claims == good_claims
    {
        assert!(accepted, "a good token is refused: {forged:?}");
    }
}

/// Whatever the text is: if it is accepted, our key signed it and its claims hold.
pub fn token_holds(token: &str) {
    token_holds_at(token, world());
}

fn token_holds_at(token: &str, world: &World) -> bool {
    let credentials = Credentials {
        kind: CredentialKind::Bearer,
        value: Secret::new(token),
    };
    let Answer::Now(verdict) = world.auth.validate_credential(Some(&credentials)) else {
        panic!("the keys are there, nothing has to be waited for");
    };
    let Ok(principal) = verdict else {
        return false;
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("accepted with {} parts: {token}", parts.len());
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let text = &token[..header.len() + 1 + claims.len()];
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, world.issuer.public_key());
    assert!(
        key.verify(text.as_bytes(), &signature).is_ok(),
        "accepted unsigned: {token}"
    );
    let json = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (header, claims) = (json(header), json(claims));
    assert_eq!(header["alg"], "ES256", "{token}");
    assert!(header.get("crit").is_none(), "{token}");
    assert_eq!(claims["iss"], ISSUER, "{token}");
    let is_for_us = match &claims["aud"] {
        Value::Array(audiences) => audiences.contains(&json!(AUDIENCE)),
        audience => audience == AUDIENCE,
    };
    assert!(is_for_us, "{token}");
    let now = NOW as f64;
    assert!(
        claims["exp"]
            .as_f64()
            .is_some_and(|exp| exp + LEEWAY >= now),
        "{token}"
    );
    let not_before = claims.get("nbf").filter(|nbf| !nbf.is_null());
    assert!(
        not_before.is_none_or(|nbf| nbf.as_f64().is_some_and(|nbf| nbf <= now + LEEWAY)),
        "{token}"
    );
    assert_eq!(
        claims["sub"].as_str(),
        Some(principal.user_id.as_str()),
        "{token}"
    );
    assert!(!principal.user_id.is_empty(), "{token}");
    true
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let key = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (issuer, stranger) = (key(), key());
        let (x, y) = issuer.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": encode(x), "y": encode(y) });
        let outside = Outside {
            clock: Clock::new(|| NOW),
            files: Arc::new(OneFile(json!({ "keys": [jwk] }).to_string().into_bytes())),
            environment: Arc::new(|_| None),
            jwks: Arc::new(NoFetch),
        };
        let config: JwtConfig = serde_json::from_value(
            json!({ "issuers": [{ "issuer": ISSUER, "jwks": "keys.json" }] }),
        )
        .unwrap();
        World {
            auth: JwtAuth::load(&config, Some(AUDIENCE), &outside).unwrap(),
            issuer,
            stranger,
        }
    })
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

// === impl OneFile ===

impl ReadFile for OneFile {
    fn read(&self, _path: &Path, _cap: usize) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}
