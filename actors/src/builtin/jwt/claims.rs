//! Whether the claims of a token are enough, and who they say the caller is.

use serde_json::{Map, Value};
use weir_plugin_protocol::UserPrincipal;

use super::config::{ClaimNames, IssuerConfig};

/// The longest user or tenant id, in bytes.
const MAX_ID_BYTES: usize = 512;
/// The most roles or groups of a user.
const MAX_ROLES: usize = 1024;
/// The largest date: beyond it a number is a mistake, not a date (year 9999).
const MAX_DATE: f64 = 253_402_300_799.0;

/// What an issuer's tokens must say.
#[derive(Debug)]
pub(super) struct ClaimRules {
    /// `iss`.
    pub(super) issuer: String,
    audience: Vec<String>,
    leeway: u64,
    names: ClaimNames,
    tenant: Option<String>,
    user_prefix: String,
    required_scopes: Vec<String>,
}

/// A claim that is missing, of the wrong type, or not for us. Holds nothing of the token.
pub(super) type Flaw = &'static str;

// === impl ClaimRules ===

impl ClaimRules {
    pub(super) fn new(config: &IssuerConfig, resource: Option<&str>) -> Self {
        let mut audience = config.audience.clone();
        if audience.is_empty() {
            audience.extend(resource.map(str::to_owned));
        }
        Self {
            issuer: config.issuer.clone(),
            audience,
            leeway: config.leeway_seconds,
            names: config.claims.clone(),
            tenant: config.tenant.clone(),
            user_prefix: config.user_prefix.clone().unwrap_or_default(),
            required_scopes: config.required_scopes.clone(),
        }
    }

    /// Scopes that a token needs.
    pub(super) fn required_scopes(&self) -> &[String] {
        &self.required_scopes
    }

    /// Checks dates and audience; returns the second from which the token is no longer valid.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Flaw> {
        let expiry = date(claims, "exp", "`exp` is not a date")?.ok_or("`exp` is missing")?;
        let until = expiry.saturating_add(self.leeway);
        if now >= until {
            return Err("the token has expired");
        }
        let not_before = date(claims, "nbf", "`nbf` is not a date")?;
        if not_before.is_some_and(|begin| begin > now.saturating_add(self.leeway)) {
            return Err("the token is not valid yet");
        }
        date(claims, "iat", "`iat` is not a date")?;
        match claims.get("aud") {
            None => return Err("`aud` is missing"),
            Some(audience) => {
                let named = texts(audience).ok_or("`aud` is neither a text nor a list of texts")?;
                if !named
                    .iter()
                    .any(|name| self.audience.iter().any(|own| own == name))
                {
                    return Err("the token is for another audience");
                }
            }
        }
        match claims.get("sub") {
            None => Err("`sub` is missing"),
            Some(Value::String(subject)) if !subject.is_empty() => Ok(until),
            Some(_) => Err("`sub` is not a text"),
        }
    }

    /// Returns true if the token has all scopes that are required, in `scope` or `scp`.
    pub(super) fn has_scopes(&self, claims: &Map<String, Value>) -> bool {
        let mut granted = Vec::new();
        for claim in ["scope", "scp"] {
            for text in claims.get(claim).and_then(texts).into_iter().flatten() {
                granted.extend(text.split(' '));
            }
        }
        self.required_scopes
            .iter()
            .all(|scope| granted.contains(&scope.as_str()))
    }

    /// Makes the principal of a token that was checked.
    pub(super) fn principal(&self, claims: &Map<String, Value>) -> Result<UserPrincipal, Flaw> {
        let user = match find(claims, &self.names.user) {
            Some(Value::String(user)) => user,
            _ => return Err("the claim of the user id is not a text"),
        };
        let mut principal = UserPrincipal::named(format!("{}{}", self.user_prefix, id(user)?));
        principal.tenant_id = match (&self.tenant, find(claims, &self.names.tenant)) {
            (Some(tenant), _) => Some(tenant.clone()),
            (None, None) => None,
            (None, Some(Value::String(tenant))) => Some(id(tenant)?.to_owned()),
            (None, Some(_)) => return Err("the claim of the tenant is not a text"),
        };
        principal.roles = names(claims, &self.names.roles)?;
        principal.groups = names(claims, &self.names.groups)?;
        let issuer = Value::String(self.issuer.clone());
        principal.metadata.insert("issuer".to_owned(), issuer);
        Ok(principal)
    }
}

/// Reads a NumericDate (RFC 7519). A text that looks like a number is not one.
fn date(claims: &Map<String, Value>, name: &str, flaw: Flaw) -> Result<Option<u64>, Flaw> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked, and a fraction of a second does not matter"
            )]
            Some(seconds) if (0.0..=MAX_DATE).contains(&seconds) => Ok(Some(seconds as u64)),
            _ => Err(flaw),
        },
        _ => Err(flaw),
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn names(claims: &Map<String, Value>, claim: &str) -> Result<Vec<String>, Flaw> {
    let Some(value) = find(claims, claim) else {
        return Ok(Vec::new());
    };
    let names = texts(value).ok_or("a claim of roles or groups is no list of texts")?;
    if names.len() > MAX_ROLES {
        return Err("the token has too many roles or groups");
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn find<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    let Some(pointer) = claim.strip_prefix('/') else {
        return claims.get(claim);
    };
    let mut tokens = pointer
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"));
    let mut value = claims.get(&tokens.next()?)?;
    for token in tokens {
        value = value.as_object()?.get(&token)?;
    }
    Some(value)
}

fn id(text: &str) -> Result<&str, Flaw> {
    if text.is_empty() || text.len() > MAX_ID_BYTES || text.chars().any(char::is_control) {
        return Err("the id of a user or tenant is empty, too long or has control characters");
    }
    Ok(text)
}
