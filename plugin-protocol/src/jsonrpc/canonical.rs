//! The one spelling of a JSON value, so that values can be compared and hashed: RFC 8785, "JCS".
//!
//! Blanks go, members are sorted by the UTF-16 units of their names, strings have only the escapes they need, numbers
//! have the form of ECMAScript. So what is only spelled in another way is the same: `1.0` and `1`, `"A"` and `"A"`.
//! Three things the RFC leaves to those whose values are not I-JSON:
//!
//! - A whole number keeps every digit, however large: `9007199254740993` is not `9007199254740992`, though a double
//!   cannot tell them apart. Where the RFC defines a form, this is that form.
//! - A member that is there twice stays there twice, in the order in which it was written.
//! - Everything else is read as the double that it is nearest to, as the RFC says.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use super::raw::unquote;
use super::scan::{Flaw, MAX_DEPTH, Scanner};

/// A text that has no canonical form: it is no JSON value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{what} at byte {at}")]
pub struct NotCanonical {
    /// Where the text ends to make sense.
    pub at: u32,
    /// What is wrong there.
    pub what: &'static str,
}

/// Writes a JSON value in its canonical form ([RFC 8785](https://www.rfc-editor.org/rfc/rfc8785)).
///
/// Takes time and space in proportion to the text, times the depth of objects whose members are not in order.
///
/// # Errors
/// The text is not one JSON value, is nested deeper than 64, or has a number that no double comes near.
pub fn canonical(raw: &str) -> Result<String, NotCanonical> {
    let mut writer = Writer {
        scanner: Scanner::new(raw, MAX_DEPTH),
        out: String::with_capacity(raw.len()),
    };
    writer.scanner.blanks();
    writer.value(0)?;
    writer.scanner.blanks();
    if writer.scanner.finished() {
        Ok(writer.out)
    } else {
        Err(writer.scanner.unexpected().into())
    }
}

struct Writer<'a> {
    scanner: Scanner<'a>,
    out: String,
}

/// A decimal number: `0.DIGITS * 10^point`, the first and last digit not zero; no digits: zero.
struct Decimal<'a> {
    negative: bool,
    digits: Cow<'a, str>,
    point: i64,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    /// Writes the value that comes next, inside `open` objects and arrays.
    fn value(&mut self, open: u32) -> Result<(), Flaw> {
        match self.scanner.peek() {
            b'{' => self.object(open),
            b'[' => self.array(open),
            b'"' => {
                let start = self.scanner.at();
                let escaped = self.scanner.string()?;
                let raw = self.scanner.between(start, self.scanner.at());
                match escaped.then(|| unquote(raw)).flatten() {
                    Some(text) => string(&text, &mut self.out),
                    None => self.out.push_str(raw),
                }
                Ok(())
            }
            first => {
                let start = self.scanner.at();
                self.scanner.value(open)?;
                let raw = self.scanner.between(start, self.scanner.at());
                match first {
                    b'-' | b'0'..=b'9' => Decimal::read(raw).write(raw, &mut self.out),
                    _ => self.out.push_str(raw),
                }
                Ok(())
            }
        }
    }

    fn array(&mut self, open: u32) -> Result<(), Flaw> {
        self.open(open, '[')?;
        if self.scanner.peek() == b']' {
            return self.close(']');
        }
        loop {
            self.value(open + 1)?;
            self.scanner.blanks();
            if self.scanner.peek() != b',' {
                return self.close(']');
            }
            self.comma();
        }
    }

    fn object(&mut self, open: u32) -> Result<(), Flaw> {
        self.open(open, '{')?;
        if self.scanner.peek() == b'}' {
            return self.close('}');
        }
        let start = self.out.len();
        let mut members: Vec<(Cow<'a, str>, Range<usize>)> = Vec::new();
        loop {
            let member = self.out.len();
            let (raw, escaped) = self.scanner.key()?;
            let key = if escaped {
                let quoted = format!("\"{raw}\"");
                Cow::Owned(unquote(&quoted).unwrap_or_default().into_owned())
            } else {
                Cow::Borrowed(raw)
            };
            string(&key, &mut self.out);
            self.out.push(':');
            self.value(open + 1)?;
            members.push((key, member..self.out.len()));
            self.scanner.blanks();
            if self.scanner.peek() != b',' {
                break;
            }
            self.comma();
        }
        self.sort(start, members);
        self.close('}')
    }

    /// Puts the members that were written from `start` on, with a comma between each, into their order.
    fn sort(&mut self, start: usize, mut members: Vec<(Cow<'a, str>, Range<usize>)>) {
        let order = |(one, _): &(Cow<'a, str>, _), (other, _): &(Cow<'a, str>, _)| {
            one.encode_utf16().cmp(other.encode_utf16())
        };
        if members.is_sorted_by(|one, other| order(one, other).is_le()) {
            return;
        }
        members.sort_by(order);
        let mut sorted = String::with_capacity(self.out.len() - start);
        for (_, range) in members {
            if !sorted.is_empty() {
                sorted.push(',');
            }
            sorted.push_str(self.out.get(range).unwrap_or_default());
        }
        self.out.truncate(start);
        self.out.push_str(&sorted);
    }

    fn open(&mut self, open: u32, bracket: char) -> Result<(), Flaw> {
        self.scanner.may_open(open)?;
        self.scanner.step();
        self.scanner.blanks();
        self.out.push(bracket);
        Ok(())
    }

    fn comma(&mut self) {
        self.scanner.step();
        self.scanner.blanks();
        self.out.push(',');
    }

    fn close(&mut self, bracket: char) -> Result<(), Flaw> {
        self.scanner.expect(bracket as u8)?;
        self.out.push(bracket);
        Ok(())
    }
}

// === impl Decimal ===

impl<'a> Decimal<'a> {
    /// Reads the token of a number, which was checked.
    fn read(raw: &'a str) -> Self {
        let (negative, rest) = match raw.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, raw),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Cow<'a, str> = if fraction.is_empty() {
            whole.into()
        } else {
            format!("{whole}{fraction}").into()
        };
        let leading = digits.len() - digits.trim_start_matches('0').len();
        let digits = match digits {
            Cow::Borrowed(digits) => Cow::Borrowed(digits.trim_matches('0')),
            Cow::Owned(digits) => Cow::Owned(digits.trim_matches('0').to_owned()),
        };
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
        let point = length(whole)
            .saturating_sub(i64::try_from(leading).unwrap_or(i64::MAX))
            .saturating_add(whole_number(exponent));
        Self {
            negative,
            digits,
            point,
        }
    }

    fn is_whole(&self) -> bool {
        usize::try_from(self.point).is_ok_and(|point| point >= self.digits.len())
    }

    /// Writes it as ECMAScript does: whole numbers from their own digits, others from the nearest double's.
    fn write(self, raw: &str, out: &mut String) {
        if self.digits.is_empty() {
            return out.push('0');
        }
        if self.is_whole() {
            return self.lay_out(out);
        }
        // The standard library rounds a tie between two shortest forms up, ECMAScript to the even digit.
        let double = raw.parse().ok().filter(|double: &f64| *double != 0.0);
        match double.and_then(serde_json::Number::from_f64) {
            Some(shortest) => Decimal::read(&shortest.to_string()).lay_out(out),
            None => out.push('0'),
        }
    }

    /// ECMA-262, Number::toString.
    fn lay_out(&self, out: &mut String) {
        if self.negative {
            out.push('-');
        }
        let (digits, point) = (self.digits.as_ref(), self.point);
        let zeros = |out: &mut String, count: i64| {
            out.extend(std::iter::repeat_n(
                '0',
                usize::try_from(count).unwrap_or(0),
            ));
        };
        let at = usize::try_from(point).unwrap_or(0);
        match point {
            1..=21 if digits.len() <= at => {
                out.push_str(digits);
                zeros(out, point - i64::try_from(digits.len()).unwrap_or(point));
            }
            1..=21 => {
                let (whole, fraction) = digits.split_at(at);
                out.push_str(whole);
                out.push('.');
                out.push_str(fraction);
            }
            -5..=0 => {
                out.push_str("0.");
                zeros(out, -point);
                out.push_str(digits);
            }
            _ => {
                let (first, rest) = digits.split_at(1);
                out.push_str(first);
                if !rest.is_empty() {
                    out.push('.');
                    out.push_str(rest);
                }
                let exponent = point.saturating_sub(1);
                out.push_str(if exponent < 0 { "e-" } else { "e+" });
                out.push_str(&exponent.unsigned_abs().to_string());
            }
        }
    }
}

/// Reads an exponent. What is too large for any double stays so.
fn whole_number(text: &str) -> i64 {
    const FAR: i64 = i64::MAX / 4;
    let text = text.strip_prefix('+').unwrap_or(text);
    match text.parse::<i64>() {
        Ok(number) => number.clamp(-FAR, FAR),
        Err(_) if text.starts_with('-') => -FAR,
        Err(_) => FAR,
    }
}

/// Writes a string with the escapes that it needs.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

impl From<Flaw> for NotCanonical {
    fn from(flaw: Flaw) -> Self {
        Self {
            at: flaw.at,
            what: flaw.what.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let example = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(example).unwrap(), expected);
    }

    #[test]
    fn members_are_sorted_by_their_utf16_units() {
        let example = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
            "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let keys: Vec<String> = super::super::object_members(&canonical(example).unwrap())
            .map(|(key, _)| key.into_owned())
            .collect();
        assert_eq!(
            keys,
            ["\r", "1", "\u{80}", "ö", "€", "😀", "\u{fb33}"].map(str::to_owned)
        );
    }

    #[test]
    fn doubles_have_the_form_of_ecmascript() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let double = f64::from_bits(bits);
            let shortest = serde_json::to_string(&double).unwrap();
            assert_eq!(canonical(&shortest).unwrap(), expected);
            if double.fract() != 0.0 {
                // In full, with more digits than the double has.
                let long = canonical(&format!("{double:.40e}")).unwrap();
                assert_eq!(long, expected);
            }
        }
    }

    #[test]
    fn a_number_is_its_value_and_not_its_spelling() {
        for (spellings, form) in [
            (&["1", "1.0", "1e0", "10E-1", "0.1e+1", "1.000"][..], "1"),
            (&["0", "-0", "0.0", "-0.000e99", "0e-5"], "0"),
            (&["100", "1e2", "1.00e+02"], "100"),
            (&["0.5", "5e-1", "0.50"], "0.5"),
            (&["0.000001", "1e-6"], "0.000001"),
            (&["0.0000001", "1E-7"], "1e-7"),
            (&["1e21", "1000000000000000000000"], "1e+21"),
            (&["100000000000000000000", "1e20"], "100000000000000000000"),
            (&["-1.5", "-15e-1"], "-1.5"),
            (
                &["9007199254740993", "9007199254740993.0"],
                "9007199254740993",
            ),
            (
                &["123456789012345678901234567890"],
                "1.2345678901234567890123456789e+29",
            ),
            (&["1e-400"], "0"),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(spelling).unwrap(), form, "{spelling}");
            }
        }
        assert_ne!(canonical("9007199254740993"), canonical("9007199254740992"));
    }

    #[test]
    fn only_the_value_counts() {
        let forms = [
            r#"{"b":[1,{"y":2,"x":"A/"}],"a":null}"#,
            " {\n\"a\" : null ,\t\"b\":[ 1.0,{ \"x\":\"\\u0041\\/\",\"y\":2e0}]\r\n} ",
        ];
        for form in forms {
            assert_eq!(
                canonical(form).unwrap(),
                r#"{"a":null,"b":[1,{"x":"A/","y":2}]}"#
            );
        }
        assert_ne!(canonical("[1,2]"), canonical("[2,1]"));
        assert_ne!(canonical(r#"{"a":1,"a":2}"#), canonical(r#"{"a":2,"a":1}"#));
        assert_eq!(canonical(" [ ] ").unwrap(), "[]");
        assert_eq!(canonical("{ }").unwrap(), "{}");
    }

    #[test]
    fn what_is_no_value_has_no_form() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "{\"a\"}",
            "[1,]",
            "{\"a\":1,}",
            "1 2",
            "tru",
            "\"\\ud800\"",
            "1e400",
            "01",
            "+1",
            "\"\u{1}\"",
        ] {
            assert!(canonical(text).is_err(), "{text}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(canonical(&nested(64)).is_ok());
        assert!(canonical(&nested(65)).is_err());
        assert!(canonical(&nested(1_000_000)).is_err());
    }
}
