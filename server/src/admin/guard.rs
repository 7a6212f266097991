//! Which `Host` headers are answered.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use serde_json::json;

/// The hosts that a listener answers for.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names besides `localhost`.
    pub names: Vec<String>,
    /// True if any IP address will do, false if only those of the loopback: a rebound name is never an address.
    pub any_address: bool,
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

/// Answers 403 to requests for hosts that are not ours.
pub(super) async fn check_host(
    hosts: web::Data<Hosts>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut found = request.headers().get_all(header::HOST);
    let allowed = match (found.next(), found.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| hosts.allow(host)),
        _ => false,
    };
    if !allowed {
        let refusal = HttpResponse::Forbidden().json(json!({
            "error": "this host is not served; use localhost or an address, or add it to admin.allowed_hosts",
        }));
        return Ok(request.into_response(refusal).map_into_boxed_body());
    }
    Ok(next.call(request).await?.map_into_boxed_body())
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
