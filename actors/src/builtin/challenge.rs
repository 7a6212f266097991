//! What a client without a valid token is told: where to get one (RFC 6750, RFC 9728).

use serde_json::json;
use weir_plugin_protocol::role::AuthError;

use super::jwt::{has_plain_host, is_loopback, is_scope};

/// Where clients look for the metadata of a protected resource (RFC 9728, section 3.1).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A resource that tokens are issued for: this gateway, by its canonical URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    origin: String,
    path: String,
    authorization_servers: Vec<String>,
    scopes_supported: Vec<String>,
    required_scopes: Vec<String>,
}

// === impl ProtectedResource ===

impl ProtectedResource {
    /// A resource by its canonical URI, such as `https://host/mcp`. The error says what is wrong with the URI.
    pub fn new(resource: &str) -> Result<Self, &'static str> {
        let Some((scheme, rest)) = resource.split_once("://") else {
            return Err("not a URI with a scheme; write it like `https://host/mcp`");
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\#?<>".contains(&byte);
        if !rest.bytes().all(is_plain) || !has_plain_host(resource) {
            return Err("not a URI of a host and a path only; write it like `https://host/mcp`");
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(resource) => {}
            _ => return Err("tokens need https; only a loopback address may use http"),
        }
        let host_end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(host_end);
        Ok(Self {
            origin: format!("{scheme}://{host}"),
            path: if path == "/" {
                String::new()
            } else {
                path.to_owned()
            },
            authorization_servers: Vec::new(),
            scopes_supported: Vec::new(),
            required_scopes: Vec::new(),
        })
    }

    /// Says who issues tokens: the issuers of authorization servers.
    #[must_use]
    pub fn with_authorization_servers(mut self, servers: Vec<String>) -> Self {
        self.authorization_servers = servers;
        self
    }

    /// Says which scopes clients may ask for, and which a token needs. `offline_access` is left out: it is between the
    /// client and its authorization server.
    #[must_use]
    pub fn with_scopes(mut self, supported: Vec<String>, required: Vec<String>) -> Self {
        let is_ours = |scope: &String| is_scope(scope) && scope != "offline_access";
        self.scopes_supported = supported.into_iter().filter(is_ours).collect();
        self.required_scopes = required.into_iter().filter(is_ours).collect();
        self
    }

    /// The same gateway at another path, such as `/servers/time/mcp`.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Self {
        Self {
            path: if path == "/" {
                String::new()
            } else {
                path.to_owned()
            },
            ..self.clone()
        }
    }

    /// The canonical URI.
    pub fn resource(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// The paths at which the metadata are served: that of the resource, then the one without a path.
    pub fn metadata_paths(&self) -> [String; 2] {
        [format!("{WELL_KNOWN}{}", self.path), WELL_KNOWN.to_owned()]
    }

    /// The URL at which the metadata are served.
    pub fn metadata_url(&self) -> String {
        format!("{}{WELL_KNOWN}{}", self.origin, self.path)
    }

    /// The metadata document, as JSON.
    pub fn metadata(&self) -> String {
        let mut document = json!({
            "resource": self.resource(),
            "authorization_servers": self.authorization_servers,
            "bearer_methods_supported": ["header"],
        });
        if !self.scopes_supported.is_empty()
            && let Some(members) = document.as_object_mut()
        {
            members.insert("scopes_supported".to_owned(), json!(self.scopes_supported));
        }
        document.to_string()
    }

    fn scope(&self) -> String {
        if self.required_scopes.is_empty() {
            self.scopes_supported.join(" ")
        } else {
            self.required_scopes.join(" ")
        }
    }
}

/// Writes the value of `WWW-Authenticate` for a refusal. The reason of the refusal is not in it: that is for the log.
pub fn challenge(resource: Option<&ProtectedResource>, error: &AuthError) -> String {
    let mut parameters = Vec::new();
    if let Some(resource) = resource {
        parameters.push(format!("resource_metadata=\"{}\"", resource.metadata_url()));
    }
    let scope = match error {
        AuthError::InsufficientScope(needed) => {
            parameters.push("error=\"insufficient_scope\"".to_owned());
            needed
                .split(' ')
                .filter(|scope| is_scope(scope))
                .collect::<Vec<_>>()
                .join(" ")
        }
        AuthError::Invalid(_) => {
            parameters.push("error=\"invalid_token\"".to_owned());
            resource.map(ProtectedResource::scope).unwrap_or_default()
        }
        AuthError::Missing | AuthError::Unavailable(_) => {
            resource.map(ProtectedResource::scope).unwrap_or_default()
        }
    };
    if !scope.is_empty() {
        parameters.push(format!("scope=\"{scope}\""));
    }
    if parameters.is_empty() {
        return "Bearer".to_owned();
    }
    format!("Bearer {}", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> ProtectedResource {
        ProtectedResource::new("https://host/mcp")
            .unwrap()
            .with_authorization_servers(vec!["https://login.example".to_owned()])
            .with_scopes(
                vec![
                    "mcp:read".to_owned(),
                    "mcp:call".to_owned(),
                    "offline_access".to_owned(),
                ],
                vec!["mcp:call".to_owned()],
            )
    }

    #[test]
    fn the_challenge_says_where_to_get_a_token_and_what_was_wrong() {
        let resource = resource();
        let metadata =
            "Bearer resource_metadata=\"https://host/.well-known/oauth-protected-resource/mcp\"";
        for (error, rest) in [
            (AuthError::Missing, ", scope=\"mcp:call\""),
            (
                AuthError::Invalid("a \"secret\" reason\r\n".to_owned()),
                ", error=\"invalid_token\", scope=\"mcp:call\"",
            ),
            (
                AuthError::InsufficientScope("a b \"c\r\n".to_owned()),
                ", error=\"insufficient_scope\", scope=\"a b\"",
            ),
        ] {
            assert_eq!(
                challenge(Some(&resource), &error),
                format!("{metadata}{rest}")
            );
        }
        assert_eq!(challenge(None, &AuthError::Missing), "Bearer");
        assert_eq!(
            challenge(None, &AuthError::Invalid(String::new())),
            "Bearer error=\"invalid_token\""
        );
    }

    #[test]
    fn the_metadata_name_the_resource_and_its_authorization_servers() {
        let metadata: serde_json::Value = serde_json::from_str(&resource().metadata()).unwrap();
        assert_eq!(
            metadata,
            json!({
                "resource": "https://host/mcp",
                "authorization_servers": ["https://login.example"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["mcp:read", "mcp:call"],
            })
        );
        assert_eq!(
            resource().metadata_paths(),
            [
                "/.well-known/oauth-protected-resource/mcp",
                "/.well-known/oauth-protected-resource"
            ]
        );
        let other = resource().at_path("/servers/time/mcp");
        assert_eq!(other.resource(), "https://host/servers/time/mcp");
        let whole = ProtectedResource::new("https://host/").unwrap();
        assert_eq!(whole.resource(), "https://host");
        assert_eq!(
            whole.metadata_url(),
            "https://host/.well-known/oauth-protected-resource"
        );
    }

    #[test]
    fn only_plain_https_uris_are_resources() {
        assert!(ProtectedResource::new("http://127.0.0.1:8811/mcp").is_ok());
        assert!(ProtectedResource::new("http://[::1]:8811/mcp").is_ok());
        for uri in [
            "",
            "host/mcp",
            "http://host/mcp",
            "http://localhost@evil.test/mcp",
            "https://user@host/mcp",
            "https:///mcp",
            "https://host/mcp#x",
            "https://host/mcp?x",
            "https://host/m\"cp",
            "https://host/m cp",
            "ftp://host/mcp",
        ] {
            assert!(ProtectedResource::new(uri).is_err(), "{uri}");
        }
    }
}
