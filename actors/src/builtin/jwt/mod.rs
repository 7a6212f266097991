//! The `jwt` auth provider: access tokens of configured issuers, for this resource and no other.
//!
//! Rules: only asymmetric algorithms from a fixed list; `exp`, `iss`, `aud` and `sub` are required and must have the
//! right types; `crit` and encrypted tokens are refused; `kid` is a key of the map that the configured issuer's JWKS
//! is, and nothing else; nothing in a token can make the gateway fetch anything but that JWKS.
//!
//! Read in this order: `config`, `algorithm`, `token` (what a token says), `claims` (whether that is enough),
//! `key_set` (the keys of an issuer), `key_source` (where they come from), `provider` (all of it, with caches).

mod algorithm;
mod claims;
mod config;
mod key_set;
mod key_source;
mod provider;
mod token;

#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use config::{ClaimNames, IssuerConfig, JwtConfig};
pub(crate) use config::{has_plain_host, is_loopback, is_scope};
pub use key_source::{JWKS_MAX_BYTES, JWKS_TIMEOUT};
pub use provider::JwtAuth;
pub use token::MAX_TOKEN_BYTES;
