//! Who may be the caller: the configured providers as one.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_plugin_protocol::role::{AuthError, AuthProvider};

use super::any_of::AnyOf;
use super::api_keys::{self, ApiKeyEntry, ApiKeys, ApiKeysConfig};
use super::challenge::{ProtectedResource, challenge};
use super::desktop_implicit::DesktopImplicit;
use super::jwt::{self, IssuerConfig, JwtAuth, JwtConfig, is_scope};
use super::misconfigured::Misconfigured;
use super::outside::Outside;

/// Who is let in. Empty: whoever reaches the listener is the user of this machine (`desktop-implicit`).
#[derive(Clone, Debug, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Providers, asked in this order until one knows the caller.
    pub providers: Vec<AuthProviderConfig>,
    /// The canonical URI of this gateway, such as `https://host/mcp`: the audience that tokens must have, and what
    /// the metadata of RFC 9728 describe. Needed for `jwt`.
    pub resource: Option<String>,
    /// The authorization servers that clients are sent to; default: the issuers of the `jwt` providers.
    pub authorization_servers: Vec<String>,
    /// Scopes that clients may ask for; default: those that the `jwt` providers require.
    pub scopes_supported: Vec<String>,
}

/// One provider. Which keys belong to it depends on `type`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthProviderConfig {
    /// `desktop-implicit`, `api-keys` or `jwt`.
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// For `api-keys`: keys written here.
    #[serde(default)]
    pub keys: Vec<ApiKeyEntry>,
    /// For `api-keys`: a JSON file that holds a list of such entries (at most 8 MiB); read again on reload.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// For `jwt`: the issuers of access tokens.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
}

/// The built-in providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthKind {
    /// Everybody is `desktop-user` with the role `admin`. Not to be combined with others.
    DesktopImplicit,
    /// API keys, as bearer token or in `X-API-Key`.
    ApiKeys,
    /// Access tokens of OAuth authorization servers.
    Jwt,
}

/// The providers of the configuration, ready to be asked. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    provider: Arc<dyn AuthProvider>,
    api_keys: Vec<Arc<ApiKeys>>,
    jwt: Vec<JwtAuth>,
    resource: Option<ProtectedResource>,
    made_of: Arc<MadeOf>,
}

/// What providers were made of: the same again need not be made.
#[derive(Default, PartialEq)]
struct MadeOf {
    config: AuthConfig,
    /// The SHA-256 of each file that the configuration names.
    files: Vec<Option<Vec<u8>>>,
    /// Whether a plugin is asked besides.
    plugged: bool,
}

// === impl AuthConfig ===

impl AuthConfig {
    fn check(&self) -> Result<(), Misconfigured> {
        for (index, provider) in self.providers.iter().enumerate() {
            let place = format!("providers[{index}]");
            provider.check().map_err(|error| error.within(&place))?;
            if provider.kind == AuthKind::DesktopImplicit && self.providers.len() > 1 {
                let problem = "lets everybody in, so that the other providers would mean nothing; remove one or the others";
                return Err(Misconfigured::new(format!("{place}.type"), problem));
            }
        }
        let has_jwt = self
            .providers
            .iter()
            .any(|provider| provider.kind == AuthKind::Jwt);
        if has_jwt && self.resource.is_none() {
            let problem = "missing; with `jwt` write the URI under which clients reach this gateway, such as `https://host/mcp`";
            return Err(Misconfigured::new("resource", problem));
        }
        if let Some(index) = self
            .scopes_supported
            .iter()
            .position(|scope| !is_scope(scope))
        {
            let problem = "not a scope; write one scope per entry";
            return Err(Misconfigured::new(
                format!("scopes_supported[{index}]"),
                problem,
            ));
        }
        Ok(())
    }

    /// The files that are read when the providers are made, each with its size limit.
    fn limited_files(&self) -> Vec<(PathBuf, usize)> {
        let keys = self.providers.iter().filter_map(|provider| {
            let file = provider.file.clone()?;
            Some((file, api_keys::MAX_FILE_BYTES))
        });
        let sets = self
            .issuers()
            .filter_map(|issuer| Some((issuer.key_file()?, jwt::JWKS_MAX_BYTES)));
        keys.chain(sets).collect()
    }

    /// The files that are read when the providers are made.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.limited_files().into_iter();
        files.map(|(file, _)| file).collect()
    }

    fn issuers(&self) -> impl Iterator<Item = &IssuerConfig> {
        self.providers.iter().flat_map(|provider| &provider.issuers)
    }

    fn protected_resource(&self) -> Result<Option<ProtectedResource>, Misconfigured> {
        let Some(resource) = &self.resource else {
            return Ok(None);
        };
        let resource = ProtectedResource::new(resource)
            .map_err(|problem| Misconfigured::new("resource", problem))?;
        let mut servers = self.authorization_servers.clone();
        if servers.is_empty() {
            servers.extend(self.issuers().map(|issuer| issuer.issuer.clone()));
        }
        let mut required: Vec<String> = Vec::new();
        for scope in self.issuers().flat_map(|issuer| &issuer.required_scopes) {
            if !required.contains(scope) {
                required.push(scope.clone());
            }
        }
        let mut supported = self.scopes_supported.clone();
        if supported.is_empty() {
            supported.clone_from(&required);
        }
        Ok(Some(
            resource
                .with_authorization_servers(servers)
                .with_scopes(supported, required),
        ))
    }
}

// === impl AuthProviderConfig ===

impl AuthProviderConfig {
    fn check(&self) -> Result<(), Misconfigured> {
        let belongs = [
            ("keys", !self.keys.is_empty(), AuthKind::ApiKeys),
            ("file", self.file.is_some(), AuthKind::ApiKeys),
            ("issuers", !self.issuers.is_empty(), AuthKind::Jwt),
        ];
        for (key, given, kind) in belongs {
            if given && self.kind != kind {
                let problem =
                    "does not belong to this type of provider; remove it, or change `type`";
                return Err(Misconfigured::new(key, problem));
            }
        }
        Ok(())
    }
}

// === impl Auth ===

impl Auth {
    /// Checks the configuration and reads the files that it names. Blocks on the disk.
    pub fn load(config: &AuthConfig, outside: &Outside) -> Result<Self, Misconfigured> {
        Self::load_after(config, outside, None, None)
    }

    /// The same with a plugin, which is asked last: for credentials that none of the others knows. Without others it
    /// decides alone: then nobody is let in as the user of this machine.
    ///
    /// There may be providers already. If the configuration and its files are what they were, these are
    /// returned; else what they have learnt is kept as far as it holds: the keys of issuers that did not change.
    /// Verdicts on tokens are not.
    pub fn load_after(
        config: &AuthConfig,
        outside: &Outside,
        plugin: Option<Arc<dyn AuthProvider>>,
        before: Option<&Self>,
    ) -> Result<Self, Misconfigured> {
        let files = config.limited_files().into_iter().map(|(file, limit)| {
            let content = outside.files.read(&file, limit).ok()?;
            Some(digest::digest(&digest::SHA256, &content).as_ref().to_vec())
        });
        let made_of = MadeOf {
            config: config.clone(),
            files: files.collect(),
            plugged: plugin.is_some(),
        };
        if let Some(before) = before
            && *before.made_of == made_of
        {
            return Ok(before.clone());
        }
        config.check()?;
        let resource = config.protected_resource()?;
        let audience = resource.as_ref().map(ProtectedResource::resource);
        let mut providers: Vec<Arc<dyn AuthProvider>> = Vec::new();
        let (mut api_keys, mut jwt) = (Vec::new(), Vec::new());
        for (index, provider) in config.providers.iter().enumerate() {
            let place = |error: Misconfigured| error.within(&format!("providers[{index}]"));
            match provider.kind {
                AuthKind::DesktopImplicit => providers.push(Arc::new(DesktopImplicit::new())),
                AuthKind::ApiKeys => {
                    let config = ApiKeysConfig {
                        keys: provider.keys.clone(),
                        file: provider.file.clone(),
                    };
                    let keys = Arc::new(ApiKeys::load(&config, outside).map_err(place)?);
                    api_keys.push(keys.clone());
                    providers.push(keys);
                }
                AuthKind::Jwt => {
                    let config = JwtConfig {
                        issuers: provider.issuers.clone(),
                    };
                    let known = before.map_or(&[][..], |before| &before.jwt);
                    let tokens = JwtAuth::load_after(&config, audience.as_deref(), outside, known);
                    let tokens = tokens.map_err(place)?;
                    jwt.push(tokens.clone());
                    providers.push(Arc::new(tokens));
                }
            }
        }
        providers.extend(plugin);
        let provider: Arc<dyn AuthProvider> = match providers.pop() {
            None => Arc::new(DesktopImplicit::new()),
            Some(only) if providers.is_empty() => only,
            Some(last) => {
                providers.push(last);
                Arc::new(AnyOf::new(providers))
            }
        };
        Ok(Self {
            provider,
            api_keys,
            jwt,
            resource,
            made_of: Arc::new(made_of),
        })
    }

    /// Only this provider, without anything that would have to be read.
    pub fn local(provider: Arc<dyn AuthProvider>) -> Self {
        Self {
            provider,
            api_keys: Vec::new(),
            jwt: Vec::new(),
            resource: None,
            made_of: Arc::default(),
        }
    }

    /// Whom the auth stage asks.
    pub fn provider(&self) -> Arc<dyn AuthProvider> {
        self.provider.clone()
    }

    /// Whether these are the same providers, with all that they remember.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.made_of, &other.made_of)
    }

    /// What the metadata of RFC 9728 describe, if `resource` is configured.
    pub fn resource(&self) -> Option<&ProtectedResource> {
        self.resource.as_ref()
    }

    /// Writes the value of `WWW-Authenticate` for a refusal.
    pub fn challenge(&self, error: &AuthError) -> String {
        challenge(self.resource.as_ref(), error)
    }

    /// Reads the files of API keys again; those that are broken change nothing. Blocks on the disk.
    pub fn reload_keys(&self) -> Result<(), Misconfigured> {
        for keys in &self.api_keys {
            keys.reload()?;
        }
        Ok(())
    }

    /// Fetches the keys of issuers ahead of the first request. Failures are only logged.
    pub async fn warm(&self) {
        for tokens in &self.jwt {
            tokens.warm().await;
        }
    }

    /// Returns true if the keys of every issuer are there.
    pub fn is_ready(&self) -> bool {
        self.jwt.iter().all(JwtAuth::is_ready)
    }
}

#[cfg(test)]
mod tests {
    use weir_plugin_protocol::identity::CredentialKind;
    use weir_plugin_protocol::role::Answer;
    use weir_plugin_protocol::{Credentials, Secret};

    use super::super::api_keys::hash_key;
    use super::super::outside::testing::World;
    use super::*;

    fn bearer(text: &str) -> Credentials {
        Credentials {
            kind: CredentialKind::Bearer,
            value: Secret::new(text),
        }
    }

    async fn ask(provider: &dyn AuthProvider, text: &str) -> Result<String, AuthError> {
        let verdict = match provider.validate_credential(Some(&bearer(text))) {
            Answer::Now(verdict) => verdict,
            Answer::Later(verdict) => verdict.await,
        };
        verdict.map(|principal| principal.user_id.clone())
    }

    fn load(json: &str) -> Result<Auth, String> {
        let config: AuthConfig = serde_json::from_str(json).unwrap();
        Auth::load(&config, &World::new().outside()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn nothing_configured_is_the_desktop() {
        let auth = load("{}").unwrap();
        assert_eq!(ask(&*auth.provider(), "x").await.unwrap(), "desktop-user");
        assert!(auth.resource().is_none() && auth.is_ready());
    }

    #[tokio::test]
    async fn api_keys_are_accepted_as_configured() {
        let hash = hash_key("k1");
        let auth = load(&format!(
            r#"{{"providers":[{{"type":"api-keys","keys":[{{"id":"a","hash":"{hash}","user":"alice"}}]}}]}}"#
        ))
        .unwrap();
        assert_eq!(ask(&*auth.provider(), "k1").await.unwrap(), "alice");
        let refusal = ask(&*auth.provider(), "k2").await.unwrap_err();
        assert_eq!(auth.challenge(&refusal), "Bearer error=\"invalid_token\"");
        auth.reload_keys().unwrap();
    }

    #[test]
    fn combinations_that_mean_something_else_are_refused() {
        let issuer = r#"{"issuer":"https://i","jwks":"keys.json"}"#;
        for (json, place) in [
            (
                r#"{"providers":[{"type":"desktop-implicit"},{"type":"api-keys"}]}"#.to_owned(),
                "providers[0].type: ",
            ),
            (
                r#"{"providers":[{"type":"jwt","file":"x"}]}"#.to_owned(),
                "providers[0].file: ",
            ),
            (
                format!(r#"{{"providers":[{{"type":"jwt","issuers":[{issuer}]}}]}}"#),
                "resource: ",
            ),
            (
                format!(
                    r#"{{"resource":"https://h/mcp","providers":[{{"type":"jwt","issuers":[{issuer}]}}]}}"#
                ),
                "providers[0].issuers[0].jwks: ",
            ),
            (
                r#"{"resource":"https://h/mcp","providers":[{"type":"jwt"}]}"#.to_owned(),
                "providers[0].issuers: ",
            ),
            (r#"{"resource":"http://h/mcp"}"#.to_owned(), "resource: "),
            (
                r#"{"providers":[{"type":"api-keys"}]}"#.to_owned(),
                "providers[0].keys: ",
            ),
            (
                r#"{"scopes_supported":["a b"]}"#.to_owned(),
                "scopes_supported[0]: ",
            ),
        ] {
            let text = load(&json).err().unwrap();
            assert!(text.starts_with(place), "{json}: {text}");
        }
        assert!(serde_json::from_str::<AuthConfig>(r#"{"provider":[]}"#).is_err());
        assert!(serde_json::from_str::<AuthConfig>(r#"{"providers":[{"type":"none"}]}"#).is_err());
    }
}
