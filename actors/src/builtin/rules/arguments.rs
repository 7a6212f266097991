//! Conditions on the arguments of a call. What could be read in two ways is not judged but refused.

use serde_json::{Map, Value};

use super::config::Effect;
use crate::builtin::pattern::Pattern;
use crate::builtin::strict_json;

/// One condition: where to look, and what must be there.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    path: Vec<String>,
    pattern: Pattern,
}

/// Why arguments cannot be judged. Such a call is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// Not a JSON object, or the same key twice.
    NotAnObject,
    /// A key that differs from the one of a condition by case only: some servers would take it for the same.
    CaseVariant,
}

/// Reads the arguments of a call; none at all are an empty object.
pub(super) fn read(arguments: Option<&str>) -> Result<Value, Unclear> {
    let Some(text) = arguments else {
        return Ok(Value::Object(Map::new()));
    };
    strict_json::object(text.as_bytes())
        .map(Value::Object)
        .map_err(|_| Unclear::NotAnObject)
}

// === impl Condition ===

impl Condition {
    /// Reads a condition; `name` is the name of an argument, or a JSON pointer (RFC 6901).
    pub(super) fn new(name: &str, pattern: &Pattern) -> Result<Self, &'static str> {
        let path = match name.strip_prefix('/') {
            None if name.is_empty() => {
                return Err("an empty name; write the name of an argument");
            }
            None => vec![name.to_owned()],
            Some(pointer) => pointer
                .split('/')
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect(),
        };
        Ok(Self {
            path,
            pattern: pattern.clone(),
        })
    }

    /// Returns true if the arguments fulfil the condition, in the sense that errs towards denying.
    pub(super) fn holds(&self, effect: Effect, arguments: &Value) -> Result<bool, Unclear> {
        let Some(value) = self.find(arguments)? else {
            return Ok(false);
        };
        Ok(match effect {
            Effect::Allow => all(value, &self.pattern),
            Effect::Deny => any(value, &self.pattern),
        })
    }

    fn find<'a>(&self, arguments: &'a Value) -> Result<Option<&'a Value>, Unclear> {
        let mut value = arguments;
        for token in &self.path {
            let member = match value {
                Value::Object(object) => {
                    let is_variant =
                        |key: &String| key != token && key.to_lowercase() == token.to_lowercase();
                    if object.keys().any(is_variant) {
                        return Err(Unclear::CaseVariant);
                    }
                    object.get(token)
                }
                Value::Array(array) => token
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| array.get(index)),
                _ => None,
            };
            match member {
                Some(member) => value = member,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }
}

// === impl Unclear ===

impl Unclear {
    /// What the refusal says.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "the arguments are not an object with unique keys",
            Self::CaseVariant => "an argument has a name that differs by case only",
        }
    }
}

fn all(value: &Value, pattern: &Pattern) -> bool {
    match value {
        Value::Array(array) => !array.is_empty() && array.iter().all(|item| all(item, pattern)),
        Value::Object(object) => {
            !object.is_empty() && object.values().all(|member| all(member, pattern))
        }
        scalar => scalar_matches(scalar, pattern),
    }
}

fn any(value: &Value, pattern: &Pattern) -> bool {
    match value {
        Value::Array(array) => array.iter().any(|item| any(item, pattern)),
        Value::Object(object) => object.values().any(|member| any(member, pattern)),
        scalar => scalar_matches(scalar, pattern),
    }
}

fn scalar_matches(scalar: &Value, pattern: &Pattern) -> bool {
    match scalar {
        Value::String(text) => pattern.matches(text),
        other => pattern.matches(&other.to_string()),
    }
}
