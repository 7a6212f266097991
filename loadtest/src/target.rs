//! Where the load goes: loopback, or nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// An `http://` URL on a loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// As it goes into `Host`.
    pub(crate) authority: String,
    /// With the leading slash.
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or("the URL must begin with http://")?;
        let (authority, path) = rest
            .find('/')
            .map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = authority.rsplit_once(':').ok_or("the URL needs a port")?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let address = match host.trim_start_matches('[').trim_end_matches(']') {
            "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
            literal => literal
                .parse()
                .map_err(|_| format!("{host:?} is neither localhost nor an IP address"))?,
        };
        if !address.is_loopback() {
            return Err(format!(
                "{address} is not a loopback address: this tool only loads the machine it runs on"
            ));
        }
        Ok(Self {
            address: (address, port).into(),
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_taken_apart() {
        let target: Target = "http://127.0.0.1:8811/servers/a/mcp".parse().unwrap();
        assert_eq!(
            (target.address.to_string().as_str(), target.path.as_str()),
            ("127.0.0.1:8811", "/servers/a/mcp")
        );
        assert_eq!("http://localhost:1".parse::<Target>().unwrap().path, "/");
        assert_eq!(
            "http://[::1]:80/mcp".parse::<Target>().unwrap().authority,
            "[::1]:80"
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for url in [
            "http://192.0.2.1:80/mcp",
            "http://example.org:80/",
            "https://127.0.0.1:80/",
            "http://127.0.0.1/mcp",
            "http://0.0.0.0:1/",
            "http://127.0.0.1:x/",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
