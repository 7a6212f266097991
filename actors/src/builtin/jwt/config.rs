//! What an operator writes about issuers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::algorithm::Algorithm;
use crate::builtin::Misconfigured;
use crate::upstream::http::AddressRule;

/// The longest tolerated difference between the clocks of issuer and gateway, in seconds.
const MAX_LEEWAY: u64 = 300;
/// The shortest time between two background refreshes of a JWKS, in seconds.
const MIN_REFRESH: u64 = 60;

/// Which access tokens are valid.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuers; a token names its own in `iss`.
    pub issuers: Vec<IssuerConfig>,
}

/// One issuer of access tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The value of `iss`, compared exactly.
    pub issuer: String,
    /// Values of `aud` that mean this gateway; a token needs one of them. Default: `auth.resource`.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Where the issuer's public keys are: an `https://` URL, or a file (read again when an unknown key is used, at
    /// most once a minute, and every `jwks_refresh_seconds`).
    pub jwks: String,
    /// True: `jwks` may be an `http://` URL of another machine. Default false: only of this one.
    #[serde(default)]
    pub jwks_allow_http: bool,
    /// Which addresses the host in `jwks` may lead to; as `addresses` of a server. Default `auto`.
    #[serde(default)]
    pub jwks_addresses: AddressRule,
    /// How old the keys may get before they are fetched again in the background, in seconds; default 600, at least
    /// 60. While that fails, the old keys go on working.
    #[serde(default = "default_refresh")]
    pub jwks_refresh_seconds: u64,
    /// The algorithms that the issuer signs with; default RS256, ES256, PS256 and EdDSA.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Which claims say who the user is.
    #[serde(default)]
    pub claims: ClaimNames,
    /// The tenant of every user of this issuer; the claim is then ignored.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Put before every user id. Needed when there are several issuers without a `tenant`, so that equal ids of
    /// different issuers are different users; `""` says that they are the same.
    #[serde(default)]
    pub user_prefix: Option<String>,
    /// Scopes that a token needs, all of them; default: none.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// How far the clocks of issuer and gateway may differ, in seconds; default 60, at most 300.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u64,
}

/// The names of claims: a name such as `roles`, or a JSON pointer such as `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimNames {
    /// The user id; default `sub`. A text.
    pub user: String,
    /// The tenant; default `tenant_id`. A text, may be absent.
    pub tenant: String,
    /// The roles; default `roles`. A list of texts or one text, may be absent.
    pub roles: String,
    /// The groups; default `groups`. A list of texts or one text, may be absent.
    pub groups: String,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    File(PathBuf),
    Url(String, AddressRule),
}

fn default_refresh() -> u64 {
    600
}

fn default_leeway() -> u64 {
    60
}

fn default_algorithms() -> Vec<Algorithm> {
    Algorithm::DEFAULT.to_vec()
}

// === impl JwtConfig ===

impl JwtConfig {
    /// Checks everything that can be checked without reading keys. `resource` is the audience of issuers that name
    /// none.
    pub(super) fn check(&self, resource: Option<&str>) -> Result<(), Misconfigured> {
        if self.issuers.is_empty() {
            let problem = "no issuer; add one, or remove the provider";
            return Err(Misconfigured::new("issuers", problem));
        }
        let several = self.issuers.len() > 1;
        for (index, issuer) in self.issuers.iter().enumerate() {
            let place = format!("issuers[{index}]");
            issuer
                .check(resource, several)
                .map_err(|error| error.within(&place))?;
            let before = self.issuers.iter().take(index);
            if before
                .into_iter()
                .any(|other| other.issuer == issuer.issuer)
            {
                let problem = "this issuer is listed twice; keep one";
                return Err(Misconfigured::new(format!("{place}.issuer"), problem));
            }
        }
        Ok(())
    }
}

// === impl IssuerConfig ===

impl IssuerConfig {
    pub(super) fn key_place(&self) -> KeyPlace {
        if self.jwks.starts_with("https://") || self.jwks.starts_with("http://") {
            KeyPlace::Url(self.jwks.clone(), self.jwks_addresses)
        } else {
            let path = self.jwks.strip_prefix("file:").unwrap_or(&self.jwks);
            KeyPlace::File(path.into())
        }
    }

    /// The file that the keys are in, if they are in one.
    pub(in crate::builtin) fn key_file(&self) -> Option<PathBuf> {
        match self.key_place() {
            KeyPlace::File(path) => Some(path),
            KeyPlace::Url(..) => None,
        }
    }

    fn check(&self, resource: Option<&str>, several: bool) -> Result<(), Misconfigured> {
        let refuse = |key: &str, problem: &str| Err(Misconfigured::new(key, problem));
        if self.issuer.is_empty() {
            return refuse("issuer", "empty; write the `iss` of the tokens");
        }
        if self.audience.iter().any(String::is_empty) {
            return refuse(
                "audience",
                "an empty audience; write the URI of this gateway",
            );
        }
        if self.audience.is_empty() && resource.is_none() {
            return refuse(
                "audience",
                "missing; name the URI of this gateway here or in `auth.resource`, or tokens for others would pass",
            );
        }
        if self.jwks.is_empty() || self.jwks == "file:" {
            return refuse("jwks", "empty; write an https URL or a file");
        }
        if self.jwks.contains("://") && matches!(self.key_place(), KeyPlace::File(_)) {
            return refuse("jwks", "not an https URL; write `https://…` or a file");
        }
        if matches!(self.key_place(), KeyPlace::Url(..)) && !has_plain_host(&self.jwks) {
            return refuse("jwks", "not a URL with a host and without user or password");
        }
        if self.jwks.starts_with("http://") && !self.jwks_allow_http && !is_loopback(&self.jwks) {
            return refuse(
                "jwks",
                "anybody on the way could replace keys that come by http; use https, or set `jwks_allow_http`",
            );
        }
        if self.jwks_refresh_seconds < MIN_REFRESH {
            return refuse("jwks_refresh_seconds", "below 60; write 60 or more");
        }
        if self.algorithms.is_empty() {
            return refuse("algorithms", "empty; remove the key for the default");
        }
        if self.leeway_seconds > MAX_LEEWAY {
            return refuse("leeway_seconds", "above 300; write 300 or less");
        }
        if self.required_scopes.iter().any(|scope| !is_scope(scope)) {
            return refuse("required_scopes", "not a scope; write one scope per entry");
        }
        if self.tenant.as_deref() == Some("") {
            return refuse("tenant", "empty; name a tenant or remove the key");
        }
        let names = [
            ("claims.user", &self.claims.user),
            ("claims.tenant", &self.claims.tenant),
            ("claims.roles", &self.claims.roles),
            ("claims.groups", &self.claims.groups),
        ];
        for (key, name) in names {
            if name.is_empty() || name == "/" {
                return refuse(key, "empty; write the name of a claim");
            }
        }
        if several && self.tenant.is_none() && self.user_prefix.is_none() {
            return refuse(
                "user_prefix",
                "missing; with several issuers say how their users are told apart: `tenant`, or `user_prefix` \
                 (`\"\"` if equal ids are the same user)",
            );
        }
        Ok(())
    }
}

// === impl ClaimNames ===

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            user: "sub".to_owned(),
            tenant: "tenant_id".to_owned(),
            roles: "roles".to_owned(),
            groups: "groups".to_owned(),
        }
    }
}

/// Returns true if `scope` is one scope (RFC 6749, section 3.3).
pub(crate) fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Returns true if `url` names a host, and no user or password.
pub(crate) fn has_plain_host(url: &str) -> bool {
    let authority = url
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.into_parts().authority);
    authority
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

/// Returns true if the host of `url` is this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    match uri.host().unwrap_or_default() {
        "localhost" => true,
        host => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    }
}
