//! Numbers and truth values as YAML 1.2 writes them.

use serde::de::Visitor;

use super::misfit::Misfit;

/// A number of the YAML 1.2 core schema.
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    /// The numbers of the YAML 1.2 core schema.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let magnitude = match digits.get(..2) {
            Some("0x") => u64::from_str_radix(digits.get(2..)?, 16).ok(),
            Some("0o") => u64::from_str_radix(digits.get(2..)?, 8).ok(),
            _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        match magnitude {
            Some(magnitude) if !negative => return Some(Self::Unsigned(magnitude)),
            Some(magnitude) => return 0_i64.checked_sub_unsigned(magnitude).map(Self::Signed),
            None => {}
        }
        match digits {
            ".inf" | ".Inf" | ".INF" => {
                return Some(Self::Float(if negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }));
            }
            ".nan" | ".NaN" | ".NAN" => return Some(Self::Float(f64::NAN)),
            _ => {}
        }
        let numeric = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
        if numeric {
            text.parse().ok().map(Self::Float)
        } else {
            None
        }
    }

    pub(super) fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self {
            Number::Unsigned(number) => visitor.visit_u64(number),
            Number::Signed(number) => visitor.visit_i64(number),
            Number::Float(number) => visitor.visit_f64(number),
        }
    }
}

pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
