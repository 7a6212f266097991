//! Which hosts and origins a listener answers for.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_plugin_protocol::mcp::HeaderRule;

/// The hosts that a listener answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Names besides `localhost`.
    pub names: Vec<String>,
    /// True if any IP address will do, false if only those of the loopback: a rebound name is never an address.
    pub any_address: bool,
}

/// The hosts and origins of the client face.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// The hosts that are served.
    pub hosts: Hosts,
    /// Values of `Origin` that are allowed besides those of this machine.
    pub origins: Vec<String>,
    /// What becomes of requests whose headers contradict their body.
    pub protocol_headers: ProtocolHeaders,
}

/// What becomes of requests whose `MCP-Protocol-Version` contradicts what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolHeaders {
    /// They are refused with 400, as the specification wants it.
    #[default]
    Strict,
    /// The body decides, or the session; counted, and logged once for each caller. A header that names another method
    /// or name than the body is refused all the same.
    Tolerant,
}

// === impl ProtocolHeaders ===

impl From<ProtocolHeaders> for HeaderRule {
    fn from(headers: ProtocolHeaders) -> Self {
        match headers {
            ProtocolHeaders::Strict => Self::Strict,
            ProtocolHeaders::Tolerant => Self::Tolerant,
        }
    }
}

// === impl Hosts ===

impl Hosts {
    /// Says whether a `Host` header, with or without port, is one of ours.
    pub fn allow(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((address, "")) => (address, None),
                Some((address, port)) => match port.strip_prefix(':') {
                    Some(port) => (address, Some(port)),
                    None => return false,
                },
                None => return false,
            },
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        let (name, port) = name;
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        };
        if !port.is_none_or(is_port) {
            return false;
        }
        match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || self.any_address,
            Err(_) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name.eq_ignore_ascii_case("localhost")
                    || self
                        .names
                        .iter()
                        .any(|allowed| allowed.eq_ignore_ascii_case(name))
            }
        }
    }
}

// === impl Doors ===

impl Doors {
    /// Says whether a value of `Origin` is allowed.
    pub fn allow_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        let local = Hosts::default();
        host.is_some_and(|host| local.allow(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_hosts_are_served() {
        let hosts = Hosts {
            names: vec!["weir.internal".to_owned()],
            any_address: false,
        };
        for host in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8812",
            "[::1]:8812",
            "127.8.9.1",
            "weir.internal:80",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "localhost.evil.test",
            "10.0.0.1",
            "[::2]",
            "[::1]x",
            "::1]",
            "127.0.0.1.evil.test:8812",
            "127.1",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
        assert!(
            Hosts {
                any_address: true,
                ..hosts
            }
            .allow("10.0.0.1:80")
        );
    }
}
