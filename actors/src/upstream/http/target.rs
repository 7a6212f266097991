//! Where a request goes: one URL, taken apart once.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use rustls::pki_types::ServerName;
use thiserror::Error;

use super::address::{AddressRule, Reach};

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
    /// Where it may lead.
    pub(super) reach: Reach,
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
        check_host(host, host.len() < written_host.len()).map_err(refused)?;
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
                reach: AddressRule::Auto.reach(host),
            }),
            path,
            authority: HeaderValue::try_from(host_header).map_err(|_| refused("malformed host"))?,
        })
    }

    /// The same target under a rule of its own.
    pub fn under(mut self, rule: AddressRule) -> Self {
        let origin = &self.origin;
        self.origin = Arc::new(Origin {
            reach: rule.reach(&origin.host),
            host: origin.host.clone(),
            port: origin.port,
            server_name: origin.server_name.clone(),
        });
        self
    }

    /// The target that a server of this one refers to: an absolute URL, or a path from here. It must be at the same
    /// origin, as what is sent there has the same headers.
    pub fn resolve(&self, reference: &str) -> Result<Self, InvalidTarget> {
        let refused = |reason| InvalidTarget { reason };
        let base = self.path();
        let base = base.split_once('?').map_or(base, |(path, _)| path);
        let path = if reference.contains('#') {
            return Err(refused("a fragment is never sent"));
        } else if reference.starts_with("//") {
            return Err(refused("it is at another origin"));
        } else if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{base}{reference}")
        } else if reference
            .split(['/', '?'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            let absolute = Self::parse(reference)?;
            let same = (absolute.host(), absolute.port(), absolute.tls())
                == (self.host(), self.port(), self.tls());
            if !same {
                return Err(refused("it is at another origin"));
            }
            absolute.path().to_owned()
        } else {
            let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{reference}")
        };
        let path = PathAndQuery::try_from(path).map_err(|_| refused("malformed path"))?;
        Ok(Self {
            path,
            ..self.clone()
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
}

/// Takes a host only in the one form that everybody reads the same way: `2130706433`, `0x7f.1`, `0177.0.0.1` and
/// `127.1` are all this machine to the name service, and none is an address to whoever checks them.
fn check_host(host: &str, bracketed: bool) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("no host");
    }
    if bracketed {
        let address = host.parse::<Ipv6Addr>();
        return address.map(drop).map_err(|_| "malformed IPv6 address");
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let mut last = "";
    for label in labels {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if label.is_empty() || !label.bytes().all(plain) {
            return Err("the host is no DNS name or IP address");
        }
        last = label;
    }
    let number = match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    if number {
        return Err("an IPv4 address is written as four decimal numbers without zeros in front");
    }
    Ok(())
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
    fn a_reference_stays_at_its_origin() {
        let base = HttpTarget::parse("http://tools.test:81/a/sse?key=1").unwrap();
        for (reference, path) in [
            ("/messages?sessionId=1", "/messages?sessionId=1"),
            ("messages?at=12:30", "/a/messages?at=12:30"),
            ("?sessionId=1", "/a/sse?sessionId=1"),
            ("http://TOOLS.test:81/m?x", "/m?x"),
        ] {
            let found = base.resolve(reference).unwrap();
            assert_eq!((found.path(), found.port()), (path, 81), "{reference}");
            assert_eq!(found.origin(), base.origin());
        }
        for elsewhere in [
            "//evil.test/m",
            "http://evil.test:81/m",
            "http://tools.test/m",
            "https://tools.test:81/m",
            "file:///m",
            "/m#x",
            "/a b",
        ] {
            assert!(base.resolve(elsewhere).is_err(), "{elsewhere}");
        }
    }

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
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://127.0.0.01/",
            "http://1.2.3.4.5/",
            "http://256.0.0.1/",
            "http://tools.0x/",
            "http://tools..test/",
            "http://.test/",
            "http://localhost../",
            "http://127%2e0.0.1/",
            "http://[fe80::1%25eth0]/",
            "http://[127.0.0.1]/",
            "http://[::ffff:127.0.0.1.]/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://127.0.0.1\\@tools.test/",
        ] {
            assert!(HttpTarget::parse(url).is_err(), "{url}");
        }
    }
}
