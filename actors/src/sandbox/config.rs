//! The key `sandbox` of plugins and of servers on pipes, as it is written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize, Serializer};

use super::Size;

/// What a child process may do: one word, or a map. What is left out has the default of its kind, plugin or server.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRules {
    /// What happens where this system lacks something that the sandbox needs. Default: `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whose rights the process has: `keep` those of the gateway, `own`, an account that nobody else has, or a user id.
    /// Another account than the gateway's needs a gateway that runs as root. Default for plugins: `own` where the
    /// gateway runs as root and another account can read the program; else, and for servers, `keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<SandboxUser>,
    /// How much memory one process may allocate, such as `512MiB`; a group that has more resident is killed, too.
    /// Default for plugins: 1 GiB; for servers: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// How many files and connections one process may have open. Default for plugins: 1024; for servers: as the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// How many processes and threads there may be. Default for plugins: 256; for servers: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// How large a file may become that it writes, such as `64MiB`. Default for plugins: 64 MiB; for servers: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Size>,
    /// Files and directories that it may read and run, besides the system's programs and libraries, its program, its
    /// scripts and its working directory. Default for plugins: none; for servers: everything, unless `read` or `write`
    /// is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<PathBuf>>,
    /// Files and directories that it may write, and read. Default for plugins: none; for servers: everything, unless
    /// `read` or `write` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<PathBuf>>,
    /// TCP ports that it may connect to. Default for plugins: none; for servers: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Vec<u16>>,
    /// TCP ports that it may listen on; 0 is any that the system chooses. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<Vec<u16>>,
    /// Whether it may use UDP, which name resolution by DNS needs. Default for plugins: false; for servers: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<bool>,
    /// Whether it may use Unix sockets, by which daemons of this machine are reached. Default for plugins: false; for
    /// servers: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<bool>,
}

/// The key `sandbox`: a [`Mode`] on its own, or [`SandboxRules`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig(pub SandboxRules);

/// What happens where this system lacks something that the sandbox needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The process is not started.
    #[default]
    Strict,
    /// It is started with what there is, and the admin state says what is missing.
    BestEffort,
    /// There is no sandbox: the process may do what the gateway may.
    Off,
}

/// Whose rights a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxUser {
    /// The gateway's.
    Keep,
    /// An account that no other process has.
    Own,
    /// The account of this number, and the group of the same number.
    Id(u32),
}

/// The kind of child, which decides what is meant by what was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plugin,
    Server,
}

/// What one child may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub(crate) kind: Kind,
    pub(crate) rules: SandboxRules,
}

// === impl Sandbox ===

impl Sandbox {
    /// A plugin's: everything that is not said to be allowed is not.
    pub fn plugin(config: SandboxConfig) -> Self {
        Self {
            kind: Kind::Plugin,
            rules: config.0,
        }
    }

    /// A server's: it gains no rights and ends with the gateway; the rest is limited where a limit is given.
    pub fn server(config: SandboxConfig) -> Self {
        Self {
            kind: Kind::Server,
            rules: config.0,
        }
    }

    pub(crate) fn is_plugin(&self) -> bool {
        self.kind == Kind::Plugin
    }

    /// What happens where something is missing.
    pub fn mode(&self) -> Mode {
        self.rules.mode.unwrap_or_default()
    }
}

// === impl SandboxConfig ===

impl SandboxConfig {
    /// Whether nothing is said, and every default holds.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Mode> for SandboxConfig {
    fn from(mode: Mode) -> Self {
        Self(SandboxRules {
            mode: Some(mode),
            ..SandboxRules::default()
        })
    }
}

impl<'de> Deserialize<'de> for SandboxConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;
        impl<'de> Visitor<'de> for WordOrMap {
            type Value = SandboxConfig;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`strict`, `best_effort`, `off` or a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SandboxConfig, E> {
                let word = de::value::StrDeserializer::new(text);
                Mode::deserialize(word).map(SandboxConfig::from)
            }

            /// YAML of old reads `off` as `false`.
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<SandboxConfig, E> {
                let mode = if on { Mode::Strict } else { Mode::Off };
                Ok(SandboxConfig::from(mode))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SandboxConfig, A::Error> {
                SandboxRules::deserialize(MapAccessDeserializer::new(map)).map(SandboxConfig)
            }
        }
        deserializer.deserialize_any(WordOrMap)
    }
}

impl Serialize for SandboxConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for SandboxConfig {
    fn schema_name() -> Cow<'static, str> {
        "SandboxConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mode = generator.subschema_for::<Mode>();
        let rules = generator.subschema_for::<SandboxRules>();
        json_schema!({ "anyOf": [mode, rules] })
    }
}

// === impl SandboxUser ===

impl<'de> Deserialize<'de> for SandboxUser {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrNumber;
        impl Visitor<'_> for WordOrNumber {
            type Value = SandboxUser;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`keep`, `own` or a user id other than 0")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SandboxUser, E> {
                match text {
                    "keep" => Ok(SandboxUser::Keep),
                    "own" => Ok(SandboxUser::Own),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SandboxUser, E> {
                match u32::try_from(number) {
                    Ok(id) if id != 0 && id != u32::MAX => Ok(SandboxUser::Id(id)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SandboxUser, E> {
                let id = u64::try_from(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))?;
                self.visit_u64(id)
            }
        }
        deserializer.deserialize_any(WordOrNumber)
    }
}

impl Serialize for SandboxUser {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep => serializer.serialize_str("keep"),
            Self::Own => serializer.serialize_str("own"),
            Self::Id(id) => serializer.serialize_u32(*id),
        }
    }
}

impl JsonSchema for SandboxUser {
    fn schema_name() -> Cow<'static, str> {
        "SandboxUser".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["keep", "own"] },
                { "type": "integer", "minimum": 1, "maximum": u32::MAX - 1 },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<SandboxConfig, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_word_is_a_mode() {
        for (yaml, mode) in [
            ("strict", Mode::Strict),
            ("best_effort", Mode::BestEffort),
            ("off", Mode::Off),
            ("false", Mode::Off),
            ("{ mode: best_effort }", Mode::BestEffort),
        ] {
            assert_eq!(read(yaml).unwrap(), SandboxConfig::from(mode), "{yaml}");
        }
    }

    #[test]
    fn a_map_says_the_rest() {
        let config = read(
            "{ user: 1234, memory: 512MiB, open_files: 64, processes: 8, file_size: 1KiB, read: [/a], write: [/b], connect: [443], bind: [0], udp: true, unix: true }",
        );
        let rules = config.unwrap().0;
        assert_eq!(rules.user, Some(SandboxUser::Id(1234)));
        assert_eq!(rules.memory, Some(Size(512 << 20)));
        assert_eq!(rules.connect.as_deref(), Some(&[443][..]));
        assert_eq!(rules.mode, None);
        let written = serde_json::to_string(&SandboxConfig(rules.clone())).unwrap();
        assert_eq!(read(&written).unwrap().0, rules);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for yaml in [
            "loose",
            "{ user: 0 }",
            "{ user: root }",
            "{ memory: lots }",
            "{ connect: [65536] }",
            "{ colour: red }",
        ] {
            assert!(read(yaml).is_err(), "{yaml}");
        }
    }
}
