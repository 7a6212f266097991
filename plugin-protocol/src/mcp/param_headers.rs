//! Arguments that a client repeats in `Mcp-Param-*` headers, as a tool's schema asks with `x-mcp-header`.

use std::borrow::Cow;

use super::{Values, decode_header_value, encode_header_value};
use crate::jsonrpc::{array_items, object_members, unquote};

/// One `x-mcp-header` annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderAnnotation {
    /// The full header name, for example `Mcp-Param-Region`.
    pub header: String,
    /// Where the argument is: keys from the arguments object downwards, at least one.
    pub path: Vec<String>,
    /// Its type.
    pub kind: ParamKind,
}

/// The types an annotated argument may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `boolean`
    Boolean,
}

/// A number as JSON spells it, reduced to one spelling: digits without zeros around them, times a power of ten.
#[derive(PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

/// The keyword that annotates.
const KEYWORD: &str = "x-mcp-header";
/// What stands before the annotated name.
const PREFIX: &str = "Mcp-Param-";
/// How deep a schema is searched; deeper ones are refused.
const SCHEMA_DEPTH: usize = 64;

/// The annotations of a tool's `inputSchema`, which is JSON text.
///
/// # Errors
/// The reason why an annotation is invalid; the tool must then not be listed.
pub fn header_annotations(input_schema_raw: &str) -> Result<Vec<HeaderAnnotation>, String> {
    let mut found = Vec::new();
    // A key may be spelled with escapes.
    if input_schema_raw.contains(KEYWORD) || input_schema_raw.contains('\\') {
        search(input_schema_raw, Some(&[]), 0, &mut found)?;
    }
    Ok(found)
}

/// Compares the arguments of a call with its headers. `headers` looks a header up by its full name, ignoring case.
///
/// # Errors
/// The first header that is missing or differs: answer 400 with `-32020`.
pub fn check_params<'h>(
    annotations: &[HeaderAnnotation],
    arguments_raw: Option<&str>,
    headers: impl Fn(&str) -> Values<'h>,
) -> Result<(), String> {
    for annotation in annotations {
        let name = &annotation.header;
        let argument = argument(arguments_raw, &annotation.path)?;
        let value = match (headers(name), argument) {
            (Values::Absent, None) => continue,
            (Values::Absent, Some(_)) => return Err(format!("{name} is missing")),
            (Values::Repeated(_), _) => return Err(format!("{name} is repeated")),
            (Values::One(_), None) => {
                return Err(format!("{name} repeats an argument that is not there"));
            }
            (Values::One(value), Some(argument)) => (value, argument),
        };
        let header = decode_header_value(value.0).map_err(|error| format!("{name}: {error}"))?;
        if !same_value(&header, value.1) {
            return Err(format!("{name} differs from the argument"));
        }
    }
    Ok(())
}

/// The headers that repeat the arguments of a call, names and values. What no header can say is left out: the server
/// refuses it.
pub fn params_as_headers(
    annotations: &[HeaderAnnotation],
    arguments_raw: Option<&str>,
) -> Vec<(String, String)> {
    let header = |annotation: &HeaderAnnotation| {
        let argument = argument(arguments_raw, &annotation.path).ok()??;
        let value = match argument.as_bytes().first()? {
            b'"' => encode_header_value(&unquote(argument)?).into_owned(),
            b'{' | b'[' => return None,
            _ => argument.to_owned(),
        };
        Some((annotation.header.clone(), value))
    };
    annotations.iter().filter_map(header).collect()
}

/// Looks for annotations in a schema. `path` is how to get to it from the arguments through `properties` alone.
fn search(
    schema: &str,
    path: Option<&[String]>,
    depth: usize,
    found: &mut Vec<HeaderAnnotation>,
) -> Result<(), String> {
    if depth > SCHEMA_DEPTH {
        return Err("inputSchema nests too deep".to_owned());
    }
    let mut annotation = None;
    let mut kind = None;
    for (key, value) in object_members(schema) {
        match &*key {
            KEYWORD => annotation = Some(value),
            "type" => kind = param_kind(value),
            // Values, not schemas.
            "default" | "const" | "enum" | "examples" => {}
            "properties" => {
                for (name, property) in object_members(value) {
                    let inner = path.map(|path| [path, &[name.into_owned()]].concat());
                    search(property, inner.as_deref(), depth + 1, found)?;
                }
            }
            "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => {
                for (_, definition) in object_members(value) {
                    search(definition, None, depth + 1, found)?;
                }
            }
            _ => {
                search(value, None, depth + 1, found)?;
                for item in array_items(value) {
                    search(item, None, depth + 1, found)?;
                }
            }
        }
    }
    let Some(annotation) = annotation else {
        return Ok(());
    };
    let name = unquote(annotation).ok_or_else(|| format!("{KEYWORD} is not a string"))?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!(
            "{KEYWORD} {:?} is not a header name",
            name.chars().take(64).collect::<String>()
        ));
    }
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| {
        format!("{KEYWORD} {name:?} is not on an argument reached by properties alone")
    })?;
    let kind = kind
        .ok_or_else(|| format!("{KEYWORD} {name:?} is not on a string, an integer or a boolean"))?;
    let header = format!("{PREFIX}{name}");
    if found
        .iter()
        .any(|other| other.header.eq_ignore_ascii_case(&header))
    {
        return Err(format!("{KEYWORD} {name:?} is there twice"));
    }
    found.push(HeaderAnnotation {
        header,
        path: path.to_vec(),
        kind,
    });
    Ok(())
}

/// The type that a schema's `type` allows besides null.
fn param_kind(raw: &str) -> Option<ParamKind> {
    let one = |raw: &str| match unquote(raw)?.as_ref() {
        "string" => Some(ParamKind::String),
        "integer" => Some(ParamKind::Integer),
        "boolean" => Some(ParamKind::Boolean),
        _ => None,
    };
    let mut types = array_items(raw).filter(|item| *item != "\"null\"");
    match (types.next(), types.next()) {
        (Some(only), None) => one(only),
        (None, _) => one(raw),
        _ => None,
    }
}

/// The raw value of an argument, if it is there and not null.
fn argument<'a>(arguments: Option<&'a str>, path: &[String]) -> Result<Option<&'a str>, String> {
    let mut place = arguments;
    for key in path {
        let Some(object) = place else { return Ok(None) };
        let mut named = object_members(object)
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value);
        place = named.next();
        // Two readers may take two different ones.
        if named.next().is_some() {
            return Err(format!("argument {key:?} is there twice"));
        }
    }
    Ok(place.filter(|value| *value != "null"))
}

/// True if a decoded header says what an argument says. Objects and arrays cannot be said in a header.
fn same_value(header: &str, argument: &str) -> bool {
    match argument.as_bytes().first() {
        Some(b'"') => unquote(argument) == Some(Cow::Borrowed(header)),
        Some(b't' | b'f') => argument == header,
        Some(b'-' | b'0'..=b'9') => {
            let (header, argument) = (Decimal::read(header), Decimal::read(argument));
            header.is_some() && header == argument
        }
        _ => false,
    }
}

/// The characters of a header name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

// === impl Decimal ===

impl Decimal {
    /// Reads a number as JSON spells it.
    fn read(text: &str) -> Option<Self> {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) if exponent.len() <= 18 => {
                (mantissa, exponent.parse::<i64>().ok()?)
            }
            Some(_) => return None,
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let is_padded = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty()
            || is_padded
            || !whole
                .bytes()
                .chain(fraction.bytes())
                .all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let shift = zeros - i64::try_from(fraction.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                is_negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Self {
            is_negative,
            digits,
            exponent: exponent + shift,
        })
    }
}

#[cfg(test)]
mod tests;
