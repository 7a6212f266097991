//! What a call must look like before it may leave the gateway.

use std::io::{self, Write};

use serde_json::{Map, Value};
use thiserror::Error;

/// The longest parameters, in bytes of JSON.
pub const MAX_PARAMS_BYTES: usize = 1024 * 1024;
/// The longest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The longest method name, in bytes.
pub const MAX_METHOD_BYTES: usize = 64;
/// The longest metric name or attribute key, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest attribute value, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// The most attributes of one measurement.
pub const MAX_ATTRIBUTES: usize = 32;
/// The deepest nesting of parameters, and the parameters themselves are the first level.
pub const MAX_DEPTH: usize = 32;

/// What is wrong with a call: the key and the reason.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key}: {reason}")]
pub struct InvalidCall {
    /// `method`, or a path below `params`.
    pub key: String,
    /// What is wrong, and what is expected.
    pub reason: String,
}

/// What a parameter must be.
#[derive(Clone, Copy)]
enum Shape {
    /// A string that is not empty.
    Name,
    Text,
    Integer,
    /// An integer or a fraction. JSON has no NaN and no infinity: they arrive here as null.
    Number,
    Metric,
    Attributes,
    Texts,
    Object,
}

struct Parameter {
    key: &'static str,
    shape: Shape,
    required: bool,
}

struct CountingSink {
    left: usize,
}

const fn needs(key: &'static str, shape: Shape) -> Parameter {
    Parameter {
        key,
        shape,
        required: true,
    }
}

const fn may(key: &'static str, shape: Shape) -> Parameter {
    Parameter {
        key,
        shape,
        required: false,
    }
}

/// Checks a call. What passes is an object of bounded size and depth, and fits the method if that is one of a role.
///
/// # Errors
/// The first thing that is wrong, by its key.
pub fn check(method: &str, params: &Value) -> Result<(), InvalidCall> {
    if !is_method(method) {
        return Err(invalid(
            "method",
            "expected a lower-case letter, then at most 63 of a-z, 0-9, _ and -",
        ));
    }
    let Value::Object(members) = params else {
        return Err(invalid("params", "expected an object"));
    };
    check_depth(params)?;
    let mut sink = CountingSink {
        left: MAX_PARAMS_BYTES,
    };
    if serde_json::to_writer(&mut sink, params).is_err() {
        return Err(invalid("params", "longer than 1 MiB of JSON"));
    }
    for parameter in parameters(method) {
        parameter.check(members)?;
    }
    Ok(())
}

fn is_method(method: &str) -> bool {
    let mut bytes = method.bytes();
    method.len() <= MAX_METHOD_BYTES
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Without recursion: the value may be as deep as its maker liked.
fn check_depth(params: &Value) -> Result<(), InvalidCall> {
    let mut open = vec![(params, 1)];
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(invalid("params", "nested deeper than 32 levels"));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                open.extend(members.values().map(|member| (member, depth + 1)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn parameters(method: &str) -> &'static [Parameter] {
    const PRINCIPAL: [Parameter; 5] = [
        needs("user_id", Shape::Name),
        may("tenant_id", Shape::Text),
        may("roles", Shape::Texts),
        may("groups", Shape::Texts),
        needs("mcp_server", Shape::Name),
    ];
    const CREDENTIAL: [Parameter; 3] = [
        needs("user_id", Shape::Name),
        needs("mcp_server", Shape::Name),
        needs("credential_type", Shape::Name),
    ];
    match method {
        "record-counter" | "record-gauge" => {
            const {
                &[
                    needs("name", Shape::Metric),
                    needs("value", Shape::Integer),
                    may("attributes", Shape::Attributes),
                ]
            }
        }
        "record-histogram" => {
            const {
                &[
                    needs("name", Shape::Metric),
                    needs("value", Shape::Number),
                    may("attributes", Shape::Attributes),
                ]
            }
        }
        "validate_credential" => {
            const { &[needs("type", Shape::Name), needs("value", Shape::Text)] }
        }
        "check_access" => &PRINCIPAL,
        "log_event" => {
            const {
                &[
                    may("timestamp", Shape::Text),
                    needs("event_type", Shape::Name),
                    may("tenant_id", Shape::Text),
                    may("user_id", Shape::Text),
                    may("mcp_server", Shape::Text),
                    may("tool", Shape::Text),
                    may("result", Shape::Text),
                    may("metadata", Shape::Object),
                ]
            }
        }
        "store_credential" => {
            const {
                &[
                    needs("user_id", Shape::Name),
                    needs("mcp_server", Shape::Name),
                    needs("credential_type", Shape::Name),
                    needs("value", Shape::Text),
                ]
            }
        }
        "retrieve_credential" | "delete_credential" => &CREDENTIAL,
        "list_credentials" => const { &[needs("user_id", Shape::Name)] },
        "inject_credentials" => {
            const {
                &[
                    needs("user_id", Shape::Name),
                    may("tenant_id", Shape::Text),
                    needs("mcp_server", Shape::Name),
                    needs("target_url", Shape::Name),
                    needs("method", Shape::Name),
                    may("headers", Shape::Object),
                    may("body", Shape::Text),
                ]
            }
        }
        "provision" => {
            const {
                &[
                    needs("server", Shape::Object),
                    needs("user_id", Shape::Name),
                ]
            }
        }
        "deprovision" => const { &[needs("server_id", Shape::Name)] },
        "list" => const { &[needs("user_id", Shape::Name)] },
        _ => &[],
    }
}

fn invalid(key: impl Into<String>, reason: impl Into<String>) -> InvalidCall {
    InvalidCall {
        key: key.into(),
        reason: reason.into(),
    }
}

fn is_metric(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME_BYTES
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b':')
        })
}

// === impl Parameter ===

impl Parameter {
    fn check(&self, members: &Map<String, Value>) -> Result<(), InvalidCall> {
        let key = self.key;
        let Some(value) = members.get(key) else {
            return match self.required {
                true => Err(invalid(format!("params.{key}"), "missing")),
                false => Ok(()),
            };
        };
        let expected = match (self.shape, value) {
            (Shape::Name, Value::String(text)) if !text.is_empty() => return Ok(()),
            (Shape::Name, _) => "expected a text that is not empty",
            (Shape::Text, Value::String(_)) => return Ok(()),
            (Shape::Text, _) => "expected a text",
            (Shape::Integer, value) if value.is_i64() => return Ok(()),
            (Shape::Integer, _) => "expected a whole number of 64 bits",
            (Shape::Number, Value::Number(_)) => return Ok(()),
            (Shape::Number, _) => "expected a finite number",
            (Shape::Metric, Value::String(name)) if is_metric(name) => return Ok(()),
            (Shape::Metric, _) => {
                "expected a letter, then at most 127 of letters, digits and _ . - / :"
            }
            (Shape::Attributes, Value::Object(attributes)) => return check_attributes(attributes),
            (Shape::Attributes, _) => "expected an object of texts",
            (Shape::Texts, Value::Array(items)) if items.iter().all(Value::is_string) => {
                return Ok(());
            }
            (Shape::Texts, _) => "expected a list of texts",
            (Shape::Object, Value::Object(_)) => return Ok(()),
            (Shape::Object, _) => "expected an object",
        };
        Err(invalid(format!("params.{key}"), expected))
    }
}

fn check_attributes(attributes: &Map<String, Value>) -> Result<(), InvalidCall> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(invalid("params.attributes", "more than 32 attributes"));
    }
    for (key, value) in attributes {
        // A key that is too long or strange is not repeated.
        if !is_metric(key) {
            return Err(invalid(
                "params.attributes",
                "an attribute's key is no letter with at most 127 letters, digits and _ . - / : after it",
            ));
        }
        match value {
            Value::String(text) if text.len() <= MAX_ATTRIBUTE_BYTES => {}
            Value::String(_) => {
                return Err(invalid(
                    format!("params.attributes.{key}"),
                    "longer than 1024 bytes",
                ));
            }
            _ => {
                return Err(invalid(
                    format!("params.attributes.{key}"),
                    "expected a text",
                ));
            }
        }
    }
    Ok(())
}

// === impl CountingSink ===

impl Write for CountingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
