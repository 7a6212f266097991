//! Patterns of policy rules: `*` stands for any text, `?` for any one character, everything else for itself.

use schemars::JsonSchema;
use serde::Deserialize;

/// The longest pattern, in characters. A match takes at most this many steps per character of the text, whatever
/// the pattern: there is no exponential case.
pub const MAX_PATTERN_CHARS: usize = 512;

/// A pattern, read once. Case matters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Pattern {
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Any,
    Exact(String),
    Prefix(String),
    Mixed(Vec<Piece>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    One(char),
    AnyOne,
    AnyText,
}

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern. Empty ones and those longer than [`MAX_PATTERN_CHARS`] are refused with a text that says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing; remove it or write `*`".to_owned());
        }
        if text.chars().count() > MAX_PATTERN_CHARS {
            return Err(format!(
                "a pattern has at most {MAX_PATTERN_CHARS} characters; shorten it"
            ));
        }
        let is_wild = |character| character == '*' || character == '?';
        let shape = if text.chars().all(|character| character == '*') {
            Shape::Any
        } else if !text.contains(is_wild) {
            Shape::Exact(text.to_owned())
        } else {
            match text.strip_suffix('*') {
                Some(prefix) if !prefix.contains(is_wild) => Shape::Prefix(prefix.to_owned()),
                _ => Shape::Mixed(text.chars().map(Piece::new).collect()),
            }
        };
        Ok(Self { shape })
    }

    /// Returns true if the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Any => true,
            Shape::Exact(exact) => exact == text,
            Shape::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Shape::Mixed(pieces) => matches_pieces(pieces, text),
        }
    }

    /// Returns true if every text matches.
    pub fn matches_everything(&self) -> bool {
        self.shape == Shape::Any
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

// === impl Piece ===

impl Piece {
    fn new(character: char) -> Self {
        match character {
            '*' => Self::AnyText,
            '?' => Self::AnyOne,
            one => Self::One(one),
        }
    }
}

/// Only the last `*` that was passed can need to take more: what came before it matched as early as possible.
fn matches_pieces(pieces: &[Piece], text: &str) -> bool {
    let (mut pieces, mut text) = (pieces, text.chars());
    let mut retry: Option<(&[Piece], std::str::Chars<'_>)> = None;
    loop {
        if let Some((Piece::AnyText, after)) = pieces.split_first() {
            if after.is_empty() {
                return true;
            }
            pieces = after;
            retry = Some((after, text.clone()));
            continue;
        }
        match (pieces.split_first(), text.next()) {
            (None, None) => return true,
            (Some((Piece::AnyOne, after)), Some(_)) => {
                pieces = after;
                continue;
            }
            (Some((Piece::One(wanted), after)), Some(found)) if *wanted == found => {
                pieces = after;
                continue;
            }
            (Some(_), None) => return false,
            _ => {}
        }
        let Some((after_star, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        pieces = after_star;
        text = from.clone();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text)
    }

    /// The definition, without thought for speed.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => {
                reference(&pattern[1..], text)
                    || (!text.is_empty() && reference(pattern, &text[1..]))
            }
            (Some('?'), Some(_)) => reference(&pattern[1..], &text[1..]),
            (Some(a), Some(b)) if a == b => reference(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("*", ""),
            ("**", "x"),
            ("read_*", "read_"),
            ("read_*", "read_file"),
            ("*_file", "read_file"),
            ("r?ad", "réad"),
            ("a*b*c", "a-b-b-c"),
            ("file:///data/*", "file:///data/x/y?z"),
            ("?*", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("read_*", "Read_file"),
            ("read", "read "),
            ("r?ad", "rad"),
            ("a*b*c", "a-c-b"),
            ("?", ""),
            ("?*", ""),
            ("[a-z]", "a"),
            ("a.c", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse(&"x".repeat(MAX_PATTERN_CHARS + 1)).is_err());
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = format!("{}b", "a*".repeat(200));
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?é]{1,8}", text in "[abé]{0,10}") {
            let characters: Vec<char> = text.chars().collect();
            let pieces: Vec<char> = pattern.chars().collect();
            prop_assert_eq!(matches(&pattern, &text), reference(&pieces, &characters));
        }
    }
}
