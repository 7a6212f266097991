//! Which addresses may be connected to: the guard against requests that are forged on the server's side.
//!
//! What an operator wrote down is meant; what a name service says is not his word. So an address in a URL may be any,
//! and a name may lead only where names of its kind lead: a name of the public internet to public addresses, a name of
//! an internal network to that network, `localhost` to this machine. No name leads to the addresses at which clouds
//! hand out credentials.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which addresses a URL may lead to. Names are resolved once and the address that was checked is the address that is
/// connected to, so a name that means something else a moment later (DNS rebinding) changes nothing. Redirects are not
/// followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressRule {
    /// As its host is written: an address as it is; `localhost` to this machine; names of internal networks (without a
    /// dot, or below `local`, `internal`, `lan`, `home`, `corp`, `svc`, `test`, `localdomain` or `home.arpa`) also to
    /// private networks; any other name to public addresses only.
    #[default]
    Auto,
    /// Only to public addresses, however it is written: for URLs that somebody else chose.
    Public,
    /// Any name also to private networks, never to this machine or to link-local addresses.
    Private,
    /// To any address.
    Any,
}

/// Where a URL may lead, once its host is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    Anywhere,
    ThisMachine,
    PrivateAndPublic,
    Public,
}

/// What kind of address something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Realm {
    Public,
    Private,
    ThisMachine,
    /// Link-local, multicast, reserved, and where clouds hand out credentials.
    Special,
}

/// Domains that are never delegated in the public internet: RFC 6761, RFC 6762, RFC 8375, ICANN's reservation of
/// `internal` and its refusal of `corp` and `home`, and what clusters and routers use.
const INTERNAL: [&str; 9] = [
    "local",
    "internal",
    "lan",
    "home",
    "corp",
    "svc",
    "test",
    "localdomain",
    "home.arpa",
];

// === impl AddressRule ===

impl AddressRule {
    /// Where a host in lower case may lead.
    pub(super) fn reach(self, host: &str) -> Reach {
        let literal = host.parse::<IpAddr>().is_ok();
        let name = host.strip_suffix('.').unwrap_or(host);
        let below = |domain: &str| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match self {
            Self::Any => Reach::Anywhere,
            Self::Public => Reach::Public,
            Self::Auto | Self::Private if literal => Reach::Anywhere,
            Self::Auto | Self::Private if below("localhost") => Reach::ThisMachine,
            Self::Private => Reach::PrivateAndPublic,
            Self::Auto if !name.contains('.') || INTERNAL.into_iter().any(below) => {
                Reach::PrivateAndPublic
            }
            Self::Auto => Reach::Public,
        }
    }
}

// === impl Reach ===

impl Reach {
    /// True if the address may be connected to.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        let realm = match address {
            IpAddr::V4(address) => realm_v4(address),
            IpAddr::V6(address) => realm_v6(address),
        };
        match self {
            Self::Anywhere => true,
            Self::ThisMachine => realm == Realm::ThisMachine,
            Self::PrivateAndPublic => matches!(realm, Realm::Private | Realm::Public),
            Self::Public => realm == Realm::Public,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Anywhere => "any address",
            Self::ThisMachine => "an address of this machine",
            Self::PrivateAndPublic => "a private or public address",
            Self::Public => "a public address",
        })
    }
}

/// By the ranges of the
/// [special-purpose registry](https://www.iana.org/assignments/iana-ipv4-special-registry), and the addresses in other
/// ranges at which Azure and Alibaba Cloud have what others have at 169.254.169.254.
fn realm_v4(address: Ipv4Addr) -> Realm {
    match address.octets() {
        [168, 63, 129, 16] | [100, 100, 100, 200] => Realm::Special,
        [127, ..] => Realm::ThisMachine,
        [10, ..] | [192, 168, ..] => Realm::Private,
        [172, second, ..] if second & 0xF0 == 16 => Realm::Private,
        [100, second, ..] if second & 0xC0 == 64 => Realm::Private,
        [0 | 224.., ..] | [169, 254, ..] | [198, 18 | 19, ..] => Realm::Special,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Realm::Special
        }
        _ => Realm::Public,
    }
}

/// Global unicast without its special ranges, and unique local addresses without those at which clouds hand out
/// credentials; addresses that stand for an IPv4 address are judged as that one.
fn realm_v6(address: Ipv6Addr) -> Realm {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        realm_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Realm::ThisMachine,
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0..=0x1FF | 0xDB8, ..] | [0x3FFF, 0..=0xFFF, ..] => Realm::Special,
        [0xFD00, 0xEC2, ..] | [0xFD20, 0xCE, ..] => Realm::Special,
        [first, ..] if first & 0xE000 == 0x2000 => Realm::Public,
        [first, ..] if first & 0xFE00 == 0xFC00 => Realm::Private,
        _ => Realm::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::Realm::{Private, Public, Special, ThisMachine};
    use super::*;

    #[test]
    fn every_address_has_its_realm() {
        let table: [(Realm, &[&str]); 4] = [
            (
                ThisMachine,
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                ],
            ),
            (
                Private,
                &[
                    "10.0.0.1",
                    "100.64.0.1",
                    "100.127.255.255",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "2002:a00:1::",
                    "fc00::1",
                    "fd12:3456::1",
                ],
            ),
            (
                Special,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "100.100.100.200",
                    "168.63.129.16",
                    "169.254.169.254",
                    "169.254.170.2",
                    "192.0.0.8",
                    "192.0.0.192",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.9",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::127.0.0.1",
                    "::a9fe:a9fe",
                    "::ffff:169.254.169.254",
                    "::ffff:0:127.0.0.1",
                    "64:ff9b::a9fe:a9fe",
                    "64:ff9b:1::a00:1",
                    "100::1",
                    "2001::1",
                    "2001:db8::1",
                    "2002:a9fe:a9fe::",
                    "3fff::1",
                    "5f00::1",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "fe80::1",
                    "fec0::1",
                    "ff02::1",
                ],
            ),
            (
                Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.1",
                    "100.63.255.255",
                    "100.128.0.1",
                    "172.15.0.1",
                    "172.32.0.1",
                    "198.20.0.1",
                    "223.255.255.255",
                    "::ffff:1.1.1.1",
                    "64:ff9b::101:101",
                    "2002:101:101::",
                    "2606:4700:4700::1111",
                    "2001:4860:4860::8888",
                ],
            ),
        ];
        for (realm, addresses) in table {
            for address in addresses {
                let found = match address.parse().unwrap() {
                    IpAddr::V4(address) => realm_v4(address),
                    IpAddr::V6(address) => realm_v6(address),
                };
                assert_eq!(found, realm, "{address}");
                let address = address.parse().unwrap();
                assert!(Reach::Anywhere.allows(address));
                assert_eq!(Reach::ThisMachine.allows(address), realm == ThisMachine);
                assert_eq!(Reach::Public.allows(address), realm == Public);
                let private = matches!(realm, Private | Public);
                assert_eq!(Reach::PrivateAndPublic.allows(address), private);
            }
        }
    }

    #[test]
    fn a_name_leads_where_names_of_its_kind_lead() {
        use AddressRule::{Any, Auto, Private, Public};
        for (rule, host, reach) in [
            (Auto, "10.0.0.1", Reach::Anywhere),
            (Auto, "169.254.169.254", Reach::Anywhere),
            (Auto, "::1", Reach::Anywhere),
            (Auto, "localhost", Reach::ThisMachine),
            (Auto, "localhost.", Reach::ThisMachine),
            (Auto, "tools.localhost", Reach::ThisMachine),
            (Auto, "time-server", Reach::PrivateAndPublic),
            (Auto, "time.tools.svc", Reach::PrivateAndPublic),
            (
                Auto,
                "time.tools.svc.cluster.local.",
                Reach::PrivateAndPublic,
            ),
            (Auto, "host.docker.internal", Reach::PrivateAndPublic),
            (Auto, "metadata.google.internal", Reach::PrivateAndPublic),
            (Auto, "tools.example.com", Reach::Public),
            (Auto, "internal.example.com", Reach::Public),
            (Auto, "notlocalhost.com", Reach::Public),
            (Auto, "mylocal.dev", Reach::Public),
            (Private, "tools.example.com", Reach::PrivateAndPublic),
            (Private, "localhost", Reach::ThisMachine),
            (Private, "127.0.0.1", Reach::Anywhere),
            (Any, "tools.example.com", Reach::Anywhere),
            (Public, "127.0.0.1", Reach::Public),
            (Public, "localhost", Reach::Public),
            (Public, "time-server", Reach::Public),
        ] {
            assert_eq!(rule.reach(host), reach, "{rule:?} {host}");
        }
    }
}
