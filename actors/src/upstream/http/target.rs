//! Where a request goes: one URL, taken apart once.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use rustls::pki_types::ServerName;
use thiserror::Error;

/// The URL of an upstream endpoint, ready to be sent to: cheap to clone, nothing is computed per request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpTarget {
    origin: Arc<Origin>,
    path: PathAndQuery,
    authority: HeaderValue,
}

/// What two targets must share to share connections.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// The name to verify; `None`: plain HTTP.
    pub(super) server_name: Option<ServerName<'static>>,
}

/// A text that is not the URL of an upstream.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("not an upstream URL: {reason}")]
pub struct InvalidTarget {
    reason: &'static str,
}

// === impl HttpTarget ===

impl HttpTarget {
    /// Parses an absolute `http` or `https` URL without user information and fragment.
    pub fn parse(url: &str) -> Result<Self, InvalidTarget> {
        let refused = |reason| InvalidTarget { reason };
        if url.contains('#') {
            return Err(refused("a fragment is never sent"));
        }
        let uri: Uri = url.parse().map_err(|_| refused("malformed"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or(refused("no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("credentials do not belong into a URL"));
        }
        let written_host = authority.host().to_ascii_lowercase();
        let host = written_host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&written_host);
        if host.is_empty() {
            return Err(refused("no host"));
        }
        let default_port = if tls { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("" | ":") | None => default_port,
            Some(_) => authority.port_u16().ok_or(refused("malformed port"))?,
        };
        if port == 0 {
            return Err(refused("port 0 cannot be connected to"));
        }
        let server_name = match tls {
            true => Some(
                ServerName::try_from(host.to_owned())
                    .map_err(|_| refused("the host is no DNS name or IP address"))?,
            ),
            false => None,
        };
        let host_header = match port == default_port {
            true => written_host.clone(),
            false => format!("{written_host}:{port}"),
        };
        let path = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        let path = PathAndQuery::try_from(path).map_err(|_| refused("malformed path"))?;
        Ok(Self {
            origin: Arc::new(Origin {
                host: host.into(),
                port,
                server_name,
            }),
            path,
            authority: HeaderValue::try_from(host_header).map_err(|_| refused("malformed host"))?,
        })
    }

    /// The host in lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// The port, also when it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// True for `https`.
    pub fn tls(&self) -> bool {
        self.origin.server_name.is_some()
    }

    /// The path with the query, at least `/`.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The value of the `Host` header.
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// The request target in origin form.
    pub(super) fn request_uri(&self) -> Uri {
        Uri::from(self.path.clone())
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls() { "https" } else { "http" };
        let authority = self.authority.to_str().unwrap_or_default();
        write!(formatter, "{scheme}://{authority}{}", self.path)
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpTarget({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        for (url, host, port, tls, path, shown) in [
            (
                "http://tools.test/mcp",
                "tools.test",
                80,
                false,
                "/mcp",
                "http://tools.test/mcp",
            ),
            (
                "https://Tools.Test",
                "tools.test",
                443,
                true,
                "/",
                "https://tools.test/",
            ),
            (
                "https://tools.test:443/a?b=c",
                "tools.test",
                443,
                true,
                "/a?b=c",
                "https://tools.test/a?b=c",
            ),
            (
                "http://127.0.0.1:8080?x=1",
                "127.0.0.1",
                8080,
                false,
                "/?x=1",
                "http://127.0.0.1:8080/?x=1",
            ),
            (
                "http://[::1]:8080/mcp",
                "::1",
                8080,
                false,
                "/mcp",
                "http://[::1]:8080/mcp",
            ),
            (
                "https://[::1]/mcp",
                "::1",
                443,
                true,
                "/mcp",
                "https://[::1]/mcp",
            ),
        ] {
            let target = HttpTarget::parse(url).unwrap();
            let parts = (target.host(), target.port(), target.tls(), target.path());
            assert_eq!(parts, (host, port, tls, path), "{url}");
            assert_eq!(target.to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_upstream() {
        for url in [
            "",
            "/mcp",
            "tools.test/mcp",
            "ftp://tools.test/",
            "http://",
            "http:///mcp",
            "http://user@tools.test/",
            "http://user:secret@tools.test/",
            "http://tools.test/#top",
            "http://tools.test:99999/",
            "http://tools.test:0/",
            "http://tools.test/\r\nX: y",
            "http://to ols.test/",
            "unix:/run/mcp.sock",
        ] {
            assert!(HttpTarget::parse(url).is_err(), "{url}");
        }
    }
}
