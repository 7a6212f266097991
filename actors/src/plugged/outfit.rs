//! What requests on their last hop get of plugins: the caller's own credential from the storage, and whatever the auth
//! proxy says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::credential::{ProxyRequest, ProxyResponse};
use weir_plugin_protocol::jsonrpc::{Limits, Message};
use weir_plugin_protocol::role::{Answer, AuthProxy, CredentialError, CredentialStorage};

use crate::builtin::Misconfigured;
use crate::builtin::static_credentials::{
    CredentialsConfig, ServerCredentialsConfig, UserCredentialKind, is_reserved,
};

/// The most headers that a proxy may set.
const MAX_HEADERS: usize = 64;

/// What plugins give to requests. Immutable: a reload makes another one. By default nothing.
#[derive(Clone, Default)]
pub struct Outfit {
    own: HashMap<String, OwnCredential>,
    storage: Option<Arc<dyn CredentialStorage>>,
    proxy: Option<Arc<dyn AuthProxy>>,
}

/// Which credential of a caller a server gets, and in which header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnCredential {
    /// What the storage knows it as.
    kind: String,
    header: HeaderName,
    scheme: &'static str,
}

/// A header with a secret value.
pub type SecretHeader = (HeaderName, HeaderValue);

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The caller.
    pub principal: &'a UserPrincipal,
    /// The server, by its name in the configuration.
    pub server: &'a str,
    /// Its URL.
    pub url: &'a str,
    /// The HTTP method.
    pub method: &'a Method,
}

// === impl Outfit ===

impl Outfit {
    /// Looks up which servers get credentials of the callers.
    ///
    /// # Errors
    /// Keys that do not fit together, by their place under `credentials`.
    pub fn new(config: &CredentialsConfig) -> Result<Self, Misconfigured> {
        let mut own = HashMap::new();
        for (name, server) in &config.servers {
            let found = OwnCredential::of(server);
            let found = found.map_err(|error| error.within(&format!("servers.{name}")))?;
            own.extend(found.map(|found| (name.clone(), found)));
        }
        Ok(Self {
            own,
            storage: None,
            proxy: None,
        })
    }

    /// The same with a storage.
    #[must_use]
    pub fn with_storage(mut self, storage: Arc<dyn CredentialStorage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// The same with a proxy, which is asked about every request to an HTTP server.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Arc<dyn AuthProxy>) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Whether no request gets anything.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.proxy.is_none()
    }

    /// The servers that get credentials of the callers.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }

    /// Fetches the caller's own credential for a server; nothing if the server gets none.
    pub fn own(
        &self,
        principal: &UserPrincipal,
        server: &str,
    ) -> Option<Answer<Result<SecretHeader, CredentialError>>> {
        let own = self.own.get(server)?;
        let Some(storage) = &self.storage else {
            let reason = "there is no credential storage".to_owned();
            return Some(Answer::Now(Err(CredentialError::Unavailable(reason))));
        };
        Some(
            match storage.retrieve_credential(principal, server, &own.kind) {
                Answer::Now(found) => {
                    Answer::Now(found.and_then(|secret| own.header(secret.expose())))
                }
                Answer::Later(coming) => {
                    let own = own.clone();
                    Answer::Later(Box::pin(async move {
                        coming.await.and_then(|secret| own.header(secret.expose()))
                    }))
                }
            },
        )
    }

    /// Has the proxy put into a request what it wants. Without a proxy nothing happens.
    ///
    /// # Errors
    /// It cannot be asked, or wants what it may not: the request must not be sent.
    pub async fn inject(
        &self,
        hop: Hop<'_>,
        headers: &mut HeaderMap,
        body: &mut Bytes,
    ) -> Result<(), CredentialError> {
        let Some(proxy) = &self.proxy else {
            return Ok(());
        };
        let text = std::str::from_utf8(body);
        let text = text.map_err(|_| refused("the body is no text"))?;
        let request = ProxyRequest {
            user_id: hop.principal.user_id.clone(),
            tenant_id: hop.principal.tenant_id.clone(),
            mcp_server: hop.server.to_owned(),
            target_url: hop.url.to_owned(),
            method: hop.method.as_str().to_owned(),
            headers: shown(headers),
            body: (!text.is_empty()).then(|| text.to_owned()),
        };
        let answer = proxy.inject_credentials(request).come().await?;
        apply(answer, headers, body)
    }
}

/// The headers that a proxy is shown: no secrets of the gateway.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let open = headers.iter().filter(|(_, value)| !value.is_sensitive());
    open.filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    })
    .collect()
}

/// Changes a request as the proxy says, or not at all.
fn apply(
    answer: ProxyResponse,
    headers: &mut HeaderMap,
    body: &mut Bytes,
) -> Result<(), CredentialError> {
    if answer.headers.len() > MAX_HEADERS {
        return Err(refused("it sets more than 64 headers"));
    }
    let mut set = Vec::with_capacity(answer.headers.len());
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused("it sets a header whose name HTTP does not allow"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| refused(&format!("the value of {name} is none that HTTP allows")))?;
        if headers.get(&name).is_some_and(|known| *known == value) {
            continue; // It was shown this.
        }
        if is_reserved(&name) {
            return Err(refused(&format!("{name} is set by the gateway itself")));
        }
        value.set_sensitive(true);
        set.push((name, value));
    }
    let other = answer.body.filter(|other| other.as_bytes() != &**body);
    if let Some(other) = other {
        let other = Bytes::from(other);
        if !is_same_request(body, &other) {
            return Err(refused("its body is not the same request"));
        }
        *body = other;
    }
    for (name, value) in set {
        headers.insert(name, value);
    }
    Ok(())
}

/// Whether a body is still the message that it was: the same kind, id and method.
fn is_same_request(body: &Bytes, other: &Bytes) -> bool {
    let parse = |body: &Bytes| Message::parse(body.clone(), &Limits::default());
    match (parse(body), parse(other)) {
        (Ok(body), Ok(other)) => {
            body.kind() == other.kind()
                && body.id() == other.id()
                && body.method() == other.method()
        }
        _ => false,
    }
}

fn refused(what: &str) -> CredentialError {
    CredentialError::Unavailable(format!(
        "the auth proxy's answer breaks the contract: {what}"
    ))
}

// === impl OwnCredential ===

impl OwnCredential {
    fn of(server: &ServerCredentialsConfig) -> Result<Option<Self>, Misconfigured> {
        let stray = |key: &str| {
            let problem = "means nothing without `from: plugin`; add that, or remove this";
            Err(Misconfigured::new(key, problem))
        };
        if server.from.is_none() {
            return match (&server.r#type, &server.header, &server.credential_type) {
                (Some(_), _, _) => stray("type"),
                (_, Some(_), _) => stray("header"),
                (_, _, Some(_)) => stray("credential_type"),
                _ => Ok(None),
            };
        }
        let Some(kind) = server.r#type else {
            let problem = "missing; write `bearer`, `api_key` or `header`";
            return Err(Misconfigured::new("type", problem));
        };
        let (header, scheme) = match (kind, &server.header) {
            (UserCredentialKind::Bearer, None) => (AUTHORIZATION, "Bearer "),
            (UserCredentialKind::ApiKey, None) => (HeaderName::from_static("x-api-key"), ""),
            (UserCredentialKind::Header, Some(name)) => {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                    Misconfigured::new("header", "is a name that HTTP does not allow; rename it")
                })?;
                if is_reserved(&name) {
                    let problem = "is set by the gateway itself; name another one";
                    return Err(Misconfigured::new("header", problem));
                }
                (name, "")
            }
            (UserCredentialKind::Header, None) => {
                let problem = "missing; name the header that the credential goes into";
                return Err(Misconfigured::new("header", problem));
            }
            (_, Some(_)) => {
                let problem = "belongs to `type: header`; remove it, or change `type`";
                return Err(Misconfigured::new("header", problem));
            }
        };
        let kind = server.credential_type.clone();
        let kind = kind.unwrap_or_else(|| {
            server
                .r#type
                .map_or("", UserCredentialKind::as_str)
                .to_owned()
        });
        if kind.is_empty() {
            let problem = "is empty; say what the storage knows the credential as, or remove it";
            return Err(Misconfigured::new("credential_type", problem));
        }
        Ok(Some(Self {
            kind,
            header,
            scheme,
        }))
    }

    fn header(&self, secret: &str) -> Result<SecretHeader, CredentialError> {
        let mut value =
            HeaderValue::from_str(&format!("{}{secret}", self.scheme)).map_err(|_| {
                let reason =
                    "the stored credential has characters that HTTP does not allow in headers";
                CredentialError::Unavailable(reason.to_owned())
            })?;
        value.set_sensitive(true);
        Ok((self.header.clone(), value))
    }
}
