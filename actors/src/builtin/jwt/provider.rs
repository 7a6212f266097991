//! The provider: from a bearer token to a principal, with what was decided before close at hand.

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::sync::Cache;
use serde_json::Value;
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use super::algorithm::Algorithm;
use super::claims::ClaimRules;
use super::config::{IssuerConfig, JwtConfig};
use super::key_source::{KeySource, Running};
use super::token::{MAX_TOKEN_BYTES, Token};
use crate::builtin::Misconfigured;
use crate::builtin::outside::{Clock, Outside};

/// The most tokens that are remembered as good.
const ACCEPTED_TOKENS: u64 = 10_000;
/// The most tokens that are remembered as bad: others, so that junk cannot push out what is good.
const REFUSED_TOKENS: u64 = 10_000;
/// How long a bad token is remembered, in seconds.
const REFUSED_SECONDS: u64 = 5;

/// Validates access tokens. A token that was seen before is answered from memory until it expires or the keys of its
/// issuer change.
#[derive(Clone)]
pub struct JwtAuth {
    inner: Arc<Inner>,
}

struct Inner {
    issuers: Vec<Issuer>,
    clock: Clock,
    accepted: Cache<TokenHash, Accepted>,
    refused: Cache<TokenHash, Refused>,
}

struct Issuer {
    rules: ClaimRules,
    algorithms: Vec<Algorithm>,
    keys: Arc<KeySource>,
    config: IssuerConfig,
}

type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

#[derive(Clone)]
struct Accepted {
    principal: Arc<UserPrincipal>,
    until: u64,
    issuer: usize,
    generation: u64,
}

#[derive(Clone)]
struct Refused {
    error: AuthError,
    until: u64,
    /// The keys that could not check the signature, if that was the reason.
    generation: u64,
    issuer: Option<usize>,
}

/// What came of looking at a token.
enum Judgement {
    Accepted(Accepted),
    Refused(Refused),
    /// The issuer's keys at hand do not have the one that is needed; which issuer.
    KeyMissing(usize),
}

// === impl JwtAuth ===

impl JwtAuth {
    /// Checks the configuration and reads key files. Keys behind a URL are fetched when the first token needs them,
    /// or by [`JwtAuth::warm`]. `resource` is the audience of issuers that name none.
    pub fn load(
        config: &JwtConfig,
        resource: Option<&str>,
        outside: &Outside,
    ) -> Result<Self, Misconfigured> {
        Self::load_after(config, resource, outside, &[])
    }

    /// The same, when there are providers already: keys that were fetched for an issuer which did not change are kept,
    /// so that nobody has to wait for them, or for an issuer that is down. Verdicts are not kept.
    pub fn load_after(
        config: &JwtConfig,
        resource: Option<&str>,
        outside: &Outside,
        before: &[Self],
    ) -> Result<Self, Misconfigured> {
        config.check(resource)?;
        let known = |issuer: &IssuerConfig| {
            let mut issuers = before.iter().flat_map(|provider| &provider.inner.issuers);
            let known =
                issuers.find(|known| known.config == *issuer && issuer.key_file().is_none());
            known.map(|known| known.keys.clone())
        };
        let mut issuers = Vec::with_capacity(config.issuers.len());
        for (index, issuer) in config.issuers.iter().enumerate() {
            let keys = known(issuer).unwrap_or_else(|| Arc::new(KeySource::new(issuer, outside)));
            keys.read_file()
                .map_err(|problem| Misconfigured::new(format!("issuers[{index}].jwks"), problem))?;
            issuers.push(Issuer {
                rules: ClaimRules::new(issuer, resource),
                algorithms: issuer.algorithms.clone(),
                keys,
                config: issuer.clone(),
            });
        }
        Ok(Self {
            inner: Arc::new(Inner {
                issuers,
                clock: outside.clock.clone(),
                accepted: Cache::new(ACCEPTED_TOKENS),
                refused: Cache::new(REFUSED_TOKENS),
            }),
        })
    }

    /// Fetches the keys of every issuer that has none yet, and waits for them. Failures are only logged: the first
    /// token tries again.
    pub async fn warm(&self) {
        let now = self.inner.clock.now();
        for issuer in &self.inner.issuers {
            if issuer.keys.generation() == 0
                && let Some(running) = issuer.keys.refresh(now)
            {
                running.ended().await;
            }
        }
    }

    /// Returns true if every issuer has keys.
    pub fn is_ready(&self) -> bool {
        let mut issuers = self.inner.issuers.iter();
        issuers.all(|issuer| issuer.keys.generation() > 0)
    }
}

impl AuthProvider for JwtAuth {
    fn validate_credential(
        &self,
        credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        let token = match credentials {
            None => return Answer::Now(Err(AuthError::Missing)),
            Some(credentials) if credentials.kind == CredentialKind::Bearer => &credentials.value,
            Some(_) => return Answer::Now(Err(invalid("not a bearer token"))),
        };
        if token.expose().len() > MAX_TOKEN_BYTES {
            return Answer::Now(Err(invalid("the token is longer than 16 KiB")));
        }
        let hash = hash(token.expose());
        let now = self.inner.clock.now();
        if let Some(verdict) = self.inner.remembered(&hash, now) {
            return Answer::Now(verdict);
        }
        match self.inner.judge(token.expose(), now) {
            Judgement::Accepted(accepted) => Answer::Now(self.inner.accept(hash, accepted)),
            Judgement::Refused(refused) => Answer::Now(self.inner.refuse(hash, refused)),
            Judgement::KeyMissing(issuer) => {
                match self
                    .inner
                    .issuers
                    .get(issuer)
                    .map(|issuer| issuer.keys.refresh(now))
                {
                    Some(Some(running)) => {
                        let inner = self.inner.clone();
                        Answer::Later(Box::pin(inner.judge_later(token.clone(), hash, running)))
                    }
                    _ => Answer::Now(Err(self.inner.without_key(issuer))),
                }
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    /// What was decided about this token before, if that still holds.
    fn remembered(
        &self,
        hash: &TokenHash,
        now: u64,
    ) -> Option<Result<Arc<UserPrincipal>, AuthError>> {
        let generation = |issuer: usize| {
            let keys = self.issuers.get(issuer).map(|issuer| &issuer.keys);
            keys.map_or(0, |keys| {
                keys.keep_fresh(now);
                keys.generation()
            })
        };
        if let Some(accepted) = self.accepted.get(hash) {
            let holds = now < accepted.until && generation(accepted.issuer) == accepted.generation;
            return holds.then_some(Ok(accepted.principal));
        }
        let refused = self.refused.get(hash)?;
        let same_keys = refused
            .issuer
            .is_none_or(|issuer| generation(issuer) == refused.generation);
        (now < refused.until && same_keys).then_some(Err(refused.error))
    }

    fn judge(&self, text: &str, now: u64) -> Judgement {
        let refuse = |flaw| Judgement::Refused(Refused::new(invalid(flaw), now));
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(flaw) => return refuse(flaw),
        };
        let named = match token.claims.get("iss") {
            Some(Value::String(named)) => named,
            Some(_) => return refuse("`iss` is not a text"),
            None => return refuse("`iss` is missing"),
        };
        let mut candidates = self.issuers.iter().enumerate();
        let Some((index, issuer)) = candidates.find(|(_, issuer)| issuer.rules.issuer == *named)
        else {
            return refuse("the issuer is not known");
        };
        if !issuer.algorithms.contains(&token.algorithm) {
            return refuse("the token's algorithm is not accepted from its issuer");
        }
        let until = match issuer.rules.check(&token.claims, now) {
            Ok(until) => until,
            Err(flaw) => return refuse(flaw),
        };
        issuer.keys.keep_fresh(now);
        let Some(keys) = issuer.keys.keys() else {
            return Judgement::KeyMissing(index);
        };
        let Some(key) = keys.set.find(token.kid.as_deref(), token.algorithm) else {
            return Judgement::KeyMissing(index);
        };
        let generation = keys.generation;
        let by_keys = |error| {
            Judgement::Refused(Refused {
                generation,
                issuer: Some(index),
                ..Refused::new(error, now)
            })
        };
        if !key.verify(token.algorithm, token.message, token.signature) {
            return by_keys(invalid("the signature is not the issuer's"));
        }
        if !issuer.rules.has_scopes(&token.claims) {
            let needed = issuer.rules.required_scopes().join(" ");
            return by_keys(AuthError::InsufficientScope(needed));
        }
        match issuer.rules.principal(&token.claims) {
            Ok(principal) => Judgement::Accepted(Accepted {
                principal: Arc::new(principal),
                until,
                issuer: index,
                generation,
            }),
            Err(flaw) => by_keys(invalid(flaw)),
        }
    }

    async fn judge_later(
        self: Arc<Self>,
        token: Secret,
        hash: TokenHash,
        running: Running,
    ) -> Result<Arc<UserPrincipal>, AuthError> {
        running.ended().await;
        match self.judge(token.expose(), self.clock.now()) {
            Judgement::Accepted(accepted) => self.accept(hash, accepted),
            Judgement::Refused(refused) => self.refuse(hash, refused),
            Judgement::KeyMissing(issuer) => Err(self.without_key(issuer)),
        }
    }

    fn accept(&self, hash: TokenHash, accepted: Accepted) -> Result<Arc<UserPrincipal>, AuthError> {
        let principal = accepted.principal.clone();
        self.accepted.insert(hash, accepted);
        Ok(principal)
    }

    fn refuse(&self, hash: TokenHash, refused: Refused) -> Result<Arc<UserPrincipal>, AuthError> {
        let error = refused.error.clone();
        self.accepted.invalidate(&hash);
        self.refused.insert(hash, refused);
        Err(error)
    }

    /// Not having the key is the token's fault if the issuer has others, and ours if it has none.
    fn without_key(&self, issuer: usize) -> AuthError {
        let has_keys = |issuer: &Issuer| issuer.keys.generation() > 0;
        if self.issuers.get(issuer).is_some_and(has_keys) {
            return invalid("the issuer has no such key");
        }
        AuthError::Unavailable("the issuer's keys could not be loaded".to_owned())
    }
}

// === impl Refused ===

impl Refused {
    fn new(error: AuthError, now: u64) -> Self {
        Self {
            error,
            until: now.saturating_add(REFUSED_SECONDS),
            generation: 0,
            issuer: None,
        }
    }
}

fn invalid(flaw: &str) -> AuthError {
    AuthError::Invalid(flaw.to_owned())
}

fn hash(token: &str) -> TokenHash {
    let mut hash = TokenHash::default();
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}
