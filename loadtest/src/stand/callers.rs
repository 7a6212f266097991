//! Callers with access tokens: an issuer with a key of its own, made when the program starts and never written down.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::line::Caller;

/// Who signs the tokens. Nothing is ever fetched from there.
pub(super) const ISSUER: &str = "https://issuer.weir-loadtest.invalid";

/// What the tokens are made out to.
pub(super) const RESOURCE: &str = "https://gateway.weir-loadtest.invalid/mcp";

/// The scope that every token has.
pub(super) const SCOPE: &str = "mcp";

/// The role that every caller has.
pub(super) const ROLE: &str = "caller";

/// Seconds that a token is good for: longer than any run.
const LIFETIME: u64 = 24 * 60 * 60;

const KEY_ID: &str = "loadtest";

/// Signs access tokens with ES256.
pub(crate) struct Issuer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

// === impl Issuer ===

impl Issuer {
    /// Makes a new key.
    pub(crate) fn new() -> Result<Self, String> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| "cannot make a signing key")?;
        Ok(Self {
            key,
            random: SystemRandom::new(),
        })
    }

    /// The key set that tokens are checked with.
    pub(super) fn key_set(&self) -> Result<Value, String> {
        // An uncompressed point: 4, 32 bytes of x, 32 bytes of y.
        let point = self.key.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err("the public key is no P-256 point".to_owned());
        };
        Ok(json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": KEY_ID, "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] }))
    }

    /// So many callers, each of a tenant of its own.
    pub(crate) fn callers(&self, tenants: usize) -> Result<Vec<Caller>, String> {
        (0..tenants)
            .map(|number| {
                let tenant = format!("tenant-{number:03}");
                let token = self.token(&format!("user-of-{tenant}"), &tenant)?;
                Ok(Caller {
                    headers: vec![format!("Authorization: Bearer {token}")],
                    mark: Some(tenant),
                })
            })
            .collect()
    }

    fn token(&self, user: &str, tenant: &str) -> Result<String, String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "the clock is before 1970")?
            .as_secs();
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": KEY_ID });
        let claims = json!({
            "iss": ISSUER, "aud": RESOURCE, "sub": user, "tenant_id": tenant, "roles": [ROLE], "groups": ["load"],
            "scope": SCOPE, "client_id": "weir-loadtest", "jti": format!("{user}-{now}"), "iat": now, "exp": now + LIFETIME,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| "cannot sign a token")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn tokens_verify_with_the_key_set() {
        let issuer = Issuer::new().unwrap();
        let keys = issuer.key_set().unwrap();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let part = |name: &str| decode(keys["keys"][0][name].as_str().unwrap());
        let point = [vec![4], part("x"), part("y")].concat();
        let callers = issuer.callers(2).unwrap();
        assert_ne!(callers[0].mark, callers[1].mark);
        let token = callers[1].headers[0].rsplit_once(' ').unwrap().1.to_owned();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &decode(signature))
            .unwrap();
        let claims: Value =
            serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
        assert_eq!(claims["tenant_id"], "tenant-001");
    }
}
