//! Versions of plugins and of what they speak: what is said, what is required, and whether the two fit.
//!
//! Nobody has to say anything. A plugin that does not say which protocol it speaks speaks protocol 1, and one that does
//! not say its version has none: only a requirement that any version meets is met by it. What a running plugin says wins
//! over its manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// What a plugin says that does not say its version.
pub const UNKNOWN: &str = "unknown";
/// The protocols that this gateway speaks with plugins.
pub const PROTOCOLS: &str = ">=1, <2";
/// The version of this gateway.
pub const GATEWAY: &str = env!("CARGO_PKG_VERSION");

/// The protocol of a plugin that does not say which.
const SILENT: Version = Version::new(1, 0, 0);
/// The longest version or range that is read, in bytes.
const MAX_BYTES: usize = 128;

/// A range of versions, such as `>=1.2, <2`; `*` is any, also none.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("examples" = [">=1.2, <2", "1.4", "*"]))]
pub struct VersionRange(VersionReq);

/// The text is not a range of versions.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a range of versions: {text:?} (write it like >=1.2, <2)")]
pub struct NotARange {
    text: String,
}

/// What must be so before a plugin may serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Requires {
    /// The protocol that it speaks, as a range such as `>=1, <3`. This gateway speaks 1. Default: what the gateway speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<VersionRange>,
    /// Its own version. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionRange>,
    /// The version of the gateway. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<VersionRange>,
    /// The plugins that it needs, by name, and their versions; `*` for any. They are started before it. Default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, VersionRange>,
    /// What happens while one of them does not serve. Default `degrade`.
    pub on_loss: OnLoss,
}

/// What happens to a plugin while another one that it needs does not serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLoss {
    /// It goes on, and is shown as degraded.
    #[default]
    Degrade,
    /// It is stopped, and started again when the other one serves.
    Stop,
}

/// What somebody says of a plugin: the plugin itself when it is asked for its health, or its manifest. All else that is
/// said is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Its version.
    #[serde(deserialize_with = "text_or_number")]
    pub version: Option<String>,
    /// The protocol that it speaks.
    #[serde(deserialize_with = "text_or_number")]
    pub protocol: Option<String>,
}

/// What a file beside a plugin says of it. Keys that are not known here are for somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// What the plugin calls itself.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The protocol that it speaks. Default 1.
    pub protocol: Option<String>,
    /// What it is for: `logging`, `analytics`, `security`, `integration` or another word.
    pub category: Option<String>,
    /// What it needs, besides what the configuration requires.
    pub requires: Requires,
}

/// Why a plugin does not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unfit {
    /// Gateway and plugin do not speak the same protocol.
    #[error("it speaks protocol {says}, and this gateway speaks {PROTOCOLS}: {}", remedy(*.newer))]
    Protocol {
        /// The plugin's.
        says: String,
        /// Whether it is newer than the gateway's.
        newer: bool,
    },
    /// It speaks a protocol that was not asked for.
    #[error("it speaks protocol {says}, and {range} is required")]
    OtherProtocol {
        /// The plugin's.
        says: String,
        /// What is required.
        range: VersionRange,
    },
    /// It has another version than is required.
    #[error("it is version {says}, and {range} is required")]
    Version {
        /// The plugin's.
        says: String,
        /// What is required.
        range: VersionRange,
    },
    /// It needs another gateway.
    #[error(
        "it requires weir {range}, and this is weir {GATEWAY}: update weir, or use an older version of the plugin"
    )]
    Gateway {
        /// What is required.
        range: VersionRange,
    },
}

fn remedy(newer: bool) -> &'static str {
    match newer {
        true => "update weir, or use an older version of the plugin",
        false => "update the plugin",
    }
}

// === impl Requires ===

impl Requires {
    /// Whether a plugin that says this of itself may serve.
    ///
    /// # Errors
    /// The first thing that does not fit; the text has both versions.
    pub fn check(&self, said: &Said) -> Result<(), Unfit> {
        if let Some(range) = &self.gateway
            && !range.has(&read(GATEWAY).unwrap_or(SILENT))
        {
            return Err(Unfit::Gateway {
                range: range.clone(),
            });
        }
        let says = said
            .protocol
            .clone()
            .unwrap_or_else(|| SILENT.major.to_string());
        let protocol = read(&says);
        let spoken = VersionRange::spoken();
        match &protocol {
            Some(protocol) if spoken.has(protocol) => {}
            other => {
                let newer = other.as_ref().is_some_and(|protocol| *protocol > SILENT);
                return Err(Unfit::Protocol { says, newer });
            }
        }
        if let Some(range) = &self.protocol
            && !protocol.is_some_and(|protocol| range.has(&protocol))
        {
            let range = range.clone();
            return Err(Unfit::OtherProtocol { says, range });
        }
        match &self.version {
            Some(range) if !range.admits(said.version.as_deref()) => Err(Unfit::Version {
                says: said.version.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
                range: range.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The requirements of both: of those, everything must be met.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = |one: &Option<VersionRange>, other: &Option<VersionRange>| match (one, other) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let mut plugins = self.plugins.clone();
        for (name, range) in &other.plugins {
            let found = plugins.get(name);
            let range = found.map_or_else(|| range.clone(), |found| found.and(range));
            plugins.insert(name.clone(), range);
        }
        let on_loss = match (self.on_loss, other.on_loss) {
            (OnLoss::Degrade, OnLoss::Degrade) => OnLoss::Degrade,
            _ => OnLoss::Stop,
        };
        Self {
            protocol: both(&self.protocol, &other.protocol),
            version: both(&self.version, &other.version),
            gateway: both(&self.gateway, &other.gateway),
            plugins,
            on_loss,
        }
    }
}

// === impl Said ===

impl Said {
    /// Reads the body of an answer to the question for its health. One that is no JSON object says nothing, and a text
    /// that is longer than 128 bytes neither.
    pub fn of_health(body: &[u8]) -> Self {
        let said: Self = match body.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice(body).unwrap_or_default(),
            _ => Self::default(),
        };
        let short = |text: &String| (1..=MAX_BYTES).contains(&text.len());
        let plain = |text: String| text.chars().filter(|letter| !letter.is_control()).collect();
        Self {
            version: said.version.filter(short).map(plain),
            protocol: said.protocol.filter(short).map(plain),
        }
    }

    /// What `self` says, and where it is silent, what `other` says.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            version: self.version.or_else(|| other.version.clone()),
            protocol: self.protocol.or_else(|| other.protocol.clone()),
        }
    }
}

impl Manifest {
    /// What it says of the plugin.
    pub fn said(&self) -> Said {
        Said {
            version: self.version.clone(),
            protocol: self.protocol.clone(),
        }
    }
}

// === impl VersionRange ===

impl VersionRange {
    fn spoken() -> Self {
        // A wrong constant admits nothing, and the tests say so.
        PROTOCOLS.parse().unwrap_or_else(|_| {
            Self(VersionReq {
                comparators: vec![semver::Comparator {
                    op: semver::Op::Less,
                    major: 0,
                    minor: Some(0),
                    patch: Some(0),
                    pre: semver::Prerelease::EMPTY,
                }],
            })
        })
    }

    /// Whether a version that is said, or none, is one of these.
    pub fn admits(&self, said: Option<&str>) -> bool {
        if self.0 == VersionReq::STAR {
            return true;
        }
        said.and_then(read)
            .is_some_and(|version| self.has(&version))
    }

    fn has(&self, version: &Version) -> bool {
        self.0.matches(version)
    }

    /// What is in both.
    fn and(&self, other: &Self) -> Self {
        let mut comparators = self.0.comparators.clone();
        for comparator in &other.0.comparators {
            if !comparators.contains(comparator) {
                comparators.push(comparator.clone());
            }
        }
        Self(VersionReq { comparators })
    }
}

/// A version as people write it: `1`, `1.2`, `v1.2.3`, `1.2.3-rc.1`.
fn read(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return None;
    }
    let (numbers, rest) = match text.find(['-', '+']) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let missing = 2usize.checked_sub(numbers.matches('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

impl FromStr for VersionRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let refused = || NotARange {
            text: text.chars().take(MAX_BYTES).collect(),
        };
        if text.len() > MAX_BYTES {
            return Err(refused());
        }
        VersionReq::parse(text).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for VersionRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A text, or a number as it is written.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Written;
    impl de::Visitor<'_> for Written {
        type Value = Option<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a text such as \"1.2\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> VersionRange {
        text.parse().unwrap()
    }

    fn said(version: Option<&str>, protocol: Option<&str>) -> Said {
        Said {
            version: version.map(str::to_owned),
            protocol: protocol.map(str::to_owned),
        }
    }

    #[test]
    fn who_says_nothing_speaks_protocol_1_and_has_no_version() {
        let silent = Said::default();
        assert_eq!(Requires::default().check(&silent), Ok(()));
        let any = Requires {
            protocol: Some(range(">=1, <3")),
            version: Some(range("*")),
            ..Requires::default()
        };
        assert_eq!(any.check(&silent), Ok(()));
        let some = Requires {
            version: Some(range(">=1.2")),
            ..Requires::default()
        };
        let refused = some.check(&silent).unwrap_err().to_string();
        assert_eq!(refused, "it is version unknown, and >=1.2 is required");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_versions() {
        let none = Requires::default();
        for (protocol, text) in [
            (
                "2",
                "it speaks protocol 2, and this gateway speaks >=1, <2: update weir, or use an older version of the plugin",
            ),
            (
                "0.9",
                "it speaks protocol 0.9, and this gateway speaks >=1, <2: update the plugin",
            ),
            (
                "one",
                "it speaks protocol one, and this gateway speaks >=1, <2: update the plugin",
            ),
        ] {
            let refused = none.check(&said(None, Some(protocol))).unwrap_err();
            assert_eq!(refused.to_string(), text);
        }
        let requires = Requires {
            protocol: Some(range(">=1.1")),
            version: Some(range(">=1.2, <2")),
            ..Requires::default()
        };
        for (version, protocol, expected) in [
            (
                "1.1.9",
                "1.1",
                "it is version 1.1.9, and >=1.2, <2 is required",
            ),
            ("2.0", "1.1", "it is version 2.0, and >=1.2, <2 is required"),
            ("1.3", "1", "it speaks protocol 1, and >=1.1 is required"),
        ] {
            let refused = requires.check(&said(Some(version), Some(protocol)));
            assert_eq!(refused.unwrap_err().to_string(), expected);
        }
        for version in ["1.2", "v1.2.0", "1.99.3"] {
            assert_eq!(requires.check(&said(Some(version), Some("1.1"))), Ok(()));
        }
        let newer = Requires {
            gateway: Some(range(">=2000")),
            ..Requires::default()
        };
        let refused = newer.check(&Said::default()).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "it requires weir >=2000, and this is weir {GATEWAY}: update weir, or use an older version of the plugin"
            )
        );
    }

    #[test]
    fn requirements_of_both_must_be_met() {
        let of = |text: &str| serde_json::from_str::<Requires>(text).unwrap();
        let one = of(r#"{"version": ">=1.2", "plugins": {"auth": "*", "audit": "1"}}"#);
        let other = of(r#"{"version": "<2", "plugins": {"auth": ">=3"}, "on_loss": "stop"}"#);
        let both = one.and(&other);
        let expected = of(
            r#"{"version": ">=1.2, <2", "plugins": {"auth": ">=3", "audit": "1"}, "on_loss": "stop"}"#,
        );
        assert_eq!(both, expected);
        assert!(both.check(&said(Some("1.5"), None)).is_ok());
        assert!(both.check(&said(Some("2.0"), None)).is_err());
    }

    #[test]
    fn a_body_may_say_something_and_need_not() {
        for (body, expected) in [
            ("", said(None, None)),
            ("ok", said(None, None)),
            ("[1]", said(None, None)),
            (r#"{"status":"ok"}"#, said(None, None)),
            (
                r#"{"version":"1.0.0","protocol":1,"x":{}}"#,
                said(Some("1.0.0"), Some("1")),
            ),
            (
                r#"{"version":null,"protocol":"1.1"}"#,
                said(None, Some("1.1")),
            ),
            (r#"{"version":{}}"#, said(None, None)),
        ] {
            assert_eq!(Said::of_health(body.as_bytes()), expected, "{body}");
        }
        let long = format!(r#"{{"version":"{}"}}"#, "1".repeat(200));
        assert_eq!(Said::of_health(long.as_bytes()), Said::default());
    }

    proptest! {
        #[test]
        fn a_range_of_both_admits_what_both_admit(
            (low, high) in (0u64..5, 0u64..5),
            version in (0u64..6, 0u64..3, 0u64..3),
        ) {
            let (one, other) = (range(&format!(">={low}.1")), range(&format!("<{high}.2")));
            let version = format!("{}.{}.{}", version.0, version.1, version.2);
            let admits = |range: &VersionRange| range.admits(Some(&version));
            prop_assert_eq!(admits(&one.and(&other)), admits(&one) && admits(&other));
        }

        #[test]
        fn nothing_that_is_said_breaks_anything(version in ".{0,200}", text in ".{0,200}") {
            let requires = Requires {
                version: text.parse().ok(),
                ..Requires::default()
            };
            let _judged = requires.check(&said(Some(&version), Some(&text)));
        }
    }
}
